"""Transcoders where they meet a model: whether it has an MLP that they can stand for, and the gain
of the norm before it.

With the norm ``N(x) = w * n(x) + c``, n its part without weights, a transcoder that was trained on
n reads ``n = (N - c) / w``, so that on N, which the MLP of the model reads,

    W' = W / w,    b' = b - W' c,    W_skip' = W_skip / w,    b_dec' = b_dec - W_skip' c
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from scircuit.core.errors import UserError
from scircuit.tracing.dictionaries.dictionary import Dictionary, Site

if TYPE_CHECKING:
    from scircuit.tracing.models.adapter import Adapter

# Places of the MLP's own output. Where a family has a norm after it, what the layer adds to its
# stream is another thing.
_BEFORE_THE_LAST_NORM = ("mlp", "mlp.hook_out")


def site_of(dictionaries: Mapping[int, Dictionary]) -> Site:
    """The site of dictionaries that have been through `require_site`."""
    sites: list[Site] = [d.site for d in dictionaries.values()]
    return sites[0] if sites else "output"


def require_site(adapter: Adapter, dictionaries: Mapping[int, Dictionary]) -> None:
    """Refuse dictionaries of different sites, and transcoders that do not fit the model's MLP.

    Parameters
    ----------
    adapter
        Model; `has_mlp_site` says whether its MLP input and output can be read.
    dictionaries
        Dictionaries by layer.

    Raises
    ------
    UserError
        If they mix sites; if they are transcoders and the family has no MLP site, or one of them
        writes the MLP output before a norm that follows it in this family.
    """
    sites = {layer: d.site for layer, d in dictionaries.items()}
    mlp = sorted(layer for layer, site in sites.items() if site == "mlp")
    if not mlp:
        return
    if len(mlp) < len(sites):
        rest = sorted(set(sites) - set(mlp))
        raise UserError(
            f"the folder mixes transcoders (layers {', '.join(map(str, mlp))}) and dictionaries of"
            f" layer outputs (layers {', '.join(map(str, rest))}); expected one kind",
            "keep each kind in a folder of its own",
        )
    if not getattr(adapter, "has_mlp_site", False):
        raise UserError(
            f"these are transcoders (layers {', '.join(map(str, mlp))}), and {adapter.name}"
            f" ({adapter.family}) does not say where its MLP reads and writes; expected"
            " dictionaries of layer outputs",
            "use transcoders with a model whose layers have their norms before the blocks"
            " (GPT-NeoX, Gemma-2), or give dictionaries of layer outputs",
        )
    for layer in mlp:
        writes = str(dictionaries[layer].provenance.get("writes") or "")
        if writes in _BEFORE_THE_LAST_NORM and _has_norm_after(adapter, layer):
            raise UserError(
                f"the transcoder of layer {layer} writes {writes!r}, and in {adapter.name}"
                f" ({adapter.family}) a norm follows the MLP: what the layer adds to its stream is"
                " the output of that norm",
                "give transcoders of the output of post_feedforward_layernorm (hook_mlp_out)",
            )


def with_gain(adapter: Adapter, dictionaries: Mapping[int, Dictionary]) -> dict[int, Dictionary]:
    """Dictionaries with the weight and bias of the norm folded into those that read its input to
    them; the others as they are.

    Raises
    ------
    UserError
        If a weight of the norm is 0, or the family does not offer the norm.
    """
    found = dict(dictionaries)
    for layer, dictionary in dictionaries.items():
        if not dictionary.gain and layer < adapter.n_layers:
            found[layer] = _folded(dictionary, *_gain(adapter, layer))
    return found


def _gain(adapter: Adapter, layer: int) -> tuple[Tensor, Tensor | None]:
    layers = getattr(adapter, "layers", None)
    norm = getattr(layers[layer], "norm_2", None) if layers else None
    if norm is None:
        raise UserError(
            f"the transcoder of layer {layer} reads its norm before weight and bias, and"
            f" {adapter.name} ({adapter.family}) does not say what these are",
            "fold the norm into its encoder before it is saved",
        )
    return norm.weight, norm.bias


def _folded(dictionary: Dictionary, weight: Tensor, bias: Tensor | None) -> Dictionary:
    if bool((weight == 0).any()):
        raise UserError(
            f"the transcoder of layer {dictionary.layer} reads its norm before the weight, which is"
            f" 0 for {int((weight == 0).sum())} of {len(weight)} entries",
            "give transcoders of the MLP input itself",
        )
    # in double precision, because a gain may be small
    scale = weight.detach().double().cpu()
    shift = None if bias is None else bias.detach().double().cpu()
    t = {name: tensor.cpu() for name, tensor in dictionary.tensors.items()}
    encoder, skip = t["encoder"].double() / scale, t.get("skip")
    encoder_bias = t["encoder_bias"].double() - encoder @ (t["mean"].double() * scale)
    decoder_bias = t["decoder_bias"].double()
    if skip is not None:
        skip = skip.double() / scale
    if shift is not None:
        encoder_bias = encoder_bias - encoder @ shift
        decoder_bias = decoder_bias if skip is None else decoder_bias - skip @ shift
    return Dictionary(
        dictionary.layer,
        encoder,
        encoder_bias,
        t["decoder"],
        decoder_bias,
        t["mean"] * 0,
        rule=dictionary.rule,
        k=dictionary.k if dictionary.rule == "topk" else 0,
        threshold=t.get("threshold"),
        provenance=dictionary.provenance,
        catalogue=dictionary.read_catalogue,
        site="mlp",
        skip=skip,
    )


def _has_norm_after(adapter: Adapter, layer: int) -> bool:
    layers = getattr(adapter, "layers", None)
    return (
        bool(layers)
        and layer < len(layers)
        and getattr(layers[layer], "norm_fed", None) is not None
    )

"""SAELens: ``cfg.json`` and ``sae_weights.safetensors`` (W_enc [d, F], b_enc, W_dec [F, d], b_dec,
and what the architecture adds).

    standard    f = ReLU(W_enc^T (x - b) + b_enc)                            x^ = W_dec^T f + b_dec
    topk        f = the k largest
    jumprelu    f where above each threshold (BatchTopK and matryoshka: one threshold for all)
    gated       f = ReLU(e^r u + b_mag) where u + b_gate > 0, the jump at b_mag - e^r b_gate

with b = b_dec where ``apply_b_dec_to_input``, else 0. Before version 6 the layer is in
``hook_point``, the activation in ``activation_fn_str`` with its k in ``activation_fn_kwargs``, and
a fine-tuned factor on the codes may be stored beside the weights. ``rescale_acts_by_decoder_norm``
is folded into the weights, which leaves the function as it is. A normalisation of each row is not
linear in the decoder, so an ablation would not be the removal of a direction: refused.

A transcoder reads the MLP input (``hook_name``, or ``hook_name_in``) and predicts the MLP output
(``hook_name_out``), with b = 0, W_dec [F, d_out], and in skip transcoders W_skip [d_out, d_in]:

    y^ = W_dec^T f + b_dec (+ W_skip x)
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from scircuit.core.errors import UserError
from scircuit.tracing.dictionaries.dictionary import Dictionary, Site
from scircuit.tracing.dictionaries.formats.mlp_places import mlp_place, require_mlp_folder
from scircuit.tracing.dictionaries.formats.places import (
    LAYER,
    layer_of,
    require_same_folder,
    require_same_layer,
    the_one,
)
from scircuit.tracing.dictionaries.formats.safe_files import (
    column_norms,
    need,
    need_weights,
    read_json,
    read_tensors,
    read_weights,
    require_known,
    require_sizes,
    same_number,
    section,
    truth,
)
from scircuit.tracing.dictionaries.training_statistics import (
    FeatureCatalogue,
    is_there,
    require_rates,
)
from scircuit.tracing.interfaces import JsonObject

_RULES = {
    "standard": "relu",
    "topk": "topk",
    "jumprelu": "jumprelu",
    "gated": "jumprelu",
    "batchtopk": "batchtopk",
    "matryoshka_batchtopk": "batchtopk",
    "transcoder": "relu",
    "skip_transcoder": "relu",
    "jumprelu_transcoder": "jumprelu",
    "jumprelu_skip_transcoder": "jumprelu",
}
_BIASED = ("W_enc", "b_enc", "W_dec", "b_dec")
_TENSORS = {
    "standard": _BIASED,
    "topk": _BIASED,
    "jumprelu": (*_BIASED, "threshold"),
    "gated": ("W_enc", "W_dec", "b_dec", "r_mag", "b_gate", "b_mag"),
    "batchtopk": (*_BIASED, "threshold", "topk_threshold"),
    "matryoshka_batchtopk": (*_BIASED, "threshold", "topk_threshold"),
    "transcoder": _BIASED,
    "skip_transcoder": (*_BIASED, "W_skip"),
    "jumprelu_transcoder": (*_BIASED, "threshold"),
    "jumprelu_skip_transcoder": (*_BIASED, "threshold", "W_skip"),
}
_FACTORS = ("finetuning_scaling_factor", "scaling_factor")
_NORMALISED = {
    "expected_average_only_in": (
        "was trained on scaled activations, and the scale is not in its weights"
    ),
    "constant_norm_rescale": "scales each row by its own length",
    "layer_norm": "normalises each row by itself",
    "covariance_whitening": (
        "was trained on whitened activations, and the whitening is not in its weights"
    ),
}


def recognises(folder: Path) -> bool:
    """Whether a folder holds one dictionary of this format."""
    return (folder / "cfg.json").exists() and (folder / "sae_weights.safetensors").exists()


def read(folder: Path) -> Dictionary:
    """Read one dictionary.

    Raises
    ------
    UserError
        If files are damaged or do not fit each other, the architecture or a normalisation is not
        one computed here, or it neither reads a layer's output nor is a transcoder of an MLP.
    """
    config, path = read_json(folder / "cfg.json"), folder / "sae_weights.safetensors"
    architecture = _architecture(config, folder)
    rule = _RULES[architecture]
    place = _place(folder, config, architecture)
    weights = read_weights(path)
    encoder, decoder, b_dec = need_weights(weights, ("W_enc", "W_dec", "b_dec"), path, "SAELens")
    encoder, threshold = encoder.T, weights.get("threshold")
    if architecture == "gated":
        rate, gate, bias = need_weights(weights, ("r_mag", "b_gate", "b_mag"), path, "SAELens")
        encoder, threshold = rate.exp()[:, None] * encoder, bias - rate.exp() * gate
    else:
        (bias,) = need_weights(weights, ("b_enc",), path, "SAELens")
    require_known(weights, (*_TENSORS[architecture], *_FACTORS), path, f"SAELens {architecture}")
    if "skip" in architecture:
        need(weights, ("W_skip",), path, f"SAELens {architecture}")
    features, width = encoder.shape
    sizes = {"d_in": width, "d_out": decoder.shape[1], "d_sae": features}
    require_sizes(config, sizes, folder / "cfg.json")
    if rule == "batchtopk":
        threshold = weights.get("topk_threshold", threshold)
    decoder = decoder * _factor(config, weights, folder)
    if truth(config, "rescale_acts_by_decoder_norm", False, folder / "cfg.json"):
        # The library ranks a * |column| and decodes along unit columns: the same function with the
        # norms in the encoder.
        norms = column_norms(decoder)
        encoder, bias, decoder = encoder * norms[:, None], bias * norms, decoder / norms[:, None]
    centred = truth(
        config, "apply_b_dec_to_input", "transcoder" not in architecture, folder / "cfg.json"
    )
    if centred and place.site == "mlp":
        raise UserError(
            f"{folder} is a transcoder with apply_b_dec_to_input, which takes the bias of its"
            " output from its input",
            "give the configuration that was written with these weights",
        )
    zero = torch.zeros_like(b_dec)
    return Dictionary(
        place.layer,
        encoder,
        bias,
        decoder,
        zero if centred else b_dec,
        b_dec if centred else zero,
        rule=rule,
        k=_k(config, path) if rule == "topk" else 0,
        threshold=threshold,
        provenance=_provenance(config, architecture) | place.named,
        catalogue=partial(_catalogue, folder),
        site=place.site,
        skip=weights.get("W_skip"),
        gain=place.gain,
    )


def _architecture(config: JsonObject, folder: Path) -> str:
    activation = config.get("activation_fn", config.get("activation_fn_str", "relu"))
    architecture = str(config.get("architecture", "standard"))
    if activation == "topk" and architecture in ("standard", "topk"):
        architecture = "topk"  # before version 5 the activation alone said so
    elif activation == "topk" and architecture in _RULES:
        raise UserError(
            f"{folder} has architecture {architecture!r} and activation {activation!r}, which do"
            " not go together",
            "give the configuration that was written with these weights",
        )
    elif activation not in ("relu", "topk"):
        raise UserError(f"{folder} has the activation {activation!r}", "supported: relu, topk")
    if architecture not in _RULES:
        raise UserError(
            f"{folder} has architecture {architecture!r}", f"supported: {', '.join(_RULES)}"
        )
    normalised = config.get("normalize_activations") or "none"
    normalised = "expected_average_only_in" if normalised is True else str(normalised)
    if normalised != "none":
        why = _NORMALISED.get(normalised, "normalises its input in a way that is not supported")
        raise UserError(
            f"{folder} has normalize_activations = {normalised!r}: it {why}",
            "fold the normalisation into the weights with SAELens first",
        )
    return architecture


class _Place(NamedTuple):
    layer: int
    site: Site
    gain: bool
    named: JsonObject  # the names of the places, for the provenance


def _place(folder: Path, config: JsonObject, architecture: str) -> _Place:
    """Where a dictionary or transcoder reads, and its layer.

    Raises
    ------
    UserError
        If the places are not those of a layer's output or of an MLP, or contradict each other.
    """
    metadata = section(config, "metadata", folder / "cfg.json")
    names = (
        *(found.get("hook_name") for found in (config, metadata)),
        *(found.get("hook_name_in") for found in (config, metadata)),
        config.get("hook_point"),
    )
    place = the_one(names, "hook_name", folder / "cfg.json")
    outs = (config.get("hook_name_out"), metadata.get("hook_name_out"))
    target = the_one(outs, "hook_name_out", folder / "cfg.json")
    head = config.get("hook_head_index", metadata.get("hook_head_index"))
    if config.get("reshape_activations", "none") not in ("none", None) or head is not None:
        place = f"{place} hook_z"  # one head, or all of them side by side
    if "transcoder" in architecture or target not in ("", place):
        if not place or not target:
            missing = "what it predicts (hook_name_out)" if place else "what it reads (hook_name)"
            raise UserError(
                f"{folder} has architecture {architecture!r}, and cfg.json does not say {missing}",
                "give the cfg.json that was written with these weights",
            )
        try:
            layer, gain, writes = mlp_place(place, target, folder)
        except UserError as error:
            raise UserError(
                f"{folder} reads {place!r} and predicts {target!r}: it is a transcoder"
                f" (architecture {architecture!r}) and not one of an MLP; {error.problem}",
                error.fix,
            ) from error
        require_mlp_folder(layer, folder)
        return _Place(layer, "mlp", gain, {"place": place, "writes": writes})
    layer, place = _layer(folder, config, metadata, place)
    return _Place(layer, "output", True, {"place": place})


def _layer(folder: Path, config: JsonObject, metadata: JsonObject, place: str) -> tuple[int, str]:
    """Layer whose output is read, and the name of the place."""
    layers = (
        config.get("hook_layer"),
        metadata.get("hook_layer"),
        config.get("hook_point_layer"),
    )
    head = config.get("hook_head_index", metadata.get("hook_head_index"))
    if config.get("reshape_activations", "none") not in ("none", None) or head is not None:
        place = f"{place} hook_z"  # one head, or all of them side by side
    if any(layer is not None for layer in layers):
        stated = same_number(layers, "hook_layer", folder / "cfg.json")
        require_same_layer(place or folder.name, stated, folder)
        # Models outside TransformerLens have places of any name; the layer is stated beside it.
        if not place and not re.search(LAYER, folder.name):
            place = f"layer_{stated}"
    layer = layer_of(place or folder.name, folder, stated=bool(place))
    require_same_folder(place or folder.name, layer, folder)
    return layer, place


def _factor(config: JsonObject, weights: dict[str, Tensor], folder: Path) -> Tensor:
    """Factor on each code before decoding, [F, 1]."""
    factor = weights.get("finetuning_scaling_factor", weights.get("scaling_factor"))
    if factor is None or bool((factor == 1).all()):
        return torch.ones(1)
    if not config.get("finetuning_scaling_factor"):
        raise UserError(
            f"{folder} has a scaling factor that cfg.json does not mention",
            "give weights and cfg.json of the same training run",
        )
    return factor[:, None]


def _k(config: JsonObject, path: Path) -> int:
    return same_number(
        (config.get("k"), section(config, "activation_fn_kwargs", path).get("k")), "k", path
    )


def _provenance(config: JsonObject, architecture: str) -> JsonObject:
    metadata = config.get("metadata") or {}
    known = {**metadata, **config}
    return {
        "trained_on": str(known.get("dataset_path") or "not stated"),
        "format": f"SAELens {architecture}",
        "model": str(known.get("model_name") or ""),
    }


def _catalogue(folder: Path, n_features: int) -> FeatureCatalogue | None:
    """Firing rates of a training checkpoint: ``sparsity`` is log10(rate + 1e-10)."""
    path = folder / "sparsity.safetensors"
    if not is_there(path):
        return None
    logarithm = read_tensors(path).get("sparsity", torch.zeros(0)).double().numpy()
    if logarithm.shape != (n_features,):
        raise UserError(
            f"{path} lists {logarithm.size:,} features; the dictionary beside it has"
            f" {n_features:,}",
            "copy both again",
        )
    rate = np.maximum(10**logarithm - 1e-10, 0.0)
    rate[rate < 1e-12] = 0.0
    require_rates(rate, path)
    return FeatureCatalogue(rate, rate == 0, np.full(n_features, np.nan), source=str(path))

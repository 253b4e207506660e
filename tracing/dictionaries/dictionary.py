"""One sparse dictionary: encoder, sparsity rule and decoder of one layer.

With the mean m that it subtracts,

    a = W_enc (x - m) + b_enc
    z = ReLU(a) on the k largest entries of a, 0 elsewhere        topk
    z = ReLU(a)                                                   relu
    z = ReLU(a) where a > threshold, 0 elsewhere                  jumprelu, batchtopk
    x^ = W_dec z + b_dec + m

A feature is active in a row where z > 0. The direction of feature f is the column W_dec[:, f];
`decoder_norm` says whether columns have unit norm (``columns``), or, as in the published
dictionaries, rows (``rows``), which leaves columns of any length. BatchTopK takes the largest codes
of a whole batch in training, which depends on the batch; here its stored threshold is used.

That is a dictionary of a layer's output. A transcoder reads the MLP input of its layer, after its
norm, and writes the MLP output, which the layer adds to its stream:

    TC(x) = W_dec z + b_dec (+ W_skip x)

so that there m is taken from what is read and not added to what is written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from scircuit.core.errors import UserError
from scircuit.tracing.dictionaries.formats.safe_files import readable
from scircuit.tracing.dictionaries.training_statistics import FeatureCatalogue
from scircuit.tracing.hardware.row_padding import by_row
from scircuit.tracing.interfaces import JsonObject

RULES = ("topk", "batchtopk", "relu", "jumprelu")
Site = Literal["output", "mlp"]


class Dictionary:
    """A dictionary at one layer.

    Parameters
    ----------
    layer
        0-based encoder layer whose output it reads; of a transcoder, whose MLP it stands for.
    encoder
        W_enc, [F, d].
    encoder_bias
        b_enc, [F].
    decoder
        W_dec with one row per feature, [F, d].
    decoder_bias
        b_dec, [d].
    mean
        m, [d].
    rule, k
        Sparsity rule; active entries a row (``topk``).
    threshold
        [F] or one for all, for ``jumprelu`` and ``batchtopk``.
    provenance
        Where it was trained and its quality there.
    catalogue
        Reads how often its features fired where it was made, given their number.
    site
        ``output``: it reads the layer's output, and describes it. ``mlp``: a transcoder; its
        columns are directions of the MLP output, and so of the layer's output.
    skip
        W_skip of a transcoder, [d, d]: one row for each entry of what is written.
    gain
        Whether the MLP input that a transcoder reads has the weight and bias of its norm in it.
        Where it has not (TransformerLens calls that ``ln2.hook_normalized``), they have to be
        folded in before it can be used: `scircuit.tracing.dictionaries.mlp_site`.

    Raises
    ------
    UserError
        If shapes do not fit, a weight is not finite, or rule and k are impossible.
    """

    def __init__(
        self,
        layer: int,
        encoder: Tensor,
        encoder_bias: Tensor,
        decoder: Tensor,
        decoder_bias: Tensor,
        mean: Tensor,
        *,
        rule: str = "topk",
        k: int = 0,
        threshold: Tensor | None = None,
        provenance: JsonObject | None = None,
        catalogue: Callable[[int], FeatureCatalogue | None] | None = None,
        site: Site = "output",
        skip: Tensor | None = None,
        gain: bool = True,
    ) -> None:
        tensors = {
            "encoder": encoder,
            "encoder_bias": encoder_bias,
            "decoder": decoder,
            "decoder_bias": decoder_bias,
            "mean": mean,
        }
        self.layer, self.rule, self.gain = layer, rule, gain
        self.site: Site = site
        self.kind = "transcoder" if site == "mlp" else "dictionary"
        if skip is not None:
            tensors["skip"] = skip
        if threshold is not None:
            tensors["threshold"] = threshold
        self._check_types(tensors)
        if threshold is not None and encoder.ndim:
            tensors["threshold"] = (
                threshold.expand(len(encoder)) if threshold.numel() == 1 else threshold
            )
        self.tensors = {
            name: t.detach().to(torch.float32).contiguous() for name, t in tensors.items()
        }
        self.provenance: JsonObject = dict(provenance or {})
        self.read_catalogue = catalogue
        self._check(k)
        self.n_features, self.width = encoder.shape
        self.k = k if rule == "topk" else self.n_features
        self.decoder_norm = _norm(self.tensors["decoder"])
        of_site = "" if site == "output" else " mlp" if gain else " mlp before its gain"
        self.sha256 = _hash(self.tensors, f"{layer} {rule} {self.k}{of_site}")
        self._prepare()

    def _check_types(self, tensors: Mapping[str, Tensor]) -> None:
        for name, value in tensors.items():
            kind = str(getattr(value, "dtype", type(value).__name__)).removeprefix("torch.")
            if not isinstance(value, Tensor) or not value.dtype.is_floating_point:
                raise UserError(
                    f"{self.kind} of layer {self.layer}: {name} is of {kind}; expected"
                    " floating-point numbers",
                    "give the weights as they were before quantisation",
                )

    def _check(self, k: int) -> None:
        where = f"{self.kind} of layer {self.layer}"
        if self.site not in ("output", "mlp"):
            raise UserError(f"{where}: unknown site {self.site!r}", "known sites: output, mlp")
        if self.site == "output" and ("skip" in self.tensors or not self.gain):
            odd = "a skip" if "skip" in self.tensors else "an input before the gain of a norm"
            raise UserError(
                f"{where}: {odd}, which only a transcoder has",
                "give it with the site mlp, if it is a transcoder",
            )
        shape = tuple(self.tensors["encoder"].shape)
        if len(shape) != 2 or 0 in shape:
            raise UserError(
                f"{where}: the encoder has shape {shape}; expected [features, width]",
                "give the weights of one dictionary",
            )
        n, width = shape
        expected = {
            "encoder": (n, width),
            "encoder_bias": (n,),
            "decoder": (n, width),
            "decoder_bias": (width,),
            "mean": (width,),
            "threshold": (n,),
            "skip": (width, width),
        }
        for name, tensor in self.tensors.items():
            if tuple(tensor.shape) != expected[name]:
                raise UserError(
                    f"{where}: {name} has shape {tuple(tensor.shape)}; expected {expected[name]}"
                    f" for {n} features of width {width}",
                    "give the files of one training run and one layer",
                )
            bad = int((~torch.isfinite(tensor)).sum())
            if bad:
                raise UserError(
                    f"{where}: {bad:,} of {tensor.numel():,} values of {name} are NaN or infinite",
                    "train it again or download it again",
                )
        if self.rule not in RULES:
            raise UserError(
                f"{where}: unknown sparsity rule {self.rule!r}", f"known rules: {', '.join(RULES)}"
            )
        if self.rule == "topk" and not 0 < k <= n:
            raise UserError(
                f"{where}: k = {k} of {n} features",
                "k must be between 1 and the number of features",
            )
        threshold = self.tensors.get("threshold")
        if self.rule in ("topk", "relu") and threshold is not None:
            raise UserError(
                f"{where}: rule {self.rule} with a threshold, which it does not have",
                "give weights and configuration of the same training run",
            )
        if self.rule == "jumprelu" and threshold is None:
            raise UserError(
                f"{where}: jumprelu without a threshold", "give the threshold of every feature"
            )
        if self.rule == "batchtopk" and (threshold is None or bool((threshold < 0).any())):
            raise UserError(
                f"{where}: BatchTopK without a stored threshold; expected one, since the largest"
                " codes of a batch depend on the batch",
                "train it past the step where its threshold is estimated",
            )

    def _prepare(self) -> None:
        # The mean is folded into the bias: W (x - m) + b = W x + (b - W m), one pass over the rows
        # instead of two.
        t = self.tensors
        self._encoder, self._decoder = t["encoder"], t["decoder"]
        # On the CPU, because not every device has double precision.
        shift = t["encoder"].cpu().double() @ t["mean"].cpu().double()
        self._bias = t["encoder_bias"] - shift.float().to(t["encoder_bias"].device)
        self._offset = t["decoder_bias"] + (t["mean"] if self.site == "output" else 0.0)
        self._threshold = t["threshold"].clamp(min=0) if "threshold" in t else None

    @cached_property
    def catalogue(self) -> FeatureCatalogue | None:
        """How often its features fired where it was made; None where that is not known."""
        read = self.read_catalogue
        if read is None:
            return None
        with readable(f"the catalogue of layer {self.layer}"):
            return read(self.n_features)

    def to(self, device: torch.device | str) -> Dictionary:
        """Move the weights, in place."""
        self.tensors = {name: t.to(device) for name, t in self.tensors.items()}
        self._prepare()
        return self

    @property
    def encoder(self) -> Tensor:
        """Encoder rows e_j, [F, d]: a change of the state by v changes pre-activations by
        ``e_j . v``.
        """
        return self._encoder

    def pre_activations(self, x: Tensor) -> Tensor:
        """Pre-activations a of rows [N, d]: [N, F]."""
        return by_row(lambda rows: torch.nn.functional.linear(rows, self._encoder, self._bias), x)

    def encode_topk(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Sparse codes of rows [N, d]: values [N, k], falling, and feature indices [N, k]; value 0
        where the ReLU cut.

        Of equal pre-activations at the k-th place, which is kept is torch's choice, the same for
        the same input and device. Rules without a k return as many entries as the row with most
        active features has: all active ones are there, and which features fill the other rows at
        value 0 means nothing.
        """
        return self.select(self.pre_activations(x))

    def select(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """Sparse codes of pre-activations [N, F], which may be overwritten: see `encode_topk`."""
        if self.rule == "topk":
            values, indices = a.topk(self.k, dim=-1)
            return values.relu_(), indices
        z = self._cut(a)
        most = int((z > 0).sum(-1).max()) if len(z) else 1
        values, indices = z.topk(max(most, 1), dim=-1)
        return values, indices

    def encode(self, x: Tensor) -> Tensor:
        """Dense codes of rows [N, d]: [N, F]."""
        if self.rule == "topk":
            values, indices = self.encode_topk(x)
            return torch.zeros(
                len(x), self.n_features, dtype=values.dtype, device=values.device
            ).scatter_(1, indices, values)
        return self._cut(self.pre_activations(x))

    def _cut(self, a: Tensor) -> Tensor:
        if self._threshold is None:
            return a.relu_()
        return torch.where(a > self._threshold, a, 0.0)  # the threshold is never below 0

    def columns(self, features: Tensor) -> Tensor:
        """Directions W_dec[:, f] of the features [M]: [M, d]."""
        return self._decoder[features]

    @property
    def skip(self) -> Tensor | None:
        """W_skip of a transcoder that has one, [d, d]."""
        return self.tensors.get("skip")

    def decode(self, z: Tensor, x: Tensor | None = None) -> Tensor:
        """Rows from dense codes [N, F]: [N, d], decoder bias and mean included.

        Of a dictionary of a layer's output the rows it read, reconstructed; of a transcoder the MLP
        output. One with a skip needs `x`, the MLP input that was encoded, [N, d]; others ignore it.

        Raises
        ------
        UserError
            If a transcoder with a skip is given no `x`.
        """
        return self._with_skip(z @ self._decoder + self._offset, x)

    def decode_topk(self, values: Tensor, indices: Tensor, x: Tensor | None = None) -> Tensor:
        """Rows from sparse codes [N, k]: [N, d]; `x` as for `decode`."""
        found = torch.einsum("nk,nkd->nd", values, self._decoder[indices]) + self._offset
        return self._with_skip(found, x)

    def _with_skip(self, found: Tensor, x: Tensor | None) -> Tensor:
        skip = self.skip
        if skip is None:
            return found
        if x is None:
            raise UserError(
                f"{self.kind} of layer {self.layer}: its skip needs the input that was encoded",
                "give decode and decode_topk the rows x beside their codes",
            )
        return found + by_row(lambda rows: torch.nn.functional.linear(rows, skip), x)

    def __repr__(self) -> str:
        rule = f"{self.rule}, k={self.k}" if self.rule == "topk" else self.rule
        name = "Transcoder" if self.site == "mlp" else "Dictionary"
        skip = "" if self.skip is None else ", with a skip"
        return (
            f"{name}(layer={self.layer}, {self.n_features} features of width {self.width},"
            f" {rule}{skip})"
        )


def _norm(decoder: Tensor) -> str:
    def unit(dim: int) -> bool:
        norms = decoder.norm(dim=dim)
        return bool(torch.allclose(norms, torch.ones_like(norms), atol=1e-3))

    return "columns" if unit(1) else "rows" if unit(0) else "none"


def _hash(tensors: Mapping[str, Tensor], settings: str) -> str:
    digest = hashlib.sha256(settings.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].cpu().numpy().tobytes())
    return digest.hexdigest()

"""A transcoder as attribution reads it: weights in the precision of the states, the mean that it
subtracts folded into its bias.

    z = select(W_enc x + b),      TC(x) = W_dec z + b_dec (+ W_skip x)

with x the MLP input and TC(x) what is taken for the MLP output.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from scircuit.core.errors import UserError
from scircuit.tracing.dictionaries.dictionary import Dictionary
from scircuit.tracing.hardware.row_padding import ROWS, by_row

_CODES = 2**26  # pre-activations held at once


class TranscoderWeights:
    """One transcoder in a given precision.

    Parameters
    ----------
    dictionary
        A dictionary whose site is the MLP.
    dtype
        Precision of the states.

    Raises
    ------
    UserError
        If the dictionary reads a layer's output, or an input before the gain of its norm.
    """

    def __init__(self, dictionary: Dictionary, dtype: torch.dtype) -> None:
        if dictionary.site != "mlp":
            raise UserError(
                f"the dictionary of layer {dictionary.layer} reads the layer's"
                f" {dictionary.site}; attribution needs transcoders, which read the MLP input and"
                " write the MLP output",
                "give transcoders, or trace SAEs by ablation",
            )
        if not dictionary.gain:
            raise UserError(
                f"the transcoder of layer {dictionary.layer} reads its input before the gain of the"
                " norm; attribution reads it behind that",
                "fold the gain in (scircuit.tracing.dictionaries.mlp_site)",
            )
        self.layer, self.dictionary = dictionary.layer, dictionary
        self.n_features, self.width = dictionary.n_features, dictionary.width
        nothing = torch.zeros(1, self.width, device=dictionary.encoder.device)
        self.encoder = dictionary.encoder.to(dtype)
        self.encoder_bias = dictionary.pre_activations(nothing)[0].to(dtype)
        self.decoder = dictionary.tensors["decoder"].to(dtype)
        none = nothing.new_zeros(1, self.n_features)
        self.offset = dictionary.decode(none, nothing)[0].to(dtype)
        self.skip = None if dictionary.skip is None else dictionary.skip.to(dtype)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Sparse codes of MLP inputs [S, d]: values and indices [S, k], k the most of any row; 0 at
        places that a row does not fill.
        """
        step = max(1, _CODES // (ROWS * self.n_features)) * ROWS
        linear = partial(functional.linear, weight=self.encoder, bias=self.encoder_bias)
        found = [self.dictionary.select(by_row(linear, rows)) for rows in x.split(step)]
        most = max(values.shape[1] for values, _ in found)
        values, indices = (
            torch.cat([functional.pad(t, (0, most - t.shape[1])) for t in part])
            for part in zip(*found, strict=True)
        )
        return values, indices

    def decode(self, values: Tensor, indices: Tensor, x: Tensor) -> Tensor:
        """What the transcoder takes for the MLP output, [S, d], of codes [S, k] and MLP inputs
        [S, d].
        """
        step = max(1, _CODES // max(1, values.shape[1] * self.width))  # few [k, d] at a time
        parts = [
            (z[:, None] @ self.decoder[f])[:, 0]
            for z, f in zip(values.split(step), indices.split(step), strict=True)
        ]
        found = torch.cat(parts) + self.offset
        return found if self.skip is None else found + by_row(self.skipped, x)

    def skipped(self, x: Tensor) -> Tensor:
        """The linear part ``W_skip x`` of MLP inputs [N, d]."""
        return x @ self.skip.T if self.skip is not None else torch.zeros_like(x)

"""The layer of a decoder with norms before its blocks, which GPT-NeoX and Gemma-2 share: causal
attention and feed-forward, each added to the residual stream.

On states x, with a what attention gave the rows of ``N_1(x)``,

    parallel      h = x + A(a) + F(N_2(x))
    sequential    y = x + A(a);   h = y + F(N_2(y))

where ``A(a) = W_o a + b_o`` and F is the feed-forward, each followed by a norm of its own where the
family has one (Gemma-2). ``N_2``'s output is the MLP input: the site that transcoders read; what F
adds is the MLP output, which they write.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scircuit.tracing.hardware.row_padding import by_row
from scircuit.tracing.models.adapter import Adapter


class Norm(NamedTuple):
    """LayerNorm, or RMSNorm where it is not centred: ``weight * (x - mean) / sigma + bias``."""

    weight: Tensor  # [d]
    bias: Tensor | None  # [d]
    eps: float
    centred: bool

    def sigma(self, x: Tensor) -> Tensor:
        """What rows [..., d] are divided by, [..., 1]."""
        if self.centred:
            x = x - x.mean(-1, keepdim=True)
        return (x.square().mean(-1, keepdim=True) + self.eps).sqrt()

    def __call__(self, x: Tensor) -> Tensor:
        """Normalised rows [..., d]."""
        if self.centred:
            return functional.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)
        found = x / self.sigma(x) * self.weight
        return found if self.bias is None else found + self.bias

    def pull_back(self, v: Tensor, sigma: Tensor) -> Tensor:
        """Vectors u [..., d] with ``v . N(x) = u . x + v . bias`` while `sigma` [..., 1] is frozen:
        ``u = P(weight * v) / sigma``, P taking out the mean where the norm is centred.
        """
        u = self.weight * v
        if self.centred:
            u = u - u.mean(-1, keepdim=True)
        return u / sigma


class Affine(NamedTuple):
    """``W x + b``."""

    weight: Tensor  # [out, in]
    bias: Tensor | None = None  # [out]

    def __call__(self, x: Tensor) -> Tensor:
        """Rows [..., in] to rows [..., out]."""
        return functional.linear(x, self.weight, self.bias)


class PreNormLayer(NamedTuple):
    """Weights and modules of one layer."""

    norm_1: Norm
    query: Affine  # [H e, d], already scaled so that scores are q . k / sqrt(e)
    key: Affine  # [G e, d], G groups of heads that share keys
    value: Affine  # [G e, d]
    out: Affine  # [d, H e]
    norm_attended: Norm | None
    norm_2: Norm
    mlp: Callable[[Tensor], Tensor]
    norm_fed: Norm | None
    parallel: bool


class PreNorm(Adapter):
    """A causal decoder whose `layers` have their norms before the blocks.

    Attributes
    ----------
    layers
        Weights of each layer.
    rates
        [e' / 2] turns of rotary positions: pair i of the first e' entries of each head is rotated
        by ``position * rates[i]``; entries after these are left as they are.
    """

    layers: list[PreNormLayer]
    rates: Tensor
    adds_to_stream = True
    has_mlp_site = True

    def project(
        self, layer: int, states: Tensor, positions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values; queries and keys rotated by their positions."""
        w = self.layers[layer]
        x = w.norm_1(states)
        turn = self._turns(positions)
        return self._rotate(w.query(x), turn), self._rotate(w.key(x), turn), w.value(x)

    def project_query(self, layer: int, states: Tensor, positions: Tensor) -> Tensor:
        """Queries alone."""
        w = self.layers[layer]
        return self._rotate(w.query(w.norm_1(states)), self._turns(positions))

    def project_key_value(
        self, layer: int, states: Tensor, positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Keys and values alone."""
        w = self.layers[layer]
        x = w.norm_1(states)
        return self._rotate(w.key(x), self._turns(positions)), w.value(x)

    def attended(self, layer: int, context: Tensor) -> Tensor:
        """What attention adds to the residual stream, [..., d]."""
        w = self.layers[layer]
        found = w.out(context)
        return found if w.norm_attended is None else w.norm_attended(found)

    def fed(self, layer: int, x: Tensor) -> Tensor:
        """What the feed-forward adds to the residual stream for MLP inputs x [..., d]."""
        w = self.layers[layer]
        found = w.mlp(x)
        return found if w.norm_fed is None else w.norm_fed(found)

    def finish(self, layer: int, states: Tensor, context: Tensor) -> Tensor:
        """Both blocks added to the stream."""
        w = self.layers[layer]
        after = states + self.attended(layer, context)
        return after + self.fed(layer, w.norm_2(states if w.parallel else after))

    def layer_with_mlp(self, layer: int, states: Tensor, mlp_out: Tensor) -> Tensor:
        """Output of one layer for states [B, S, d] when its feed-forward adds `mlp_out` [B, S, d],
        whatever it reads.
        """
        parts = by_row(partial(self.project, layer), states, self._positions(states))
        attended = by_row(partial(self.attended, layer), self.attend(layer, *parts))
        return states + attended + mlp_out

    def mlp_stream(self, layer: int, states: Tensor, context: Tensor) -> Tensor:
        """Residual stream that the feed-forward reads, before its norm."""
        if self.layers[layer].parallel:
            return states
        return states + self.attended(layer, context)

    def mlp_norm(self, layer: int, stream: Tensor) -> Tensor:
        """MLP input of rows of the stream: what a transcoder reads."""
        return self.layers[layer].norm_2(stream)

    @torch.no_grad()
    def clean_mlp(self, cell: np.ndarray) -> list[tuple[Tensor, Tensor]]:
        """MLP input and MLP output of every layer for one cell [S]: list of [S, d], [S, d]; the
        output is what the feed-forward adds to the stream.
        """
        state, found = self.embed(cell)[None], []
        for l in range(self.n_layers):  # noqa: E741
            read = self.mlp_inputs(l, state)
            found.append((read[0], by_row(partial(self.fed, l), read)[0]))
            state = self.layer(l, state)
        return found

    def rotate(self, x: Tensor, positions: Tensor) -> Tensor:
        """Queries or keys [..., n e] as they are at `positions` [...]."""
        return self._rotate(x, self._turns(positions))

    def _turns(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine of the turns at positions [...]: [..., 1, e' / 2]."""
        angle = positions[..., None, None].to(self.rates.dtype) * self.rates
        return angle.cos(), angle.sin()

    def _rotate(self, x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        """Rotate the first e' entries of every head."""
        heads = x.unflatten(-1, (-1, self.head_size))
        half = len(self.rates)
        low, high, rest = heads.split([half, half, self.head_size - 2 * half], dim=-1)
        cos, sin = (t.to(x.dtype) for t in turn)
        return torch.cat([low * cos - high * sin, high * cos + low * sin, rest], -1).flatten(-2)

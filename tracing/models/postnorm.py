"""The layer of BERT, which Geneformer and scGPT share: attention and feed-forward, each followed by
a residual and a LayerNorm.

On states x: q, k, v affine in x, by one product with their stacked weights; ``y = LN(x + W_o a +
b_o)`` with a what attention gave; ``h = LN(y + W_2 act(W_1 y + b_1) + b_2)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional

from scircuit.tracing.models.adapter import Adapter


class Layer(NamedTuple):
    """Weights and modules of one layer."""

    qkv: Tensor  # [3d, d]
    qkv_bias: Tensor  # [3d]
    out: Callable[[Tensor], Tensor]
    norm_1: Callable[[Tensor], Tensor]
    up: Callable[[Tensor], Tensor]
    act: Callable[[Tensor], Tensor]
    down: Callable[[Tensor], Tensor]
    norm_2: Callable[[Tensor], Tensor]


class PostNorm(Adapter):
    """An adapter whose `layers` are those of BERT; positions, if any, are in the states already."""

    layers: list[Layer]

    def project(
        self,
        layer: int,
        states: Tensor,
        positions: Tensor,  # noqa: ARG002 - of the interface
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values by one product."""
        w = self.layers[layer]
        query, key, value = functional.linear(states, w.qkv, w.qkv_bias).split(self.width, dim=-1)
        return query, key, value

    def project_query(self, layer: int, states: Tensor, positions: Tensor) -> Tensor:  # noqa: ARG002
        """Queries alone."""
        w, d = self.layers[layer], self.width
        return functional.linear(states, w.qkv[:d], w.qkv_bias[:d])

    def project_key_value(
        self,
        layer: int,
        states: Tensor,
        positions: Tensor,  # noqa: ARG002 - of the interface
    ) -> tuple[Tensor, Tensor]:
        """Keys and values alone."""
        w, d = self.layers[layer], self.width
        key, value = functional.linear(states, w.qkv[d:], w.qkv_bias[d:]).split(d, dim=-1)
        return key, value

    def finish(self, layer: int, states: Tensor, context: Tensor) -> Tensor:
        """Output projection, feed-forward and both residual norms."""
        w = self.layers[layer]
        y = w.norm_1(w.out(context).add_(states))
        return w.norm_2(w.down(w.act(w.up(y))).add_(y))

    def held(self, layer: int, states: Tensor, context: Tensor) -> tuple[Tensor, ...]:
        """Clean outputs of attention and of feed-forward, [..., d] each."""
        w = self.layers[layer]
        attended = w.out(context)
        y = w.norm_1(attended + states)
        return attended, w.down(w.act(w.up(y)))

    def carry(self, layer: int, rows: Tensor, held: tuple[Tensor, ...]) -> Tensor:
        """``LN(ff_clean + LN(att_clean + x))``: both norms see the changed rows."""
        w, (attended, fed) = self.layers[layer], held
        return w.norm_2(fed + w.norm_1(attended + rows))

"""What one attention layer brings to vectors at its output: by which head, from which position, and
from which features there.

For a vector v read at position t behind layer m, with ``q = (W_O^h)^T v`` (behind the norm of
attention's output, where there is one) and ``w = (W_V^h)^T q``,

    v . attention_m(t) = sum_{h,s} A^h(t, s) ( u_h . h_m(s) / sigma_1(s) + const_h ) + b_O . v
    u_h = P(gamma_1 * w) ,    const_h = beta_1 . w + b_V^h . q .

``A^h(t, s) u_h / sigma_1(s)`` is the vector that is searched on from (m, s). Only the B rows of the
patterns that are asked for are computed: memory is O(B H (S + d)), never positions by positions by
d. Why a head looked there is another question (`scircuit.tracing.attribution.query_key_terms`).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from scircuit.tracing.attribution.frozen_cell import FrozenCell
from scircuit.tracing.hardware.row_padding import by_row


class HeadPaths(NamedTuple):
    """Contributions of one layer's heads to B vectors."""

    layer: int
    weights: Tensor  # [B, H, S] attention from each vector's position
    through: Tensor  # [B, H, S] what a head brings from a position, without constants
    read: Tensor  # [B, H, d] u
    norm_bias: Tensor  # [B, H] beta_1 . w; at a position, times `weights`
    value_bias: Tensor  # [B, H] b_V . q; at a position, times `weights`
    output_bias: Tensor  # [B] b_O . v
    attended_bias: Tensor  # [B] of the norm of attention's output

    @property
    def constants(self) -> Tensor:
        """What a head brings from a position whatever is there, [B, H, S]."""
        return self.weights * (self.norm_bias + self.value_bias)[..., None]

    @property
    def total(self) -> Tensor:
        """What attention adds to each vector's value, [B]."""
        return (self.through + self.constants).sum((1, 2)) + self.output_bias + self.attended_bias


def head_paths(cell: FrozenCell, layer: int, vectors: Tensor, positions: Tensor) -> HeadPaths:
    """Split what attention of a layer adds to vectors [B, d] read at `positions` [B] of what the
    layer's attention is added to.
    """
    with torch.no_grad():
        return _head_paths(cell, layer, vectors, positions)


def _head_paths(cell: FrozenCell, layer: int, vectors: Tensor, positions: Tensor) -> HeadPaths:
    w, frozen, adapter = cell.adapter.layers[layer], cell.layers[layer], cell.adapter
    v, none = vectors, vectors.new_zeros(len(vectors))
    attended_bias = none
    if w.norm_attended is not None and frozen.sigma_attended is not None:
        if w.norm_attended.bias is not None:
            attended_bias = (v * w.norm_attended.bias).sum(-1)
        v = w.norm_attended.pull_back(v, frozen.sigma_attended[positions])
    output_bias = none if w.out.bias is None else (v * w.out.bias).sum(-1)
    query = by_row(lambda rows: rows @ w.out.weight, v).unflatten(-1, (adapter.n_heads, -1))
    shared = adapter.n_heads * adapter.head_size // w.value.weight.shape[0]
    values = w.value.weight.unflatten(0, (-1, adapter.head_size))  # [G, e, d]
    at_norm = torch.stack(
        [
            by_row(lambda rows, h=h: rows @ values[h // shared], query[:, h])
            for h in range(adapter.n_heads)
        ],
        1,
    )
    no_bias = query.new_zeros(query.shape[:2])
    norm_bias = no_bias if w.norm_1.bias is None else (at_norm * w.norm_1.bias).sum(-1)
    value_bias = no_bias
    if w.value.bias is not None:
        own = w.value.bias.unflatten(0, (-1, adapter.head_size)).repeat_interleave(shared, 0)
        value_bias = (query * own).sum(-1)
    read = w.norm_1.pull_back(at_norm, at_norm.new_ones(()))
    weights = cell.pattern_rows(layer, positions)
    along = by_row(lambda rows: rows @ frozen.states.T, read) / frozen.sigma_1[:, 0]
    return HeadPaths(
        layer,
        weights,
        weights * along,
        read,
        norm_bias,
        value_bias,
        output_bias,
        attended_bias,
    )


def search_vector(cell: FrozenCell, paths: HeadPaths, b: int, head: int, position: int) -> Tensor:
    """What a head reads of its layer's input at a position for vector b: [d]."""
    sigma = cell.layers[paths.layer].sigma_1[position]
    return paths.read[b, head] * (paths.weights[b, head, position] / sigma)


def features_read(cell: FrozenCell, layer: int, position: int, vector: Tensor) -> Tensor:
    """Direct contributions of a layer's features at one position to a vector [d]: [k], in the order
    of the cell's codes there.
    """
    frozen, weights = cell.layers[layer], cell.transcoders.get(layer)
    if weights is None:
        return frozen.values[position]
    return (weights.decoder[frozen.indices[position]] @ vector) * frozen.values[position]


def features_through_head(
    cell: FrozenCell, paths: HeadPaths, b: int, head: int, source_layer: int
) -> Tensor:
    """Direct contributions [S, k] of a lower layer's features, at all positions, that a head brings
    to vector b.
    """
    frozen, weights = cell.layers[source_layer], cell.transcoders.get(source_layer)
    if weights is None:
        return frozen.values
    along = by_row(lambda rows: rows @ weights.decoder.T, paths.read[b, head][None])[
        0
    ]  # [F]: one product for all positions
    factor = paths.weights[b, head] / cell.layers[paths.layer].sigma_1[:, 0]
    return along[frozen.indices] * frozen.values * factor[:, None]

"""All contributions to a batch of targets in one sweep from the top layer down.

With attention patterns and norms held fixed and every MLP output a leaf, the vector g(l, s) pulled
back to the output of layer l at position s gives

    feature     z^{l,i}(s) * ( f_dec^{l,i} . g(l, s) )
    error       error_l(s) . g(l, s)
    embedding   h_0(s) . g(-1, s)

and every bias its own product. Going down one layer, g collects what reaches it through the
residual stream, through a transcoder's skip (``P(gamma_2 * W_skip^T g) / sigma_2``) and through
attention: with ``q = W_o^T g`` per head (behind the norm of attention's output, where there is
one),

    g(s) += P(gamma_1 * W_v^T sum_t A(t, s) q(t)) / sigma_1(s) .

Where blocks are parallel, a layer's attention does not reach its own feed-forward. Each layer is
handed over before the next is made, so at no time is there an object of targets by sources of all
layers. A target's numbers do not depend on what else is in its batch
(`scircuit.tracing.hardware.row_padding`); `target_batches` puts those together that see equally
far, those of high layers first. Above its own layer a target's g is 0, so there only the targets
before it are multiplied.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from scircuit.tracing.attribution.frozen_cell import FrozenCell
from scircuit.tracing.attribution.targets import Target
from scircuit.tracing.hardware.row_padding import by_row
from scircuit.tracing.models.decoders.prenorm import Norm

TARGETS = 48
"""Targets of a batch; a multiple of what matrix kernels take at once, to which fewer are padded."""

_HELD, _HELD_ELSEWHERE = {"cpu": 2**18}, 2**24
"""Numbers of gathered decoder rows, and of vectors, held at once: on a CPU what a cache holds."""

EMBEDDING = -1
"""Layer of the token embedding among the parts of a sweep."""


class LayerPart(NamedTuple):
    """What one layer contributes to B targets from the first E positions."""

    layer: int  # EMBEDDING for the last part
    pull: Tensor  # [B, E, d] targets pulled back to the layer's output
    features: Tensor  # [B, E, k] contributions of the features at `indices`
    indices: Tensor  # [E, k]
    values: Tensor  # [E, k] their activations; contributions are 0 where these are
    errors: Tensor  # [B, E]; of the embedding part: the embeddings
    biases: dict[str, Tensor]  # name -> [B, E]


def target_batches(
    cell: FrozenCell, targets: Sequence[Target], size: int = TARGETS
) -> list[list[int]]:
    """Indices of targets that are swept together: of one extent, similar layers, at most `size`."""
    extents = [cell.extent(t.position) for t in targets]
    order = sorted(range(len(targets)), key=lambda i: (extents[i], -targets[i].layer, i))
    batches: list[list[int]] = []
    for i in order:
        last = batches[-1] if batches else []
        if last and len(last) < size and extents[last[0]] == extents[i]:
            last.append(i)
        else:
            batches.append([i])
    return batches


@torch.no_grad()  # while a part is made, not while the caller works
def backward_rows(cell: FrozenCell, targets: Sequence[Target]) -> Iterator[LayerPart]:
    """Sweep once, for one batch of targets.

    Parameters
    ----------
    cell
        The cell.
    targets
        [B] targets; their extents should be equal (`target_batches`), or those that see less are
        swept over more positions, all of zeros.

    Yields
    ------
    LayerPart
        From the highest layer that contributes down to the embedding.
    """
    extent, count = max(cell.extent(t.position) for t in targets), len(targets)
    top = min(max(t.layer for t in targets), cell.n_layers - 1)
    g = cell.final.new_zeros(_begun(targets, top + 1), extent, cell.adapter.width)
    for m in range(top, -1, -1):
        layer, biases = cell.layers[m], {}
        _inject(g, targets, m + 1, at_mlp=False)
        features = _features(cell, m, g)
        errors = _along(g, layer.error[:extent])
        below = _filled(_below_mlp(cell, m, g, biases), _begun(targets, m))
        _inject(below, targets, m, at_mlp=True)
        _attention(cell, m, g if cell.adapter.layers[m].parallel else below, below, biases)
        yield LayerPart(
            m,
            _filled(g, count),
            _filled(features, count),
            layer.indices[:extent],
            layer.values[:extent],
            _filled(errors, count),
            {name: _filled(bias, count) for name, bias in biases.items()},
        )
        g = below
    _inject(g, targets, 0, at_mlp=False)
    nothing = cell.layers[0].indices[:extent, :0]
    yield LayerPart(
        EMBEDDING,
        g,
        g.new_zeros(*g.shape[:2], 0),
        nothing,
        g.new_zeros(extent, 0),
        _along(g, cell.states(0)[:extent]),
        {},
    )


def _begun(targets: Sequence[Target], layer: int) -> int:
    """How many targets there are up to the last one that starts in `layer` or above."""
    return max((b + 1 for b, t in enumerate(targets) if t.layer >= layer), default=0)


def _filled(found: Tensor, count: int) -> Tensor:
    """Zeros for targets that begin further down, until there are `count`."""
    if len(found) == count:
        return found
    filled = found.new_zeros(count, *found.shape[1:])
    filled[: len(found)] = found
    return filled


def _inject(g: Tensor, targets: Sequence[Target], layer: int, at_mlp: bool) -> None:
    for b, target in enumerate(targets):
        if target.layer == layer and target.at_mlp == at_mlp:
            g[b, target.position] += target.vector


def _features(cell: FrozenCell, layer: int, g: Tensor) -> Tensor:
    """Contributions [B, E, k] of a layer's features."""
    weights, frozen = cell.transcoders.get(layer), cell.layers[layer]
    count, extent, width = g.shape
    k = frozen.values.shape[1]
    if weights is None:
        return g.new_zeros(count, extent, 0)
    # on a CPU always so many columns at the same place in memory, both of which decide bits
    columns = TARGETS if g.device.type == "cpu" else max(1, count)
    found = g.new_empty(count, extent, k)
    held_at_once = _HELD.get(g.device.type, _HELD_ELSEWHERE)
    step = min(extent, max(1, held_at_once // (max(k, columns) * width)))
    some = g.new_zeros(columns, step, width)
    for start in range(0, extent, step):
        part = slice(start, min(start + step, extent))
        decoder = weights.decoder[frozen.indices[part]]  # [c, k, d]
        for first in range(0, count, columns):
            into = found[first : first + columns, part]
            rows = some[:, : len(decoder)]
            rows[: len(into)] = g[first : first + columns, part]
            along = (decoder @ rows.permute(1, 2, 0)).permute(2, 0, 1)  # [columns, c, k]
            torch.mul(along[: len(into)], frozen.values[part], out=into)
    return found


def _below_mlp(cell: FrozenCell, layer: int, g: Tensor, biases: dict[str, Tensor]) -> Tensor:
    """Vectors at the stream that the feed-forward reads, [B, E, d], without attention."""
    weights = cell.transcoders.get(layer)
    if weights is None:
        return g.clone()
    biases["decoder bias"] = _along(g, weights.offset)
    skip = weights.skip
    if skip is None:
        return g.clone()
    at_input = by_row(lambda rows: rows @ skip, g)
    norm = cell.adapter.layers[layer].norm_2
    _norm_bias(biases, "norm 2 bias", norm, at_input)
    return g + norm.pull_back(at_input, cell.layers[layer].sigma_2[: g.shape[1]])


def _attention(
    cell: FrozenCell, layer: int, g: Tensor, below: Tensor, biases: dict[str, Tensor]
) -> None:
    """Add to `below` what reaches the layer's input through attention from `g` at its output."""
    w, frozen = cell.adapter.layers[layer], cell.layers[layer]
    count, extent, _ = g.shape
    if w.norm_attended is not None and frozen.sigma_attended is not None:
        _norm_bias(biases, "attention norm bias", w.norm_attended, g)
        g = w.norm_attended.pull_back(g, frozen.sigma_attended[:extent])
    if w.out.bias is not None:
        biases["attention output bias"] = _along(g, w.out.bias)
    size, heads = cell.adapter.head_size, cell.adapter.n_heads
    query = by_row(lambda rows: rows @ w.out.weight, g).unflatten(-1, (heads, size))
    moved = query.new_zeros(count, extent, w.value.weight.shape[0] // size, size)
    shared = heads // moved.shape[2]
    for h, pattern in enumerate(cell.patterns(layer)):
        _add_transposed(moved[:, :, h // shared], pattern[:extent, :extent], query[:, :, h])
    at_value = moved.flatten(-2)
    if w.value.bias is not None:
        biases["value bias"] = _along(at_value, w.value.bias)
    at_norm = by_row(lambda rows: rows @ w.value.weight, at_value)
    _norm_bias(biases, "norm 1 bias", w.norm_1, at_norm)
    below[:count] += w.norm_1.pull_back(at_norm, frozen.sigma_1[:extent])


def _add_transposed(moved: Tensor, pattern: Tensor, query: Tensor) -> None:
    """Add ``A^T q`` of each target, [B, E, e]."""
    if query.device.type != "cpu":
        moved += pattern.T @ query
        return
    # one product of one shape for each target: its bits do not depend on how many there are
    for into, q in zip(moved, query, strict=True):
        into += pattern.T @ q


def _along(g: Tensor, fixed: Tensor) -> Tensor:
    """Products [B, E] with one vector of each position, [E, d], or of all, [d]."""
    if g.device.type != "cpu":
        return (g * fixed).sum(-1)
    found = g.new_empty(g.shape[:2])
    for into, rows in zip(found, g, strict=True):  # so that what is held between is small
        torch.sum(rows * fixed, -1, out=into)
    return found


def _norm_bias(biases: dict[str, Tensor], name: str, norm: Norm, g: Tensor) -> None:
    if norm.bias is not None:
        biases[name] = _along(g, norm.bias)

"""Attribution by autograd and by plain loops, from the definitions: a forward pass whose attention
patterns, norm scales, firing features and MLP outputs are held fixed.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from scircuit.tracing.attribution.frozen_cell import FrozenCell
from scircuit.tracing.attribution.targets import Target
from scircuit.tracing.models.decoders.prenorm import Norm


class Leaves(NamedTuple):
    """What a frozen forward pass starts from, at every position."""

    embedding: Tensor  # [S, d]
    codes: list[Tensor]  # [S, F] each
    errors: list[Tensor]  # [S, d] each


def leaves_of(cell: FrozenCell) -> Leaves:
    """The clean ones."""
    codes = []
    for m, layer in enumerate(cell.layers):
        n = cell.transcoders[m].n_features if m in cell.transcoders else 0
        empty = torch.zeros(cell.length, n, dtype=cell.final.dtype)
        codes.append(empty.scatter_add(1, layer.indices, layer.values))
    return Leaves(cell.states(0).clone(), codes, [layer.error.clone() for layer in cell.layers])


def frozen_norm(norm: Norm, x: Tensor, clean: Tensor) -> Tensor:
    """A norm that divides by what it divided by in the clean pass."""
    if norm.centred:
        x, clean = x - x.mean(-1, keepdim=True), clean - clean.mean(-1, keepdim=True)
    sigma = (clean.square().mean(-1, keepdim=True) + norm.eps).sqrt()
    found = x / sigma * norm.weight
    return found if norm.bias is None else found + norm.bias


def replay(cell: FrozenCell, leaves: Leaves) -> tuple[list[Tensor], list[Tensor]]:
    """States [L + 1] and streams [L] of a frozen forward pass from changed leaves."""
    adapter = cell.adapter
    places = torch.arange(cell.length)
    h = leaves.embedding
    states, streams = [h], []
    for m in range(adapter.n_layers):
        w, clean = adapter.layers[m], cell.states(m)
        q, k, v = adapter.project(m, clean, places)
        scores = adapter.heads(q) @ adapter.heads(k).transpose(-1, -2) / adapter.head_size**0.5
        sight = adapter.sight(m)
        if sight.cap:
            scores = sight.cap * torch.tanh(scores / sight.cap)
        back = places[:, None] - places
        seen = (back >= 0) & (back < (sight.window or cell.length))
        pattern = scores.masked_fill(~seen, -torch.inf).softmax(-1)
        value = adapter.heads(w.value(frozen_norm(w.norm_1, h, clean)))
        attended = w.out((pattern @ value).transpose(0, 1).flatten(1))
        if w.norm_attended is not None:
            own = w.out((pattern @ adapter.heads(v)).transpose(0, 1).flatten(1))
            attended = frozen_norm(w.norm_attended, attended, own)
        stream = h if w.parallel else h + attended
        streams.append(stream)
        fed = leaves.errors[m]
        if m in cell.transcoders:
            t = cell.transcoders[m]
            fed = fed + leaves.codes[m] @ t.decoder + t.offset
            if t.skip is not None:
                x = frozen_norm(w.norm_2, stream, cell.layers[m].stream)
                fed = fed + x @ t.skip.T
        h = h + attended + fed
        states.append(h)
    return states, streams


def plain_value(cell: FrozenCell, target: Target, leaves: Leaves) -> Tensor:
    """A target's value in a frozen forward pass."""
    states, streams = replay(cell, leaves)
    found = (streams if target.at_mlp else states)[target.layer][target.position]
    return target.vector @ found + sum(target.constants.values())


def plain_gradient(cell: FrozenCell, target: Target) -> tuple[Tensor, Leaves]:
    """Value of a target and its gradient by all leaves, by one autograd backward."""
    clean = leaves_of(cell)
    flat = [t.clone().requires_grad_() for t in (clean.embedding, *clean.codes, *clean.errors)]
    n = len(clean.codes)
    value = plain_value(cell, target, Leaves(flat[0], flat[1 : n + 1], flat[n + 1 :]))
    found = torch.autograd.grad(value, flat, allow_unused=True)
    filled = [torch.zeros_like(f) if g is None else g for f, g in zip(flat, found, strict=True)]
    return value.detach(), Leaves(filled[0], filled[1 : n + 1], filled[n + 1 :])

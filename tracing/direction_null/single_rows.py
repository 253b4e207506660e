"""Rows that are edited each on its own: the frozen context of row sets of one, many at a time.

With the clean keys and values of the cell, a row at position p attends to all of them but its own,
and to its own recomputed key and value:

    w = softmax([q . K_clean with q . k in the place p]) ,
    context = w V_clean + w_p (v - v_clean(p))

This equals `scircuit.tracing.engine.frozen_context.run_frozen` on sets of one, without its masks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from scircuit.tracing.hardware.row_padding import by_row, pad_rows

if TYPE_CHECKING:
    from scircuit.tracing.dictionaries.dictionary import Site
    from scircuit.tracing.models.adapter import Adapter

_ROWS = (
    192  # attended to at once, always: what a kernel gives a row may depend on how many there are
)


def run_single_rows(
    adapter: Adapter,
    states: Mapping[int, Tensor],
    position: Tensor,
    deltas: Tensor,
    source_layer: int,
    targets: Sequence[int],
    site: Site = "output",
) -> Iterator[tuple[int, Tensor]]:
    """Yield, layer by layer, what is read [N, d] at the edited rows.

    Parameters
    ----------
    adapter
        The model.
    states
        Clean outputs [S, d] of every layer from `source_layer` to the one before the last target.
    position, deltas
        [N] positions, which may repeat, and the change [N, d] of the source layer's output at each.
    source_layer, targets
        0-based layers: edited, and read.
    site
        What is read of a target layer: its output, or its MLP input.
    """
    part = adapter.read_part(site)
    rows, wanted = states[source_layer][position] + deltas, set(targets)
    places = torch.arange(len(states[source_layer]), device=rows.device)
    for l in range(source_layer + 1, max(targets) + 1):  # noqa: E741
        key, value = by_row(partial(adapter.project_key_value, l), states[l - 1], places)
        own = by_row(partial(adapter.project, l), rows, position)
        context = torch.cat(
            [
                _attend(adapter, l, tuple(x[i : i + _ROWS] for x in own), at, key, value)
                for i, at in zip(range(0, len(rows), _ROWS), position.split(_ROWS), strict=True)
            ]
        )
        after = by_row(partial(adapter.finish, l), rows, context)
        if l in wanted:
            yield l, after if part is None else by_row(partial(part, l), rows, context)
        rows = after


def _attend(
    adapter: Adapter,
    layer: int,
    own: Sequence[Tensor],
    position: Tensor,
    key: Tensor,
    value: Tensor,
) -> Tensor:
    """Context [n, d] of at most `_ROWS` rows over clean keys and values [S, d]."""
    count = len(position)
    q, k, v = (adapter.heads(pad_rows(x, _ROWS)) for x in own)  # [H, rows, e]
    at = pad_rows(position, _ROWS)
    keys, values = adapter.heads(key), adapter.heads(value)  # [H, S, e]
    rows = torch.arange(_ROWS, device=at.device)
    scores = q @ keys.transpose(-1, -2)
    scores[:, rows, at] = (q * k).sum(-1)
    sight = adapter.sight(layer)
    scores = sight.bound(scores * q.shape[-1] ** -0.5)
    seen = sight.visible(at, torch.arange(scores.shape[-1], device=at.device))
    if seen is not None:
        scores.masked_fill_(~seen, float("-inf"))
    weights = scores.softmax(-1)
    context = weights @ values + weights[:, rows, at, None] * (v - values[:, at])
    return context.transpose(0, 1).flatten(1)[:count]

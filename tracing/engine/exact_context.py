"""The exact context: edited states through the layers after the source, read at chosen rows.

For a batch of edits of one cell, ``h'_s = h_s + delta`` on the edited rows, then ``h'_l =
layer_l(h'_{l-1})`` for l = s+1 to the last measured layer. Nothing is approximated: work is left
out only where its result is known or never read. The first layer takes the queries, keys and values
of unedited rows from the clean cell; the last layer computes queries and feed-forward at the rows
that are read; dictionaries encode those rows only; edits of one cell have equal length, so a batch
needs no padding of the states.

Where no query sees a later key, an edit changes nothing before its first position, and nothing
after its last one reaches a row that is read: only the rows from the one to the other are computed,
in whole blocks, over the clean keys and values of the rows before them. Which rows that are depends
on the edit alone, so its result does not depend on the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from scircuit.tracing.hardware.row_padding import ROWS, by_row, repeat_rows

if TYPE_CHECKING:
    from scircuit.tracing.dictionaries.dictionary import Site
    from scircuit.tracing.models.adapter import Adapter

Changes = Mapping[int, Callable[[Tensor], Tensor]]
"""Layer -> what is done to the states [B, S, d] after it."""


class Edits(NamedTuple):
    """A batch of B edits of one cell. Flat rows: entry i changes and reads ``position[i]`` in slot
    ``slot[i]``.
    """

    slot: Tensor  # [N]
    position: Tensor  # [N]
    delta: Tensor  # [N, d]
    size: int  # B


def make_edits(positions: Sequence[Tensor], deltas: Sequence[Tensor]) -> Edits:
    """Batch edits: for each, the positions [n_i] it reads and the change [n_i, d] it makes there
    (which may be zero).
    """
    counts = torch.tensor([len(p) for p in positions])
    slot = torch.repeat_interleave(torch.arange(len(counts)), counts).to(positions[0].device)
    return Edits(slot, torch.cat(list(positions)), torch.cat(list(deltas)), len(counts))


def row_spans(edits: Edits, length: int) -> list[tuple[int, int, Tensor]]:
    """First row, end, and slots [b] of the edits that touch no row outside, in blocks of `ROWS`."""
    position = edits.position.cpu().numpy()
    slot = edits.slot.cpu().numpy()
    first, last = np.full(edits.size, length), np.zeros(edits.size, np.int64)
    np.minimum.at(first, slot, position)
    np.maximum.at(last, slot, position)
    first = np.minimum(first, last) // ROWS * ROWS
    end = np.minimum((last // ROWS + 1) * ROWS, length)
    spans, which = np.unique(np.stack([first, end]), axis=1, return_inverse=True)
    device = edits.position.device
    return [
        (int(a), int(b), torch.from_numpy(np.flatnonzero(which.ravel() == i)).to(device))
        for i, (a, b) in enumerate(spans.T)
    ]


def run_exact(
    adapter: Adapter,
    states: Mapping[int, Tensor],
    edits: Edits,
    source_layer: int,
    targets: Sequence[int],
    then: Changes | None = None,
    site: Site = "output",
) -> Iterator[tuple[int, Tensor]]:
    """Yield, layer by layer, what is read at the rows of edited states.

    Parameters
    ----------
    adapter
        The model.
    states
        Clean outputs [S, d] of `source_layer`, and where no query sees a later key, of every layer
        up to the one before the last target.
    edits
        Batch of B edits of this cell.
    source_layer
        0-based layer whose output is edited.
    targets
        0-based layers to read, all later than `source_layer`.
    then
        Further edits: layer -> function of the states [B, S, d] after that layer (before its output
        is read).
    site
        What is read of a target layer: its output, or its MLP input.

    Yields
    ------
    layer, read
        Target layer and what is read there [N, d] at the flat rows of `edits`.

    Raises
    ------
    ValueError
        If a target is not later than the source.
    """
    if min(targets) <= source_layer:
        raise ValueError(
            f"target layer {min(targets)} is not later than source layer {source_layer}; effects go"
            " forward only"
        )
    length = len(states[source_layer])
    later = range(source_layer + 1, max(targets) + 1)
    if then or not all(adapter.sight(layer).causal for layer in later):
        yield from _run(
            adapter, states, edits, source_layer, targets, (0, length), then or {}, site
        )
        return
    runs, places = [], []
    for first, end, slots in row_spans(edits, length):
        number = torch.full((edits.size,), -1, device=slots.device)
        number[slots] = torch.arange(len(slots), device=slots.device)
        at = (number[edits.slot] >= 0).nonzero()[:, 0]
        part = Edits(
            number[edits.slot[at]], edits.position[at] - first, edits.delta[at], len(slots)
        )
        runs.append(_run(adapter, states, part, source_layer, targets, (first, end), {}, site))
        places.append(at)
    for steps in zip(*runs, strict=True):
        read = torch.empty_like(edits.delta)
        for at, (_, rows) in zip(places, steps, strict=True):
            read[at] = rows
        yield steps[0][0], read


def _run(
    adapter: Adapter,
    states: Mapping[int, Tensor],
    edits: Edits,
    source_layer: int,
    targets: Sequence[int],
    span: tuple[int, int],
    later: Changes,
    site: Site,
) -> Iterator[tuple[int, Tensor]]:
    """What `run_exact` yields, by the rows of a span alone; positions of `edits` count from its
    first.
    """
    wanted, last, part = set(targets), max(targets), adapter.read_part(site)
    first, end = span
    clean = states[source_layer][first:end]
    edited = repeat_rows(clean, edits.size)
    at = (edits.slot, edits.position)
    edited[at] += edits.delta
    for l in range(source_layer + 1, last + 1):  # noqa: E741
        earlier = None
        if first:
            places = torch.arange(first, device=clean.device)
            earlier = by_row(partial(adapter.project_key_value, l), states[l - 1][:first], places)
        if part is not None and l in wanted:
            yield l, adapter.layer_rows(l, edited, at, part, earlier)
        if l == last and part is not None:
            return
        if l == last and l not in later:
            yield l, adapter.layer_rows(l, edited, at, None, earlier)
            return
        edited = (
            adapter.layer_edited(l, clean, edited, at, earlier)
            if l == source_layer + 1
            else adapter.layer(l, edited, earlier)
        )
        if l in later:
            edited = later[l](edited)
        if part is None and l in wanted:
            yield l, edited[at]

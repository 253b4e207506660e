"""The exact context: edited states through the layers after the source, read at chosen rows.

For a batch of edits of one cell, ``h'_s = h_s + delta`` on the edited rows, then ``h'_l =
layer_l(h'_{l-1})`` for l = s+1 to the last measured layer. Nothing is approximated: work is left
out only where its result is known or never read. The first layer takes the queries, keys and values
of unedited rows from the clean cell; the last layer computes queries and feed-forward at the rows
that are read; dictionaries encode those rows only; edits of one cell have equal length, so a batch
needs no padding of the states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from scircuit.tracing.hardware.row_padding import repeat_rows

if TYPE_CHECKING:
    from scircuit.tracing.models.adapter import Adapter


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


def run_exact(
    adapter: Adapter,
    clean: Tensor,
    edits: Edits,
    source_layer: int,
    targets: Sequence[int],
    then: Mapping[int, Callable[[Tensor], Tensor]] | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Yield, layer by layer, the edited states at the rows that are read.

    Parameters
    ----------
    adapter
        The model.
    clean
        [S, d] clean output of `source_layer`.
    edits
        Batch of B edits of this cell.
    source_layer
        0-based layer whose output is edited.
    targets
        0-based layers to read, all later than `source_layer`.
    then
        Further edits: layer -> function of the states [B, S, d] after that layer (before it is
        read).

    Yields
    ------
    layer, states
        Target layer and its states [N, d] at the flat rows of `edits`.

    Raises
    ------
    ValueError
        If a target is not later than the source.
    """
    wanted, last = set(targets), max(targets)
    if min(targets) <= source_layer:
        raise ValueError(
            f"target layer {min(targets)} is not later than source layer {source_layer}; effects go"
            " forward only"
        )
    later = then or {}
    states = repeat_rows(clean, edits.size)
    at = (edits.slot, edits.position)
    states[at] += edits.delta
    for l in range(source_layer + 1, last + 1):  # noqa: E741
        if l == last and l not in later:
            yield l, adapter.layer_rows(l, states, at)
            return
        states = (
            adapter.layer_edited(l, clean, states, at)
            if l == source_layer + 1
            else adapter.layer(l, states)
        )
        if l in later:
            states = later[l](states)
        if l in wanted:
            yield l, states[at]

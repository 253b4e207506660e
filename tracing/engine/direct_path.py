"""The direct path: what an edit does to later layers when every block's output keeps its clean
value, so that no attention and no feed-forward reacts.

With a clean cell, ``x`` an edited row of the source layer's output at position p, and the clean
outputs of the blocks of layer l at p,

    post-norm            x' = LN( ff_clean(p) + LN( att_clean(p) + x ) )
    pre-norm, parallel   x' = x + att_clean(p) + ff_clean(p)

layer by layer; the norms are computed anew. The direct effect is the change ``x' - h_l(p)``; at the
MLP input of layer l, that of ``N_2(r_clean(p) + x' - h_{l-1}(p))`` with r the stream that the
feed-forward reads. What remains of the total effect is what the blocks did with the edit: the
computed effect.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from scircuit.tracing.hardware.precision import numeric_format
from scircuit.tracing.hardware.row_padding import by_row

if TYPE_CHECKING:
    from scircuit.tracing.clean_pass.clean_pass import CleanCell
    from scircuit.tracing.dictionaries.dictionary import Site
    from scircuit.tracing.models.adapter import Adapter

Held = Mapping[int, tuple[Tensor, ...]]
"""Layer -> what `Adapter.carry` needs of it at every position, [S, d] each."""


@torch.inference_mode()
def held_blocks(
    adapter: Adapter,
    states: Mapping[int, Tensor],
    source_layer: int,
    last: int,
    site: Site = "output",
) -> Held:
    """Clean outputs of the blocks of the layers after the source, up to the last measured one.

    Parameters
    ----------
    adapter
        The model.
    states
        Clean outputs [S, d] of every layer from `source_layer` to the one before `last`.
    source_layer, last
        0-based layers.
    site
        What will be read: with the MLP input, the stream that the feed-forward reads is kept as
        well, as the last tensor.
    """
    found = {}
    with numeric_format(adapter):
        for l in range(source_layer + 1, last + 1):  # noqa: E741
            before = states[l - 1]
            places = torch.arange(len(before), device=before.device)
            parts = by_row(partial(adapter.project, l), before, places)
            context = adapter.attend(l, *(x[None] for x in parts))[0]
            held = by_row(partial(adapter.held, l), before, context)
            if site == "mlp":
                held = (*held, by_row(partial(adapter.mlp_stream, l), before, context))
            found[l] = tuple(x.to(adapter.dtype) for x in held)
    return found


def run_direct(
    adapter: Adapter,
    held: Held,
    rows: Tensor,
    position: Tensor,
    source_layer: int,
    targets: Sequence[int],
    site: Site = "output",
) -> Iterator[tuple[int, Tensor]]:
    """Yield, layer by layer, what is read of edited rows [N, d] as the residual stream alone
    carries them on.

    Parameters
    ----------
    adapter, held, source_layer
        The model; what `held_blocks` gave; the layer whose output was edited.
    rows, position
        [N, d] edited rows of that output, and their positions [N].
    targets
        0-based layers to read.
    site
        What is read of them; that of `held_blocks`.
    """
    wanted = set(targets)
    for l in range(source_layer + 1, max(wanted) + 1):  # noqa: E741
        clean = tuple(x[position] for x in held[l])
        with numeric_format(adapter):
            if site == "mlp":
                *clean, stream = clean
                read = adapter.mlp_norm(l, stream + (rows - clean[0])).to(adapter.dtype)
            rows = adapter.carry(l, rows, tuple(clean)).to(adapter.dtype)
        if l in wanted:
            yield l, read if site == "mlp" else rows


class HeldBlocks:
    """Clean blocks of the cells of a run, computed when they are first asked for; those of the
    cells used last are kept.

    Parameters
    ----------
    adapter, cells
        The model and its clean cells.
    source_layer, last
        0-based source layer and last measured layer.
    budget
        Bytes that may be kept; those of one cell always are.
    site
        What is read of the measured layers.
    """

    def __init__(
        self,
        adapter: Adapter,
        cells: Sequence[CleanCell],
        source_layer: int,
        last: int,
        budget: int,
        site: Site = "output",
    ) -> None:
        self._adapter, self._cells = adapter, cells
        self._site: Site = site
        self._layers = source_layer, last
        self._budget, self._kept, self._lock = budget, dict[int, Held](), Lock()

    def of(self, cell: int) -> Held:
        """Blocks of one cell."""
        with self._lock:
            if (found := self._kept.pop(cell, None)) is not None:
                self._kept[cell] = found
                return found
        found = held_blocks(self._adapter, self._cells[cell].states, *self._layers, self._site)
        with self._lock:
            self._kept[cell] = found
            while len(self._kept) > 1 and sum(map(_size, self._kept.values())) > self._budget:
                del self._kept[next(iter(self._kept))]
        return found


def _size(held: Held) -> int:
    return sum(x.numel() * x.element_size() for parts in held.values() for x in parts)

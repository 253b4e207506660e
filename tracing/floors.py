"""The numeric floor: how large an effect of nothing can be.

Zero edits run through the same code, cells and batch shapes as the ablations; the largest change of an active code they show, and never
less than four units in the last place of the largest clean activation, is the floor of a layer. Effects up to it count as zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from tracing.cache import CleanCell
from tracing.parallel import run_jobs
from tracing.tail import code_change, make_edits, run_tail

if TYPE_CHECKING:
    from tracing.models.base import Adapter

# Memory for the states of one batch. Part of the configuration of the arithmetic, hence not taken from what happens to be free.
_BATCH_BYTES = {"cpu": 2**28, "mps": 2**31, "cuda": 2**33}


def zero_edit(
    adapter: Adapter, dictionaries: Mapping[int, Any], cells: Sequence[CleanCell], source: int, targets: Sequence[int], batch: int
) -> dict[int, float]:
    """Largest change of an active code, per target layer, when nothing is edited.

    Every gene position of every cell is read, spread over a batch of the size the ablations use. A latent that leaves the top k because
    two candidates are equal to rounding is a tie, not a change of its value, and is left out here; the zero-edit control counts
    what ties do to effects.
    """

    def one(cell: CleanCell) -> dict[int, float]:
        parts = [p for p in cell.genes.tensor_split(batch) if len(p)]
        still = [torch.zeros(len(p), adapter.width, dtype=adapter.dtype, device=p.device) for p in parts]
        edits = make_edits(parts, still)
        worst = {}
        for t, states in run_tail(adapter, cell.states[source], edits, source, targets):
            values, indices = (x[edits.position] for x in cell.codes[t])
            change = code_change(dictionaries[t], states, (values, indices)).gather(1, indices).abs()
            worst[t] = float(change.where(change < values / 2, 0.0).max())
        return worst

    found = list(run_jobs([partial(one, cell) for cell in cells], adapter.device))
    return {t: max((f[t] for f in found), default=0.0) for t in targets}


def floors_of(zero: Mapping[int, float], cells: Sequence[CleanCell], dtype: torch.dtype) -> dict[int, float]:
    """Floor of each layer from its zero edit and its largest clean activation."""
    unit = torch.finfo(dtype).eps
    return {t: max(z, 4 * unit * max(float(c.codes[t][0].max()) for c in cells)) for t, z in zero.items()}


def batch_size(adapter: Adapter, length: int, wanted: int) -> int:
    """Edits per batch: at most `wanted`, and at most what the states of cells of this length leave room for."""
    item = torch.finfo(adapter.dtype).bits // 8
    each = length * (8 * adapter.width + 2 * adapter.ffn) * item
    return max(1, min(wanted, _BATCH_BYTES.get(adapter.device.type, 2**28) // each))

"""The numeric floor: how large an effect rounding alone can make.

Zero edits run through the same code, cells and batch shapes as the ablations; the largest change of
an active code they show, and never less than four units in the last place of the largest clean
activation, is the floor of a layer. Effects up to it count as zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from scircuit.core.context import EXACT
from scircuit.core.errors import UserError
from scircuit.tracing.clean_pass.clean_pass import CleanCell
from scircuit.tracing.engine.activation_change import code_change
from scircuit.tracing.engine.effects import edited_states
from scircuit.tracing.hardware.out_of_memory import halving
from scircuit.tracing.hardware.parallel import run_jobs

if TYPE_CHECKING:
    from scircuit.tracing.dictionaries.dictionary import Dictionary
    from scircuit.tracing.models.adapter import Adapter


def zero_edit(
    adapter: Adapter,
    dictionaries: Mapping[int, Dictionary],
    cells: Sequence[CleanCell],
    source: int,
    targets: Sequence[int],
    batch: int,
    context: int = EXACT,
    jobs: int = 0,
    note: Callable[[str], None] | None = None,
) -> dict[int, float]:
    """Largest change of an active code, per target layer, when nothing is edited.

    Every gene position of every cell is read, spread over a batch of the size the ablations use. A
    latent that leaves the top k because two candidates are equal to rounding is a tie, not a change
    of its value, and is left out here; the zero-edit control counts what ties do to effects. `jobs`
    cells are computed at a time (0: one per core); `note` is called when memory runs out.

    Raises
    ------
    UserError
        If a change is not finite.
    """

    def one(cell: CleanCell) -> list[dict[int, float]]:
        every = [p for p in cell.genes.tensor_split(batch) if len(p)]
        return halving(
            lambda chosen: largest(cell, [every[i] for i in chosen]),
            np.arange(len(every)),
            note or (lambda _text: None),
        )

    def largest(cell: CleanCell, parts: list[Tensor]) -> dict[int, float]:
        still = [
            torch.zeros(len(p), adapter.width, dtype=adapter.dtype, device=p.device) for p in parts
        ]
        position = torch.cat(list(parts))
        worst = {}
        for t, states in edited_states(adapter, cell, parts, still, source, targets, context):
            values, indices = (x[position] for x in cell.codes[t])
            after = dictionaries[t].encode_topk(states)
            change = (
                code_change(dictionaries[t].n_features, after, (values, indices))
                .gather(1, indices)
                .abs()
            )
            worst[t] = float(change.where(~(change >= values / 2), 0.0).max())  # a NaN stays
        return worst

    found = [
        f
        for of_cell in run_jobs([partial(one, cell) for cell in cells], adapter.device, jobs)
        for f in of_cell
    ]
    # np.max keeps a NaN, max need not
    largest_of = {t: float(np.max([f[t] for f in found], initial=0.0)) for t in targets}
    broken = [t for t, change in largest_of.items() if not np.isfinite(change)]
    if broken:
        raise UserError(
            f"an edit of zero changes activations of layer {broken[0]} by"
            f" {largest_of[broken[0]]}: effects there cannot be told from rounding",
            "report the model and the device; try --device cpu and --numerics float32",
        )
    return largest_of


def floors_of(
    zero: Mapping[int, float], cells: Sequence[CleanCell], dtype: torch.dtype
) -> dict[int, float]:
    """Floor of each layer from its zero edit and its largest clean activation at a gene: effects
    are read nowhere else.
    """
    unit = torch.finfo(dtype).eps
    return {
        t: max(z, 4 * unit * max(float(c.codes[t][0][c.genes].max()) for c in cells))
        for t, z in zero.items()
    }

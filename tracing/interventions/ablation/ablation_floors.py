"""How large an effect on pre-activations rounding alone can make: zero edits of every gene position
through the same code, in total and on the direct path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from scircuit.tracing.engine.direct_path import held_blocks, run_direct
from scircuit.tracing.engine.effects import edited_states
from scircuit.tracing.engine.numeric_floor import floors_of
from scircuit.tracing.hardware.parallel import run_jobs

if TYPE_CHECKING:
    from scircuit.tracing.clean_pass.clean_pass import CleanCell
    from scircuit.tracing.dictionaries.dictionary import Dictionary
    from scircuit.tracing.models.adapter import Adapter

_ROWS = 1024  # pre-activations held at once


def pre_activation_floors(
    adapter: Adapter,
    dictionaries: Mapping[int, Dictionary],
    cells: Sequence[CleanCell],
    source: int,
    targets: Sequence[int],
    context: int,
) -> dict[int, float]:
    """Floor of the computed effect on a pre-activation, by layer read: the largest at any position,
    and never less than four units in the last place of the largest clean activation.

    Parameters
    ----------
    adapter, dictionaries, cells
        The model; layer -> dictionary of the layers read; clean cells.
    source, targets
        First layer edited, layers read.
    context
        `scircuit.core.context`.
    """

    def largest(cell: CleanCell) -> dict[int, float]:
        genes, clean = cell.genes, cell.states
        still = torch.zeros(len(genes), adapter.width, dtype=adapter.dtype, device=genes.device)
        steps = edited_states(adapter, cell, [genes], [still], source, targets, context)
        total = {t: states - clean[t][genes] for t, states in steps}
        if adapter.has_direct_path:
            held = held_blocks(adapter, clean, source, max(targets))
            carried = run_direct(adapter, held, clean[source][genes], genes, source, targets)
            for t, states in carried:
                total[t] = total[t] - (states - clean[t][genes])
        return {
            t: max(
                float(functional.linear(rows, dictionaries[t].encoder).abs().max())
                for rows in change.split(_ROWS)
            )
            for t, change in total.items()
        }

    found = list(run_jobs([partial(largest, cell) for cell in cells], adapter.device))
    return floors_of({t: max(f[t] for f in found) for t in targets}, cells, adapter.dtype)

"""The pooled null of random directions by its definition: every position alone, one direction after
the other, one source after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

Direct = Callable[[int, torch.Tensor], Mapping[int, torch.Tensor]]
"""States [S, d] of later layers when only norms and sums react to a changed source state."""


def alone(
    adapter: Any,
    states: Mapping[int, torch.Tensor],
    p: int,
    delta: torch.Tensor,
    source: int,
    targets: tuple[int, ...],
) -> dict[int, torch.Tensor]:
    """Row p of later layers when `delta` is added to it at the source and every other row keeps its
    clean value: whole layers, all but one row thrown away.
    """
    current, found = states[source].clone(), {}
    current[p] += delta
    for layer in range(source + 1, max(targets) + 1):
        after = adapter.layer(layer, current[None])[0]
        current = states[layer].clone() if layer in states else after.clone()
        current[p] = after[p]
        if layer in targets:
            found[layer] = after[p]
    return found


def strengths(tracer: Any, c: int, feature: int) -> dict[int, float]:
    """Position -> activation of a source feature in one cell, from its clean codes."""
    cell, source = tracer.cells[c], tracer.layer
    values, indices = cell.codes[source]
    z = (values * (indices == feature)).sum(1)
    return {p: float(z[p]) for p in cell.genes.tolist() if z[p] > 0}


def plain_null(tracer: Any, directions: np.ndarray, direct: Direct) -> np.ndarray:
    """[sources, draws, total and direct, measured layers x width] for these unit vectors."""
    source, targets, width = tracer.layer, tracer.targets, tracer.adapter.width
    column = tracer.dictionaries[source].columns
    norm = {f: float(column(torch.tensor([f])).norm()) for f in tracer.sources.tolist()}
    fires = {(f, c): strengths(tracer, c, f) for f in norm for c in range(len(tracer.cells))}
    usual = float(
        np.median([z * norm[f] for (f, _), found in fires.items() for z in found.values()])
    )
    result = np.zeros((len(norm), len(directions), 2, len(targets) * width))
    for k, unit in enumerate(directions):
        delta = -usual * torch.as_tensor(unit).to(tracer.adapter.dtype)
        for c, cell in enumerate(tracer.cells):
            for p in sorted({p for f in norm for p in fires[f, c]}):
                changed = cell.states[source].clone()
                changed[p] += delta
                total = alone(tracer.adapter, cell.states, p, delta, source, targets)
                carried = {t: x[p] for t, x in direct(c, changed).items()}
                moved = [
                    np.concatenate([(x[t] - cell.states[t][p]).double().numpy() for t in targets])
                    for x in (total, carried)
                ]
                for i, f in enumerate(norm):
                    if p in fires[f, c]:
                        cells = sum(bool(fires[f, other]) for other in range(len(tracer.cells)))
                        share = fires[f, c][p] * norm[f] / usual / len(fires[f, c]) / cells
                        result[i, k] += share * np.stack(moved)
    return result

"""Runs that could refute the edges, on a sample of sources, under the same rule and the same p threshold as the real run.

zero_edit         nothing is removed: any effect above the numeric floor is an artefact of the computation
random_direction  ``z_f(p) ||W_f|| u`` is removed, u one random unit vector per source, fixed across cells and positions
feature_swap      ``z_f(p) ||W_f|| W_g / ||W_g||`` is removed: another feature's direction, where and as strongly as f fires
passthrough       the edit re-encoded at the target, ``z_t(h_t + delta) - z_t(h_t)``: what is seen with no block computing
split_half        do edges keep sign and p <= 0.05 in both halves of the cells
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from scircuit.records import conform
from tracing.calibrate import legacy_rule
from tracing.statistics import Tests, edge_statistics

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

    from tracing.engine import Progress, Tracer

_OTHER_SHAPES = 3  # sources whose zero edit is also run one by one and in half batches


@dataclass(frozen=True)
class ControlResult:
    """Control records and the numbers behind them."""

    tables: dict[str, pa.Table]
    numbers: dict[str, Any]


class _Counted(NamedTuple):
    """Edges of one condition: masks over its live tests, and the largest effect per target layer."""

    tests: Tests
    calibrated: np.ndarray
    legacy: np.ndarray
    largest: dict[int, float]


def run_controls(tracer: Tracer, p_threshold: float, min_support: int = 6, progress: Progress | None = None) -> ControlResult:
    """Run every control on a random sample of ``control_features`` sources.

    Parameters
    ----------
    tracer
        The run.
    p_threshold
        Largest p of an edge in the real run.
    min_support
        Least cells with an effect.
    progress
        Called with (pairs done, pairs, edges of the controls).
    """
    rng = np.random.default_rng([tracer.config.seed, tracer.layer])
    size = min(tracer.config.control_features, len(tracer.sources))
    features = np.sort(rng.choice(tracer.sources, size, replace=False))
    own = tracer.dictionaries[tracer.layer].columns(torch.as_tensor(features, device=tracer.adapter.device))
    per_condition = int(tracer.summaries[tracer.layer].cells[features].sum())
    finished = [0, 0]

    def report(done: int, _total: int, _edges: int) -> None:
        if progress:
            progress(finished[0] + done, 4 * per_condition, finished[1])

    def condition(directions: Tensor | None) -> tuple[_Counted, Any]:
        found = tracer.effects(features, directions, report, keep_passthrough=directions is None)
        counted = _count(tracer, found.effects, found.active, p_threshold, min_support)
        finished[0] += per_condition
        return counted, found

    real, found = condition(None)
    passed = _count(tracer, found.passed, found.active, p_threshold, min_support)
    zero, zero_found = condition(torch.zeros_like(own))
    for batch in {1, max(1, tracer.plan.pairs // 2)} - {tracer.plan.pairs}:
        few = tracer.effects(features[:_OTHER_SHAPES], torch.zeros_like(own[:_OTHER_SHAPES]), batch=batch)
        for t in tracer.targets:
            zero.largest[t] = max(zero.largest[t], float(np.abs(few.effects[:, :, tracer.columns(t)]).max()))
    random, _ = condition(random_directions(tracer, features, own))
    finished[1] += int(random.calibrated.sum())
    swap, _ = condition(swapped_directions(tracer, features, own))
    halves = real.tests.halves(real.calibrated)
    agreement = _agreement(tracer, found)

    rows = []
    for t in tracer.targets:
        inside = {name: _in_layer(tracer, c, t) for name, c in (("real", real), ("zero_edit", zero), ("passthrough", passed),
                                                                ("random_direction", random), ("feature_swap", swap))}  # fmt: skip
        base = {
            "source_layer": tracer.layer, "target_layer": t, "sources": size, "edges": int(real.calibrated[inside["real"]].sum()),
            "edges_legacy": int(real.legacy[inside["real"]].sum()), "run": tracer.run,
        }  # fmt: skip
        for kind, c in (("zero_edit", zero), ("random_direction", random), ("feature_swap", swap), ("passthrough", passed)):
            rows.append(base | _row(tracer, kind, t) | {
                "control_edges": int(c.calibrated[inside[kind]].sum()), "control_edges_legacy": int(c.legacy[inside[kind]].sum()),
                "max_abs_effect": c.largest[t], "agreement": agreement[t] if kind == "passthrough" else None,
            })  # fmt: skip
        both = halves[inside["real"][real.calibrated]] == 2
        rows.append(base | _row(tracer, "split_half", t) | {
            "control_edges": int(both.sum()), "control_edges_legacy": None, "max_abs_effect": real.largest[t],
            "agreement": float(both.mean()) if len(both) else None,
        })  # fmt: skip
    degrees = {"random_degree": _degrees(random, size), "swap_degree": _degrees(swap, size)}
    return _result(tracer, features, rows, degrees, real, zero, zero_found)


def random_directions(tracer: Tracer, features: np.ndarray, own: Tensor) -> Tensor:
    """One random direction per source, of the norm of its own; the same for the same seed, layer and feature."""
    drawn = [np.random.default_rng([tracer.config.seed, 1, tracer.layer, int(f)]).normal(size=own.shape[1]) for f in features]
    return _of_norm(torch.as_tensor(np.stack(drawn), dtype=own.dtype, device=own.device), own)


def swapped_directions(tracer: Tracer, features: np.ndarray, own: Tensor) -> Tensor:
    """For each source the direction of another alive feature of its layer, rescaled to the source's norm."""
    alive = np.flatnonzero(tracer.summaries[tracer.layer].positions > 0)
    chosen = []
    for f in features:
        others = alive[alive != f]
        pool = others if len(others) else np.array([f])
        chosen.append(np.random.default_rng([tracer.config.seed, 2, tracer.layer, int(f)]).choice(pool))
    columns = tracer.dictionaries[tracer.layer].columns(torch.as_tensor(np.array(chosen), device=own.device))
    return _of_norm(columns, own)


def _of_norm(directions: Tensor, own: Tensor) -> Tensor:
    return directions * (own.norm(dim=1, keepdim=True) / directions.norm(dim=1, keepdim=True).clamp_min(1e-30))


def _count(tracer: Tracer, effects: np.ndarray, active: np.ndarray, p_threshold: float, min_support: int) -> _Counted:
    tests = edge_statistics(effects, active, tracer.floors)
    rule = (tests.p <= p_threshold) & (tests.n_pos + tests.n_neg >= min_support)
    largest = {t: float(np.abs(effects[:, :, tracer.columns(t)]).max()) for t in tracer.targets}
    return _Counted(tests, rule, legacy_rule(tests.d, tests.n, tests.n_pos), largest)


def _in_layer(tracer: Tracer, counted: _Counted, layer: int) -> np.ndarray:
    columns = tracer.columns(layer)
    return (counted.tests.target >= columns.start) & (counted.tests.target < columns.stop)


def _degrees(counted: _Counted, size: int) -> np.ndarray:
    return np.bincount(counted.tests.source[counted.calibrated], minlength=size)


def _agreement(tracer: Tracer, found: Any) -> dict[int, float | None]:
    """Correlation of mean effect and mean pass-through over the (source, target) pairs where either is not zero."""
    n = np.maximum(found.active.sum(1), 1)[:, None]
    result: dict[int, float | None] = {}
    for t in tracer.targets:
        x, y = (a[:, :, tracer.columns(t)].sum(1, dtype=np.float64) / n for a in (found.effects, found.passed))
        some = (np.abs(x) > 0) | (np.abs(y) > 0)
        usable = some.sum() > 2 and x[some].std() > 0 and y[some].std() > 0
        result[t] = float(np.corrcoef(x[some], y[some])[0, 1]) if usable else None
    return result


def _row(tracer: Tracer, kind: str, target: int) -> dict[str, Any]:
    pair = f"L{tracer.layer:02d}-L{target:02d}"
    return {"id": f"{tracer.run}/control/{kind}/{pair}", "name": f"{kind} {pair}", "control": kind}


def _result(tracer: Tracer, features: np.ndarray, rows: list[dict[str, Any]], degrees: dict[str, np.ndarray], real: _Counted,
            zero: _Counted, zero_found: Any) -> ControlResult:  # fmt: skip
    import pyarrow as pa

    control = pa.Table.from_pylist(rows)
    tables = {
        "Control": conform("Control", control),
        "Control-FROM-Run": conform("Control-FROM-Run", pa.table({"source": control.column("id"), "target": [tracer.run] * len(rows)})),
        "Feature": conform(
            "Feature",
            pa.table({"id": [str(tracer.address(tracer.layer, f)) for f in features], **{k: v.astype(float) for k, v in degrees.items()}}),
        ),
    }
    own = _degrees(real, len(features))
    numbers = {
        "sources": len(features), "zero_edit_max": max(zero.largest.values()), "zero_edit_floor": float(tracer.floors.max()),
        "zero_edit_above_floor": int((np.abs(zero_found.effects) > tracer.floors).sum()), "edges": int(own.sum()),
        "random_edges": int(degrees["random_degree"].sum()), "swap_edges": int(degrees["swap_degree"].sum()),
        "sources_above_random": int((own > degrees["random_degree"]).sum()),
        "split_half_agreement": float((real.tests.halves(real.calibrated) == 2).mean()) if real.calibrated.any() else None,
    }  # fmt: skip
    return ControlResult(tables, numbers)

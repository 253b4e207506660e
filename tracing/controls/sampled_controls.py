"""Runs that could refute the edges, on a sample of sources, under the same rule and the same family
of tests as the real run.

zero_edit         nothing is removed: an effect above the numeric floor is a numerical artefact
random_direction  ``z_f(p) ||W_f|| u`` is removed, u one random unit vector per source, fixed across
                  cells and positions
feature_swap      ``z_f(p) ||W_f|| W_g / ||W_g||`` is removed: another feature's direction, where
                  and as strongly as f fires
direct            what the residual stream alone carries to the pre-activation of the target, and
                  how it goes with the total effect there
split_half        do effects found in one half of the cells replicate in the other
                  (`scircuit.tracing.controls.split_half`); edges of the halves: half_even, half_odd

The sample is taken in parts whose effects fit the plan's share of the memory; of each part only the
tests that are stored or counted are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from scircuit.core.schema import conform
from scircuit.tracing.controls.control_directions import random_directions, swapped_directions
from scircuit.tracing.controls.control_edges import (
    KIND,
    Condition,
    Rule,
    compare,
    condition,
    edge_table,
    edges_of,
    joined,
    without_effects,
)
from scircuit.tracing.controls.control_records import control_row, control_tables
from scircuit.tracing.controls.split_half import CHANCE, Replication, hub_replication, replication
from scircuit.tracing.engine.jobs import parts_of

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

    from scircuit.tracing.engine.effects import Effects, Progress
    from scircuit.tracing.engine.tracer import Tracer

DIRECTIONS = {"random_direction": random_directions, "feature_swap": swapped_directions}
_ARRAYS = 4  # effects and copies of them that are held at once
_OTHER_SHAPES = 3  # sources whose zero edit is also run one by one and in half batches


@dataclass(frozen=True)
class ControlResult:
    """Control records and the numbers behind them."""

    tables: dict[str, pa.Table]
    numbers: dict[str, Any]


class Part(NamedTuple):
    """Some sources of the sample: their edges, those of their controls, and statistics that need
    per-cell effects.
    """

    real: Condition
    controls: dict[str, Condition]
    halves: Replication
    # [sources, targets] mean total and direct effect on pre-activations; empty: not known
    means: tuple[np.ndarray, np.ndarray]
    above: int  # zero edits above the floor


def run_controls(tracer: Tracer, rule: Rule, progress: Progress | None = None) -> ControlResult:
    """Run every control on a random sample of ``control_features`` sources.

    Parameters
    ----------
    tracer
        The run.
    rule
        What an edge is in the real run.
    progress
        Called with (pairs done, pairs, edges of the controls).
    """
    total = 4 * tracer.pairs_of(np.concatenate(control_sample(tracer)))
    parts, finished, edges = [], 0, 0
    for features in control_sample(tracer):

        def report(
            done: int, _total: int, _edges: int, before: int = finished, found: int = edges
        ) -> None:
            if progress:
                progress(before + done, total, found)

        parts.append(control_part(tracer, features, rule, report))
        finished += 4 * tracer.pairs_of(features)
        edges += sum(int(parts[-1].controls[name].calibrated.sum()) for name in DIRECTIONS)
    return control_result(tracer, parts, rule)


def control_sample(tracer: Tracer) -> list[np.ndarray]:
    """The sample of sources, ascending, in parts that are a job each."""
    rng = np.random.default_rng([tracer.settings.seed, tracer.layer])
    size = min(tracer.settings.control_features, len(tracer.sources))
    features = np.sort(rng.choice(tracer.sources, size, replace=False))
    return parts_of(tracer, features, _ARRAYS)


def control_result(tracer: Tracer, parts: Sequence[Part], rule: Rule) -> ControlResult:
    """Records and numbers of the whole sample, from its parts in order."""
    groups = control_sample(tracer)
    features, sizes = np.concatenate(groups), [len(group) for group in groups]
    real = joined([part.real for part in parts], sizes)
    controls = {
        name: joined([part.controls[name] for part in parts], sizes) for name in parts[0].controls
    }
    halves = Replication.joined([part.halves for part in parts])
    means = (
        np.concatenate([part.means[0] for part in parts]),
        np.concatenate([part.means[1] for part in parts]),
    )
    tables = _nodes(tracer, features, means, halves, real, controls)
    tables[KIND] = edge_table(tracer, features, real, controls, rule)
    return ControlResult(
        tables,
        _numbers(tracer, features, halves, real, controls)
        | {"zero_edit_above_floor": sum(part.above for part in parts)},
    )


def control_part(
    tracer: Tracer, features: np.ndarray, rule: Rule, progress: Progress | None = None
) -> Part:
    """Every control for some sources of the sample; arguments as in `run_controls`."""
    total = 4 * tracer.pairs_of(features)
    own = _own(tracer, features)
    finished = 0

    def effects(directions: Tensor | None) -> Effects:
        nonlocal finished

        def report(done: int, _total: int, _edges: int) -> None:
            if progress:
                progress(finished + done, total, 0)

        found = tracer.effects(features, directions, report)
        finished += int(found.active.sum())
        return found

    found = effects(None)
    real = condition(tracer, found.effects, found.active, rule)
    edges = edges_of(real, tracer.n_targets)
    means = _means(tracer, found)
    even = np.arange(found.active.shape[1]) % 2 == 0
    controls: dict[str, Condition] = {}

    def add(name: str, values: np.ndarray, active: np.ndarray) -> None:
        controls[name] = without_effects(tracer, condition(tracer, values, active, rule), edges)

    split = {
        name: condition(tracer, found.effects, found.active & half, rule)
        for name, half in (("half_even", even), ("half_odd", ~even))
    }
    halves = replication(
        split["half_even"].tests,
        split["half_odd"].tests,
        len(features),
        [tracer.columns(t) for t in tracer.targets],
    )
    controls |= {name: without_effects(tracer, c, edges) for name, c in split.items()}
    del split
    real = without_effects(tracer, real, edges)
    del found
    nothing = effects(torch.zeros_like(own))
    add("zero_edit", nothing.effects, nothing.active)
    if features[0] == control_sample(tracer)[0][0]:
        _other_shapes(tracer, features, controls["zero_edit"])
    above = int((np.abs(nothing.effects) > tracer.floors).sum())
    del nothing
    for name, directions in DIRECTIONS.items():
        changed = effects(directions(tracer, features, own))
        add(name, changed.effects, changed.active)
    return Part(real, controls, halves, means, above)


def _means(tracer: Tracer, found: Effects) -> tuple[np.ndarray, np.ndarray]:
    """Mean total and direct effect on the pre-activations, over the cells in which each source is
    active.
    """
    if found.direct is None:
        nothing = np.zeros((0, tracer.n_targets))
        return nothing, nothing
    n = np.maximum(found.active.sum(1), 1)[:, None]
    total, direct = (x.sum(1, dtype=np.float64) / n for x in (found.total, found.direct))
    carried, computed = tracer.readout.split(total, direct)
    return carried + computed, carried


def _own(tracer: Tracer, features: np.ndarray) -> Tensor:
    return tracer.dictionaries[tracer.layer].columns(
        torch.as_tensor(features, device=tracer.adapter.device)
    )


def _other_shapes(tracer: Tracer, features: np.ndarray, zero: Condition) -> None:
    """Largest zero edit in batches of other sizes too: their arithmetic may differ."""
    few = features[:_OTHER_SHAPES]
    nothing = torch.zeros_like(_own(tracer, few))
    for pairs in {1, max(1, tracer.plan.pairs // 2)} - {tracer.plan.pairs}:
        found = tracer.effects(few, nothing, batch=pairs)
        for t in tracer.targets:
            zero.largest[t] = max(
                zero.largest[t], float(np.abs(found.effects[:, :, tracer.columns(t)]).max())
            )


def _nodes(
    tracer: Tracer,
    features: np.ndarray,
    means: tuple[np.ndarray, np.ndarray],
    halves: Replication,
    real: Condition,
    controls: dict[str, Condition],
) -> dict[str, pa.Table]:
    """A ``Control`` for every kind and layer pair, their provenance, and the degrees of the sampled
    sources.
    """
    import pyarrow as pa

    rows = []
    for t, found, held in zip(
        tracer.targets, halves.found.tolist(), halves.held.tolist(), strict=True
    ):
        columns = tracer.columns(t)
        edges = real.calibrated & real.within(columns)
        base = {
            "sources": len(features),
            "edges": int(edges.sum()),
            "edges_legacy": int((real.legacy & real.within(columns)).sum()),
        }

        def named(kind: str, target: int = t) -> dict[str, object]:
            return control_row(tracer.run, kind, tracer.layer, target)

        for kind in ("zero_edit", *DIRECTIONS):
            c = controls[kind]
            inside = c.within(columns)
            rows.append(
                base
                | named(kind)
                | compare(real, c, columns, tracer.n_targets)
                | {
                    "control_edges": int((c.calibrated & inside).sum()),
                    "control_edges_legacy": int((c.legacy & inside).sum()),
                    "max_abs_effect": c.largest[t],
                }
            )
        if len(means[0]):
            agreement = _correlation(means, columns)
            rows.append(base | named("direct") | {"agreement": agreement})
        rows.append(
            base
            | named("split_half")
            | {
                "found": found,
                "agreement": held / found if found else None,
            }
        )
    degrees = {
        name: controls[kind].degrees(len(features)).astype(float)
        for name, kind in (("random_degree", "random_direction"), ("swap_degree", "feature_swap"))
    }
    return control_tables(rows) | {
        "Feature": conform(
            "Feature",
            pa.table({"id": [str(tracer.address(tracer.layer, f)) for f in features], **degrees}),
        ),
    }


def _correlation(means: tuple[np.ndarray, np.ndarray], columns: slice) -> float | None:
    """Correlation of total and direct effect over the (source, target) pairs where either is not
    zero.
    """
    x, y = (m[:, columns] for m in means)
    some = (x != 0) | (y != 0)
    usable = some.sum() > 2 and x[some].std() > 0 and y[some].std() > 0
    return float(np.corrcoef(x[some], y[some])[0, 1]) if usable else None


def _numbers(
    tracer: Tracer,
    features: np.ndarray,
    halves: Replication,
    real: Condition,
    controls: dict[str, Condition],
) -> dict[str, Any]:
    size = len(features)
    own, random, swap = (
        c.degrees(size) for c in (real, controls["random_direction"], controls["feature_swap"])
    )
    found, held = int(halves.found.sum()), int(halves.held.sum())
    raw, adjusted = hub_replication(
        halves.even, halves.odd, tracer.ablation.counts[features].sum(1)
    )
    return {
        "sources": size,
        "zero_edit_max": max(controls["zero_edit"].largest.values()),
        "zero_edit_floor": float(tracer.floors.max()),
        "edges": int(own.sum()),
        "random_edges": int(random.sum()),
        "swap_edges": int(swap.sum()),
        "sources_above_random": int((own > random).sum()),
        "half_found": found,
        "half_held": held,
        "half_agreement": held / found if found else None,
        "half_chance": CHANCE,
        "half_even_effects": int(halves.even.sum()),
        "half_odd_effects": int(halves.odd.sum()),
        "half_degree_rho": raw,
        "half_residual_rho": adjusted,
    }

"""What is true of every pair of features in a planted model, and what a trace says of it.

A source meets the background weights, and what is written for another source, as a random direction
would (`tests.support.planted_circuits`): that is the null itself. A pair (source, target at layer
t) is, where a circuit of this source is written at layer t0,

    planted, continued   the target is the one written; t = t0, or later
    open                 another target, and t > t0, or t = t0 for a head, whose result the
                         feed-forward block of its own layer reads: what follows from a circuit is
                         no error, nor a finding
    carried              the target has the source's own direction
    shared               the target is that of another circuit, and somewhere the source is in the
                         state that this circuit reads: without it the norm of that state is
                         smaller, and a gate closer to its edge. That is no error either
    null                 every other pair, among them all pairs of noise, which is in no state

so that the false share of the edges by a rule, which Benjamini-Hochberg bounds, is that of null
pairs among them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from scircuit.core import edge_rules
from scircuit.execution.trace_steps.families import rule_columns
from scircuit.tracing.engine.settings import resolve_settings
from tests.support.planted_circuits import (
    SPECIAL,
    Cells,
    Plan,
    World,
    make_adapter,
    make_cells,
    make_dictionaries,
    make_plan,
    plant,
)
from tests.support.tiny_models import tiny_cohort
from tests.support.tiny_null import Traced, traced
from tests.support.tiny_tracer import open_tracer, tiny_config

NULL, PLANTED, CONTINUED, CARRIED, SHARED, OPEN = range(6)
RULES = (edge_rules.COMPUTED, edge_rules.CARRIED, edge_rules.CALIBRATED)
_NUMBERS = ("n", "computed", "computed_cells", "z_computed", "z_direct", "p_computed")


def truth_of(world: World, plan: Plan, cells: Cells) -> np.ndarray:
    """What every pair is, [F, later layers, targets of a layer]."""
    shape = (len(plan.kinds), world.layers - 1, len(plan.fixed) + world.free)
    truth, present = np.full(shape, NULL), plan.kinds != "noise"
    used = np.unique(np.concatenate(cells.cells))
    carries = cells.carries[used[used >= SPECIAL] - SPECIAL] > 0
    for f, c in plan.circuits.items():
        # a head reads all positions
        beside = (carries & carries[:, [f]]).any(0) | (c.kind == "attention")
        truth[beside & present, c.layer - 1 :, c.target] = SHARED
    for f, c in plan.circuits.items():
        truth[f, c.layer - (c.kind == "attention") :] = OPEN
        truth[f, c.layer - 1, c.target] = PLANTED
        truth[f, c.layer :, c.target] = CONTINUED
    for f, target in plan.carried.items():
        truth[f, :, target] = CARRIED
    return truth


class Found(NamedTuple):
    """What a trace says of every pair, [F, later layers, targets of a layer], beside the truth."""

    plan: Plan
    cells: Cells
    truth: np.ndarray
    called: dict[str, np.ndarray]  # by rule
    numbers: dict[str, np.ndarray]  # column of the edges; NaN where none is stored
    moved: np.ndarray  # whether a head writes the target, in its layer or before
    trace: Traced

    def of(self, kind: str, strength: float = 0.0) -> np.ndarray:
        """Mask of the pairs of traced sources of a kind, [F, 1, 1]; of one strength where that is
        given.
        """
        chosen = self.plan.kinds == kind
        chosen &= np.isin(np.arange(len(chosen)), self.trace.tracer.sources)
        if strength:
            own = [f for f, c in self.plan.circuits.items() if c.strength == strength]
            chosen &= np.isin(np.arange(len(chosen)), own)
        return chosen[:, None, None]

    def share(self, rule: str, pairs: np.ndarray) -> float:
        """Share of some pairs that a rule calls; NaN of none."""
        pairs = np.broadcast_to(pairs, self.truth.shape)
        return float(self.called[rule][pairs].mean()) if pairs.any() else float("nan")

    def false(self, rule: str, pairs: np.ndarray | bool = True) -> tuple[int, int]:
        """False ones, and all, of the pairs that a rule calls among some."""
        truth = self.truth[self.called[rule] & pairs]
        return int((truth == NULL).sum()), len(truth)


def planted_tracer(
    family: str, world: World, context: str = "exact", written: bool = True, **options: Any
) -> tuple[Any, Plan, Cells]:
    """Tracer of a planted model, or of the same model with nothing written."""
    plan = make_plan(world)
    cells = make_cells(world, plan)
    adapter, weights = make_adapter(family, world, cells)
    if written:
        plant(world, plan, weights)
    layers = {"source_layers": (0,), "target_layers": tuple(range(1, world.layers))}
    config = tiny_config(**layers, context=context, **options)
    dictionaries = make_dictionaries(world, plan, adapter, cells)
    settings = resolve_settings(config, adapter, dictionaries)
    tracer = open_tracer(adapter, dictionaries, tiny_cohort(cells.cells), settings)
    return tracer, plan, cells


def find(
    family: str, world: World, context: str = "exact", written: bool = True, **options: Any
) -> Found:
    """Trace a planted model with the engine, and call its edges by the rules of the project."""
    tracer, plan, cells = planted_tracer(family, world, context, written, **options)
    trace = traced(tracer)
    edges, truth = trace.edges, truth_of(world, plan, cells)
    means = np.concatenate([tracer.summaries[t].mean_activation for t in tracer.targets])
    scale = dict(zip(tracer.target_names.tolist(), means.tolist(), strict=True))
    source = {str(tracer.address(0, f)): f for f in range(len(truth))}
    target = {name: i for i, name in enumerate(tracer.target_names.tolist())}
    at = (
        [source[name] for name in edges["source"].to_pylist()],
        [target[name] for name in edges["target"].to_pylist()],
    )

    def placed(values: np.ndarray, empty: Any) -> np.ndarray:
        whole = np.full((len(truth), tracer.n_targets), empty)
        whole[at] = values
        return whole.reshape(truth.shape)

    columns = rule_columns(edges, scale)
    called = {rule.name: placed(rule.holds(columns), False) for rule in RULES}
    numbers = {
        name: placed(edges[name].cast("float64").to_numpy(zero_copy_only=False), np.nan)
        for name in _NUMBERS
    }
    moved = np.zeros(truth.shape, bool)
    for c in plan.circuits.values():
        if c.kind == "attention":
            moved[:, c.layer - 1 :, c.target] = True
    return Found(plan, cells, truth, called, numbers, moved, trace)

"""From the per-cell effects of a work unit to its edges, its p values and its null draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scircuit.core.edge_rules import MAX_Q
from scircuit.core.schema import conform
from scircuit.tracing.direction_null.direction_tests import DirectionTests, HeldOut
from scircuit.tracing.direction_null.null_ratios import KINDS
from scircuit.tracing.statistics.effect_statistics import Tests, edge_statistics
from scircuit.tracing.statistics.skewness import Null, draws_per_source, null_draws

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from scircuit.tracing.engine.effects import Effects
    from scircuit.tracing.engine.settings import TraceSettings

DIRECTION_GATE = 0.01
"""Direct and computed effects are stored up to this p. It is continuous, unlike that of sign flips,
and the threshold of a run lies far below it unless one pair in five is an edge."""

_AT_ONCE = 2**24  # effects whose statistics are computed at once


def asked_p(settings: TraceSettings) -> float:
    """Largest p of total effects that is told apart; larger ones count as 1."""
    return max(settings.gate_p, MAX_Q)


def direction_gate(settings: TraceSettings) -> float:
    """Largest p up to which direct and computed effects are stored."""
    return min(settings.gate_p, DIRECTION_GATE)


class Counted(NamedTuple):
    """Distinct p values, ascending, and how often each occurred."""

    p: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, p: Sequence[np.ndarray]) -> Counted:
        """Count p values; NaN are left out."""
        every = np.concatenate([np.zeros(0), *(x.ravel() for x in p)])
        return cls(*np.unique(every[~np.isnan(every)], return_counts=True))


@dataclass(frozen=True)
class UnitResult:
    """What one work unit found.

    Attributes
    ----------
    name
        The unit.
    edges
        Tests that are stored: p up to the gate, those the run's rules always store, and direct and
        computed effects with p up to their gate.
    total
        p values of all live tests of total effects against zero that can be called.
    null
        Null p values that stand for these.
    direct, computed
        p values of the callable pairs in the direction tests.
    held_out
        [direct and computed, measured layers, bins] p values of random directions held out.
    live, pairs
        Live tests; (feature, cell) pairs that were ablated.
    zero_edit_max
        Largest effect of editing nothing at this source layer.
    """

    name: str
    edges: pa.Table
    total: Counted
    null: Null
    direct: Counted
    computed: Counted
    held_out: np.ndarray
    live: int
    pairs: int
    zero_edit_max: float


class EdgeNames(NamedTuple):
    """Names in the edges of one source layer."""

    run: str
    sources: np.ndarray  # [F] addresses of the features of the source layer
    targets: np.ndarray  # [T] addresses of the targets of all measured layers


class UnitStatistics:
    """Collects the statistics of one work unit, tile by tile.

    Parameters
    ----------
    layer, settings
        Source layer; settings of the run.
    floors
        [T] numeric floor of each target.
    columns
        Targets of each measured layer among all.
    names
        Names in the edges.
    sources
        Sources of the whole layer.
    """

    def __init__(
        self,
        layer: int,
        settings: TraceSettings,
        floors: np.ndarray,
        columns: Sequence[slice],
        names: EdgeNames,
        sources: int,
    ) -> None:
        self._layer, self._settings, self._floors, self._names = layer, settings, floors, names
        self._columns, self._draws = columns, draws_per_source(sources)
        self._tables: list[pa.Table] = []
        self._p: dict[str, list[np.ndarray]] = {"total": [], "direct": [], "computed": []}
        self._held_out = [[HeldOut.none() for _ in columns] for _ in KINDS]
        self._null: list[Null] = []
        self._live = self.pairs = self.edges = 0

    def add(
        self, features: np.ndarray, found: Effects, directions: Sequence[DirectionTests] | None
    ) -> None:
        """Take in the effects of some sources and their direction tests, in parts that bound the
        memory.
        """
        self.pairs += int(found.active.sum())
        step = max(1, _AT_ONCE // found.effects[0].size)
        for start in range(0, len(features), step):
            part = slice(start, start + step)
            tests = edge_statistics(
                found.effects[part], found.active[part], self._floors, asked_p(self._settings)
            )
            own = None if directions is None else directions[part]
            self._tables.append(self._edges(features[part], found, part, tests, own))
            self._p["total"].append(tests.p[tests.callable])
            keys = [(self._settings.seed, self._layer, int(f)) for f in features[part]]
            self._null.append(null_draws(tests, keys, self._draws))
            self._live += len(tests.p)
            self.edges += self._tables[-1].num_rows
            for one in own or ():
                self._p["direct"].append(one.p_direct)
                self._p["computed"].append(one.p_computed)
                for kind, held in enumerate(one.held_out):
                    for i, at in enumerate(self._columns):
                        self._held_out[kind][i] += HeldOut.count(held[:, at])

    def _edges(
        self,
        features: np.ndarray,
        found: Effects,
        part: slice,
        tests: Tests,
        directions: Sequence[DirectionTests] | None,
    ) -> pa.Table:
        stored = np.zeros((len(features), len(self._floors)), bool)
        always = self._settings.rules.always_stored(tests)
        kept = (tests.p <= self._settings.gate_p) | always
        stored[tests.source[kept], tests.target[kept]] = True
        for i, one in enumerate(directions or ()):
            stored[i] |= np.fmin(one.p_direct, one.p_computed) <= direction_gate(self._settings)
        cells = found.active[part].sum(1)
        return edge_table(
            self._names, features, cells, found.positions[part], tests, directions, stored
        )

    def result(self, name: str, zero_edit_max: float) -> UnitResult:
        """All that was collected."""
        import pyarrow as pa

        return UnitResult(
            name,
            pa.concat_tables(self._tables),
            Counted.of(self._p["total"]),
            Null.joined(self._null),
            Counted.of(self._p["direct"]),
            Counted.of(self._p["computed"]),
            np.array(self._held_out),
            self._live,
            self.pairs,
            zero_edit_max,
        )


def edge_table(
    names: EdgeNames,
    features: np.ndarray,
    cells: np.ndarray,
    positions: np.ndarray,
    tests: Tests,
    directions: Sequence[DirectionTests] | None,
    stored: np.ndarray,
) -> pa.Table:
    """Records of kind Feature-AFFECTS-Feature, without q.

    Parameters
    ----------
    names
        Names of run, sources and targets.
    features
        [M] source features.
    cells, positions
        [M] cells in which each is active, and active positions summed over cells.
    tests
        Live tests of these sources on their targets' activations.
    directions
        Direction tests of each source; None: not made.
    stored
        [M, T] pairs that become records. One without a live test has no effect on the activation of
        its target: n_pos, n_neg, mean, sd and d are 0, and it has no p.
    """
    import pyarrow as pa

    source, target = np.nonzero(stored)
    place = np.full(stored.shape, -1)
    place[tests.source, tests.target] = np.arange(len(tests.p))
    at = place[source, target]
    live = at >= 0

    def of_test(values: np.ndarray) -> np.ndarray:
        found = np.zeros(len(at), values.dtype)
        found[live] = values[at[live]]
        return found

    def masked(values: np.ndarray, known: np.ndarray) -> pa.Array:
        return pa.array(values, mask=~known)

    halves = np.ma.masked_array(np.zeros(len(at), np.int64), True)
    halves[live] = tests.halves(at[live])
    p = np.zeros(len(at))
    p[live] = tests.exact_p(at[live])
    columns = {
        "source": names.sources[np.asarray(features)[source]],
        "target": names.targets[target],
        "run": [names.run] * len(source),
        "n": cells[source],
        **{k: of_test(getattr(tests, k)) for k in ("n_pos", "n_neg", "mean", "sd", "d")},
        "p": pa.array(p, mask=~live),
        "positions": positions[source],
        "halves": halves,
    }
    for name in _OF_DIRECTIONS if directions is not None else ():
        values = np.stack([getattr(d, name) for d in directions or ()])[source, target]
        columns[name] = masked(values, ~np.isnan(values))
    return conform(
        "Feature-AFFECTS-Feature", pa.table({k: pa.array(v) for k, v in columns.items()})
    )


_OF_DIRECTIONS = ("direct", "computed", "computed_cells", "z_direct", "z_computed", "p_computed")

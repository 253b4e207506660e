"""From the per-cell effects of a work unit to its edges, its p values and its null draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scircuit.core.schema import conform
from scircuit.tracing.statistics.effect_statistics import Tests, edge_statistics
from scircuit.tracing.statistics.skewness import Null, null_draws

if TYPE_CHECKING:
    import pyarrow as pa

    from scircuit.tracing.engine.effects import Effects
    from scircuit.tracing.engine.settings import TraceSettings

_AT_ONCE = 2**24  # effects whose statistics are computed at once


@dataclass(frozen=True)
class UnitResult:
    """What one work unit found.

    Attributes
    ----------
    name
        The unit.
    edges
        Tests that are stored: p up to the gate, and those the run's rules always store.
    p_values, p_counts
        Distinct p values of all live tests, and how often each occurred.
    null
        Null p values that stand for the tests that can be called.
    live, pairs
        Live tests; (feature, cell) pairs that were ablated.
    zero_edit_max
        Largest effect of editing nothing at this source layer.
    """

    name: str
    edges: pa.Table
    p_values: np.ndarray
    p_counts: np.ndarray
    null: Null
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
    names
        Names in the edges.
    """

    def __init__(
        self, layer: int, settings: TraceSettings, floors: np.ndarray, names: EdgeNames
    ) -> None:
        self._layer, self._settings, self._floors, self._names = layer, settings, floors, names
        self._tables: list[pa.Table] = []
        self._p: list[np.ndarray] = []
        self._null: list[Null] = []
        self.pairs = self.edges = 0

    def add(self, features: np.ndarray, found: Effects) -> None:
        """Take in the effects of some sources, in parts that bound the memory."""
        self.pairs += int(found.active.sum())
        step = max(1, _AT_ONCE // found.effects[0].size)
        for start in range(0, len(features), step):
            part = slice(start, start + step)
            tests = edge_statistics(found.effects[part], found.active[part], self._floors)
            always = self._settings.rules.always_stored(tests)
            stored = np.flatnonzero((tests.p <= self._settings.gate_p) | always)
            self._tables.append(
                edge_table(
                    self._names,
                    features[part],
                    found.passthrough[part],
                    found.positions[part],
                    tests,
                    stored,
                )
            )
            self._p.append(tests.p)
            keys = [(self._settings.seed, self._layer, int(f)) for f in features[part]]
            self._null.append(null_draws(tests, keys))
            self.edges += len(stored)

    def result(self, name: str, zero_edit_max: float) -> UnitResult:
        """All that was collected."""
        import pyarrow as pa

        p_values, p_counts = np.unique(np.concatenate(self._p), return_counts=True)
        return UnitResult(
            name,
            pa.concat_tables(self._tables),
            p_values,
            p_counts,
            Null.joined(self._null),
            int(p_counts.sum()),
            self.pairs,
            zero_edit_max,
        )


def edge_table(
    names: EdgeNames,
    features: np.ndarray,
    passthrough: np.ndarray,
    positions: np.ndarray,
    tests: Tests,
    stored: np.ndarray,
) -> pa.Table:
    """Records of kind Feature-AFFECTS-Feature, without q.

    Parameters
    ----------
    names
        Names of run, sources and targets.
    features
        [M] source features.
    passthrough, positions
        Pass-through [M, T] and active positions [M], summed over cells.
    tests
        Live tests of these sources.
    stored
        Which of them become records.
    """
    import pyarrow as pa

    source, target = tests.source[stored], tests.target[stored]
    n = tests.n[stored]
    columns = {
        "source": names.sources[np.asarray(features)[source]],
        "target": names.targets[target],
        "run": [names.run] * len(stored),
        "n": n,
        "n_pos": tests.n_pos[stored],
        "n_neg": tests.n_neg[stored],
        "mean": tests.mean[stored],
        "sd": tests.sd[stored],
        "d": tests.d[stored],
        "p": tests.p[stored],
        "passthrough": passthrough[source, target] / n,
        "positions": positions[source],
        "halves": tests.halves(stored),
    }
    return conform(
        "Feature-AFFECTS-Feature", pa.table({k: pa.array(v) for k, v in columns.items()})
    )

"""Edges of the controls, with the statistics of real edges, and how they compare with the edges of
the same sources.

For a source i, a target j and a control c let m_ij be the mean effect of the source and m'_ij that
of the control (0 where it has none). Over the edges of the sampled sources,

    relative_size = median |m'_ij| / |m_ij|
    larger_share = share of edges with |m_ij| > |m'_ij|
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scircuit.core.edge_rules import MIN_EFFECT, MIN_SUPPORT, calibrated_edges, legacy_edges
from scircuit.core.schema import conform
from scircuit.tracing.statistics.effect_statistics import Tests, edge_statistics
from scircuit.tracing.statistics.q_values import QTable

if TYPE_CHECKING:
    import pyarrow as pa

    from scircuit.tracing.engine.tracer import Tracer

KIND = "Feature-CONTROL_AFFECTS-Feature"


class Rule(NamedTuple):
    """What an edge is in a run: the q of a p in the family of the real run, and the floors of the
    calibrated rule.
    """

    family: QTable
    min_support: int = MIN_SUPPORT
    min_effect: float = MIN_EFFECT


class Condition(NamedTuple):
    """Tests of one condition, masks of its edges, and the largest effect per target layer."""

    tests: Tests
    calibrated: np.ndarray
    legacy: np.ndarray
    largest: dict[int, float]

    def within(self, columns: slice) -> np.ndarray:
        """Mask of the tests on the targets of one layer."""
        return (self.tests.target >= columns.start) & (self.tests.target < columns.stop)

    def degrees(self, sources: int) -> np.ndarray:
        """Calibrated edges of every source."""
        return np.bincount(self.tests.source[self.calibrated], minlength=sources)


def condition(tracer: Tracer, effects: np.ndarray, active: np.ndarray, rule: Rule) -> Condition:
    """Statistics of effects [sources, cells, targets], judged as those of the real run."""
    tests = edge_statistics(effects, active, tracer.floors)
    scale = np.concatenate([tracer.summaries[t].mean_activation for t in tracer.targets])
    edge = calibrated_edges(
        rule.family.of(tests.p),
        tests.n_pos,
        tests.n_neg,
        tests.mean,
        scale[tests.target],
        min_support=rule.min_support,
        min_effect=rule.min_effect,
    )
    largest = {t: float(np.abs(effects[:, :, tracer.columns(t)]).max()) for t in tracer.targets}
    return Condition(tests, edge, legacy_edges(tests.d, tests.n, tests.n_pos), largest)


def without_effects(tracer: Tracer, c: Condition, edges: np.ndarray) -> Condition:
    """A condition without its per-cell effects: the tests that are stored or counted, and those of
    the pairs that are `edges` of the sources.
    """
    tests = c.tests
    chosen = np.flatnonzero(
        (tests.p <= tracer.settings.gate_p)
        | c.legacy
        | c.calibrated
        | np.isin(tests.pairs(tracer.n_targets), edges)
    )
    columns = [getattr(tests, name) for name in _COLUMNS]
    few = Tests(*(column[chosen] for column in columns), given=_NOTHING)
    return Condition(few, c.calibrated[chosen], c.legacy[chosen], c.largest)


# fields with an entry for each test
_COLUMNS = Tests._fields[: Tests._fields.index("given")]
_NOTHING = (np.zeros((0, 0, 0)), np.zeros((0, 0), bool), np.zeros(0))


def edges_of(real: Condition, targets: int) -> np.ndarray:
    """Calibrated edges as numbers of pairs."""
    return real.tests.pairs(targets)[real.calibrated]


def joined(parts: Sequence[Condition], sources: Sequence[int]) -> Condition:
    """One condition of the parts of a sample, of which part i has ``sources[i]`` sources."""
    start = np.cumsum([0, *sources[:-1]])
    moved = [
        c.tests._replace(source=c.tests.source + first)
        for c, first in zip(parts, start, strict=True)
    ]
    tests = Tests(
        *(np.concatenate([getattr(t, name) for t in moved]) for name in _COLUMNS), given=_NOTHING
    )
    largest = {t: max(c.largest[t] for c in parts) for t in parts[0].largest}
    return Condition(
        tests,
        np.concatenate([c.calibrated for c in parts]),
        np.concatenate([c.legacy for c in parts]),
        largest,
    )


def compare(
    real: Condition, control: Condition, columns: slice, targets: int
) -> dict[str, float | None]:
    """``relative_size`` and ``larger_share`` of one control over the edges into one layer."""
    edges = real.calibrated & real.within(columns)
    if not edges.any():
        return {"relative_size": None, "larger_share": None}
    own, other = (
        np.abs(real.tests.mean[edges]),
        np.abs(_mean_at(control.tests, real.tests.pairs(targets)[edges], targets)),
    )
    return {
        "relative_size": float(np.median(other / own)),
        "larger_share": float((own > other).mean()),
    }


def edge_table(
    tracer: Tracer,
    features: np.ndarray,
    real: Condition,
    controls: Mapping[str, Condition],
    rule: Rule,
) -> pa.Table:
    """Records of the control tests that pass the run's gate, and of those of pairs that are an edge
    in the real run.
    """
    import pyarrow as pa

    targets = tracer.n_targets
    edges = edges_of(real, targets)
    sources = np.array([str(tracer.address(tracer.layer, f)) for f in features], dtype=object)
    tables = []
    for name, c in controls.items():
        tests = c.tests
        stored = np.flatnonzero(
            (tests.p <= tracer.settings.gate_p) | c.legacy | np.isin(tests.pairs(targets), edges)
        )
        columns = {
            "source": sources[tests.source[stored]],
            "target": tracer.target_names[tests.target[stored]],
            "run": [tracer.run] * len(stored),
            "control": [name] * len(stored),
            "n": tests.n[stored],
            "n_pos": tests.n_pos[stored],
            "n_neg": tests.n_neg[stored],
            "mean": tests.mean[stored],
            "sd": tests.sd[stored],
            "d": tests.d[stored],
            "p": tests.p[stored],
            "q": rule.family.of(tests.p[stored]),
        }
        tables.append(conform(KIND, pa.table({k: pa.array(v) for k, v in columns.items()})))
    return pa.concat_tables(tables)


def _mean_at(tests: Tests, pairs: np.ndarray, targets: int) -> np.ndarray:
    """Mean of the tests at given pairs; 0 where there is none."""
    known = tests.pairs(targets)
    if not len(known):
        return np.zeros(len(pairs))
    at = np.minimum(np.searchsorted(known, pairs), len(known) - 1)
    return np.where(known[at] == pairs, tests.mean[at], 0.0)

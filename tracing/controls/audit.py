"""The audit of a run that is not exact: a random sample of its sources is also traced exactly, and
with two and four times the further positions.

For each pair of layers: with ``E`` the edges of the exact context and ``F`` those of the other,
under one rule and one p threshold,

    precision = |E and F| / |F|,    recall = |E and F| / |E|,
    correlation of d over tests that are live in both.

The total effect (exact) and the local effect (frozen) are two quantities. ``cross_share = sum
|mean_exact - mean| / sum |mean_exact|`` is the part of the total effect that travels through other
positions: a finding about the model, not only an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scircuit.core.context import EXACT, FROZEN, context_name
from scircuit.tracing.controls.control_edges import Rule, condition
from scircuit.tracing.controls.control_records import control_row, control_tables
from scircuit.tracing.engine.jobs import parts_of

if TYPE_CHECKING:
    import pyarrow as pa

    from scircuit.tracing.engine.effects import Progress
    from scircuit.tracing.engine.tracer import Tracer

MIN_SAMPLE = 20  # sources
_FIRST = 16  # further positions of the first step away from frozen
_STORED = (
    "sources",
    "edges",
    "context",
    "precision",
    "recall",
    "cross_share",
)  # fields of an agreement that are properties of its record


@dataclass(frozen=True)
class Agreement:
    """One context against exact, for one pair of layers, on the sample."""

    source_layer: int
    target_layer: int
    context: str
    sources: int
    edges: int
    exact_edges: int
    precision: float | None
    recall: float | None
    precision_legacy: float | None
    recall_legacy: float | None
    correlation: float | None
    cross_share: float | None


class Found(NamedTuple):
    """Dense tables [sources, targets] of one context."""

    mean: np.ndarray
    d: np.ndarray
    calibrated: np.ndarray
    legacy: np.ndarray


def run_audit(
    tracer: Tracer, rule: Rule, progress: Progress | None = None, further: bool = True
) -> list[Agreement]:
    """Agreement with exact of the tracer's context, and of it with two and four times the further
    positions; nothing for exact runs.

    Parameters
    ----------
    tracer
        The run.
    rule
        What an edge is in the run.
    progress
        Called with (pairs done, pairs, 0).
    further
        Also two and four times the further positions.
    """
    sample = audit_sample(tracer)
    total, done, parts = tracer.pairs_of(sample) * len(_contexts(tracer, further)), 0, []
    for features in parts_of(tracer, sample):
        parts.append(
            audit_part(
                tracer,
                features,
                rule,
                further,
                lambda now, _t, _e, before=done: (
                    progress(before + now, total, 0) if progress else None
                ),
            )
        )
        done += tracer.pairs_of(features) * len(_contexts(tracer, further))
    return agreements(tracer, parts)


def audit_sample(tracer: Tracer) -> np.ndarray:
    """Sources that are audited, ascending: none in exact runs, and none that are traced exactly
    anyway.
    """
    if tracer.context == EXACT:
        return np.zeros(0, np.int64)
    pool = np.setdiff1d(tracer.sources, tracer.exact_sources)
    share = int(np.ceil(tracer.settings.audit * len(tracer.sources)))
    size = min(len(pool), max(MIN_SAMPLE, share))
    if not size:
        return pool
    rng = np.random.default_rng([tracer.settings.seed, 3, tracer.layer])
    return np.sort(rng.choice(pool, size, replace=False))


def audit_part(
    tracer: Tracer,
    features: np.ndarray,
    rule: Rule,
    further: bool = True,
    progress: Progress | None = None,
) -> dict[int, Found]:
    """Effects of some audited sources in each context; arguments as in `run_audit`."""
    contexts, pairs = _contexts(tracer, further), tracer.pairs_of(features)
    found = {}
    for i, context in enumerate(contexts):

        def report(done: int, _total: int, _edges: int, before: int = i * pairs) -> None:
            if progress:
                progress(before + done, len(contexts) * pairs, 0)

        found[context] = _tables(tracer, features, context, rule, report)
    return found


def agreements(tracer: Tracer, parts: Sequence[Mapping[int, Found]]) -> list[Agreement]:
    """Agreement of each context with exact, for each measured layer, over all parts."""
    if not parts:
        return []
    found = {
        context: Found(
            *(
                np.concatenate(tables)
                for tables in zip(*(part[context] for part in parts), strict=True)
            )
        )
        for context in parts[0]
    }
    exact = found.pop(EXACT)
    return [
        _compare(tracer, t, context, len(exact.mean), table, exact)
        for t in tracer.targets
        for context, table in found.items()
    ]


def _contexts(tracer: Tracer, further: bool) -> list[int]:
    first = tracer.context or _FIRST
    steps = [first, 2 * first, 4 * first] if tracer.context == FROZEN else [2 * first, 4 * first]
    return [tracer.context, *(steps if further else ()), EXACT]


def _tables(
    tracer: Tracer, features: np.ndarray, context: int, rule: Rule, progress: Progress
) -> Found:
    tables = Found(
        *(np.zeros((len(features), tracer.n_targets), kind) for kind in (float, float, bool, bool))
    )
    effects = tracer.effects(features, context=context, progress=progress)
    judged = condition(tracer, effects.effects, effects.active, rule)
    tests = judged.tests
    for table, value in zip(
        tables, (tests.mean, tests.d, judged.calibrated, judged.legacy), strict=True
    ):
        table[tests.source, tests.target] = value
    return tables


def _compare(
    tracer: Tracer, target: int, context: int, size: int, found: Found, exact: Found
) -> Agreement:
    at = tracer.columns(target)
    ours, theirs = (Found(*(table[:, at] for table in f)) for f in (found, exact))
    live = (ours.d != 0) & (theirs.d != 0)
    varied = live.sum() > 2 and ours.d[live].std() > 0 and theirs.d[live].std() > 0
    total = np.abs(theirs.mean).sum()
    return Agreement(
        tracer.layer,
        target,
        context_name(context),
        size,
        int(ours.calibrated.sum()),
        int(theirs.calibrated.sum()),
        *_overlap(ours.calibrated, theirs.calibrated),
        *_overlap(ours.legacy, theirs.legacy),
        float(np.corrcoef(ours.d[live], theirs.d[live])[0, 1]) if varied else None,
        float(np.abs(theirs.mean - ours.mean).sum() / total) if total else None,
    )


def _overlap(found: np.ndarray, wanted: np.ndarray) -> tuple[float | None, float | None]:
    both = int((found & wanted).sum())
    return (both / int(found.sum()) if found.any() else None), (
        both / int(wanted.sum()) if wanted.any() else None
    )


def audit_tables(run: str, agreements: list[Agreement]) -> dict[str, pa.Table]:
    """The audit as ``Control`` records: `edges` are those of the context, `control_edges` those of
    exact.
    """
    return control_tables(
        [
            control_row(run, "context", a.source_layer, a.target_layer, f"context/{a.context}")
            | {name: getattr(a, name) for name in _STORED}
            | {"control_edges": a.exact_edges, "agreement": a.correlation}
            for a in agreements
        ]
    )

"""A whole trace of a tiny model against random directions, without a run's folder: null, audit,
units, q.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from scircuit.core import edge_rules
from scircuit.execution.trace_steps.families import Families, rule_columns, with_every_q
from scircuit.execution.trace_steps.null_step import DrawnNull
from scircuit.tracing.direction_null.null_audit import audit_null, audited_sources, ratios_of
from scircuit.tracing.direction_null.null_ratios import Ratios
from scircuit.tracing.direction_null.pooled_null import null_jobs, null_part
from scircuit.tracing.engine.unit_results import UnitResult, asked_p
from scircuit.tracing.statistics.family import Family
from scircuit.tracing.statistics.skewness import Null


@dataclass(frozen=True)
class Traced:
    """What a trace found."""

    tracer: Any
    changes: np.ndarray | None
    ratios: Ratios
    results: list[UnitResult]
    families: Families
    edges: pa.Table

    def called(self, rule: edge_rules.EdgeRule) -> set[tuple[int, int]]:
        """Source and target (place among all targets) of the edges by a rule."""
        columns = rule_columns(self.edges, {})
        chosen = self.edges.filter(pa.array(rule.holds(columns)))
        target = {name: i for i, name in enumerate(self.tracer.target_names.tolist())}
        source = {str(self.tracer.address(self.tracer.layer, f)): f for f in self.tracer.sources}
        return {
            (int(source[s]), target[t])
            for s, t in zip(chosen["source"].to_pylist(), chosen["target"].to_pylist(), strict=True)
        }


def audited(tracer: Any, changes: np.ndarray) -> Ratios:
    """Ratios of the audit of a pooled null."""
    drawn = DrawnNull(tracer.sources, changes, {})
    parts = [audit_null(tracer, f, drawn.of(f).changes) for f in audited_sources(tracer)]
    return ratios_of(tracer, parts)


def traced(tracer: Any, changes: np.ndarray | None = None, ratios: Ratios | None = None) -> Traced:
    """Draw, audit and trace everything; of these what is not given, and no null where none is
    asked for.
    """
    jobs = null_jobs(tracer)
    if changes is None and jobs:
        changes = np.concatenate([null_part(tracer, draws) for draws in jobs], 1)
    if changes is None:
        results, ratios = [tracer.run_unit(u) for u in tracer.units], {}
    else:
        ratios = audited(tracer, changes) if ratios is None else ratios
        null = DrawnNull(tracer.sources, changes, ratios)
        results = [tracer.run_unit(u, null.of(tracer.features_of(u))) for u in tracer.units]
    tables = []
    for name in ("total", "direct", "computed"):
        family = Family(asked_p(tracer.settings) if name == "total" else 1.0)
        for r in results:
            family.add(*getattr(r, name), Null.joined([]))
        tables.append(family.table())
    families = Families(*tables, tracer.settings.null_draws)
    edges = with_every_q(pa.concat_tables([r.edges for r in results]), families)
    return Traced(tracer, changes, ratios, results, families, edges)

"""Which findings ``scircuit analyse`` makes of the circuit of a run, beyond its degrees."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from scircuit.analysis.circuit_inputs import CircuitInputs
from scircuit.analysis.finding import Finding

if TYPE_CHECKING:
    import pyarrow as pa

Analyser = Callable[[CircuitInputs, Any], Finding]

ANALYSERS: tuple[Analyser, ...] = ()
"""Each takes the circuit and `scircuit.core.config.AnalyseConfig`."""


def circuit_findings(inputs: CircuitInputs, config: object) -> list[Finding]:
    """All findings of a circuit, in the order of the report."""
    return [analyser(inputs, config) for analyser in ANALYSERS]


def merged_features(tables: list[pa.Table]) -> pa.Table:
    """One ``Feature`` record per id out of tables with properties of their own."""
    from scircuit.core.schema import conform

    merged = tables[0]
    for table in tables[1:]:
        merged = merged.join(table, keys="id", join_type="full outer")
    return conform("Feature", merged.sort_by("id"))

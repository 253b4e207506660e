"""Which findings ``scircuit analyse`` makes of the circuit of a run, beyond its degrees."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from scircuit.analysis.circuit_inputs import CircuitInputs
from scircuit.analysis.coherence.edge_coherence import coherence
from scircuit.analysis.consensus.rule_survival import rule_survival
from scircuit.analysis.finding import Finding
from scircuit.analysis.novelty.edge_novelty import novelty
from scircuit.analysis.structure.attenuation import attenuation
from scircuit.analysis.structure.degree_inequality import degree_inequality
from scircuit.analysis.structure.hub_stability import hub_stability
from scircuit.analysis.structure.modules_finding import modules
from scircuit.analysis.structure.motifs import motifs
from scircuit.analysis.structure.page_rank import feature_order
from scircuit.analysis.structure.sign_structure import sign_structure

if TYPE_CHECKING:
    import pyarrow as pa

Analyser = Callable[[CircuitInputs, Any], Finding]

ANALYSERS: tuple[Analyser, ...] = (
    attenuation,
    sign_structure,
    degree_inequality,
    hub_stability,
    modules,
    motifs,
    feature_order,
    coherence,
    rule_survival,
    novelty,
)
"""Each takes the circuit and `scircuit.core.config.AnalyseConfig`."""


def circuit_findings(inputs: CircuitInputs, config: object) -> list[Finding]:
    """All findings of a circuit, in the order of the report."""
    return [analyser(inputs, config) for analyser in ANALYSERS]


def merged_features(tables: list[pa.Table]) -> pa.Table:
    """One ``Feature`` record per id out of tables with properties of their own."""
    import pyarrow as pa

    from scircuit.core.schema import conform

    ids = sorted({i for table in tables for i in table.column("id").to_pylist()})
    columns: dict[str, pa.ChunkedArray] = {"id": pa.chunked_array([pa.array(ids, pa.string())])}
    for table in tables:
        rows = {i: row for row, i in enumerate(table.column("id").to_pylist())}
        at = pa.array([rows.get(i) for i in ids], pa.int64())
        # a join of pyarrow takes no lists, such as the degrees by layer
        columns |= {c: table.column(c).take(at) for c in table.column_names if c != "id"}
    return conform("Feature", pa.table(columns))

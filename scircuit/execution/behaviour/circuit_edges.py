"""The computed edges of a trace run between the features of a circuit, and those that connect it.

An edge leads from a feature to one of a later layer. Of all edges between members, the strongest
out of every member are enough to connect each with what it drives; a member without one acts on
the behaviour through the residual stream, or through features outside of the circuit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from scircuit.core.edge_rules import COMPUTED
from scircuit.execution.feature_table import features_of
from scircuit.execution.trace_steps.families import EDGES, rule_columns

if TYPE_CHECKING:
    from scircuit.core.study import Manifest, Study


class CircuitEdges(NamedTuple):
    """Computed edges between members, the strongest first, as source, target, computed effect and
    its z; and member -> the one that its strongest leads to.
    """

    joins: list[tuple[str, str, float, float]]
    leads_to: dict[str, str]


def circuit_edges(study: Study, trace: Manifest, members: Sequence[str]) -> CircuitEdges:
    """Edges by the computed rule between the features with these addresses."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from scircuit.ingest.shards.shard_store import ShardStore

    store, wanted = ShardStore(study.run_folder(trace.run)), pa.array(list(members), pa.string())
    parts = []
    for entry in trace.shards:
        if entry.kind == EDGES:
            table = store.read(entry)
            inside = pc.and_(  # pyright: ignore[reportAttributeAccessIssue]
                pc.is_in(table.column("source").cast(pa.string()), wanted),  # pyright: ignore[reportAttributeAccessIssue]
                pc.is_in(table.column("target").cast(pa.string()), wanted),  # pyright: ignore[reportAttributeAccessIssue]
            )
            parts.append(table.filter(inside))
    table = pa.concat_tables(parts, promote_options="default") if parts else None
    if table is None or not table.num_rows or "q_computed" not in table.column_names:
        return CircuitEdges([], {})
    features = features_of(study, trace)
    ids, means = (features.column(c).to_pylist() for c in ("id", "mean_activation"))
    scale = dict(zip(ids, means, strict=True))
    called = np.flatnonzero(COMPUTED.holds(rule_columns(table, scale)))
    strength = np.abs(table.column(COMPUTED.strength).to_numpy(zero_copy_only=False)[called])
    names = ("source", "target", COMPUTED.effect, COMPUTED.strength)
    strongest = table.take(pa.array(called[np.lexsort((called, -strength))]))
    joins = list(zip(*(strongest.column(c).to_pylist() for c in names), strict=True))
    leads_to: dict[str, str] = {}
    for source, target, *_ in joins:
        leads_to.setdefault(source, target)
    return CircuitEdges(joins, leads_to)

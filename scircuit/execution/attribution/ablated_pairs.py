"""Ablation edges of a trace run between the pairs that an attribution has edges for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scircuit.core.address import parse
from scircuit.execution.trace_steps.families import EDGES

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from scircuit.core.study import Manifest, Study

COLUMNS = ("source", "target", "layers", "weight", "same_token", "q", "direct", "computed")


def ablated_pairs(study: Study, trace: Manifest, edges: pa.Table) -> pd.DataFrame:
    """Pairs that both have: attribution (weight, same_token, q), and the ablation's direct and
    computed effect on the pre-activation; `layers` is the distance between the two.
    """
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    from scircuit.ingest.shards.shard_store import ShardStore

    store = ShardStore(study.run_folder(trace.run))
    attributed = edges.select(["source", "target", "weight", "same_token", "q"]).to_pandas()
    targets = pa.array(sorted(set(attributed["target"])), pa.string())
    parts = []
    for entry in trace.shards:
        if entry.kind != EDGES:
            continue
        table = store.read(entry)
        if not {"direct", "computed"} <= set(table.column_names):
            continue
        inside = pc.is_in(table.column("target").cast(pa.string()), targets)  # pyright: ignore[reportAttributeAccessIssue]
        parts.append(
            table.filter(inside).select(["source", "target", "direct", "computed"]).to_pandas()
        )
    if not parts:
        return pd.DataFrame(columns=pd.Index(COLUMNS))
    ablated = pd.concat(parts, ignore_index=True).dropna(subset=["direct", "computed"])
    ablated = ablated.astype({"source": str, "target": str})
    found = attributed.astype({"source": str, "target": str}).merge(
        ablated, on=["source", "target"]
    )
    layer = {name: parse(name).layer for name in {*found["source"], *found["target"]}}
    found["layers"] = found["target"].map(layer) - found["source"].map(layer)
    found = found.sort_values(["source", "target"], ignore_index=True)
    return found[list(COLUMNS)]

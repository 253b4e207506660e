"""Feature properties of one or several runs as one table; those of a feature may be in several
shards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
    import pyarrow as pa

    from scircuit.core.study import Manifest, Study


def joined(tables: Sequence[pa.Table]) -> pd.DataFrame:
    """One row per feature, in the order of the first tables; if several have a property, the last
    one counts.
    """
    import numpy as np
    import pandas as pd

    frames = [t.to_pandas(types_mapper=pd.ArrowDtype) for t in tables if t.num_rows]
    if not frames:
        return pd.DataFrame({"id": []})
    stacked = pd.concat(frames, ignore_index=True)
    if not stacked["id"].duplicated().any():
        return stacked
    code, ids = pd.factorize(stacked["id"])
    columns = {"id": stacked["id"]} | {name: stacked[name] for name in stacked.columns}
    for name, column in columns.items():  # groupby().last() takes Python objects one by one
        known = np.flatnonzero(column.notna().to_numpy(bool))
        last = np.full(len(ids), -1)
        last[code[known]] = known  # of several the last one stays
        columns[name] = pd.Series(column.array.take(last, allow_fill=True), name=name)
    return pd.DataFrame(columns)


def newest(tables: Iterable[pa.Table]) -> list[pa.Table]:
    """Tables of several runs, oldest first, each without the features that a later one has: what is
    known of a feature is then of one run.
    """
    import pyarrow as pa

    seen: set[str] = set()
    kept: list[pa.Table] = []
    for table in reversed(list(tables)):
        ids = table.column("id").to_pylist()
        kept.append(table.filter(pa.array([i not in seen for i in ids], pa.bool_())))
        seen.update(ids)
    return kept[::-1]


def features_of(study: Study, run: Manifest) -> pa.Table:
    """Feature table of a run, one row per feature."""
    import pyarrow as pa

    from scircuit.core import schema
    from scircuit.ingest.shards.shard_store import ShardStore

    store = ShardStore(study.run_folder(run.run))
    tables = [store.read(entry) for entry in run.shards if entry.kind == "Feature"]
    if not tables:
        return schema.arrow_schema("Feature").empty_table()
    return schema.conform("Feature", pa.Table.from_pandas(joined(tables), preserve_index=False))

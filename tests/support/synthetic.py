"""A synthetic trace run on disk: features of three layers and edges with every property, from a
seed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from scircuit.core import schema
from scircuit.core.address import Address
from scircuit.core.study import Manifest
from scircuit.ingest.shards.content_hash import LATE_COLUMNS
from scircuit.ingest.shards.shard_store import ShardStore

EDGES = "Feature-AFFECTS-Feature"


def address(layer: int, index: int) -> str:
    return str(Address("toy", "k4", layer, index))


def manifest(run: str, **changes) -> Manifest:
    return Manifest(
        run=run,
        verb="trace",
        config={"seed": 0},
        inputs={"cells": "abc"},
        version="0",
        started="2026-01-01T00:00:00+00:00",
    ).with_(**changes)


def feature_table(per_layer: int) -> pa.Table:
    ids = [(layer, index) for layer in (1, 2, 3) for index in range(per_layer)]
    return pa.table(
        {
            "id": [address(*i) for i in ids],
            "name": [Address("toy", "k4", *i).short for i in ids],
            "layer": [i[0] for i in ids],
            "index": [i[1] for i in ids],
            "firing_rate": [1 / (1 + i[1]) for i in ids],
            "traced": [i[0] == 1 for i in ids],
        }
    )


def edge_table(
    run: str, sources: range, per_layer: int, degree: int, seed: int, *, q: bool = False
) -> pa.Table:
    """`degree` distinct targets of both later layers for each source."""
    rng = np.random.default_rng([seed, sources.start])
    targets = [address(layer, index) for layer in (2, 3) for index in range(per_layer)]
    source = [address(1, s) for s in sources for _ in range(degree)]
    target = [targets[t] for _ in sources for t in rng.choice(len(targets), degree, replace=False)]
    n = len(source)
    table = {
        "source": source,
        "target": target,
        "run": [run] * n,
        "n": rng.integers(6, 21, n),
        "n_pos": rng.integers(0, 20, n),
        "n_neg": rng.integers(0, 20, n),
        "mean": rng.normal(size=n),
        "sd": rng.random(n),
        "d": rng.normal(size=n) * 10.0 ** rng.integers(-3, 11, n),
        "p": rng.random(n) ** 4,
        "positions": rng.integers(6, 4000, n),
        "halves": rng.integers(0, 3, n),
        "direct": rng.normal(size=n),
        "computed": rng.normal(size=n),
        "computed_cells": rng.integers(0, 21, n),
        "z_direct": 3 * rng.normal(size=n),
        "z_computed": 3 * rng.normal(size=n),
        "p_computed": rng.random(n) ** 4,
    }
    if q:
        table |= {name: np.minimum(1.0, rng.random(n)) for name in LATE_COLUMNS}
    return schema.conform(EDGES, pa.table(table))


def q_of(table: pa.Table) -> pa.Table:
    """The same edges with values of q that depend on p and z only: q is missing where p
    is large, q_computed where z_computed is small, so that each is null beside the other.
    """
    p, z = (table.column(name).to_numpy() for name in ("p", "z_direct"))
    values = {
        "q": np.where(p > 0.5, np.nan, 1.7 * p),
        "q_computed": np.where(
            np.abs(table.column("z_computed").to_numpy()) < 0.5,
            np.nan,
            np.minimum(1.0, 1.3 * table.column("p_computed").to_numpy()),
        ),
        "q_direct": np.exp(-np.abs(z)),
    }
    table = table.drop_columns([name for name in LATE_COLUMNS if name in table.column_names])
    for name, column in values.items():
        table = table.append_column(name, pa.array(column, from_pandas=True))
    return schema.conform(EDGES, table)


def write_base(store: ShardStore, per_layer: int) -> list:
    """Model, features and the run's first record."""
    run = store.manifest.run
    start = store.add(
        "run-start",
        {
            "Run": pa.table(
                {"id": [run], "name": ["trace x"], "verb": ["trace"], "status": ["running"]}
            )
        },
    )
    return start + store.add(
        "records",
        {
            "Model": pa.table({"id": ["toy"], "name": ["toy"], "layers": [4]}),
            "Feature": feature_table(per_layer),
            "Run-USED-Model": pa.table({"source": [run], "target": ["toy"]}),
        },
    )


def unit_names(units: int) -> list[str]:
    return [f"L01-{u:03d}" for u in range(units)]


def write_unit(
    store: ShardStore,
    unit: int,
    *,
    block: int,
    per_layer: int,
    degree: int,
    seed: int = 0,
    q: bool = False,
) -> list:
    table = edge_table(
        store.manifest.run, range(unit * block, (unit + 1) * block), per_layer, degree, seed, q=q
    )
    return store.add(unit_names(unit + 1)[-1], {EDGES: table})


def write_end(store: ShardStore, edges: int) -> list:
    entries = store.add(
        "run-end",
        {"Run": pa.table({"id": [store.manifest.run], "status": ["complete"], "edges": [edges]})},
    )
    store.finish("complete", {"edges": edges}, seconds=1.5)
    return entries


def write_run(
    folder: Path,
    run: str,
    *,
    units: int = 6,
    block: int = 4,
    per_layer: int = 60,
    degree: int = 50,
    seed: int = 0,
    q: bool = False,
) -> ShardStore:
    """A whole run; `units * block` must not exceed `per_layer`."""
    store = ShardStore(folder, manifest(run))
    write_base(store, per_layer)
    for unit in range(units):
        write_unit(store, unit, block=block, per_layer=per_layer, degree=degree, seed=seed, q=q)
    write_end(store, units * block * degree)
    return store


def fill_q(store: ShardStore) -> None:
    for entry in [e for e in store.manifest.shards if e.kind == EDGES]:
        store.replace(entry, q_of(store.read(entry)))

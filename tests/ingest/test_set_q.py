"""The late columns, known after the edges were streamed, are set on them in the graph."""

from __future__ import annotations

import pyarrow as pa
import pytest

from scircuit.core.errors import UserError
from scircuit.ingest.graph.set_q import apply_q
from scircuit.ingest.graph.stream import load_run
from scircuit.ingest.shards.content_hash import LATE_COLUMNS
from scircuit.ingest.shards.shard_store import ShardStore
from tests.support.graph_checksum import graph_checksums, shard_checksums
from tests.support.synthetic import (
    fill_q,
    manifest,
    q_of,
    write_base,
    write_run,
    write_unit,
)


def test_q_comes_after_the_edges(connection, tmp_path):
    store = write_run(tmp_path / "run", "trace-s")
    other = write_run(tmp_path / "other", "trace-t", seed=3)
    for run in (store, other):
        load_run(connection, run.folder)
    untouched = graph_checksums(connection, "trace-t")
    assert apply_q(connection, store.folder) == 0
    fill_q(store)
    # Replaced shards are known: nothing is loaded twice.
    assert load_run(connection, store.folder).loaded_rows == 0
    assert apply_q(connection, store.folder) == 1200
    assert apply_q(connection, store.folder) == 0
    assert graph_checksums(connection, "trace-s") == shard_checksums(store.folder)
    assert graph_checksums(connection, "trace-t") == untouched
    edges = store.tables("Feature-AFFECTS-Feature")
    filled = {name: len(edges) - edges.column(name).null_count for name in LATE_COLUMNS}
    assert filled["q_direct"] == 1200 and 0 < filled["q"] < 1200 and 0 < filled["q_computed"] < 1200
    assert connection.run(
        "MATCH ()-[r:AFFECTS]->() RETURN count(r) AS n, count(r.q) AS q, count(r.q_computed) AS"
        " q_computed, count(r.q_direct) AS q_direct"
    ) == [{"n": 2400, **filled}]
    assert connection.run(
        "MATCH ()-[r:AFFECTS]->() WHERE r.q IS NULL AND r.q_computed IS NULL AND r.q_direct IS NOT"
        " NULL RETURN count(r) > 0 AS some"
    ) == [{"some": True}]


def test_a_late_column_that_becomes_null_is_removed(connection, tmp_path):
    store = write_run(tmp_path / "run", "trace-s", units=1)
    fill_q(store)
    load_run(connection, store.folder)
    [entry] = [e for e in store.manifest.shards if e.kind == "Feature-AFFECTS-Feature"]
    table = store.read(entry)
    at = table.column_names.index("q_direct")
    half = [None if i % 2 else v for i, v in enumerate(table.column("q_direct").to_pylist())]
    store.replace(entry, table.set_column(at, "q_direct", pa.array(half, pa.float64())))
    assert apply_q(connection, store.folder) == 200
    assert graph_checksums(connection, "trace-s") == shard_checksums(store.folder)


def test_a_run_without_a_direction_null_has_one_late_column(connection, tmp_path):
    store = write_run(tmp_path / "run", "trace-s", units=1)
    load_run(connection, store.folder)
    [entry] = [e for e in store.manifest.shards if e.kind == "Feature-AFFECTS-Feature"]
    store.replace(entry, q_of(store.read(entry)).drop_columns(["q_computed", "q_direct"]))
    assert apply_q(connection, store.folder) == 200
    assert graph_checksums(connection, "trace-s") == shard_checksums(store.folder)


def test_q_is_loaded_at_once_where_the_run_is_new(connection, tmp_path):
    store = write_run(tmp_path / "run", "trace-s")
    fill_q(store)
    load_run(connection, store.folder)
    assert graph_checksums(connection, "trace-s") == shard_checksums(store.folder)
    assert apply_q(connection, store.folder) == 0


def test_q_half_loaded_half_late(connection, tmp_path):
    store = ShardStore(tmp_path / "run", manifest("trace-s"))
    write_base(store, 60)
    write_unit(store, 0, block=4, per_layer=60, degree=50)
    load_run(connection, store.folder)
    write_unit(store, 1, block=4, per_layer=60, degree=50)
    fill_q(store)
    assert apply_q(connection, store.folder) == 200
    assert load_run(connection, store.folder).loaded_rows == 200
    assert apply_q(connection, store.folder) == 0
    assert graph_checksums(connection, "trace-s") == shard_checksums(store.folder)


def test_q_for_an_edge_that_somebody_deleted(connection, tmp_path):
    store = write_run(tmp_path / "run", "trace-s")
    load_run(connection, store.folder)
    fill_q(store)
    connection.run("MATCH (:Feature)-[r:AFFECTS]->() WITH r ORDER BY r.d LIMIT 1 DELETE r")
    with pytest.raises(UserError, match="has 200 edges, but only 199"):
        apply_q(connection, store.folder)

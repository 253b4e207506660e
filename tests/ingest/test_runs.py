"""List, delete and compare runs; checksums that notice what changed."""

from __future__ import annotations

import pyarrow as pa
import pytest

from scircuit.core.errors import UserError
from scircuit.ingest.graph.graph_runs import compare_runs, delete_run
from scircuit.ingest.graph.stream import load_run
from scircuit.ingest.shards.shard_store import ShardStore
from scircuit.workflows.database import load
from tests.support.every_kind import whole_graph, write_every_kind
from tests.support.graph_checksum import graph_checksums, shard_checksums, table_checksums
from tests.support.synthetic import EDGES, edge_table, fill_q, manifest, write_run


def test_deleting_a_run_leaves_the_others_and_the_features(connection, tmp_path):
    a = write_run(tmp_path / "a", "trace-a")
    load_run(connection, a.folder)
    before = whole_graph(connection)
    every = write_every_kind(tmp_path / "every")
    b = write_run(tmp_path / "b", "trace-b", seed=1)
    for store in (every, b):
        load_run(connection, store.folder)
    loaded = {row["run"] for row in connection.run("MATCH (r:Run) RETURN r.id AS run")}
    assert {"trace-a", "trace-b", "trace-every"} <= loaded
    counts = delete_run(connection, "trace-b")
    features = sum(e.rows for e in b.manifest.shards if e.kind == "Feature")
    assert counts["relationships"] == 1200 + 1 + features
    assert counts["nodes"] == 1
    assert graph_checksums(connection, "trace-a") == shard_checksums(a.folder)
    assert graph_checksums(connection, "trace-b") == {}
    assert delete_run(connection, "trace-b") == {"relationships": 0, "nodes": 0, "chunks": 0}
    # Interventions, controls and modules go with their run; genes and terms are everybody's.
    connection.run("MATCH (:Run)-[r:FROM]->(:Run) DELETE r")
    delete_run(connection, "trace-every")
    left = {r["l"] for r in connection.run("MATCH (n) UNWIND labels(n) AS l RETURN DISTINCT l")}
    assert left.isdisjoint({"Intervention", "Control", "Module"})
    assert {"Gene", "Term", "Feature"} <= left
    assert [n for n in whole_graph(connection)[1] if "AFFECTS" in n] == [
        n for n in before[1] if "AFFECTS" in n
    ]
    # A deleted run can be loaded again.
    assert load_run(connection, b.folder).loaded_rows == sum(e.rows for e in b.manifest.shards)
    assert graph_checksums(connection, "trace-b") == shard_checksums(b.folder)


def test_a_run_loads_after_those_it_builds_on_whatever_the_clock_said(
    connection, target, tmp_path, monkeypatch
):
    for name, value in zip(
        ("NEO4J_URI", "NEO4J_USERNAME", "NEO4J_PASSWORD"),
        (target.uri, target.user, target.password),
        strict=True,
    ):
        monkeypatch.setenv(name, value)
    folders = tmp_path / "runs"
    write_run(folders / "trace-0123456789", "trace-0123456789")
    same = manifest("").started
    for child, started in (("annotate-0123456789", same), ("analyse-0123456789", "2025-12-31")):
        store = ShardStore(
            folders / child,
            manifest(child, started=started).with_(
                verb=child.partition("-")[0], parents=("trace-0123456789",)
            ),
        )
        link = pa.table({"source": [child], "target": ["trace-0123456789"]})
        store.add("run-start", {"Run-FROM-Run": link})
    assert [*load(tmp_path, quiet=True).rows] == [
        "trace-0123456789",
        "analyse-0123456789",
        "annotate-0123456789",
    ]


def test_a_run_that_others_build_on_is_kept(connection, tmp_path):
    load_run(connection, write_run(tmp_path / "a", "trace-a").folder)
    child = ShardStore(tmp_path / "c", manifest("annotate-c", verb="annotate"))
    child.add(
        "run-start", {"Run-FROM-Run": pa.table({"source": ["annotate-c"], "target": ["trace-a"]})}
    )
    load_run(connection, child.folder)
    with pytest.raises(UserError, match="computed from trace-a are in the graph: annotate-c"):
        delete_run(connection, "trace-a")
    delete_run(connection, "annotate-c")
    assert delete_run(connection, "trace-a")["nodes"] == 1


def test_an_interrupted_deletion_must_be_finished_first(connection, tmp_path):
    store = write_run(tmp_path / "a", "trace-a")
    load_run(connection, store.folder)
    # As a deletion leaves it that was killed after its first batches.
    connection.run("MATCH (c:_LoadChunk {run: 'trace-a'}) SET c.deleting = true")
    connection.run("MATCH ()-[r:AFFECTS]->() WITH r LIMIT 100 DELETE r")
    with pytest.raises(UserError, match="deletion of run trace-a was interrupted") as caught:
        load_run(connection, store.folder)
    assert "scircuit runs delete trace-a" in caught.value.fix
    features = sum(e.rows for e in store.manifest.shards if e.kind == "Feature")
    assert delete_run(connection, "trace-a")["relationships"] == 1101 + features
    load_run(connection, store.folder)
    assert graph_checksums(connection, "trace-a") == shard_checksums(store.folder)


def test_comparing_two_runs(connection, tmp_path):
    a, b = write_run(tmp_path / "a", "trace-a"), write_run(tmp_path / "b", "trace-b", units=3)
    for store in (a, b):
        load_run(connection, store.folder)
    frame = compare_runs(connection, "trace-a", "trace-b")
    assert list(frame[["source_layer", "target_layer"]].itertuples(index=False, name=None)) == [
        (1, 2),
        (1, 3),
    ]
    assert frame["edges_a"].sum() == 1200
    assert frame["edges_b"].sum() == frame["both"].sum() == 600
    assert (frame["same_sign"] == 1).all()
    assert (frame["correlation"] > 1 - 1e-12).all()
    assert (frame["jaccard"] == frame["both"] / frame["edges_a"]).all()
    with pytest.raises(UserError, match="run 'trace-x' is not in the graph"):
        compare_runs(connection, "trace-a", "trace-x")


@pytest.mark.parametrize(
    "name",
    [
        c
        for c in edge_table("r", range(1), 60, 5, 0).column_names
        if c not in ("source", "target", "run")
    ],
)
def test_the_checksum_notices_any_changed_value(name):
    table = edge_table("r", range(3), 60, 30, 0, q=True)
    values = table.column(name).to_pylist()
    values[7] = values[7] + 1 if isinstance(values[7], int) else values[7] * (1 + 1e-6)
    position = table.column_names.index(name)
    assert table_checksums(
        table.set_column(position, name, pa.array(values, table.schema.field(name).type))
    ) != table_checksums(table)


def test_the_checksum_ignores_order_and_notices_swapped_ends_and_absent_values(tmp_path):
    table = edge_table("r", range(3), 60, 30, 0)
    sums = table_checksums(table)
    assert sum(s.count for s in sums.values()) == 90
    assert table_checksums(table.take(list(range(89, -1, -1)))) == sums
    targets = table.column("target").to_pylist()
    targets[0], targets[1] = targets[1], targets[0]
    assert table_checksums(table.set_column(1, "target", pa.array(targets))) != sums
    zero_q = table.append_column("q", pa.array([0.0] * 90))
    assert table_checksums(zero_q) != sums
    store = write_run(tmp_path / "a", "trace-a")
    before = shard_checksums(store.folder)
    fill_q(store)
    assert shard_checksums(store.folder) != before
    assert table_checksums(ShardStore(store.folder).tables(EDGES)) == shard_checksums(store.folder)

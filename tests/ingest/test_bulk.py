"""Bulk import and streaming give the same graph, node by node and edge by edge."""

from __future__ import annotations

import pyarrow as pa
import pytest

from scircuit.core.errors import UserError
from scircuit.ingest import server
from scircuit.ingest.graph.bulk_headers import bulk_table
from scircuit.ingest.graph.bulk_import import bulk_import
from scircuit.ingest.graph.connection import Connection, Target
from scircuit.ingest.graph.loader import prepare
from scircuit.ingest.graph.set_q import apply_q
from scircuit.ingest.graph.stream import load_run
from scircuit.ingest.shards.shard_store import ShardStore
from tests.support.every_kind import CAPTION, node_id, whole_graph, write_every_kind
from tests.support.graph_checksum import graph_checksums, shard_checksums
from tests.support.neo4j_fixtures import start_brief
from tests.support.synthetic import fill_q, manifest, write_run


def test_bulk_equals_stream(connection, tmp_path):
    every = write_every_kind(tmp_path / "every")
    with_q, without_q = (
        write_run(tmp_path / "a", "trace-a", units=10),
        write_run(tmp_path / "b", "trace-b", seed=4),
    )
    fill_q(with_q)
    runs = [every, with_q, without_q]
    home = tmp_path / "neo4j"
    start_brief(home, heap="512m", pagecache="128m")
    server.stop(home)
    try:
        report = bulk_import([store.folder for store in runs], home)
        info = start_brief(home, heap="512m", pagecache="128m")
        for store in runs:
            load_run(connection, store.folder)
        with Connection.open(Target(info.uri, info.user, info.password)) as imported:
            prepare(imported)
            nodes, relationships = whole_graph(imported, ledger=True)
            assert (report.nodes, report.relationships) == (len(nodes), len(relationships))
            streamed_nodes, streamed_relationships = whole_graph(connection, ledger=True)
            assert set(nodes) ^ set(streamed_nodes) == set()
            assert set(relationships) ^ set(streamed_relationships) == set()
            assert (nodes, relationships) == (streamed_nodes, streamed_relationships)
            for graph in (imported, connection):
                [row] = graph.run(
                    "MATCH (f:Feature {id: $id}) RETURN f.name AS name", id=node_id("Feature", 0)
                )
                assert row["name"] == CAPTION
            for store in (with_q, without_q):
                run = store.manifest.run
                assert (
                    graph_checksums(imported, run)
                    == graph_checksums(connection, run)
                    == shard_checksums(store.folder)
                )
            # The ledger came along: nothing is loaded twice, and q can still be brought to the
            # edges without one.
            assert [load_run(imported, store.folder).loaded_rows for store in runs] == [0, 0, 0]
            assert apply_q(imported, with_q.folder) == 0
            fill_q(without_q)
            assert apply_q(imported, without_q.folder) == 1200
            assert graph_checksums(imported, "trace-b") == shard_checksums(without_q.folder)
            runs = {row["run"] for row in imported.run("MATCH (r:Run) RETURN r.id AS run")}
            assert runs >= {"trace-a", "trace-b", "trace-every"}
    finally:
        server.stop(home)
    assert list((home / "import").iterdir()) == []


def test_missing_ends_are_named_before_the_tool_starts(tmp_path):
    (tmp_path / "home" / "import").mkdir(parents=True)
    store = ShardStore(tmp_path / "run", manifest("trace-a"))
    store.add("x", {"Run-USED-Model": pa.table({"source": ["trace-a"], "target": ["nowhere"]})})
    with pytest.raises(UserError, match="1 target ids are nodes of none of the runs: nowhere"):
        bulk_import([store.folder], tmp_path / "home")
    assert list((tmp_path / "home" / "import").iterdir()) == []
    with pytest.raises(UserError, match="there is no server"):
        bulk_import([store.folder], tmp_path / "elsewhere")


@pytest.mark.parametrize("item", ["a;b", "", " x", 'say "x"'])
def test_lists_that_the_tool_would_split_are_refused(item):
    with pytest.raises(UserError, match="load the runs by streaming"):
        bulk_table("Feature", pa.table({"id": ["a"], "top_genes": [[item]]}))

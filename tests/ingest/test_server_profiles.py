"""The long-term-support version: start, dump, load, check, bulk import, crash, and the way up to
the default version.
"""

from __future__ import annotations

import os
import signal

import neo4j
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scircuit.core.errors import UserError
from scircuit.ingest.server import (
    PROFILES,
    ServerInfo,
    check,
    dump,
    import_full,
    load_dump,
    start,
    status,
    stop,
)
from scircuit.ingest.server.java import find_java
from tests.support.patience import HANGS_S

pytestmark = pytest.mark.server
LTS = "5.26.29"
SMALL = {"heap": "512m", "pagecache": "64m", "wait_s": 300}
COUNT = "MATCH (n) OPTIONAL MATCH (n)-[r]->() RETURN count(DISTINCT n), count(r), sum(r.d)"


def ask(info: ServerInfo, cypher: str):
    with neo4j.GraphDatabase.driver(info.uri, auth=(info.user, info.password)) as driver:
        return [
            record.values() for record in driver.execute_query(cypher, database_="neo4j").records
        ]


@pytest.fixture(scope="module")
def lts(tmp_path_factory):
    """A home of the long-term-support version; its server is stopped at the end."""
    folder = tmp_path_factory.mktemp("lts") / "neo4j"
    yield folder
    stop(folder)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Parquet of a small graph, and of relationships one of which leads nowhere."""
    folder = tmp_path_factory.mktemp("parquet")
    pq.write_table(
        pa.table({"id:ID": ["a", "b", "c"], "name": ["x", "y", "z"]}), folder / "nodes.parquet"
    )
    for name, ends in (("good", ["b", "c"]), ("bad", ["b", "nowhere"])):
        columns = {":START_ID": ["a", "b"], ":END_ID": ends, "d": [1.0, 2.0]}
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    return folder


def test_start_and_crash(lts):
    """Runs on Java 17 or 21, whichever is found or fetched; what was committed survives kill -9."""
    info = start(lts, profile=LTS, **SMALL)
    assert find_java(PROFILES[LTS]).release in (17, 21)
    assert ask(info, "CALL dbms.components() YIELD name, versions RETURN name, versions[0]") == [
        ["Neo4j Kernel", LTS]
    ]
    ask(info, "CREATE (:A)-[:R {d: 4.0}]->(:B)")
    os.kill(info.pid, signal.SIGKILL)
    psutil.wait_procs(
        [psutil.Process(info.pid)] if psutil.pid_exists(info.pid) else [], timeout=HANGS_S
    )
    assert not status(lts).running
    again = start(lts, profile=LTS, **SMALL)
    assert ask(again, COUNT) == [[2, 1, 4.0]]
    assert again.uri == info.uri


def test_administration_needs_a_stopped_server(lts, tmp_path):
    pid = status(lts).pid
    for act in (
        lambda: dump(lts, tmp_path),
        lambda: load_dump(lts, tmp_path),
        lambda: check(lts),
        lambda: import_full(lts, {}, {}),
    ):
        with pytest.raises(
            UserError, match=rf"while its server runs \(process {pid}\)(.|\n)*scircuit db stop"
        ):
            act()
    assert stop(lts)


def test_dump_import_and_load(lts, tables, tmp_path):
    saved = dump(lts, tmp_path / "graph.dump")
    assert saved == tmp_path / "graph.dump" and saved.stat().st_size > 1000
    assert list(tmp_path.iterdir()) == [saved], "nothing else is left beside it"
    assert "is consistent" in check(lts)

    report = import_full(
        lts,
        {"Feature": [tables / "nodes.parquet"]},
        {"AFFECTS": [tables / "good.parquet"]},
        threads=2,
    )
    assert (report.nodes, report.relationships) == (3, 2)
    with pytest.raises(UserError, match="referring to missing node nowhere"):
        import_full(
            lts, {"Feature": [tables / "nodes.parquet"]}, {"AFFECTS": [tables / "bad.parquet"]}
        )
    assert ask(start(lts, profile=LTS, **SMALL), COUNT) == [[3, 2, 3.0]], (
        "a failed import keeps the old graph"
    )
    stop(lts)

    broken = tmp_path / "broken.dump"
    broken.write_bytes(saved.read_bytes()[: saved.stat().st_size // 2])
    with pytest.raises(UserError, match="`database load neo4j` failed"):
        load_dump(lts, broken)
    with pytest.raises(UserError, match="there is no dump at"):
        load_dump(lts, tmp_path / "none.dump")
    load_dump(lts, saved)


def test_an_unfinished_import_is_undone_at_the_next_start(lts):
    """As a kill in the middle leaves it: the old store moved away, half of a new one in its place.
    Then, the way up.
    """
    data = lts / "data"
    (data / "before").mkdir()
    for part in ("databases", "transactions"):
        (data / part / "neo4j").rename(data / "before" / part)
        (data / part / "neo4j").mkdir()
        (data / part / "neo4j" / "half").write_bytes(b"")
    info = start(lts, **SMALL)
    assert info.version == "2026.07.1"
    assert ask(info, COUNT) == [[2, 1, 4.0]], "the default version opens the data of the older one"
    assert not (data / "before").exists()
    stop(lts)
    with pytest.raises(
        UserError, match=r"were made by Neo4j 2026\.07\.1, which 5\.26\.29 cannot open"
    ):
        start(lts, profile=LTS, **SMALL)


def test_missing_input_is_named(lts, tmp_path):
    with pytest.raises(UserError, match=r"the file to import is missing: .*none\.parquet"):
        import_full(lts, {"Feature": [tmp_path / "none.parquet"]}, {})
    with pytest.raises(UserError, match="there is no database"):
        check(tmp_path)

"""Kill -9 of the client at random moments, and of the server during the load: the graph equals an
undisturbed one.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

from scircuit.ingest import server
from scircuit.ingest.graph.connection import Connection, Target
from scircuit.ingest.graph.loader import Loader
from scircuit.ingest.graph.stream import load_run
from scircuit.ingest.shards.shard_store import ShardStore
from tests.support.every_kind import whole_graph
from tests.support.graph_checksum import graph_checksums, shard_checksums
from tests.support.neo4j_fixtures import start_brief
from tests.support.patience import HANGS_S
from tests.support.stream_client import BLOCK, PER_LAYER, RUN
from tests.support.synthetic import write_run

UNITS, DEGREE = 40, 200


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    return write_run(folder, RUN, units=UNITS, block=BLOCK, per_layer=PER_LAYER, degree=DEGREE)


def edges_in(connection) -> int:
    return connection.run("MATCH ()-[r:AFFECTS]->() RETURN count(r) AS n")[0]["n"]


def test_client_killed_at_random(connection, target, tmp_path, undisturbed, root):
    rng = random.Random(5)
    folder = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "tests.support.stream_client",
        str(folder),
        target.uri,
        target.user,
        target.password,
        str(UNITS),
        str(DEGREE),
    ]
    partial = []
    for _ in range(6):
        client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)
        assert client.stdout is not None
        assert client.stdout.readline() == "started\n"
        # Wait until this round has added something, then kill at any moment of a transaction.
        reached = edges_in(connection) + rng.randrange(400, 4000)
        end = time.monotonic() + HANGS_S
        while (
            edges_in(connection) < min(reached, UNITS * BLOCK * DEGREE)
            and client.poll() is None
            and time.monotonic() < end
        ):
            time.sleep(0.01)
        time.sleep(rng.random() * 0.1)
        client.send_signal(signal.SIGKILL)
        client.wait()
        client.stdout.close()
        partial.append(edges_in(connection))
    assert 0 < partial[0] < partial[2] < UNITS * BLOCK * DEGREE
    last = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    assert "pending_shards=0" in last.stdout
    store = ShardStore(folder)
    assert store.verify() == []
    assert shard_checksums(folder) == shard_checksums(undisturbed.folder)
    assert load_run(connection, folder).loaded_rows == 0
    assert graph_checksums(connection, RUN) == shard_checksums(undisturbed.folder)
    disturbed = whole_graph(connection, ledger=False)
    connection.run("MATCH ()-[r:AFFECTS]->() CALL (r) { DELETE r }")
    connection.run("MATCH (n) DETACH DELETE n")
    load_run(connection, undisturbed.folder)
    assert whole_graph(connection, ledger=False) == disturbed


def test_server_killed_during_the_load(tmp_path, undisturbed):
    home = tmp_path / "neo4j"
    info = start_brief(home, heap="512m", pagecache="128m")
    try:
        target = Target(info.uri, info.user, info.password)
        acknowledged = []
        with Connection.open(target, retry_seconds=1) as connection:
            loader = Loader(connection, undisturbed.folder, patience_s=0)

            def kill_when_some_are_in(entry, rows):
                if entry.kind == "Feature-AFFECTS-Feature":
                    acknowledged.append(rows)
                if len(acknowledged) == 8:
                    # Not between two transactions but in the middle of one.
                    threading.Timer(0.02, os.kill, (info.pid, signal.SIGKILL)).start()

            with pytest.raises(Exception, match="no database answers"):
                loader.load(
                    loader.pending(undisturbed.manifest.shards), on_rows=kill_when_some_are_in
                )
        assert 8 <= len(acknowledged) < UNITS
        info = start_brief(home, heap="512m", pagecache="128m")
        with Connection.open(Target(info.uri, info.user, info.password)) as connection:
            survived = edges_in(connection)
            assert sum(acknowledged) <= survived <= sum(acknowledged) + BLOCK * DEGREE
            report = load_run(connection, undisturbed.folder)
            assert report.loaded_rows > 0
            assert graph_checksums(connection, RUN) == shard_checksums(undisturbed.folder)
            assert edges_in(connection) == UNITS * BLOCK * DEGREE
    finally:
        server.stop(home)

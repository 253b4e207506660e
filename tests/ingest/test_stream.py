"""Streaming: order, faults, a database that goes away, q that comes late. The server is real
throughout.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from urllib.parse import urlparse

import pyarrow as pa
import pytest

from scircuit.core.errors import UserError
from scircuit.ingest.graph.connection import Connection, DatabaseAway, Target
from scircuit.ingest.graph.loader import Loader, MissingEndpoints
from scircuit.ingest.graph.stream import GraphWriter, load_run
from scircuit.ingest.shards.shard_store import ShardStore
from tests.support.graph_checksum import graph_checksums, shard_checksums
from tests.support.synthetic import (
    EDGES,
    edge_table,
    feature_table,
    manifest,
    write_base,
    write_end,
    write_run,
    write_unit,
)


class Cable:
    """A TCP line to the server that can be pulled and plugged in again."""

    def __init__(self, uri: str) -> None:
        self.server = (urlparse(uri).hostname, urlparse(uri).port)
        self.pairs: list[socket.socket] = []
        self.plug()
        self.uri = f"bolt://127.0.0.1:{self.port}"

    port = 0

    def plug(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def pull(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for end in self.pairs:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self.pairs.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
                far = socket.create_connection(self.server)
            except OSError:
                return
            self.pairs += [near, far]
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(a, b), daemon=True).start()

    @staticmethod
    def _pump(a: socket.socket, b: socket.socket) -> None:
        try:
            while data := a.recv(65536):
                b.sendall(data)
            b.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def until(condition, seconds: float = 40) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.02)


def timed_submit(writer, entries, times) -> None:
    for entry in entries:
        began = time.monotonic()
        writer.submit(entry)
        times.append(time.monotonic() - began)


def test_a_run_streams_while_it_is_made(connection, target, tmp_path):
    store = ShardStore(tmp_path / "run", manifest("trace-s"))
    messages: list[str] = []
    writer = GraphWriter(lambda: Connection.open(target), store.folder, on_message=messages.append)
    for entry in write_base(store, 60):
        writer.submit(entry)
    for unit in range(5):
        for entry in write_unit(store, unit, block=4, per_layer=60, degree=50):
            writer.submit(entry)
        until(lambda n=unit: writer.edges_loaded == 200 * (n + 1))
    assert connection.run("MATCH (r:Run) RETURN r.status AS s") == [{"s": "running"}]
    for entry in write_end(store, 1000):
        writer.submit(entry)
    report = writer.finish()
    assert (report.loaded_rows, report.pending_shards, writer.behind) == (
        1 + 1 + 180 + 1 + 1000 + 1,
        0,
        0,
    )
    assert messages == []
    assert graph_checksums(connection, "trace-s") == shard_checksums(store.folder)
    assert connection.run("MATCH (r:Run) RETURN r.status AS s, r.edges AS e, r.seconds AS t") == [
        {"s": "complete", "e": 1000, "t": 1.5}
    ]
    assert load_run(connection, store.folder).loaded_rows == 0


def test_away_at_the_start_then_back(connection, target, tmp_path):
    store = ShardStore(tmp_path / "run", manifest("trace-s"))
    cable = Cable(target.uri)
    cable.pull()
    messages: list[str] = []
    times: list[float] = []
    writer = GraphWriter(
        lambda: Connection.open(Target(cable.uri, target.user, target.password)),
        store.folder,
        on_message=messages.append,
    )
    timed_submit(writer, write_base(store, 60), times)
    for unit in range(15):
        timed_submit(writer, write_unit(store, unit, block=4, per_layer=60, degree=50), times)
    until(lambda: messages)
    assert "no database answers at bolt://127.0.0.1" in messages[0]
    assert "the run continues" in messages[0]
    assert "catch up with: scircuit load" in messages[0]
    assert max(times) < 0.05
    assert writer.behind == len(store.manifest.shards)
    cable.plug()
    until(lambda: writer.edges_loaded == 3000)
    assert any("answers again" in text for text in messages)
    report = writer.finish()
    assert report.pending_shards == 0
    assert graph_checksums(connection, "trace-s") == shard_checksums(store.folder)
    cable.pull()


def test_away_in_the_middle_until_the_end(connection, target, tmp_path):
    store = ShardStore(tmp_path / "run", manifest("trace-s"))
    cable = Cable(target.uri)
    messages: list[str] = []
    times: list[float] = []
    writer = GraphWriter(
        lambda: Connection.open(Target(cable.uri, target.user, target.password)),
        store.folder,
        on_message=messages.append,
    )
    timed_submit(writer, write_base(store, 60), times)
    for unit in range(15):
        if unit == 4:
            until(lambda: writer.edges_loaded >= 400)
            cable.pull()
        timed_submit(writer, write_unit(store, unit, block=4, per_layer=60, degree=50), times)
    timed_submit(writer, write_end(store, 3000), times)
    assert max(times) < 0.05
    report = writer.finish()
    assert report.pending_shards >= 11
    assert (
        f"{report.pending_shards} shards wait on disk; catch up with: scircuit load"
        in report.message
    )
    assert len(messages) == 1
    assert connection.run("MATCH (r:Run) RETURN r.status AS s") == [{"s": "running"}]
    # Later, by hand.
    caught_up = load_run(connection, store.folder)
    assert (
        caught_up.loaded_rows + report.loaded_rows
        >= sum(e.rows for e in store.manifest.shards) - 200
    )
    assert graph_checksums(connection, "trace-s") == shard_checksums(store.folder)
    assert connection.run("MATCH (r:Run) RETURN r.status AS s") == [{"s": "complete"}]


def test_away_and_back_during_a_load(connection, target, tmp_path):
    store = write_run(tmp_path / "run", "trace-s", units=12)
    cable = Cable(target.uri)
    with Connection.open(
        Target(cable.uri, target.user, target.password), retry_seconds=0.5
    ) as over_cable:
        loader = Loader(over_cable, store.folder, chunk_rows=60)
        seen: list[int] = []

        def pull_once(_entry, _rows):
            seen.append(1)
            if len(seen) == 10:
                cable.pull()
                threading.Timer(1.5, cable.plug).start()

        loader.load(loader.pending(store.manifest.shards), on_rows=pull_once)
    assert graph_checksums(connection, "trace-s") == shard_checksums(store.folder)
    cable.pull()


def test_a_wrong_password_stops_the_writer_and_nothing_else(connection, target, tmp_path):
    store = ShardStore(tmp_path / "run", manifest("trace-s"))
    messages: list[str] = []
    opened: list[int] = []

    def open_wrongly():
        opened.append(1)
        return Connection.open(Target(target.uri, target.user, "wrong"))

    writer = GraphWriter(open_wrongly, store.folder, on_message=messages.append)
    for entry in write_base(store, 60):
        writer.submit(entry)
    until(lambda: messages)
    for entry in write_unit(store, 0, block=4, per_layer=60, degree=50):
        writer.submit(entry)
    report = writer.finish()
    # Asked once only: the server refuses logins for a while after three.
    assert len(opened) == 1
    assert "refuses user" in messages[0]
    assert report.pending_shards == len(store.manifest.shards)
    assert "catch up with: scircuit load" in report.message


def test_a_queue_that_overflows_loses_nothing(connection, target, tmp_path):
    store = ShardStore(tmp_path / "run", manifest("trace-s"))
    gate = threading.Event()

    def open_late():
        gate.wait(20)
        return Connection.open(target)

    messages: list[str] = []
    writer = GraphWriter(open_late, store.folder, queue_size=1, on_message=messages.append)
    # Edges come before the features they join: they have to wait for them.
    edges = write_unit(store, 0, block=4, per_layer=60, degree=50) + write_unit(
        store, 1, block=4, per_layer=60, degree=50
    )
    for entry in edges:
        writer.submit(entry)
    gate.set()
    time.sleep(0.5)
    for entry in write_base(store, 60):
        writer.submit(entry)
    until(lambda: writer.edges_loaded == 400)
    assert writer.finish().pending_shards == 0
    assert messages == []
    assert graph_checksums(connection, "trace-s") == shard_checksums(store.folder)


def test_edges_whose_ends_never_come_are_told_at_the_end(connection, target, tmp_path):
    store = ShardStore(tmp_path / "run", manifest("trace-s"))
    writer = GraphWriter(lambda: Connection.open(target), store.folder)
    for entry in write_unit(store, 0, block=4, per_layer=60, degree=50):
        writer.submit(entry)
    report = writer.finish()
    assert report.pending_shards == 1
    assert "have an end node that is not in the graph" in report.message
    assert "catch up with: scircuit load" in report.message


def test_finish_with_a_time_limit(connection, target, tmp_path):
    store = write_run(tmp_path / "run", "trace-s")

    def open_slowly():
        time.sleep(3)
        return Connection.open(target)

    writer = GraphWriter(open_slowly, store.folder)
    for entry in store.manifest.shards:
        writer.submit(entry)
    report = writer.finish(timeout=0.3)
    assert report.pending_shards == len(store.manifest.shards)
    assert "stopped after 0.3 s" in report.message


def test_acknowledgement_lost(connection, tmp_path):
    # Two loaders that both believe nothing is there: the second finds every chunk taken.
    store = write_run(tmp_path / "run", "trace-s")
    first, second = (Loader(connection, store.folder) for _ in range(2))
    entries = first.pending(store.manifest.shards)
    rows = first.load(entries)
    assert second.load(entries) == 0
    assert rows == sum(e.rows for e in entries)
    assert graph_checksums(connection, "trace-s") == shard_checksums(store.folder)


def test_missing_endpoints_roll_back_and_are_named(connection, tmp_path):
    store = ShardStore(tmp_path / "run", manifest("trace-s"))
    some = feature_table(60).filter(pa.array([i % 60 != 7 for i in range(180)]))
    store.add("records", {"Feature": some})
    write_unit(store, 0, block=4, per_layer=60, degree=110)
    with pytest.raises(
        MissingEndpoints, match="Feature toy/k4/L02/F0007, Feature toy/k4/L03/F0007"
    ) as caught:
        load_run(connection, store.folder)
    assert "8 of 440" in caught.value.problem
    assert connection.run("MATCH ()-[r:AFFECTS]->() RETURN count(r) AS n") == [{"n": 0}]
    store.add(
        "rest", {"Feature": feature_table(60).filter(pa.array([i % 60 == 7 for i in range(180)]))}
    )
    assert load_run(connection, store.folder).loaded_rows == 3 + 440
    assert graph_checksums(connection, "trace-s") == shard_checksums(store.folder)


def test_a_damaged_shard_stops_the_load_there(connection, tmp_path):
    store = write_run(tmp_path / "run", "trace-s")
    bad = [e for e in store.manifest.shards if e.kind == EDGES][2]
    path = store.folder / bad.name
    good = path.read_bytes()
    path.write_bytes(good[:-20])
    with pytest.raises(UserError, match=rf"{bad.name}: it is damaged"):
        load_run(connection, store.folder)
    assert connection.run("MATCH (r:Run) RETURN r.status AS s") == [{"s": "running"}]
    path.write_bytes(good)
    load_run(connection, store.folder)
    assert graph_checksums(connection, "trace-s") == shard_checksums(store.folder)


def test_other_values_under_the_same_name_are_refused(connection, tmp_path):
    load_run(connection, write_run(tmp_path / "a", "trace-s").folder)
    before = graph_checksums(connection, "trace-s")
    with pytest.raises(UserError, match="has different values in the graph and on disk"):
        load_run(connection, write_run(tmp_path / "b", "trace-s", seed=1).folder)
    with pytest.raises(UserError, match="different row ranges"):
        load_run(connection, write_run(tmp_path / "c", "trace-s", degree=40).folder)
    assert graph_checksums(connection, "trace-s") == before


def test_away_is_told_apart(tmp_path, target):
    cable = Cable(target.uri)
    store = write_run(tmp_path / "run", "trace-s")
    with Connection.open(
        Target(cable.uri, target.user, target.password), retry_seconds=0.2
    ) as opened:
        cable.pull()
        with pytest.raises(DatabaseAway):
            opened.run("RETURN 1")
        with pytest.raises(DatabaseAway):
            load_run(opened, store.folder)


def test_edges_of_the_synthetic_run_are_distinct():
    table = edge_table("r", range(4), 60, 50, 0)
    assert (
        len(
            set(
                zip(
                    table.column("source").to_pylist(),
                    table.column("target").to_pylist(),
                    strict=True,
                )
            )
        )
        == 200
    )

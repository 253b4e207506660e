"""Address, password, version and database: each fault has one clear message."""

from __future__ import annotations

import socket
import time

import pytest

from scircuit.core.errors import UserError
from scircuit.ingest.graph import connection as c
from scircuit.ingest.graph.bolt_address import require_bolt
from scircuit.ingest.graph.connection import (
    Connection,
    DatabaseAway,
    Target,
    require_supported,
    target_from_env,
)
from tests.support.neo4j_driver import explain, rust_codec_active


def test_the_compiled_codec_is_active():
    # It fails silently when it cannot load, and the load is then several times slower.
    assert rust_codec_active()


@pytest.mark.parametrize("version", ["5.26.0", "5.26.29", "5.27.0", "2025.01.0", "2026.07.1"])
def test_supported_versions(version):
    assert require_supported(version) == tuple(int(part) for part in version.split(".")[:2])


@pytest.mark.parametrize(
    "version", ["4.4.38", "5.25.1", "6.0.0", "2024.12.0", "2031.01.0", "", "unknown"]
)
def test_unsupported_versions_are_named(version):
    with pytest.raises(UserError, match=r"5\.26 and newer") as caught:
        require_supported(version)
    assert version in str(caught.value)
    assert caught.value.fix


def test_version_found_at_opening_is_checked(target, monkeypatch):
    # The real server, asked by a program that supports other years only.
    monkeypatch.setattr(c, "CALENDAR_YEARS", (2031,))
    monkeypatch.setattr(c, "OLDEST_5", (5, 999))
    with pytest.raises(UserError, match=r"the server is Neo4j 20|the server is Neo4j 5"):
        Connection.open(target)


def test_environment_selects_a_server():
    env = {"NEO4J_URI": "bolt://h:1", "NEO4J_USERNAME": "u", "NEO4J_PASSWORD": "secret-word"}
    found = target_from_env(env)
    assert found == Target("bolt://h:1", "u", "secret-word")
    assert "secret-word" not in repr(found)
    assert target_from_env({"NEO4J_URI": "bolt://h:1", "NEO4J_PASSWORD": "p"}) == Target(
        "bolt://h:1", "neo4j", "p"
    )
    assert target_from_env({}) is None


@pytest.mark.parametrize(
    "env",
    [
        {"NEO4J_URI": "bolt://h:1"},
        {"NEO4J_PASSWORD": "p"},
        {"NEO4J_USERNAME": "u", "NEO4J_PASSWORD": "p"},
    ],
)
def test_half_an_environment_is_refused(env):
    with pytest.raises(UserError, match="not NEO4J_"):
        target_from_env(env)


def test_nobody_listens():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    began = time.monotonic()
    with pytest.raises(DatabaseAway, match=f"no database answers at bolt://127.0.0.1:{port}"):
        Connection.open(Target(f"bolt://127.0.0.1:{port}", "neo4j", "x"))
    assert time.monotonic() - began < 8


def test_another_kind_of_server(neo4j_server):
    port = neo4j_server.http.rsplit(":", 1)[1]
    with pytest.raises(UserError, match=f":{port}"):
        Connection.open(Target(f"bolt://127.0.0.1:{port}", "neo4j", "x"), timeout=5)


@pytest.mark.parametrize(
    "uri",
    [
        *("localhost", "", "127.0.0.1:7687", "bolt://", "bolt:///x", "file:///etc", "bolt://a b:1"),
        *(
            "http://127.0.0.1:7474",
            "https://h:7473",
            "bolt://h:abc",
            "bolt://h:0",
            "bolt://h:70000",
        ),
        *("bolt://[::1:7687", "bolt://h:-1", "neo4j+unix://x", "bolt://h:1?x=1", "bolt://h\n:1"),
    ],
)
def test_not_an_address(uri):
    with pytest.raises(UserError, match="not a Bolt address"):
        Connection.open(Target(uri, "neo4j", "x"))


@pytest.mark.parametrize("scheme", ["bolt", "neo4j+s", "http"])
def test_a_password_in_an_address_is_not_repeated(scheme):
    with pytest.raises(UserError) as caught:
        Connection.open(Target(f"{scheme}://neo4j:s3cr@t@127.0.0.1:7687", "neo4j", "x"))
    assert "s3cr" not in str(caught.value) + caught.value.fix


@pytest.mark.parametrize("uri", ["bolt://127.0.0.1:7687", "BOLT://h", "neo4j://[::1]:7687"])
def test_addresses_that_are_some(uri):
    require_bolt(uri)


def test_wrong_password_then_the_right_one(target):
    with pytest.raises(
        UserError, match="refuses user 'neo4j': wrong user name or password"
    ) as caught:
        Connection.open(Target(target.uri, target.user, "not-the-password"))
    assert not isinstance(caught.value, DatabaseAway)
    assert "NEO4J_PASSWORD" in caught.value.fix
    with Connection.open(target) as opened:
        assert opened.run("RETURN 1 AS one") == [{"one": 1}]


def test_wrong_database(target):
    with pytest.raises(UserError, match="no database 'elsewhere'"):
        Connection.open(Target(target.uri, target.user, target.password, "elsewhere"))


def test_run_frame_and_explain(connection):
    assert connection.run("UNWIND $xs AS x RETURN x", xs=[1, None, "a"]) == [
        {"x": 1},
        {"x": None},
        {"x": "a"},
    ]
    frame = connection.frame("UNWIND $xs AS x RETURN x AS a, x * 2 AS b", xs=[])
    assert list(frame.columns) == ["a", "b"]
    assert len(frame) == 0
    assert explain(connection, "RETURN 1 AS x") == []
    [note] = explain(connection, "MATCH (a), (b) RETURN a, b")
    assert "cartesian product" in note["description"]


def test_values_are_never_part_of_a_statement(connection):
    sly = "x'}) DETACH DELETE n //"
    connection.run("CREATE (:Gene {id: $id})", id=sly)
    assert connection.run("MATCH (g:Gene) RETURN g.id AS id") == [{"id": sly}]


def test_a_refused_statement_is_told_in_the_servers_words(connection):
    with pytest.raises(UserError, match="refused the statement"):
        connection.run("MATCH (n RETURN n")


def test_an_exception_in_a_transaction_rolls_back(connection):
    def work(tx):
        c.rows_of(tx, "CREATE (:Gene {id: 'gone'})")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        connection.write(work)
    assert connection.run("MATCH (g:Gene) RETURN count(g) AS n") == [{"n": 0}]


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, "\udcff", [{"a": "\ud800"}]])
def test_a_value_that_bolt_cannot_carry_is_refused(connection, value):
    with pytest.raises(UserError, match="cannot be sent to the database"):
        connection.run("RETURN $x AS x", x=value)
    assert connection.run("RETURN $x AS x", x=2**63 - 1) == [{"x": 2**63 - 1}]

"""One real Neo4j for a whole pytest session, and a way to empty it between tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scircuit.ingest.server import ServerInfo, jvm, start, stop

BATCH = 10_000
# Java's second compiler takes a third of a server's time and pays off after minutes, and threads
# of a collector have no core of their own beside the tests: options as of a brief command.
BRIEF = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


def start_brief(home: Path, **more: Any) -> ServerInfo:
    """Start a server that serves a test for a minute or two; all else is as `start` does it.

    The product's own options: tests/ingest/test_server*.py, tests/queries and the demo.
    """
    with pytest.MonkeyPatch.context() as patch:
        own = (option for option in jvm.SERVER if option != "-XX:+UseParallelGC")
        patch.setattr(jvm, "SERVER", (*own, *BRIEF))
        return start(home, wait_s=180, **more)


@pytest.fixture(scope="session")
def neo4j_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerInfo]:
    """Yield a running server of the default version in a folder of its own; the jars come from the
    user's cache.
    """
    home = tmp_path_factory.mktemp("neo4j-server") / "neo4j"
    info = start_brief(home, heap="1g", pagecache="256m")
    yield info
    stop(home)


@pytest.fixture
def neo4j_clean(neo4j_server: ServerInfo) -> ServerInfo:
    """Return the server with an empty graph; constraints and indexes stay."""
    import neo4j

    with neo4j.GraphDatabase.driver(
        neo4j_server.uri, auth=(neo4j_server.user, neo4j_server.password)
    ) as driver:
        empty_graph(driver)
    return neo4j_server


def empty_graph(driver) -> None:
    """Delete everything, relationships first: deleting hubs whole would exceed the memory of one
    transaction.
    """
    for statement in (
        "MATCH ()-[r]->() WITH r LIMIT $n DELETE r",
        "MATCH (x) WITH x LIMIT $n DELETE x",
    ):
        while True:
            _, summary, _ = driver.execute_query(statement, n=BATCH, database_="neo4j")
            if not summary.counters.contains_updates:
                break

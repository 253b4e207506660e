"""One real Neo4j for a whole pytest session, and a way to empty it between tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scircuit.ingest.server import ServerInfo, start, stop

BATCH = 10_000


@pytest.fixture(scope="session")
def neo4j_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerInfo]:
    """Yield a running server of the default version in a folder of its own; the jars come from the
    user's cache.
    """
    home = tmp_path_factory.mktemp("neo4j-server") / "neo4j"
    info = start(home, heap="1g", pagecache="256m", wait_s=180)
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

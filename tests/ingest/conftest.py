"""Connections to the real server for the tests of this room."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def target(neo4j_clean):
    from scircuit.ingest.graph.connection import Target

    return Target(neo4j_clean.uri, neo4j_clean.user, neo4j_clean.password)


@pytest.fixture
def connection(target) -> Iterator:
    from scircuit.ingest.graph.connection import Connection

    with Connection.open(target) as opened:
        yield opened


@pytest.fixture(scope="module")
def effects():
    """Effects in every cell of a small study, for the importers of edges."""
    from tests.support import edges_files

    return edges_files.effects()


@pytest.fixture(scope="module")
def pairs(effects):
    """Statistics of every pair of these features."""
    from tests.support import edges_files

    return edges_files.pairs(effects)

"""Connections to the real server for the tests of this room."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture
def target(neo4j_clean):
    from scircuit.ingest.graph.connection import Target

    return Target(neo4j_clean.uri, neo4j_clean.user, neo4j_clean.password)


@pytest.fixture
def connection(target) -> Iterator:
    from scircuit.ingest.graph.connection import Connection

    with Connection.open(target) as opened:
        yield opened

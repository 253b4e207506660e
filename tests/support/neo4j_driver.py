"""What only tests and measurements ask of the driver: its plan of a statement, its rows one by one,
and whether its compiled extension is in use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, LiteralString, TypeVar, cast

import neo4j

from scircuit.ingest.graph.connection import Connection

T = TypeVar("T")


def explain(
    connection: Connection, cypher: str, params: Mapping[str, object] | None = None
) -> list[dict[str, object]]:
    """Plan a statement without running it, and return the server's notifications about it.

    Returns
    -------
    list of dict
        ``code`` (GQL status), ``description``, ``severity`` and ``category`` of each; empty is
        good.
    """
    with connection._driver.session(
        database=connection.target.database, notifications_min_severity="INFORMATION"
    ) as session:
        query = neo4j.Query(cast("LiteralString", f"EXPLAIN {cypher}"))
        summary = session.run(query, dict(params or {})).consume()
    return [
        {
            "code": n.gql_status,
            "description": n.status_description,
            "severity": n.raw_severity,
            "category": n.raw_classification,
        }
        for n in summary.gql_status_objects
        if n.is_notification
    ]


def fold(connection: Connection, cypher: str, function: Callable[[Iterable[list[Any]]], T]) -> T:
    """Run a statement and stream its rows into a function."""
    return connection._ask(cypher, {}, lambda result: function(r.values() for r in result))


def rust_codec_active() -> bool:
    """Whether the driver packs values with its compiled extension, which fails silently when it
    cannot load.
    """
    try:
        from neo4j._codec.packstream.v1 import _rust_pack  # pyright: ignore
    except ImportError:
        return False
    return _rust_pack is not None

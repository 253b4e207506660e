"""Order-free digest of a whole graph, kind by kind: two graphs with equal digests hold the same
nodes and relationships.

Of each kind the digest is the number of its records and::

    sum of H(ends or id, properties sorted by name)  mod 2^64

with H the first 8 bytes of BLAKE2b of the record's text. Every property of every record counts; the
order in which records were written, and the ledger of what was loaded, do not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from scircuit.core import schema
from scircuit.ingest.graph.statements import quoted
from tests.support.neo4j_driver import fold

if TYPE_CHECKING:
    from scircuit.ingest.graph.connection import Connection


class Digest(NamedTuple):
    """Records of one kind and the sum over them."""

    count: int
    total: int


def graph_digest(connection: Connection) -> dict[str, Digest]:
    """Digest of everything in the graph, by kind (node label or ``Source-TYPE-Target``); kinds
    without a record are left out.
    """
    found = {
        label: fold(connection, f"MATCH (n:{quoted(label)}) RETURN n.id, properties(n)", digest)
        for label in schema.NODES
    }
    for kind, r in schema.RELATIONSHIPS.items():
        found[kind] = fold(
            connection,
            f"MATCH (a:{quoted(r.source)})-[r:{quoted(r.type)}]->(b:{quoted(r.target)}) RETURN"
            " a.id, b.id, properties(r)",
            digest,
        )
    return {kind: one for kind, one in found.items() if one.count}


def digest(rows: Iterable[Sequence[Any]]) -> Digest:
    """Digest of rows whose last value is a mapping of properties."""
    count = total = 0
    for *keys, properties in rows:
        text = repr((keys, sorted(properties.items())))
        total += int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
        count += 1
    return Digest(count, total % 2**64)

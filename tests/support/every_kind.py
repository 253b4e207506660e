"""A run with records of every declared kind and every declared property, and the whole graph as
comparable text.
"""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa

from scircuit.core import schema
from scircuit.ingest.graph.statements import LEDGER_LABEL
from scircuit.ingest.shards.shard_store import ShardStore
from tests.support.synthetic import address, manifest

ROWS = 3
CAPTION = "L01/F0000 DNA repair"


def value(kind: str, name: str, type_: str, row: int):
    """A value of the declared type; the second row has the odd ones, the last row none."""
    if row == 2:
        return None
    if row == 1:
        return {"str": "", "int": -(2**62), "float": float("nan"), "bool": False}.get(type_, [])
    seed = sum(map(ord, kind + name))
    plain = {
        "str": f"{name}, \"quoted\" 'é' Δ;",
        "int": seed * 10**9,
        "float": seed / 7,
        "bool": seed % 2 == 0,
    }
    lists = {"str[]": [f"{name}-x", "GATA1"], "int[]": [seed, -1], "float[]": [seed / 3, 1e-300]}
    return (plain | lists)[type_]


def node_id(label: str, row: int) -> str:
    return address(1, row) if label == "Feature" else f"{label}-{row}"


def table(kind: str, run: str) -> pa.Table:
    if kind in schema.NODES:
        columns: dict = {"id": [node_id(kind, row) for row in range(ROWS)]}
    else:
        ends = schema.RELATIONSHIPS[kind]
        columns = {
            "source": [node_id(ends.source, row) for row in range(ROWS)],
            "target": [node_id(ends.target, (row + 1) % ROWS) for row in range(ROWS)],
            **{name: [f"{name}-{row}" for row in range(ROWS)] for name in ends.key},
        }
    for p in schema.properties_of(kind):
        if p.name not in columns:
            columns[p.name] = [
                run if p.name == "run" else value(kind, p.name, p.type, row) for row in range(ROWS)
            ]
    return pa.Table.from_pydict(columns, schema=schema.arrow_schema(kind))


def write_every_kind(folder: Path, run: str = "trace-every") -> ShardStore:
    store = ShardStore(folder, manifest(run, started="2025-12-31T00:00:00+00:00"))
    kinds = [k for k in (*schema.NODES, *schema.RELATIONSHIPS) if k not in schema.AT_LOAD]
    store.add("all", {kind: table(kind, run) for kind in kinds})
    # Later findings on the same nodes: a null erases nothing, a value wins, an empty text takes
    # away.
    store.add(
        "more",
        {
            "Feature": pa.table(
                {
                    "id": [node_id("Feature", 0), node_id("Feature", 1)],
                    "label": ["later", None],
                    "label_library": [None, "GO"],
                    "best_tf": ["", None],
                }
            )
        },
    )
    # The second annotation has no q for the first feature: that goes; of the second feature it
    # knows nothing.
    store.add(
        "again",
        {
            "Feature": pa.table(
                {
                    "id": [node_id("Feature", 0), node_id("Feature", 1)],
                    "annotation_run": ["annotate-b", None],
                    "label_ties": [7, None],
                }
            ),
            # The same pair of genes in another library is a record of its own.
            "Gene-REGULATES-Gene": pa.table(
                {
                    "source": [node_id("Gene", 0)] * 2,
                    "target": [node_id("Gene", 1)] * 2,
                    "library": ["library-0", "other"],
                    "mode": ["Repression", "Unknown"],
                }
            ),
        },
    )
    # A bare caption replaces neither a labelled one nor takes a label away; one beside a label
    # does.
    store.add(
        "captions",
        {
            "Feature": pa.table(
                {"id": [node_id("Feature", 0)], "name": [CAPTION], "label": ["DNA repair"]}
            )
        },
    )
    store.add("bare", {"Feature": pa.table({"id": [node_id("Feature", 0)], "name": [CAPTION[:9]]})})
    store.finish("complete", {}, seconds=2.0)
    return store


def whole_graph(connection, *, ledger: bool = False) -> tuple[list[str], list[str]]:
    """All nodes and relationships with all properties, sorted; the ledger only if asked for."""
    keep = "" if ledger else f"WHERE NOT n:{LEDGER_LABEL}"
    nodes = connection.run(f"MATCH (n) {keep} RETURN labels(n) AS l, properties(n) AS p")
    relationships = connection.run(
        "MATCH (a)-[r]->(b) RETURN labels(a) AS al, a.id AS a, type(r) AS t, properties(r) AS p,"
        " labels(b) AS bl, b.id AS b"
    )
    for row in nodes:
        row["p"].pop("at", None)
    return tuple(
        sorted(json.dumps(row, sort_keys=True) for row in rows) for rows in (nodes, relationships)
    )  # pyright: ignore

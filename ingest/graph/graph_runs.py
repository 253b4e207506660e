"""Deletes a run from the graph, and compares the edges of two runs.

A deletion removes relationships first, in batches, then the run's own nodes, and its ledger last:
while the ledger exists (marked as being deleted) an interrupted deletion can be repeated, and
nothing is loaded in between. Features, genes and terms are kept; what the run found out about
features goes, and they show the findings of the next newest run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scircuit.core import schema
from scircuit.core.errors import UserError
from scircuit.ingest.graph import found_by_run
from scircuit.ingest.graph.connection import rows_of
from scircuit.ingest.graph.loader import prepare
from scircuit.ingest.graph.statements import LEDGER_LABEL, quoted

if TYPE_CHECKING:
    import neo4j
    import pandas as pd

    from scircuit.ingest.graph.connection import Connection

BATCH = 10_000
_FORGET = """
MATCH (:Run {id: $run})-[x:FOUND]->(f:Feature)
WITH x, f LIMIT $n
DELETE x
RETURN collect(f.id) AS ids
"""


def delete_run(connection: Connection, run: str) -> dict[str, int]:
    """Delete a run from the graph: its relationships, its interventions, controls, modules,
    readouts and findings, its Run node and its ledger.

    Parameters
    ----------
    connection
        An open connection.
    run
        Id of the run.

    Returns
    -------
    dict
        Deleted ``relationships``, ``nodes`` and ledger ``chunks``; all 0 when the run is not in the
        graph. Features get back what the next newest run found out about them.

    Raises
    ------
    UserError
        If other runs in the graph were computed from this one.
    """
    _ensure_labels(connection)
    children = connection.run(
        "MATCH (c:Run)-[:FROM]->(:Run {id: $run}) RETURN c.id AS id ORDER BY id", run=run
    )
    if children:
        raise UserError(
            f"runs computed from {run} are in the graph:"
            f" {', '.join(row['id'] for row in children)}",
            "delete these runs first",
        )
    connection.run(f"MATCH (c:{quoted(LEDGER_LABEL)} {{run: $run}}) SET c.deleting = true", run=run)
    relationships, nodes = _forget_findings(connection, run), 0
    typed = sorted(
        {
            r.type
            for r in schema.RELATIONSHIPS.values()
            if any(p.name == "run" for p in r.properties)
        }
    )
    for name in typed:
        relationships += _batches(
            connection, f"MATCH ()-[x:{quoted(name)}]->() WHERE x.run = $run", run
        )
    labels = [
        label
        for label, node in schema.NODES.items()
        if any(p.name == "run" for p in node.properties)
    ]
    owned = [f"MATCH (n:{quoted(label)}) WHERE n.run = $run" for label in labels] + [
        "MATCH (n:Run {id: $run})"
    ]
    for match in owned:
        relationships += _batches(connection, f"{match} MATCH (n)-[x]-()", run)
        nodes += _batches(connection, f"{match} WITH n AS x", run)
    chunks = _batches(connection, f"MATCH (x:{quoted(LEDGER_LABEL)} {{run: $run}})", run)
    return {"relationships": relationships, "nodes": nodes, "chunks": chunks}


def _forget_findings(connection: Connection, run: str) -> int:
    """Delete what a run found out about features, and compute these features again; it is safe to
    repeat.
    """
    explained = not [r for r in connection.run(found_by_run.INCOMPLETE) if r["run"] != run]

    def work(tx: neo4j.ManagedTransaction) -> int:
        ids = rows_of(tx, _FORGET, run=run, n=BATCH)[0]["ids"]
        if ids and explained:
            rows_of(tx, found_by_run.MIRROR, ids=ids)
        return len(ids)

    total = 0
    while forgotten := connection.write(work):
        total += forgotten
    return total


def _batches(connection: Connection, match: str, run: str) -> int:
    """Delete every ``x`` of a match in separate transactions; it is safe to repeat."""
    before = connection.run(f"{match} RETURN count(DISTINCT x) AS n", run=run)[0]["n"]
    if before:
        connection.autocommit(
            f"{match} WITH DISTINCT x CALL (x) {{ DELETE x }} IN TRANSACTIONS OF {BATCH} ROWS",
            run=run,
        )
    return before


def _ensure_labels(connection: Connection) -> None:
    """Create the labels, which a graph without any run lacks: statements over them would warn."""
    prepare(connection)


def compare_runs(connection: Connection, a: str, b: str) -> pd.DataFrame:
    """Compare the edges of two trace runs by layer pair.

    Parameters
    ----------
    connection
        An open connection.
    a, b
        Ids of the runs.

    Returns
    -------
    pandas.DataFrame
        ``source_layer, target_layer, edges_a, edges_b, both`` (edges with the same ends),
        ``jaccard``, and over those in both ``same_sign`` (share with the same sign of d) and
        ``correlation`` (Pearson, of d); NaN where there are too few.

    Raises
    ------
    UserError
        If one of the runs is not in the graph.
    """
    import pandas as pd

    frames = []
    for run in (a, b):
        if not connection.run("MATCH (r:Run {id: $run}) RETURN r.id AS id", run=run):
            raise UserError(
                f"run {run!r} is not in the graph",
                "load it first (scircuit load), or list the runs: scircuit runs",
            )
        frames.append(
            connection.frame(
                "MATCH (s:Feature)-[r:AFFECTS]->(t:Feature) WHERE r.run = $run RETURN s.id AS"
                " source, t.id AS target, r.d AS d",
                run=run,
            )
        )
    merged = pd.merge(
        frames[0],
        frames[1],
        on=["source", "target"],
        how="outer",
        suffixes=("_a", "_b"),
        indicator=True,
    )
    for end in ("source", "target"):
        merged[f"{end}_layer"] = merged[end].str.split("/").str[2].str[1:].astype(int)
    groups = merged.groupby(["source_layer", "target_layer"])
    rows = [_agreement((int(pair[0]), int(pair[1])), group) for pair, group in groups]  # pyright: ignore[reportIndexIssue]
    ends, counts = ["source_layer", "target_layer"], ["edges_a", "edges_b", "both"]
    columns = [*ends, *counts, "jaccard", "same_sign", "correlation"]
    return pd.DataFrame(rows, columns=columns)  # pyright: ignore[reportArgumentType]


def _agreement(pair: tuple[int, int], group: pd.DataFrame) -> dict[str, float]:
    """Compare the edges of one layer pair."""
    import numpy as np

    origin = group["_merge"].to_numpy()
    shared = origin == "both"
    a, b = group["d_a"].to_numpy(float)[shared], group["d_b"].to_numpy(float)[shared]
    varies = len(a) > 2 and a.std() > 0 and b.std() > 0
    return {
        "source_layer": pair[0],
        "target_layer": pair[1],
        "edges_a": int((origin != "right_only").sum()),
        "edges_b": int((origin != "left_only").sum()),
        "both": len(a),
        "jaccard": len(a) / len(group),
        "same_sign": float((a * b > 0).mean()) if len(a) else float("nan"),
        "correlation": float(np.corrcoef(a, b)[0, 1]) if varies else float("nan"),
    }

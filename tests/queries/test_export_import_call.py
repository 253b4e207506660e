"""The BioCypher-style files through Neo4j's own import tool, by the options of the call that is
written beside them.
"""

from __future__ import annotations

import shlex

import pytest

from scircuit.ingest import server
from scircuit.ingest.graph.connection import Connection, Target
from scircuit.ingest.server import admin
from scircuit.queries.graph_export.table_files import write_biocypher
from tests.queries.test_export_formats import ODD, A, B, C, part
from tests.support.neo4j_fixtures import start_brief


@pytest.mark.server
def test_the_import_tool_takes_the_files(tmp_path):
    folder, home = tmp_path / "export", tmp_path / "neo4j"
    folder.mkdir()
    written = part()
    write_biocypher(written, folder)
    start_brief(home, heap="512m", pagecache="128m")
    server.stop(home)
    command = (folder / "neo4j-admin-import-call.sh").read_text().split("neo4j-admin ", 1)[1]
    arguments = []
    for word in shlex.split(command.replace("\\\n", " ")):
        option, _, files = word.partition("=")
        arguments.append(
            f"{option}={','.join(str(folder / f) for f in files.split(','))}"
            if option in ("--nodes", "--relationships")
            else word
        )
    admin._run(
        *admin._stopped(home, "import into"), [*arguments, "--bad-tolerance=0", "--strict=true"]
    )
    try:
        info = start_brief(home, heap="512m", pagecache="128m")
        with Connection.open(Target(info.uri, info.user, info.password)) as connection:
            nodes = {
                r["id"]: r["n"]
                for r in connection.run("MATCH (n:Feature) RETURN n.id AS id, properties(n) AS n")
            }
            assert set(nodes) == {A, B, C}
            assert nodes[A] == {
                "id": A,
                "name": "a",
                "layer": 0,
                "mean_activation": 1.5,
                "alive": True,
                "label": ODD[0],
                "top_genes": [ODD[2], "G/H"],
                "module": "m/s/M01",
            }
            assert nodes[B]["label"] == "línea nueva" and "mean_activation" not in nodes[B]
            edges = {
                (r["s"], r["t"]): r["e"]
                for r in connection.run(
                    "MATCH (a)-[e:AFFECTS]->(b) RETURN a.id AS s, b.id AS t, properties(e) AS e"
                )
            }
            assert (
                edges[A, B] == {"mean": -0.5, "n": 20, "q": 0.01, "run": "r1"}
                and edges[A, C]["q"] == 1e-300
                and len(edges) == 3
            )
            assert edges[B, C] == {"mean": 1e-9, "d": float("inf"), "run": "r1"}
            active = connection.run(
                "MATCH (f:Feature)-[e:ACTIVE_IN]->(k) RETURN f.id AS f, labels(k) AS labels, k.id"
                " AS id, k.name AS name, e.test AS test ORDER BY f"
            )
            assert [(r["f"], r["labels"], r["id"]) for r in active] == [
                (A, ["CellType"], "blood"),
                (B, ["CellType"], ODD[4]),
                (C, ["Tissue"], "blood"),
            ]
            assert (
                active[0]["test"] == ODD[5]
                and active[1]["name"] == ODD[3]
                and active[1]["test"] == ODD[6]
            )
    finally:
        server.stop(home)

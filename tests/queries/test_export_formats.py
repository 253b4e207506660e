"""What other tools read from an export: the same nodes and edges, with names that have quotes,
separators and other alphabets in them.
"""

from __future__ import annotations

import csv
import json
import math
from functools import partial

import igraph
import jsonschema
import networkx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scircuit.core.errors import UserError
from scircuit.queries.graph_export.graph_part import Part, part_of_elements
from scircuit.queries.graph_export.graphml import write_graphml
from scircuit.queries.graph_export.table_files import write_biocypher, write_parquet
from scircuit.queries.graph_export.to_graph import Elements, to_igraph, to_networkx
from scircuit.queries.graph_export.viewer_files import (
    MAX_LINKS,
    MAX_NODES,
    viewer_graph,
    viewer_json,
)
from tests.support.viewer_schemas import CIRCUIT_TRACER, NEURONPEDIA

A, B, C = (f"m/s/L{layer:02d}/F{index:04d}" for layer, index in ((0, 7), (1, 0), (2, 4321)))
ODD = [
    'say "cheese"; then | run',
    "línea\nnueva",
    "βeta <&> 'γ'",
    "tab\there",
    "日本",
    "ends in \\",
    "\x00\x0b control",
]


def part(**more):
    """Two kinds of nodes and of edges; a tissue and a cell type of one name."""
    features = pa.table(
        {
            "id": [A, B, C],
            "name": ["a", "b", "c"],
            "layer": [0, 1, 2],
            "mean_activation": [1.5, None, 2.0],
            "alive": [True, False, None],
            "label": [ODD[0], ODD[1], None],
            "top_genes": [[ODD[2], "G|H"], None, []],
            "module": ["m/s/M01", "m/s/M01", None],
        }
    )
    kinds = pa.table({"id": ["blood", ODD[4]], "name": ["blood", ODD[3]]})
    nodes = {
        "Feature": partial(iter, [features]),
        "CellType": partial(iter, [kinds]),
        "Tissue": partial(iter, [pa.table({"id": ["blood"], "cells": [3]})]),
    }
    first = pa.table(
        {
            "source": [A, A],
            "target": [B, C],
            "mean": [-0.5, 0.25],
            "n": [20, 18],
            "q": [0.01, 1e-300],
            "run": ["r1", "r1"],
        }
    )
    second = pa.table(
        {"source": [B], "target": [C], "mean": [1e-9], "d": [math.inf], "run": ["r1"]}
    )
    active = pa.table({"source": [A, B], "target": ["blood", ODD[4]], "test": [ODD[5], ODD[6]]})
    edges = {
        "Feature-AFFECTS-Feature": partial(iter, [first, second]),
        "Feature-ACTIVE_IN-CellType": partial(iter, [active]),
        "Feature-ACTIVE_IN-Tissue": partial(iter, [pa.table({"source": [C], "target": ["blood"]})]),
    }
    counts = {k: sum(t.num_rows for t in tables()) for k, tables in (nodes | edges).items()}
    return Part(
        **(
            {
                "name": "run <r1> & co",
                "nodes": nodes,
                "edges": edges,
                "counts": counts,
                "info": {"run": "r1", "q": 0.05},
            }
            | more
        )
    )


def rows(tables):
    return [row for table in tables() for row in table.to_pylist()]


def known(row, skip=("id", "source", "target")):
    return {k: v for k, v in row.items() if k not in skip and v is not None and v != "" and v == v}


def flat(value):
    """As GraphML holds it: lists joined, characters that XML forbids replaced."""
    text = "; ".join(value) if isinstance(value, list) else value
    return text.replace("\x00", " ").replace("\x0b", " ") if isinstance(text, str) else text


def test_graphml_through_networkx_and_igraph(tmp_path):
    written = part()
    path = tmp_path / "part.graphml"
    write_graphml(written, path)
    graph = networkx.read_graphml(path)
    direct = to_networkx(written)
    assert set(graph.nodes) == set(direct.nodes) == {A, B, C, "blood", ODD[4], "Tissue:blood"}
    for key, properties in direct.nodes(data=True):
        assert graph.nodes[key] == {
            k: flat(v) for k, v in properties.items() if k != "id" and v not in ("", [])
        }
    assert (
        graph.nodes["blood"]["kind"] == "CellType"
        and graph.nodes["Tissue:blood"]["kind"] == "Tissue"
    )
    found = {
        (s, t, d["type"]): {k: v for k, v in d.items() if k != "id"}
        for s, t, d in graph.edges(data=True)
    }
    expected = {
        (s, t, d["type"]): {k: flat(v) for k, v in d.items()} for s, t, d in direct.edges(data=True)
    }
    assert found == expected and len(found) == written.edge_count == 6
    assert found[A, B, "AFFECTS"] == {
        "type": "AFFECTS",
        "weight": -0.5,
        "mean": -0.5,
        "n": 20,
        "q": 0.01,
        "run": "r1",
    }
    other = igraph.Graph.Read_GraphML(str(path))
    assert (other.vcount(), other.ecount(), other.is_directed()) == (6, 6, True)
    names = other.vs["id"]
    weights = {
        (names[e.source], names[e.target]): e["weight"] for e in other.es if e["type"] == "AFFECTS"
    }
    assert weights == {(A, B): -0.5, (A, C): 0.25, (B, C): 1e-9}


def test_to_igraph_of_a_part():
    graph = to_igraph(part())
    assert graph.vcount() == 6 and graph.ecount() == 6
    assert graph.es.find(n=20)["weight"] == -0.5 and graph.vs.find(name=A)["caption"] == "a"


def test_parquet_holds_what_was_given(tmp_path):
    written = part()
    files = write_parquet(written, tmp_path)
    assert (
        sorted(files)
        == sorted(p.name for p in tmp_path.iterdir())
        == sorted(f"{k}.parquet" for k in (*written.nodes, *written.edges))
    )
    for kind, tables in (written.nodes | written.edges).items():
        assert [known(r, ()) for r in pq.read_table(tmp_path / f"{kind}.parquet").to_pylist()] == [
            known(r, ()) for r in rows(tables)
        ]
    schema = pq.read_schema(tmp_path / "Feature-AFFECTS-Feature.parquet")
    assert schema.field("mean").metadata[
        b"unit"
    ] == b"dictionary units of the target" and schema.metadata[b"scircuit.weight"].startswith(
        b"mean: "
    )


def test_biocypher_files_read_back(tmp_path):
    written = part()
    files, replaced = write_biocypher(written, tmp_path)
    assert sorted(files) == sorted(p.name for p in tmp_path.iterdir())

    def read(kind):
        header = (tmp_path / f"{kind}-header.csv").read_text().rstrip("\n").split("\t")
        parts = sorted(tmp_path.glob(f"{kind}-part*.csv"))
        found = []
        for path in parts:
            text = path.read_text(encoding="utf-8")
            body = list(csv.reader(text.splitlines(), delimiter="\t", doublequote=True))
            assert len(body) == text.count("\n"), (
                "one record a line: the import tool reads no line breaks"
            )
            found += [dict(zip(header, line, strict=True)) for line in body]
        return header, found, len(parts)

    header, found, _ = read("Feature")
    assert header == [
        ":ID",
        "id",
        "name",
        "layer:long",
        "mean_activation:double",
        "alive:boolean",
        "label",
        "top_genes:string[]",
        "module",
        ":LABEL",
    ]
    assert found[0] == {
        ":ID": A,
        "id": A,
        "name": "a",
        "layer:long": "0",
        "mean_activation:double": "1.5",
        "alive:boolean": "true",
        "label": ODD[0],
        "top_genes:string[]": f"{ODD[2]}|G/H",
        "module": "m/s/M01",
        ":LABEL": "Feature",
    }
    assert found[1]["label"] == "línea nueva" and replaced == 2
    header, found, parts = read("Feature-AFFECTS-Feature")
    assert (
        header[0] == ":START_ID"
        and header[-2:] == [":END_ID", ":TYPE"]
        and parts == 2
        and len(found) == 3
    )
    assert [(r[":START_ID"], r[":END_ID"], r[":TYPE"], float(r["mean:double"])) for r in found] == [
        (A, B, "AFFECTS", -0.5),
        (A, C, "AFFECTS", 0.25),
        (B, C, "AFFECTS", 1e-9),
    ]
    ids = {r[":ID"] for kind in written.nodes for r in read(kind)[1]}
    ends = {r[e] for kind in written.edges for r in read(kind)[1] for e in (":START_ID", ":END_ID")}
    assert len(ids) == written.node_count == 6 and ends <= ids and "Tissue:blood" in ends
    call = (tmp_path / "neo4j-admin-import-call.sh").read_text()
    assert (
        all(f"{kind}-header.csv,{kind}-part.*" in call for kind in (*written.nodes, *written.edges))
        and call.count("--nodes") == 3
    )


def chain(layers=(0, 1, 2), kind="Feature-AFFECTS-Feature", **columns):
    """Features in a row, one edge between neighbours."""
    ids = [f"m/s/L{layer:02d}/F0003" for layer in layers]
    table = pa.table(
        {"source": ids[:-1], "target": ids[1:], **({"mean": [-0.5] * (len(ids) - 1)} | columns)}
    )
    return Part(
        "r",
        {"Feature": partial(iter, [pa.table({"id": ids})])},
        {kind: partial(iter, [table])},
        {"Feature": len(ids), kind: len(ids) - 1},
    )


@pytest.mark.parametrize(("neuronpedia", "schema"), [(True, NEURONPEDIA), (False, CIRCUIT_TRACER)])
def test_viewers(neuronpedia, schema):
    graph, notes = viewer_graph(part(), "my-graph", neuronpedia=neuronpedia)
    graph = json.loads(viewer_json(graph))
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(graph, schema, cls=jsonschema.Draft7Validator)
    assert graph["metadata"]["slug"] == "my-graph" and graph["metadata"]["scan"] == "m"
    ids = [n["node_id"] for n in graph["nodes"]]
    assert ids == ["0_7_0", "1_0_0", "2_4321_0"]
    assert {(x["source"], x["target"]): x["weight"] for x in graph["links"]} == {
        (ids[0], ids[1]): 0.5,
        (ids[0], ids[2]): -0.25,
        (ids[1], ids[2]): -1e-9,
    }, "what the source gives"
    assert [x.get("mean") for x in graph["links"]] == [
        -0.5,
        0.25,
        1e-9,
    ] and "minus the mean effect" in graph["metadata"]["info"]["description"]
    for node in graph["nodes"]:  # as the viewers undo the pairing
        w = math.floor((math.sqrt(8 * node["feature"] + 1) - 1) / 2)
        index = node["feature"] - (w * w + w) // 2
        assert (w - index, index) == tuple(map(int, node["node_id"].split("_")[:2]))
    assert graph["qParams"]["supernodes"] == [["m/s/M01", "0_7_0", "1_0_0"]]
    assert graph["nodes"][0]["clerp"] == ODD[0] and graph["nodes"][1]["activation"] is None
    assert "2 Feature-ACTIVE_IN-CellType" in notes[0]


def test_an_invalid_viewer_file_would_be_noticed():
    graph, _ = viewer_graph(part(), "g", neuronpedia=True)
    for broken in (
        {**graph, "nodes": [{**graph["nodes"][0], "feature": "7"}]},
        {k: v for k, v in graph.items() if k != "qParams"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, NEURONPEDIA, cls=jsonschema.Draft7Validator)


def test_attributions_keep_their_weight():
    graph, _ = viewer_graph(
        chain(kind="Feature-ATTRIBUTES_TO-Feature", weight=[2.0, -3.0]), "g", neuronpedia=True
    )
    assert [x["weight"] for x in graph["links"]] == [2.0, -3.0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: chain(kind="Feature-SAME_GENES-Feature"), "no AFFECTS or ATTRIBUTES_TO edges"),
        (lambda: chain(mean=[None, None]), "has no mean effect"),
        (lambda: chain(target=["m/s/L01/F0003", "other/s/L00/F0001"]), "2 dictionary sets"),
        (lambda: big_nodes(), f"a viewer shows at most {MAX_NODES:,}"),
        (
            lambda: Part(
                "r",
                {},
                {"Feature-AFFECTS-Feature": partial(iter, [])},
                {"Feature-AFFECTS-Feature": MAX_LINKS + 1},
            ),
            f"at most {MAX_LINKS:,}",
        ),
    ],
)
def test_what_a_viewer_cannot_show_is_refused(given, message):
    with pytest.raises(UserError, match=message):
        viewer_graph(given(), "g", neuronpedia=True)


def big_nodes():
    ids = [f"m/s/L00/F{i:04d}" for i in range(MAX_NODES)]
    table = pa.table(
        {"source": ids, "target": ["m/s/L01/F0000"] * len(ids), "mean": [1.0] * len(ids)}
    )
    return Part(
        "r",
        {"Feature": partial(iter, [])},
        {"Feature-AFFECTS-Feature": partial(iter, [table])},
        {"Feature-AFFECTS-Feature": len(ids)},
    )


def test_answers_become_parts():
    found = Elements(
        {
            A: {"kind": "Feature", "name": "a", "layer": 0},
            B: {},
            "G": {"kind": "Gene", "id": "G", "symbol": "G1"},
            "x": {},
        },
        [
            (A, B, "1", {"type": "AFFECTS", "mean": 0.5, "n": 3}),
            (A, "G", "2", {"type": "LOADS_ON", "rank": 1}),
            (A, "x", "3", {"d": float("nan"), "odd": [1, "two"]}),
        ],
    )
    made = part_of_elements("question q", found, "Q")
    assert set(made.nodes) == {"Feature", "Gene", "Node"} and set(made.edges) == {
        "Feature-AFFECTS-Feature",
        "Feature-LOADS_ON-Gene",
        "Feature-Q-Node",
    }
    assert rows(made.nodes["Feature"])[1] == {
        "id": B,
        "name": "L01/F0000",
        "model": "m",
        "dictionary": "m/s/L01",
        "layer": 1,
        "index": 0,
    }
    assert rows(made.edges["Feature-AFFECTS-Feature"]) == [
        {"source": A, "target": B, "mean": 0.5, "n": 3}
    ]
    assert made.counts == {
        "Feature": 2,
        "Gene": 1,
        "Node": 1,
        "Feature-AFFECTS-Feature": 1,
        "Feature-LOADS_ON-Gene": 1,
        "Feature-Q-Node": 1,
    }
    with pytest.raises(UserError, match="2 nodes and no edges"):
        part_of_elements("question q", Elements({A: {}, B: {}}, []))


@pytest.mark.server
def test_a_graph_question_in_every_format(study, tmp_path):
    from scircuit.queries.api import query
    from scircuit.queries.graph_export.to_graph import elements
    from tests.queries.small_names import OLD

    answer = query(study.connection, "feature_circuit", run=OLD, feature="L01/F0000", edges=140)
    direct = to_networkx(answer)
    made = part_of_elements("question feature_circuit", elements(answer))
    assert (made.node_count, made.edge_count) == (
        direct.number_of_nodes(),
        direct.number_of_edges(),
    )
    write_graphml(made, tmp_path / "g.graphml")
    read = networkx.read_graphml(tmp_path / "g.graphml", force_multigraph=True)
    assert {(s, t, d["run"], d["weight"]) for s, t, d in read.edges(data=True)} == {
        (s, t, d["run"], d["mean"]) for s, t, d in direct.edges(data=True)
    }
    (tmp_path / "pq").mkdir()
    write_parquet(made, tmp_path / "pq")
    table = pq.read_table(tmp_path / "pq" / "Feature-AFFECTS-Feature.parquet")
    expected = study.edges(OLD).set_index(["source", "target"])
    for row in table.to_pylist():
        assert row["mean"] == expected.loc[(row["source"], row["target"])]["mean"]
    graph, _ = viewer_graph(made, "g", neuronpedia=True)
    jsonschema.validate(json.loads(viewer_json(graph)), NEURONPEDIA, cls=jsonschema.Draft7Validator)
    assert len(graph["links"]) == made.edge_count

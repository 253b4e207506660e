"""Answers as networkx and igraph graphs: the same nodes and edges, each once."""

from __future__ import annotations

import pandas as pd
import pytest

from scircuit.core.errors import UserError
from scircuit.queries.api import query
from scircuit.queries.graph_export.to_graph import elements, to_igraph, to_networkx
from tests.queries.small_names import OLD


def test_an_edge_table():
    frame = pd.DataFrame(
        {
            "source": ["a", "a"],
            "target": ["b", "c"],
            "source_name": ["A", "A"],
            "target_name": ["B", "C"],
            "d": [1.5, -2.0],
        }
    )
    graph = to_networkx(frame)
    assert (
        sorted(graph.edges(data="d")) == [("a", "b", 1.5), ("a", "c", -2.0)]
        and graph.nodes["b"]["name"] == "B"
    )
    other = to_igraph(frame)
    assert (
        other.vs["name"] == ["a", "b", "c"]
        and other.es["d"] == [1.5, -2.0]
        and other.vs["caption"] == ["A", "B", "C"]
        and other.is_directed()
    )


def test_no_graph():
    with pytest.raises(UserError, match="contain no paths"):
        to_networkx(pd.DataFrame({"count": [1]}))
    assert len(to_networkx(pd.DataFrame({"path": []}))) == 0


@pytest.mark.server
def test_paths_of_a_graph_question(study):
    answer = query(study.connection, "feature_circuit", run=OLD, feature="L01/F0000", edges=140)
    expected = study.edges(OLD).query("source == 'toy-model/toy-set/L01/F0000'")
    graph, other = to_networkx(answer), to_igraph(answer)
    assert (
        set(graph.edges()) == set(zip(expected.source, expected.target, strict=True))
        and len(expected) == graph.number_of_edges()
    )
    strongest = expected.iloc[0]
    (record,) = graph.get_edge_data(strongest.source, strongest.target).values()
    assert record["type"] == "AFFECTS" and record["d"] == strongest.d and record["run"] == OLD
    assert (
        graph.nodes[strongest.target]["kind"] == "Feature"
        and graph.nodes[strongest.target]["layer"] == strongest.target_layer
    )
    assert {(other.vs[e.source]["name"], other.vs[e.target]["name"]) for e in other.es} == set(
        graph.edges()
    )


@pytest.mark.server
def test_nodes_lists_and_driver_graphs(study):
    text = (
        "MATCH (a:Feature)-[r:AFFECTS]->(b:Feature) WHERE r.run = $run WITH a, r, b ORDER BY a.id,"
        " b.id LIMIT 7 RETURN {x: a, y: [r, b]} AS cell"
    )
    frame = study.connection.frame(text, run=OLD)
    nodes, edges = elements(frame)
    assert len(edges) == 7 and {s for s, *_ in edges} | {t for _, t, *_ in edges} == set(nodes)
    again = elements(study.connection.graph(text, run=OLD))
    assert again.nodes == nodes and sorted(again.edges, key=lambda e: e[2]) == sorted(
        edges, key=lambda e: e[2]
    )

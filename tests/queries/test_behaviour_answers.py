"""Importance of hubs and circuits of behaviours, against pandas."""

from __future__ import annotations

import pytest

from scircuit.queries.api import query
from scircuit.queries.graph_export.to_graph import to_networkx
from tests.queries.expected import same
from tests.queries.small_names import ABLATE, NEW

pytestmark = pytest.mark.server


def of(study, verb):
    nodes = study.frames["Intervention"].query("verb == @verb")
    parts = study.frames["Feature-PART_OF-Intervention"].query("target in @nodes.id")
    return nodes, parts


def test_importance(study):
    nodes, parts = of(study, "importance")
    expected = parts[["source", "target", "role"]].merge(nodes, left_on="target", right_on="id")
    expected = expected.rename(
        columns={"source": "feature", "role": "arm", "effect": "importance"}
    ).sort_values("importance", ascending=False)
    expected = expected.rename(columns={"effect_low": "low", "effect_high": "high"})
    columns = ["feature", "arm", "importance", "low", "high", "p", "q", "cells", "run"]
    answer = query(study.connection, "hub_importance")
    assert len(answer) == 6
    same(answer, expected, columns)
    layer = study.features.layer
    assert answer.layer.tolist() == layer.loc[answer.feature].tolist()
    same(query(study.connection, "hub_importance", limit=2), expected.head(2), columns)


def test_circuits(study):
    nodes, parts = of(study, "circuit")
    expected = (
        nodes.rename(
            columns={
                "id": "circuit",
                "features_considered": "considered",
                "sufficiency_low": "low",
                "sufficiency_high": "high",
            }
        )
        .drop(columns="p")
        .rename(columns={"sufficiency_p": "p"})
        .sort_values("p")
    )
    expected = expected.iloc[expected["refused"].notna().argsort(kind="stable")]
    assert expected["refused"].notna().tolist() == [False, False, True]
    expected["refused"] = (
        expected["refused"].astype(object).where(expected["refused"].notna(), None)
    )
    members = parts.sort_values("position").groupby("target")["source"].agg(list)
    expected["features"] = [members.get(circuit, []) for circuit in expected.circuit]
    columns = [
        *("circuit", "behaviour", "size", "considered", "sufficiency", "low", "high", "p"),
        *("sufficiency_random", "necessity", "necessity_random", "area", "area_random"),
        *("distance", "edges", "cells", "features", "run"),
        *("sufficiency_edges", "sufficiency_no_edges", "refused"),
    ]
    same(query(study.connection, "behaviour_circuits"), expected, columns)
    chosen = query(study.connection, "behaviour_circuits", behaviour="celltype")
    same(chosen, expected[expected.behaviour == "celltype:a=b"], columns)


@pytest.mark.parametrize(("circuit", "limit"), [("", 80), (f"{ABLATE}/circuit1", 80), ("", 1)])
def test_the_circuit_drawn(study, circuit, limit):
    key = circuit or f"{ABLATE}/circuit0"
    parts = of(study, "circuit")[1].query("target == @key").sort_values("position").head(limit)
    edges = study.frames["Feature-AFFECTS-Feature"]
    edges = edges[edges.run == NEW]
    there = set(zip(edges.source, edges.target, strict=True))
    arrows = {(s, t) for s, t in zip(parts.source, parts.leads_to, strict=True) if (s, t) in there}
    drawn = to_networkx(
        query(study.connection, "behaviour_circuit_graph", circuit=circuit, features=limit)
    )
    by_type = {}
    for s, t, data in drawn.edges(data=True):
        by_type.setdefault(data["type"], set()).add((s, t))
    assert by_type["PART_OF"] == {(s, key) for s in parts.source}
    assert by_type.get("AFFECTS", set()) == arrows


def test_some_circuit_has_an_edge_to_draw(study):
    parts = of(study, "circuit")[1]
    edges = study.frames["Feature-AFFECTS-Feature"]
    edges = edges[edges.run == NEW]
    there = set(zip(edges.source, edges.target, strict=True))
    assert there & set(zip(parts.source, parts.leads_to, strict=True))

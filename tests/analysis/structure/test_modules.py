"""Modules: planted ones are recovered, random edges have none, and what is recorded of them."""

from __future__ import annotations

import sys

import igraph
import numpy as np
import pandas as pd
import pytest

from scircuit.analysis.structure import leiden
from scircuit.analysis.structure.layered_edges import layered_edges
from scircuit.analysis.structure.module_stability import chosen, stability_curve
from scircuit.analysis.structure.modules_finding import modules
from scircuit.analysis.structure.partition_agreement import agreement
from tests.analysis.structure.planted import (
    BLOCKS,
    CONFIG,
    MODULE_LAYERS,
    features,
    inputs,
    module_edges,
    random_edges,
)

NODES = features(MODULE_LAYERS)


def found(inside, seed, number=700):
    return modules(
        inputs(NODES, *module_edges(inside, np.random.default_rng(seed), number)), CONFIG
    )


def test_planted_modules_are_recovered_over_seeds():
    rand, count = [], []
    for seed in range(4):
        result = found(0.7, seed, 2000)
        of = result.records["Feature"].to_pandas().set_index("id")["module"]
        group = pd.factorize(of.reindex(NODES.id))[0]
        rand.append(agreement(group, BLOCKS).rand)
        count.append(result.numbers["modules"])
    # power 1 in four graphs, with 70 % of the edges inside the blocks
    assert count == [4, 4, 4, 4]
    assert min(rand) > 0.95


def test_random_edges_have_none():
    results = [found(0.0, seed, 500) for seed in range(12)]
    # 12 graphs at 5 %: 3 or more have probability 2 %
    assert sum(bool(r.numbers["modules"]) for r in results) < 3
    none = next(r for r in results if not r.numbers["modules"])
    assert "no modules" in none.sentence and not none.records


def test_the_most_stable_resolution_is_chosen_and_the_curve_is_told():
    result = found(0.7, 0, 2000)
    best = result.frame[result.frame["chosen"]].iloc[0]
    usable = result.frame[result.frame["modules"] >= 2]
    # half of the edges, 3 for each feature, cannot tell everything: far from 1, and far from 0
    assert best["half_rand"] == usable["half_rand"].max() > 0.5 > 0.15 > best["null_half_rand"]
    assert best["modules"] == 4 and f"at resolution {best['resolution']:g}" in result.sentence
    assert len(result.numbers["curve"]) == len(result.frame) == 7  # type: ignore[arg-type]


def test_records_of_modules():
    edges = inputs(NODES, *module_edges(0.7, np.random.default_rng(0), 700))
    terms = pd.DataFrame(
        {
            "feature": [0, 1, 2, 0, 50],
            "term": ["a", "a", "b", "b", "b"],
            "name": ["A", "A", "B", "B", "B"],
        }
    )
    from dataclasses import replace

    result = modules(replace(edges, terms=terms), CONFIG)
    rows = result.records["Module"].to_pandas()
    member = result.records["Feature-MEMBER_OF-Module"].to_pandas()
    assert rows["id"].tolist() == [f"run/M{k:02d}" for k in range(len(rows))]
    assert rows["run"].eq("run").all() and rows["size"].is_monotonic_decreasing
    assert member.groupby("target").size().to_dict() == rows.set_index("id")["size"].to_dict()
    of = member.set_index("source")["target"]
    ends = [of.reindex(NODES.id[e]).to_numpy() for e in (edges.edges.source, edges.edges.target)]
    for row in rows.itertuples():
        assert row.edges_inside == ((ends[0] == row.id) & (ends[1] == row.id)).sum()
        assert row.edges_touching == ((ends[0] == row.id) | (ends[1] == row.id)).sum()
        assert list(row.layers) == [0, 1, 2]
    home = rows.set_index("id").loc[of[NODES.id[0]]]
    assert sorted(home["top_terms"])[:1] == ["A"] and home["name"].endswith((" A", " B"))
    features_of = result.records["Feature"].to_pandas()
    assert features_of.set_index("id")["module"].to_dict() == of.to_dict()


def test_neither_the_order_of_edges_nor_another_seed_of_python_changes_the_result():
    import random

    pairs = module_edges(0.7, np.random.default_rng(3), 700)
    wanted = modules(inputs(NODES, *pairs), CONFIG)
    random.seed(5)
    mixed = pairs[:, np.random.default_rng(4).permutation(pairs.shape[1])]
    again = modules(inputs(NODES, *mixed), CONFIG)
    assert again.sentence == wanted.sentence
    pd.testing.assert_frame_equal(again.frame, wanted.frame)


def test_the_modularity_is_that_of_its_definition():
    """Two complete parts without a link between them: Q = 1/2 by hand."""
    source, target = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3], [40, 41, 42] * 2 + [50, 51, 52] * 2
    found = leiden.UndirectedGraph(np.array(source), np.array(target)).communities(1.0, 0)
    assert np.unique(found.group).size == 2 and found.modularity == pytest.approx(0.5)


def test_few_edges_and_one_community_are_said():
    assert "at least 10 are needed" in modules(inputs(NODES, [0], [40]), CONFIG).sentence
    one = modules(inputs(NODES, np.repeat(0, 40), np.arange(40, 80)), CONFIG)
    assert "no modules to tell apart" in one.sentence and not one.records


def test_without_igraph_the_command_is_given(monkeypatch):
    monkeypatch.setattr(leiden, "available", lambda: False)
    monkeypatch.setattr("scircuit.analysis.structure.modules_finding.available", leiden.available)
    result = modules(inputs(NODES, *module_edges(0.7, np.random.default_rng(0))), CONFIG)
    assert "pip install igraph" in result.sentence and not result.drawn
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "igraph", igraph)
    assert leiden.available()


def test_trivial_resolutions_are_not_chosen():
    source, target = random_edges(MODULE_LAYERS, 900, np.random.default_rng(0))
    curve = stability_curve(layered_edges(source, target, source, MODULE_LAYERS), 0)
    best = chosen(curve)
    assert best is None or not best.trivial
    assert chosen([s._replace(modules=1) for s in curve]) is None


@pytest.mark.parametrize("seed", range(6))
def test_agreement_equals_igraph_and_pairs_by_definition(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 1 + seed, 60), rng.integers(0, 4, 60)
    got = agreement(a, b)
    if seed:
        theirs = igraph.compare_communities(a.tolist(), b.tolist(), "adjusted_rand")
        assert got.rand == pytest.approx(theirs)
    assert got.information == pytest.approx(
        igraph.compare_communities(a.tolist(), b.tolist(), "vi"), abs=1e-12
    )
    one, two = a[:, None] == a, b[:, None] == b
    upper = np.triu_indices(60, 1)
    both, first, second = ((m[upper]).sum() for m in (one & two, one, two))
    chance = first * second / upper[0].size
    largest = (first + second) / 2
    assert got.rand == pytest.approx((both - chance) / (largest - chance) if seed else 0.0)


def test_agreement_of_partitions_that_say_nothing():
    assert agreement(np.zeros(5), np.zeros(5)) == (0.0, 0.0)
    assert agreement(np.zeros(0), np.zeros(0)) == (0.0, 0.0)
    assert agreement(np.arange(5), np.arange(5)).rand == 0.0
    assert agreement(np.array([3, 3, 1]), np.array([0, 0, 7])) == (1.0, 0.0)


def test_very_many_edges_are_represented_by_those_into_some_targets(monkeypatch):
    monkeypatch.setattr("scircuit.analysis.structure.modules_finding.SCANNED", 600)
    monkeypatch.setattr("scircuit.analysis.structure.module_stability.SCANNED", 600)
    result = found(0.7, 0, 3000)
    assert result.numbers["modules"] == 4
    assert result.numbers["scanned_edges"] <= 600 < result.numbers["edges"]  # type: ignore[operator]
    assert "into a random part of the targets" in result.sentence


def test_the_edges_into_some_targets_are_all_of_theirs():
    pairs = module_edges(0.5, np.random.default_rng(0))
    edges = layered_edges(*pairs, np.ones(pairs.shape[1]), MODULE_LAYERS)
    some = edges.into_some(200, np.random.default_rng(1))
    kept = np.unique(some.target)
    assert 100 < some.size <= 200
    assert (some.in_degree[kept] == edges.in_degree[kept]).all()
    assert edges.into_some(10**6, np.random.default_rng(1)) is edges

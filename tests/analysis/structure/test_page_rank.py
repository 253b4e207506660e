"""PageRank against igraph, against its null, and on planted targets of rare sources."""

from __future__ import annotations

import igraph
import numpy as np
import pytest

from scircuit.analysis.structure.layered_edges import layered_edges
from scircuit.analysis.structure.page_rank import (
    feature_order,
    page_rank,
    pooled_q,
    rank_beside_null,
)
from tests.analysis.structure.planted import CONFIG, features, inputs, random_edges

LAYER = np.repeat(np.arange(5), 20)


@pytest.mark.parametrize("seed", range(4))
def test_equals_igraph(seed):
    source, target = random_edges(LAYER, 400, np.random.default_rng(seed))
    graph = igraph.Graph(n=LAYER.size, edges=np.stack([source, target]).T.tolist(), directed=True)
    theirs = graph.pagerank(damping=0.85, implementation="prpack")
    np.testing.assert_allclose(page_rank(source, target, LAYER.size), theirs, rtol=1e-9)


def test_a_cycle_is_refused():
    with pytest.raises(ValueError, match="cycle"):
        page_rank(np.array([0, 1]), np.array([1, 0]), 2)


def crowded(seed, planted, sources=60, targets=100):
    """Sources with 2 edges and with 20; planted targets get theirs from the former."""
    rng = np.random.default_rng(seed)
    layer = np.repeat([0, 1], [sources, targets])
    source, target = [], []
    for a in range(sources):
        many = 2 if a < sources // 2 else 20
        pool = np.arange(4) if planted and many == 2 else np.arange(targets)
        pool = sources + pool
        source += [a] * many
        target += rng.choice(pool, many, replace=False).tolist()
    return layer, np.array(source), np.array(target)


def test_targets_of_sources_with_few_edges_are_found():
    found = []
    for seed in range(5):
        layer, source, target = crowded(seed, True)
        result = feature_order(inputs(features(layer), source, target), CONFIG)
        top = result.frame[result.frame["q"] <= 0.05]
        ids = set(features(layer).id[60:64])
        found.append((len(set(top["id"]) & ids), len(set(top["id"]) - ids)))
    # power 1: all four in each of five graphs; no other feature
    assert found == [(4, 0)] * 5


def test_few_among_thousands_are_found_although_their_p_is_no_smaller_than_one_in_a_hundred():
    layer, source, target = crowded(3, True, 300, 3000)
    edges = layered_edges(source, target, np.ones(source.size), layer)
    for draws in (39, 99):
        found = rank_beside_null(edges, draws, np.random.default_rng(draws))
        hit = set(found.feature[found.q <= 0.05])
        # power 1; at most one other feature
        assert set(range(300, 304)) <= hit and len(hit) <= 5


def test_five_percent_of_random_graphs_have_a_feature_with_a_small_q():
    false = 0
    for seed in range(40):
        layer, source, target = crowded(seed, False)
        edges = layered_edges(source, target, np.ones(source.size), layer)
        false += bool((rank_beside_null(edges, 59, np.random.default_rng(seed)).q <= 0.05).any())
    assert false <= 6  # of 40 at 5 %: seven or more have probability 0.3 %


def test_q_is_that_of_its_definition():
    rng = np.random.default_rng(0)
    away = rng.normal(size=(7, 5)).astype(np.float32)
    away[:, 3] = 0  # does not vary
    varies = np.array([True, True, True, False, True])
    graphs = np.vstack([np.zeros(5), away.astype(float)])  # the circuit first
    graphs = graphs[:, varies]
    z = (graphs - graphs.mean(0)) / (graphs.std(0) + np.median(graphs.std(0)))
    rate = [(1 + (z[1:] >= t - 1e-7).sum()) / (8 * (z[0] >= t - 1e-7).sum()) for t in z[0]]
    wanted = [min(1, *(r for r, u in zip(rate, z[0], strict=True) if u <= t)) for t in z[0]]
    found = pooled_q(away, varies)
    assert np.isnan(found[3])
    np.testing.assert_allclose(found[varies], wanted, rtol=1e-6)


def test_random_graphs_have_five_percent_below_five_percent():
    small = tested = 0
    for seed in range(12):
        layer, source, target = crowded(seed, False)
        edges = layered_edges(source, target, np.ones(source.size), layer)
        found = rank_beside_null(edges, 99, np.random.default_rng(seed))
        small += int((found.p <= 0.05).sum())
        tested += found.p.size
    # about 1,200 tests, p discrete by ties: 5 % plus 4 standard errors if they were independent
    assert small / tested < 0.05 + 4 * np.sqrt(0.05 * 0.95 / tested)
    assert small / tested > 0.02


def test_records_and_numbers_have_no_nan():
    layer, source, target = crowded(0, False)
    result = feature_order(inputs(features(layer), source, target), CONFIG)
    records = result.records["Feature"].to_pydict()
    assert sorted(records["id"]) == sorted(result.frame["id"])
    for column in ("pagerank", "pagerank_p", "pagerank_q"):
        assert all(v is None or v == v for v in records[column])
    assert result.numbers["backward_edges"] == 0
    assert sum(row["share"] for row in result.numbers["layers"]) == pytest.approx(1)  # type: ignore[index, union-attr]


def test_where_degrees_decide_all_it_is_said():
    """One source: every graph with its degrees is the same graph."""
    result = feature_order(inputs(features([0, 1, 1, 1]), [0, 0, 0], [1, 2, 3]), CONFIG)
    assert "no feature's PageRank can differ" in result.sentence
    assert result.numbers["testable"] == 0


@pytest.mark.parametrize(("source", "target"), [([], []), ([0], [1])])
def test_too_few_edges_are_said(source, target):
    result = feature_order(inputs(features([0, 1, 1]), source, target), CONFIG)
    assert not result.drawn and "at least 2 are needed" in result.sentence

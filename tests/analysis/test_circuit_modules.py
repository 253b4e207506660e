"""Modules of circuit edges: planted ones are found and stand out from rewired edges, random
edges do not, and rewiring keeps every degree.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from scircuit.analysis.circuits.circuit_modules import circuit_modules, rewired
from scircuit.analysis.circuits.degree import EdgeArrays

LAYERS = np.repeat([1, 2, 3], 40)


def edges_of(source, target):
    columns = {name: np.zeros(len(source)) for name in EdgeArrays._fields}
    return EdgeArrays(**columns | {"source": np.array(source), "target": np.array(target)})


def graph(inside, rng, number=1200):
    """Edges of 40 sources to layers 2 and 3; with this probability into one of four blocks."""
    source = rng.integers(0, 40, number)
    same = 10 * (source // 10) + rng.integers(0, 10, number)
    other = rng.integers(0, 40, number)
    target = np.where(rng.random(number) < inside, same, other) + 40 * rng.integers(1, 3, number)
    pairs = np.unique(np.stack([source, target]), axis=1)
    return edges_of(*pairs)


def modules(edges, seed=0):
    return circuit_modules(SimpleNamespace(layer=LAYERS), edges, "computed", seed)  # type: ignore[arg-type]


def test_planted_modules_are_found_and_stand_out():
    found = modules(graph(0.8, np.random.default_rng(1)))
    assert found.modules == 4
    assert found.modularity > 0.4 > 0.3 > max(found.null)
    assert "4 modules of at least 3 features" in found.sentence


@pytest.mark.parametrize("seed", range(4))
def test_random_edges_have_the_modularity_of_rewired_ones(seed):
    found = modules(graph(0.0, np.random.default_rng(seed)))
    assert found.modularity > 0.15  # a random graph has a high one too
    assert abs(found.modularity - found.null_mean) < 5 * np.std(found.null, ddof=1)


def test_the_modularity_is_that_of_its_definition():
    """Two triangles' worth of edges without a link between them: Q = 1/2 by hand."""
    source, target = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3], [40, 41, 42] * 2 + [50, 51, 52] * 2
    found = modules(edges_of(source, target))
    assert found.modules == 2
    assert found.modularity == pytest.approx(0.5)


def test_neither_the_order_of_edges_nor_another_call_changes_the_result():
    edges = graph(0.5, np.random.default_rng(2))
    found = modules(edges)
    order = np.random.default_rng(3).permutation(edges.source.size)
    modules(graph(0.5, np.random.default_rng(4)))
    assert modules(edges.keep(order)) == found


@pytest.mark.parametrize("number", [30, 400, 2400])
def test_rewiring_keeps_every_degree_into_every_layer_and_makes_no_edge_twice(number):
    rng = np.random.default_rng(number)
    edges = graph(0.5, rng, number)
    layer = LAYERS[edges.target]
    out = rewired(edges.source, edges.target, layer, rng)
    assert (out != edges.target).mean() > 0.3
    np.testing.assert_array_equal(LAYERS[out], layer)
    np.testing.assert_array_equal(np.sort(out), np.sort(edges.target))
    assert len(set(zip(edges.source, out, strict=True))) == edges.source.size


def test_rewired_edges_are_as_random_as_they_can_be():
    """One block of four by four with two targets a source: every pair comes equally often."""
    source, target = np.repeat(np.arange(4), 2), np.array([0, 1, 0, 1, 2, 3, 2, 3])
    rng, seen = np.random.default_rng(6), np.zeros((4, 4))
    for _ in range(600):
        target = rewired(source, target, np.zeros(8), rng)
        seen[source, target] += 1
    # 600 draws, each pair in half of them: 5 standard deviations, twice as wide as if independent
    assert (np.abs(seen - 300) < 5 * 2 * np.sqrt(600 / 4)).all()


def test_very_many_edges_have_fewer_draws(monkeypatch):
    edges = graph(0.5, np.random.default_rng(8))
    ten = modules(edges)
    monkeypatch.setattr("scircuit.analysis.circuits.circuit_modules._MANY", 100)
    three = modules(edges)
    assert len(ten.null) == 10 and three.null == ten.null[:3]


def test_few_edges_are_not_looked_at():
    found = modules(edges_of([0] * 9, range(40, 49)))
    assert np.isnan(found.modularity)
    assert (
        found.sentence == "modules were not looked for in 9 computed edges; at least 10 are needed"
    )

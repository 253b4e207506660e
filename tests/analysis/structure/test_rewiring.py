"""Rewired graphs keep every degree into every layer, and are as random as they can be."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from scircuit.analysis.structure.layered_edges import layered_edges
from scircuit.analysis.structure.rewiring import Rewiring, trade_loop
from tests.analysis.structure.planted import random_edges

LAYER = np.repeat(np.arange(4), 15)


def circuit(seed, number=250):
    rng = np.random.default_rng(seed)
    source, target = random_edges(LAYER, number, rng)
    return layered_edges(source, target, rng.normal(size=source.size), LAYER)


def by_layer(source, target):
    """Edges of every feature to, and from, every layer."""
    out, into = np.zeros((2, LAYER.size, 4), int)
    np.add.at(out, (source, LAYER[target]), 1)
    np.add.at(into, (target, LAYER[source]), 1)
    return out, into


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("number", [1, 2, 30, 250, 900])
def test_every_degree_to_every_layer_is_kept_and_no_edge_is_there_twice(seed, number):
    edges = circuit(seed, number)
    chain = Rewiring(edges, np.random.default_rng(seed))
    for _ in range(3):
        target = chain.draw()
        for kept, was in zip(
            by_layer(edges.source, target), by_layer(edges.source, edges.target), strict=True
        ):
            np.testing.assert_array_equal(kept, was)
        assert len(set(zip(edges.source, target, strict=True))) == edges.size


def test_edges_are_really_exchanged():
    edges = circuit(1)
    target = Rewiring(edges, np.random.default_rng(0)).draw()
    # 250 edges of 1,350 possible ones: a random graph shares about a fifth
    assert (target == edges.target).mean() < 0.4


def test_every_graph_is_equally_likely():
    """Degrees 2, 1, 1 out and 2, 1, 1 in have five graphs; all of them come equally often."""
    source, target = np.array([0, 0, 1, 2]), np.array([3, 4, 3, 5])
    layer = np.array([0, 0, 0, 1, 1, 1])
    edges = layered_edges(source, target, np.ones(4), layer)
    possible = {
        frozenset(graph)
        for graph in itertools.combinations(itertools.product(range(3), range(3, 6)), 4)
        if Counter(a for a, _ in graph) == {0: 2, 1: 1, 2: 1}
        and Counter(b for _, b in graph) == {3: 2, 4: 1, 5: 1}
    }
    chain, seen = Rewiring(edges, np.random.default_rng(3)), Counter()
    for _ in range(3000):
        seen[frozenset(zip(edges.source.tolist(), chain.draw().tolist(), strict=True))] += 1
    assert set(seen) == possible and len(possible) == 5
    # each in a fifth of 3,000 draws that are nearly independent: 5 standard deviations of 22
    assert all(abs(n - 600) < 110 for n in seen.values())


def test_the_result_depends_on_neither_the_order_of_edges_nor_memory(monkeypatch):
    edges = circuit(2)
    wanted = Rewiring(edges, np.random.default_rng(5)).draw().copy()
    order = np.random.default_rng(6).permutation(edges.size)
    mixed = layered_edges(edges.source[order], edges.target[order], edges.effect[order], LAYER)
    np.testing.assert_array_equal(mixed.effect, edges.effect)
    np.testing.assert_array_equal(Rewiring(mixed, np.random.default_rng(5)).draw(), wanted)


def test_machine_code_is_the_same_loop_in_plain_python(monkeypatch):
    edges = circuit(3)
    wanted = Rewiring(edges, np.random.default_rng(5)).draw().copy()
    monkeypatch.setattr(
        "scircuit.analysis.structure.rewiring.machine_code", lambda loop, _: trade_loop or loop
    )
    np.testing.assert_array_equal(Rewiring(edges, np.random.default_rng(5)).draw(), wanted)


def test_repeated_edges_count_once():
    edges = layered_edges([0, 0, 1], [2, 2, 2], [1.0, 1.0, -1.0], np.array([0, 0, 1]))
    assert edges.size == 2 and edges.start.tolist() == [0, 2]


def test_a_graph_without_edges_stays_so():
    edges = layered_edges([], [], [], np.array([0, 1]))
    assert Rewiring(edges, np.random.default_rng(0)).draw().size == 0

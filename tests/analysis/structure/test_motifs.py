"""Patterns against counts by hand and by plain loops; a planted excess is found, and random graphs
have none.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from scircuit.analysis.structure.layered_edges import layered_edges
from scircuit.analysis.structure.motif_counts import count_motifs, pairs_of
from scircuit.analysis.structure.motifs import motif_beside_null, motifs
from scircuit.analysis.structure.null_numbers import beside
from tests.analysis.structure.planted import CONFIG, features, inputs, random_edges

LAYER = np.repeat(np.arange(4), 15)
WIDE = np.repeat(np.arange(4), 40)
RNGS = [np.random.default_rng([seed, 9]) for seed in range(60)]


def plain(source, target, sign):
    """The patterns by their definition."""
    edges = dict(zip(zip(source, target, strict=True), sign, strict=True))
    loops = coherent = 0
    for (a, b), one in edges.items():
        for (c, d), two in edges.items():
            if b == c and (a, d) in edges:
                loops += 1
                coherent += one * two == edges[a, d]
    ahead = {}
    for a, b in edges:
        ahead.setdefault(a, set()).add(b)
    fans = sum(
        k * (k - 1) // 2
        for a, b in itertools.combinations(ahead, 2)
        for k in [len(ahead[a] & ahead[b])]
    )
    return loops, coherent, fans


@pytest.mark.parametrize("seed", range(4))
def test_equals_plain_loops(seed):
    rng = np.random.default_rng(seed)
    source, target = random_edges(LAYER, 300, rng)
    sign = rng.choice([-1, 1], source.size)
    order = rng.permutation(source.size)
    found = count_motifs(source[order], target[order], sign[order], LAYER.size)
    assert tuple(found) == plain(source.tolist(), target.tolist(), sign.tolist())
    assert found.feed_forward > 0 and found.bi_fan > 0


def test_by_hand():
    # 0 -> 1 -> 2 with 0 -> 2 and signs - - +: coherent; 0 and 1 share the targets 2 and 3
    source, target = np.array([0, 1, 0, 0, 1]), np.array([1, 2, 2, 3, 3])
    sign = np.array([-1, -1, 1, 1, 1])
    # the second loop, 0 -> 1 -> 3 with 0 -> 3, has signs - + +: not coherent
    assert tuple(count_motifs(source, target, sign, 4)) == (2, 1, 1)
    assert pairs_of(np.array([0, 1, 2, 4])) == 0 + 0 + 1 + 6


def planted(seed, loops):
    """Random edges, and so many feed-forward loops in addition."""
    rng = np.random.default_rng(seed)
    source, target = random_edges(WIDE, 200, rng)
    new = [
        (one, two)
        for _ in range(loops)
        for a, b, c in [40 * np.arange(3) + rng.integers(0, 40, 3)]
        for one, two in ((a, b), (b, c), (a, c))
    ]
    if new:
        source, target = np.concatenate([np.stack([source, target]), np.array(new).T], axis=1)
    return layered_edges(source, target, rng.choice([-1.0, 1.0], len(source)), WIDE)


def p_of(edges, seed, draws=99):
    found, null = motif_beside_null(edges, draws, np.random.default_rng(seed))
    return beside(found.feed_forward, null[:, 0]).p


def test_planted_loops_are_found_with_power_one():
    assert all((p_of(planted(seed, 25), seed) or 1) <= 0.05 for seed in range(10))


def test_random_graphs_have_five_percent_false_ones():
    """Loops are few, and p is that of whole numbers: at most 5 % are below 5 %."""
    graphs = [layered_edges(*random_edges(LAYER, 250, rng), np.ones(250), LAYER) for rng in RNGS]
    p = np.array([p_of(edges, seed, 59) for seed, edges in enumerate(graphs)])
    # 60 graphs: 5 % is 3; 9 or more have probability 0.3 %
    assert (p <= 0.05).sum() < 9
    assert 0.35 < p.mean() < 0.65


def test_the_finding_tells_numbers_and_says_what_degrees_fix():
    edges = planted(1, 25)
    found = motifs(inputs(features(WIDE), edges.source, edges.target), CONFIG)
    rows = found.frame.set_index("motif")
    assert rows.loc["feed-forward loop", "p"] <= 0.05
    assert "feed-forward loops" in found.sentence and "by firing rate alone" in found.sentence
    assert rows.loc["convergence", "observed"] == pairs_of(edges.in_degree)
    # every ablation lowers its target, so all edges support
    assert rows.loc["coherent share", "observed"] == 1


@pytest.mark.parametrize(("effect", "share"), [(-1.0, 1.0), (1.0, 0.0)])
def test_support_of_support_is_coherent_and_suppression_of_suppression_is_not(effect, share):
    """If A supports B and B supports C, then A is expected to support C; where all three suppress,
    A lifts C by way of B and lowers it by itself.
    """
    edges = planted(2, 25)._replace(effect=np.full(planted(2, 25).size, effect))
    found, _ = motif_beside_null(edges, 19, np.random.default_rng(0))
    assert found.feed_forward > 20 and found.coherent == share * found.feed_forward


def test_one_pair_of_layers_has_no_loops_and_it_is_said():
    source, target = random_edges([0] * 20 + [1] * 20, 100, np.random.default_rng(0))
    found = motifs(inputs(features([0] * 20 + [1] * 20), source, target), CONFIG)
    assert found.sentence.startswith("no feature is both a source and a target")


def test_constant_degrees_are_no_obstacle():
    """Every source has every target: the only graph with these degrees."""
    source, target = np.repeat(np.arange(5), 4), np.tile(np.arange(5, 9), 5)
    found = motifs(inputs(features([0] * 5 + [1] * 4), source, target), CONFIG)
    row = found.frame.set_index("motif").loc["bi-fan"]
    assert row["observed"] == row["null_mean"] == 10 * 6 and row["p"] == 1


def test_too_few_edges_are_said():
    found = motifs(inputs(features([0, 1, 1]), [0, 0], [1, 2]), CONFIG)
    assert not found.drawn and "at least 10 are needed" in found.sentence

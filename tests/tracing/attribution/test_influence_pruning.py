"""Pruning against a dense restatement of the published rules."""

from __future__ import annotations

import numpy as np
import pytest

from scircuit.core.errors import UserError
from scircuit.tracing.attribution.influence_pruning import prune

FEATURES, ERRORS, TOKENS, ANSWERS = 30, 8, 4, 3
N = FEATURES + ERRORS + TOKENS + ANSWERS


def dense(matrix, p, node_share, edge_share):
    """Rows are targets, in the order features, errors, tokens, answers. Every power of the matrix
    is formed; thresholds are found by walking down the sorted scores.
    """

    def rows_to_one(m):
        return np.abs(m) / np.maximum(np.abs(m).sum(1, keepdims=True), 1e-10)

    def reach(m, start):
        total, power = np.zeros(len(m)), np.eye(len(m))
        for _ in range(len(m)):
            power = power @ m
            total += start @ power
        return total

    def strongest(scores, share):
        whole, so_far = scores.sum(), 0.0
        kept = np.zeros(scores.shape, bool)
        for i in np.argsort(-scores, axis=None):
            place = np.unravel_index(i, scores.shape)
            if scores[place] == 0:
                break
            kept[place] = True
            so_far += scores[place]
            if so_far / whole >= share:
                break
        return kept

    influence = reach(rows_to_one(matrix), p)
    nodes = strongest(influence, node_share)
    nodes[FEATURES + ERRORS :] = True
    inner = rows_to_one(np.where(nodes[:, None] & nodes[None], matrix, 0))
    edges = strongest(inner * (reach(inner, p) + p)[:, None], edge_share)
    while True:
        left = nodes.copy()
        left[: FEATURES + ERRORS] &= edges[:, : FEATURES + ERRORS].any(0)
        left[:FEATURES] &= edges[:FEATURES].any(1)
        edges &= left[:, None] & left[None]
        if (left == nodes).all():
            return nodes, edges, influence
        nodes = left


def random_graph(seed):
    """Features in five layers; each answer and feature reads some of what is below."""
    g = np.random.default_rng(seed)
    matrix = np.zeros((N, N))
    level = np.concatenate(
        [np.arange(FEATURES) // 6, np.arange(ERRORS) % 4, np.full(TOKENS, -1), np.full(ANSWERS, 9)]
    )
    for t in (*range(FEATURES), *range(N - ANSWERS, N)):
        below = np.flatnonzero(level < level[t])
        some = below[g.random(len(below)) < 0.4]
        matrix[t, some] = g.standard_cauchy(len(some))
    p = np.zeros(N)
    p[-ANSWERS:] = g.dirichlet(np.ones(ANSWERS))
    return matrix, p


def pruned(matrix, p, *shares):
    target, source = np.nonzero(matrix)
    order = np.random.default_rng(5).permutation(len(source))
    source, target = source[order], target[order]
    kept = np.arange(N) >= FEATURES + ERRORS
    features = np.arange(N) < FEATURES
    found = prune(N, source, target, matrix[target, source], p, kept, features, *shares)
    edges = np.zeros(matrix.shape, bool)
    edges[target[found.edges], source[found.edges]] = True
    return found, edges


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("shares", [(), (0.5, 0.7), (1.0, 1.0)])
def test_equals_the_dense_rules(seed, shares):
    matrix, p = random_graph(seed)
    found, edges = pruned(matrix, p, *shares)
    wanted = dense(matrix, p, *(shares or (0.8, 0.98)))
    np.testing.assert_allclose(found.influence, wanted[2], rtol=1e-12, atol=1e-15)
    assert (found.nodes == wanted[0]).all() and (edges == wanted[1]).all()


def test_influence_of_a_chain():
    """a -> b -> answer, and c -> answer with three times b's weight; signs do not matter."""
    source, target = np.array([0, 1, 2]), np.array([1, 3, 3])
    answers = np.array([0, 0, 0, 1.0])
    nothing = np.zeros(4, bool)
    found = prune(
        4, source, target, np.array([5.0, -1.0, 3.0]), answers, answers > 0, nothing, 0.7, 1.0
    )
    np.testing.assert_allclose(found.influence, [0.25, 0.25, 0.75, 0])
    assert found.nodes.tolist() == [True, True, True, True]  # b and a are equal: both stay
    assert found.edges.all()
    np.testing.assert_allclose(found.cumulative[2], 0.6)


def test_refusals():
    one = (np.array([0]), np.array([1]), np.array([1.0]))
    answers, no = np.array([0, 1.0]), np.zeros(2, bool)
    with pytest.raises(UserError, match=r"share of 1.5 of the influence of nodes"):
        prune(2, *one, answers, no, no, 1.5)
    with pytest.raises(UserError, match="no node has a weight"):
        prune(2, *one, 0 * answers, no, no)
    with pytest.raises(UserError, match="given twice"):
        prune(2, *(np.repeat(x, 2) for x in one), answers, no, no)
    with pytest.raises(UserError, match="NaN or infinite"):
        prune(2, *one[:2], np.array([np.nan]), answers, no, no)
    with pytest.raises(UserError, match="has a cycle"):
        prune(2, np.array([0, 1]), np.array([1, 0]), np.ones(2), answers, no, no)

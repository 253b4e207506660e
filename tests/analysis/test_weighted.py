"""The weighted test against enumeration of every possible term, and its size without biology."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import hypergeom

from scircuit.analysis.annotation.weighted_tests import (
    subset_tails,
    weighted_p,
    weighted_pairs,
    whole_weights,
)
from scircuit.analysis.enrichment.gene_term_matrix import build
from scircuit.analysis.enrichment.list_blocks import ListBlock
from scircuit.analysis.genesets.library import GeneSetLibrary, Term


def test_equals_enumeration_of_every_term():
    weights = np.array([100, 40, 40, 7, 0])  # the list is the first five of nine genes
    for m in (1, 2, 3, 4, 6):
        every = [
            sum(int(weights[g]) for g in term if g < 5)
            for term in itertools.combinations(range(9), m)
        ]
        chance = hypergeom.pmf(np.arange(6)[None, :], 9, m, 5)
        for score in sorted(set(every)):
            exact = sum(s >= score for s in every) / len(every)
            got = weighted_p(weights, np.array([score]), chance)[0]
            assert got == pytest.approx(exact, rel=1e-12)


def test_subset_tails_equal_enumeration():
    weights = np.array([5, 3, 3, 1])
    tails = subset_tails(weights)
    for k in range(5):
        sums = [sum(c) for c in itertools.combinations(weights.tolist(), k)]
        for s in range(14):
            assert tails[k, s] == pytest.approx(np.mean([x >= s for x in sums]), abs=1e-15)


def test_equal_weights_give_the_hypergeometric_p():
    weights = whole_weights(np.full(20, 3.7))
    k = np.arange(1, 8)
    chance = hypergeom.pmf(np.arange(21)[None, :], 5000, 60, 20)
    got = weighted_p(weights, 100 * k, np.repeat(chance, k.size, axis=0))
    np.testing.assert_allclose(got, hypergeom.sf(k - 1, 5000, 60, 20), rtol=1e-10)


def test_weights_are_in_proportion_and_never_empty():
    np.testing.assert_array_equal(whole_weights(np.array([2.0, 1.0, 0.0, -1.0])), [100, 50, 0, 0])
    np.testing.assert_array_equal(whole_weights(np.zeros(3)), [100, 100, 100])


def world(rng, terms=300, lists=300, genes=2000):
    names = [f"G{i}" for i in range(genes)]
    sets = [
        Term(str(i), str(i), tuple(rng.choice(names, int(n), replace=False)))
        for i, n in enumerate(rng.integers(20, 200, terms))
    ]
    incidence = build([GeneSetLibrary("L", "f", "0", "", "", tuple(sets))], names)
    rows = incidence.rows([rng.choice(names, 20, replace=False).tolist() for _ in range(lists)])
    return incidence, rows, [rng.gamma(0.7, 1.0, 20) for _ in range(lists)]


def test_without_biology_p_is_not_too_small():
    rng = np.random.default_rng(0)
    incidence, rows, activation = world(rng)
    p = []
    for r in range(300):
        weights = whole_weights(activation[r])
        inside = incidence.matrix[rows.indices[20 * r : 20 * r + 20]].toarray()
        chance = np.stack([hypergeom.pmf(np.arange(21), 2000, m, 20) for m in incidence.sizes[:20]])
        p.append(weighted_p(weights, weights @ inside[:, :20], chance))
    p = np.concatenate(p)
    # 6,000 tests, lists drawn apart from terms; 3.9 binomial sd above x, and not far below it:
    # nearly continuous where genes are shared
    for x in (0.01, 0.05, 0.2):
        assert x * 0.6 < (p <= x).mean() < x + 3.9 * np.sqrt(x * (1 - x) / p.size)
    shown, family = weighted_pairs(
        (ListBlock(0, rows, incidence, np.ones(2000)),), [activation], 0.05
    )
    assert family == 300 * 300
    assert np.unique(shown.feature).size <= 3


def test_strong_shared_genes_count_more_than_weak_ones():
    rng = np.random.default_rng(1)
    incidence, rows, _activation = world(rng)
    members = incidence.matrix.tocsc()
    term = members.indices[members.indptr[0] : members.indptr[1]]
    inside = rng.choice(term, 8, replace=False)
    others = rng.choice(np.setdiff1d(np.arange(2000), term), 12, replace=False)
    lists = [[incidence.genes[g] for g in [*inside, *others]] for _ in range(2)]
    rows = incidence.rows(lists)
    is_in = np.isin(rows.indices[:20], term)
    strong, weak = np.where(is_in, 10.0, 1.0), np.where(is_in, 1.0, 10.0)
    shown, family = weighted_pairs(
        (ListBlock(0, rows, incidence, np.ones(2000)),), [[strong, weak]], 1.0
    )
    p = {
        int(r): float(x) for r, c, x in zip(shown.row, shown.column, shown.p, strict=True) if c == 0
    }
    assert p[0] < 1e-6 < p.get(1, 1.0)
    assert family == 2 * 300


def test_q_is_benjamini_hochberg_over_every_pair():
    rng = np.random.default_rng(2)
    incidence, rows, activation = world(rng, lists=40)
    term = incidence.matrix.tocsc()
    lists = []
    for r in range(40):
        genes = [incidence.genes[g] for g in rows.indices[20 * r : 20 * r + 20]]
        if r % 2:
            genes = [
                incidence.genes[g] for g in term.indices[term.indptr[r] : term.indptr[r] + 9]
            ] + genes[9:]
        lists.append(genes)
    rows = incidence.rows(lists)
    activation = [rng.gamma(5, 1.0, int(n)) for n in np.diff(rows.indptr)]
    shown, _family = weighted_pairs(
        (ListBlock(0, rows, incidence, np.ones(2000)),), [activation], 0.05
    )
    dense = np.ones((40, 300))
    for r in range(40):
        genes = rows.indices[rows.indptr[r] : rows.indptr[r + 1]]
        weights = whole_weights(activation[r])
        score = weights @ incidence.matrix[genes].toarray()
        chance = np.stack(
            [hypergeom.pmf(np.arange(genes.size + 1), 2000, m, genes.size) for m in incidence.sizes]
        )
        overlap = incidence.matrix[genes].toarray().sum(axis=0)
        p = weighted_p(weights, score, chance)
        dense[r] = np.where(overlap > 0, p, 1.0)
    from scipy.stats import false_discovery_control

    q = false_discovery_control(dense.ravel()).reshape(40, 300)
    assert shown.p.size > 15
    np.testing.assert_allclose(shown.q, q[shown.row, shown.column], rtol=1e-9)
    assert shown.p.size == (q <= 0.05).sum()

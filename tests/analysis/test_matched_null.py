"""Matched random lists: their profile, their uniformity, and the calibration of the q values made from them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chisquare

from analysis.enrichment import collect, correct, overlaps
from analysis.genesets import GeneSetLibrary, Term
from analysis.incidence import build
from analysis.matched_null import _distinct, calibrate, detection_bins, draw_matched, empirical_p, passes, smallest_p


def make(rng, genes=1200, terms=250, lists=400, n=15):
    names = [f"G{i}" for i in range(genes)]
    # sizes differ, so p values are nearly continuous and a share of p <= x can be compared with x
    sizes = rng.integers(10, 60, terms)
    lib = GeneSetLibrary("L", "f", "0", "", "", tuple(Term(str(i), str(i), tuple(rng.choice(names, size, replace=False))) for i, size in enumerate(sizes)))
    incidence = build([lib], names)
    # frequent genes are listed more often, as top genes are
    detection = np.sort(rng.beta(0.4, 2, genes))
    weight = detection / detection.sum()
    rows = incidence.rows([rng.choice(names, n + i % 7, replace=False, p=weight).tolist() for i in range(lists)])
    return incidence, rows, detection


def test_draws_keep_size_and_detection_profile():
    rng = np.random.default_rng(0)
    _, rows, detection = make(rng)
    bins = detection_bins(detection, 10)
    drawn = draw_matched(rows, bins, rng)
    assert drawn.data.max() == 1
    for a, b in ((rows, drawn),):
        for r in range(rows.shape[0]):
            left, right = (np.bincount(bins[m.indices[m.indptr[r] : m.indptr[r + 1]]], minlength=10) for m in (a, b))
            np.testing.assert_array_equal(left, right)
    assert (drawn != rows).nnz > 0


def test_every_subset_is_equally_likely():
    rng = np.random.default_rng(1)
    drawn = np.sort(_distinct(rng, 12000, 2, 5), axis=1)
    assert (drawn[:, 0] < drawn[:, 1]).all()
    _, counts = np.unique(drawn[:, 0] * 5 + drawn[:, 1], return_counts=True)
    assert counts.size == 10
    # fixed seed: a p below 1e-4 would mean a biased draw
    assert chisquare(counts).pvalue > 1e-4


def test_same_seed_same_result():
    incidence, rows, detection = make(np.random.default_rng(2), lists=60)
    hits = collect(overlaps(rows, incidence))
    one, two, three = (calibrate(rows, hits, incidence, detection, draws=3, seed=s) for s in (4, 4, 5))
    np.testing.assert_array_equal(one.q["all"], two.q["all"])
    assert (one.null["all"] != three.null["all"]).any()


def test_empirical_p_never_reaches_zero_and_counts_ties():
    np.testing.assert_allclose(empirical_p(np.array([0.0, 0.2, 1.0]), np.array([[0.2, 0.5], [0.9, 0.2]])), [1 / 5, 3 / 5, 1.0])


def test_lists_drawn_from_the_null_are_calibrated():
    rng = np.random.default_rng(3)
    incidence, rows, detection = make(rng, lists=600)
    bins = detection_bins(detection)
    false = 0
    p_all = []
    for seed in range(6):
        random = draw_matched(rows, bins, rng)
        hits = collect(overlaps(random, incidence))
        found = calibrate(random, hits, incidence, detection, draws=10, seed=seed)
        p = empirical_p(found.smallest["all"], found.null["all"])
        p_all.append(p)
        false += int((found.q["all"] <= 0.05).any())
    p_all = np.concatenate(p_all)
    # p is uniform: 3,600 lists against 6,000 random ones in each of 6 runs, so the share below x has about 1.05 binomial sd; bounds at 3.9 sd
    for x in (0.05, 0.2, 0.5):
        assert abs((p_all <= x).mean() - x) < 4.1 * np.sqrt(x * (1 - x) / p_all.size)
    # a false discovery in at most 1 run of 20 on average; 3 of 6 has probability 0.002
    assert false < 3


def test_planted_lists_are_found_and_the_null_rate_is_small():
    rng = np.random.default_rng(7)
    incidence, rows, detection = make(rng, lists=200)
    lists = [[incidence.genes[g] for g in rows.indices[rows.indptr[r] : rows.indptr[r + 1]]] for r in range(200)]
    by_term = incidence.matrix.tocsc()
    for r in range(60):
        members = by_term.indices[by_term.indptr[r] : by_term.indptr[r + 1]][:8]
        lists[r] = [incidence.genes[g] for g in members] + lists[r][8:]
    rows = incidence.rows(lists)
    found = calibrate(rows, collect(overlaps(rows, incidence)), incidence, detection, draws=10, seed=1)
    annotated = found.q["all"] <= 0.05
    assert annotated[:60].mean() > 0.9
    assert annotated[60:].mean() < 0.1
    rate = found.rates[0]
    assert rate.null_rate < 0.05
    assert rate.null_low <= rate.null_rate <= rate.null_high
    assert rate.excess_low < rate.excess < rate.excess_high
    assert rate.excess == pytest.approx(rate.rate - rate.null_rate)


@pytest.mark.parametrize("rule", ["pooled", "feature", "overlap2"])
def test_passing_is_the_same_as_q_below_alpha(rule):
    incidence, rows, _ = make(np.random.default_rng(8), terms=400, lists=300)
    hits = collect(overlaps(rows, incidence))
    alpha = 0.3
    q, _ = correct(hits, 300, len(incidence.terms), rule)
    expected = np.zeros(300, dtype=bool)
    expected[hits.row[q <= alpha]] = True
    np.testing.assert_array_equal(passes(hits, 300, len(incidence.terms), rule, alpha), expected)
    assert expected.any() or rule == "pooled"


def test_smallest_p_needs_two_shared_genes():
    incidence, rows, _ = make(np.random.default_rng(9), lists=50)
    hits = collect(overlaps(rows, incidence))
    best = smallest_p(hits, 50)
    for r in range(50):
        p = hits.p[(hits.row == r) & (hits.overlap >= 2)]
        assert best[r] == (p.min() if p.size else 1.0)

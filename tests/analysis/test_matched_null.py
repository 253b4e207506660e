"""Matched random lists: their profile, the exact expectation over them, and the calibration of q
values feature by feature.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import chisquare, hypergeom

from scircuit.analysis.enrichment.calibrated_rates import calibrate
from scircuit.analysis.enrichment.fdr import benjamini_hochberg
from scircuit.analysis.enrichment.gene_term_matrix import build
from scircuit.analysis.enrichment.hypergeometric import TailTable
from scircuit.analysis.enrichment.list_blocks import ListBlock
from scircuit.analysis.enrichment.matched_null import _distinct, detection_bins, draw_matched
from scircuit.analysis.enrichment.overrepresentation import collect, overlaps
from scircuit.analysis.enrichment.pair_tests import test_lists as tested_lists
from scircuit.analysis.enrichment.profile_null import ProfileNull, profiles
from scircuit.analysis.genesets.library import GeneSetLibrary, Term
from tests.support.enrichment_oracle import correct


def make(rng, genes=1200, terms=250, lists=400, n=15, libraries=1):
    names = [f"G{i}" for i in range(genes)]
    # sizes differ, so p values are nearly continuous and a share of p <= x can be compared with x
    sizes = rng.integers(10, 60, terms)
    sets = [
        Term(str(i), str(i), tuple(rng.choice(names, size, replace=False)))
        for i, size in enumerate(sizes)
    ]
    libs = [
        GeneSetLibrary(f"L{j}", "f", "0", "", "", tuple(sets[j::libraries]))
        for j in range(libraries)
    ]
    incidence = build(libs, names)
    # frequent genes are listed more often, as top genes are
    detection = np.sort(rng.beta(0.4, 2, genes))
    weight = detection / detection.sum()
    rows = incidence.rows(
        [rng.choice(names, n + i % 7, replace=False, p=weight).tolist() for i in range(lists)]
    )
    return incidence, rows, detection


def run(rows, incidence, detection, *, untested=0, **options):
    block = ListBlock(3, rows, incidence, detection, untested)
    return calibrate([block], [tested_lists(rows, incidence)], **options)


def test_draws_keep_size_and_detection_profile():
    rng = np.random.default_rng(0)
    _, rows, detection = make(rng)
    bins = detection_bins(detection, 10)
    drawn = draw_matched(rows, bins, rng)
    assert drawn.data.max() == 1
    np.testing.assert_array_equal(profiles(rows, bins), profiles(drawn, bins))
    for r in range(rows.shape[0]):
        own = np.bincount(bins[rows.indices[rows.indptr[r] : rows.indptr[r + 1]]], minlength=10)
        np.testing.assert_array_equal(profiles(drawn, bins)[r], own)
    assert (drawn != rows).nnz > 0


def test_every_subset_is_equally_likely():
    rng = np.random.default_rng(1)
    drawn = np.sort(_distinct(rng, 12000, 2, 5), axis=1)
    assert (drawn[:, 0] < drawn[:, 1]).all()
    _, counts = np.unique(drawn[:, 0] * 5 + drawn[:, 1], return_counts=True)
    assert counts.size == 10
    # fixed seed: a p below 1e-4 would mean a biased draw
    assert chisquare(counts).pvalue > 1e-4


def test_the_expectation_equals_enumeration_of_all_matched_lists():
    genes = [f"G{i}" for i in range(11)]
    sets = [(0, 1, 2), (1, 2, 3, 4, 5), (5, 6, 7), (0, 6, 8, 9), (2, 5, 6)]
    lib = [
        GeneSetLibrary(
            name,
            "f",
            "0",
            "",
            "",
            tuple(Term(str(i), str(i), tuple(genes[g] for g in s)) for i, s in part),
        )
        for name, part in (("A", list(enumerate(sets))[:3]), ("B", list(enumerate(sets))[3:]))
    ]
    incidence = build(lib, genes, min_size=1)
    bins = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2])
    profile = np.array([2, 3, 1])
    table = TailTable(np.array([6]), incidence.sizes, 11)
    expected = ProfileNull(incidence, bins, table).expected(profile)
    distribution = ProfileNull(incidence, bins, table).overlap_distribution(profile)
    lists = [
        a + b + c
        for a in itertools.combinations(range(4), 2)
        for b in itertools.combinations(range(4, 9), 3)
        for c in itertools.combinations(range(9, 11), 1)
    ]
    count = np.zeros((7, 5))
    at = {}
    for drawn in lists:
        for t, members in enumerate(sets):
            k = len(set(drawn) & set(members))
            count[k, t] += 1
            if k >= 2:
                p = hypergeom.sf(k - 1, 11, len(members), 6)
                at.setdefault(t, []).append(p)
    np.testing.assert_allclose(distribution, count / len(lists), atol=1e-15)
    for s in (0.01, 0.1, 0.2, 0.45, 0.7, 1.0):
        by_term = [sum(p <= s * (1 + 1e-12) for p in at.get(t, [])) / len(lists) for t in range(5)]
        # the smallest difference between two p of this table is 1e-3, so a rounding of s moves no p
        # across it
        assert expected.at(s * (1 + 1e-12), 0) == pytest.approx(sum(by_term), abs=1e-12)
        assert expected.at(s * (1 + 1e-12), 1) == pytest.approx(sum(by_term[:3]), abs=1e-12)
        assert expected.at(s * (1 + 1e-12), 2) == pytest.approx(sum(by_term[3:]), abs=1e-12)


def test_one_pass_equals_all_pairs_kept():
    rng = np.random.default_rng(11)
    incidence, rows, _ = make(rng, lists=5000, libraries=3)
    hits = collect(overlaps(rows, incidence))
    found = tested_lists(rows, incidence)
    two = hits.overlap >= 2
    order = np.lexsort((hits.column[two], hits.row[two]))
    for mine, plain in zip(found.hits, hits, strict=True):
        np.testing.assert_array_equal(mine, plain[two][order])
    for family in ("pooled", "overlap2"):
        q, m = correct(hits, rows.shape[0], found.terms[0], family)
        tally = found.tally[0] if family == "pooled" else found.tally_two[0]
        use = two if family == "overlap2" else np.ones_like(two)
        np.testing.assert_array_equal(tally.q(hits.p[use], m), q[use])
        for alpha in (0.05, 0.5):
            passed = hits.p[use][q[use] <= alpha]
            assert tally.threshold(m, alpha) == (passed.max() if passed.size else -1.0)
    library = np.array([int(t.library[1:]) for t in incidence.terms])
    for i in range(3):
        of = two & (library[hits.column] == i)
        best = np.ones(rows.shape[0])
        np.minimum.at(best, hits.row[of], hits.p[of])
        np.testing.assert_array_equal(found.best[:, i], best)
        assert found.tally[1 + i].tests == (library[hits.column] == i).sum()
    cut = tested_lists(rows, incidence, keep=0.001)
    assert cut.hits.p.size == (hits.p[two] <= 0.001).sum() > 0
    np.testing.assert_array_equal(cut.tally[0].p, found.tally[0].p)


def test_same_seed_same_result():
    incidence, rows, detection = make(np.random.default_rng(2), lists=60)
    one, two, three = (run(rows, incidence, detection, draws=3, seed=s) for s in (4, 4, 5))
    np.testing.assert_array_equal(one.p, two.p)
    assert one.rates == two.rates
    assert (one.p != three.p).any()


def test_p_is_a_rank_among_the_draws_and_exact_below_them():
    incidence, rows, detection = make(np.random.default_rng(3), lists=50)
    found = run(rows, incidence, detection, draws=9, seed=0)
    smallest = found.smallest[:, 0]
    null = found._null[:9, :, 0]
    bins = detection_bins(detection)
    expectation = ProfileNull(
        incidence, bins, TailTable(np.diff(rows.indptr), incidence.sizes, len(incidence.genes))
    )
    profile = profiles(rows, bins)
    for r in range(50):
        better = int((null[:, r] <= smallest[r]).sum())
        bound = float(expectation.expected(profile[r]).at(smallest[r] * (1 + 1e-9)))
        assert found.p[r, 0] == ((1 + better) / 10 if better else min(0.1, bound))
    hits = tested_lists(rows, incidence).hits
    at = hits.p == smallest[hits.row]
    np.testing.assert_array_equal(found.term_p(hits.row[at], hits.p[at]), found.p[hits.row[at], 0])
    np.testing.assert_allclose(
        found.q_of(found.p[:, 0]), benjamini_hochberg(found.p[:, 0]), rtol=1e-12
    )


def strata(rng, genes=3000, terms=400, lists=500):
    """Common genes are annotated, rare ones hardly: half of the lists hold common genes, half rare
    ones, none with any biology.
    """
    names = [f"G{i}" for i in range(genes)]
    weight = np.where(np.arange(genes) < genes // 2, 0.4, 1.6)
    sets = [
        Term(
            str(i),
            str(i),
            tuple(rng.choice(names, int(size), replace=False, p=weight / weight.sum())),
        )
        for i, size in enumerate(rng.integers(10, 80, terms))
    ]
    incidence = build([GeneSetLibrary("L", "f", "0", "", "", tuple(sets))], names)
    detection = (np.arange(genes) + rng.random(genes)) / genes
    rare, common = (
        [rng.choice(names[a:b], 18, replace=False).tolist() for _ in range(lists)]
        for a, b in ((0, genes // 2), (genes // 2, genes))
    )
    return incidence, detection, rare, common


def pooled_p(smallest, null):
    """The p that pools the random lists of all features: the null that is not calibrated feature by
    feature.
    """
    return (1 + np.searchsorted(np.sort(null, axis=None), smallest, side="right")) / (1 + null.size)


def test_without_biology_p_is_uniform_in_every_stratum():
    rng = np.random.default_rng(4)
    shares, pooled = [], []
    for seed in range(3):
        incidence, detection, rare, common = strata(rng)
        rows = incidence.rows([*rare, *common])
        found = run(rows, incidence, detection, draws=19, seed=seed, bins=10)
        p, other = found.p[:, 0], pooled_p(found.smallest[:, 0], found._null[:, :, 0])
        is_common = np.arange(rows.shape[0]) >= len(rare)
        shares.append(
            [[(p[m] <= x).mean() for x in (0.01, 0.05, 0.2, 0.5)] for m in (~is_common, is_common)]
        )
        pooled.append([(other[m] <= 0.05).mean() for m in (~is_common, is_common)])
    n = 3 * 500
    for stratum in np.mean(shares, axis=0):
        # 3 x 500 lists a stratum; ranks among 19 draws are exact at multiples of 1/20 but for ties,
        # which only lower them, and the bound lies above the truth below 1/20: so the share is at
        # most x (3.9 binomial sd above it), and at x = 0.05 and more not much below it
        for share, x in zip(stratum, (0.01, 0.05, 0.2, 0.5), strict=True):
            assert share <= x + 3.9 * np.sqrt(x * (1 - x) / n)
        assert stratum[1] > 0.03 and stratum[2] > 0.15 and stratum[3] > 0.43
    low, high = np.mean(pooled, axis=0)
    assert low < 0.02 and high > 0.07


def test_false_discoveries_stay_below_q_among_rare_and_among_common_genes():
    rng = np.random.default_rng(5)
    false = {"own": np.zeros(2), "pooled": np.zeros(2)}
    found_all = {"own": np.zeros(2), "pooled": np.zeros(2)}
    true = np.zeros(2)
    runs = 6
    for seed in range(runs):
        incidence, detection, rare, common = strata(rng, lists=250)
        members = incidence.matrix.tocsc()
        lists = [*rare, *common]
        is_common = np.arange(len(lists)) >= len(rare)
        planted = np.zeros(len(lists), dtype=bool)
        half = len(incidence.genes) // 2
        for i in range(0, len(lists), 5):
            own = [
                g
                for t in rng.permutation(len(incidence.terms))[:60]
                for g in [members.indices[members.indptr[t] : members.indptr[t + 1]]]
            ]
            own = [g[(g >= half) == is_common[i]] for g in own]
            pick = next((g for g in own if g.size >= 6), None)
            if pick is not None:
                planted[i] = True
                lists[i] = [incidence.genes[g] for g in rng.choice(pick, 6, replace=False)] + lists[
                    i
                ][6:]
        rows = incidence.rows(lists)
        c = run(rows, incidence, detection, draws=20, seed=seed, bins=10)
        pooled = benjamini_hochberg(pooled_p(c.smallest[:, 0], c._null[:, :, 0])) <= 0.1
        own = benjamini_hochberg(c.p[:, 0]) <= 0.1
        for name, calls in (("own", own), ("pooled", pooled)):
            for s, mask in enumerate((~is_common, is_common)):
                false[name][s] += (calls & mask & ~planted).sum()
                found_all[name][s] += (calls & mask).sum()
        true += [(own & planted & m).sum() for m in (~is_common, is_common)]
    assert (true > 50).all()
    # about 500 discoveries in all; 0.1 of them false is the expectation's upper limit in all and,
    # as each p is valid, nearly so in each stratum
    rates = false["own"] / found_all["own"]
    assert (rates < 0.12).all(), rates
    pooled_rates = false["pooled"] / found_all["pooled"]
    assert pooled_rates[1] > 1.5 * rates[1]
    assert pooled_rates[1] > 0.12


def test_planted_lists_are_found_and_the_null_rate_is_small():
    rng = np.random.default_rng(7)
    incidence, rows, detection = make(rng, lists=200)
    lists = [
        [incidence.genes[g] for g in rows.indices[rows.indptr[r] : rows.indptr[r + 1]]]
        for r in range(200)
    ]
    by_term = incidence.matrix.tocsc()
    for r in range(60):
        members = by_term.indices[by_term.indptr[r] : by_term.indptr[r + 1]][:8]
        lists[r] = [incidence.genes[g] for g in members] + lists[r][8:]
    rows = incidence.rows(lists)
    found = run(rows, incidence, detection, draws=10, seed=1)
    annotated = found.found()
    np.testing.assert_array_equal(annotated, found.q[:, 0] <= 0.05)
    assert annotated[:60].mean() > 0.9
    assert annotated[60:].mean() < 0.1
    rate = found.rates[0]
    assert rate.null_rate < 0.05
    assert rate.null_low <= rate.null_rate <= rate.null_high
    assert rate.excess_low < rate.excess < rate.excess_high
    assert rate.excess == pytest.approx(rate.rate - rate.null_rate)
    assert found.layer_rates["calibrated", 3] == rate


def test_the_null_rate_equals_what_fresh_random_lists_give():
    rng = np.random.default_rng(12)
    incidence, rows, detection = make(rng, lists=300)
    lists = [
        [incidence.genes[g] for g in rows.indices[rows.indptr[r] : rows.indptr[r + 1]]]
        for r in range(300)
    ]
    by_term = incidence.matrix.tocsc()
    for r in range(0, 300, 2):
        lists[r] = [
            incidence.genes[g]
            for g in by_term.indices[by_term.indptr[r // 2] : by_term.indptr[r // 2 + 1]][:7]
        ] + lists[r][7:]
    rows = incidence.rows(lists)
    found = run(rows, incidence, detection, draws=40, seed=1, alpha=0.2)
    bins = detection_bins(detection)
    table = TailTable(np.diff(rows.indptr), incidence.sizes, len(incidence.genes))
    expectation, profile = ProfileNull(incidence, bins, table), profiles(rows, bins)
    each = [expectation.expected(x) for x in profile]
    hits = 0
    for _ in range(40):
        best = tested_lists(draw_matched(rows, bins, rng), incidence, table).best[:, 0]
        better = (found._null[:40, :, 0] <= best).sum(axis=0)
        p = np.where(
            better > 0,
            (1 + better) / 41,
            np.minimum(1 / 41, [float(e.at(s)) for e, s in zip(each, best, strict=True)]),
        )
        hits += int((p <= found.threshold[0]).sum())
    fresh = hits / (40 * 300)
    rate = found.rates[0].null_rate
    # two estimates of one share from 12,000 random lists each
    assert fresh > 0.01
    assert abs(rate - fresh) < 4 * np.sqrt(2 * fresh / 12000)


def test_features_without_a_list_count_in_every_family():
    incidence, rows, detection = make(np.random.default_rng(8), lists=100)
    alone, among = (run(rows, incidence, detection, draws=5, untested=u) for u in (0, 900))
    np.testing.assert_allclose(benjamini_hochberg(alone.p[:, 0], 1000), among.q[:, 0])
    assert among.rates[0].lists == 1000
    assert among.rates[0].rate == among.rates[0].annotated / 1000


@pytest.mark.parametrize("rule", ["pooled", "feature", "overlap2"])
def test_passing_is_the_same_as_q_below_alpha(rule):
    incidence, rows, detection = make(np.random.default_rng(8), terms=400, lists=300)
    hits = collect(overlaps(rows, incidence))
    alpha = 0.3
    q, _ = correct(hits, 300, len(incidence.terms), rule)
    expected = np.zeros(300, dtype=bool)
    two = (q <= alpha) & ((hits.overlap >= 2) | (rule == "feature"))
    expected[hits.row[two]] = True
    found = run(rows, incidence, detection, alpha=alpha, draws=1)
    rate = next(r for r in found.rates if r.rule == rule and r.library == "all")
    assert rate.annotated == expected.sum()
    assert expected.any() or rule == "pooled"


def test_blocks_of_several_backgrounds_share_one_family():
    rng = np.random.default_rng(9)
    parts = [make(rng, genes=g, lists=80) for g in (900, 1300)]
    blocks = [
        ListBlock(i, rows, incidence, detection)
        for i, (incidence, rows, detection) in enumerate(parts)
    ]
    tested = [tested_lists(b.rows, b.incidence) for b in blocks]
    both = calibrate(blocks, tested, draws=5, seed=3)
    assert both.p.shape == (160, 2)
    np.testing.assert_allclose(both.q[:, 0], benjamini_hochberg(both.p[:, 0]))
    assert {(rule, layer) for rule, layer in both.layer_rates} == {
        (r.rule, i) for r in both.rates for i in (0, 1)
    }
    assert sum(both.layer_rates["overlap2", i].annotated for i in (0, 1)) == both.rates[3].annotated


def test_a_concept_found_in_every_layer_makes_the_interval_no_narrower():
    """The same 60 lists in one layer and in 12: no more is known of the excess."""
    incidence, rows, detection = make(np.random.default_rng(10), lists=60)
    lists = [
        [incidence.genes[g] for g in rows.indices[rows.indptr[r] : rows.indptr[r + 1]]]
        for r in range(60)
    ]
    by_term = incidence.matrix.tocsc()
    for r in range(20):
        lists[r] = [
            incidence.genes[g]
            for g in by_term.indices[by_term.indptr[r] : by_term.indptr[r + 1]][:8]
        ] + lists[r][8:]
    rows = incidence.rows(lists)
    widths = {}
    for layers in (1, 12):
        blocks = [ListBlock(la, rows, incidence, detection) for la in range(layers)]
        rate = calibrate(
            blocks, [tested_lists(rows, incidence)] * layers, draws=20, seed=1, sample=100
        ).rates[0]
        assert rate.rate == pytest.approx(20 / 60, abs=0.04)
        widths[layers] = (rate.excess_high - rate.excess_low) / np.sqrt(rate.rate * (1 - rate.rate))
    # features taken as independent would make it 0.29 times as wide
    assert widths[12] == pytest.approx(widths[1], rel=0.05)


def test_the_interval_of_the_excess_covers_its_mean_where_layers_repeat_concepts():
    """60 concepts in 6 layers, nine in ten genes kept: the interval of independent features would
    hold the mean in half of the studies.
    """
    genes = [f"G{i}" for i in range(1500)]
    base = np.random.default_rng(0)
    terms = tuple(
        Term(str(i), str(i), tuple(base.choice(genes, int(base.integers(10, 80)), replace=False)))
        for i in range(150)
    )
    incidence, detection = (
        build([GeneSetLibrary("L", "f", "0", "", "", terms)], genes),
        base.random(1500),
    )
    found = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        concepts = [
            list(
                rng.choice(
                    terms[rng.integers(150)].genes if rng.random() < 0.4 else genes,
                    6,
                    replace=False,
                )
            )
            + list(rng.choice(genes, 14, replace=False))
            for _ in range(60)
        ]
        blocks = []
        for layer in range(6):
            kept = [[g for g in c if rng.random() < 0.9] for c in concepts]
            blocks.append(
                ListBlock(
                    layer,
                    incidence.rows(
                        [k + list(rng.choice(genes, 20 - len(k), replace=False)) for k in kept]
                    ),
                    incidence,
                    detection,
                )
            )
        rate = calibrate(
            blocks, [tested_lists(b.rows, incidence) for b in blocks], draws=5, seed=seed, sample=20
        ).rates[0]
        found.append((rate.excess_low, rate.excess, rate.excess_high))
    low, excess, high = np.array(found).T
    covered = ((low <= excess.mean()) & (excess.mean() <= high)).mean()
    assert covered >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 30)
    assert (high - low).mean() / 2 < 1.4 * 1.96 * excess.std(ddof=1)


def test_a_layer_without_any_list_counts():
    incidence, rows, detection = make(np.random.default_rng(8), lists=100)
    blocks = [
        ListBlock(0, rows, incidence, detection, 10),
        ListBlock(4, rows[:0], incidence, detection, 90),
    ]
    found = calibrate(blocks, [tested_lists(b.rows, incidence) for b in blocks], draws=5)
    assert found.rates[0].lists == 200
    np.testing.assert_allclose(found.q[:, 0], benjamini_hochberg(found.p[:, 0], 200))
    rate = found.layer_rates["calibrated", 4]
    assert (rate.lists, rate.annotated, rate.rate, rate.null_rate, rate.excess) == (
        90,
        0,
        0.0,
        0.0,
        0.0,
    )
    assert rate.excess_low < 0 < rate.excess_high < 0.05


def test_nothing_to_calibrate_is_refused():
    incidence, rows, detection = make(np.random.default_rng(9), lists=3)
    with pytest.raises(ValueError, match="0 draws"):
        run(rows, incidence, detection, draws=0)
    with pytest.raises(ValueError, match="0 lists"):
        run(sparse.csr_matrix((0, len(incidence.genes)), dtype=np.int32), incidence, detection)

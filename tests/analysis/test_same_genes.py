"""Features that fire on the same genes: against a plain reference, with and without truth."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from scircuit.analysis.matching.overlap_null import (
    PTable,
    Random,
    Strata,
    against_random,
    draws_needed,
    size_class,
)
from scircuit.analysis.matching.same_genes import match
from scircuit.analysis.matching.weighted_lists import UNITS, by_gene, gene_lists, overlaps, shuffled


def random_lists(rng, dictionary, n, genes=400, model=None, layer=0, low=3, high=20, popular=1.3):
    """Lists of random sizes; some genes are much more frequent than others, as in real layers."""
    weight = 1 / np.arange(1, genes + 1) ** (popular - 1)
    rows = []
    for feature in range(n):
        size = int(rng.integers(low, high + 1))
        chosen = rng.choice(genes, size, replace=False, p=weight / weight.sum())
        rows += [
            (feature * 2, g, r + 1, a)
            for r, (g, a) in enumerate(
                zip(chosen, np.sort(rng.gamma(2, 3, size))[::-1], strict=True)
            )
        ]
    return gene_lists(
        dictionary,
        model or dictionary.split("/")[0],
        layer,
        *(np.array(c) for c in zip(*rows, strict=True)),
    )


def as_dicts(lists):
    """Plain form: feature -> {gene: weight}."""
    ends = lists.indptr
    return [
        dict(zip(lists.genes[a:b].tolist(), lists.weights[a:b].tolist(), strict=True))
        for a, b in itertools.pairwise(ends)
    ]


def plain_overlap(one, other):
    return sum(min(w, other[g]) for g, w in one.items() if g in other)


def test_weights_are_shares_of_the_activation_in_whole_units():
    lists = gene_lists(
        "m/s/L00",
        "m",
        0,
        np.array([7, 7, 7, 7]),
        np.array([3, 1, 2, 9]),
        np.array([1, 2, 3, 4]),
        np.array([5.0, 3.0, 1.0, 1.0]),
    )
    assert (
        lists.weights.tolist() == [5000, 3000, 1000, 1000]
        and lists.genes.tolist() == [3, 1, 2, 9]
        and lists.features.tolist() == [7]
    )
    thirds = gene_lists(
        "m/s/L00", "m", 0, np.zeros(3, int), np.arange(3), np.arange(1, 4), np.ones(3)
    )
    assert thirds.weights.tolist() == [3334, 3333, 3333]


def test_a_list_without_activations_is_weighted_by_rank():
    for missing in ([np.nan] * 4, [2.0, np.nan, 1.0, 1.0], [1.0, 0.0, 1.0, 1.0], [-1.0, 1, 1, 1]):
        lists = gene_lists(
            "m/s/L00", "m", 0, np.zeros(4, int), np.arange(4), np.arange(1, 5), np.array(missing)
        )
        plain = np.array([1 / math.log2(r + 1) for r in range(1, 5)])
        np.testing.assert_allclose(lists.weights / UNITS, plain / plain.sum(), atol=1 / UNITS)
        assert lists.weights.sum() == UNITS


def test_lists_are_cut_ordered_and_short_ones_left_out():
    features = np.array([4, 2, 4, 2, 2, 4, 4, 4, 9, 9, 4])
    genes = np.array([1, 5, 2, 6, 7, 3, 4, 1, 1, 2, 8])
    ranks = np.array([1, 3, 2, 2, 1, 4, 3, 5, 1, 2, 6])
    lists = gene_lists("m/s/L00", "m", 0, features, genes, ranks, np.ones(11), top_genes=4)
    assert lists.features.tolist() == [2, 4] and lists.left_out == 1, "feature 9 has two genes"
    assert [list(x) for x in as_dicts(lists)] == [
        [7, 6, 5],
        [1, 2, 4, 3],
    ], "by rank; gene 1 counts at its better rank"


def test_overlaps_equal_the_plain_ones():
    rng = np.random.default_rng(0)
    one, other = random_lists(rng, "a/s/L00", 150), random_lists(rng, "b/s/L00", 130)
    plain = {
        (i, j): s
        for (i, x), (j, y) in itertools.product(
            enumerate(as_dicts(one)), enumerate(as_dicts(other))
        )
        if (s := plain_overlap(x, y))
    }
    for block in (1, 7, 64, 1000):
        found = {}
        for i, j, s in overlaps(one, by_gene(other, 400), block):
            found |= {(a, b): c for a, b, c in zip(i.tolist(), j.tolist(), s.tolist(), strict=True)}
        assert found == plain
    assert len(plain) > 1000


def test_random_lists_keep_sizes_weights_and_the_frequency_of_every_gene_at_every_rank():
    rng = np.random.default_rng(1)
    lists = random_lists(rng, "a/s/L00", 300, popular=1.8)
    drawn = shuffled(lists, rng)
    assert (drawn.genes != lists.genes).mean() > 0.8
    np.testing.assert_array_equal(drawn.indptr, lists.indptr)
    np.testing.assert_array_equal(drawn.weights, lists.weights)
    for rank in range(20):
        at = lists.ranks == rank
        assert sorted(drawn.genes[at]) == sorted(lists.genes[at])
    assert [len(x) for x in as_dicts(drawn)] == lists.sizes.tolist(), "no gene twice"


def test_shuffling_ends_where_every_list_must_have_the_gene():
    lists = gene_lists(
        "m/s/L00",
        "m",
        0,
        np.repeat([0, 1], 3),
        np.array([0, 1, 2, 0, 1, 3]),
        np.tile([1, 2, 3], 2),
        np.ones(6),
    )
    drawn = shuffled(lists, np.random.default_rng(0))
    assert drawn.genes[[0, 3]].tolist() == [0, 0] and sorted(drawn.genes[[2, 5]]) == [2, 3]


def plain_match(lists, alpha, draws, seed):
    """Everything by loops: strata as pairs of size classes, the null as a list of numbers,
    Benjamini-Hochberg by its definition.
    """
    import zlib

    models = list(dict.fromkeys((a.model, b.model) for a, b in itertools.combinations(lists, 2)))
    answer = {}
    for family in models:
        todo = [(a, b) for a, b in itertools.combinations(lists, 2) if (a.model, b.model) == family]
        null, real, m = {}, [], 0
        for a, b in todo:
            kinds = (
                [(size_class(np.array([len(x)]))[0]) for x in as_dicts(a)],
                [(size_class(np.array([len(y)]))[0]) for y in as_dicts(b)],
            )
            for d in range(draws):
                other = as_dicts(
                    shuffled(b, np.random.default_rng([seed, zlib.crc32(b.dictionary.encode()), d]))
                )
                for (i, x), (j, y) in itertools.product(enumerate(as_dicts(a)), enumerate(other)):
                    null.setdefault((kinds[0][i], kinds[1][j]), []).append(plain_overlap(x, y))
            for (i, x), (j, y) in itertools.product(enumerate(as_dicts(a)), enumerate(as_dicts(b))):
                m += 1
                if s := plain_overlap(x, y):
                    real.append((a, b, i, j, s, (kinds[0][i], kinds[1][j]), len(set(x) & set(y))))
        null = {k: np.array(v) for k, v in null.items()}
        p = np.array([(1 + (null[k] >= s).sum()) / (1 + null[k].size) for *_, s, k, _ in real])
        order = np.argsort(p, kind="stable")
        q = np.empty_like(p)
        running = 1.0
        for place in range(len(p) - 1, -1, -1):
            running = min(running, p[order[place]] * m / (place + 1))
            q[order[place]] = running
        for (a, b, i, j, s, _, shared), one, value in zip(real, p, q, strict=True):
            if value <= alpha:
                answer[a.dictionary, int(a.features[i]), b.dictionary, int(b.features[j])] = (
                    s / (2 * UNITS - s),
                    shared,
                    one,
                    value,
                )
    return answer


def with_partners(rng, lists, share, dictionary, layer, model=None):
    """Another dictionary, in which a share of the features lists nearly the genes of a feature of
    the first.
    """
    rows, truth = [], {}
    for feature, genes in enumerate(as_dicts(lists)):
        own = list(genes)
        if rng.random() < share:
            truth[int(lists.features[feature])] = feature * 3
            own = own[: max(2, int(0.7 * len(own)))]
        else:
            own = []
        more = [int(g) for g in rng.choice(400, 20, replace=False) if g not in own][
            : len(genes) - len(own)
        ]
        chosen = own + more
        rows += [
            (feature * 3, g, r + 1, a)
            for r, (g, a) in enumerate(
                zip(chosen, np.sort(rng.gamma(2, 3, len(chosen)))[::-1], strict=True)
            )
        ]
    return (
        gene_lists(
            dictionary,
            model or dictionary.split("/")[0],
            layer,
            *(np.array(c) for c in zip(*rows, strict=True)),
        ),
        truth,
    )


def test_the_fast_way_equals_the_plain_one():
    rng = np.random.default_rng(3)
    first = random_lists(rng, "a/s/L00", 40, low=3, high=9)
    second, _ = with_partners(rng, first, 0.5, "a/s/L01", 1)
    third, _ = with_partners(rng, first, 0.5, "b/s/L00", 0)
    lists = [first, second, third]
    plain = plain_match(lists, alpha=0.05, draws=50, seed=9)
    found = match(lists, alpha=0.05, best=1000, draws=50, seed=9)
    assert {f.draws for f in found.families} == {50}
    names = found.dictionaries
    fast = {
        (names[a], int(i), names[b], int(j)): (o, k, p, q)
        for a, b, i, j, o, k, p, q in zip(*found.pairs, strict=True)
    }
    assert fast.keys() == plain.keys() and len(plain) > 30
    for key, values in plain.items():
        np.testing.assert_allclose(fast[key], values, rtol=1e-12)
    assert sum(f.pairs for f in found.families) == 40 * 40 * 3
    assert sum(f.passing for f in found.families) == len(plain)
    alone = match(lists[:2], alpha=0.05, best=1000, draws=50, seed=9)
    assert set(
        zip(alone.pairs.first_feature.tolist(), alone.pairs.second_feature.tolist(), strict=True)
    ) == {(k[1], k[3]) for k in plain if k[2] == "a/s/L01"}, (
        "another model changes nothing within this one"
    )


def test_the_controls_equal_the_plain_ones():
    import zlib

    rng = np.random.default_rng(13)
    first = random_lists(rng, "a/s/L00", 50, low=5, high=9)
    second, _ = with_partners(rng, first, 0.6, "b/s/L00", 0)
    found = match([first, second], alpha=0.3, draws=12, best=1000)
    (family,), (compared,) = found.families, found.compared
    draws = [
        as_dicts(shuffled(second, np.random.default_rng([0, zlib.crc32(b"b/s/L00"), d])))
        for d in range(family.draws)
    ]

    def kind(x, y):
        return (size_class(np.array([len(x)]))[0], size_class(np.array([len(y)]))[0])

    null = {}
    for lists in draws:
        for x, y in itertools.product(as_dicts(first), lists):
            null.setdefault(kind(x, y), []).append(plain_overlap(x, y))
    null = {k: np.array(v) for k, v in null.items()}
    passes = [
        [
            [
                (
                    (1 + (null[kind(x, y)] >= s).sum()) / (1 + null[kind(x, y)].size)
                    <= family.p_threshold
                    if (s := plain_overlap(x, y))
                    else False
                )
                for y in lists
            ]
            for x in as_dicts(first)
        ]
        for lists in draws[:6]
    ]
    assert family.draws == 12 and np.sum(passes) > 0
    classes = 1 + int(max(size_class(first.sizes).max(), size_class(second.sizes).max()))
    every = against_random(
        first,
        second,
        [
            by_gene(shuffled(second, np.random.default_rng([0, zlib.crc32(b"b/s/L00"), d])), 400)
            for d in range(12)
        ],
        classes,
    )
    table = PTable.of([every])
    left, right = table.share(every, family.p_threshold)
    np.testing.assert_array_equal(left[:6], np.any(passes, axis=2))
    np.testing.assert_array_equal(right[:6], np.any(passes, axis=1))
    assert compared.null_share_first == left.mean() and compared.null_share_second == right.mean()
    assert table.passing(every, family.p_threshold) == compared.null_pairs == family.null_pairs
    hits = [
        sum(
            (1 + (null[k] >= s).sum()) / (1 + null[k].size) <= family.p_threshold
            for x, y in itertools.product(as_dicts(first), lists)
            if (s := plain_overlap(x, y))
            for k in [kind(x, y)]
        )
        for lists in draws
    ]
    assert compared.null_pairs == pytest.approx(np.mean(hits))


def test_planted_pairs_are_found_and_few_others():
    """False share of what passes, over repeats: at most the nominal one within the error of
    counting.
    """
    false = all_ = hit = planted = 0
    for seed in range(8):
        rng = np.random.default_rng([4, seed])
        first = random_lists(rng, "a/s/L00", 200, low=8, high=20)
        second, truth = with_partners(rng, first, 0.4, "b/s/L00", 0)
        found = match([first, second], alpha=0.05, draws=5, seed=seed).pairs
        pairs = set(zip(found.first_feature.tolist(), found.second_feature.tolist(), strict=True))
        right = pairs & set(truth.items())
        false, all_, hit, planted = (
            false + len(pairs - right),
            all_ + len(pairs),
            hit + len(right),
            planted + len(truth),
        )
    assert hit / planted > 0.9
    # 600 pairs pass; two standard errors of 5 % among so many are 1.8 %
    assert all_ > 400 and false / all_ < 0.05 + 2 * math.sqrt(0.05 / all_)


def test_no_truth_gives_nothing():
    """Under no relation at all BH lets anything pass in at most a share alpha of the studies."""
    studies = 60
    any_ = 0
    for seed in range(studies):
        rng = np.random.default_rng([5, seed])
        lists = [random_lists(rng, f"{m}/s/L00", 60, high=12, popular=1.7) for m in "ab"]
        any_ += bool(match(lists, alpha=0.2, draws=20, seed=seed).pairs.p.size)
    # binomial, 60 studies at 0.2: 20 or more has probability 0.01
    assert any_ < 20


def test_p_is_uniform_where_there_is_no_relation():
    """The share of pairs with p at most x is about x, in every stratum; frequent genes do not make
    it larger.
    """
    rng = np.random.default_rng(6)
    one, other = (random_lists(rng, f"{m}/s/L00", 500, popular=1.8) for m in "ab")
    classes = 1 + int(max(size_class(one.sizes).max(), size_class(other.sizes).max()))
    random = against_random(
        one,
        other,
        [by_gene(shuffled(other, np.random.default_rng(k)), 400) for k in range(10)],
        classes,
    )
    table = PTable.of([random])
    i, j, s = (np.concatenate(x) for x in zip(*overlaps(one, by_gene(other, 400)), strict=True))
    p = table.p[random.strata.cells(i, j, s)]
    for x in (0.05, 0.01, 0.001):
        share = (p <= x).sum() / (500 * 500)
        # lists are drawn 500 times a side, so pairs are not independent; 15 repeats of this
        # simulation spread by 10 % at 0.001
        assert share == pytest.approx(x, rel=0.3)


def test_strata_hold_every_pair_once():
    strata = Strata(np.array([0, 1, 1]), np.array([2, 0]), 3)
    assert strata.pairs().sum() == 6 and strata.pairs().reshape(3, 3).tolist() == [
        [1, 0, 1],
        [2, 0, 2],
        [0, 0, 0],
    ]
    empty = Random(
        strata,
        np.zeros(0, int),
        np.zeros(0, int),
        np.zeros((1, 3, 3), np.int16),
        np.zeros((1, 2, 3), np.int16),
    )
    assert PTable.of([empty]).p.reshape(9, -1)[:, 0].tolist() == [1.0] * 9


def test_size_classes_and_draws():
    assert size_class(np.array([3, 4, 5, 6, 7, 10, 11, 15, 16, 22, 23])).tolist() == [
        0,
        0,
        1,
        1,
        2,
        2,
        3,
        3,
        4,
        4,
        5,
    ]
    assert draws_needed([(4500, 4500)] * 10, 5, 0.01) == 5
    assert draws_needed([(100, 400)], 5, 0.01) == 80 and draws_needed([(4, 4)], 5, 0.01) == 200


def test_at_most_best_partners_and_the_controls():
    rng = np.random.default_rng(8)
    first = random_lists(rng, "a/s/L00", 60, low=10, high=20)
    copies = [with_partners(rng, first, 1.0, "a/s/L01", 1)[0] for _ in range(4)]
    columns = [
        (np.repeat(c.features + 1000 * k, c.sizes), c.genes, c.ranks + 1, c.weights.astype(float))
        for k, c in enumerate(copies)
    ]
    second = gene_lists("a/s/L01", "a", 1, *(np.concatenate(c) for c in zip(*columns, strict=True)))
    everything = match([first, second], best=100, alpha=0.01)
    two = match([first, second], best=2, alpha=0.01)
    assert np.bincount(everything.pairs.first_feature).max() >= 4
    assert np.bincount(two.pairs.first_feature).max() == 2
    kept = set(
        zip(two.pairs.first_feature.tolist(), two.pairs.second_feature.tolist(), strict=True)
    )
    for feature in np.unique(everything.pairs.first_feature):
        mine = np.flatnonzero(everything.pairs.first_feature == feature)
        mine = mine[
            np.lexsort(
                (
                    everything.pairs.second_feature[mine],
                    -everything.pairs.overlap[mine],
                    everything.pairs.p[mine],
                )
            )
        ][:2]
        assert {(int(feature), int(j)) for j in everything.pairs.second_feature[mine]} >= {
            x for x in kept if x[0] == feature
        }
    (family,) = two.families
    (compared,) = two.compared
    assert family.passing == compared.passing == everything.pairs.p.size, (
        "what passes does not depend on what is kept"
    )
    assert compared.share_first > 0.9 and compared.null_share_first < 0.2
    assert family.null_pairs <= 0.05 * family.passing
    assert (
        family.share_first
        == family.share_second
        == pytest.approx((compared.share_first * 60 + compared.share_second * 240) / 300)
    )


def test_one_model_is_not_compared_with_itself_when_not_wanted():
    rng = np.random.default_rng(2)
    lists = [random_lists(rng, "a/s/L00", 30), random_lists(rng, "a/s/L01", 30, layer=1)]
    with pytest.raises(ValueError, match="no two that can be compared"):
        match(lists, within_model=False)
    both = match([*lists, random_lists(rng, "b/s/L00", 30)], within_model=False)
    assert [(c.first, c.second) for c in both.compared] == [
        ("a/s/L00", "b/s/L00"),
        ("a/s/L01", "b/s/L00"),
    ]


def test_seeds():
    rng = np.random.default_rng(12)
    first = random_lists(rng, "a/s/L00", 60, low=8)
    second, _ = with_partners(rng, first, 0.5, "b/s/L00", 0)
    one, again, other = (match([first, second], seed=s, alpha=0.5) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.pairs.p, again.pairs.p)
    assert one.families[0].null_pairs != other.families[0].null_pairs

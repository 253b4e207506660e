"""Consensus of domain pairs: a shared circuit is found, random targets are not called enriched, and
the published null calls them so.
"""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import poisson

from scircuit.analysis.coherence.strata import strata
from scircuit.analysis.consensus.common_pairs import common_pairs
from scircuit.analysis.consensus.compared_run import ComparedRun
from scircuit.analysis.consensus.domain_pairs import consensus, permuted_names
from scircuit.analysis.consensus.pair_maximum import PairMaximum, family_p
from scircuit.analysis.consensus.rule_survival import chance_overlap, rule_survival
from tests.analysis.coherence.worlds import arrays, inputs, wire, world

LABELS, COMMON = 300, 40


def labels_of(w, rng, power, labels=LABELS):
    """Labels as popular as those of atlases: a few have many features, most have one."""
    weight = np.arange(1, labels + 1.0) ** -power
    drawn = rng.choice(labels, w.nodes.id.size, p=weight / weight.sum())
    return np.array([f"process {t}" for t in drawn], dtype=object)


def run_of(
    rng, model, rule=(), share=0.0, edges=900, alike=True, power=0.5, features=120, labels=LABELS
):
    """A run; of its edges a `share` goes from a label of `rule` to the label that it names."""
    w = world(rng, features, 10, model)
    label = labels_of(w, rng, power, labels)
    source, target = wire(w, rng, edges) if alike else _uniform(w, rng, edges)
    if share:
        to = dict(rule)
        for i in np.flatnonzero(rng.random(source.size) < share):
            wanted = to.get(label[source[i]])
            later = np.flatnonzero((w.nodes.layer > w.nodes.layer[source[i]]) & (label == wanted))
            if later.size:
                target[i] = rng.choice(later)
    pairs = np.unique(np.stack([source, target]), axis=1)
    annotation = pd.DataFrame({"id": w.nodes.id, "annotated": True, "label": label})
    return ComparedRun(inputs(w, (pairs[0], pairs[1]), annotation=annotation))


def _uniform(w, rng, edges):
    source = rng.choice(np.flatnonzero(w.nodes.traced), edges)
    later = [rng.choice(np.flatnonzero(w.nodes.layer > w.nodes.layer[s])) for s in source]
    return source, np.array(later)


def nulls(a, b, draws=59):
    found = consensus(a, b, draws=draws)
    frame = found.finding.frame
    return found, frame[frame["counted"] == "edges"].groupby("null")


def test_random_targets_are_enriched_by_the_published_null_only():
    """20 pairs of graphs with random targets: by ours 1 fold, and p below 0.05 in at most 4 of them
    (a binomial of 0.05 exceeds that once in 400); by the permutation of names many fold.
    """
    folds, pairs, p, published = [], [], [], []
    for seed in range(20):
        rng = np.random.default_rng([3, seed])
        a = run_of(rng, "one", alike=seed % 2 == 0, power=1)
        b = run_of(rng, "two", alike=False, power=1)
        found, by_null = nulls(a, b)
        ours = pd.concat([by_null.get_group(n) for n in ("targets resampled", "edges rewired")])
        folds.append(ours.fold.to_numpy())
        p.append(by_null.p.max()[["targets resampled", "edges rewired"]].to_numpy())
        frame = found.finding.frame
        ours = frame[(frame["counted"] == "pairs") & (frame["null"] != "names permuted")]
        pairs.append(ours.fold.to_numpy())
        published.append(float(frame[frame["null"] == "names permuted"].fold.iloc[0]))
    assert np.mean(folds, axis=0) == pytest.approx(1, abs=0.05)
    assert ((np.array(p) <= 0.05).sum(0) <= 4).all()
    assert np.mean(pairs, axis=0) == pytest.approx(1, abs=0.05)
    assert min(published) > 3


def test_a_shared_circuit_is_found():
    """About a tenth of the edges of both follow one rule from label to label: 90 % of the tests of
    8 worlds find it. Where the two follow different rules, hardly any does.
    """
    found, apart = [], []
    for seed in range(8):
        rng = np.random.default_rng([4, seed])
        rule = list(enumerate(rng.permutation(COMMON)))
        named = [(f"process {i}", f"process {j}") for i, j in rule]
        other = [(f"process {i}", f"process {(j * 7 + 3) % COMMON}") for i, j in rule]
        a = run_of(rng, "one", named, 0.6)
        both, by_null = nulls(a, run_of(rng, "two", named, 0.6))
        found.append(by_null.p.max()[["targets resampled", "edges rewired"]].to_numpy())
        _, by_null = nulls(a, run_of(rng, "two", other, 0.6))
        apart.append(by_null.p.max()[["targets resampled", "edges rewired"]].to_numpy())
    assert (np.array(found) <= 0.05).mean() >= 0.9
    assert (np.array(apart) <= 0.05).mean() <= 0.3
    json.dumps(dict(both.finding.numbers), allow_nan=False)
    assert "single pairs stand out" in both.finding.sentence
    assert len(both.finding.plot().get_yticklabels()) == 9
    # the pairs are those of a plain loop
    assert len(both.pairs) == both.finding.numbers["common"]


@pytest.mark.parametrize(
    ("power", "share", "least", "most"), [(0.5, 0.2, 5, 7), (1.0, 0.6, 4, 6), (1.0, 0.2, 0, 2)]
)
def test_power_falls_with_frequent_labels_and_weak_rules(power, share, least, most):
    """Worlds of 8 in which both nulls find a rule that both runs follow: 8 with sparse labels and 8
    % of the edges by the rule (the test above), 6 with 4 %; with labels of which a few have most
    features 5 with 17 %, and 1 with 8 %.
    """
    found = 0
    for seed in range(8):
        rng = np.random.default_rng([4, seed])
        rule = list(enumerate(rng.permutation(COMMON)))
        named = [(f"process {i}", f"process {j}") for i, j in rule]
        runs = [run_of(rng, name, named, share, power=power) for name in ("one", "two")]
        _, by_null = nulls(*runs)
        found += bool((by_null.p.max()[["targets resampled", "edges rewired"]] <= 0.05).all())
    assert least <= found <= most, found


def clear_pairs(seed, rule, share, draws=39):
    """Pairs of two runs with more than 1,000 in common, and those that stand out."""
    rng = np.random.default_rng([11, seed])
    size = {"edges": 9000, "features": 600, "labels": 200}
    a, b = (run_of(rng, name, rule, share, **size) for name in ("one", "two"))
    found = consensus(a, b, draws=draws)
    assert len(found.pairs) > 1000
    clear = found.pairs[found.pairs.p_family <= 0.05]
    assert f"{len(clear)} of {len(found.pairs):,} single pairs stand out" in found.finding.sentence
    return found, {(s, t) for s, t in zip(clear.source_label, clear.target_label, strict=True)}


def test_single_pairs_among_many_are_called_with_a_p_over_all_of_them():
    """Of five pairs of labels that 30 % of the edges from the first label follow in both runs, at
    least 60 % are found in 2 worlds and at most 2 others; without a rule none is called.
    Benjamini-Hochberg over the p of single pairs calls none.
    """
    rule = [(f"process {i}", f"process {i + 20}") for i in range(5)]
    hits, others = 0, 0
    for seed in range(2):
        found, clear = clear_pairs(seed, rule, 0.3)
        hits += len(clear & set(rule))
        others += len(clear - set(rule))
        assert found.pairs.q.min() > 0.05
    assert hits >= 6 and others <= 2, (hits, others)
    assert not clear_pairs(100, (), 0.0)[1]


def test_without_a_rule_any_pair_is_called_at_the_nominal_rate():
    """Labels exchanged within strata, 200 worlds of 400 pairs: any pair of one run has a
    family-wise p of at most 0.05 in 2 to 19 of them (10 expected; each bound is passed once in
    300).
    """
    rng, labels = np.random.default_rng(15), 20
    label = np.sort(rng.integers(0, labels, 120) ** 2 // labels)
    stratum, called = rng.integers(0, 6, 120), 0
    order = np.argsort(stratum, kind="stable")
    label, stratum = label[order], stratum[order]
    for _ in range(200):
        source, target = np.unique(rng.integers(0, [labels, 120], (300, 2)), axis=0).T
        family = np.arange(labels * labels)
        one = PairMaximum(family, labels, source, stratum[target], label, stratum)
        codes = [
            source * labels + label[np.argsort(stratum + rng.random(120))][target]
            for _ in range(40)
        ]
        largest = np.array([one.largest(code) for code in codes])
        called += bool(family_p(largest[:1], largest[1:])[0] <= 0.05)
    assert 2 <= called <= 19, called


def test_features_reached_and_their_mean_are_those_of_plain_loops():
    rng = np.random.default_rng(12)
    a, b = run_of(rng, "one"), run_of(rng, "two")
    found = consensus(a, b, draws=9).pairs.set_index(["source_label", "target_label"])
    for run, which in ((a, "first"), (b, "second")):
        label, edges = run.labels, run.edges
        nodes = run.inputs.nodes
        stratum = strata(
            nodes.layer, np.ones(label.size, int), nodes.firing_rate, np.ones(label.size, bool)
        )
        joined = {(label[s], t) for s, t in zip(edges.source, edges.target, strict=True)}
        for (x, y), row in found.iterrows():
            mine = [t for name, t in joined if name == x]
            assert row[f"targets_{which}"] == sum(label[t] == y for t in mine)
            mean = sum(float(np.mean(label[stratum == stratum[t]] == y)) for t in mine)
            assert row[f"expected_{which}"] == pytest.approx(mean)


def test_the_family_wise_p_is_that_of_a_plain_count():
    rng = np.random.default_rng(13)
    largest, size = rng.random(50).round(1), rng.random(20).round(1)
    plain = [(1 + sum(d >= s for d in largest)) / 51 for s in size]
    np.testing.assert_allclose(family_p(size, largest), plain)
    family = np.array([3, 5, 8])
    one = PairMaximum(
        family, 3, np.array([1, 1, 2]), np.array([0, 0, 0]), np.array([0, 1, 2]), np.zeros(3, int)
    )
    # of label 1 two targets, each with label 2 in a third of the draws; of label 2 one
    reached = one.reached(np.array([5, 5, 8]), np.array([5, 8]))
    assert reached.count.tolist() == [2, 1]
    np.testing.assert_allclose(reached.expected, [2 / 3, 1 / 3])
    wanted = [-np.log(poisson.sf(c - 1, m)) for c, m in ((2, 2 / 3), (1, 1 / 3))]
    np.testing.assert_allclose(reached.size, wanted)
    assert one.largest(np.array([5, 5, 8, 7])) == pytest.approx(max(wanted))
    assert one.largest(np.array([], int)) == 0.0
    many = np.repeat(5, 12)  # beyond the table
    assert one.largest(many) == pytest.approx(-np.log(poisson.sf(11, 2 / 3)))


def test_common_pairs_are_drawn_and_told():
    rng = np.random.default_rng(14)
    found = consensus(run_of(rng, "one"), run_of(rng, "two"), draws=9)
    finding = common_pairs(found.pairs, found.finding.null)
    assert "family-wise p = " in finding.sentence
    assert len(finding.plot().get_yticklabels()) == min(len(found.pairs), 12)
    none = common_pairs(found.pairs.iloc[:0], "n")
    assert not none.drawn and "no domain pair is in both runs" in none.sentence


def test_common_pairs_and_counts_are_those_of_plain_sets():
    rng = np.random.default_rng(5)
    a, b = run_of(rng, "one"), run_of(rng, "two")
    found = consensus(a, b, draws=9)
    sets = []
    for run in (a, b):
        label = run.labels
        counts: dict[tuple[str, str], int] = {}
        for s, t in zip(run.edges.source, run.edges.target, strict=True):
            counts[label[s], label[t]] = counts.get((label[s], label[t]), 0) + 1
        sets.append(counts)
    common = set(sets[0]) & set(sets[1])
    rows = found.pairs.set_index(["source_label", "target_label"])
    assert set(rows.index) == common
    assert {k: sets[0][k] for k in common} == rows.edges_first.to_dict()
    assert {k: sets[1][k] for k in common} == rows.edges_second.to_dict()


def test_permuted_names_against_a_plain_permutation():
    rng = np.random.default_rng(6)
    a, b = np.unique(rng.integers(0, 400, 60)), np.unique(rng.integers(0, 400, 80))
    draws = permuted_names(a, b, 20, 4000, 1)
    wanted, plain = {(c // 20, c % 20) for c in a}, []
    for _ in range(4000):
        name = rng.permutation(20)
        plain.append(len({(name[c // 20], name[c % 20]) for c in b} & wanted))
    # the difference of two means of 4,000 draws
    assert abs(draws.mean() - np.mean(plain)) < 5 * np.std(plain) * np.sqrt(2 / 4000)


def test_too_few_labelled_edges_are_said():
    rng = np.random.default_rng(7)
    a, b = run_of(rng, "one", edges=200), run_of(rng, "two", edges=4)
    found = consensus(a, b)
    assert "at least 10 are needed in each" in found.finding.sentence
    assert not len(found.pairs) and not found.finding.drawn


def test_overlap_by_chance_is_hypergeometric():
    rng = np.random.default_rng(8)
    family = np.sort(rng.integers(0, 6, 200))
    one, two = rng.random(200) < 0.4, rng.random(200) < 0.3
    mean, sd = chance_overlap(one, two, family)
    drawn = []
    for _ in range(4000):
        moved = one.copy()
        for f in range(6):
            at = np.flatnonzero(family == f)
            moved[at] = rng.permutation(one[at])
        drawn.append(int((moved & two).sum()))
    assert abs(np.mean(drawn) - mean) < 5 * sd / np.sqrt(4000)
    assert np.std(drawn) == pytest.approx(sd, rel=0.08)


CONFIG = SimpleNamespace(seed=0, q=0.05, min_support=6, min_effect=0.001)


def survival(rng, planted):
    """A run with legacy edges, of which computed edges are a random or a planted part."""
    w = world(rng, 80, 30)
    source, target = wire(w, rng, 1500)
    m = source.size
    is_legacy = rng.random(m) < 0.3
    computed = np.where(is_legacy, rng.random(m) < 0.5, False) if planted else rng.random(m) < 0.15
    columns = {
        "n": np.full(m, 20.0),
        "n_pos": np.where(is_legacy, 19.0, 10.0),
        "n_neg": np.where(is_legacy, 1.0, 10.0),
        "d": np.where(is_legacy, 1.0, 0.1),
        "mean": np.full(m, 0.5),
        "q": np.full(m, 0.01),
        "computed": np.full(m, 0.5),
        "computed_cells": np.full(m, 15.0),
        "q_computed": np.where(computed, 0.01, 0.9),
        "q_direct": np.full(m, 0.9),
        "scale": np.ones(m),
    }
    given = inputs(w, (source, target))
    from dataclasses import replace

    return replace(given, edges=arrays(source, target, **columns), called=computed), is_legacy


@pytest.mark.parametrize("planted", [False, True])
def test_what_survives_of_legacy_edges(planted):
    given, is_legacy = survival(np.random.default_rng(9), planted)
    found = rule_survival(given, CONFIG)
    rows = found.frame.set_index("other")
    assert rows.loc["legacy", "edges"] == is_legacy.sum()
    assert rows.loc["computed", "both"] == (is_legacy & given.called).sum()
    assert rows.loc["calibrated", "share"] == 1 and rows.loc["carried", "both"] == 0
    z = rows.loc["computed", "z"]
    assert z > 8 if planted else abs(z) < 4
    assert rows["coherence_expected"].dropna().between(0, 1).all()
    json.dumps(dict(found.numbers), allow_nan=False)
    assert f"of {is_legacy.sum():,} legacy edges" in found.sentence
    assert len(found.plot().patches) == 4


def test_no_legacy_edge_and_no_annotation():
    from dataclasses import replace

    given, _ = survival(np.random.default_rng(10), True)
    bare = rule_survival(replace(given, terms=None), CONFIG)
    assert bare.frame["coherence"].isna().all() and "specific term" not in bare.sentence
    none = given.edges._replace(d=np.zeros(given.edges.d.size))
    found = rule_survival(replace(given, edges=none), CONFIG)
    assert "selects none of the" in found.sentence and not found.drawn

"""Coherence: its value and its exact null against plain loops, planted coherence is found, edges
without it are not, and generic terms and ontologies do what they say.
"""

from __future__ import annotations

import json
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from scircuit.analysis.coherence import edge_coherence
from scircuit.analysis.coherence.edge_coherence import coherence
from scircuit.analysis.coherence.pair_nulls import pair_nulls
from scircuit.analysis.coherence.strata import strata
from scircuit.analysis.coherence.term_sets import term_sets
from scircuit.analysis.structure.layered_edges import circuit_edges
from tests.analysis.coherence.worlds import inputs, wire, world

SEED = SimpleNamespace(seed=0)


@pytest.fixture
def few(monkeypatch):
    """Enough draws for these tests."""
    monkeypatch.setattr(edge_coherence, "DRAWS", 199)


def nulls_of(w, pairs, draws=50, seed=0):
    given = inputs(w, pairs)
    sets = term_sets(w.terms, w.nodes.id.size)
    stratum = strata(w.nodes.layer, sets.size, w.nodes.firing_rate, sets.annotated)
    edges = circuit_edges(given)
    return (
        sets,
        stratum,
        edges,
        pair_nulls(edges, stratum, sets.shared, bits=2, draws=draws, seed=seed),
    )


def plain_sets(w):
    found = defaultdict(set)
    for feature, term in zip(w.terms.feature, w.terms.term, strict=True):
        found[feature].add(term)
    return found


def test_observed_and_expected_are_those_of_plain_loops():
    rng = np.random.default_rng(1)
    w = world(rng, 60, 12)
    pairs = wire(w, rng, 400, 0.3)
    _, stratum, edges, found = nulls_of(w, pairs, draws=3)
    has = plain_sets(w)
    for g, (first, last) in enumerate(zip(edges.start[:-1], edges.start[1:], strict=True)):
        here = list(zip(edges.source[first:last], edges.target[first:last], strict=True))
        assert found.observed[g, 0] == sum(bool(has[s] & has[t]) for s, t in here)
        chance = 0.0
        for s, t in here:
            others = [
                u
                for u in range(stratum.size)
                if stratum[u] == stratum[t] and w.nodes.layer[u] == w.nodes.layer[t]
            ]
            chance += np.mean([bool(has[s] & has[u]) for u in others])
        assert found.expected[g, 0] == pytest.approx(chance, rel=1e-12)
    by_source = np.zeros(w.nodes.id.size)
    for s, t in zip(*pairs, strict=True):
        by_source[s] += bool(has[s] & has[t])
    np.testing.assert_array_equal(found.by_source[0, :, 0], by_source)


def test_draws_have_the_exact_mean_and_rewired_edges_keep_every_degree():
    rng = np.random.default_rng(2)
    w = world(rng, 60, 12)
    pairs = wire(w, rng, 400, 0.3)
    seen = []

    sets, stratum, edges, found = nulls_of(w, pairs, draws=2000)
    draws = found.resampled[:, :, 0].sum(1)
    # five standard errors of the mean of 2,000 independent draws
    assert abs(draws.mean() - found.expected[:, 0].sum()) < 5 * draws.std() / np.sqrt(2000)

    def watched(sources, targets):
        table = sets.shared(sources, targets)
        seen.append((sources.size, targets.size))
        return table

    again = pair_nulls(edges, stratum, watched, bits=2, draws=3)
    np.testing.assert_array_equal(again.resampled, found.resampled[:3])
    np.testing.assert_array_equal(again.rewired, found.rewired[:3])
    assert len(seen) == len(found.layers)
    # a property that holds for one target is its in-degree: rewiring keeps it, resampling does not
    hub = int(np.bincount(edges.target).argmax())
    of_hub = pair_nulls(
        edges, stratum, lambda s, t: np.tile((t == hub).astype(np.uint8), (s.size, 1)), draws=40
    )
    degree = int((edges.target == hub).sum())
    assert of_hub.observed.sum() == degree
    assert (of_hub.rewired.sum((1, 2)) == degree).all()
    assert len(set(of_hub.resampled.sum((1, 2)))) > 3


def test_strata_are_of_one_layer_and_alike():
    rng = np.random.default_rng(3)
    layer, size = np.repeat([3, 5], 200), rng.integers(1, 40, 400)
    rate, eligible = rng.lognormal(-3, 1, 400), rng.random(400) < 0.8
    found = strata(layer, size, rate, eligible)
    assert ((found >= 0) == eligible).all()
    for s in range(found.max() + 1):
        members = np.flatnonzero(found == s)
        assert len(set(layer[members])) == 1 and 8 <= members.size < 16
    # knowing the stratum tells most of the firing rate
    ranks = pd.Series(rate[eligible]).rank()
    within = ranks.groupby(found[eligible]).transform("mean")
    assert np.corrcoef(ranks, within)[0, 1] > 0.85
    same = strata(layer, size, np.full(400, np.nan), eligible)
    assert same.max() < found.max() and ((same >= 0) == eligible).all()


def p_values(planted, worlds, few_edges=400):
    found = []
    for seed in range(worlds):
        rng = np.random.default_rng([7, seed])
        w = world(rng, 80, 20)
        result = coherence(inputs(w, wire(w, rng, few_edges, planted)), SEED)
        found.append([result.numbers["specific"][k] for k in ("p", "p_rewired")])
    return np.array(found)


def test_planted_coherence_is_found_and_its_absence_is_not_called(few):
    """One edge in ten goes to a target of the same process: power at 0.05 is 0.9 or more over 10
    worlds (measured 1.0); without, 60 worlds have p below 0.05 as often as chance (at most 8, which
    a binomial of 0.05 exceeds once in 300).
    """
    power = (p_values(0.1, 10) <= 0.05).mean(0)
    assert (power >= 0.9).all()
    p = p_values(0.0, 60)
    assert ((p <= 0.05).sum(0) <= 8).all()
    assert ((p <= 0.5).mean(0) > 0.3).all() and ((p <= 0.5).mean(0) < 0.7).all()


def test_selected_sources_are_no_coherence(few):
    """Sources with many terms share some with a third of all targets: the share is high, and the
    null as high.
    """
    rng = np.random.default_rng(5)
    w = world(rng, 100, 20)
    rows = [(i, f"lib:{t}") for i in range(30) for t in rng.permutation(20)[:7]]
    more = pd.DataFrame(rows, columns=["feature", "term"]).assign(name="x", library="lib", q=0.01)
    terms = pd.concat([w.terms, more]).drop_duplicates(["feature", "term"])
    source = np.repeat(np.arange(30), 20)
    target = 100 + rng.integers(0, 200, 600)
    pairs = tuple(np.unique(np.stack([source, target]), axis=1))
    found = coherence(inputs(w._replace(terms=terms), pairs), SEED).numbers["all"]
    assert found["observed"] > 0.4 and found["fold"] == pytest.approx(1, abs=0.15)
    assert found["p"] > 0.01 and found["p_rewired"] > 0.01


def test_generic_terms_stand_apart(few):
    rng = np.random.default_rng(6)
    w = world(rng, 100, 30)
    half = np.flatnonzero(rng.random(300) < 0.5)
    placeholder = pd.DataFrame(
        {"feature": half, "term": "TRRUST:edges", "name": "pairwise enrichment"}
    ).assign(library="TRRUST", q=0.01)
    pairs = wire(w, rng, 600)
    before = coherence(inputs(w, pairs), SEED)
    terms = pd.concat([w.terms, placeholder], ignore_index=True)
    found = coherence(inputs(w._replace(terms=terms), pairs), SEED)
    assert found.numbers["generic_terms"] == ["pairwise enrichment"]
    assert found.numbers["all"]["observed"] > before.numbers["all"]["observed"] + 0.15
    for key in ("coherent", "observed"):
        assert found.numbers["specific"][key] == before.numbers["specific"][key]
    assert "generic terms included (pairwise enrichment)" in found.sentence


def test_a_common_ancestor_counts_where_it_is_informative(few):
    """Two terms of a small branch are alike, two that only share the root are not."""
    rng = np.random.default_rng(8)
    w = world(rng, 100, 40)
    terms = pd.DataFrame(
        {"feature": np.arange(300), "term": [f"GO:{t}" for t in rng.integers(0, 40, 300)]}
    ).assign(name=lambda f: f.term, library="GO", q=0.01)
    parents = {f"GO:{t}": [f"branch:{t // 2}"] for t in range(40)}
    parents |= {f"branch:{b}": ["root"] for b in range(20)}
    term = terms["term"].str[3:].astype(int).to_numpy()
    sets = term_sets(terms, 300, parents)
    assert sets.kinds == ("all", "specific", "ontology")
    got = sets.shared(np.arange(50), np.arange(100, 200))
    same = term[:50, None] == term[None, 100:200]
    branch = term[:50, None] // 2 == term[None, 100:200] // 2
    # a branch that more than a twentieth of the features are in is not informative
    rare = np.array([(term // 2 == b).sum() <= 15 for b in range(20)])
    np.testing.assert_array_equal(got & 1 > 0, same)
    np.testing.assert_array_equal(got & 4 > 0, same | (branch & rare[term[:50] // 2][:, None]))
    assert 0 < rare.sum() < 20  # both kinds are there
    pairs = wire(w, rng, 500)
    found = coherence(inputs(w._replace(terms=terms), pairs, parents=parents), SEED)
    assert set(found.frame.terms) == {"all", "specific", "ontology"}
    assert "with ancestors of the terms" in found.sentence


def test_nothing_depends_on_the_order_of_edges_and_terms(few):
    rng = np.random.default_rng(9)
    w = world(rng, 60, 12)
    source, target = wire(w, rng, 300, 0.2)
    found = coherence(inputs(w, (source, target)), SEED)
    order = rng.permutation(source.size)
    shuffled = w._replace(terms=w.terms.sample(frac=1, random_state=1))
    again = coherence(inputs(shuffled, (source[order], target[order])), SEED)
    pd.testing.assert_frame_equal(found.frame, again.frame)
    assert found.records["Feature"].equals(again.records["Feature"])


def test_records_have_the_share_of_every_source(few):
    rng = np.random.default_rng(10)
    w = world(rng, 60, 40)
    pairs = wire(w, rng, 300, 0.5)
    found = coherence(inputs(w, pairs), SEED)
    rows = found.records["Feature"].to_pandas().set_index("id")
    has = plain_sets(w)
    shares = defaultdict(list)
    for s, t in zip(*pairs, strict=True):
        shares[w.nodes.id[s]].append(bool(has[s] & has[t]))
    assert {k: np.mean(v) for k, v in shares.items()} == pytest.approx(rows.coherence.to_dict())
    assert rows.coherence.mean() > rows.coherence_expected.mean()
    json.dumps(dict(found.numbers), allow_nan=False)
    ax = found.plot()
    assert len(ax.get_xticklabels()) == 4


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"terms": None}, "the features were not annotated"),
        ({"empty": True}, "0 of 0 computed edges have a term at both ends"),
        ({"terms": "none"}, "0 of 200 computed edges"),
    ],
)
def test_what_cannot_be_tested_is_said(change, why):
    rng = np.random.default_rng(11)
    w = world(rng, 40, 12)
    pairs = wire(w, rng, 900)
    pairs = (pairs[0][:200], pairs[1][:200])
    if change.pop("empty", False):
        pairs = (np.zeros(0, np.int64), np.zeros(0, np.int64))
    if change.get("terms") == "none":
        change["terms"] = w.terms.iloc[:0]
    found = coherence(inputs(w, pairs, **change), SEED)
    assert why in found.sentence and not len(found.frame) and not found.drawn
    with pytest.raises(ValueError, match="not tested"):
        found.plot()


def test_one_layer_pair_and_one_feature_a_stratum_give_a_sentence(few):
    """Where no other feature can stand for a target, the null is the observation."""
    rng = np.random.default_rng(12)
    w = world(rng, 40, 12)
    source, target = np.repeat(np.arange(12), 1), np.full(12, 40)
    terms = w.terms[(w.terms.feature < 12) | (w.terms.feature == 40)]
    found = coherence(inputs(w, (source, target), terms=terms), SEED)
    assert "12 edges have a target that no other feature can stand for" in found.sentence
    assert found.numbers["specific"]["p"] == 1.0

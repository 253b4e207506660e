"""Disease sets: enriched features as in a plain loop, planted hubs and links found, random sets at
the nominal rate, and edges that do not choose the features.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, stats

from scircuit.analysis.circuit_inputs import CircuitInputs
from scircuit.analysis.circuits.degree import EdgeArrays, FeatureArrays
from scircuit.analysis.disease import disease_tests, more_draws
from scircuit.analysis.disease.disease_finding import disease_finding
from scircuit.analysis.disease.disease_tests import (
    DiseaseCircuit,
    _GeneNull,
    enriched_features,
    gene_draws,
)
from scircuit.analysis.disease.more_draws import Alike, go_on
from scircuit.analysis.enrichment.gene_term_matrix import build
from scircuit.analysis.gene_predictions.gene_weights import gene_weights
from scircuit.analysis.genesets.library import GeneSetLibrary, Term
from scircuit.core.edge_rules import COMPUTED
from scircuit.core.errors import UserError

GENES = [f"G{i}" for i in range(120)]
KINDS = [GENES[12 * k : 12 * k + 12] for k in range(10)]


def library(sets):
    terms = tuple(Term(f"D{i}", f"disease {i}", tuple(genes)) for i, genes in enumerate(sets))
    return GeneSetLibrary("mine", "mine.gmt", "", "", "", terms)


def kinds(number):
    return [[f"G{12 * k + i}" for i in range(12)] for k in range(number)]


def world(seed, hubs=0.0, linked=0.0, kinds_of=10):
    """200 sources in layers 0 and 1, 200 targets in layer 2, or 800 of both with 100 kinds;
    a feature lists genes of its kind. Features of kind 0 have more edges (`hubs`, log ratio), and
    those into features of their own kind (`linked`, share)."""
    rng = np.random.default_rng(seed)
    half = 200 if kinds_of == 10 else 8 * kinds_of
    n = 2 * half
    kind = rng.integers(0, 10, n) if kinds_of == 10 else np.arange(n) % kinds_of
    layer = np.repeat([0, 1, 2], [half // 2, half // 2, half])
    own, genes = kinds(kinds_of), [g for k in kinds(kinds_of) for g in k]
    names = [f"m/d/L{layer[i]:02d}/F{i:04d}" for i in range(n)]
    lists = {
        name: [*rng.permutation(own[k])[:5], *rng.choice(genes, 2)]
        for name, k in zip(names, kind, strict=True)
    }
    rate = rng.uniform(0.01, 0.3, n)
    edges = set()
    for s in range(half):
        many = rng.poisson(12 * np.exp(hubs * (kind[s] == 0)) * (0.5 + 3 * rate[s]))
        for _ in range(many):
            same = kind[s] == 0 and rng.random() < linked
            pool = half + np.flatnonzero(kind[half:] == 0) if same else np.arange(half, n)
            edges.add((s, int(rng.choice(pool))))
    source, target = np.array(sorted(edges)).T
    columns = {f: np.zeros(source.size) for f in EdgeArrays._fields}
    return CircuitInputs(
        "predict-1",
        FeatureArrays(np.array(names, object), layer, rate, layer < 2, np.ones(n)),
        EdgeArrays(**columns | {"source": source, "target": target}),
        np.ones(source.size, bool),
        COMPUTED,
        genes=lists,
    )


def found(inputs, sets, draws=199, seed=0):
    return disease_finding(inputs, [library(sets)], draws=draws, seed=seed)


def test_enriched_features_are_those_of_a_plain_loop():
    inputs = world(1)
    weights = gene_weights(inputs.nodes.id.tolist(), inputs.genes, 10)
    incidence = build([library(KINDS)], weights.genes, min_size=2, max_size=500)
    members = enriched_features(weights.member.astype(np.int32), incidence, 0.05, 0)
    p = np.array(
        [
            [
                stats.hypergeom.sf(
                    len(set(g) & set(k)) - 1, len(weights.genes), len(k), len(set(g))
                )
                for k in KINDS
            ]
            for g in inputs.genes.values()
        ]
    )
    good = stats.false_discovery_control(p.ravel()).reshape(p.shape) <= 0.05
    mine = np.zeros_like(good)
    mine[members.row, members.column] = True
    np.testing.assert_array_equal(mine, good)
    assert good.sum() > 200 and members.expected.sum() < 0.1 * good.sum()


def test_planted_hubs_and_links_are_found_and_no_other_set():
    """Ten circuits: degree twice as high and half of the edges into the own kind. Both are found in
    9 or more, and of the 90 other sets at most 4 are called in either question."""
    hits, others = np.zeros(2, int), np.zeros(2, int)
    for seed in range(10):
        frame = found(world(seed, hubs=0.7, linked=0.5), KINDS, seed=seed).frame
        for j, what in enumerate(("q_residual", "q_links")):
            called = frame[what] <= 0.05
            hits[j] += bool(called[0])
            others[j] += called[1:].sum()
    assert (hits >= 9).all() and (others <= 4).all(), (hits, others)


def test_circuits_without_structure_call_sets_at_the_nominal_rate():
    """p of 100 sets in 10 circuits: at most 5 % of both (the larger of two p is below that); P(more
    than 11 of 100 | 0.05) < 0.01."""
    small = np.zeros(2, int)
    for seed in range(10):
        frame = found(world(100 + seed), KINDS, draws=99, seed=seed).frame
        for j, what in enumerate(("residual", "links")):
            p = frame[[f"p_{what}_features", f"p_{what}_genes"]].max(axis=1)
            small[j] += (p <= 0.05).sum()
    assert (small <= 11).all(), small


def test_p_of_random_sets_is_that_of_a_plain_loop():
    inputs = world(3, hubs=0.5, linked=0.3)
    nodes, edges = inputs.nodes, inputs.edges
    weights = gene_weights(nodes.id.tolist(), inputs.genes, 10)
    incidence = build([library(KINDS)], weights.genes, min_size=2, max_size=500)
    residual = np.where(nodes.traced, np.random.default_rng(1).normal(size=nodes.id.size), np.nan)
    null = _GeneNull(
        DiseaseCircuit(
            weights.member.astype(np.int32), incidence, edges.source, edges.target,
            nodes.layer, nodes.firing_rate, residual,
        )
    )  # fmt: skip
    random, own = null.random_sets(0, 60, 0), null.genes(0)
    often = weights.member.sum(axis=0)
    assert len(random) == 60 and all(len(set(r)) == len(own) for r in random.tolist())
    assert np.abs(often[0, random].sum(axis=1) / often[0, own].sum() - 1).max() < 0.25
    lists = [[weights.genes.index(g) for g in set(inputs.genes[i])] for i in nodes.id]

    def mean(genes):
        k = [len(set(x) & set(genes)) for x in lists]
        traced = np.flatnonzero(nodes.traced)
        return sum(k[i] * residual[i] for i in traced) / sum(k[i] for i in traced)

    def links(genes):
        k = [len(set(x) & set(genes)) for x in lists]
        return sum(k[s] * k[t] for s, t in zip(edges.source, edges.target, strict=True))

    means, counts = (np.array([f(r.tolist()) for r in random]) for f in (mean, links))
    away = np.abs(means - means.mean()) >= abs(mean(own.tolist()) - means.mean())
    assert null.residual_p(0, random) == pytest.approx((1 + away.sum()) / 61)
    assert null.links_p(0, random) == (1 + (counts >= links(own.tolist())).sum()) / 61


def test_the_null_names_the_draws_that_were_made(monkeypatch):
    """Sets with many genes get fewer random sets; the finding says how many."""
    assert gene_draws(400, 1000) == 1000 and gene_draws(500, 1000) == 800
    assert gene_draws(2000, 1000) == 199 and gene_draws(2000, 50) == 50
    every = found(world(4), KINDS, draws=260)
    assert "as many features list, 260 draws; the larger" in every.null
    assert (every.frame["gene_draws"] == 260).all()
    monkeypatch.setattr(disease_tests, "_LOOKUPS", 12 * 12 * 250)
    sets = [*KINDS[:3], GENES[:20], ["X", "Y"]]
    few = found(world(4), sets, draws=260)
    drawn = few.frame["gene_draws"].dropna()
    assert sorted(set(drawn)) == [199, 250] and few.numbers["gene_draws_fewest"] == 199
    assert few.numbers["sets_with_fewer_gene_draws"] == len(drawn) == 4
    assert "260 draws (the 4 sets with most genes: 199 to 250); the larger" in few.null


def test_features_are_chosen_by_genes_and_not_by_edges():
    inputs = world(4)
    weights = gene_weights(inputs.nodes.id.tolist(), inputs.genes, 10)
    first = found(inputs, KINDS)
    fewer = CircuitInputs(
        "predict-1", inputs.nodes, inputs.edges, np.arange(inputs.called.size) % 3 == 0, COMPUTED,
        genes=inputs.genes,
    )  # fmt: skip
    again = found(fewer, KINDS)
    assert again.frame["features"].tolist() == first.frame["features"].tolist()
    every = first.records["Feature"].to_pandas()
    assert len(every) == inputs.nodes.id.size  # a row also without a set
    records = every[every["disease"].notna()]
    assert len(records) == first.numbers["features_enriched"] <= weights.listed.sum()
    assert set(records["disease"]) <= {f"disease {i}" for i in range(10)}
    assert (records["disease_q"] <= 0.05).all() and (records["prediction_run"] == "predict-1").all()
    assert first.plot() is not None


def test_links_are_counted_as_in_a_matrix():
    inputs = world(5)
    frame = found(inputs, KINDS).frame
    weights = gene_weights(inputs.nodes.id.tolist(), inputs.genes, 10)
    incidence = build([library(KINDS)], weights.genes, min_size=2, max_size=500)
    members = enriched_features(weights.member.astype(np.int32), incidence, 0.05, 0)
    n = inputs.nodes.id.size
    matrix = sparse.coo_matrix(
        (np.ones(inputs.edges.source.size), (inputs.edges.source, inputs.edges.target)), (n, n)
    ).toarray()
    for i in range(10):
        rows = members.row[members.column == i]
        assert frame["links"][i] == matrix[np.ix_(rows, rows)].sum()


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        ([GENES[:3]], "none of the 1 disease sets has 5 genes"),
        ([GENES[::12] + GENES[5::12]], "no set has 5 features or more"),
    ],
)
def test_sets_that_cannot_be_tested_are_said_to_be_so(sets, words):
    result = found(world(6), sets)
    assert words in result.sentence
    records = result.records["Feature"]
    enriched = records.num_rows - records["disease"].null_count
    assert enriched == result.numbers.get("features_enriched", 0)


def test_sets_of_other_genes_are_refused():
    with pytest.raises(UserError, match="0 of 3 genes"):
        found(world(6), [["X", "Y", "Z"]])


def test_one_linked_set_among_a_hundred_is_found_and_a_hub_too():
    """With 199 draws no set among a hundred could have q <= 0.05. Planted: kind 0 of 100 in
    two circuits. Both are found in both, and of the others at most 4 are called in a question."""
    hits, others = np.zeros(2, int), np.zeros(2, int)
    for seed in range(2):
        frame = found(world(seed, hubs=1.4, linked=0.3, kinds_of=100), kinds(100), seed=seed).frame
        assert frame["q_links"].notna().sum() > 80
        for j, what in enumerate(("q_residual", "q_links")):
            called = frame[what] <= 0.05
            hits[j] += bool(called[0])
            others[j] += called[1:].sum()
    assert (hits == 2).all() and (others <= 4).all(), (hits, others)


def test_a_hundred_sets_without_structure_are_called_at_the_nominal_rate():
    """Three circuits: BH calls any set in at most 5 % of them; P(more than 1 of 3 | 0.05) < 0.01.
    p <= 0.01 for at most 1 % of the 300 sets; P(more than 8 of 300) < 0.005."""
    any_called, small = np.zeros(2, int), np.zeros(2, int)
    for seed in range(3):
        frame = found(world(200 + seed, kinds_of=100), kinds(100), draws=99, seed=seed).frame
        for j, what in enumerate(("residual", "links")):
            any_called[j] += bool((frame[f"q_{what}"] <= 0.05).any())
            p = frame[[f"p_{what}_features", f"p_{what}_genes"]].max(axis=1)
            small[j] += (p <= 0.01).sum()
    assert (any_called <= 1).all() and (small <= 8).all(), (any_called, small)


def test_drawing_on_keeps_p_valid():
    """p of 20,000 sets whose chance of a hit is uniform: P(p <= t) <= t at every t, and reaches
    below what the first draws allow."""
    rng = np.random.default_rng(7)
    chances = rng.random(20_000)
    p = np.empty(chances.size)
    for i, chance in enumerate(chances.tolist()):
        first = (1 + rng.binomial(99, chance)) / 100
        p[i] = go_on(first, 99, 2_000, lambda n, c=chance: rng.random(n) < c).p
    for t in (0.001, 0.005, 0.01, 0.05, 0.1, 0.5):
        share, error = (p <= t).mean(), np.sqrt(t / chances.size)
        assert t - 4 * error <= share <= t + 3 * error, (t, share)


def test_features_alike_are_of_the_same_strata_each_once():
    strata = np.array([0, 0, 0, 1, 1, 2] + [3] * 500)
    own = np.array([0, 2, 4, 5, 6, 7, 8])
    drawn = Alike(strata).draw(own, 400, np.random.default_rng(0))
    assert all(len(set(row)) == own.size for row in drawn.tolist())
    assert (np.sort(strata[drawn], axis=1) == np.sort(strata[own])).all()
    often = np.bincount(drawn.ravel(), minlength=6)[:3] / 400
    np.testing.assert_allclose(often, 2 / 3, atol=0.1)  # four standard errors


def test_a_set_that_could_not_reach_q_is_not_called_unlinked(monkeypatch):
    """Where too few draws can be made the sentence says so, and not that none is linked."""
    monkeypatch.setattr(more_draws, "MOST_DRAWS", 300)
    planted = world(0, linked=0.7, kinds_of=100)
    few = found(planted, kinds(100))
    assert few.numbers["linked"] == 0 and few.numbers["links_undecided"] > 0
    assert "too few draws" in few.sentence and "0 are linked" not in few.sentence
    monkeypatch.undo()
    enough = found(planted, kinds(100))
    assert enough.numbers["linked"] > 0 and enough.numbers["links_undecided"] == 0
    assert "too few draws" not in enough.sentence

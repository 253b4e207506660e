"""Inequality of degrees, stability of hubs, signs and attenuation: formulas against slow ones, and
planted effects.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from scircuit.analysis.structure.attenuation import attenuation
from scircuit.analysis.structure.degree_inequality import degree_inequality, gini, skewness
from scircuit.analysis.structure.hub_stability import hub_stability
from scircuit.analysis.structure.rank_stability import rank_stability
from scircuit.analysis.structure.rate_null import degrees_by_rate, expected_by_rate
from scircuit.analysis.structure.sign_structure import sign_structure
from tests.analysis.structure.planted import CONFIG, features, inputs, random_edges

LAYER = np.repeat([0, 1, 2, 3], 50)


@pytest.mark.parametrize("seed", range(4))
def test_gini_and_skewness_by_definition(seed):
    x = np.random.default_rng(seed).poisson(3, 80) ** 2
    value, count = np.unique(x, return_counts=True)
    differences = np.abs(x[:, None] - x).sum()
    assert gini(value, count) == pytest.approx(differences / (2 * x.size * x.sum()))
    assert skewness(value, count) == pytest.approx(stats.skew(x))
    rows = np.stack([np.sort(x), np.sort(x)])
    np.testing.assert_allclose(gini(rows, np.ones(rows.shape, int)), [gini(value, count)] * 2)


def test_gini_at_its_ends():
    assert gini(np.array([7]), np.array([5])) == 0
    assert gini(np.array([0, 3]), np.array([9, 1])) == pytest.approx(0.9)
    assert np.isnan(gini(np.array([0]), np.array([5])))


def test_random_degrees_keep_the_edges_of_every_layer_and_follow_the_rate():
    rng = np.random.default_rng(0)
    rate, layer = rng.random(200), np.repeat([1, 2], 100)
    degree = rng.poisson(20 * rate)
    expected = expected_by_rate(degree, rate, layer)
    for value in (1, 2):
        assert expected[layer == value].sum() == pytest.approx(degree[layer == value].sum())
    drawn = np.concatenate(list(degrees_by_rate(expected, layer, 400, rng)))
    assert (drawn[:, layer == 1].sum(1) == degree[layer == 1].sum()).all()
    # 400 draws of Poisson-like counts: 5 standard errors
    assert (np.abs(drawn.mean(0) - expected) < 5 * np.sqrt(expected / 400) + 0.01).all()


def by_rate(seed, hubs):
    """Edges that follow the firing rate, and sources with ten times as many."""
    rng = np.random.default_rng(seed)
    rate = rng.uniform(0.05, 0.5, LAYER.size)
    many = np.where(np.arange(LAYER.size) < 50, rng.poisson(20 * rate), 0)
    many[:hubs] = many[:hubs] * 5 + 20
    pairs = [
        (a, b) for a in range(50) for b in rng.choice(np.arange(50, 200), many[a], replace=False)
    ]
    nodes = features(LAYER, rate, LAYER == 0)
    return inputs(nodes, *np.array(pairs).T)


def test_hubs_beyond_the_firing_rate_are_inequality_and_degrees_by_rate_are_not():
    p = [
        degree_inequality(by_rate(seed, hubs), CONFIG).frame.set_index(["degree", "measure"])["p"]
        for hubs in (6, 0)
        for seed in range(6)
    ]
    strong = [row["out-degree", "gini"] for row in p[:6]]
    none = [row["out-degree", "gini"] for row in p[6:]]
    assert max(strong) <= 0.05  # power 1 in six circuits
    assert sum(v <= 0.05 for v in none) <= 1  # six tests at 5 %


def test_constant_degrees_have_no_inequality_and_it_is_said():
    circuit = inputs(features([0, 0, 0, 1, 1, 1]), [0, 1, 2], [3, 4, 5])
    found = degree_inequality(circuit, CONFIG)
    assert "no inequality to measure" in found.sentence
    none = degree_inequality(inputs(features([0, 1]), [], []), CONFIG)
    assert none.sentence.startswith("inequality of degrees was not measured: none of 0")


def test_ranks_that_agree_and_ranks_that_do_not():
    rng = np.random.default_rng(1)
    true = rng.gamma(1.0, 20.0, 120)
    one, two = rng.poisson(true), rng.poisson(true)
    same = rank_stability(one, two, seed=1)
    assert same.rho == pytest.approx(stats.spearmanr(one, two)[0])
    assert same.p is not None and same.p <= 0.002 and same.low < same.rho < same.high  # type: ignore[operator]
    assert same.shared > 10 > 2 * same.shared_chance
    p = [rank_stability(rng.permutation(one), two, draws=99).p or 0 for _ in range(40)]
    assert sum(v <= 0.05 for v in p) < 7  # 40 at 5 %: 7 or more have probability 0.3 %


def test_the_interval_covers_the_truth():
    """Rank correlation of bivariate normal values with r = 0.6 is 6 / pi asin(0.3) = 0.582."""
    rng, inside = np.random.default_rng(2), 0
    for _ in range(40):
        x = rng.normal(size=150)
        y = 0.6 * x + 0.8 * rng.normal(size=150)
        found = rank_stability(x, y, draws=100)
        inside += found.low < 0.582 < found.high  # type: ignore[operator]
    assert inside >= 33  # 95 % of 40 is 38; 32 or fewer have probability 0.05 %


def test_agreement_by_firing_rate_alone_does_not_count_beyond_it():
    rng = np.random.default_rng(3)
    rate = rng.uniform(0.01, 1, 300)
    one, two = rng.poisson(40 * rate), rng.poisson(40 * rate)
    found = rank_stability(one, two, firing_rate=rate)
    assert found.rho > 0.8 and abs(found.beyond_rate) < 0.2  # type: ignore[operator, arg-type]


def test_features_that_cannot_be_compared_are_said():
    assert "ranks cannot be compared" in rank_stability(np.ones(9), np.arange(9)).sentence
    assert rank_stability(np.array([1, np.nan, 2]), np.array([1, 2, np.nan])).features == 1
    with pytest.raises(ValueError, match="of 2 and of 3 features"):
        rank_stability(np.ones(2), np.ones(3))


def test_halves_of_the_cells():
    circuit = by_rate(0, 5)
    out = np.bincount(circuit.edges.source, minlength=LAYER.size).astype(float)
    rng = np.random.default_rng(4)
    halves = np.where(LAYER == 0, rng.poisson(np.stack([out, out])), np.nan)
    measured = hub_stability(replace(circuit, half_degrees=halves), CONFIG)
    assert measured.numbers["halves"]["features"] == 50  # type: ignore[index]
    assert "between the halves of the cells degrees of 50 features" in measured.sentence
    assert "no edge has six cells" in measured.sentence
    rows = measured.records["Feature"].to_pandas().set_index("id")
    rows = rows.loc[circuit.nodes.id[:50].tolist()]
    np.testing.assert_array_equal(rows[["even_degree", "odd_degree"]].T, halves[:, :50])
    assert (rows[["testable_edges", "agreeing_edges"]] == 0).all(None)
    nothing = hub_stability(circuit, CONFIG)
    assert "none of 50 sources was measured in both" in nothing.sentence and not nothing.drawn


def test_agreement_that_depends_on_the_source_is_told_from_even_agreement():
    circuit = by_rate(1, 10)
    rng, p = np.random.default_rng(5), []
    for uneven in (True, False):
        chance = np.where(circuit.edges.source < 10, 0.02, 0.9) if uneven else 0.5
        halves = np.where(rng.random(circuit.edges.source.size) < chance, 2.0, 1.0)
        edges = circuit.edges._replace(halves=halves)
        found = hub_stability(replace(circuit, edges=edges), CONFIG)
        rows = found.records["Feature"].to_pandas().set_index("id")
        both = np.bincount(circuit.edges.source[halves >= 2], minlength=LAYER.size)
        assert rows.agreeing_edges[circuit.nodes.id[:50]].tolist() == both[:50].tolist()
        assert rows.even_degree.isna().all()
        p.append(found.numbers["agreement_rho"]["p"])  # type: ignore[index]
    assert p[0] <= 0.05 < p[1]


def test_the_published_rule_makes_support_of_signs_that_cannot_mean_anything():
    """Effects in a third of the cells, all of one sign: the rule takes the negative ones only."""
    rng = np.random.default_rng(6)
    source, target = random_edges(LAYER, 800, rng)
    negative = rng.random(source.size) < 0.5
    few = np.full(source.size, 7.0)
    circuit = inputs(
        features(LAYER), source, target,
        n_pos=np.where(negative, 0, few), n_neg=np.where(negative, few, 0),
        mean=np.where(negative, -1.0, 1.0), d=np.where(negative, -0.8, 0.8),
    )  # fmt: skip
    found = sign_structure(circuit, CONFIG)
    rows = found.frame.set_index("rule")
    # (20 - 0) / 20 passes as negative, max(7, 13) / 20 = 0.65 does not as positive
    assert rows.loc["legacy", "support_share"] == rows.loc["legacy", "expected_share"] == 1
    assert (
        rows.loc["symmetric", "expected_share"] == rows.loc["calibrated", "expected_share"] == 0.5
    )
    assert abs(rows.loc["symmetric", "support_share"] - negative.mean()) < 1e-9
    assert found.numbers["created"]["by_zeros"] == 0  # type: ignore[index]
    assert found.numbers["created"]["left_by_zeros"] == (~negative).sum()  # type: ignore[index]


def test_edges_that_the_rule_alone_creates_are_counted():
    """Six cells up and six down of twenty: 14 / 20 counts zeros as negative and passes nearly."""
    source, target = random_edges(LAYER, 300, np.random.default_rng(7))
    circuit = inputs(
        features(LAYER), source, target, n_pos=np.full(300, 5.0), n_neg=np.full(300, 7.0),
        mean=np.full(300, -1.0), d=np.full(300, -0.6),
    )  # fmt: skip
    created = sign_structure(circuit, CONFIG).numbers["created"]
    assert created["by_zeros"] == 300 and created["by_zeros_support"] == 1  # type: ignore[index]


def test_signs_of_whole_sources_are_not_many_observations():
    """Two sources with 100 edges each, all negative: no evidence that support prevails."""
    source = np.repeat([0, 1], 100)
    target = np.tile(np.arange(50, 150), 2)
    rows = sign_structure(inputs(features(LAYER), source, target), CONFIG).frame.set_index("rule")
    assert rows.loc["calibrated", "support_share"] == 1 and rows.loc["calibrated", "p"] > 0.3


def test_attenuation_that_is_there_is_found_and_one_by_firing_rate_is_not():
    p = {"near": [], "even": [], "rate": []}
    for seed in range(8):
        rng = np.random.default_rng(seed)
        rate = rng.uniform(0.05, 0.5, LAYER.size) / (1 + LAYER)
        for kind in p:
            weight = {
                "near": 1.0 / LAYER.clip(1), "even": np.ones(LAYER.size), "rate": rate
            }[kind][50:]  # fmt: skip
            pairs = np.unique(
                np.stack(
                    [
                        rng.integers(0, 50, 900),
                        50 + rng.choice(150, 900, p=weight / weight.sum()),
                    ]
                ),
                axis=1,
            )
            nodes = features(LAYER, rate if kind == "rate" else None, LAYER == 0)
            found = attenuation(inputs(nodes, *pairs), CONFIG)
            p[kind].append(found.numbers["mean_distance"]["calibrated"]["p"])  # type: ignore[index]
    assert max(p["near"]) <= 0.05  # power 1 in eight circuits
    assert sum(v <= 0.05 for v in p["even"]) <= 2
    # ten groups of firing rate leave some of it: not more than half are called
    assert sum(v <= 0.05 for v in p["rate"]) <= 4


def test_rows_of_attenuation_by_hand():
    nodes = features([0, 0, 1, 1, 2], [0.1] * 5, [1, 1, 0, 0, 0])
    found = attenuation(inputs(nodes, [0, 0, 1], [2, 3, 4]), CONFIG)
    rows = found.frame[found.frame["rule"] == "calibrated"].set_index("target_layer")
    assert rows["edges"].to_dict() == {1: 2, 2: 1}
    assert rows["edges_per_source"].to_dict() == {1: 1.0, 2: 0.5}
    assert rows["share"].to_dict() == {1: 0.5, 2: 0.5}
    # one firing rate: three edges over three features
    assert rows["by_firing"].to_dict() == {1: 2.0, 2: 1.0}


def test_one_distance_and_no_edges_are_said():
    one = attenuation(inputs(features([0, 0, 1, 1]), [0, 1], [2, 3]), CONFIG)
    assert "with one distance attenuation cannot be tested" in one.sentence
    weak = attenuation(inputs(features([0, 1]), [0], [1], q=[0.9]), CONFIG)
    assert weak.sentence == "attenuation: no effect is a calibrated edge"
    assert not attenuation(inputs(features([0, 1]), [], []), CONFIG).drawn
    assert not sign_structure(inputs(features([0, 1]), [], []), CONFIG).drawn

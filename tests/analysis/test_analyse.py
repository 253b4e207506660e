"""Degrees, hubs, annotation bias and structure of the edges, on small graphs whose answers are
known.
"""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from scircuit.analysis.circuits.annotation_bias import annotation_bias
from scircuit.analysis.circuits.circuit_analysis import analyse
from scircuit.analysis.circuits.degree import degrees, edges_by, legacy, read_edges, read_features
from scircuit.analysis.circuits.hub_annotation_tests import fisher_top, matched_top
from scircuit.analysis.circuits.hubs import fit_hubs
from scircuit.analysis.circuits.layer_pairs import cluster_share
from scircuit.analysis.genesets.regulons import Regulation, Regulons
from scircuit.core import schema
from scircuit.core.address import Address
from scircuit.core.config import AnalyseConfig
from scircuit.core.edge_rules import CALIBRATED
from scircuit.core.errors import UserError


def name(layer, index):
    return str(Address("m", "d", layer, index))


def small_graph():
    """Three sources in layer 1, two targets in each of layers 2 and 4; every edge written out."""
    ids = [name(1, i) for i in range(3)] + [name(2, 0), name(2, 1), name(4, 0), name(4, 1)]
    features = pa.table(
        {
            "id": ids,
            "layer": [1, 1, 1, 2, 2, 4, 4],
            "firing_rate": [0.1, 0.2, 0.0, 0.3, 0.1, 0.1, 0.1],
            "traced": [True, True, True, False, False, None, None],
        }
    )
    rows = [  # source, target, n, n_pos, n_neg, mean, d, q, halves
        (0, 3, 20, 1, 18, -0.5, -2.0, 0.001, 2),
        (0, 4, 20, 15, 2, 0.3, 1.0, 0.01, 2),
        (0, 5, 20, 10, 9, 0.1, 0.1, 0.9, 0),
        # five cells with an effect: too few for the calibrated rule, an edge for the legacy rule
        (1, 3, 20, 0, 5, -0.4, -0.6, 0.01, 1),
        (1, 6, 20, 0, 20, -0.4, -0.7, 0.2, 1),  # legacy only
        (1, 5, 20, 2, 18, -0.4, -0.4, 0.02, 1),  # calibrated only
        (1, 4, 20, 0, 20, -0.4, -0.9, None, 0),  # q not known
    ]
    s, t, n, n_pos, n_neg, mean, d, q, halves = zip(*rows, strict=True)
    edges = pa.table(
        {
            "source": [ids[i] for i in s],
            "target": [ids[i] for i in t],
            "n": n,
            "n_pos": n_pos,
            "n_neg": n_neg,
            "mean": mean,
            "d": d,
            "q": q,
            "halves": halves,
            "direct": [m / 2 for m in mean],
        }
    )
    return features, edges


def test_both_rules_by_hand():
    features, edges = small_graph()
    nodes = read_features(features)
    links = read_edges(edges, nodes)
    np.testing.assert_array_equal(edges_by(links, CALIBRATED), [1, 1, 0, 0, 0, 1, 0])
    np.testing.assert_array_equal(legacy(links), [1, 1, 0, 1, 1, 0, 1])
    found = degrees(nodes, links)
    np.testing.assert_array_equal(found.out, [2, 1, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(found.into, [0, 0, 0, 1, 1, 1, 0])
    np.testing.assert_array_equal(found.legacy, [2, 3, 0, 0, 0, 0, 0])
    assert found.layers == (2, 4)
    np.testing.assert_array_equal(found.by_layer[:3], [[2, 0], [0, 1], [0, 0]])
    np.testing.assert_array_equal(found.support_share[:3], [0.5, 1.0, np.nan])


def test_size_floor_by_hand():
    """|mean| against the mean activation of the target; a target without one keeps its edges."""
    features, edges = small_graph()
    size = features.num_rows
    scaled = features.append_column(
        "mean_activation",
        pa.array([None] * 3 + [5.0, 2.0, None] + [None] * (size - 6), pa.float64()),
    )
    links = read_edges(edges, read_features(scaled))
    np.testing.assert_array_equal(
        edges_by(links, CALIBRATED, min_effect=0.12), [0, 1, 0, 0, 0, 1, 0]
    )  # 0.5 < 0.6, 0.3 >= 0.24, no scale
    np.testing.assert_array_equal(
        edges_by(links, CALIBRATED, min_effect=0.1), [1, 1, 0, 0, 0, 1, 0]
    )  # 0.5 >= 0.5: the bound itself passes
    assert degrees(read_features(scaled), links, min_effect=0.2).out.sum() == 1
    # without a mean activation in the table no floor applies
    np.testing.assert_array_equal(
        edges_by(read_edges(edges, read_features(features)), CALIBRATED, min_effect=9),
        [1, 1, 0, 0, 0, 1, 0],
    )


def test_calibrated_edges_are_compared_with_trrust_where_features_have_genes():
    features, edges = small_graph()
    pairs = (
        Regulation("TF1", "A", "Activation", ()),
        Regulation("TF1", "B", "Repression", ()),
        Regulation("TF2", "A", "Activation", ()),
    )
    regulons = Regulons("toy", "toy.tsv", "00", "", "", pairs, 3)
    ids = features.column("id").to_pylist()
    genes = {ids[0]: ["TF1"], ids[1]: ["TF2"], ids[3]: ["A"], ids[4]: ["B"], ids[5]: ["A"]}
    annotation = pa.table(
        {"id": list(genes), "annotated": [True] * 5, "top_genes": list(genes.values())}
    )
    result = analyse(features, edges, annotation, AnalyseConfig(bootstrap=0), "analyse-1", regulons)
    # calibrated edges: 0 -> 3 (support; TF1 activates A), 0 -> 4 (suppress; TF1 represses B), 1 ->
    # 5 (support; TF2 activates A)
    assert result.trrust is not None and (result.trrust.covered, result.trrust.agree) == (3, 3)
    assert result.frames["trrust"]["agrees"].tolist() == [True, True, True]
    assert (
        result.sentences[-1] == result.findings["trrust"]["sentence"]
        and "too few" in result.sentences[-1]
    )
    assert result.findings["trrust"]["share"] is None  # not NaN: findings are JSON
    assert (
        analyse(
            features,
            edges,
            annotation.drop_columns("top_genes"),
            AnalyseConfig(bootstrap=0),
            "analyse-1",
            regulons,
        ).trrust
        is None
    )
    assert (
        "trrust"
        not in analyse(
            features, edges, annotation, AnalyseConfig(bootstrap=0), "analyse-1"
        ).findings
    )


def test_feature_findings_fit_the_schema_and_say_nothing_of_features_that_were_not_ablated():
    result = analyse(*small_graph(), None, AnalyseConfig(bootstrap=0), "analyse-1")
    table = result.features
    schema.conform("Feature", table)
    rows = {r["id"]: r for r in table.to_pylist()}
    assert rows[name(1, 0)]["out_degree_by_layer"] == [2, 0]
    assert rows[name(1, 0)]["degree_rank"] == 1
    assert rows[name(1, 2)]["out_degree"] == 0
    assert rows[name(1, 2)]["support_share"] is None
    assert rows[name(2, 0)]["out_degree"] is None
    assert rows[name(2, 0)]["in_degree"] == 1
    assert sorted(rows[name(1, i)]["hub_rank"] for i in range(3)) == [1, 2, 3]
    json.dumps(result.findings, allow_nan=False)


@pytest.mark.parametrize(
    "change", ["no edges", "no annotation", "all annotated", "one source", "equal degrees"]
)
def test_degenerate_graphs_give_honest_results(change):
    features, edges = small_graph()
    annotation = pa.table(
        {"id": features.column("id"), "annotated": [change == "all annotated"] * 7}
    )
    if change == "no edges":
        edges = edges.slice(0, 0)
    elif change == "no annotation":
        annotation = None
    elif change == "one source":
        features = features.set_column(3, "traced", pa.array([True] + [False] * 6))
    elif change == "equal degrees":
        edges = edges.slice(0, 1)
        features = features.set_column(3, "traced", pa.array([True] + [False] * 6))
    result = analyse(features, edges, annotation, AnalyseConfig(bootstrap=5), "x")
    assert len(result.sentences) == 7
    assert all(isinstance(s, str) and "nan" not in s.lower() for s in result.sentences)
    json.dumps(result.findings, allow_nan=False)
    for plot in result.plots().values():
        assert plot().figure is not None
    import matplotlib.pyplot as plt

    plt.close("all")


def test_tables_that_do_not_belong_together_are_refused():
    features, edges = small_graph()
    config = AnalyseConfig(bootstrap=0)
    with pytest.raises(UserError, match="not in the feature table"):
        analyse(features.slice(0, 4), edges, None, config, "x")
    with pytest.raises(UserError, match="has no q"):
        analyse(features, edges.drop_columns("q"), None, config, "x")
    with pytest.raises(UserError, match="none of 7 features was ablated"):
        analyse(features.set_column(3, "traced", pa.array([False] * 7)), edges, None, config, "x")
    with pytest.raises(UserError, match="rows for"):
        analyse(pa.concat_tables([features, features]), edges, None, config, "x")


def test_hubs_are_those_their_firing_rate_does_not_explain():
    rng = np.random.default_rng(0)
    rate = np.exp(rng.normal(-4, 1, 400))
    degree = np.rint(2000 * rate * np.exp(rng.normal(0, 0.2, 400))).astype(int)
    planted = np.argsort(rate)[50:55]
    degree[planted] *= 8
    fit = fit_hubs(degree, rate)
    assert set(np.flatnonzero(fit.hub_rank <= 5)) == set(planted)
    assert not set(np.flatnonzero(fit.degree_rank <= 5)) & set(planted)
    assert fit.rho > 0.9
    # the planted five leave the expectation of all others where it is (robust fit): a power of the
    # rate
    others = np.setdiff1d(np.arange(400), planted)
    assert np.median(np.abs(np.log((fit.expected[others] + 1) / (2000 * rate[others] + 1)))) < 0.05
    np.testing.assert_allclose(fit.residual, np.log((degree + 1) / (fit.expected + 1)))
    assert sorted(fit.hub_rank) == list(range(1, 401))


@pytest.mark.parametrize(
    ("degree", "rate"),
    [
        ([3, 3, 3], [0.1, 0.2, 0.3]),
        ([1, 2, 3], [0.1, 0.1, 0.1]),
        ([5], [0.2]),
        ([], []),
        ([1, 2], [np.nan, 0.0]),
    ],
)
def test_hub_fit_without_information_is_the_mean(degree, rate):
    fit = fit_hubs(np.array(degree, dtype=int), np.array(rate, dtype=float))
    assert fit.method == "mean"
    assert fit.hub_rank.size == len(degree)
    if len(degree) != 3:
        assert "not testable" in fit.sentence


def test_published_fisher_tests_are_reproduced(shared_data):
    published = json.loads(
        (
            shared_data / "published/revision/P5_annotation/annotation_enrichment_raw.json"
        ).read_text()
    )
    compared = 0
    for layer in published:
        n, total = layer["n_features"], round(layer["overall_annotated_frac"] * layer["n_features"])
        tests = [
            (f["k"], f["top_annotated"], f["odds_ratio"], f["p_value"]) for f in layer["fisher"]
        ]
        frequency = layer.get("frequency", {})
        if "residual_hub_fisher_odds" in frequency:
            tests.append(
                (
                    20,
                    frequency["residual_hub_top20_annotated"],
                    frequency["residual_hub_fisher_odds"],
                    frequency["residual_hub_fisher_p"],
                )
            )
        for k, top, odds, p in tests:
            annotated = np.zeros(n, dtype=bool)
            annotated[:top] = True
            annotated[k : k + total - top] = True
            found = fisher_top(annotated, np.arange(1, n + 1), k)
            assert found.odds_ratio == pytest.approx(odds, abs=1e-6)
            assert found.p == pytest.approx(p, abs=1e-6)
            compared += 1
    assert compared == 16


def test_matched_null_removes_what_the_firing_rate_explains():
    rng = np.random.default_rng(1)
    n = 1500
    rate = np.exp(rng.normal(-4, 1, n))
    rank = np.argsort(np.argsort(-rate)) + 1
    # annotation depends on the firing rate only: hubs are annotated more often, but not more than
    # features with similar firing rates
    annotated = rng.random(n) < 1 / (1 + np.exp(-1.5 * (np.log(rate) + 4)))
    noisy = np.argsort(np.argsort(-(np.log(rate) + rng.normal(0, 0.7, n)))) + 1
    fisher, matched = fisher_top(annotated, noisy, 100), matched_top(annotated, noisy, rate, 100)
    assert fisher.p < 1e-3
    assert matched.p > 0.05
    assert matched.null_mean > annotated.mean() + 0.1
    # a real difference is found, and p cannot be zero
    annotated[rank <= 30] = False
    found = matched_top(annotated, noisy, rate, 30, draws=200)
    assert found.p >= 2 / 201
    certain = np.zeros(n, dtype=bool)
    certain[noisy <= 30] = True
    assert matched_top(certain, noisy, rate, 30, draws=200).p == pytest.approx(2 / 201)


def test_logistic_slope_is_that_of_the_data_given_the_covariates():
    rng = np.random.default_rng(2)
    n = 4000
    log_rate = rng.normal(-4, 1, n)
    log_degree = np.maximum(6 + 0.8 * (log_rate + 4) + rng.normal(0, 0.6, n), 0)
    genes = rng.integers(5, 21, n)
    annotated = rng.random(n) < 1 / (
        1 + np.exp(-(0.7 * (log_degree - 6) - 0.5 * (log_rate + 4) + 0.1 * (genes - 12)))
    )
    degree = np.rint(np.expm1(log_degree)).astype(int)
    rank = np.argsort(np.argsort(-degree)) + 1
    found = annotation_bias(
        degree, rank, rank, np.exp(log_rate), annotated, genes, hubs=20, draws=100
    ).logistic
    assert found.problem == ""
    assert found.low < 0.7 < found.high
    assert found.covariates == ("log degree", "log firing rate", "annotatable genes")


@pytest.mark.parametrize(
    ("annotated", "degree", "problem"),
    [
        (np.arange(200) < 100, np.where(np.arange(200) < 100, 1000, 1), "separate"),
        (np.arange(200) < 100, np.full(200, 7), "all degrees are equal"),
        (np.arange(200) < 3, np.arange(200), "3 features in the smaller class"),
    ],
)
def test_logistic_says_why_it_has_no_estimate(annotated, degree, problem):
    rng = np.random.default_rng(3)
    rank = np.argsort(np.argsort(-degree, kind="stable")) + 1
    found = annotation_bias(
        degree, rank, rank, rng.random(200), annotated, rng.integers(1, 20, 200), draws=50
    )
    assert problem in found.logistic.problem
    assert problem in found.sentence


def test_cluster_intervals_are_wider_than_binomial_when_targets_go_together():
    rng = np.random.default_rng(4)
    totals = np.full(50, 200)
    together = np.where(rng.random(50) < 0.5, 200, 0)
    share, low, high = cluster_share(together, totals)
    assert low < share < high
    assert high - low > 0.15  # binomial over 10,000 edges would be 0.02 wide
    assert all(np.isnan(cluster_share(np.zeros(3), np.zeros(3))))


def test_layer_pairs_count_what_is_there():
    result = analyse(*small_graph(), None, AnalyseConfig(bootstrap=0), "x")
    rows = {
        (r["source_layer"], r["target_layer"]): r
        for r in result.frames["layer_pairs"].to_dict("records")
    }
    first = rows[1, 2]
    assert (first["edges"], first["sources"], first["targets"]) == (2, 3, 2)
    assert first["support_share"] == 0.5
    assert (first["agree"], first["testable"]) == (1.0, 1.0)
    assert (rows[1, 4]["agree"], rows[1, 4]["testable"]) == (0.0, 1.0)
    features, edges = small_graph()
    unknown = edges.set_column(
        edges.column_names.index("halves"), "halves", pa.array([None, 2, *[0] * 5], pa.int64())
    )
    second = analyse(features, unknown, None, AnalyseConfig(bootstrap=0), "x")
    [first] = [r for r in second.frames["layer_pairs"].to_dict("records") if r["target_layer"] == 2]
    assert (first["agree"], first["testable"]) == (
        1.0,
        0.5,
    ), "an edge that halves cannot test is no disagreement"
    assert first["direct_sign"] == 1.0
    assert rows[1, 4]["support_share"] == 1.0
    assert result.frames["hubs"]["id"].tolist()[-1] in {name(1, i) for i in range(3)}

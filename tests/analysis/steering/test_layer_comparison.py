"""Layers and ON against OFF features, with the feature as the unit."""

from __future__ import annotations

import itertools
import math

import matplotlib
import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control, spearmanr

from scircuit.analysis.steering.layer_comparison import flipped, layer_comparison

matplotlib.use("Agg")
RANDOM = 5


def steers(slopes, layers, *, beats=(), closed=(), readout="pseudotime"):
    n = len(slopes)
    return pd.DataFrame(
        {
            "source": [f"m/s/L{layer:02d}/F{i:04d}" for i, layer in enumerate(layers)],
            "target": [f"r/readout/{readout}"] * n,
            "slope": np.asarray(slopes, float),
            "control": 0.1,
            "above_random": [i in beats for i in range(n)],
            "closed_form": [layer in closed for layer in layers],
        }
    )


def named(finding, name):
    return [t for t in finding.numbers["tests"] if t["test"] == name]


def plain(value):
    """No NaN anywhere."""
    if isinstance(value, dict):
        return all(plain(v) for v in value.values())
    if isinstance(value, list):
        return all(plain(v) for v in value)
    return not (isinstance(value, float) and not math.isfinite(value))


def test_a_gradient_over_layers_is_found():
    layers = np.repeat([0, 3, 6, 9], 8)
    rng = np.random.default_rng(0)
    slope = 0.1 * layers + rng.normal(size=32)
    found = layer_comparison(steers(slope, layers, beats=range(20)), {}, RANDOM)
    (gradient,) = named(found, "gradient")
    assert gradient["value"] == pytest.approx(spearmanr(layers, slope).statistic)
    assert gradient["p"] == pytest.approx(spearmanr(layers, slope).pvalue, abs=0.02)
    (beats,) = named(found, "beats random")
    assert beats["value"] == 20 / 32 and beats["p"] < 1e-6 and beats["null"] == 1 / 6
    q = [t["q"] for t in found.numbers["tests"]]
    assert q == pytest.approx(false_discovery_control([t["p"] for t in found.numbers["tests"]]))
    assert list(found.frame["layer"]) == [0, 3, 6, 9] and plain(dict(found.numbers))
    assert "20 of 32" in found.sentence and "by chance 1 in 6" in found.sentence
    assert found.plot().get_xlabel() == "layer"


def test_shuffled_slopes_give_uniform_p():
    layers, ps = np.repeat([0, 1, 2], 6), []
    for seed in range(200):
        slope = np.random.default_rng(seed).normal(size=18)
        (gradient,) = named(layer_comparison(steers(slope, layers), {}, RANDOM), "gradient")
        ps.append(gradient["p"])
    # 10 of 200 expected; 21 or more have probability 0.001
    assert (np.array(ps) <= 0.05).sum() <= 20 and np.mean(ps) == pytest.approx(0.5, abs=0.09)


def test_on_and_off_features_of_a_layer():
    slope = [1, 2, 3, 4, 5, -1, -2, -3, -4, -5]
    table = steers(slope, [2] * 10)
    kinds = {a: "on" if s > 0 else "off" for a, s in zip(table["source"], slope, strict=True)}
    found = layer_comparison(table, kinds, RANDOM)
    (test,) = named(found, "on and off")
    assert test["value"] == 1 and test["p"] == pytest.approx(2 / 252) and test["layer"] == 2
    assert found.frame.iloc[0][["on", "off", "median_on", "median_off"]].tolist() == [5, 5, 3, -3]
    assert "all are of layer 2, so layers cannot be compared" in found.sentence


def test_what_weights_fix_is_listed_and_not_tested():
    layers = np.repeat([0, 5], 6)
    slope = np.r_[np.zeros(6) + np.arange(6), np.full(6, 100.0)]
    found = layer_comparison(steers(slope, layers, beats=range(6, 12), closed=(5,)), {}, RANDOM)
    assert found.frame["closed_form"].tolist() == [False, True]
    (beats,) = named(found, "beats random")
    assert beats["features"] == 6 and beats["value"] == 0 and not named(found, "gradient")
    assert "pseudotime are in closed form, fixed by weights, and not tested" in found.sentence


@pytest.mark.parametrize(
    ("slopes", "layers", "random", "words"),
    [
        ([], [], RANDOM, "No feature has a dose slope"),
        ([np.nan, np.nan], [0, 1], RANDOM, "No feature has a dose slope"),
        ([0.3], [0], RANDOM, "all are of layer 0"),
        ([0.3, 0.4], [0, 1], 0, "too few features for a rank test"),
        ([0.0] * 6, [0, 1] * 3, RANDOM, "too few features|rank test"),
    ],
)
def test_what_cannot_be_compared_is_said(slopes, layers, random, words):
    import re

    table = steers(slopes, layers)
    if not random:
        table["control"] = np.nan
        table["above_random"] = None
    found = layer_comparison(table, {}, random)
    assert re.search(words, found.sentence) and plain(dict(found.numbers))
    assert "nan" not in found.sentence
    if len(found.frame):
        found.plot()
    else:
        with pytest.raises(ValueError, match="nothing to draw"):
            found.plot()


def paired(slopes, matched):
    return steers(slopes, [1] * len(slopes)).assign(matched=matched)


def test_features_are_compared_with_those_that_fire_as_often():
    """Against all 2^n signs written out."""
    rng = np.random.default_rng(3)
    slope, other = rng.normal(1, 0.3, 8), rng.normal(0, 0.3, 8)
    found = layer_comparison(paired(-slope, other), {}, RANDOM)
    (test,) = named(found, "beats matched")
    excess = np.abs(slope) - np.abs(other)
    means = [np.mean(excess * s) for s in itertools.product((1, -1), repeat=8)]
    assert test["value"] == pytest.approx(excess.mean()) and test["features"] == 8
    assert test["p"] == pytest.approx(np.mean(np.abs(means) >= abs(excess.mean()) - 1e-12))
    assert test["p"] < 0.05
    assert "beyond that of the direction of a feature that fires as often: pseudotime +" in (
        found.sentence
    )
    assert found.frame["median_matched"].tolist() == pytest.approx([np.median(np.abs(other))])


def test_many_features_are_compared_by_drawn_signs():
    rng = np.random.default_rng(4)
    excess = rng.normal(0.2, 0.5, 40)
    assert flipped(excess, 0) == flipped(excess, 0)
    from scipy.stats import ttest_1samp

    assert flipped(excess, 0) == pytest.approx(ttest_1samp(excess, 0).pvalue, abs=0.02)
    assert flipped(excess + 5, 0) == 1 / 2000


def test_features_like_their_matched_ones_are_rarely_called():
    ps = []
    for seed in range(200):
        slope, other = np.random.default_rng(seed).normal(size=(2, 14))
        (test,) = named(layer_comparison(paired(slope, other), {}, RANDOM), "beats matched")
        ps.append(test["p"])
    # 10 of 200 expected; 21 or more have probability 0.001
    assert (np.array(ps) <= 0.05).sum() <= 20


def test_too_few_matched_features_are_said():
    found = layer_comparison(paired([1.0] * 7, [0.1] * 5 + [np.nan] * 2), {}, RANDOM)
    assert not named(found, "beats matched") and plain(dict(found.numbers))
    assert "fewer than 6 features could be compared" in found.sentence
    absent = layer_comparison(steers([1.0] * 7, [1] * 7), {}, RANDOM)
    assert "fires as often" not in absent.sentence

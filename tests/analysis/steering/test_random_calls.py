"""How many features random directions do not reach, beside what chance gives."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from scircuit.analysis.steering.random_calls import random_calls


def drawn(rng, features, directions, planted=0):
    """p_random of features without effect: the rank of one value among exchangeable ones; the first
    `planted` beat all directions.
    """
    p = rng.integers(1, directions + 2, features) / (1 + directions)
    p[:planted] = 1 / (1 + directions)
    return p


@pytest.mark.parametrize("directions", [19, 30, 39, 99])
def test_the_number_expected_is_the_mean_of_features_without_effect(directions):
    rng = np.random.default_rng(directions)
    hits = [random_calls(drawn(rng, 24, directions), directions).hits for _ in range(3000)]
    found = random_calls(drawn(rng, 24, directions), directions)
    # the standard error of the mean is below 0.02
    assert np.mean(hits) == pytest.approx(found.expected, abs=0.08)
    assert found.least == 1 / (1 + directions) and found.tested == 24 and not found.problem


@pytest.mark.parametrize("directions", [19, 99])
def test_runs_without_any_effect_are_rarely_above_chance(directions):
    rng = np.random.default_rng(1)
    found = [random_calls(drawn(rng, 24, directions), directions).p for _ in range(1000)]
    # binomial p is discrete, so below 50 of 1,000; 72 or more would have probability 0.001
    assert (np.array(found) <= 0.05).sum() <= 71


def test_planted_features_are_above_chance():
    found = random_calls(drawn(np.random.default_rng(2), 24, 19, planted=12), 19)
    assert found.hits >= 12 and found.p is not None and found.p < 1e-8
    assert found.p == pytest.approx(binom.sf(found.hits - 1, 24, 0.05))
    assert f"{found.hits} of 24 steered features" in found.sentence
    assert "by chance 1.2 would" in found.sentence


@pytest.mark.parametrize(
    ("p", "directions", "words"),
    [
        ([0.5], 0, "no random directions were asked for"),
        ([1 / 19] * 9, 18, "with 18 random directions p_random is at least 0.053"),
        ([None, np.nan], 19, "no feature has a slope that was compared"),
        ([], None, "no feature has a slope that was compared"),
        ([0.2, 0.4], None, "it is not known whether there were enough"),
    ],
)
def test_nothing_is_called_where_nothing_can_be(p, directions, words):
    found = random_calls(p, directions)
    assert words in found.problem and found.sentence == found.problem and found.p is None


def test_a_run_that_does_not_say_its_directions_is_judged_by_its_p():
    found = random_calls([0.01, None, 0.4], None)
    assert (found.hits, found.tested, found.problem) == (1, 2, "") and found.expected == 0.1

"""Null p values from residuals: they know the skewness of the effects, do not depend on blocks, and
leave true means out.
"""

from __future__ import annotations

import numpy as np
import pytest

from scircuit.tracing.statistics.effect_statistics import edge_statistics
from scircuit.tracing.statistics.sign_flip import sign_flip_p
from scircuit.tracing.statistics.skewness import Null, null_draws

KEYS = [(0, 5, f) for f in range(4)]


def live_tests(effects):
    return edge_statistics(effects, np.ones(effects.shape[:2], bool), np.zeros(effects.shape[2]))


def share(null: Null, p: float) -> float:
    return float(null.weight[null.p <= p].sum() / null.weight.sum())


def noise(kind, shape, rng):
    return {"normal": rng.normal(size=shape), "exponential": rng.exponential(size=shape) - 1}[kind]


@pytest.mark.parametrize("kind", ["normal", "exponential"])
def test_null_follows_the_true_rate_of_small_p(kind):
    rng = np.random.default_rng(0)
    true = sign_flip_p(noise(kind, (60_000, 20), rng))
    null = null_draws(live_tests(noise(kind, (4, 20, 3000), rng)), KEYS, draws=8000)
    for level in (0.05, 0.01, 0.001):
        rate = (true <= level).mean()
        # never below the true rate by more than sampling allows, and above it by no more than the
        # docstring says
        error = 4 * np.sqrt(rate / 32_000 + rate / 60_000)
        assert share(null, level) > rate - error - 0.1 * rate
        assert share(null, level) < 2.5 * rate + error
    if kind == "exponential":
        assert (true <= 0.001).mean() > 0.007  # what the plain test does


def test_a_true_mean_is_taken_away():
    """Sources in which everything moves have the null of their residuals, not of their means."""
    rng = np.random.default_rng(1)
    null = null_draws(live_tests(rng.normal(size=(4, 20, 500)) + 3), KEYS)
    assert share(null, 0.05) < 0.1 and null.quiet == 0


def test_draws_depend_on_the_source_alone():
    rng = np.random.default_rng(2)
    effects = rng.normal(size=(4, 12, 300)) * (rng.random((4, 12, 300)) < 0.7)
    whole = null_draws(live_tests(effects), KEYS)
    parts = [null_draws(live_tests(effects[i:j]), KEYS[i:j]) for i, j in ((0, 1), (1, 3), (3, 4))]
    joined = Null.joined(parts)
    np.testing.assert_array_equal(whole.p, joined.p)
    np.testing.assert_allclose(whole.weight, joined.weight, rtol=1e-12)
    assert whole.quiet == joined.quiet
    tests = live_tests(effects)
    assert whole.weight.sum() == pytest.approx((tests.cells >= 6).sum())
    assert whole.quiet == ((tests.cells >= 6) & (tests.p > 0.5)).sum()


def test_tests_that_cannot_be_called_give_no_draws():
    rng = np.random.default_rng(3)
    null = null_draws(live_tests(rng.normal(size=(4, 5, 50))), KEYS)
    assert len(null.p) == 0 and Null.joined([]).quiet == 0

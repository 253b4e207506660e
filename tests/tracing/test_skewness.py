"""Null draws in pairs: they see skewness and neither heavy tails nor scales, do not depend on
blocks, and leave true means out.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from scircuit.tracing.statistics.effect_statistics import edge_statistics
from scircuit.tracing.statistics.sign_flip import sign_flip_p
from scircuit.tracing.statistics.skewness import (
    LEVELS,
    Null,
    draws_per_source,
    inflation,
    null_draws,
    skewness,
)

KEYS = [(0, 5, f) for f in range(4)]


def live_tests(effects):
    return edge_statistics(effects, np.ones(effects.shape[:2], bool), np.zeros(effects.shape[2]))


def share(null: Null, kind: int, p: float) -> float:
    return float(null.weight[kind, null.p <= p].sum() / null.weight[kind].sum())


def noise(kind, shape, rng):
    return {
        "normal": lambda: rng.normal(size=shape),
        "t2": lambda: rng.standard_t(2, shape),
        "scale per cell": lambda: rng.normal(size=shape) * rng.lognormal(0, 1.5, (1, shape[1], 1)),
        "exponential": lambda: rng.exponential(size=shape) - 1,
        "either side": lambda: (
            (rng.exponential(size=shape) - 1) * rng.choice([-1.0, 1.0], (shape[0], 1, shape[2]))
        ),
        "skewed, scale per cell": lambda: (
            (rng.exponential(size=shape) - 1) * rng.lognormal(0, 1, (*shape[:2], 1))
        ),
    }[kind]()


@pytest.mark.parametrize("kind", ["normal", "t2", "scale per cell"])
def test_symmetric_effects_of_any_scale_show_no_skewness(kind):
    null = null_draws(live_tests(noise(kind, (4, 20, 1500), np.random.default_rng(0))), KEYS, 4096)
    # drawing again gives small p more often, the more the scales differ, but in both of a pair
    assert share(null, 0, 0.001) > {"normal": 0.0015}.get(kind, 0.003)
    for level in (0.05, 0.01):
        rates = share(null, 0, level), share(null, 1, level)
        assert abs(rates[0] - rates[1]) < 5 * np.sqrt(sum(rates) / null.draws) + 0.05 * rates[1]
    # at p = 1e-5 the inflation is below 3
    assert skewness(null) < 0.0125 and inflation(null, np.array([1e-5]))[0] < 3


@pytest.mark.parametrize("kind", ["exponential", "either side", "skewed, scale per cell"])
def test_inflation_follows_the_true_rate_of_small_p(kind):
    rng = np.random.default_rng(0)
    # 300 sources, so that a scale per cell is not that of 20 cells only
    rows = np.concatenate([noise(kind, (1, 20, 200), rng)[0].T for _ in range(300)])
    true = sign_flip_p(rows, up_to=0.05)
    keys = [(0, 5, f) for f in range(8)]
    null = null_draws(live_tests(noise(kind, (8, 20, 3000), rng)), keys, draws=4096)
    for level in (0.01, 0.003, 0.001):
        ratio = inflation(null, np.array([level]))[0] * level / (true <= level).mean()
        assert 0.7 < ratio < 1.5
    assert (true <= 0.001).mean() > 0.006  # what the plain test does


def test_inflation_is_the_law_it_says():
    weight = np.zeros((2, len(LEVELS)))
    cumulative = np.minimum(LEVELS * np.exp(0.05 * norm.isf(LEVELS / 2) ** 3), 1.0)
    weight[0], weight[1] = np.diff(cumulative, prepend=0), np.diff(LEVELS, prepend=0)
    null = Null(LEVELS, 1e6 * weight, 2**18)
    assert skewness(null) == pytest.approx(0.05, rel=1e-6)
    p = np.array([0.3, 0.01, 1e-4])
    np.testing.assert_allclose(inflation(null, p), np.exp(0.05 * norm.isf(p / 2) ** 3), rtol=1e-6)
    swapped = Null(LEVELS, 1e6 * weight[::-1], 2**18)
    assert skewness(swapped) == 0 and (inflation(swapped, p) == 1).all()
    assert np.isfinite(inflation(null, np.array([1e-300]))).all()


def test_sources_in_which_everything_moves_have_no_say():
    rng = np.random.default_rng(1)
    null = null_draws(live_tests(rng.normal(size=(4, 20, 500)) + 3), KEYS)
    assert null.draws == 0 and not null.weight.any() and skewness(null) == 0
    mixed = rng.normal(size=(4, 20, 900)) + np.where(np.arange(900) < 300, 2, 0)
    null = null_draws(live_tests(mixed), KEYS, draws=4096)
    assert skewness(null) < 0.0125


def test_draws_depend_on_the_source_alone():
    rng = np.random.default_rng(2)
    effects = rng.normal(size=(4, 12, 300)) * (rng.random((4, 12, 300)) < 0.7)
    whole = null_draws(live_tests(effects), KEYS)
    parts = [null_draws(live_tests(effects[i:j]), KEYS[i:j]) for i, j in ((0, 1), (1, 3), (3, 4))]
    for order in (parts, parts[::-1]):
        joined = Null.joined(order)
        np.testing.assert_array_equal(whole.weight, joined.weight)
        assert whole.draws == joined.draws == 4 * 128
    able = live_tests(effects).callable.sum()
    np.testing.assert_array_equal(whole.weight.sum(1), [able, able])
    other = null_draws(live_tests(effects), [(1, *key[1:]) for key in KEYS])
    assert (other.weight != whole.weight).any()


def test_tests_that_cannot_be_called_give_no_draws():
    rng = np.random.default_rng(3)
    null = null_draws(live_tests(rng.normal(size=(4, 5, 50))), KEYS)
    assert null.draws == Null.joined([]).draws == 0 and not null.weight.any()


def test_small_runs_draw_more_of_each_source():
    draws = [draws_per_source(s) for s in (0, 1, 6, 16, 17, 100, 512, 10**6)]
    assert draws == [4096, 4096, 4096, 4096, 4096, 1024, 128, 128]

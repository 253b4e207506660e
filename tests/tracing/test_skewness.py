"""Null draws in pairs: they see skewness and neither heavy tails nor scales, count rare draws by
their probability, do not depend on blocks, and leave true means out.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from scircuit.tracing.statistics.effect_statistics import edge_statistics
from scircuit.tracing.statistics.sign_flip import sign_flip_p
from scircuit.tracing.statistics.skewness import (
    LEVELS,
    UNIT,
    Null,
    draws_per_source,
    inflation,
    null_draws,
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


def error(null: Null, kind: int, p: float) -> float:
    """Standard error of `share`."""
    square = null.square[kind, null.p <= p].sum() * UNIT
    return float(np.sqrt(square) / (null.weight[kind].sum() * UNIT))


def at(null: Null, p: float) -> float:
    return float(inflation(null, np.array([p]))[0])


def of_law(law, draws=1e9, squared=1.0):
    """Null draws with a given log inflation per normal quantile, `draws` tests of weight one."""
    z = norm.isf(LEVELS / 2)
    cumulative = np.stack([np.minimum(LEVELS * np.exp(law(z) / 1.5), 1.0), LEVELS])
    weight = np.diff(cumulative, axis=1, prepend=0) * draws / UNIT
    return Null(LEVELS, weight.astype(np.int64), (squared * weight).astype(np.int64))


@pytest.mark.parametrize("kind", ["normal", "t2", "scale per cell"])
def test_symmetric_effects_of_any_scale_show_no_skewness(kind):
    null = null_draws(live_tests(noise(kind, (4, 20, 1500), np.random.default_rng(0))), KEYS, 2048)
    # drawing again gives small p more often, the more the scales differ, but in both of a pair
    assert share(null, 0, 0.001) > {"normal": 0.0015}.get(kind, 0.003)
    for level in (0.05, 0.01, 0.001):
        noisy = np.hypot(error(null, 0, level), error(null, 1, level))
        assert abs(share(null, 0, level) - share(null, 1, level)) < 5 * noisy
    assert at(null, 0.01) < 1.15 and at(null, 1e-5) < 3


@pytest.mark.parametrize("kind", ["exponential", "either side", "skewed, scale per cell"])
def test_inflation_follows_the_true_rate_of_small_p(kind):
    rng = np.random.default_rng(0)
    # 300 sources, so that a scale per cell is not that of 20 cells only
    rows = np.concatenate([noise(kind, (1, 20, 200), rng)[0].T for _ in range(300)])
    true = sign_flip_p(rows, up_to=0.05)
    keys = [(0, 5, f) for f in range(8)]
    null = null_draws(live_tests(noise(kind, (8, 20, 3000), rng)), keys, draws=1024)
    for level in (0.01, 0.003, 0.001, 0.0003):
        ratio = at(null, level) * level / (true <= level).mean()
        assert 0.7 < ratio < 1.5
    assert (true <= 0.001).mean() > 0.006  # what the plain test does


@pytest.mark.parametrize("kind", ["normal", "exponential", "skewed, scale per cell"])
def test_rare_draws_count_by_their_probability(kind):
    """Against plain draws with replacement from the same tests."""
    tests = live_tests(noise(kind, (1, 20, 400), np.random.default_rng(4)))
    null = null_draws(tests, KEYS[:1], 2**14)
    x = tests.rows(np.arange(len(tests.p)))
    rows = x[x.sum(1) ** 2 <= 0.455 * (x**2).sum(1)]
    rng = np.random.default_rng(5)
    plain = rows[np.arange(60_000) % len(rows)]
    p = sign_flip_p(
        np.take_along_axis(plain, rng.integers(0, 20, plain.shape), axis=1), up_to=LEVELS[-2]
    )
    assert 0.9 < null.weight[0].sum() * UNIT / tests.callable.sum() < 1.1
    for level in (0.05, 0.01, 0.001):
        expected = (p <= level).mean()
        noisy = np.hypot(error(null, 0, level), np.sqrt(expected / len(p)))
        assert abs(share(null, 0, level) - expected) < 4 * noisy
        # a plain count of as many draws has a larger error
        assert level > 0.01 or error(null, 0, level) < 0.8 * np.sqrt(expected / 2**14)


def test_inflation_is_the_law_it_says():
    null = of_law(lambda z: 0.05 * z**3)
    for level in LEVELS[4:-1]:
        assert at(null, level) == pytest.approx(np.exp(0.05 * norm.isf(level / 2) ** 3), rel=0.01)
    # beyond the draws as the cube of the quantile
    assert at(null, 1e-8) == pytest.approx(np.exp(0.05 * norm.isf(0.5e-8) ** 3), rel=0.01)
    swapped = null._replace(weight=null.weight[::-1])
    assert (inflation(swapped, np.array([0.3, 0.01, 1e-4])) == 1).all()
    assert np.isfinite(inflation(null, np.array([1e-300]))).all()
    assert (inflation(Null.joined([]), LEVELS) == 1).all()


def test_noise_does_not_pass_for_skewness():
    """Log I is shrunk by its standard error, and not used where that is large."""
    exact = of_law(lambda z: 0.02 * z**2)
    some = of_law(lambda z: 0.02 * z**2, 2000)
    true = np.exp(0.02 * norm.isf(0.0005) ** 2)
    assert at(exact, 0.001) == pytest.approx(true, rel=0.01)
    assert 1 <= at(some, 0.001) < true**0.5
    assert at(of_law(lambda z: 0.02 * z**2, 1e3, 1e4), 0.001) == 1  # a few heavy draws


def test_sources_in_which_everything_moves_have_no_say():
    rng = np.random.default_rng(1)
    null = null_draws(live_tests(rng.normal(size=(4, 20, 500)) + 3), KEYS)
    assert not null.weight.any() and at(null, 1e-4) == 1
    mixed = rng.normal(size=(4, 20, 900)) + np.where(np.arange(900) < 300, 2, 0)
    null = null_draws(live_tests(mixed), KEYS, draws=1024)
    assert null.weight.any() and at(null, 0.01) < 1.15


def test_draws_depend_on_the_source_alone():
    rng = np.random.default_rng(2)
    effects = rng.normal(size=(4, 12, 300)) * (rng.random((4, 12, 300)) < 0.7)
    whole = null_draws(live_tests(effects), KEYS)
    parts = [null_draws(live_tests(effects[i:j]), KEYS[i:j]) for i, j in ((0, 1), (1, 3), (3, 4))]
    for order in (parts, parts[::-1]):
        joined = Null.joined(order)
        np.testing.assert_array_equal(whole.weight, joined.weight)
        np.testing.assert_array_equal(whole.square, joined.square)
    assert whole.weight.any() and whole.weight.dtype == np.int64
    other = null_draws(live_tests(effects), [(1, *key[1:]) for key in KEYS])
    assert (other.weight != whole.weight).any()


def test_tests_that_cannot_be_called_give_no_draws():
    rng = np.random.default_rng(3)
    null = null_draws(live_tests(rng.normal(size=(4, 5, 50))), KEYS)
    assert not null.weight.any() and not null.square.any()


def test_small_runs_draw_more_of_each_source():
    draws = [draws_per_source(s) for s in (0, 1, 6, 16, 17, 100, 512, 10**6)]
    assert draws == [1024, 1024, 1024, 1024, 1024, 256, 32, 16]

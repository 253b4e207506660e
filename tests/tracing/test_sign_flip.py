"""Sign-flip p: equal to listing all patterns, exact up to 20 cells, checked beyond, calibrated
under the null.
"""

from __future__ import annotations

import numpy as np
import pytest

from scircuit.tracing.statistics import sign_flip
from scircuit.tracing.statistics.sign_flip import sign_flip_p
from tests.support import numpy_counts
from tests.support.plain_engine import brute_force_p


@pytest.mark.parametrize("k", range(1, 13))
def test_equals_listing_every_pattern(k):
    rng = np.random.default_rng(k)
    x = rng.normal(size=(12, k)) + rng.choice([0, 1], (12, 1))
    padded = np.concatenate([x, np.zeros((12, 3))], 1)[:, rng.permutation(k + 3)]
    np.testing.assert_array_equal(sign_flip_p(padded), [brute_force_p(row) for row in x])


def test_ties_count_as_extreme():
    x = np.array([[0.1, 0.2, 0.3, -0.6], [1, 1, 1, 1], [1, -1, 1, -1], [0.3, -0.1, -0.2, 0.4]])
    np.testing.assert_array_equal(sign_flip_p(x), [brute_force_p(row) for row in x])
    assert sign_flip_p(x)[1] == 2 / 16 and sign_flip_p(x)[0] == 1


def test_twenty_cells_are_exact():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 20)) + 0.3
    signs = ((np.arange(2**20)[:, None] >> np.arange(20)) & 1) * 2.0 - 1
    wanted = [(np.abs(signs @ row) >= abs(row.sum()) * (1 - 1e-12)).mean() for row in x]
    np.testing.assert_array_equal(sign_flip_p(x), wanted)


def test_p_is_dyadic_and_smallest_when_all_signs_agree():
    x = np.abs(np.random.default_rng(1).normal(size=(40, 20)))
    assert (sign_flip_p(x) == 2.0**-19).all()
    assert (sign_flip_p(-x) == 2.0**-19).all()
    mixed = sign_flip_p(x * np.random.default_rng(2).choice([-1, 1], x.shape))
    np.testing.assert_array_equal(mixed * 2**19, np.round(mixed * 2**19))


def test_no_effect_gives_no_p_and_bad_input_is_refused():
    assert np.isnan(sign_flip_p(np.zeros((2, 5)))).all()
    assert sign_flip_p(np.zeros((0, 5))).shape == (0,)
    with pytest.raises(ValueError, match="finite matrix"):
        sign_flip_p(np.array([[1.0, np.nan]]))


KINDS = {
    "normal": lambda rng, k: rng.normal(size=k),
    "heavy": lambda rng, k: rng.standard_t(2, k),
    "equal": lambda _, k: np.ones(k),
    "one or two": lambda rng, k: rng.choice([1.0, 2.0], k),
    "one or three": lambda rng, k: rng.choice([1.0, 3.0], k),
    "nearly equal": lambda rng, k: rng.normal(1, 0.1, k),
    "half large": lambda rng, k: np.r_[
        rng.normal(10, 0.1, k // 2), rng.uniform(0, 0.3, k - k // 2)
    ],
}


def drawn(kind, k, rng, tests):
    """Effects of one kind of size, with signs that agree more or less."""
    return np.stack(
        [
            np.abs(KINDS[kind](rng, k)) * np.where(rng.random(k) < rng.uniform(0.5, 0.95), 1, -1)
            for _ in range(tests)
        ]
    )


@pytest.mark.parametrize("k", [21, 24, 26])
@pytest.mark.parametrize("kind", KINDS)
def test_beyond_the_exact_count_p_is_never_below_it_and_hardly_above(k, kind):
    x = drawn(kind, k, np.random.default_rng(k), 80)
    exact, found = sign_flip_p(x, exact=k), sign_flip_p(x)
    asked = exact <= 0.1
    assert asked.sum() > 10
    ratio = found / exact
    counted = asked & (found < 0.12)
    assert counted.sum() >= 0.8 * asked.sum()
    assert (ratio[counted] >= 1 - 1e-4).all() and (
        ratio[counted] <= (1.02 if kind in ("normal", "heavy", "equal") else 1.1)
    ).all()
    assert (ratio[~counted] >= 0.6).all()  # approximate, and no edge at any threshold in use


@pytest.mark.parametrize("k", [40, 100, 300])
def test_p_of_whole_numbers_is_that_of_counting_them(k):
    """Subset sums of whole numbers, counted in exact integers."""
    rng, compared = np.random.default_rng(k), 0
    for largest in (1, 2, 5, 40):
        x = rng.integers(1, largest + 1, (8, k)) * np.where(
            rng.random((8, k)) < rng.uniform(0.5, 0.5 + 2 / k**0.5, (8, 1)), 1, -1
        )
        for row, p in zip(x.tolist(), sign_flip_p(x.astype(float)), strict=True):
            gap = (sum(map(abs, row)) - abs(sum(row))) // 2
            counts = [1] + [0] * gap
            for v in map(abs, row):
                for total in range(gap, v - 1, -1):
                    counts[total] += counts[total - v]
            exact = min(1.0, sum(counts) / 2 ** (k - 1))
            if exact <= 0.1:
                compared += 1
                assert exact * (1 - 1e-4) <= p <= exact * {40: 1.03, 100: 1.1, 300: 1.4}[k]
    assert compared >= 10


def test_forty_cells_against_monte_carlo():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(6, 40)) + np.array([0, 0.1, 0.2, 0.3, 0.35, 0.4])[:, None]
    draws = 400_000
    hits = np.zeros(6)
    for _ in range(8):
        signs = rng.choice(np.array([-1.0, 1.0], np.float32), (draws // 8, 40))
        hits += (np.abs(signs @ x.T.astype(np.float32)) >= np.abs(x.sum(1))).sum(0)
    p = sign_flip_p(x)
    standard_error = np.sqrt(np.maximum(p * (1 - p), 1e-6) / draws)
    assert (p > hits / draws - 5 * standard_error).all()
    assert (p < 1.1 * hits / draws + 5 * standard_error).all()


@pytest.mark.parametrize("k", [8, 20, 30])
def test_null_is_calibrated(k):
    rng = np.random.default_rng(5)
    # effects of any size, as long as signs are a coin toss
    p = sign_flip_p(rng.standard_t(2, (3000, k)) * rng.exponential(size=(3000, 1)))
    for level in (0.01, 0.05, 0.2, 0.5):
        share = (p <= level).mean()
        assert share <= level + 4 * np.sqrt(level / 3000)
        assert share >= level - 4 * np.sqrt(level / 3000) - 2.0 ** -(k - 1)


def test_many_tests_of_many_cells_have_few_distinct_p_and_none_is_smaller_than_it_was():
    effects = np.random.default_rng(0).normal(0.1, 1, (3000, 60))
    p = sign_flip_p(effects)
    digits = np.round(p / 10.0 ** (np.floor(np.log10(p)) - 3))
    np.testing.assert_allclose(p, digits * 10.0 ** (np.floor(np.log10(p)) - 3), rtol=1e-9)
    few = sign_flip_p(effects[:, :18])
    assert len(np.unique(np.round(few * 2**17))) == len(
        np.unique(few)
    )  # exact ones are left as they are
    a, gap = _ascending(effects)
    unrounded, counted = numpy_counts.on_grid(a, gap), p < 0.12
    assert counted.sum() > 500
    assert (p[counted] >= unrounded[counted] * (1 - 1e-8)).all()
    assert (p[counted] <= unrounded[counted] * 1.001).all()


@pytest.mark.parametrize("k", [24, 40, 100, 300])
@pytest.mark.parametrize("kind", ["normal", "heavy", "cauchy", "one large"])
def test_listing_fewer_signs_changes_no_approximation_that_matters(k, kind):
    rng = np.random.default_rng(k)
    x = {
        "normal": rng.normal(size=(400, k)),
        "heavy": rng.standard_t(3, (400, k)),
        "cauchy": rng.standard_cauchy((400, k)),
        "one large": rng.normal(size=(400, k)),
    }[kind]
    if kind == "one large":
        x[:, 0] *= 20
    x = x + rng.uniform(0, 4 / k**0.5, (400, 1))
    a, s = np.sort(np.abs(x), axis=1), np.abs(x.sum(1))
    all_listed, listed, found = (
        sign_flip._edgeworth(a, s, 10),
        sign_flip._to_list(a, s),
        np.empty(400),
    )
    for size in np.unique(listed):
        found[listed == size] = sign_flip._edgeworth(
            a[listed == size], s[listed == size], int(size)
        )
    asked = (all_listed > 0.05) & (all_listed < 0.5)
    assert asked.sum() > 40
    np.testing.assert_allclose(found[asked], all_listed[asked], rtol=0.01)
    assert (listed < 10).mean() > (0.5 if k >= 100 and kind == "normal" else 0)


def test_p_of_very_many_cells_is_a_number():
    for k in (1060, 1066, 1070, 1075, 1076, 3000):
        p = sign_flip_p(np.abs(np.random.default_rng(k).normal(1, 0.5, (3, k))))
        assert np.isfinite(p).all() and (p > 0).all() and (p < 1e-200).all()


@pytest.mark.parametrize("k", [60, 100])
def test_p_counted_with_few_bits_is_that_with_many(k, monkeypatch):
    """Numbers of 24 bits are believed only where their error cannot change the fourth digit."""
    x = drawn("heavy", k, np.random.default_rng(k), 600)
    asked, kinds = [], []
    count = sign_flip.grid_counts

    def watched(steps, used, tops, dtype):
        kinds.append((dtype, len(steps)))
        return count(steps, used, tops, dtype)

    monkeypatch.setattr(sign_flip, "grid_counts", watched)
    asked.append(sign_flip_p(x))
    again = sum(n for dtype, n in kinds if dtype is np.float64)
    few = sum(n for dtype, n in kinds if dtype is np.float32)
    assert few > 200 and 0 < again < 0.2 * few  # both are needed
    monkeypatch.setattr(sign_flip, "IN_FLOAT32", 0)
    asked.append(sign_flip_p(x))
    np.testing.assert_array_equal(*asked)


def _ascending(effects):
    a = np.sort(np.abs(effects), axis=1)
    total, s = a.sum(1), np.abs(effects.sum(1))
    return a, (total - s) / 2 + 1e-10 * total

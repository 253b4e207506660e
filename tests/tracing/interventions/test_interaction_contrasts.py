"""Contrasts, published ratios and their nulls, on arrays where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from scircuit.tracing.interventions.ablation.interaction_contrasts import (
    contrast,
    contrast_of,
    subsets_of,
)
from scircuit.tracing.interventions.ablation.published_ratios import (
    additivity_counts,
    published,
    signed_ratio,
)
from tests.support import plain_ablation
from tests.support.plain_engine import brute_force_p


def additive(k: int, cells: int, targets: int, seed: int = 0, mean: float = 1.0) -> np.ndarray:
    """Effects of all conditions where joint effects are the sum of single ones."""
    single = np.random.default_rng(seed).normal(mean, 1.0, (k, cells, targets))
    return np.stack(
        [sum(single[i] for i in range(k) if m >> i & 1) for m in range(1, 2**k)]
    ).astype(np.float64)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_contrasts_are_inclusion_and_exclusion(k):
    effects = np.random.default_rng(1).normal(size=(2**k - 1, 6, 5))
    named = {tuple(i for i in range(k) if m >> i & 1): effects[m - 1] for m in range(1, 2**k)}
    subsets = subsets_of(k)
    assert [m.bit_count() for m in subsets] == sorted(m.bit_count() for m in subsets)
    assert len(subsets) == 2**k - 1 - k
    for m in subsets:
        members = tuple(i for i in range(k) if m >> i & 1)
        wanted = plain_ablation.contrast(named, members)
        np.testing.assert_allclose(contrast_of(effects, m), wanted, atol=1e-12)
        c = contrast(effects, m, 1e-6)
        np.testing.assert_allclose(c.mean, wanted.mean(0), atol=1e-12)
        assert c.p.tolist() == [brute_force_p(wanted[:, t]) for t in range(5)]


def test_contrasts_up_to_their_floor_are_zero_and_not_tested():
    effects = np.zeros((7, 8, 2))
    effects[6, :, 0] = 6.9  # of ABC: seven effects of a floor of one
    effects[6, :, 1] = 7.1
    c = contrast(effects, 7, 1.0)
    assert np.isnan(c.p[0]) and c.mean[0] == 0 and c.p[1] == 2.0**-7


@pytest.mark.parametrize(("k", "expected"), [(2, 0.7071), (3, 0.5774), (4, 0.5)])
def test_exactly_additive_effects_have_no_contrast_and_the_ratio_of_their_null(k, expected):
    effects = additive(k, 200, 2000)
    full = 2**k - 1
    assert np.isnan(contrast(effects, full, 1e-6).p).all()
    old = published(effects, full, 1e-6)
    assert np.nanmedian(old.ratio) == pytest.approx(expected, abs=0.02)
    np.testing.assert_allclose(old.ratio, old.ratio_null, rtol=1e-9)
    np.testing.assert_allclose(old.interaction, old.interaction_null, rtol=1e-7)
    np.testing.assert_allclose(old.marginal, old.marginal_null, rtol=1e-7)
    below, same, above = additivity_counts(old.ratio)
    assert below > 0.97 * 2000 and above == 0 and below + same == np.isfinite(old.ratio).sum()
    assert signed_ratio(effects, full, 1e-6).value == pytest.approx(1.0, abs=1e-9)


def test_published_measures_written_out():
    effects = np.random.default_rng(3).normal(0.8, 1.0, (7, 40, 30))
    old = published(effects, 7, 0.0)
    d = np.abs(effects.mean(1) / effects.std(1, ddof=1))
    a, b, ab, c, ac, bc, abc = d
    passing = np.isfinite(old.ratio)
    assert passing.any()
    np.testing.assert_allclose(old.ratio[passing], (abc / (a + b + c))[passing])
    wanted = abc - ab - ac - bc + a + b + c
    np.testing.assert_allclose(old.interaction[passing], wanted[passing])
    added = effects[0] + effects[1] + effects[3]
    null = np.abs(added.mean(0) / added.std(0, ddof=1)) / (a + b + c)
    np.testing.assert_allclose(old.ratio_null[passing], null[passing])
    np.testing.assert_allclose(old.marginal[passing], (abc - ab)[passing])
    both = effects[0] + effects[1]
    null = np.abs(added.mean(0) / added.std(0, ddof=1)) - np.abs(both.mean(0) / both.std(0, ddof=1))
    np.testing.assert_allclose(old.marginal_null[passing], null[passing])
    assert np.isnan(old.marginal[~passing]).all()


def test_additive_effects_with_noise_give_uniform_p():
    rng = np.random.default_rng(1)
    for k in (2, 3):
        effects = additive(k, 30, 2000)
        effects[-1] += 0.3 * rng.normal(size=effects.shape[1:])
        p = contrast(effects, 2**k - 1, 1e-6).p
        for level in (0.01, 0.05, 0.5):
            assert (p <= level).mean() == pytest.approx(level, abs=4 * np.sqrt(level / 2000))


def test_the_signed_ratio_finds_redundancy_and_its_interval_covers():
    single = np.abs(np.random.default_rng(2).normal(1.0, 0.2, (2, 20, 50)))
    redundant = np.concatenate([single, single.max(0, keepdims=True)])
    found = signed_ratio(redundant, 3, 1e-6)
    assert found.value < found.high < 0.75
    wanted = single.max(0).mean(0).sum() / single.sum(0).mean(0).sum()
    assert found.value == pytest.approx(wanted)
    covered = []
    for seed in range(60):
        effects = additive(2, 25, 40, seed, 2.0)
        effects[2] *= 0.8
        # a cell is a little more or less redundant
        rng = np.random.default_rng(1000 + seed)
        effects[2] *= 1 + 0.1 * rng.normal(size=(25, 1))
        one = signed_ratio(effects, 3, 0.0)
        covered.append(one.low <= 0.8 <= one.high)
    assert np.mean(covered) > 0.85  # 0.95 less the optimism of a bootstrap of 25 cells
    assert np.isnan(signed_ratio(np.zeros((3, 5, 4)), 3, 0.0).value)

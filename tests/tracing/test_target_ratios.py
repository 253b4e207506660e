"""Targets at which random directions vary more than the pooled null says are found, and the noise
of few draws is not taken for it.
"""

from __future__ import annotations

import numpy as np
import pytest

from scircuit.tracing.direction_null.null_ratios import Ratio
from scircuit.tracing.direction_null.target_ratios import _rising, target_ratios

SOURCES, TARGETS = 8, 400


def ratios(true, noise, seed=0):
    """Ratios of standard deviations [sources, targets] about the true ones."""
    rng = np.random.default_rng(seed)
    return true * np.exp(noise * rng.normal(size=(SOURCES, TARGETS)))


@pytest.mark.parametrize("noise", [0.02, 0.1, 0.25])
def test_noise_alone_changes_little(noise):
    layer = np.linspace(1, 1.4, SOURCES)[:, None]  # of the layer as a whole
    found = target_ratios(ratios(layer, noise))
    assert (found >= 1).all()
    assert found.mean() < 1 + 0.3 * noise and np.median(found) < 1 + 0.05 * noise
    assert np.quantile(found[-1], 0.95) < 1 + 1.5 * noise


@pytest.mark.parametrize("noise", [0.02, 0.1, 0.25])
def test_targets_that_heads_write_are_found_by_how_often_a_source_fires(noise):
    true = np.ones((SOURCES, TARGETS))
    true[:, :20] = np.linspace(1, 3, SOURCES)[:, None]
    found = target_ratios(ratios(true, noise, 1))
    rms = np.sqrt((found[:, :20] ** 2).mean(1))
    np.testing.assert_allclose(rms[3:], true[3:, 0], rtol=0.03 + noise / 2)
    assert (np.diff(found, axis=0) >= 0).all()
    assert np.median(found[:, 20:]) < 1 + 0.05 * noise
    # no such target is missed where it matters most
    assert (found[-1, :20] > 3 * np.exp(-3 * noise)).all()


def test_the_rising_averages_are_those_of_pooling_neighbours():
    """Against pool-adjacent-violators, written out, column by column."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(9, 50)) + np.linspace(0, 1, 9)[:, None]
    x[rng.random(x.shape) < 0.2] = np.nan
    found = _rising(x)
    for j in range(50):
        known = np.flatnonzero(np.isfinite(x[:, j]))
        blocks = []
        for i in known:
            blocks.append([x[i, j], 1])
            while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
                (a, n), (b, m) = blocks[-2:]
                blocks[-2:] = [[(n * a + m * b) / (n + m), n + m]]
        wanted = np.concatenate([np.full(n, value) for value, n in blocks])
        np.testing.assert_allclose(found[known, j], wanted)


def test_targets_that_do_not_move_have_none():
    x = ratios(np.ones((SOURCES, TARGETS)), 0.1)
    x[:, 7] = np.nan
    x[:5, 8] = np.nan
    found = target_ratios(x)
    assert (found[:, 7] == 1).all() and np.isfinite(found).all()
    alone = target_ratios(np.array([[1.0, 1.0, 2.0, np.nan]]))
    np.testing.assert_allclose(alone, [[1, 1, 2, 1]])  # nothing says what is noise


def test_a_source_between_two_of_the_sample_has_a_ratio_between_theirs():
    targets = np.array([[1.0, 1.0], [1.0, 3.0]])
    ratio = Ratio(1.0, 0.9, 1.2, 2, ((10, 1.0), (1000, 1.5)), targets)
    np.testing.assert_allclose(ratio.factors(10), [1, 1])
    np.testing.assert_allclose(ratio.factors(100), [1.25, 1.25 * 2])
    np.testing.assert_allclose(ratio.factors(9999), [1.5, 4.5])
    np.testing.assert_allclose(ratio.factors(1), [1, 1])
    assert ratio._replace(targets=None).factors(1000) == 1.5
    assert np.isnan(ratio._replace(median=3.0).factors(10)).all()

"""The published null equals a plain loop, and the published calibration is recomputed from its
files.
"""

from __future__ import annotations

import numpy as np
import pytest

from scircuit.tracing.legacy.published_fdr import (
    Chunk,
    extrapolate,
    false_discovery_rate,
    surviving_chunks,
)
from scircuit.tracing.legacy.sign_flip_null import flips, legacy_null


def effects(seed=0, features=3, cells=12, targets=40):
    """Noise, planted effects, and targets with zeros in most or all cells; features silent in some
    cells.
    """
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((features, cells, targets))
    x[:, :, :8] += 2.5
    x[:, :, 8:12] *= rng.random((features, cells, 4)) < 0.4
    x[:, :, 12:16] = 0
    active = rng.random((features, cells)) < 0.8
    active[:, :3] = True
    return np.where(active[:, :, None], x, 0).astype(np.float32), active


def plain(x, signs):
    """(observed, null edges of each draw, p and strong of each live test) of one feature, test by
    test.
    """
    n, targets = x.shape

    def statistics(v):
        d = v.mean() / max(v.std(ddof=1), 1e-10)
        above = int((v > 0).sum())
        return d, max(above, n - above) / n

    observed, null, tests = 0, np.zeros(len(signs)), []
    for t in range(targets):
        d, share = statistics(x[:, t])
        flipped = [statistics(s * x[:, t]) for s in signs]
        observed += abs(d) > 0.5 and share > 0.7
        null += [abs(a) > 0.5 and b > 0.7 for a, b in flipped]
        if x[:, t].any():
            extreme = sum(abs(a) >= abs(d) - 1e-12 for a, _ in flipped)
            g = d * (1 - 3 / (4 * n - 5))
            tests.append(((1 + extreme) / (1 + len(signs)), abs(g) > 0.5 and share > 0.7))
    return observed, null, tests


def test_equals_the_plain_loop():
    draws, (x, active) = 200, effects()
    found = legacy_null(x, active, [5, 17, 902], draws=draws, seed=3)
    family = []
    for i, f in enumerate((5, 17, 902)):
        signs = flips(int(active[i].sum()), draws, np.random.default_rng((3, f)))
        observed, null, tests = plain(x[i][active[i]].astype(np.float64), signs)
        assert found.observed[i] == observed
        assert found.expected[i] == pytest.approx(null.mean()) and found.sd[i] == pytest.approx(
            null.std()
        )
        counted = np.bincount([round(p * (draws + 1)) - 1 for p, _ in tests], minlength=draws + 1)
        # float rounding decides whether an equally extreme draw (such as all minus) is counted: at
        # most one step of p
        assert np.abs(np.cumsum(counted) - np.cumsum(found.tests[i])).sum() <= len(tests)
        assert found.tests[i].sum() == len(tests) < 40
        family += tests
    p = np.repeat(np.arange(1, draws + 2) / (draws + 1), found.tests.sum(0))
    order = np.sort(p)
    passing = order <= np.arange(1, len(order) + 1) / len(order) * 0.05
    cut = int(np.flatnonzero(passing)[-1]) + 1 if passing.any() else 0
    strong = np.repeat(np.arange(1, draws + 2) / (draws + 1), found.strong.sum(0))
    surviving, edges = found.surviving()
    assert surviving == cut > 0
    assert edges.sum() == (strong <= order[cut - 1]).sum() > 0
    assert found.strong.sum() == sum(s for _, s in family)
    assert found.fdr == pytest.approx(found.expected.sum() / found.observed.sum())


def test_each_feature_has_its_own_seed_and_silent_ones_are_left_out():
    x, active = effects()
    active[1] = False
    active[1, 0] = True
    both, alone = (
        legacy_null(x, active, [4, 6, 8], draws=30),
        legacy_null(x[2:], active[2:], [8], draws=30),
    )
    assert both.features.tolist() == [4, 8]
    assert both.expected[1] == alone.expected[0] and np.array_equal(both.tests[1], alone.tests[0])
    none = legacy_null(x[1:2], active[1:2], [6], draws=30)
    assert len(none.features) == 0 and np.isnan(none.fdr) and none.surviving()[0] == 0


def test_draws_of_plus_alone_are_drawn_again():
    signs = flips(2, 4000, np.random.default_rng(0))
    assert not (signs > 0).all(1).any() and (signs < 0).all(1).any()
    assert set(np.unique(signs)) == {-1.0, 1.0}


def test_fdr_is_one_for_noise_and_small_for_planted_effects():
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((4, 20, 3000))
    every = np.ones((4, 20), bool)
    assert legacy_null(noise, every, range(4), draws=200).fdr == pytest.approx(1, abs=0.15)
    noise[:, :, :600] += 2
    assert legacy_null(noise, every, range(4), draws=200).fdr < 0.12


def test_chunks_and_their_gaps():
    degrees, surviving = np.array([10, 20, 30, 41, 50, 60]), np.array([5, 10, 15, 40, 49, 60])
    chunks = surviving_chunks(degrees, surviving, 2)
    assert chunks == [Chunk(3, 10, 30, 30 / 60), Chunk(3, 41, 60, 149 / 151)]
    assert extrapolate(np.array([10, 30, 41]), chunks) == pytest.approx(40 / 2 + 41 * 149 / 151)
    # 4 lies below all chunks, 35 between two, 90 above all
    assert extrapolate(np.array([4, 35, 90]), chunks) == pytest.approx(129 * 149 / 151)
    assert extrapolate(np.array([4, 35, 90]), chunks, mended=True) == pytest.approx(
        39 / 2 + 90 * 149 / 151
    )
    assert np.isnan(false_discovery_rate(np.zeros(2), np.ones(2)))

r"""Tests of importance: a feature over cells, hubs against matched features over pairs, and degree
against importance.

Of one feature: two-sided sign flips of its changes over cells (zeros take no part), with q of
Benjamini-Hochberg over the features tested. Hubs against matched: sign flips of
``importance(hub) - importance(match)``, the pair as the unit. Hubs against random features: the
labels of the two arms permuted. Degree: Spearman's rho with importance, and partial given the
firing rate (correlation of the residuals of ranks on its ranks); p of both by permuting the second
variable, ``(1 + as large) / (1 + draws)``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scircuit.tracing.interventions.feature_importance.arms import Arms
from scircuit.tracing.interventions.feature_importance.loss_changes import LossChanges
from scircuit.tracing.interventions.intervention_tables import interval, q_of
from scircuit.tracing.statistics.sign_flip import sign_flip_p

DRAWS = 9999


class Compared(NamedTuple):
    """A difference of two arms, or a correlation, with its p; NaN where it cannot be had."""

    value: float
    low: float
    high: float
    p: float
    n: int


class Importance(NamedTuple):
    """Per feature [features of the arms], and the comparisons."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray  # NaN where the loss changes in no cell
    q: np.ndarray
    cells_active: np.ndarray
    as_published: np.ndarray
    matched: Compared
    random: Compared
    rho: Compared
    partial: Compared


def importance(
    changes: LossChanges, arms: Arms, degree: np.ndarray, firing_rate: np.ndarray, seed: int = 0
) -> Importance:
    """All tests.

    Parameters
    ----------
    changes
        Losses of ``arms.every``, in that order.
    arms
        The features.
    degree, firing_rate
        Of all features that `arms` points into.
    seed
        Of the permutations.
    """
    x, n = changes.change, len(arms.hubs)
    mean, low, high = interval(x.T)
    p = sign_flip_p(x)
    pairs = mean[:n] - mean[n : 2 * n]
    middle, left, right = (float(v[0]) for v in interval(pairs[:, None]))
    flips = float(sign_flip_p(pairs[None])[0])
    rng = np.random.default_rng(seed)
    d, f, y = (np.asarray(v, float) for v in (degree[arms.every], firing_rate[arms.every], mean))
    return Importance(
        mean,
        low,
        high,
        p,
        q_of(p),
        changes.active.sum(1),
        changes.as_published,
        Compared(middle, left, right, flips, n),
        _two_arms(mean[:n], mean[2 * n :], rng),
        _correlation(_centred(d), _centred(y), rng),
        _correlation(_given(d, f), _given(y, f), rng),
    )


def _unknown(n: int) -> Compared:
    nan = float("nan")
    return Compared(nan, nan, nan, nan, n)


def _two_arms(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> Compared:
    """Difference of means, with p of permuted labels."""
    if min(len(a), len(b)) < 2:
        return _unknown(len(a) + len(b))
    both, found = np.concatenate([a, b]), a.mean() - b.mean()
    drawn = rng.permuted(np.tile(both, (DRAWS, 1)), axis=1)
    null = drawn[:, : len(a)].mean(1) - drawn[:, len(a) :].mean(1)
    half = 1.96 * np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
    return Compared(
        float(found), float(found - half), float(found + half), _p(null, found), len(both)
    )


def _centred(x: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    ranks = rankdata(x)
    return ranks - ranks.mean()


def _given(x: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Ranks of `x` without what the ranks of `given` explain linearly."""
    ranks, other = _centred(x), _centred(given)
    square = float(other @ other)
    return ranks if square == 0 else ranks - other * (ranks @ other) / square


def _correlation(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> Compared:
    """Correlation of centred values, with p of permuted `y`."""
    size = float(np.sqrt((x @ x) * (y @ y)))
    if len(x) < 4 or size < 1e-9 * len(x):
        return _unknown(len(x))
    rho = float(x @ y) / size
    drawn = rng.permuted(np.tile(y, (DRAWS, 1)), axis=1)
    # Fisher's z; a rank correlation has the variance 1.06 / (n - 3)
    z, half = np.arctanh(min(max(rho, -1 + 1e-12), 1 - 1e-12)), 1.96 * np.sqrt(1.06 / (len(x) - 3))
    return Compared(
        rho, float(np.tanh(z - half)), float(np.tanh(z + half)), _p(drawn @ x / size, rho), len(x)
    )


def _p(null: np.ndarray, found: float) -> float:
    as_large = int((np.abs(null) >= abs(found) * (1 - 1e-12)).sum())
    return (1 + as_large) / (1 + len(null))

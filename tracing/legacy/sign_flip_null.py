"""The published sign-flip null of the legacy rule, on the per-cell effects of a run.

For one feature with effects x [n, T] in its n active cells and B random rows s of +-1 (all-plus
rows drawn again; the same for all targets):

    mean_b = s_b . x / n        sd_b^2 = (sum of x^2 - n mean_b^2) / (n - 1)
    d_b = mean_b / max(sd_b, 1e-10)
    null edges of the feature = mean over b of the targets with |d_b| > 0.5 and consistency > 0.7,
                                zeros counted as not positive
    p = (1 + number of b with |d_b| >= |d|) / (1 + B)        g = d (1 - 3 / (4 n - 5))

Calibrated edges have Benjamini-Hochberg q <= 0.05 over all live tests (any effect not zero), |g| >
0.5 and consistency > 0.7. With B draws p is never below 1 / (B + 1), and the draw of all minus is
as extreme as the data; the exact p of `scircuit.tracing.statistics.sign_flip` has neither fault.
Source: the public code of the revision (p1b_null_fdr_thresholds.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from scircuit.core.edge_rules import legacy_edges
from scircuit.tracing.legacy.published_fdr import false_discovery_rate
from scircuit.tracing.statistics.q_values import q_table

DRAWS = 500
_BLOCK = 2048  # targets whose flips are held at once


class LegacyNull(NamedTuple):
    """The null of some features: arrays over features, and tests by their p = (1 + j) / (1 + B)."""

    features: np.ndarray
    observed: np.ndarray  # legacy edges
    expected: np.ndarray  # mean of the null edges over the draws
    sd: np.ndarray  # their standard deviation over the draws, ddof 0
    tests: np.ndarray  # [M, B + 1] live tests by j
    strong: np.ndarray  # [M, B + 1] those with |g| > 0.5 and consistency > 0.7 by j

    @property
    def fdr(self) -> float:
        """Expected null edges over observed ones."""
        return false_discovery_rate(self.observed, self.expected)

    def surviving(self, q: float = 0.05) -> tuple[int, np.ndarray]:
        """Live tests with q at most `q` over all features here, and calibrated edges of each
        feature.
        """
        p = np.arange(1, self.tests.shape[1] + 1) / self.tests.shape[1]
        family = self.tests.sum(0)
        held = np.flatnonzero(family)
        passing = held[q_table(p[held], family[held]).q <= q]
        return int(family[passing].sum()), self.strong[:, passing].sum(1)


def flips(n: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Random rows of +-1, [draws, n]; rows of plus alone are drawn again."""
    signs = rng.choice([-1.0, 1.0], size=(draws, n))
    while (plus := (signs > 0).all(1)).any():
        signs[plus] = rng.choice([-1.0, 1.0], size=(int(plus.sum()), n))
    return signs


def legacy_null(
    effects: np.ndarray,
    active: np.ndarray,
    features: Sequence[int] | np.ndarray,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> LegacyNull:
    """Null of features with effects [M, C, T] in the cells where they are `active` [M, C].

    Each feature draws from its own seed, so that the order of features does not matter; the
    published code drew from one generator in a loop. Features active in fewer than two cells are
    left out, as published.
    """
    kept, names = np.flatnonzero(active.sum(1) >= 2), np.asarray(features, np.int64)
    found = [
        _feature(
            effects[i][active[i]].astype(np.float64),
            draws,
            np.random.default_rng((seed, int(names[i]))),
        )
        for i in kept
    ]
    if not found:
        none, hist = np.zeros(0), np.zeros((0, draws + 1), np.int64)
        return LegacyNull(none.astype(np.int64), none.astype(np.int64), none, none, hist, hist)
    observed, null, tests, strong = (np.stack(column) for column in zip(*found, strict=True))
    return LegacyNull(names[kept], observed, null.mean(1), null.std(1), tests, strong)


def _feature(
    x: np.ndarray, draws: int, rng: np.random.Generator
) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """Observed edges, null edges of every draw [B], live tests and strong live tests by the number
    of draws at least as extreme [B + 1].
    """
    n, signs = len(x), flips(len(x), draws, rng)
    observed, null = 0, np.zeros(draws)
    tests, strong = np.zeros((2, draws + 1), np.int64)
    for start in range(0, x.shape[1], _BLOCK):
        part = x[:, start : start + _BLOCK]
        d, n_pos = part.mean(0) / np.maximum(part.std(0, ddof=1), 1e-10), (part > 0).sum(0)
        mean = signs @ part / n
        variance = ((part**2).sum(0) - n * mean**2) / (n - 1)
        flipped = mean / np.maximum(np.sqrt(np.maximum(variance, 0)), 1e-10)
        flipped_pos = (signs > 0) @ (part > 0).astype(float) + (signs < 0) @ (part < 0).astype(
            float
        )
        observed += int(legacy_edges(d, np.full(len(d), n), n_pos).sum())
        null += legacy_edges(flipped, np.full(len(d), n), flipped_pos).sum(1)
        extreme, live = (np.abs(flipped) >= np.abs(d)).sum(0), (part != 0).any(0)
        large = legacy_edges(hedges(d, n), np.full(len(d), n), n_pos)
        tests += np.bincount(extreme[live], minlength=draws + 1)
        strong += np.bincount(extreme[live & large], minlength=draws + 1)
    return observed, null, tests, strong


def hedges(d: np.ndarray, n: int) -> np.ndarray:
    """Hedges' small-sample correction of a one-sample d over n cells."""
    return d * (1 - 3 / (4 * n - 5)) if n > 2 else d

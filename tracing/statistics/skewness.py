r"""How much more often a small p comes than sign flips say, where the mean is zero but the effects
are not symmetric.

The sign-flip test is exact for effects whose distribution over cells is symmetric about zero. Many
small effects of one sign that a few large ones of the other balance have mean zero too, and a
handful of cells easily misses the large ones: for effects distributed as 1 - exp(1) in 20 cells, p
<= 0.001 comes 8 times too often. How skewed the effects of a run are can be read from its quiet
tests, those with

    (sum x)^2 <= 0.455 sum x^2      (half of the tests of a normal null) .

Their cells are drawn again with replacement, in pairs: once as they are, and once after a random
sign was given to every cell, drawn until that test is quiet too. Where effects are symmetric both
have the same distribution given the sizes of the effects, be they heavy-tailed or of a scale of
their own in every cell: what drawing again does to p cancels. With F_own and F_sym the shares of
sign-flip p at or below p,

    I(p) = 1 + (F_own(p) - F_sym(p)) / p

is 1 without skewness. With it I grows as ``exp(c z^3)``, z the normal quantile of p / 2, as large
deviations of self-normalised sums do (Jing, Shao and Wang 2003), and one number c >= 0 says how
skewed a run is; `inflation` estimates it at the smallest p that the draws reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from scircuit.tracing.statistics.effect_statistics import Tests
from scircuit.tracing.statistics.sign_flip import sign_flip_p

LEVELS = np.array(
    [1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.03, 0.05, 1.0]
)
"""p values up to which null draws are counted."""

_QUIET = 0.455  # 0.6745^2, the median of a squared standard normal
_TRIES = 8  # sign patterns for a quiet one; where none is, the signs stay, and the pair cancels
_RUN_DRAWS = 2**16  # of all sources together: below, the guard costs power by its own noise
_FEWEST, _MOST = 2**7, 2**12  # draws per source
_REACHED = 8  # draws expected at the lowest level that is used
_WIDTH = 32  # highest level that is used over the lowest


class Null(NamedTuple):
    """Null draws that stand for the tests of some sources that can be called.

    `p` are the levels, `weight` [2, levels] is the number of tests with a null p up to the level
    and above the one before it: as drawn, and with random signs. `draws` is the number of pairs.
    """

    p: np.ndarray
    weight: np.ndarray
    draws: int

    @classmethod
    def joined(cls, parts: Sequence[Null]) -> Null:
        """Put the draws of several blocks of sources together."""
        weight = np.zeros((2, len(LEVELS)))
        for part in parts:
            weight += part.weight
        return cls(LEVELS, weight, sum(int(part.draws) for part in parts))


def draws_per_source(sources: int) -> int:
    """Null draws of each source for a run with this many: a power of two, so that weights add up
    exactly in any order.
    """
    wanted = -(-_RUN_DRAWS // max(sources, 1))
    return int(min(max(1 << (wanted - 1).bit_length(), _FEWEST), _MOST))


def null_draws(tests: Tests, keys: Sequence[Sequence[int]], draws: int = _FEWEST) -> Null:
    """Draw null p values for every source.

    Parameters
    ----------
    tests
        Live tests of some sources.
    keys
        Seeds of each source, such as (seed, layer, feature): its draws depend on nothing but these
        and its own effects.
    draws
        Pairs of draws per source, `draws_per_source` of the run.
    """
    sources = np.arange(len(keys) + 1)
    able = np.bincount(tests.source[tests.callable], minlength=len(keys))
    square = tests.sd**2 * (tests.n - 1) + tests.n * tests.mean**2
    quiet = np.flatnonzero(tests.callable & ((tests.n * tests.mean) ** 2 <= _QUIET * square))
    bounds = np.searchsorted(tests.source[quiet], sources)
    found, scale = [], []
    for s, key in enumerate(keys):
        if len(donors := quiet[bounds[s] : bounds[s + 1]]):
            rng = np.random.default_rng([*key, 3])
            found += _pair(tests.rows(rng.choice(donors, draws)), rng)
            scale.append(able[s] / draws)
    if not found:
        return Null.joined([])
    p = sign_flip_p(np.concatenate(found), up_to=LEVELS[-2])  # all at once: the calls are many
    level = np.searchsorted(LEVELS, np.where(np.isnan(p), 1.0, p)).reshape(-1, 2, draws)
    weight = np.zeros((2, len(LEVELS)))
    for kind in (0, 1):
        np.add.at(weight[kind], level[:, kind], np.array(scale)[:, None])
    return Null(LEVELS, weight, draws * len(scale))


def inflation(null: Null, p: np.ndarray) -> np.ndarray:
    """How many times more often than sign flips say a null p is at most `p`: at least 1."""
    from scipy.special import ndtri

    c = skewness(null)
    if c == 0:
        return np.ones(len(p))
    return np.exp(np.minimum(c * -(ndtri(p / 2) ** 3), 700.0))


def skewness(null: Null) -> float:
    """The number c of ``I(p) = exp(c z^3)``: 0 where the draws show no skewness."""
    from scipy.special import ndtri

    tests = null.weight[0].sum()
    if not tests:
        return 0.0
    lowest = min(_REACHED / null.draws, 0.001)
    used = (null.p >= lowest * (1 - 1e-9)) & (null.p <= lowest * _WIDTH)
    level = null.p[used]
    own, symmetric = np.cumsum(null.weight, axis=1)[:, used] / tests
    cube = -(ndtri(level / 2) ** 3)
    excess = (own - symmetric) / level
    # of log I / z^3, by the variance of a difference of counts
    precision = cube * level**2 / np.maximum(own + symmetric, 2 * level)

    low, high = 0.0, 1.0
    if (precision * excess).sum() <= 0:
        return 0.0
    for _ in range(50):
        c = (low + high) / 2
        low, high = (c, high) if (precision * (np.expm1(c * cube) - excess)).sum() < 0 else (low, c)
    return high


def _pair(own: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """The effects of quiet tests drawn again, and the same with random signs."""
    signed, waiting = own.copy(), np.arange(len(own))
    for _ in range(_TRIES):
        signs = rng.integers(0, 2, (len(waiting), own.shape[1]), dtype=np.int8)
        signed[waiting] = own[waiting] * (2 * signs - 1)
        waiting = waiting[~_quiet(signed[waiting])]
    signed[waiting] = own[waiting]
    picks = _picks(own, rng)
    return [np.where(own == 0, 0.0, np.take_along_axis(x, picks, axis=1)) for x in (own, signed)]


def _quiet(rows: np.ndarray) -> np.ndarray:
    return rows.sum(1) ** 2 <= _QUIET * np.einsum("ij,ij->i", rows, rows)


def _picks(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For every cell one with an effect in the same row, at random."""
    cells = np.count_nonzero(rows, axis=1)[:, None]
    picks = (rng.random(rows.shape) * cells).astype(np.int64)
    if (cells == rows.shape[1]).all():
        return picks
    filled = np.argsort(rows == 0, axis=1, kind="stable")  # cells with an effect come first
    return np.take_along_axis(filled, picks, axis=1)

r"""How much more often a small p comes than sign flips say, where the mean is zero but the effects
are not symmetric.

The sign-flip test is exact for effects whose distribution over cells is symmetric about zero. Many
small effects of one sign that a few large ones of the other balance have mean zero too, and a
handful of cells easily misses the large ones: for effects distributed as 1 - exp(1) in 20 cells, p
<= 0.001 comes 9 times too often. How skewed the effects of a run are can be read from its quiet
tests, those with

    (sum x)^2 <= 0.455 sum x^2      (half of the tests of a normal null) .

Their cells are drawn again with replacement, in pairs: once as they are, and once after a random
sign was given to every cell, drawn until that test is quiet too. Where effects are symmetric both
have the same distribution given the sizes of the effects, be they heavy-tailed or of a scale of
their own in every cell: what drawing again does to p cancels. With F_own and F_sym the shares of
sign-flip p at or below x, the inflation of a p is read where random signs come as often as p says,

    I(p) = (F_own(x) / F_sym(x)) ^ 1.5     at x with F_sym(x) = p .

The power makes up for what drawing n cells from n loses: a handful of cells misses the same large
effects once more. By simulation the logarithm of the true inflation is that of the draws times 1.4
to 1.9 in 8 and 12 cells, 1.2 to 1.7 in 20 and 40 and about 1.1 in 100 (exponential and lognormal
effects), with little trend in p.

Small p are rare, so most draws prefer cells that make them: a cell is drawn with a weight of
``exp(t y - t^2 y^2 / 2)`` for ``y = x / sqrt(sum x^2)`` and t of either sign, which is how large
deviations of self-normalised sums come about (Jing, Shao and Wang 2003), and every draw counts by
its true over its preferred probability (bootstrap by importance sampling, Johns 1988). log I is 0
at p = 1, does not fall towards small p, and is shrunk by 2 s^2 / log I, s its standard error over
the draws, so that their noise does not pass for skewness; below the p that the draws reach it grows
as z^3, z the normal quantile of p / 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from scircuit.tracing.statistics.effect_statistics import Tests
from scircuit.tracing.statistics.sign_flip import sign_flip_p

LEVELS = np.array(
    [1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 1]
)
"""p values up to which null draws are counted."""
UNIT = 2.0**-24
"""Of stored weights, in tests: whole numbers of it add up exactly in any order."""

_QUIET = 0.455  # 0.6745^2, the median of a squared standard normal
_TRIES = 8  # sign patterns for a quiet one; where none is, the signs stay, and the pair cancels
_TILT, _TILTED = 3.5, 0.375  # t, and share of the draws with either sign of it
_RUN_DRAWS = 2**14  # of all sources together: below, the guard costs power by its own noise
_FEWEST, _MOST = 2**4, 2**10  # draws per source
_LOST = 1.5  # log of the true inflation over that of the draws
_NOISE = 0.5  # largest standard error of log I that is used


class Null(NamedTuple):
    """Null draws that stand for the tests of some sources that can be called.

    `p` are the levels, `weight` [2, levels] is the number of tests with a null p up to the level
    and above the one before it: as drawn, and with random signs. `square` [2, levels] is the sum of
    the squared weights of the draws, from which the noise of `weight` follows. Both are integers in
    units of `UNIT`.
    """

    p: np.ndarray
    weight: np.ndarray
    square: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence[Null]) -> Null:
        """Put the draws of several blocks of sources together."""
        weight, square = np.zeros((2, 2, len(LEVELS)), np.int64)
        for part in parts:
            weight += part.weight
            square += part.square
        return cls(LEVELS, weight, square)


def draws_per_source(sources: int) -> int:
    """Null draws of each source for a run with this many."""
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
    able = np.bincount(tests.source[tests.callable], minlength=len(keys))
    square = tests.sd**2 * (tests.n - 1) + tests.n * tests.mean**2
    quiet = np.flatnonzero(tests.callable & ((tests.n * tests.mean) ** 2 <= _QUIET * square))
    bounds = np.searchsorted(tests.source[quiet], np.arange(len(keys) + 1))
    drawn, weights = [], []
    for s, key in enumerate(keys):
        if len(donors := quiet[bounds[s] : bounds[s + 1]]):
            rng = np.random.default_rng([*key, 3])
            own = tests.rows(np.resize(rng.permutation(donors), draws))
            for rows in (own, _random_signs(own, rng)):
                again, weight = _drawn_again(rows, rng)
                drawn.append(again)
                weights.append(weight * (able[s] / draws))
    if not drawn:
        return Null.joined([])
    p = sign_flip_p(np.concatenate(drawn), up_to=LEVELS[-2])  # all at once: the calls are many
    level = np.searchsorted(LEVELS, np.where(np.isnan(p), 1.0, p)).reshape(-1, 2, draws)
    weight = np.array(weights).reshape(level.shape)
    counts = np.zeros((2, 2, len(LEVELS)), np.int64)
    for kind in (0, 1):
        for power in (0, 1):  # a square is never 0, nor is the noise of one draw
            units = np.ceil(weight[:, kind] ** (power + 1) / UNIT).astype(np.int64)
            np.add.at(counts[power, kind], level[:, kind], units)
    return Null(LEVELS, *counts)


def inflation(null: Null, p: np.ndarray) -> np.ndarray:
    """How many times more often than sign flips say a null p is at most `p`: at least 1."""
    z, log = _curve(null)
    at = _quantile(np.minimum(p, 1.0))
    beyond = np.maximum(at / z[-1], 1.0) ** 3 if z[-1] > 0 else 1.0
    return np.exp(np.minimum(np.interp(at, z, log) * beyond, 700.0))


def _curve(null: Null) -> tuple[np.ndarray, np.ndarray]:
    """Normal quantiles, ascending from 0, and log I at each."""
    from scipy.optimize import isotonic_regression

    weight = np.cumsum(null.weight, axis=1) * UNIT
    square = np.cumsum(null.square, axis=1) * UNIT
    used = np.flatnonzero((weight[:, :-1] > 0).all(0))[::-1]  # from large p to small
    noise = _LOST * np.sqrt((square[:, used] / weight[:, used] ** 2).sum(0))
    used, noise = used[noise <= _NOISE], noise[noise <= _NOISE]
    if not len(used):
        return np.zeros(1), np.zeros(1)
    own, symmetric = weight[:, used] / weight[:, -1:]
    log = isotonic_regression(_LOST * np.log(own / symmetric), weights=noise**-2).x
    shrunk = np.maximum(log - 2 * noise**2 / np.maximum(log, 1e-300), 0.0)
    z = np.maximum.accumulate(_quantile(np.minimum(symmetric, 1.0)))
    return np.append(0.0, z), np.append(0.0, np.maximum.accumulate(shrunk))


def _quantile(p: np.ndarray) -> np.ndarray:
    """Size of a standard normal number that is exceeded with probability `p` on both sides."""
    from scipy.special import ndtri

    return -ndtri(np.maximum(p, 1e-300) / 2)


def _random_signs(own: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The effects of quiet tests with random signs with which they are quiet too."""
    signed, waiting = own.copy(), np.arange(len(own))
    for _ in range(_TRIES):
        signs = rng.integers(0, 2, (len(waiting), own.shape[1]), dtype=np.int8)
        signed[waiting] = own[waiting] * (2 * signs - 1)
        waiting = waiting[~_quiet(signed[waiting])]
    signed[waiting] = own[waiting]
    return signed


def _quiet(rows: np.ndarray) -> np.ndarray:
    return rows.sum(1) ** 2 <= _QUIET * np.einsum("ij,ij->i", rows, rows)


def _drawn_again(rows: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Each row with as many of its effects drawn with replacement, and the weight of the draw: its
    probability under equal chances over that under the chances used.
    """
    count, cells = rows.shape
    filled = rows != 0
    y = rows / np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    damped = filled * np.exp(-((_TILT * y) ** 2) / 2)
    tilt = np.exp(_TILT * y)
    up, down = damped * tilt, damped / tilt
    kind = rng.random(count)[:, None]
    chance = np.where(kind < _TILTED, up, np.where(kind < 2 * _TILTED, down, filled))
    upto = np.cumsum(chance, axis=1)
    # one search for all rows: row i has the numbers from i to i + 1; the last cell that can be
    # drawn, and all after it, stay at i + 1
    first = np.arange(count)[:, None]
    wanted = first + rng.random(rows.shape)
    picks = np.searchsorted((first + upto / upto[:, -1:]).ravel(), wanted.ravel(), side="right")
    picks = np.minimum(picks.reshape(rows.shape) - cells * first, cells - 1)
    chosen = np.where(filled, np.take_along_axis(y, picks, axis=1), 0.0)
    lean, spread = _TILT * chosen.sum(1), (_TILT**2 / 2) * np.einsum("ij,ij->i", chosen, chosen)
    number = filled.sum(1)
    density = 1 - 2 * _TILTED
    for sign, total in ((1, up.sum(1)), (-1, down.sum(1))):
        density = density + _TILTED * np.exp(sign * lean - spread - number * np.log(total / number))
    return np.where(filled, np.take_along_axis(rows, picks, axis=1), 0.0), 1 / density

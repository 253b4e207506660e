r"""Two-sided sign-flip p of a mean over cells: how often a random assignment of signs gives a sum
at least as extreme.

With a_i the absolute non-zero effects, k of them, and s the observed absolute sum, a pattern of
signs that makes the cells of a subset M negative has sum ``sum(a) - 2 sum_M(a)``, so

    p = 2 #{ M : sum_M(a) <= g } / 2^k ,     g = (sum(a) - s) / 2 .

Only the j elements with ``a_i <= g`` can be in M. Up to `EXACT` of them the count is exact, by
meeting in the middle (`scircuit.tracing.statistics.subset_counts`). p is then a multiple of
2^-(k-1).

Beyond, subsets are counted on a grid of `steps` = 4096 steps of size ``g / steps``, one element at
a time:

    c_0 = [1, 0, ...] ,   c_i(v) = c_{i-1}(v) + c_{i-1}(v - b_i) ,
    p = 2 sum_{v <= steps + e} c_k(v) / 2^k ,

with elements b_i rounded so that each partial sum is within half a step of the true one. Rounding
errors of a subset then cancel like those of random rounding, with variance ``v = sum f_i (1 - f_i)
/ 4`` over the fractions f_i; the margin ``e = 4 sqrt(v)`` keeps p from falling below the exact
count, whatever lattice the sizes lie on. Where p is proven to be above 0.15
(`scircuit.tracing.statistics.p_lower_bound`) it is approximated instead: the signs of up to ten of
the largest effects are listed exactly and the sum of the others is taken as normal with its fourth
cumulant (Edgeworth). As few are listed as keep the next terms of the others' expansion, ``He_5(z)
k_6 / 720 + He_7(z) k_4^2 / 1152``, below half a percent of p: ten where a few large effects decide,
none in many like cells. With more than 20 non-zero cells p is rounded up to four digits, so that
the distinct p values of a run stay few, however many tests it has.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np

from scircuit.tracing.statistics.p_lower_bound import certainly_above
from scircuit.tracing.statistics.subset_counts import IN_FLOAT32, exact_counts, grid_counts

EXACT = 20
_CHEAP = 12  # cells up to which the count costs no more than a bound
_LISTED, _NEXT_TERMS = (0, 3, 5, 7, 10), 0.005
_ASKED = 0.15  # p that has to be proven to be larger for an approximation to stand
_STEPS, _MARGIN = 4096, 4.0  # of the grid, and in standard deviations of its rounding errors
_SMALLEST = 1e-300  # of an approximate p: four digits cannot be told apart much below
_LOWEST = -300
_POWERS = np.array([float(f"1e{e}") for e in range(_LOWEST, 1)])
_TENS = np.array([float(f"1e{e}") for e in range(4 - _LOWEST)])
_TIE = 1e-10  # relative to sum(a): sums equal in exact arithmetic differ by a few 1e-16 in float64
_CHUNK = 256  # tests that a thread takes at a time


def sign_flip_p(effects: np.ndarray, exact: int = EXACT, up_to: float = 1.0) -> np.ndarray:
    """Two-sided sign-flip p of each row.

    Parameters
    ----------
    effects
        [N, C] effects of N tests in C cells; zeros take no part.
    exact
        Most elements for which the count is exact; 20 costs about ten microseconds a test.
    up_to
        Largest p that is asked for. Where p is proven to be larger (`p_lower_bound`), 1 is given
        instead, at a tenth of the cost; every p up to here is the same bit for bit.

    Returns
    -------
    numpy.ndarray
        [N] float64; NaN where every effect is zero.

    Raises
    ------
    ValueError
        If `effects` is not a finite matrix.
    """
    x = np.asarray(effects, np.float64)
    if x.ndim != 2 or not np.isfinite(x).all():
        raise ValueError(
            f"effects must be a finite matrix [tests, cells]; found shape {x.shape}. Check the"
            " states for NaN"
        )
    if up_to >= 1:
        return _counted(x, exact)
    p = np.ones(len(x))
    asked = np.flatnonzero(~_needless(x, exact, up_to))
    p[asked] = _counted(x[asked], exact)
    return p


def _needless(x: np.ndarray, exact: int, up_to: float) -> np.ndarray:
    """Mask of the rows whose p is certainly above `up_to`, among those whose count is costly."""
    sizes = np.abs(x)
    cells = np.count_nonzero(x, axis=1)
    # beyond the exact count an approximation may stand, and up to _ASKED a count that can be
    # 1 in 10,000 too small
    costly = (cells > _CHEAP) & ((cells <= exact) | (up_to <= _ASKED))
    if not costly.any():
        return costly
    if costly.all():  # mostly: no copy of the rows
        return certainly_above(sizes, np.abs(x.sum(1)), up_to * 1.001)
    needless = np.zeros(len(x), bool)
    rows = np.flatnonzero(costly)
    needless[rows] = certainly_above(sizes[rows], np.abs(x[rows].sum(1)), up_to * 1.001)
    return needless


def _counted(x: np.ndarray, exact: int) -> np.ndarray:
    """Two-sided p of every row."""
    a = np.sort(np.abs(x), axis=1)
    total = a.sum(1)
    gap = (total - np.abs(x.sum(1))) / 2 + _TIE * total
    k = (a > 0).sum(1)
    # ascending order puts the zeros first, then the elements small enough to be negative
    j = ((a <= gap[:, None]) & (a > 0)).sum(1)
    first = a.shape[1] - k
    p = np.full(len(x), np.nan)
    counted = j <= exact
    jobs = [
        (rows, part is counted)
        for part in (counted, ~counted)
        for rows in _chunks(np.flatnonzero(part & (k > 0)))
    ]

    def work(job: tuple[np.ndarray, bool]) -> None:
        rows, exactly = job
        if exactly:
            counts = exact_counts(a[rows], first[rows], j[rows], gap[rows])
            p[rows] = np.minimum(1.0, np.ldexp(counts.astype(np.float64), 1 - k[rows]))
        else:
            p[rows] = _approximate(a[rows], np.abs(x[rows].sum(1)), gap[rows])

    if len(jobs) > 4:
        with ThreadPoolExecutor(
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        ) as pool:
            list(pool.map(work, jobs))
    else:
        for job in jobs:
            work(job)
    many = k > EXACT
    p[many] = rounded_up(p[many])
    return p


def rounded_up(p: np.ndarray) -> np.ndarray:
    """P with four digits: not below `p` but for the last bits, nor below 1e-300; NaN stays.

    By divisions and a table of powers of ten alone, which are the same on every processor;
    logarithms and powers of numpy are not, to the last bit.
    """
    p = np.maximum(p, _SMALLEST)
    digits = 3 - (np.searchsorted(_POWERS, p, side="right") - 1 + _LOWEST)
    scale = _TENS[digits]
    with np.errstate(invalid="ignore"):
        return np.where(p > 0, np.minimum(1.0, np.ceil(p * scale - 1e-9) / scale), p)


def _chunks(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[i : i + _CHUNK] for i in range(0, len(rows), _CHUNK)]


@lru_cache(maxsize=32)
def _patterns(size: int) -> np.ndarray:
    """All subsets of `size` elements as columns of zeros and ones: [size, 2^size]."""
    return ((np.arange(2**size)[None, :] >> np.arange(size)[:, None]) & 1).astype(np.float64)


def _approximate(a: np.ndarray, s: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """P(|sum of +-a| >= s), row by row, for rows of `a` in ascending order: counted unless it is
    proven to be large, else an approximation.
    """
    p = np.empty(len(a))
    large = certainly_above(a, s, _ASKED)
    p[~large] = _on_grid(a[~large], gap[~large])
    rows = np.flatnonzero(large)
    listed = _to_list(a[rows], s[rows])
    for size in np.unique(listed):
        some = rows[listed == size]
        p[some] = np.maximum(_edgeworth(a[some], s[some], int(size)), _ASKED)
    return np.clip(p, np.ldexp(1.0, 1 - (a > 0).sum(1)), 1.0)


def _on_grid(a: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """Two-sided p of each row of `a`, ascending, counted on a grid and rounded up to four digits:
    with numbers of 24 bits where their error cannot change a digit, else with 53.
    """
    size = a * (_STEPS / gap)[:, None]
    used = (size > 0) & (size <= _STEPS * (1 + _TIE))  # those beyond are in no subset
    small = np.where(used, size, 0.0)
    part = small - np.floor(small)
    tops = _STEPS + np.ceil(_MARGIN * np.sqrt((part * (1 - part)).sum(1) / 4)).astype(np.int64)
    steps = np.diff(np.floor(np.cumsum(small, axis=1) + 0.5), axis=1, prepend=0).astype(np.int64)
    p, short = np.empty(len(a)), np.full(len(a), a.shape[1] <= IN_FLOAT32)

    def count(rows: np.ndarray, dtype: type[np.floating]) -> np.ndarray:
        counts, powers = grid_counts(steps[rows], used[rows], tops[rows], dtype)
        return np.minimum(1.0, 2 * np.ldexp(counts, powers - np.count_nonzero(a[rows], axis=1)))

    if short.any():
        p = count(short, np.float32)
        error = (a.shape[1] + 1) * 2.0**-24
        short = rounded_up(p * (1 - error)) == rounded_up(p * (1 + error))
    if not short.all():
        p[~short] = count(~short, np.float64)
    return rounded_up(p)


def _edgeworth(a: np.ndarray, s: np.ndarray, listed: int) -> np.ndarray:
    """Mean over all signs of the `listed` largest of the tail of the others' sum: normal, with its
    fourth cumulant.
    """
    from scipy.special import ndtr

    large, rest = a[:, a.shape[1] - listed :], a[:, : a.shape[1] - listed]
    square = rest**2
    variance = square.sum(1, keepdims=True)
    kurtosis = -2 * (square**2).sum(1, keepdims=True) / variance**2
    z = (s[:, None] - large @ (2 * _patterns(listed) - 1)) / np.sqrt(variance)
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    tail = ndtr(-z) + density * kurtosis / 24 * (z**3 - 3 * z)
    return 2 * np.clip(tail, 0, 1).mean(1)


def _to_list(a: np.ndarray, s: np.ndarray) -> np.ndarray:
    """How many of the largest effects of each row have to be listed."""
    square, listed = a**2, np.full(len(a), _LISTED[-1])
    for size in _LISTED[-2::-1]:
        rest = square[:, : a.shape[1] - size]
        variance = rest.sum(1)
        z = s / np.sqrt(variance)
        fifth, seventh = (np.interp(z, _GRID, bound) for bound in _hermite_bounds())
        fourth, sixth = 2 * (rest**2).sum(1) / variance**2, 16 * (rest**3).sum(1) / variance**3
        ahead = (z + 0.8) * (
            fifth * sixth / 720 + seventh * fourth**2 / 1152
        )  # density / tail of a normal is below z + 0.8
        listed[ahead <= _NEXT_TERMS] = size
    return listed


_GRID = np.linspace(0, 6, 601)


@lru_cache(maxsize=1)
def _hermite_bounds() -> tuple[np.ndarray, np.ndarray]:
    """Largest absolute values of He_5 and He_7 up to each point of the grid."""
    z = _GRID
    fifth, seventh = z**5 - 10 * z**3 + 15 * z, z**7 - 21 * z**5 + 105 * z**3 - 105 * z
    return np.maximum.accumulate(np.abs(fifth)), np.maximum.accumulate(np.abs(seventh))

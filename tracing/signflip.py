r"""Two-sided sign-flip p of a mean over cells: how often a random assignment of signs gives a sum at least as extreme.

With a_i the absolute non-zero effects, k of them, and s the observed absolute sum, a pattern of signs that makes the cells of a
subset M negative has sum ``sum(a) - 2 sum_M(a)``, so

    p = 2 #{ M : sum_M(a) <= g } / 2^k ,     g = (sum(a) - s) / 2 .

Only the j elements with ``a_i <= g`` can be in M. Up to `EXACT` of them the count is exact, by meeting in the middle: all
subset sums of either half, and the number of pairs with ``u + v <= g`` from one sort. p is then a multiple of 2^-(k-1).

Beyond, the signs of up to ten of the largest effects are listed exactly and the sum of the others is taken as normal with its fourth
cumulant (Edgeworth). As few are listed as keep the next terms of the others' expansion, ``He_5(z) k_6 / 720 + He_7(z) k_4^2 / 1152``,
below half a percent of p: ten where a few large effects decide, none in many like cells. Below p = 1e-4 a saddlepoint
approximation is used (Lugannani and Rice 1980, ``K(t) = sum log cosh(a_i t)``).
Against exact counts at k = 26 the relative error is at most 2 % for p >= 1e-3 and 10 % down to 1e-6. Sums of effects of nearly equal size lie
on a lattice of step 2 a, and a smooth tail would be too small there: where the sizes spread too little to fill the gaps, ``sqrt(k) sd(a) < mean(a) / 2``, the
observed sum is taken half a step lower (continuity correction), which errs on the safe side. With more than 20 non-zero cells p is rounded up to four digits, so that
the distinct p values of a run stay few, however many tests it has.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np

EXACT = 20
_LISTED, _FAR, _NEXT_TERMS = (0, 3, 5, 7, 10), 1e-4, 0.005
_SMALLEST = 1e-300  # of an approximate p: four digits cannot be told apart much below
_TIE = 1e-10  # relative to sum(a): sums equal in exact arithmetic differ by a few 1e-16 in float64
_CHUNK_BYTES = 2**19  # of subset sums per chunk: stays in the second-level cache


def sign_flip_p(effects: np.ndarray, exact: int = EXACT) -> np.ndarray:
    """Two-sided sign-flip p of each row.

    Parameters
    ----------
    effects
        [N, C] effects of N tests in C cells; zeros take no part.
    exact
        Most elements for which the count is exact; 20 costs about ten microseconds a test.

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
        raise ValueError(f"effects must be a finite matrix [tests, cells]; found shape {x.shape}. Check the states for NaN")
    a = np.sort(np.abs(x), axis=1)
    total = a.sum(1)
    gap = (total - np.abs(x.sum(1))) / 2 + _TIE * total
    k = (a > 0).sum(1)
    # ascending order puts the zeros first, then the elements small enough to be negative
    j = ((a <= gap[:, None]) & (a > 0)).sum(1)
    first = a.shape[1] - k
    p = np.full(len(x), np.nan)
    jobs: list[tuple[np.ndarray, int]] = []
    for size in np.unique(j[k > 0]):
        rows = np.flatnonzero((j == size) & (k > 0))
        if size > exact:
            part = _chunks(rows, 256)
        else:
            part = _chunks(rows, max(1, _CHUNK_BYTES // (16 * 2 ** ((int(size) + 1) // 2))))
        jobs += [(r, int(size)) for r in part]

    def work(job: tuple[np.ndarray, int]) -> None:
        rows, size = job
        if size > exact:
            p[rows] = _approximate(a[rows], np.abs(x[rows].sum(1)))
            return
        small = np.take_along_axis(a[rows], first[rows, None] + np.arange(size), axis=1)
        p[rows] = np.minimum(1.0, np.ldexp(_subsets_up_to(small, gap[rows]).astype(np.float64), 1 - k[rows]))

    if len(jobs) > 4:
        with ThreadPoolExecutor(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()) as pool:
            list(pool.map(work, jobs))
    else:
        for job in jobs:
            work(job)
    many = k > EXACT
    p[many] = _rounded_up(p[many])
    return p


def _rounded_up(p: np.ndarray) -> np.ndarray:
    """Four digits, never below `p`."""
    p = np.maximum(p, _SMALLEST)
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = np.float_power(10.0, np.floor(np.log10(p)) - 3)
        return np.where(p > 0, np.minimum(1.0, np.ceil(p / unit - 1e-9) * unit), p)


def _chunks(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]


@lru_cache(maxsize=32)
def _patterns(size: int) -> np.ndarray:
    """All subsets of `size` elements as columns of zeros and ones: [size, 2^size]."""
    return ((np.arange(2**size)[None, :] >> np.arange(size)[:, None]) & 1).astype(np.float64)


def _subsets_up_to(a: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """Number of subsets of each row of `a` whose sum is at most `limit`.

    All ``v`` (subset sums of one half) and all ``limit - u`` (of the other) are sorted together. The lowest bit of each number's
    significand says which half it came from, so one sort gives, for every ``limit - u``, how many ``v`` lie below it.
    """
    half = a.shape[1] // 2
    u, v = a[:, :half] @ _patterns(half), a[:, half:] @ _patterns(a.shape[1] - half)
    keys = np.concatenate([v, limit[:, None] - u], axis=1)
    bits = keys.view(np.int64)
    bits &= ~np.int64(1)
    bits[:, v.shape[1] :] |= 1
    keys.sort(axis=1)
    ranks = (bits & 1) @ np.arange(keys.shape[1])
    m = u.shape[1]
    return ranks - m * (m - 1) // 2


def _approximate(a: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Approximation of P(|sum of +-a| >= s), row by row, for rows of `a` in ascending order."""
    s = np.maximum(s - _half_step(a), 0)
    p = np.empty(len(a))
    listed = _to_list(a, s)
    for size in np.unique(listed):
        rows = listed == size
        p[rows] = _edgeworth(a[rows], s[rows], int(size))
    far = p < _FAR
    if far.any():
        p[far] = _saddlepoint(a[far], s[far])
    return np.clip(p, np.ldexp(1.0, 1 - (a > 0).sum(1)), 1.0)


def _half_step(a: np.ndarray) -> np.ndarray:
    """Smallest effect of rows whose effects are so alike that their sums lie on a lattice; 0 for the others."""
    k = (a > 0).sum(1)
    mean = a.sum(1) / k
    spread = np.sqrt(np.maximum((a**2).sum(1) / k - mean**2, 0))
    smallest = np.take_along_axis(a, (a.shape[1] - k)[:, None], axis=1)[:, 0]
    return np.where(np.sqrt(k) * spread < mean / 2, smallest, 0.0)


def _edgeworth(a: np.ndarray, s: np.ndarray, listed: int) -> np.ndarray:
    """Mean over all signs of the `listed` largest of the tail of the others' sum: normal, with its fourth cumulant."""
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
        ahead = (z + 0.8) * (fifth * sixth / 720 + seventh * fourth**2 / 1152)  # density / tail of a normal is below z + 0.8
        listed[ahead <= _NEXT_TERMS] = size
    return listed


_GRID = np.linspace(0, 6, 601)


@lru_cache(maxsize=1)
def _hermite_bounds() -> tuple[np.ndarray, np.ndarray]:
    """Largest absolute values of He_5 and He_7 up to each point of the grid."""
    z = _GRID
    fifth, seventh = z**5 - 10 * z**3 + 15 * z, z**7 - 21 * z**5 + 105 * z**3 - 105 * z
    return np.maximum.accumulate(np.abs(fifth)), np.maximum.accumulate(np.abs(seventh))


def _saddlepoint(a: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Lugannani-Rice approximation of P(|sum of +-a| >= s) in the far tail, row by row."""
    from scipy.special import ndtr

    scale = np.sqrt((a**2).sum(1))
    a, s = a / scale[:, None], s / scale
    t = s.copy()  # K' is concave with slope at most 1 on t > 0, so Newton's steps rise to the root from the left
    for _ in range(200):
        tanh = np.tanh(a * t[:, None])
        step = (s - (a * tanh).sum(1)) / (a**2 * (1 - tanh**2)).sum(1)
        t += step
        if np.all(np.abs(step) <= 1e-10 * t):
            break
    at = a * t[:, None]
    folded = np.exp(-2 * at)
    k0 = (at + np.log1p(folded) - np.log(2)).sum(1)
    w = np.sqrt(2 * (t * s - k0))
    u = t * np.sqrt((a**2 * 4 * folded / (1 + folded) ** 2).sum(1))
    return 2 * (ndtr(-w) + np.exp(-(w**2) / 2) / np.sqrt(2 * np.pi) * (1 / u - 1 / w))

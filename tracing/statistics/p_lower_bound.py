r"""A lower bound on the sign-flip p that is proven and cheap: which tests need no exact p.

With S the sum of the effects a_i under random signs, s the observed absolute sum and any L > 2 s,
let M be a trigonometric polynomial of degree K and period L that is at least 1 where ``|x| < s``
and at least 0 elsewhere. Then

    p = P(|S| >= s) = 1 - P(|S| < s) >= 1 - E M(S) ,

and ``E M(S)`` is a finite sum, because ``E cos(2 pi n S / L) = prod_i cos(2 pi n a_i / L) = f_n``.
Selberg's polynomial is such an M (Vaaler 1985, Some extremal functions in Fourier analysis, theorem
18; Montgomery 1994, Ten lectures, chapter 1). With h = s / L, w = n / (K + 1) and
``V(w) = pi w (1 - w) cot(pi w) + w``,

    E M(S) = 2 h + 1 / (K + 1) + 2 sum_{n = 1..K} f_n g_n ,
    g_n = V(w) sin(2 pi n h) / (pi n) + (1 - w) cos(2 pi n h) / (K + 1) .

The bound lies below p by about the density of |S| at s times L / (2 K + 2). Nothing is assumed of
the effects; where they are few or lie on a lattice the bound is weak, never wrong.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from scircuit.core.machine_code import machine_code

_DEGREES = 5, 10, 20, 44, 96
_REACH = 3.4  # standard deviations of S that a period holds beyond s
_SLACK = 0.002  # by which a normal S must be expected to pass for a degree to be tried
_ROUNDING = 1e-9  # of the sum above, far above the rounding errors of its terms
# cos x by powers of x^2, highest first; to the last bit for x <= 2 pi / _REACH, and no effect turns
# further in a period
_COSINE = tuple((-1.0) ** n / math.factorial(2 * n) for n in range(12, -1, -1))


def certainly_above(sizes: np.ndarray, s: np.ndarray, level: float) -> np.ndarray:
    """Mask of the tests whose sign-flip p is proven to be above `level`.

    Parameters
    ----------
    sizes
        [N, C] absolute effects of N tests in C cells.
    s
        [N] absolute sum of the signed effects.
    level
        Only a mask at this level is asked for, not the bound itself.

    Returns
    -------
    numpy.ndarray
        [N] bool. Where it is False, p may be anything.
    """
    if level >= 1:
        return np.zeros(len(s), bool)
    spread = np.sqrt(np.einsum("ij,ij->i", sizes, sizes))
    first = np.searchsorted(_reach_of_degrees(level), s / np.maximum(spread, 1e-300), side="right")
    return _bounds(sizes, s, spread, first, _DEGREES, level) > level


@lru_cache(maxsize=8)
def _reach_of_degrees(level: float) -> np.ndarray:
    """Up to which s, in standard deviations of S, each degree would do if S were normal."""
    from scipy.special import ndtr

    z = np.linspace(0, _REACH, 341)[:-1]  # L > 2 s
    p, density = 2 * ndtr(-z), np.sqrt(2 / np.pi) * np.exp(-(z**2) / 2)
    bounds = (p - density * (z + _REACH) / (degree + 1) for degree in _DEGREES)
    passing = [np.append(z[bound > level + _SLACK], 0.0).max() for bound in bounds]
    return np.maximum.accumulate(passing)


def _bounds(
    sizes: np.ndarray,
    s: np.ndarray,
    spread: np.ndarray,
    first: np.ndarray,
    degrees: tuple[int, ...],
    level: float,
) -> np.ndarray:
    """``1 - E M(S)`` of each row with the first of the degrees, from position `first` on, that
    proves more than `level`, else with the last one; -inf where none is tried.
    """
    bound = np.full(len(s), -np.inf)
    machine_code(
        bound_loop,
        "void(f8[:, ::1], f8[::1], f8[::1], i8[::1], i8[::1], f8[:, ::1], f8[:, ::1], f8, f8[::1])",
    )(
        np.ascontiguousarray(sizes),
        np.ascontiguousarray(s),
        spread,
        first,
        np.array(degrees),
        *_weights(degrees),
        level,
        bound,
    )
    return bound


@lru_cache(maxsize=8)
def _weights(degrees: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Factors of ``f_n sin(2 pi n h)`` and of ``f_n cos(2 pi n h)``, n = 1 .. degree, a row for
    each degree.
    """
    sine, cosine = np.zeros((2, len(degrees), max(degrees)))
    for row, degree in enumerate(degrees):
        n = np.arange(1, degree + 1)
        w = n / (degree + 1)
        vaaler = np.pi * w * (1 - w) / np.tan(np.pi * w) + w
        sine[row, :degree] = 2 * vaaler / (np.pi * n)
        cosine[row, :degree] = 2 * (1 - w) / (degree + 1)
    return sine, cosine


def bound_loop(
    sizes: np.ndarray,
    s: np.ndarray,
    spread: np.ndarray,
    first: np.ndarray,
    degrees: np.ndarray,
    sine: np.ndarray,
    cosine: np.ndarray,
    level: float,
    bound: np.ndarray,
) -> None:
    """Fill `bound`: `_bounds`. The f_n do not depend on the degree, so a higher degree goes on
    where the one before ended; four are taken at a time, and each product in two halves.
    """
    cells, top = sizes.shape[1], degrees[-1] + 4
    half = (cells + 1) // 2
    waves = np.ones((top + 1, 2 * half))  # cos(2 pi n a_i / L) in row n; an odd cell out has a = 0
    twice = np.empty(2 * half)
    f, sines, cosines = np.empty(top), np.empty(top), np.empty(top)
    for r in range(len(s)):
        if first[r] >= len(degrees) or not 0 < spread[r] < np.inf:
            continue
        period = s[r] + _REACH * spread[r]
        turn, angle = 2 * np.pi / period, 2 * np.pi * s[r] / period
        size, one = sizes[r], waves[1]
        for c in range(cells):
            square = (size[c] * turn) ** 2
            value = _COSINE[0]
            for n in range(1, 13):
                value = value * square + _COSINE[n]
            one[c] = value
        for c in range(2 * half):
            twice[c] = 2 * one[c]
        known = 0
        turned, now_sine, now_cosine = 2 * math.cos(angle), math.sin(angle), math.cos(angle)
        last_sine, last_cosine = 0.0, 1.0
        for d in range(first[r], len(degrees)):
            while known < degrees[d]:
                # cos((n + 1) x) = 2 cos(x) cos(n x) - cos((n - 1) x), and so for the sine
                for n in range(known, known + 4):
                    if n > 0:
                        after, now, before = waves[n + 1], waves[n], waves[n - 1]
                        for c in range(2 * half):
                            after[c] = twice[c] * now[c] - before[c]
                    sines[n], cosines[n] = now_sine, now_cosine
                    now_sine, last_sine = turned * now_sine - last_sine, now_sine
                    now_cosine, last_cosine = turned * now_cosine - last_cosine, now_cosine
                w1, w2, w3, w4 = (
                    waves[known + 1],
                    waves[known + 2],
                    waves[known + 3],
                    waves[known + 4],
                )
                p1 = p2 = p3 = p4 = q1 = q2 = q3 = q4 = 1.0
                for c in range(half):
                    p1 *= w1[c]
                    p2 *= w2[c]
                    p3 *= w3[c]
                    p4 *= w4[c]
                    q1 *= w1[c + half]
                    q2 *= w2[c + half]
                    q3 *= w3[c + half]
                    q4 *= w4[c + half]
                f[known], f[known + 1] = p1 * q1, p2 * q2
                f[known + 2], f[known + 3] = p3 * q3, p4 * q4
                known += 4
            expected = angle / np.pi + 1 / (degrees[d] + 1)
            for n in range(degrees[d]):
                expected += f[n] * (sine[d, n] * sines[n] + cosine[d, n] * cosines[n])
            bound[r] = 1 - expected - _ROUNDING
            if bound[r] > level:
                break

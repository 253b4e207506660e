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

from functools import lru_cache

import numpy as np

_DEGREES = 5, 10, 20, 44, 96
_REACH = 3.4  # standard deviations of S that a period holds beyond s
_SLACK = 0.002  # by which a normal S must be expected to pass for a degree to be tried
_ROUNDING = 1e-9  # of the sum above, far above the rounding errors of its terms
_AT_ONCE = 2**13  # effects at a time: their cosines stay in the second-level cache


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
    above = np.zeros(len(s), bool)
    if level >= 1:
        return above
    spread = np.sqrt(np.einsum("ij,ij->i", sizes, sizes))
    first = np.searchsorted(_reach_of_degrees(level), s / np.maximum(spread, 1e-300), side="right")
    step = max(1, _AT_ONCE // sizes.shape[1])
    for number, degree in enumerate(_DEGREES):
        rows = np.flatnonzero((first <= number) & ~above)
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            above[part] = _bound(sizes[part], s[part], spread[part], degree) > level
    return above


@lru_cache(maxsize=8)
def _reach_of_degrees(level: float) -> np.ndarray:
    """Up to which s, in standard deviations of S, each degree would do if S were normal."""
    from scipy.special import ndtr

    z = np.linspace(0, _REACH, 341)[:-1]  # L > 2 s
    p, density = 2 * ndtr(-z), np.sqrt(2 / np.pi) * np.exp(-(z**2) / 2)
    bounds = (p - density * (z + _REACH) / (degree + 1) for degree in _DEGREES)
    passing = [np.append(z[bound > level + _SLACK], 0.0).max() for bound in bounds]
    return np.maximum.accumulate(passing)


def _bound(sizes: np.ndarray, s: np.ndarray, spread: np.ndarray, degree: int) -> np.ndarray:
    """``1 - E M(S)`` of each row."""
    period = s + _REACH * spread
    turn, angle = 2 * np.pi / period, 2 * np.pi * s / period
    now = np.cos(np.ascontiguousarray(sizes.T) * turn)  # [C, N]
    twice, before, after = 2 * now, np.ones_like(now), np.empty_like(now)
    wave = np.stack([np.sin(angle), np.cos(angle)])
    turned, last = 2 * wave[1], np.array([[0.0], [1.0]])
    sine, cosine = _weights(degree)
    expected = angle / np.pi + 1 / (degree + 1)
    for n in range(degree):
        f = np.multiply.reduce(now, axis=0)
        expected += f * (sine[n] * wave[0] + cosine[n] * wave[1])
        # cos((n + 1) x) = 2 cos(x) cos(n x) - cos((n - 1) x), and so for the sine
        np.multiply(twice, now, out=after)
        after -= before
        before, now, after = now, after, before
        wave, last = turned * wave - last, wave
    return 1 - expected - _ROUNDING


@lru_cache(maxsize=8)
def _weights(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Factors of ``f_n sin(2 pi n h)`` and of ``f_n cos(2 pi n h)``, n = 1 .. degree."""
    n = np.arange(1, degree + 1)
    w = n / (degree + 1)
    vaaler = np.pi * w * (1 - w) / np.tan(np.pi * w) + w
    return 2 * vaaler / (np.pi * n), 2 * (1 - w) / (degree + 1)

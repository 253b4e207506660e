"""Exact discrete power law ``p(x) = x^-alpha / zeta(alpha, xmin)``, x >= xmin: maximum likelihood,
KS distance, xmin scan.

``zeta`` is the Hurwitz zeta function, so the normaliser is exact at any xmin. The score ``-n d/da
log zeta(a, xmin) - sum log x`` is monotone in alpha and is solved by bisection for all candidate
xmin at once. The KS distance is taken over all integers x >= xmin, as

    D = max_x | P_model(X < x) - P_data(X < x) |   at the observed x,

the convention of Clauset, Shalizi and Newman (SIAM Review 51:661, 2009) as implemented by plfit and
igraph. xmin minimises D.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import zeta

ALPHA_RANGE = (1.0001, 60.0)


class PowerLaw(NamedTuple):
    """A fit: exponent, its standard error, smallest value, values in the tail, KS distance,
    log-likelihood of the tail.
    """

    alpha: float
    sigma: float
    xmin: int
    n_tail: int
    ks: float
    loglik: float


def _log_zeta_slope(alpha: np.ndarray, xmin: np.ndarray) -> np.ndarray:
    """d/dalpha log zeta(alpha, xmin), by a central difference of the scaled function ``xmin^alpha
    zeta(alpha, xmin)``.
    """
    step = 1e-5
    low, high = zeta(alpha - step, xmin), zeta(alpha + step, xmin)
    # the factor xmin^-alpha is taken out before differencing: the rest varies slowly
    log_x = np.log(xmin)
    return (np.log(high) + (alpha + step) * log_x - np.log(low) - (alpha - step) * log_x) / (
        2 * step
    ) - log_x


def alpha_mle(mean_log: np.ndarray, xmin: np.ndarray) -> np.ndarray:
    """Exponent that maximises the likelihood, for each xmin.

    Parameters
    ----------
    mean_log
        Mean of log x over the tail, shape (candidates,).
    xmin
        Smallest value of the tail, shape (candidates,), integers >= 1.

    Returns
    -------
    ndarray
        Exponents in `ALPHA_RANGE`; a tail of equal values ends at the upper end.
    """
    mean_log, xmin = np.asarray(mean_log, dtype=float), np.asarray(xmin, dtype=float)
    low = np.full(mean_log.shape, ALPHA_RANGE[0] + 2e-5)
    high = np.full(mean_log.shape, ALPHA_RANGE[1])
    for _ in range(48):
        middle = (low + high) / 2
        # the score falls with alpha: positive means the exponent is too small
        rising = -_log_zeta_slope(middle, xmin) - mean_log > 0
        low, high = np.where(rising, middle, low), np.where(rising, high, middle)
    return (low + high) / 2


def ks_distance(values: np.ndarray, counts: np.ndarray, alpha: float, xmin: int) -> float:
    """KS distance of a tail with distinct `values` (ascending, >= xmin) and their `counts`."""
    below = np.concatenate([[0], np.cumsum(counts)[:-1]]) / counts.sum()
    model = 1.0 - zeta(alpha, values.astype(float)) / zeta(alpha, float(xmin))
    return float(np.abs(model - below).max())


def fit(data: np.ndarray, *, xmin: int | None = None, min_tail: int = 25) -> PowerLaw | None:
    """Fit the tail of positive integers.

    Parameters
    ----------
    data
        Positive integers, any order.
    xmin
        Fix the smallest value (default: the one with the smallest KS distance).
    min_tail
        Minimum number of values in the tail while scanning.

    Returns
    -------
    PowerLaw or None
        None when no tail has `min_tail` values and two distinct ones.
    """
    values, counts, in_tail, log_sum = _grouped(data)
    if xmin is None:
        first = _usable(in_tail, min_tail)
        starts = values[first]
    else:
        first = np.searchsorted(values, [xmin])
        starts = np.array([xmin])
        if first[0] >= values.size - 1:
            return None
    if not first.size:
        return None
    alphas = alpha_mle(log_sum[first] / in_tail[first], starts)
    best: tuple[float, int] | None = None
    for i, at in enumerate(first.tolist()):
        d = ks_distance(values[at:], counts[at:], float(alphas[i]), int(starts[i]))
        if best is None or d < best[0]:
            best = (d, i)
    if best is None:
        return None
    d, i = best
    alpha, start, n = float(alphas[i]), int(starts[i]), int(in_tail[first[i]])
    loglik = -n * np.log(zeta(alpha, float(start))) - alpha * float(log_sum[first[i]])
    return PowerLaw(alpha, _standard_error(alpha, start, n), start, n, d, float(loglik))


def reaches(data: np.ndarray, ks: float, *, min_tail: int = 25) -> bool:
    """Whether the best tail is at least this far from a power law: ``fit(data) is None or
    fit(data).ks >= ks``, without the fit.

    A few values of a tail give a lower bound of its distance, with an exponent that is near the
    estimate. Tails whose bound is above `ks` by a margin need nothing more; of the others the exact
    distance is computed, the most promising first, until one is below `ks`.

    Parameters
    ----------
    data, min_tail
        As for `fit`.
    ks
        Distance to be reached.
    """
    values, counts, in_tail, log_sum = _grouped(data)
    first = _usable(in_tail, min_tail)
    if not first.size:
        return True
    mean_log = log_sum[first] / in_tail[first]
    bound = _least_distance(values, counts, in_tail, first, mean_log)
    left = first[bound < ks + _MARGIN]
    order = np.argsort(bound[bound < ks + _MARGIN], kind="stable")
    alphas = alpha_mle(log_sum[left] / in_tail[left], values[left])
    return not any(
        ks_distance(values[at:], counts[at:], float(alpha), int(values[at])) < ks
        for at, alpha in zip(left[order].tolist(), alphas[order], strict=True)
    )


# Errors of the exponent are below 1e-6, and the distribution function changes by less than
# 1 / (alpha - 1) <= 10 per unit of it: bounds are off by 1e-5 at most.
_MARGIN, _NEAR, _SMALLEST = 1e-4, 1e-6, 1.1
_PLACES = np.array([0.0, 0.02, 0.05, 0.09, 0.14, 0.2, 0.28, 0.36, 0.45, 0.55, 0.65, 0.75, 0.85])


def _least_distance(
    values: np.ndarray,
    counts: np.ndarray,
    in_tail: np.ndarray,
    first: np.ndarray,
    mean_log: np.ndarray,
) -> np.ndarray:
    """KS distance over a few values of every tail, (candidates,); 0 where the exponent is not sure.

    `first` are the positions of the candidates in `values`.
    """
    start = values[first].astype(float)
    # Newton's method on the score from the continuous approximation
    with np.errstate(all="ignore"):
        alpha = 1 + 1 / (mean_log - np.log(start - 0.5))
        for _ in range(4):
            slope = _log_zeta_slope(np.stack([alpha - 1e-4, alpha + 1e-4]), start)
            alpha = alpha + (-slope.mean(0) - mean_log) / (slope[1] - slope[0]) * 2e-4
            alpha = np.clip(np.nan_to_num(alpha, nan=0.0), 1.001, ALPHA_RANGE[1])
        score = -_log_zeta_slope(np.stack([alpha - _NEAR, alpha + _NEAR]), start) - mean_log
    sure = (score[0] > 0) & (score[1] < 0) & (alpha > _SMALLEST)
    at = first[:, None] + (_PLACES * (values.size - first)[:, None]).astype(int)
    below = counts.cumsum() - counts
    share = (below[at] - below[first][:, None]) / in_tail[first][:, None]
    above = zeta(alpha[:, None], values[at].astype(float)) / zeta(alpha, start)[:, None]
    return np.where(sure, np.abs(1.0 - above - share).max(1), 0.0)


def _grouped(data: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Distinct values, how often each comes, and from each on how many and the sum of their logs.

    Raises
    ------
    ValueError
        If a value is not positive.
    """
    values, counts = np.unique(np.asarray(data, dtype=np.int64), return_counts=True)
    if values.size and values[0] < 1:
        raise ValueError(f"a power law needs positive integers; the smallest value is {values[0]}")
    in_tail = counts[::-1].cumsum()[::-1]
    log_sum = (counts * np.log(np.maximum(values, 1)))[::-1].cumsum()[::-1]
    return values, counts, in_tail, log_sum


def _usable(in_tail: np.ndarray, min_tail: int) -> np.ndarray:
    """Values with which a tail may begin: enough from there on, and two distinct ones."""
    return np.flatnonzero((in_tail >= min_tail) & (np.arange(in_tail.size) < in_tail.size - 1))


def _standard_error(alpha: float, xmin: int, n: int) -> float:
    """1 / sqrt(n I(alpha)) with the observed curvature of log zeta."""
    step = 1e-4
    slope = _log_zeta_slope(
        np.array([alpha - step, alpha + step]), np.array([xmin, xmin], dtype=float)
    )
    information = float(slope[1] - slope[0]) / (2 * step)
    return float(1 / np.sqrt(n * information)) if information > 0 else float("nan")


def sample(
    rng: np.random.Generator, alpha: float, xmin: int, size: int, largest: int = 2**53
) -> np.ndarray:
    """Draw from the discrete power law by inverting its exact distribution function (doubling, then
    bisection).
    """
    u = rng.random(size)
    # P(X >= x) = zeta(alpha, x) / zeta(alpha, xmin); the draw is the largest x with P(X >= x) > u
    target = u * zeta(alpha, float(xmin))
    low = np.full(size, xmin, dtype=np.int64)
    high = np.full(size, xmin + 1, dtype=np.int64)
    while True:
        grow = (zeta(alpha, high.astype(float)) > target) & (high < largest)
        if not grow.any():
            break
        low = np.where(grow, high, low)
        high = np.where(grow, high * 2, high)
    while (high - low > 1).any():
        middle = (low + high) // 2
        inside = zeta(alpha, middle.astype(float)) > target
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return low

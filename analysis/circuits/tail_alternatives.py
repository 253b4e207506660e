"""Heavy-tailed alternatives to the power law on the same discrete tail x >= xmin, and
likelihood-ratio tests against it.

============  ======================================================================
lognormal     ``exp(-(log x - mu)^2 / (2 sigma^2)) / x``
exponential   ``exp(-lambda x)``
stretched     ``x^(beta - 1) exp(-lambda x^beta)``
truncated     ``x^-alpha exp(-lambda x)``, lambda >= 0; the power law has lambda = 0
============  ======================================================================

Each is normalised over the integers. Not nested: Vuong's ``z = sum(l_pl - l_alt) / (sqrt(n) sd)``,
two-sided normal (Vuong, Econometrica 57:307, 1989). Nested (truncated): ``2 (L_trunc - L_pl)`` is
half chi-squared with one degree of freedom under the power law, because lambda = 0 lies on the
boundary; Vuong's normal limit does not hold there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from scircuit.analysis.circuits.discrete_power_law import PowerLaw

_EXACT = 20_000
_BLOCK = 1e-3
_LARGEST = 1e9


class Comparison(NamedTuple):
    """One alternative against the power law; `statistic` is Vuong's z (positive favours the power
    law) or 2 dL when nested.
    """

    name: str
    params: dict[str, float]
    loglik: float
    statistic: float
    p: float
    nested: bool

    @property
    def favoured(self) -> str:
        """``power law``, the alternative's name, or ``neither`` at p > 0.1."""
        if not self.p <= 0.1:
            return "neither"
        if self.nested:
            return self.name
        return "power law" if self.statistic > 0 else self.name


def support(xmin: int) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights that sum a smooth function over the integers from xmin to 1e9.

    The first 20,000 integers are exact; beyond, blocks of relative width 1e-3 stand for their
    integers, each by its middle. For a local exponent a the relative error of that part is (a
    1e-3)^2 / 24, of a part that is itself negligible.
    """
    exact = np.arange(xmin, xmin + _EXACT, dtype=float)
    edges = [float(xmin + _EXACT)]
    ratio = 1 + _BLOCK
    steps = int(np.ceil(np.log(_LARGEST / edges[0]) / np.log(ratio))) if edges[0] < _LARGEST else 0
    grid = np.unique(np.floor(edges[0] * ratio ** np.arange(steps + 1)))
    middle, width = (grid[:-1] + grid[1:] - 1) / 2, np.diff(grid)
    return np.concatenate([exact, middle]), np.concatenate([np.ones(exact.size), width])


def _log_sum(log_f: np.ndarray, weight: np.ndarray) -> float:
    top = float(log_f.max())
    return top + float(np.log((np.exp(log_f - top) * weight).sum()))


def _lognormal(x: np.ndarray, p: np.ndarray, xmin: int) -> np.ndarray:  # noqa: ARG001
    log_x = np.log(x)
    return -log_x - (log_x - p[0]) ** 2 / (2 * np.exp(2 * p[1]))


def _exponential(x: np.ndarray, p: np.ndarray, xmin: int) -> np.ndarray:
    return -np.exp(p[0]) * (x - xmin)


def _stretched(x: np.ndarray, p: np.ndarray, xmin: int) -> np.ndarray:
    beta = np.exp(p[1])
    return (beta - 1) * np.log(x) - np.exp(p[0]) * ((x / xmin) ** beta - 1)


def _truncated(x: np.ndarray, p: np.ndarray, xmin: int) -> np.ndarray:
    return -p[0] * np.log(x / xmin) - np.exp(p[1]) * (x / xmin - 1)


Shape = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


def _maximise(
    shape: Shape,
    starts: list[list[float]],
    tail: np.ndarray,
    xmin: int,
    bounds: list[tuple[float, float]],
) -> tuple[np.ndarray, float]:
    from scipy.optimize import minimize

    points, weight = support(xmin)

    def cost(p: np.ndarray) -> float:
        if any(not low <= v <= high for v, (low, high) in zip(p, bounds, strict=True)):
            return 1e12
        with np.errstate(over="ignore", invalid="ignore"):
            value = tail.size * _log_sum(shape(points, p, xmin), weight) - float(
                shape(tail, p, xmin).sum()
            )
        return value if np.isfinite(value) else 1e12

    options = {"xatol": 1e-7, "fatol": 1e-9, "maxiter": 2000, "maxfev": 2000}
    fits = [
        minimize(cost, np.array(start), method="Nelder-Mead", options=options) for start in starts
    ]
    best = min(fits, key=lambda f: float(f.fun))
    return best.x, -float(best.fun)


def _named(name: str, p: np.ndarray, xmin: int) -> dict[str, float]:
    if name == "lognormal":
        return {"mu": float(p[0]), "sigma": float(np.exp(p[1]))}
    if name == "exponential":
        return {"lambda": float(np.exp(p[0]))}
    if name == "stretched":
        beta = float(np.exp(p[1]))
        return {"lambda": float(np.exp(p[0] - beta * np.log(xmin))), "beta": beta}
    return {"alpha": float(p[0]), "lambda": float(np.exp(p[1]) / xmin)}


def compare(data: np.ndarray, fit: PowerLaw) -> tuple[Comparison, ...]:
    """Fit the four alternatives to the tail of a power-law fit and test each against it.

    Parameters
    ----------
    data
        Positive integers; values below ``fit.xmin`` are left out.
    fit
        `scircuit.analysis.circuits.discrete_power_law.fit` of the same data.
    """
    tail = np.asarray(data, dtype=float)
    tail = tail[tail >= fit.xmin]
    n, xmin = tail.size, fit.xmin
    power = fit.loglik / n - fit.alpha * (np.log(tail) - np.log(tail).mean())
    spread = max(float(np.log(tail).std()), 0.05)
    excess = max(float((tail - xmin).mean()), 1e-3)
    rate = float(np.log(np.log1p(1 / excess)))
    models: list[tuple[str, Shape, list[list[float]], list[tuple[float, float]]]] = [
        (
            "lognormal",
            _lognormal,
            [
                [float(np.log(tail).mean()), np.log(spread)],
                [np.log(xmin) - 2.0, np.log(max(2 * spread, 0.5))],
                [np.log(xmin) - 18.5, np.log(1.9)],
            ],
            [(-60.0, 60.0), (-6.0, 4.0)],
        ),
        ("exponential", _exponential, [[rate]], [(-40.0, 10.0)]),
        (
            "stretched",
            _stretched,
            [[rate + np.log(xmin), 0.0], [1.0, -0.5], [np.log(fit.alpha), -1.2]],
            [(-30.0, 60.0), (-7.0, 2.302)],
        ),
        (
            "truncated",
            _truncated,
            [[fit.alpha, -4.0], [max(fit.alpha - 1, 0.5), -1.0], [0.5, 0.0]],
            [(-5.0, 80.0), (-25.0, 8.0)],
        ),
    ]
    points, weight = support(xmin)
    found = []
    for name, shape, starts, bounds in models:
        if name == "exponential":
            # the geometric distribution has its maximum in closed form
            params, loglik = np.array([rate]), float("nan")
        else:
            params, loglik = _maximise(shape, starts, tail, xmin, bounds)
        each = shape(tail, params, xmin) - _log_sum(shape(points, params, xmin), weight)
        loglik = float(each.sum())
        found.append(_test(name, params, xmin, power, each, loglik, fit.loglik))
    return tuple(found)


def _test(
    name: str,
    params: np.ndarray,
    xmin: int,
    power: np.ndarray,
    each: np.ndarray,
    loglik: float,
    power_loglik: float,
) -> Comparison:
    from scipy.stats import chi2, norm

    if name == "truncated":
        statistic = max(2 * (loglik - power_loglik), 0.0)
        p = 0.5 * float(chi2.sf(statistic, 1)) if statistic > 0 else 1.0
        return Comparison(name, _named(name, params, xmin), loglik, statistic, p, True)
    difference = power - each
    sd = float(difference.std())
    z = float(difference.sum() / (np.sqrt(difference.size) * sd)) if sd > 0 else 0.0
    return Comparison(
        name, _named(name, params, xmin), loglik, z, float(2 * norm.sf(abs(z))), False
    )

"""Hubs given their firing rate: out-degree against the degree expected from how often a feature
fires.

A feature that fires more has more chances to affect anything, so raw degree ranks firing rates. The
expected degree is a local linear regression (lowess, three quarters of the points per window, two
robust passes) of ``log(degree + 1)`` on ``log(firing rate)``, and

    residual = log((degree + 1) / (expected + 1)).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scircuit.analysis.circuits.circuit_plots import plot_hubs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SPAN = 0.75
_LEAST = 12


@dataclass(frozen=True)
class HubFit:
    """Degree against firing rate of the sources; arrays share one order.

    Parameters
    ----------
    degree, firing_rate
        Of every source, shapes (sources,).
    expected, residual
        Degree expected from the firing rate, and the log ratio; shapes (sources,).
    degree_rank, hub_rank
        1 is the highest degree and the highest residual; ties by residual, degree and position.
    rho, rho_p
        Spearman correlation of degree and firing rate (NaN when one of them is constant).
    r2
        Share of the variance of log(degree + 1) that the fit explains (NaN when it has none).
    method
        How the expectation was made.
    """

    degree: np.ndarray
    firing_rate: np.ndarray
    expected: np.ndarray
    residual: np.ndarray
    degree_rank: np.ndarray
    hub_rank: np.ndarray
    rho: float
    rho_p: float
    r2: float
    method: str

    @property
    def sentence(self) -> str:
        """The finding in one sentence."""
        n = self.degree.size
        if not np.isfinite(self.rho):
            return (
                f"degree against firing rate: not testable, all {n} sources have the same degree or"
                " firing rate"
            )
        p = f"p = {self.rho_p:.2g}" if self.rho_p >= 1e-16 else "p < 1e-16"
        return (
            f"out-degree {'follows' if self.rho_p <= 0.05 else 'does not follow'} the firing rate"
            f" (Spearman {self.rho:.2f}, {p}, n = {n:,}): the firing rate alone explains"
            f" {100 * self.r2:.0f} % of the variance of log degree, so hubs are ranked by the"
            " residual"
        )

    def plot(self, ax: Axes | None = None, labels: dict[int, str] | None = None) -> Axes:
        """Degree against firing rate with the expectation; `labels`: names by position."""
        return plot_hubs(self.degree, self.firing_rate, self.expected, self.hub_rank, ax, labels)


def _ranks(*keys: np.ndarray) -> np.ndarray:
    """Rank by the first key, then the next ones, then position; 1 is the highest."""
    order = np.lexsort((np.arange(keys[0].size), *(-k for k in reversed(keys))))
    rank = np.empty(keys[0].size, dtype=np.int64)
    rank[order] = np.arange(1, keys[0].size + 1)
    return rank


def expected_degree(degree: np.ndarray, firing_rate: np.ndarray) -> tuple[np.ndarray, str]:
    """Degree expected from the firing rate, and how it was made.

    Parameters
    ----------
    degree
        Non-negative integers, shape (sources,).
    firing_rate
        Shares in [0, 1], shape (sources,); NaN counts as 0.

    Returns
    -------
    tuple
        Expected degrees and ``lowess``, or the geometric mean and ``mean`` when there are fewer
        than 12 sources or one firing rate.
    """
    y = np.log1p(degree.astype(float))
    rate = np.nan_to_num(firing_rate.astype(float))
    positive = rate[rate > 0]
    if degree.size < _LEAST or np.unique(positive).size < 4:
        return np.full(degree.size, np.expm1(y.mean()) if degree.size else 0.0), "mean"
    # a source that never fires in the cohort is put at the lowest rate seen, not at minus infinity
    x = np.log(np.maximum(rate, positive.min()))
    from statsmodels.nonparametric.smoothers_lowess import lowess

    spread = float(np.ptp(x))
    smooth = lowess(y, x, frac=_SPAN, it=2, delta=0.005 * spread, return_sorted=False)
    if not np.isfinite(smooth).all():
        slope, start = np.polyfit(x, y, 1)
        return np.maximum(np.expm1(start + slope * x), 0.0), "line"
    return np.maximum(np.expm1(smooth), 0.0), "lowess"


def fit_hubs(degree: np.ndarray, firing_rate: np.ndarray) -> HubFit:
    """Rank sources by degree and by degree beyond that expected from their firing rate.

    Parameters
    ----------
    degree
        Calibrated out-degree of every source, shape (sources,).
    firing_rate
        Share of positions where it is active, shape (sources,).
    """
    import warnings

    from scipy.stats import spearmanr

    degree, firing_rate = np.asarray(degree), np.asarray(firing_rate, dtype=float)
    expected, method = expected_degree(degree, firing_rate)
    residual = np.log((degree + 1) / (expected + 1))
    rate = np.nan_to_num(firing_rate)
    rho, p = float("nan"), float("nan")
    if degree.size > 2 and np.unique(degree).size > 1 and np.unique(rate).size > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = np.asarray(spearmanr(rate, degree), dtype=float)
        rho, p = float(found[0]), float(found[1])
    y = np.log1p(degree)
    total = float(((y - y.mean()) ** 2).sum()) if y.size else 0.0
    r2 = 1 - float(((y - np.log1p(expected)) ** 2).sum()) / total if total > 0 else float("nan")
    return HubFit(
        degree,
        firing_rate,
        expected,
        residual,
        _ranks(degree, residual),
        _ranks(residual, degree),
        rho,
        p,
        r2,
        method,
    )

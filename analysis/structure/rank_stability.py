r"""Do two measurements rank features alike: Spearman's correlation of their degrees with an
interval, the overlap of their hubs, and both beside permuted degrees.

The measurements are two halves of the cells, two cohorts or two runs. A hub that is chosen and
measured on the same cells looks too good (winner's curse); its rank in other cells does not. With a
firing rate the same is given for ``log(degree + 1)`` beyond its line on ``log(rate)``, for features
that fire more have more edges in any cells.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scircuit.analysis.structure.null_numbers import number

FEWEST = 4
"""Features that are needed."""


class RankStability(NamedTuple):
    """How well two measurements agree; None: not testable.

    Parameters
    ----------
    features
        Features compared.
    rho, low, high
        Spearman's correlation and its 95 % interval (features resampled).
    p
        One-sided p of `rho` over permuted features.
    beyond_rate, beyond_low, beyond_high
        The same of degrees beyond their firing rate; None without firing rates.
    hubs, shared, shared_chance, shared_p
        Hubs of either measurement, how many are hubs of both, how many by chance, and the
        hypergeometric p.
    """

    features: int
    rho: float | None
    low: float | None
    high: float | None
    p: float | None
    beyond_rate: float | None
    beyond_low: float | None
    beyond_high: float | None
    hubs: int
    shared: int
    shared_chance: float
    shared_p: float | None

    @property
    def sentence(self) -> str:
        """The agreement in words."""
        if self.rho is None:
            return (
                f"ranks cannot be compared: {self.features} features, {FEWEST} with different"
                " degrees in both are needed"
            )
        interval = (
            f"{self.low:.2f} to {self.high:.2f}, "
            if self.low is not None and self.high is not None
            else ""
        )
        text = (
            f"degrees of {self.features:,} features have rank correlation {self.rho:.2f}"
            f" ({interval}p = {self.p:.2g})"
        )
        if self.beyond_rate is not None:
            text += f", beyond the firing rate {self.beyond_rate:.2f}"
        return (
            f"{text}; {self.shared} of {self.hubs} hubs are the same, {self.shared_chance:.1f} by"
            f" chance"
        )


def rank_stability(
    first: np.ndarray,
    second: np.ndarray,
    *,
    firing_rate: np.ndarray | None = None,
    hubs: int = 20,
    draws: int = 1000,
    seed: int = 0,
) -> RankStability:
    """Compare the degrees of the same features in two measurements.

    Parameters
    ----------
    first, second
        Degrees in either, (features,); where one is NaN the feature is left out.
    firing_rate
        Share of positions where a feature is active, (features,), or None.
    hubs
        Features with the highest degree that count as hubs; at most half of the features.
    draws, seed
        Resampled and permuted sets of features, and their seed.

    Raises
    ------
    ValueError
        If the arrays have different lengths.
    """
    first, second = np.asarray(first, float), np.asarray(second, float)
    if first.shape != second.shape:
        raise ValueError(
            f"degrees of {first.size} and of {second.size} features; give those of the same"
            " features in one order"
        )
    known = np.isfinite(first) & np.isfinite(second)
    a, b = first[known], second[known]
    rng = np.random.default_rng([seed, 37])
    rho, low, high, p = _with_interval(a, b, draws, rng)
    beyond: tuple[float | None, ...] = (None, None, None, None)
    if firing_rate is not None:
        rate = np.nan_to_num(np.asarray(firing_rate, float)[known])
        beyond = _with_interval(_beyond(a, rate), _beyond(b, rate), draws, rng)
    return RankStability(int(a.size), rho, low, high, p, *beyond[:3], *_hubs(a, b, hubs))


def _with_interval(
    a: np.ndarray, b: np.ndarray, draws: int, rng: np.random.Generator
) -> tuple[float | None, float | None, float | None, float | None]:
    from scipy.stats import rankdata

    if a.size < FEWEST or not np.ptp(a) or not np.ptp(b):
        return None, None, None, None
    ranks = rankdata(a), rankdata(b)
    rho = correlation(*ranks)
    resampled, permuted = np.zeros(draws), np.zeros(draws)
    for i in range(draws):
        at = rng.integers(0, a.size, a.size)
        resampled[i] = correlation(rankdata(a[at]), rankdata(b[at]))
        permuted[i] = correlation(ranks[0], rng.permutation(ranks[1]))
    resampled = resampled[np.isfinite(resampled)]
    low, high = np.quantile(resampled, [0.025, 0.975]) if resampled.size else (np.nan, np.nan)
    p = (1 + int((permuted >= rho - 1e-12).sum())) / (1 + draws)
    return rho, number(low), number(high), p


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation; NaN where one does not vary."""
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else float("nan")


def _beyond(degree: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """Log degree beyond its line on the log firing rate."""
    y, positive = np.log1p(degree), rate[rate > 0]
    if not positive.size:
        return y
    x = np.log(np.maximum(rate, positive.min()))
    if x.size < FEWEST or not np.ptp(x):
        return y
    return y - np.polyval(np.polyfit(x, y, 1), x)


def _hubs(a: np.ndarray, b: np.ndarray, hubs: int) -> tuple[int, int, float, float | None]:
    from scipy.stats import hypergeom

    top = min(hubs, a.size // 2)
    if not top or not np.ptp(a) or not np.ptp(b):
        return 0, 0, 0.0, None
    # ties by position, in both alike, would make hubs agree: each has an order of its own
    one = set(np.lexsort((np.arange(a.size), -a))[:top].tolist())
    two = set(np.lexsort((-np.arange(a.size), -b))[:top].tolist())
    shared = len(one & two)
    p = float(hypergeom.sf(shared - 1, a.size, top, top))
    return top, shared, top * top / a.size, p

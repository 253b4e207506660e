"""Three tests of whether hubs are annotated more or less often than other features.

- Fisher's exact test of "among the top k" against "annotated": blind to confounders; the published
  test.
- Logistic regression ``annotated ~ log(degree + 1) + log firing rate + annotatable genes``: the
  slope of degree given the other two. Annotatable genes are those of the feature's top genes that
  occur in any term; a feature without any cannot be annotated.
- Frequency-matched null: each of the top k is replaced by one of its 25 nearest others in log
  firing rate; ``p = min(1, 2 min(1 + #{null >= observed}, 1 + #{null <= observed}) / (1 +
  draws))``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_NEIGHBOURS = 25


class FisherTest(NamedTuple):
    """Top k against the rest: annotated and not, sample odds ratio, two-sided p."""

    ranking: str
    k: int
    top_annotated: int
    top_other: int
    rest_annotated: int
    rest_other: int
    odds_ratio: float
    p: float

    @property
    def top_share(self) -> float:
        """Share of the top k that is annotated."""
        return self.top_annotated / max(self.k, 1)


class MatchedNull(NamedTuple):
    """Share annotated among the top k against features with similar firing rates."""

    ranking: str
    k: int
    observed: float
    null_mean: float
    null_sd: float
    p: float
    draws: int


class Logistic(NamedTuple):
    """Slope of log(degree + 1) with its 95 % interval, on the log-odds scale; `problem`
    says why there is none.
    """

    slope: float
    low: float
    high: float
    p: float
    n: int
    covariates: tuple[str, ...]
    problem: str = ""


def fisher_top(
    annotated: np.ndarray, rank: np.ndarray, k: int, ranking: str = "degree"
) -> FisherTest:
    """Fisher's exact test of the features ranked 1..k against all others."""
    from scipy.stats import fisher_exact

    top = rank <= k
    a, b = int((top & annotated).sum()), int((top & ~annotated).sum())
    c, d = int((~top & annotated).sum()), int((~top & ~annotated).sum())
    ratio, p = np.asarray(fisher_exact([[a, b], [c, d]]), dtype=float)
    return FisherTest(ranking, int(top.sum()), a, b, c, d, float(ratio), float(p))


def matched_top(
    annotated: np.ndarray,
    rank: np.ndarray,
    firing_rate: np.ndarray,
    k: int,
    *,
    ranking: str = "degree",
    draws: int = 2000,
    seed: int = 0,
) -> MatchedNull:
    """Share annotated among the top k against draws of features outside the top k with similar
    firing rates.
    """
    top = np.flatnonzero(rank <= k)
    rest = np.flatnonzero(rank > k)
    observed = float(annotated[top].mean()) if top.size else float("nan")
    if not top.size or not rest.size:
        return MatchedNull(
            ranking, int(top.size), observed, float("nan"), float("nan"), float("nan"), 0
        )
    rate = np.nan_to_num(firing_rate)
    floor = rate[rate > 0].min() if (rate > 0).any() else 1.0
    log_rate = np.log(np.maximum(rate, floor))
    near = min(_NEIGHBOURS, rest.size)
    distance = np.abs(log_rate[rest][None, :] - log_rate[top][:, None])
    candidates = rest[np.argsort(distance, axis=1, kind="stable")[:, :near]]
    pick = np.random.default_rng(seed).integers(0, near, size=(draws, top.size))
    null = annotated[candidates[np.arange(top.size), pick]].mean(axis=1)
    # shares are multiples of 1/k: compare as counts, so rounding decides nothing
    got, drawn = round(observed * top.size), np.rint(null * top.size)
    p = min(
        1.0, 2 * min(1 + int((drawn >= got).sum()), 1 + int((drawn <= got).sum())) / (1 + draws)
    )
    return MatchedNull(
        ranking, int(top.size), observed, float(null.mean()), float(null.std(ddof=1)), p, draws
    )


def fit_logistic(
    annotated: np.ndarray,
    degree: np.ndarray,
    firing_rate: np.ndarray,
    annotatable: np.ndarray | None,
) -> Logistic:
    """Logistic regression of `annotated` on log degree, adjusted for firing rate and annotatable
    genes; a column without variance is left out.
    """
    import warnings

    rate = np.nan_to_num(firing_rate)
    floor = rate[rate > 0].min() if (rate > 0).any() else 1.0
    columns = {
        "log degree": np.log1p(degree.astype(float)),
        "log firing rate": np.log(np.maximum(rate, floor)),
    }
    if annotatable is not None:
        columns["annotatable genes"] = annotatable.astype(float)
    columns = {k: v for k, v in columns.items() if np.ptp(v) > 0}
    names, n = tuple(columns), int(annotated.size)
    nan = float("nan")

    def no(problem: str) -> Logistic:
        return Logistic(nan, nan, nan, nan, n, names, problem)

    if "log degree" not in columns:
        return no("all degrees are equal")
    events = int(min(annotated.sum(), n - annotated.sum()))
    if events < 5 * len(columns):
        return no(
            f"{events} features in the smaller class are too few for {len(columns)} covariates; 5"
            " per covariate are needed"
        )
    import statsmodels.api as sm
    from numpy.linalg import LinAlgError

    x = np.column_stack([np.ones(n), *((v - v.mean()) / v.std() for v in columns.values())])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = sm.Logit(annotated.astype(float), x).fit(disp=0, maxiter=100)
    except (LinAlgError, ValueError, FloatingPointError) as error:
        return no(f"the fit failed ({error})")
    se = np.asarray(fit.bse)
    if not fit.mle_retvals["converged"] or not np.isfinite(se).all() or (se > 50).any():
        return no(
            "the covariates separate annotated from other features perfectly; there is no finite"
            " estimate"
        )
    scale = columns["log degree"].std()
    slope, error = float(fit.params[1] / scale), float(se[1] / scale)
    return Logistic(
        slope, slope - 1.96 * error, slope + 1.96 * error, float(fit.pvalues[1]), n, names
    )

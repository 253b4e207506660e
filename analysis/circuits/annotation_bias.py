"""Are hubs more, or less, often annotated than other features? Three tests, each of the same
question.

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

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

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
    """Share annotated among the top k against features of like firing rate."""

    ranking: str
    k: int
    observed: float
    null_mean: float
    null_sd: float
    p: float
    draws: int


class Logistic(NamedTuple):
    """Slope of log(degree + 1) with its 95 % interval, on the log-odds scale; `problem` says why
    there is none.
    """

    slope: float
    low: float
    high: float
    p: float
    n: int
    covariates: tuple[str, ...]
    problem: str = ""


@dataclass(frozen=True)
class AnnotationBias:
    """Result of `annotation_bias`; empty tuples when nothing could be tested, and `sentence` says
    why.
    """

    features: int
    annotated: int
    fisher: tuple[FisherTest, ...]
    matched: tuple[MatchedNull, ...]
    logistic: Logistic
    sentence: str

    @property
    def frame(self) -> pd.DataFrame:
        """Fisher tests and matched nulls side by side, one row a ranking and k."""
        import pandas as pd

        rows = []
        for f, m in zip(self.fisher, self.matched, strict=True):
            rows.append(
                {
                    **f._asdict(),
                    "top_share": f.top_share,
                    "null_share": m.null_mean,
                    "null_sd": m.null_sd,
                    "matched_p": m.p,
                }
            )
        return pd.DataFrame(rows)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Share annotated among the top k, beside the frequency-matched null."""
        from scircuit.analysis.plots import plot_bias

        return plot_bias(self, ax)


def fisher_top(
    annotated: np.ndarray, rank: np.ndarray, k: int, ranking: str = "degree"
) -> FisherTest:
    """Fisher's exact test of the features ranked 1..k against all others."""
    from scipy.stats import fisher_exact

    top = rank <= k
    a, b = int((top & annotated).sum()), int((top & ~annotated).sum())
    c, d = int((~top & annotated).sum()), int((~top & ~annotated).sum())
    found: Any = fisher_exact([[a, b], [c, d]])
    return FisherTest(ranking, int(top.sum()), a, b, c, d, float(found[0]), float(found[1]))


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
    """Share annotated among the top k against draws of features with like firing rates (outside the
    top k).
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


def _logistic(
    annotated: np.ndarray,
    degree: np.ndarray,
    firing_rate: np.ndarray,
    annotatable: np.ndarray | None,
) -> Logistic:
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
            f"{events} features in the smaller class for {len(columns)} covariates (5 each are"
            " needed)"
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
            "the covariates separate annotated from other features; no finite estimate exists"
        )
    scale = columns["log degree"].std()
    slope, error = float(fit.params[1] / scale), float(se[1] / scale)
    return Logistic(
        slope, slope - 1.96 * error, slope + 1.96 * error, float(fit.pvalues[1]), n, names
    )


def annotation_bias(
    degree: np.ndarray,
    degree_rank: np.ndarray,
    hub_rank: np.ndarray,
    firing_rate: np.ndarray,
    annotated: np.ndarray,
    annotatable: np.ndarray | None = None,
    *,
    hubs: int = 20,
    draws: int = 2000,
    seed: int = 0,
) -> AnnotationBias:
    """Test whether hubs are annotated more or less often than expected.

    Parameters
    ----------
    degree, degree_rank, hub_rank, firing_rate
        Of every source, shapes (sources,).
    annotated
        Bool, shape (sources,).
    annotatable
        Top genes that occur in any term, shape (sources,).
    hubs
        k of the top list; 1 % and 10 % of the sources are tested as well.
    draws, seed
        Of the frequency-matched null.
    """
    n, positives = int(annotated.size), int(annotated.sum())
    empty = Logistic(float("nan"), float("nan"), float("nan"), float("nan"), n, (), "not tested")
    if n < 4 or positives in (0, n):
        which = "none" if positives == 0 else "all" if positives == n else f"{positives}"
        return AnnotationBias(
            n,
            positives,
            (),
            (),
            empty,
            f"annotation bias of hubs: not testable, {which} of {n} sources is annotated",
        )
    ks = sorted(
        {k for k in (hubs, max(round(0.01 * n), 5), max(round(0.1 * n), 5)) if 0 < k < n}
    ) or [max(n // 4, 1)]
    fisher, matched = [], []
    for ranking, rank in (("degree", degree_rank), ("residual degree", hub_rank)):
        for k in ks:
            fisher.append(fisher_top(annotated, rank, k, ranking))
            matched.append(
                matched_top(
                    annotated, rank, firing_rate, k, ranking=ranking, draws=draws, seed=seed
                )
            )
    logistic = _logistic(annotated, degree, firing_rate, annotatable)
    k = hubs if hubs in ks else ks[0]
    f = next(t for t in fisher if t.k == k)
    m = next(t for t in matched if t.k == k)
    adjusted = (
        f"adjusted for {' and '.join(logistic.covariates[1:]) or 'nothing'}, log-odds"
        f" {logistic.slope:+.2f} per unit of log degree (p = {logistic.p:.2g})"
        if not logistic.problem
        else f"no adjusted slope: {logistic.problem}"
    )
    sentence = (
        f"{f.top_annotated} of the {f.k} features with the highest degree are annotated"
        f" ({100 * f.top_share:.0f} %; all sources {100 * positives / n:.0f} %, Fisher p ="
        f" {f.p:.2g}; features of like firing rate {100 * m.null_mean:.0f} %, p = {m.p:.2g});"
        f" {adjusted}"
    )
    return AnnotationBias(n, positives, tuple(fisher), tuple(matched), logistic, sentence)

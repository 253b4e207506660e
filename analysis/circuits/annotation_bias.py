"""Whether hubs are annotated more, or less, often than other features.

`scircuit.analysis.circuits.hub_annotation_tests` has the three tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scircuit.analysis.circuits.circuit_plots import plot_bias
from scircuit.analysis.circuits.hub_annotation_tests import (
    FisherTest,
    Logistic,
    MatchedNull,
    fisher_top,
    fit_logistic,
    matched_top,
)
from scircuit.analysis.plot_style import axes_or_new, no_data

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


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
        if not self.fisher:
            return no_data(axes_or_new(ax), self.sentence)
        return plot_bias(self.fisher, self.matched, self.annotated / self.features, ax)


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
    logistic = fit_logistic(annotated, degree, firing_rate, annotatable)
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
        f" {f.p:.2g}; features with similar firing rates {100 * m.null_mean:.0f} %, p = {m.p:.2g});"
        f" {adjusted}"
    )
    return AnnotationBias(n, positives, tuple(fisher), tuple(matched), logistic, sentence)

"""The share of features that a rule annotates, beside that of their matched random lists.

The interval of the excess takes features as independent between clusters only: those whose lists
share half of their genes (`scircuit.analysis.enrichment.list_clusters`), in any layer, are one
concept found again. With d_f what is averaged over n features (1 for an annotated one, minus the
share of its matched lists) and C clusters c,

    var(mean d) = C / (C - 1) x sum_c (sum_{f in c} (d_f - mean d))^2 / n^2 .
"""

from __future__ import annotations

import numpy as np

from scircuit.analysis.enrichment.matched_null import Rate


def _variance_of_mean(x: np.ndarray, cluster: np.ndarray) -> float:
    """Variance of the mean of values independent between clusters; NaN with one cluster."""
    deviation = np.bincount(np.unique(cluster, return_inverse=True)[1], weights=x - x.mean())
    return (
        float((deviation**2).sum() / x.size**2 * deviation.size / (deviation.size - 1))
        if deviation.size > 1
        else float("nan")
    )


def annotation_rate(
    library: str,
    rule: str,
    found: np.ndarray,
    null: np.ndarray,
    of: np.ndarray,
    cluster: np.ndarray,
    untested: int,
) -> Rate:
    """Rate of a rule with the interval of its excess.

    Parameters
    ----------
    library, rule
        What is rated.
    found
        Features that are annotated; bool (features with a list,).
    null
        Random lists that are; bool (random lists of each, features in `of`).
    of
        Which features the random lists belong to.
    cluster
        Cluster of every feature with a list; the others are clusters of their own.
    untested
        Features without a list, counted as not annotated.
    """
    n, listed = found.size + untested, found.size
    count = int(found.sum())
    if listed and not null.size:
        return Rate(library, rule, n, count, count / n, *[float("nan")] * 6)
    # random lists stand for the features with a list; the others have none and cannot be annotated
    # by chance
    by_draw, by_list = (
        (listed / n * null.mean(axis=1), null.mean(axis=0))
        if listed
        else (np.zeros(1), np.zeros(0))
    )
    rate, null_rate = count / n, float(by_draw.mean())
    excess = rate - null_rate
    everyone = np.concatenate([cluster, cluster.max(initial=-1) + 1 + np.arange(untested)])
    every = np.zeros(n)
    every[:listed] = found
    if of.size == listed:
        every[of] -= by_list
        variance = _variance_of_mean(every, everyone)
    else:
        variance = _variance_of_mean(every, everyone) + (listed / n) ** 2 * _variance_of_mean(
            by_list, cluster[of]
        )
    # none found of m clusters is no certainty: at least the variance of a share with two more found
    # and two more not (Agresti and Coull)
    m, hits, misses = (
        np.unique(x).size
        for x in (everyone, cluster[found], np.concatenate([cluster[~found], everyone[listed:]]))
    )
    if min(hits, misses) < 5:
        share = (hits + 2) / (m + 4)
        variance = np.fmax(variance, share * (1 - share) / m)
    half = float(1.96 * np.sqrt(variance))
    return Rate(
        library,
        rule,
        n,
        count,
        rate,
        null_rate,
        float(by_draw.min()),
        float(by_draw.max()),
        excess,
        excess - half,
        excess + half,
    )

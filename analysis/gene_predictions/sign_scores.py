"""How well predicted signs agree with observed ones: balanced accuracy and Matthews correlation.

With the confusion counts of one perturbation (rises foretold and seen, and so on) as a row, sums of
rows give the scores of any set of perturbations, and weighted sums those of a bootstrap by
perturbation:

    balanced accuracy = (TP / (TP + FN) + TN / (TN + FP)) / 2
    MCC = (TP TN - FP FN) / sqrt((TP + FP)(TP + FN)(TN + FP)(TN + FN)) ,

MCC 0 for a prediction that is always the same. Both are NaN where one of the two signs is never
observed.
"""

from __future__ import annotations

import numpy as np

TP, FN, TN, FP = range(4)


def confusion(predicted: np.ndarray, observed: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Counts of each row of pairs, int64 [rows, (TP, FN, TN, FP)].

    Parameters
    ----------
    predicted, observed
        Signs, [rows, pairs].
    used
        Pairs that count, [rows, pairs] bool.
    """
    up, down = used & (observed > 0), used & (observed < 0)
    return np.stack(
        [
            (up & (predicted > 0)).sum(axis=1),
            (up & (predicted <= 0)).sum(axis=1),
            (down & (predicted <= 0)).sum(axis=1),
            (down & (predicted > 0)).sum(axis=1),
        ],
        axis=1,
    )


def balanced_accuracy(counts: np.ndarray) -> np.ndarray:
    """Of counts [..., 4]."""
    c = np.asarray(counts, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (c[..., TP] / (c[..., TP] + c[..., FN]) + c[..., TN] / (c[..., TN] + c[..., FP])) / 2


def matthews(counts: np.ndarray) -> np.ndarray:
    """Of counts [..., 4]."""
    c = np.asarray(counts, float)
    up, down = c[..., TP] + c[..., FN], c[..., TN] + c[..., FP]
    said_up, said_down = c[..., TP] + c[..., FP], c[..., TN] + c[..., FN]
    product = c[..., TP] * c[..., TN] - c[..., FP] * c[..., FN]
    size = np.sqrt(up * down * said_up * said_down)
    found = np.divide(product, size, out=np.zeros_like(product), where=size > 0)
    return np.where((up > 0) & (down > 0), found, np.nan)


def resampled(rows: int, draws: int, seed: int) -> np.ndarray:
    """How often each perturbation is in each bootstrap, [draws, rows]."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(rows, np.full(rows, 1 / rows), size=draws).astype(float)


def interval(values: np.ndarray) -> tuple[float, float]:
    """Middle 95 % of the values that exist; NaN where fewer than half do."""
    known = values[np.isfinite(values)]
    if known.size < values.size / 2 or not known.size:
        return float("nan"), float("nan")
    return float(np.quantile(known, 0.025)), float(np.quantile(known, 0.975))

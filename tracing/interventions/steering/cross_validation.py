r"""How good a probe is on cells it was not fitted on, beside probes of shuffled labels.

Folds hold whole groups (donors) where groups are given, else single cells, dealt out by a random
order. The measure is computed once over all held-out predictions: R^2 of regression against the
mean of the training cells, the area under the ROC curve of two classes (computed within each fold
and averaged, since folds differ in their intercept), balanced accuracy of several. The baseline is
the mean of the same measure with the labels shuffled over cells, and

    p = (1 + #{shuffled >= observed}) / (1 + draws) .
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from scircuit.core.errors import UserError

FOLDS, DRAWS = 5, 20

Fit = Callable[[np.ndarray, np.ndarray], Callable[[np.ndarray], np.ndarray]]


class Quality(NamedTuple):
    """Cross-validated quality of a probe; None where a measure is not defined."""

    measure: str
    value: float | None
    baseline: float | None
    p: float | None
    cells: int
    groups: int  # 0: single cells


def folds(n: int, groups: np.ndarray | None, seed: int) -> np.ndarray:
    """Fold of each cell, [n].

    Raises
    ------
    UserError
        If there is a single group.
    """
    rng = np.random.default_rng([seed, 11])
    if groups is None:
        return rng.permutation(np.arange(n) % min(FOLDS, n))
    names, which = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise UserError(
            f"the probe cells have {len(names)} group ({names[0] if len(names) else 'none'});"
            " held-out groups need 2 or more",
            "give another --group column, more --probe-cells, or leave it out",
        )
    dealt = rng.permutation(np.arange(len(names)) % min(FOLDS, len(names)))
    return dealt[which]


def r2(y: np.ndarray, predicted: np.ndarray, fold: np.ndarray) -> float | None:
    """1 - squared error / squared error of the training cells' mean."""
    base = np.array([y[fold != k].mean() for k in range(fold.max() + 1)])[fold]
    total = float(((y - base) ** 2).sum())
    return 1 - float(((y - predicted[:, 0]) ** 2).sum()) / total if total > 0 else None


def auc(y: np.ndarray, predicted: np.ndarray, fold: np.ndarray) -> float | None:
    """Area under the ROC curve, weighted mean over the folds that hold both classes; ties count
    one half.
    """
    from scipy.stats import rankdata

    total = weight = 0.0
    for k in range(fold.max() + 1):
        own, score = y[fold == k], predicted[fold == k, 0]
        positive, negative = int(own.sum()), int((~own).sum())
        if positive and negative:
            u = rankdata(score)[own].sum() - positive * (positive + 1) / 2
            pairs = positive * negative
            total, weight = total + u, weight + pairs
    return total / weight if weight else None


def balanced_accuracy(y: np.ndarray, predicted: np.ndarray, _: np.ndarray) -> float:
    """Mean over classes of the share of its cells that are called right."""
    right = predicted.argmax(1) == y
    return float(np.mean([right[y == k].mean() for k in np.unique(y)]))


_MEASURES = {"R2": r2, "AUC": auc, "balanced accuracy": balanced_accuracy}


def quality(
    fit: Fit,
    x: np.ndarray,
    y: np.ndarray,
    measure: str,
    groups: np.ndarray | None,
    seed: int,
    draws: int = DRAWS,
) -> Quality:
    """Cross-validated measure of a probe on states x [n, d] and labels y [n], and of `draws` probes
    of shuffled labels.
    """
    fold = folds(len(y), groups, seed)
    rng = np.random.default_rng([seed, 12])
    values: list[float | None] = []
    for draw in range(1 + draws):
        labels = y if draw == 0 else rng.permutation(y)
        values.append(_held_out(fit, x, labels, measure, fold))
    observed = values[0]
    shuffled = np.array([v for v in values[1:] if v is not None], dtype=float)
    known = observed is not None and len(shuffled) > 0
    return Quality(
        measure,
        observed,
        float(shuffled.mean()) if len(shuffled) else None,
        (1 + int((shuffled >= observed).sum())) / (1 + len(shuffled)) if known else None,
        len(y),
        0 if groups is None else len(np.unique(groups)),
    )


def _held_out(
    fit: Fit, x: np.ndarray, y: np.ndarray, measure: str, fold: np.ndarray
) -> float | None:
    """The measure over held-out predictions; None where a training part lacks a class."""
    predicted: np.ndarray | None = None
    for k in range(fold.max() + 1):
        train = fold != k
        if measure != "R2" and len(np.unique(y[train])) < len(np.unique(y)):
            return None
        found = fit(x[train], y[train])(x[~train])
        predicted = np.zeros((len(y), found.shape[1])) if predicted is None else predicted
        predicted[~train] = found
    return None if predicted is None else _MEASURES[measure](y, predicted, fold)

"""Classes of sets compared, with the set as the unit: targets of a set share its cells, so to draw
targets again, as published, makes intervals that are far too short.

For each class the median over its sets with a 95 % interval by drawing sets again. For two classes
the difference of medians, with

    p = (1 + relabellings at least as far apart) / (1 + relabellings)

over random assignments of the sets to the two classes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

DRAWS = 2000
_LEAST = 2  # sets of a class


class ClassMedian(NamedTuple):
    """A class: sets with a value, their median and its interval (None: too few sets)."""

    sets: int
    median: float | None
    low: float | None
    high: float | None


class ClassDifference(NamedTuple):
    """Difference of the medians of two classes, and its permutation p (None: too few sets)."""

    difference: float | None
    p: float | None


def class_median(values: np.ndarray, seed: int = 0) -> ClassMedian:
    """Median of one value a set, with an interval over sets; NaN takes no part."""
    x = np.asarray(values, np.float64)
    x = x[np.isfinite(x)]
    if len(x) == 0:
        return ClassMedian(0, None, None, None)
    if len(x) < _LEAST:
        return ClassMedian(len(x), float(np.median(x)), None, None)
    drawn = np.median(x[np.random.default_rng(seed).integers(0, len(x), (DRAWS, len(x)))], axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return ClassMedian(len(x), float(np.median(x)), float(low), float(high))


def class_difference(one: np.ndarray, other: np.ndarray, seed: int = 0) -> ClassDifference:
    """Median of `one` minus median of `other`, and its two-sided p by relabelling sets."""
    a, b = (np.asarray(x, np.float64)[np.isfinite(x)] for x in (one, other))
    if min(len(a), len(b)) < _LEAST:
        return ClassDifference(None, None)
    rng, every = np.random.default_rng(seed), np.concatenate([a, b])
    order = rng.permuted(np.tile(np.arange(len(every)), (DRAWS, 1)), axis=1)
    drawn = every[order]
    apart = np.median(drawn[:, : len(a)], axis=1) - np.median(drawn[:, len(a) :], axis=1)
    found = float(np.median(a) - np.median(b))
    # equal to rounding is as far apart
    hits = int((np.abs(apart) >= abs(found) - 1e-12).sum())
    return ClassDifference(found, (1 + hits) / (1 + DRAWS))

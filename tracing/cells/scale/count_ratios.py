"""Whether the values of one cell are a known function of whole numbers, and of which.

If values are f(c n_i), with n_i the integer counts of a cell and one constant c per cell, then for
the right inverse of f

    f^-1(x_i) / min_j f^-1(x_j) = n_i / n_min

is a ratio of integers, within the error that storage allows (float32, or values rounded to some
decimals). This holds for genes dropped after normalisation too, where the sum over a cell is no
longer constant.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

_LARGEST_MULTIPLE = 8  # the smallest count of a cell is at most this
_FIT = 0.99  # share of a cell's informative values that fix its smallest count
_INFORMATIVE = 0.15  # largest error of a ratio at which missing an integer would be noticed
_FLOAT32 = 2.0**-22  # relative error of a value that was computed and stored in float32
_KNOWN = 0.25  # largest error of a count that may say what the unit is
_CLEAR = 20  # values by which decimals are told

Function = Callable[[np.ndarray], np.ndarray]


class Transform(NamedTuple):
    """A function of counts: its name, its inverse and the slope of the inverse."""

    name: str
    inverse: Function
    slope: Function


LINEAR = Transform("normalised counts (no logarithm)", lambda x: x, np.ones_like)
TWICE = Transform(
    "log1p taken twice", lambda x: np.expm1(np.expm1(x)), lambda x: np.exp(np.expm1(x) + x)
)
ROOTS = Transform("square roots of counts", np.square, lambda x: 2 * x)
TRANSFORMS = (
    LINEAR,
    Transform("log1p of normalised counts", np.expm1, np.exp),
    Transform(
        "log2(x + 1) of normalised counts",
        lambda x: np.exp2(x) - 1,
        lambda x: np.exp2(x) * np.log(2),
    ),
    Transform(
        "log10(x + 1) of normalised counts",
        lambda x: np.power(10.0, x) - 1,
        lambda x: np.power(10.0, x) * np.log(10),
    ),
    TWICE,
    ROOTS,
)
REFUSED = (TWICE, ROOTS)  # recognised, and not undone


class Ratios(NamedTuple):
    """How well one cell fits a transform.

    Attributes
    ----------
    unit
        Normalised value of one count.
    fit, informative
        Ratios to the smallest value that are whole, and that could have missed a whole number.
    chance
        How many would be whole by chance.
    """

    unit: float
    fit: int
    informative: int
    chance: float

    @property
    def proven(self) -> bool:
        """Whether this cell by itself proves the transform."""
        return (
            self.informative >= 20
            and self.fit >= 0.95 * self.informative
            and self.chance < 0.3 * self.informative
        )


def ratios(x: np.ndarray, transform: Transform, quantum: float) -> Ratios:
    """Ratios of the values of a cell to its smallest one.

    Parameters
    ----------
    x
        Values above 0 of one cell.
    transform
        What may have been done to the counts.
    quantum
        Largest error by decimals that were cut off, or 0; that of float32 comes on top.
    """
    if not len(x):
        return Ratios(1.0, 0, 0, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        y = transform.inverse(x)
        error = _error(x, transform, quantum) / y
    if not np.isfinite(y).all():
        return Ratios(1.0, 0, len(x), 0.0)
    smallest = int(y.argmin())
    best = Ratios(float(y[smallest]), 0, 0, 0.0)
    for multiple in range(1, _LARGEST_MULTIPLE + 1):
        ratio = y / y[smallest] * multiple
        tolerance = np.maximum(1e-4, ratio * (error + error[smallest]))
        informative = (ratio > multiple * 1.01) & (tolerance < _INFORMATIVE)
        fit = int((np.abs(ratio - np.rint(ratio)) <= tolerance)[informative].sum())
        count = int(informative.sum())
        outcome = Ratios(
            float(y[smallest] / multiple),
            fit,
            count,
            float(2 * tolerance[informative].sum()),
        )
        if count and fit >= _FIT * count:
            return outcome
        if multiple == 1:
            best = outcome
    return best


def whole_counts(x: np.ndarray, transform: Transform, quantum: float) -> tuple[np.ndarray, int]:
    """Counts behind the values of a cell, and how many of them rounding leaves open.

    The smallest value alone says too little about the unit for large counts, so it is fitted to all
    values whose count is known, more and more of them.

    Parameters
    ----------
    x, transform, quantum
        As for `ratios`.
    """
    unit = ratios(x, transform, quantum).unit
    y, error = transform.inverse(x), _error(x, transform, quantum)
    doubt = float(error[y.argmin()] / y.min())  # relative error of the unit
    known = 0
    while True:
        off = y / unit * doubt + error / unit
        sure = off < _KNOWN
        if sure.sum() <= known:
            return np.rint(y / unit), int((off >= 0.5).sum())
        known = int(sure.sum())
        n, weight = np.rint(y[sure] / unit), 1.0 / error[sure] ** 2
        unit = float((weight * n * y[sure]).sum() / (weight * n * n).sum())
        doubt = min(doubt, float(2.0 / np.sqrt((weight * n * n).sum()) / unit))


def _error(x: np.ndarray, transform: Transform, quantum: float) -> np.ndarray:
    """Largest error of the values before the transform."""
    return transform.slope(x) * (quantum + _FLOAT32 * x)


def quantum_of(data: np.ndarray) -> float:
    """Half a unit in the last decimal if values were rounded to at most 5 decimals, else 0.

    Large values in float32 hold fewer decimals, and tell nothing.
    """
    for decimals in range(1, 6):
        scaled = data * 10**decimals
        clear = _FLOAT32 / 4 * scaled < 0.1
        off = np.abs(scaled - np.rint(scaled))[clear]
        if len(off) >= min(_CLEAR, len(data)) and off.max(initial=0.0) < 0.11:
            return 0.5 * 10.0**-decimals
    return 0.0

"""On which scale expression values are, with proof, and the counts behind them.

If values are f(c n_i), with n_i the integer counts of a cell and one constant c per cell, then for
the right inverse of f

    f^-1(x_i) / min_j f^-1(x_j) = n_i / n_min

is a ratio of integers, within the error that storage allows (float32, or values rounded to some
decimals). This holds for genes dropped after normalisation too, where the sum over a cell is no
longer constant. f is tried as identity (CP10k), log1p, log2(x + 1) and log1p twice; a scale is
*proven* when at least 90 % of the informative values fit, and then every single cell must fit it
(`misfits`). Doubly logged data are refused, as are negative (scaled) values and anything that
cannot be proven.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

_LARGEST_MULTIPLE = 8  # the smallest count of a cell is at most this
_FIT = 0.99  # share of a cell's informative values that fix its smallest count
_PROVEN = 0.9  # share of all informative values that proves a scale
_INFORMATIVE = 0.15  # largest error of a ratio at which missing an integer would be noticed
_LOG_LIMIT = 50.0  # no logarithm of a count or rate is larger

Inverse = Callable[[np.ndarray], np.ndarray]
_SCALES: tuple[tuple[str, Inverse, Inverse], ...] = (
    ("normalised counts (no logarithm)", lambda x: x, np.ones_like),
    ("log1p of normalised counts", np.expm1, np.exp),
    (
        "log2(x + 1) of normalised counts",
        lambda x: np.exp2(x) - 1,
        lambda x: np.exp2(x) * np.log(2),
    ),
    ("log1p taken twice", lambda x: np.expm1(np.expm1(x)), lambda x: np.exp(np.expm1(x) + x)),
)


@dataclass(frozen=True)
class Scale:
    """Scale of a matrix.

    Attributes
    ----------
    name
        What the values are.
    usable
        Whether counts, or values proportional to counts within a cell, can be recovered.
    evidence
        The numbers behind it.
    counts
        Whether the values are counts as stored.
    fix
        What to do when not usable.
    """

    name: str
    usable: bool
    evidence: str
    counts: bool = False
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.evidence})"


_FIX = "give raw counts: adata.layers['counts'] or adata.raw, or name the layer with --layer-key"


def detect(values: sparse.csr_matrix) -> Scale:
    """Scale of some cells.

    Parameters
    ----------
    values
        Cells x genes, as stored, [cells, genes].
    """
    data = values.data
    bad = int((~np.isfinite(data)).sum())
    if bad:
        cells = len(np.unique(_row_of(values)[~np.isfinite(data)]))
        return Scale(
            "not finite", False, f"{bad:,} values in {cells:,} cells are NaN or infinite", fix=_FIX
        )
    negative = int((data < 0).sum())
    if negative:
        evidence = (
            f"{negative:,} of {len(data):,} stored values are negative, down to {data.min():.3g}"
        )
        return Scale(
            "scaled or imputed values", False, evidence, fix=f"scaling cannot be undone: {_FIX}"
        )
    data = data[data > 0]
    if not len(data):
        return Scale(
            "empty",
            False,
            f"no value above 0 in {len(values.indptr) - 1:,} cells",
            fix="choose cells that have counts",
        )
    off = np.abs(data - np.rint(data))
    if off.max() == 0:
        return Scale(
            "raw counts",
            True,
            f"all {len(data):,} values are whole numbers up to {data.max():,.0f}",
            counts=True,
        )
    if (off < 1e-3).mean() > 0.999:
        share = (off < 1e-3).mean()
        return Scale(
            "raw counts",
            True,
            f"{share:.2%} of {len(data):,} values within 0.001 of whole numbers; rounded",
            counts=True,
        )
    return _proven(values) or _unproven(values)


def _proven(values: sparse.csr_matrix) -> Scale | None:
    for name, inverse, slope in _SCALES:
        checked = fitting = 0
        chance = 0.0
        for x in _cells(values):
            _, fit, informative, luck = _ratios(x, inverse, slope, _quantum(values.data))
            checked, fitting, chance = checked + informative, fitting + fit, chance + luck
        if checked >= 50 and fitting / checked >= _PROVEN and chance / checked < 0.3:
            evidence = (
                f"{fitting:,} of {checked:,} ratios to the smallest value of the cell are integers,"
                f" {chance:,.0f} by chance"
            )
            if name == "log1p taken twice":
                fix = f"the file was log-transformed twice; undo it at its source. {_FIX}"
                return Scale(name, False, evidence, fix=fix)
            return Scale(name, True, evidence)
    return None


def _unproven(values: sparse.csr_matrix) -> Scale:
    data = values.data[values.data > 0]
    sums = np.asarray(values.sum(axis=1)).ravel()
    numbers = (
        f"{len(data):,} values from {data.min():.3g} to {data.max():.4g}, sums per cell from"
        f" {sums.min():,.0f} to {sums.max():,.0f}"
    )
    if data.max() > _LOG_LIMIT:
        evidence = (
            f"{numbers}: too large for a logarithm; the order of genes needs no whole numbers, but"
            " it may depend on gene length"
        )
        return Scale("expected counts (not whole numbers)", True, evidence)
    evidence = f"{numbers}; not a logarithm of counts, so counts cannot be recovered"
    return Scale("unknown scale", False, evidence, fix=_FIX)


def to_counts(values: sparse.csr_matrix, scale: Scale) -> sparse.csr_matrix:
    """Counts of every cell: whole numbers where the scale is proven, the values themselves for
    expected counts.

    In a cell with too few values to show its smallest count, that count is taken as 1; the order of
    genes is the same.
    """
    result = values.copy()
    if scale.counts:
        result.data = np.rint(result.data)
        return result
    found = next((s for s in _SCALES if s[0] == scale.name), None)
    if found is None:
        return result
    quantum = _quantum(values.data)
    for i in range(len(values.indptr) - 1):
        span = slice(values.indptr[i], values.indptr[i + 1])
        x = values.data[span]
        positive = x > 0
        if positive.any():
            unit = _ratios(x[positive], found[1], found[2], quantum)[0]
            result.data[span] = np.where(positive, np.rint(found[1](x) / unit), 0.0)
    result.eliminate_zeros()
    return result


def misfits(values: sparse.csr_matrix, scale: Scale) -> np.ndarray:
    """Rows that do not fit a proven scale (fewer than 95 % of at least 20 informative ratios)."""
    found = next((s for s in _SCALES if s[0] == scale.name), None)
    if found is None:
        return np.empty(0, dtype=np.int64)
    quantum, bad = _quantum(values.data), []
    for i, x in enumerate(_cells(values)):
        _, fit, informative, _ = _ratios(x, found[1], found[2], quantum)
        if informative >= 20 and fit < 0.95 * informative:
            bad.append(i)
    return np.array(bad, dtype=np.int64)


def _ratios(
    x: np.ndarray, inverse: Inverse, slope: Inverse, quantum: float
) -> tuple[float, int, int, float]:
    """Unit of a cell, how many ratios are integers, how many could have missed, and how many would
    hit by chance.
    """
    if not len(x):
        return 1.0, 0, 0, 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        y = inverse(x)
        error = slope(x) * (quantum if quantum else 2.0**-23 * x) / y
    if not np.isfinite(y).all():
        return 1.0, 0, len(x), 0.0
    smallest = int(y.argmin())
    best = (float(y[smallest]), 0, 0, 0.0)
    for multiple in range(1, _LARGEST_MULTIPLE + 1):
        ratio = y / y[smallest] * multiple
        tolerance = np.maximum(1e-4, ratio * (error + error[smallest]))
        informative = (ratio > multiple * 1.01) & (tolerance < _INFORMATIVE)
        fit = int((np.abs(ratio - np.rint(ratio)) <= tolerance)[informative].sum())
        count = int(informative.sum())
        outcome = (
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


def _quantum(data: np.ndarray) -> float:
    """Half a unit in the last decimal if values were rounded to at most 4 decimals, else 0."""
    for decimals in range(1, 5):
        scaled = data * 10**decimals
        if np.abs(scaled - np.rint(scaled)).max(initial=0.0) < 1e-2:
            return 0.5 * 10.0**-decimals
    return 0.0


def _cells(values: sparse.csr_matrix) -> list[np.ndarray]:
    rows = [
        values.data[values.indptr[i] : values.indptr[i + 1]] for i in range(len(values.indptr) - 1)
    ]
    return [row[row > 0] for row in rows]


def _row_of(values: sparse.csr_matrix) -> np.ndarray:
    return np.repeat(np.arange(len(values.indptr) - 1), np.diff(values.indptr))

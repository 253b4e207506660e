"""What the values of every single cell are: counts, a proven function of counts, or neither.

A pool of cells hides what one cell shows: half counts and half logarithms look like large numbers
that are not whole. So each cell is judged by itself, and a file by what its cells agree on.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from scircuit.tracing.cells.scale import whole_numbers
from scircuit.tracing.cells.scale.count_ratios import (
    LINEAR,
    TRANSFORMS,
    Transform,
    quantum_of,
    ratios,
)
from scircuit.tracing.cells.scale.near_whole import is_whole, mostly_whole, near_whole
from scircuit.tracing.cells.scale.whole_numbers import CellNumbers

RAW, EXPECTED = "raw counts", "expected counts (not whole numbers)"
NEGATIVE, NOT_FINITE, EMPTY = "scaled or imputed values", "not finite", "empty"
LOGARITHMS = "values as small as logarithms that no count explains"
RATES = "rates (TPM, FPKM) or other values that are not near whole numbers"
FEW = "too few values to tell"
UNTOLD = "large values without small ones to tell"  # of a deep cell, perhaps of expected counts
_LOG_LIMIT = 50.0  # no logarithm of a count or rate is larger
_FIRST = 200  # values of a cell that are tried before all of them
_NEAR = 1e-3  # distance at which a value counts as whole


def kinds(values: sparse.csr_matrix) -> np.ndarray:
    """What each cell holds: the name of a transform (`count_ratios`), of a fault of whole numbers
    (`whole_numbers`), or one of this module's, [cells].

    Parameters
    ----------
    values
        Cells x genes, as stored, [cells, genes].
    """
    cells = len(values.indptr) - 1
    row = np.repeat(np.arange(cells), np.diff(values.indptr))
    found = np.full(cells, "", dtype=object)
    found[np.unique(row[values.data < 0])] = NEGATIVE
    found[np.unique(row[~np.isfinite(values.data)])] = NOT_FINITE
    open_ = found == ""
    positive = _positive(values, row, open_)
    n = np.diff(positive.indptr)
    found[open_ & (n == 0)] = EMPTY
    off = np.abs(positive.data - np.rint(positive.data)) >= _NEAR
    away = np.bincount(np.repeat(np.arange(cells), n)[off], minlength=cells)
    whole = np.flatnonzero((found == "") & (away <= 1e-3 * n))
    if len(whole):
        part = sparse.csr_matrix(positive[whole])
        part.data = np.rint(part.data)
        faults = whole_numbers.faults(part, CellNumbers.of(part))
        found[whole] = np.where(faults == "", RAW, faults)
    rest = np.flatnonzero(found == "")
    if len(rest):
        part = sparse.csr_matrix(positive[rest])
        found[rest] = _fractions(part)
    return found


def _positive(values: sparse.csr_matrix, row: np.ndarray, cells: np.ndarray) -> sparse.csr_matrix:
    """The values above 0 of the given cells; the other cells are empty."""
    keep = cells[row] & (values.data > 0)
    ends = np.concatenate(([0], np.cumsum(np.bincount(row[keep], minlength=len(cells)))))
    return sparse.csr_matrix(
        (values.data[keep].astype(np.float64), values.indices[keep], ends), shape=values.shape
    )


def _fractions(values: sparse.csr_matrix) -> np.ndarray:
    """What cells hold whose values are not all whole."""
    quantum = quantum_of(values.data)
    found = np.full(len(values.indptr) - 1, FEW, dtype=object)
    for i in range(len(found)):
        x = values.data[values.indptr[i] : values.indptr[i + 1]]
        if len(x) >= 100 and x.min() == x.max():
            found[i] = whole_numbers.ONES
            continue
        # 2^x - 1 and 10^x - 1 of a whole number are whole too, and explain nothing
        whole = mostly_whole(x)
        told, luck = (np.sort(x[~is_whole(x)]), 0.05) if whole else (np.sort(x), 1.0)
        tried = [t for t in TRANSFORMS if not (whole and t is LINEAR)]
        proven = next((t.name for t in tried if _proves(told, t, quantum, luck)), None)
        found[i] = proven or _unproven(x)
    return found


def _proves(x: np.ndarray, transform: Transform, quantum: float, luck: float) -> bool:
    """Whether sorted values of a cell prove a transform, with at most this share by chance."""
    few = ratios(x[:_FIRST], transform, quantum)  # the smallest tell the most
    if few.fit < 0.8 * few.informative:
        return False
    fits = ratios(x, transform, quantum)
    # a few fractions among whole numbers are expected counts, and are not to be rounded away
    strict = transform is not LINEAR or fits.fit >= 0.995 * fits.informative
    return fits.proven and strict and fits.chance <= luck * fits.informative


def _unproven(x: np.ndarray) -> str:
    near = near_whole(x)
    if near:
        return EXPECTED
    if len(x) < 20:
        return FEW
    if x.max() <= _LOG_LIMIT and (near is False or x.max() <= whole_numbers.LARGEST_LOGARITHM):
        return LOGARITHMS
    return UNTOLD if near is None and x.min() <= 3.0 else RATES

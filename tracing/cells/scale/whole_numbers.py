"""Whether whole numbers can be counts: not zeros and ones, not rounded logarithms or rates.

Counts are drawn: a gene of mean m gives a Poisson number, and genes differ in m. So the values
above 0 of a cell vary at least as much as one Poisson distribution without its zeros, of the same
mean, would (its variance is m (1 + l - m), where m = l / (1 - exp(-l))). Logarithms squeeze the
large values, and vary less. The ratio of the two variances is the *spread* of a cell. In cells of
real files, whole, thinned to 3 % of their depth, or without their highest genes, it is above 1 with
few exceptions (0.6 in cells of some 50 genes); of their rounded logarithms it is mostly 0.02 to
0.3, and reaches 1.3 only in deep cells, where most genes have one count.

A second mark holds for every mixture of Poisson distributions: with p_k the share of the value k,
(k + 1) p_{k+1} / p_k never falls as k grows, for k! p_k are moments of the means. The steps of a
logarithm that is rounded grow, and break it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse

ONES, LOGARITHMS = "zeros and ones", "rounded logarithms"
RATES = "rounded rates or ranks"
RAISED = "whole numbers to which 1 was added"
SHALLOW = 15  # no cell of a whole transcriptome has all its counts below this
LARGEST_LOGARITHM = 25  # of a logarithm: log2 of a million is 20
_SAME = 150  # genes with the same value: counts of so many genes are not all one
_GENES = 50  # of a cell, for its spread to mean something
_TIGHT, _TIGHT_MANY, _MANY = 0.5, 0.75, 200  # spread of logarithms, in cells of few or many genes
_LOOSE, _TRANSCRIPTOME = 1.5, 300  # spread and genes of cells where no value is above SHALLOW
_LIKE, _LOWER = 2.0, 10.0  # cells of as many genes, within this factor; how far below them is odd
_BROKEN = -4.0  # standard deviations
_ALIKE = 1.5  # variance of the sums of genes as a multiple of their mean
# Usual sums after normalisation, and the share of cells near them that is no chance.
_TARGETS, _AWAY = {1e4: 0.3, 1e5: 0.3, 1e6: 0.05}, 0.006
_CELLS = 10  # so many that genes without a 0 were not chosen for it
_SMALL, _RARE = 3, 0.01  # counts that some genes have, and a share that is too low for them
_LOW, _OFTEN = 8, 15  # small numbers, and how often their neighbours must occur


class CellNumbers(NamedTuple):
    """Of each cell: values above 0, their smallest, largest, sum and variance, [cells]."""

    n: np.ndarray
    least: np.ndarray
    most: np.ndarray
    total: np.ndarray
    variance: np.ndarray

    @classmethod
    def of(cls, values: sparse.csr_matrix) -> CellNumbers:
        """Numbers of a matrix without stored zeros, finite."""
        cells = len(values.indptr) - 1
        n = np.diff(values.indptr)
        row = np.repeat(np.arange(cells), n)
        total = np.bincount(row, values.data, cells)
        mean = total / np.maximum(n, 1)
        variance = np.bincount(row, (values.data - mean[row]) ** 2, cells) / np.maximum(n, 1)
        least, most = np.zeros(cells), np.zeros(cells)
        full = np.flatnonzero(n)
        if len(full):
            starts = values.indptr[full]
            least[full] = np.minimum.reduceat(values.data, starts)
            most[full] = np.maximum.reduceat(values.data, starts)
        return cls(n, least, most, total, variance)

    @property
    def mean(self) -> np.ndarray:
        """Mean of the values above 0, [cells]."""
        return self.total / np.maximum(self.n, 1)


def poisson_rate(mean: np.ndarray) -> np.ndarray:
    """Rate l of the Poisson distribution whose values above 0 have this mean: l / (1 - exp(-l))."""
    rate = np.maximum(2.0 * (np.asarray(mean, dtype=np.float64) - 1.0), 1e-9)
    for _ in range(200):
        rate = np.maximum(mean * -np.expm1(-rate), 1e-9)
    return rate


def spread(cells: CellNumbers) -> np.ndarray:
    """Variance of the values above 0, as a multiple of that of a Poisson distribution without its
    zeros, [cells].
    """
    least = cells.mean * (1.0 + poisson_rate(cells.mean) - cells.mean)
    return cells.variance / np.maximum(least, 1e-9)


def faults(values: sparse.csr_matrix, numbers: CellNumbers) -> np.ndarray:
    """Why the whole numbers of each cell are no counts; empty where they can be, [cells].

    Parameters
    ----------
    values
        Cells of whole numbers alone, without stored zeros.
    numbers
        Of these cells.
    """
    found = np.full(len(numbers.n), "", dtype=object)
    if not len(found):
        return found
    tightness = spread(numbers)
    tight = np.where(numbers.n >= _MANY, tightness < _TIGHT_MANY, tightness < _TIGHT)
    tight &= (numbers.n >= _GENES) & (numbers.mean >= 1.3) & (numbers.most <= LARGEST_LOGARITHM)
    found[tight | _lower(numbers, tightness)] = LOGARITHMS
    found[(numbers.n >= _SAME) & (numbers.least == numbers.most)] = ONES
    if numbers.most.max() <= 1 and numbers.n.sum() >= _SAME:
        found[:] = ONES
    elif numbers.most.max() <= SHALLOW and _squeezed(values, numbers):
        found[found == ""] = LOGARITHMS
    elif _raised(values, numbers):
        found[found == ""] = RAISED
    found[(found == "") & (_rounded_sums(values, numbers) | _gaps(values, numbers))] = RATES
    return found


def _raised(values: sparse.csr_matrix, numbers: CellNumbers) -> bool:
    """Whether no gene of any cell is 0 though so many are 1 that, by the second mark, some must be:
    p_1^2 <= 2 p_0 p_2.
    """
    cells, genes = np.array(values.shape).tolist()
    if cells < _CELLS or genes < _SAME or numbers.n.min() < genes:
        return False
    one, two = (int((values.data == k).sum()) for k in (1, 2))
    return one**2 > 2 * max(two, 1) * _OFTEN * cells


def _rounded_sums(values: sparse.csr_matrix, numbers: CellNumbers) -> np.ndarray:
    """Cells whose sum misses a usual target by what rounding makes of it; cells that were thinned
    to one depth hit it exactly, and single cells come near by chance, [cells].
    """
    found = np.zeros(len(numbers.n), dtype=bool)
    for target, share in _TARGETS.items():
        away = np.abs(numbers.total - target)
        near = (away > 0) & (away <= 1 + np.minimum(numbers.n / 4, _AWAY * target))
        if near.sum() >= max(3, share * len(near)):
            found |= near
    # counts that are a million have ones among them
    million = np.abs(numbers.total - 1e6) <= 1 + numbers.n / 2
    million &= (numbers.least > 1) & (numbers.n >= _GENES)
    return found | _without_factor(million, values)


def _gaps(values: sparse.csr_matrix, numbers: CellNumbers) -> np.ndarray:
    """Cells in which a small number never occurs though its neighbours do, or the numbers below the
    smallest, which is frequent: multiples of a fraction that were rounded. Multiples of a whole
    number keep the order of counts, [cells].
    """
    cells = len(numbers.n)
    row = np.repeat(np.arange(cells), numbers.n)
    low = (values.data >= 0) & (values.data <= _LOW)  # a number of any size may be stored
    whole = values.data[low].astype(np.int64)
    seen = np.bincount(row[low] * (_LOW + 1) + whole, minlength=cells * (_LOW + 1))
    seen = seen.reshape(cells, _LOW + 1)
    seen[:, 0] = np.where(numbers.n >= _SAME, _OFTEN, 0)  # more genes have no count
    neighbours = np.minimum(seen[:, :-2], seen[:, 2:])
    found = ((seen[:, 1:-1] == 0) & (neighbours >= _OFTEN)).any(axis=1)
    lowest = np.bincount(row, values.data == numbers.least[row], cells)
    found |= (numbers.n >= _SAME) & (numbers.least > 1) & (lowest >= _OFTEN)
    return _without_factor(found | _few_small(values, numbers), values)


def _few_small(values: sparse.csr_matrix, numbers: CellNumbers) -> np.ndarray:
    """Cells in which many genes have no count and hardly any has a small one, or all have another
    one: rates, or ranks, [cells].
    """
    cells, genes = np.array(values.shape).tolist()
    row = np.repeat(np.arange(cells), numbers.n)
    small = np.bincount(row[values.data <= _SMALL], minlength=cells)
    many = numbers.n >= _SAME
    found = many & (genes - numbers.n >= _SAME) & (small < _RARE * numbers.n)
    for i in np.flatnonzero(many & (small <= _SMALL) & ~found):
        x = values.data[values.indptr[i] : values.indptr[i + 1]]
        found[i] = len(np.unique(x)) == len(x)
    return found


def _without_factor(cells: np.ndarray, values: sparse.csr_matrix) -> np.ndarray:
    """Those of the cells whose values have no factor in common, [cells]."""
    found = cells.copy()
    for i in np.flatnonzero(cells):
        x = values.data[values.indptr[i] : values.indptr[i + 1]]
        found[i] = np.gcd.reduce(x.astype(np.int64)) == 1
    return found


def _lower(numbers: CellNumbers, tightness: np.ndarray) -> np.ndarray:
    """Cells that vary little and whose largest value is far below that of cells with as many genes,
    [cells].
    """
    found = (numbers.n >= _TRANSCRIPTOME) & (numbers.most <= SHALLOW) & (tightness < _LOOSE)
    for i in np.flatnonzero(found):
        like = (numbers.n >= numbers.n[i] / _LIKE) & (numbers.n <= numbers.n[i] * _LIKE)
        found[i] = np.quantile(numbers.most[like], 0.75) >= _LOWER * numbers.most[i]
    return found


def _squeezed(values: sparse.csr_matrix, numbers: CellNumbers) -> bool:
    """Whether a file of small numbers varies too little for counts, over all its cells."""
    rate = poisson_rate(numbers.mean)
    expected = numbers.n * numbers.mean * (1.0 + rate - numbers.mean)
    pooled = (numbers.n * numbers.variance).sum() / max(expected.sum(), 1e-9)
    if numbers.mean.mean() >= 1.15 and numbers.n.sum() >= 500 and pooled < _TIGHT_MANY:
        return True
    if _breaks(values.data.astype(int)) < _BROKEN:
        return True
    if np.median(numbers.n) < _TRANSCRIPTOME or pooled >= _LOOSE:
        return False
    return not _alike(values)


def _breaks(values: np.ndarray) -> float:
    """How far (k + 1) p_{k+1} / p_k falls at most, in standard deviations (0: nowhere)."""
    seen = np.bincount(values, minlength=4)[1:].astype(float)
    seen = seen[: int((seen >= 5).cumprod().sum())]  # the values from 1 up that are not rare
    if len(seen) < 3:
        return 0.0
    k = np.arange(1, len(seen) - 1)
    rise = np.log((k + 2) * seen[2:] * seen[:-2] / ((k + 1) * seen[1:-1] ** 2))
    deviation = np.sqrt(1 / seen[2:] + 1 / seen[:-2] + 4 / seen[1:-1])
    return float(min((rise / deviation).min(), 0.0))


def _alike(values: sparse.csr_matrix) -> bool:
    """Whether all genes have one mean (simulated cells): their sums vary as a Poisson number."""
    sums = np.asarray(values.sum(axis=0)).ravel()
    return sums.var() < _ALIKE * sums.mean()

"""The two tests of `analysis.cell_types`, for a block of features at once.

With donors: ``contrast = (type cells / their number) - (other cells / their number)`` for every donor, times the activations, gives the differences
d_i [features, donors], and p = #{signs e : sum e_i d_i >= sum d_i} / 2^D. Without: ``U = sum of the ranks of the type's cells - n (n + 1) / 2``, normal
with mean ``n m / 2`` and variance ``n m / 12 (N + 1 - sum (t^3 - t) / (N (N - 1)))`` over the groups of t equal values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

_ROUNDING = 1e-12


class Comparison(NamedTuple):
    """A cell type and what it is compared with.

    `rows` and `rest` are the positions of its cells and of the others (with donors: only those of donors that have enough of both, `donors` many);
    `cells` counts all its cells.
    """

    label: str
    id: str
    cells: int
    rows: np.ndarray
    rest: np.ndarray
    donors: int


def donor_differences(block: Any, kind: Comparison, codes: np.ndarray) -> np.ndarray:
    """Differences [features, donors]: mean over the donor's cells of the type less that over its other cells."""
    donors, rows = np.unique(codes[kind.rows], return_inverse=True)
    others = np.searchsorted(donors, codes[kind.rest])
    cells = int(block.shape[0])

    def average(at: np.ndarray, of: np.ndarray) -> Any:
        weight = 1.0 / np.bincount(of, minlength=donors.size)
        return sparse.csr_matrix((weight[of], (of, at)), shape=(donors.size, cells))

    inside, outside = (average(at, of) @ block for at, of in ((kind.rows, rows), (kind.rest, others)))
    difference = (inside - outside).toarray()
    # equal means differ by rounding, and a sign-flip test would read a sign into that
    difference[np.abs(difference) <= _ROUNDING * (abs(inside) + abs(outside)).toarray()] = 0.0
    return difference.T


def one_sided(differences: np.ndarray, sign_flip: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """P that random signs give a sum of at least the observed one, for rows with a positive sum; 1 for the others.

    Half of the two-sided p is exact where the sum is positive: the patterns of signs come in mirrored pairs.
    """
    p = np.ones(len(differences))
    rising = differences.sum(axis=1) > 1e-12 * np.abs(differences).sum(axis=1)
    if rising.any():
        p[rising] = sign_flip(differences[rising]) / 2
    return p


def rank_test(block: sparse.csc_matrix, types: list[Comparison], difference: np.ndarray, p: np.ndarray) -> None:
    """Fill `difference` and `p` [types, features] by the one-sided Mann-Whitney test over cells."""
    from scipy.special import ndtr
    from scipy.stats import rankdata

    dense = block.toarray()
    ranks_of: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}
    for i, kind in enumerate(types):
        pool = np.sort(np.concatenate([kind.rows, kind.rest]))
        key = pool.tobytes()  # types of one column share their cells, and so their ranks
        if key not in ranks_of:
            ranks = rankdata(dense[pool], axis=0)
            ranks_of = {key: (ranks, _ties(ranks))}
        ranks, ties = ranks_of[key]
        n, m = kind.rows.size, kind.rest.size
        total = n + m
        u = ranks[np.searchsorted(pool, kind.rows)].sum(axis=0) - n * (n + 1) / 2
        sd = np.sqrt(n * m / 12 * (total + 1 - ties / (total * (total - 1))))
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.where(sd > 0, (u - n * m / 2 - 0.5) / sd, -np.inf)
        p[i] = np.where(sd > 0, ndtr(-z), 1.0)
        difference[i] = dense[kind.rows].mean(axis=0) - dense[kind.rest].mean(axis=0)


def _ties(ranks: np.ndarray) -> np.ndarray:
    """Sum of t^3 - t over the groups of equal ranks of every column."""
    ordered = np.sort(ranks, axis=0)
    out = np.zeros(ranks.shape[1])
    for j in range(ranks.shape[1]):
        column = ordered[:, j]
        bounds = np.flatnonzero(np.concatenate([[True], column[1:] != column[:-1], [True]]))
        size = np.diff(bounds).astype(float)
        out[j] = (size**3 - size).sum()
    return out

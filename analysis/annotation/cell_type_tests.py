"""The tests of `scircuit.analysis.annotation.cell_types`, for a block of features at once.

With donors: ``contrast = (type cells / their number) - (other cells / their number)`` for every
donor, times the activations, gives the differences d_i [features, donors], and the sign-flip p is
#{signs e : sum e_i d_i >= sum d_i} / 2^D. Where a donor has many cells of the type and few others,
a feature that fires rarely misses the few: d_i is then positive by chance alone, and flipping signs
does not see it. So p is never below that of labels permuted within the donors, for which the sum of
the d_i has exact cumulants: with N cells of the donor, n of the type, m others and central moments
M_2, M_3 of the activations,

    mean 0,    variance M_2 N^2 / ((N - 1) n m),
    third cumulant M_3 N^3 (m - n) / ((N - 1) (N - 2) n^2 m^2) ,

added over the donors; the tail is that of a Pearson type III distribution with these three.

Without donors: ``U = sum of the ranks of the type's cells - n (n + 1) / 2``, normal with mean ``n m
/ 2`` and variance ``n m / 12 (N + 1 - sum (t^3 - t) / (N (N - 1)))`` over the groups of t equal
values. Where fewer than `EXPECTED` firing cells are expected on the smaller side, nearly all ranks
are tied and no normal fits: there the count of firing cells is tested, exactly (Fisher).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import sparse

EXPECTED = 5
_ROUNDING = 1e-12
Powers = tuple[sparse.csc_matrix, sparse.csc_matrix, sparse.csc_matrix]


class Comparison(NamedTuple):
    """A cell type and what it is compared with.

    `rows` and `rest` are the positions of its cells and of the others (with donors: only those of
    donors that have enough of both, `donors` many); `cells` counts all its cells.
    """

    label: str
    id: str
    cells: int
    rows: np.ndarray
    rest: np.ndarray
    donors: int


def donor_differences(block: sparse.csc_matrix, kind: Comparison, codes: np.ndarray) -> np.ndarray:
    """Differences [features, donors]: mean over the donor's cells of the type less that over its
    other cells.
    """
    donors, rows = np.unique(codes[kind.rows], return_inverse=True)
    others = np.searchsorted(donors, codes[kind.rest])
    cells = codes.size

    def average(at: np.ndarray, of: np.ndarray) -> sparse.csr_matrix:
        weight = 1.0 / np.bincount(of, minlength=donors.size)
        return sparse.csr_matrix((weight[of], (of, at)), shape=(donors.size, cells))

    inside, outside = (
        sparse.csr_matrix(average(at, of) @ block)
        for at, of in ((kind.rows, rows), (kind.rest, others))
    )
    difference = (inside - outside).toarray()
    # equal means differ by rounding, and a sign-flip test would read a sign into that
    difference[
        np.abs(difference) <= _ROUNDING * sparse.csr_matrix(abs(inside) + abs(outside)).toarray()
    ] = 0.0
    return difference.T


def powers(block: sparse.csc_matrix) -> Powers:
    """A block of activations, its squares and its cubes."""
    return block, block.power(2), block.power(3)


def permuted_labels(moments: Powers, kind: Comparison, codes: np.ndarray) -> np.ndarray:
    """One-sided p [features] of the sum of the donors' differences where labels are permuted within
    the donors; `moments` are `powers` of the block.
    """
    from scipy.special import ndtr
    from scipy.stats import pearson3

    pool = np.concatenate([kind.rows, kind.rest])
    donors, of = np.unique(codes[pool], return_inverse=True)
    inside = np.bincount(of[: kind.rows.size], minlength=donors.size).astype(float)[:, None]
    size = np.bincount(of, minlength=donors.size).astype(float)[:, None]
    outside = size - inside
    member = sparse.csr_matrix((np.ones(pool.size), (of, pool)), shape=(donors.size, codes.size))
    first, second, third = (sparse.csr_matrix(member @ power).toarray() / size for power in moments)
    variance = np.maximum(second - first**2, 0)
    skewed = third - 3 * first * second + 2 * first**3
    of_type = sparse.csr_matrix(
        (np.ones(kind.rows.size), (of[: kind.rows.size], kind.rows)), shape=member.shape
    )
    chosen = sparse.csr_matrix(of_type @ moments[0]).toarray()
    total = (chosen / inside - (first * size - chosen) / outside).sum(axis=0)
    spread = (variance * size**2 / ((size - 1) * inside * outside)).sum(axis=0)
    lean = (
        skewed * size**3 * (outside - inside) / ((size - 1) * (size - 2) * inside**2 * outside**2)
    ).sum(axis=0)
    p = np.ones(total.size)
    some = spread > _ROUNDING**2
    z, skew = total[some] / np.sqrt(spread[some]), lean[some] / spread[some] ** 1.5
    straight = np.abs(skew) < 1e-6
    p[some] = np.where(straight, ndtr(-z), pearson3.sf(z, np.where(straight, 1.0, skew)))
    return p


def one_sided(differences: np.ndarray, sign_flip: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Probability that random signs give at least the observed sum, for rows with a positive sum; 1
    for the others.

    Half of the two-sided p is exact where the sum is positive: the patterns of signs come in
    mirrored pairs.
    """
    p = np.ones(len(differences))
    rising = differences.sum(axis=1) > 1e-12 * np.abs(differences).sum(axis=1)
    if rising.any():
        p[rising] = sign_flip(differences[rising]) / 2
    return p


def rank_test(
    block: sparse.csc_matrix,
    types: list[Comparison],
    difference: np.ndarray,
    p: np.ndarray,
    few: np.ndarray,
) -> None:
    """Fill `difference`, `p` and `few` (too few firing cells for ranks) [types, features] by the
    one-sided tests over cells.
    """
    from scipy.special import ndtr
    from scipy.stats import hypergeom, rankdata

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
        firing = (dense[pool] != 0).sum(axis=0)
        few[i] = firing * min(n, m) < EXPECTED * total
        p[i] = np.where(sd > 0, ndtr(-z), 1.0)
        p[i, few[i]] = hypergeom.sf(
            (dense[kind.rows][:, few[i]] != 0).sum(axis=0) - 1, total, firing[few[i]], n
        )
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

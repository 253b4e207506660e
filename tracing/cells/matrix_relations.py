"""What one matrix of a file is to another: the same counts, other counts, or the same with genes
taken out.

Only genes that both have are compared, and each cell by the shares of its genes, so that counts and
what was made of them compare as equal.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse

_SAME = 1e-3  # largest difference between shares of a cell that are the same
_CUT = 0.8  # of the genes that another matrix has counts of: with fewer, genes were taken out
_FILLED = 1.25  # times the counts above 0 in the genes left: the other was imputed, not whole


class Held(NamedTuple):
    """Counts of some cells, [cells, genes], and the gene of each column."""

    counts: sparse.csr_matrix
    genes: tuple[str, ...]


def cells_apart(a: Held, b: Held) -> int:
    """Cells to which two matrices give other counts of the same genes."""
    mine, theirs = _common(a, b)
    x, y = _shares(mine), _shares(theirs)
    if not x.size:
        return 0
    return int((np.abs(x - y).max(axis=1) > _SAME * np.maximum(x.max(axis=1), 1e-12)).sum())


def same(a: Held, b: Held) -> bool:
    """Whether two matrices give all cells the same counts of the same genes."""
    return set(a.genes) == set(b.genes) and not cells_apart(a, b)


def genes_left(cut: Held, whole: Held) -> tuple[int, int] | None:
    """Genes with a count in each, where the first is the second with genes set to zero; else None.

    An imputed matrix has counts of more genes too. It also has more of them in each cell.
    """
    mine, theirs = _common(cut, whole)
    left, there = mine.getnnz(axis=0) > 0, theirs.getnnz(axis=0) > 0
    if not 0 < left.sum() < _CUT * there.sum():
        return None
    if sparse.csr_matrix(theirs[:, left]).nnz > _FILLED * mine.nnz:
        return None
    return int(left.sum()), int(there.sum())


def _common(a: Held, b: Held) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Both over the genes that both have, without stored zeros."""
    at = {gene: i for i, gene in enumerate(b.genes)}
    both = [i for i, gene in enumerate(a.genes) if gene in at]
    mine = sparse.csr_matrix(a.counts[:, both])
    theirs = sparse.csr_matrix(b.counts[:, [at[a.genes[i]] for i in both]])
    mine.eliminate_zeros()
    theirs.eliminate_zeros()
    return mine, theirs


def _shares(counts: sparse.csr_matrix) -> np.ndarray:
    dense = counts.toarray()
    return dense / np.maximum(dense.sum(axis=1, keepdims=True), 1e-12)

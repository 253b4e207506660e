"""Features as weighted lists of genes.

The gene at rank i (from 0) of a feature's list has the weight

    w_i = 1 / (i + 1) / sum_j 1 / (j + 1),

so that the weights ``w_i w_j`` of all pairs of genes of one edge add up to 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse


class GeneWeights(NamedTuple):
    """Weighted gene lists of features.

    Parameters
    ----------
    genes
        Symbols, upper case, sorted; columns of `weights`.
    weights
        float64, [features, genes]; rows add up to 1, or are empty for a feature without genes.
    """

    genes: tuple[str, ...]
    weights: sparse.csr_matrix

    @property
    def member(self) -> sparse.csr_matrix:
        """1 where a gene is in the list of a feature, [features, genes]."""
        found = self.weights.copy()
        found.data = np.ones_like(found.data)
        return found

    @property
    def listed(self) -> np.ndarray:
        """Which features have genes, [features] bool."""
        return np.diff(self.weights.indptr) > 0

    def position(self) -> dict[str, int]:
        """Symbol -> column."""
        return {gene: i for i, gene in enumerate(self.genes)}


def gene_weights(
    ids: Sequence[str], lists: Mapping[str, Sequence[str]], top: int = 10
) -> GeneWeights:
    """The top genes of every feature with their weights.

    Parameters
    ----------
    ids
        Addresses of the features, in the order of the rows.
    lists
        Address -> symbols, best first; repeats and empty names are left out.
    top
        Genes used of each list.
    """
    rows = [
        list(dict.fromkeys(g.upper() for g in lists.get(i, ()) if g and g.strip()))[:top]
        for i in ids
    ]
    genes = tuple(sorted({g for row in rows for g in row}))
    place = {g: i for i, g in enumerate(genes)}
    length = np.array([len(row) for row in rows], dtype=np.int64)
    falling = [1 / np.arange(1, n + 1) for n in range(int(length.max(initial=0)) + 1)]
    data = [falling[n] / falling[n].sum() for n in length.tolist() if n]
    weights = sparse.csr_matrix(
        (
            np.concatenate(data) if data else np.zeros(0),
            np.array([place[g] for row in rows for g in row], dtype=np.int64),
            np.concatenate([[0], np.cumsum(length)]),
        ),
        shape=(len(rows), len(genes)),
    )
    weights.sort_indices()
    return GeneWeights(genes, weights)

"""The gene lists of one layer with their gene sets, and the clusters of similar lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from scircuit.analysis.enrichment.gene_term_matrix import Incidence, row_count
from scircuit.analysis.enrichment.list_clusters import list_clusters


@dataclass(frozen=True)
class ListBlock:
    """Lists of one layer.

    Attributes
    ----------
    layer
        0-based layer.
    rows
        0/1 matrix, lists x background genes; every row has at least one gene. A layer may have no
        list.
    incidence
        Gene sets cut to the background.
    detection
        Detection rate of every background gene, shape (genes,).
    untested
        Features of the layer without a list, counted as not annotated.
    """

    layer: int
    rows: sparse.csr_matrix
    incidence: Incidence
    detection: np.ndarray
    untested: int = 0

    @property
    def features(self) -> int:
        """Features, those without a list included."""
        return row_count(self.rows) + self.untested


def cluster_lists(blocks: Sequence[ListBlock]) -> np.ndarray:
    """Cluster of every list, over all blocks; genes of several backgrounds agree by name."""
    genes: dict[str, int] = {}
    column = {
        id(b.incidence): np.array(
            [genes.setdefault(g.upper(), len(genes)) for g in b.incidence.genes], dtype=np.int64
        )
        for b in blocks
    }
    indices = np.concatenate([column[id(b.incidence)][b.rows.indices] for b in blocks])
    indptr = np.concatenate(
        [[0], np.cumsum(np.concatenate([np.diff(b.rows.indptr) for b in blocks]))]
    )
    return list_clusters(
        sparse.csr_matrix(
            (np.ones(indices.size, dtype=np.int32), indices, indptr),
            shape=(indptr.size - 1, len(genes)),
        )
    )

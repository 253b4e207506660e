"""Clusters of gene lists with the same genes: features of several layers, or the parts of a split
feature, often list the genes of one concept and are not independent.

Two lists A and B are linked where they share at least half of the longer one, ``2 |A & B| >=
max(|A|, |B|)``; a cluster is whatever links connect. A lower share would link too much: on
the published atlases, lists that share a third form one cluster with a quarter of all lists.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from scircuit.analysis.enrichment.gene_term_matrix import row_count

_CHUNK = 1000


def list_clusters(rows: sparse.csr_matrix) -> np.ndarray:
    """Cluster of every list.

    Parameters
    ----------
    rows
        0/1 matrix, lists x genes. A list without genes is a cluster of its own.

    Returns
    -------
    numpy.ndarray
        int64 (lists,), from 0.
    """
    n = row_count(rows)
    whole = sparse.csr_matrix(rows.astype(np.int32))
    size = np.diff(rows.indptr)
    first, second = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for start in range(0, n, _CHUNK):
        # the lists before `start` were compared with these already
        shared = sparse.coo_matrix(whole[start : start + _CHUNK] @ whole[start:].T)
        linked = 2 * shared.data >= np.maximum(size[start + shared.row], size[start + shared.col])
        first.append(shared.row[linked].astype(np.int64) + start)
        second.append(shared.col[linked].astype(np.int64) + start)
    a, b = np.concatenate(first), np.concatenate(second)
    return sparse.csgraph.connected_components(
        sparse.coo_matrix((np.ones(a.size, dtype=bool), (a, b)), shape=(n, n)), directed=False
    )[1].astype(np.int64)

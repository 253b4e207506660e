"""Clusters of gene lists against all pairs compared by loops."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from scircuit.analysis.enrichment import list_clusters as module
from scircuit.analysis.enrichment.list_clusters import list_clusters


def matrix(lists, genes):
    indptr = np.cumsum([0, *(len(x) for x in lists)])
    return sparse.csr_matrix(
        (
            np.ones(indptr[-1], dtype=np.int32),
            np.array([g for x in lists for g in sorted(x)], dtype=np.int64),
            indptr,
        ),
        shape=(len(lists), genes),
    )


def plain(lists):
    """Smallest list that links lead to."""
    label = list(range(len(lists)))
    for i, a in enumerate(lists):
        for j, b in enumerate(lists):
            if a and b and 2 * len(a & b) >= max(len(a), len(b)):
                label = [min(label[i], label[j]) if x in (label[i], label[j]) else x for x in label]
    return label


def test_clusters_equal_loops_over_all_pairs(monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 7)
    rng = np.random.default_rng(0)
    concepts = [set(rng.choice(80, 10, replace=False).tolist()) for _ in range(12)]
    lists = [set(), {1}, {1}, {1, 2}, {1, 2, 3}, set()]
    for _ in range(60):
        kept = {g for g in concepts[rng.integers(12)] if rng.random() < 0.7}
        lists.append(kept | set(rng.choice(80, int(rng.integers(0, 6)), replace=False).tolist()))
    found, expected = list_clusters(matrix(lists, 80)).tolist(), plain(lists)
    assert len(set(found)) == len(set(expected)) == len(set(zip(found, expected, strict=True)))
    assert 10 < len(set(expected)) < len(lists) - 20


def test_no_list_is_no_cluster():
    assert list_clusters(matrix([], 5)).size == 0

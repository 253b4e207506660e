"""Matched random gene lists, and q values calibrated on them feature by feature.

Genes are binned by detection rate (share of cells). For each list, random lists are drawn with the
same number of genes from each bin, without replacement, so that size and detection profile are
those of the list and only the biology is random. With ``s_f`` the smallest p of list f over all
terms (overlap of two or more), r of its D random lists as good or better, and E_f the expected
number of terms that a matched random list has at or below s
(`scircuit.analysis.enrichment.profile_null`),

    p_f = (1 + r) / (1 + D) where r > 0,    min(1 / (1 + D), E_f(s_f)) where r = 0,
    q = Benjamini-Hochberg of p_f over the lists.

Each p_f is valid for its own feature as far as the genes of a bin are exchangeable: above 1 / (1 +
D) it is a rank among exchangeable lists, below it the union bound, which is exact arithmetic. (Bins
that lump genes of very different rates together break that; on the published atlases 20, 100 and
400 bins annotate the same features but for one or two.) Pooling the random lists over features
would not be: lists of often detected genes reach small p by chance more often than lists of rare
ones, so a pooled null names too many of the former and too few of the latter. No independence of
terms is needed.

A term that is not the best of its feature is judged as if it were: its calibrated q is that of a
feature whose best term has this p.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse

from scircuit.analysis.enrichment.gene_term_matrix import row_count

RULES: dict[str, str] = {
    "calibrated": (
        "smallest p of the list compared with matched random lists of the same feature, then BH"
        " over features"
    ),
    "pooled": "BH over every list x every term",
    "feature": "BH over every term, list by list",
    "overlap2": "BH over tests with an overlap of 2 or more only (a published rule)",
}


class Rate(NamedTuple):
    """Share of features annotated by a rule, beside matched random lists at the same threshold.

    Rules with one family for all lists set a p threshold; the random lists are held to that one,
    since a family of random lists only would set a stricter threshold and hide how many of the
    features are annotated by chance. Rule ``feature`` is applied to each random list, and rule
    ``calibrated`` judges each random list against the others of its feature. ``null_low`` and
    ``null_high`` are the smallest and largest rate of a draw; the excess has a 95 % normal interval
    over clusters of features whose lists share half of their genes.
    """

    library: str
    rule: str
    lists: int
    annotated: int
    rate: float
    null_rate: float
    null_low: float
    null_high: float
    excess: float
    excess_low: float
    excess_high: float


def detection_bins(rates: np.ndarray, bins: int = 20) -> np.ndarray:
    """Bin of every gene: equally filled bins of the detection rate, ties kept together; int64, 0 is
    the rarest.
    """
    rates = np.asarray(rates, dtype=float)
    edges = (
        np.unique(np.quantile(rates, np.linspace(0, 1, bins + 1)[1:-1]))
        if rates.size
        else np.zeros(0)
    )
    return np.searchsorted(edges, rates, side="right").astype(np.int64)


def _distinct(rng: np.random.Generator, lists: int, count: int, size: int) -> np.ndarray:
    """`lists` x `count` distinct integers below `size`, every subset equally likely (Floyd's
    algorithm, all lists at once).
    """
    chosen = np.empty((lists, count), dtype=np.int64)
    for step, top in enumerate(range(size - count, size)):
        candidate = rng.integers(0, top + 1, size=lists)
        taken = (chosen[:, :step] == candidate[:, None]).any(axis=1)
        chosen[:, step] = np.where(taken, top, candidate)
    return chosen


def draw_matched(
    lists: sparse.csr_matrix, bins: np.ndarray, rng: np.random.Generator
) -> sparse.csr_matrix:
    """One matched random list for every list.

    Parameters
    ----------
    lists
        0/1 matrix, lists x background genes.
    bins
        Bin of every gene, shape (genes,).
    rng
        Seeded generator.

    Returns
    -------
    csr_matrix
        Same shape and row sums; the same number of genes in every bin, row by row.
    """
    n_bins, n = int(bins.max(initial=-1)) + 1, row_count(lists)
    members = [np.flatnonzero(bins == b) for b in range(n_bins)]
    row = np.repeat(np.arange(n), np.diff(lists.indptr))
    counts = np.zeros((n, n_bins), dtype=np.int64)
    np.add.at(counts, (row, bins[lists.indices]), 1)
    rows_out, genes_out = [], []
    for b in range(n_bins):
        for count in np.unique(counts[:, b]):
            if count == 0:
                continue
            at = np.flatnonzero(counts[:, b] == count)
            genes_out.append(
                members[b][_distinct(rng, at.size, int(count), members[b].size)].ravel()
            )
            rows_out.append(np.repeat(at, count))
    if not rows_out:
        return sparse.csr_matrix(lists.shape, dtype=np.int32)
    data = np.ones(sum(r.size for r in rows_out), dtype=np.int32)
    drawn = sparse.csr_matrix(
        (data, (np.concatenate(rows_out), np.concatenate(genes_out))), shape=lists.shape
    )
    drawn.sort_indices()
    return drawn

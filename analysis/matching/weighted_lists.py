"""Weighted lists of a feature's top genes: how they are weighted, how two are compared, and how
random ones are made.

The activations of two features are on no common scale (decoder columns need not have unit norm, and
models differ), so every gene of a list has its share of the list's activation, in units of 1 /
10,000. With the weights ``u`` and ``v`` of two lists, each summing to T = 10,000,

    S = sum over genes of min(u_g, v_g),    weighted Jaccard overlap = S / (2 T - S),

so S, a whole number, orders pairs as the overlap does, and is the same in any order of summation. A
list without activations is weighted by rank, ``1 / log2(rank + 1)``.

A random list keeps the size and the weights of a feature's list; its genes are those that other
features of the same layer list at the same ranks: within the layer, the genes at each rank are
shuffled over the features. So every gene stays as frequent at every rank as it is in the layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

UNITS = 10_000
MIN_GENES = 3
_REPAIRS = 100


@dataclass(frozen=True)
class GeneLists:
    """Lists of one dictionary; list r has the entries ``indptr[r] : indptr[r + 1]``, by rank.

    Attributes
    ----------
    dictionary, model, layer
        Whose features they are.
    features
        Index of the latent of each list, ascending; int64, shape (lists,).
    indptr
        int64, shape (lists + 1,).
    genes, weights
        Number of the gene, and its weight in `UNITS`; int64, shape (entries,).
    left_out
        Features with fewer than `MIN_GENES` genes.
    """

    dictionary: str
    model: str
    layer: int
    features: np.ndarray
    indptr: np.ndarray
    genes: np.ndarray
    weights: np.ndarray
    left_out: int = 0

    @property
    def sizes(self) -> np.ndarray:
        """Genes of every list."""
        return np.diff(self.indptr)

    @property
    def rows(self) -> np.ndarray:
        """List of every entry."""
        return np.repeat(np.arange(self.features.size), self.sizes)

    @property
    def ranks(self) -> np.ndarray:
        """Rank of every entry in its list, from 0."""
        return np.arange(self.genes.size) - np.repeat(self.indptr[:-1], self.sizes)


def gene_lists(
    dictionary: str,
    model: str,
    layer: int,
    features: np.ndarray,
    genes: np.ndarray,
    ranks: np.ndarray,
    activations: np.ndarray,
    top_genes: int = 20,
) -> GeneLists:
    """Make the lists of one dictionary from its records.

    Parameters
    ----------
    features, genes, ranks, activations
        One entry a record: index of the latent, number of the gene, rank (1 is the highest), mean
        activation (NaN where unknown); shape (records,).
    top_genes
        Genes kept of every feature. A gene that is listed twice counts once, at its better rank.
    """
    order = np.lexsort((genes, ranks, features))
    features, genes, activations = (
        features[order],
        genes[order],
        np.asarray(activations, dtype=float)[order],
    )
    _, first = np.unique(np.stack([features, genes]), axis=1, return_index=True)
    first.sort()
    features, genes, activations = features[first], genes[first], activations[first]
    found, starts, sizes = np.unique(features, return_index=True, return_counts=True)
    kept = np.arange(features.size) - np.repeat(starts, sizes) < top_genes
    sizes = np.minimum(sizes, top_genes)
    long = sizes >= MIN_GENES
    kept[kept] = np.repeat(long, sizes)
    indptr = np.concatenate([[0], np.cumsum(sizes[long])])
    weights = _weights(activations[kept], indptr)
    return GeneLists(
        dictionary,
        model,
        layer,
        found[long],
        indptr,
        genes[kept].astype(np.int64),
        weights,
        int((~long).sum()),
    )


def _weights(activations: np.ndarray, indptr: np.ndarray) -> np.ndarray:
    """Shares in whole units; what rounding down leaves goes, a unit each, to the genes of best
    rank.
    """
    sizes = np.diff(indptr)
    rank = np.arange(activations.size) - np.repeat(indptr[:-1], sizes)
    usable = np.isfinite(activations) & (activations > 0)
    row = np.repeat(np.arange(sizes.size), sizes)
    by_activation = np.bincount(row[usable], minlength=sizes.size) == sizes
    raw = np.where(by_activation[row], np.where(usable, activations, 0.0), 1 / np.log2(rank + 2))
    total = np.bincount(row, weights=raw, minlength=sizes.size)
    weights = np.floor(UNITS * (raw / total[row])).astype(np.int64)
    left = UNITS - np.bincount(row, weights=weights, minlength=sizes.size).astype(np.int64)
    return weights + (rank < left[row])


def shuffled(lists: GeneLists, rng: np.random.Generator) -> GeneLists:
    """Shuffle the genes at each rank over the lists; no list gets a gene twice.

    Where a gene is so frequent that this cannot be, a list is left with the gene twice, and both
    its weights count.
    """
    genes, rows, ranks = lists.genes.copy(), lists.rows, lists.ranks
    at_rank = [np.flatnonzero(ranks == r) for r in range(int(ranks.max(initial=-1)) + 1)]
    for at in at_rank:
        genes[at] = rng.permutation(genes[at])
    for _ in range(_REPAIRS):
        twice = _repeats(rows, genes)
        if not twice.size:
            break
        for r in np.unique(ranks[twice]):
            mine = twice[ranks[twice] == r]
            at = np.union1d(
                mine, rng.choice(at_rank[r], size=min(mine.size, at_rank[r].size), replace=False)
            )
            genes[at] = rng.permutation(genes[at])
    return replace(lists, genes=genes)


def _repeats(rows: np.ndarray, genes: np.ndarray) -> np.ndarray:
    """Entries whose gene is in their list already."""
    order = np.lexsort((genes, rows))
    same = (np.diff(rows[order]) == 0) & (np.diff(genes[order]) == 0)
    return order[1:][same]


class ByGene(NamedTuple):
    """Entries of the lists by gene: list and weight of the entries ``start[g] : start[g] +
    count[g]``.
    """

    lists: int
    start: np.ndarray
    count: np.ndarray
    row: np.ndarray
    weight: np.ndarray


def by_gene(lists: GeneLists, genes: int) -> ByGene:
    """Sort the entries by gene, of `genes` genes in all."""
    order = np.argsort(lists.genes, kind="stable")
    count = np.bincount(lists.genes, minlength=genes)
    return ByGene(
        lists.features.size,
        np.cumsum(count) - count,
        count,
        lists.rows[order].astype(np.int32),
        lists.weights[order].astype(np.int32),
    )


def overlaps(
    left: GeneLists, right: ByGene, block: int = 64
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """S of every pair with S > 0, for one block of left lists after the other.

    Yields
    ------
    tuple of arrays
        Left list, right list and S of each pair, ordered by left and right list.
    """
    rows, n = left.rows, right.lists
    for low in range(0, left.features.size, block):
        high = min(low + block, left.features.size)
        entries = slice(int(left.indptr[low]), int(left.indptr[high]))
        genes = left.genes[entries]
        count = right.count[genes]
        ends = np.cumsum(count)
        at = np.arange(ends[-1] if ends.size else 0) + np.repeat(
            right.start[genes] - (ends - count), count
        )
        key = np.repeat((rows[entries] - low) * n, count) + right.row[at]
        shared = np.minimum(np.repeat(left.weights[entries], count), right.weight[at])
        sums = np.bincount(key, weights=shared, minlength=(high - low) * n)
        pairs = np.flatnonzero(sums)
        yield low + pairs // n, pairs % n, sums[pairs].astype(np.int64)

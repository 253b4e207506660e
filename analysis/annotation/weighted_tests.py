"""Over-representation with every gene weighted by its activation; the p is exact.

A list of n genes has whole-numbered weights ``v_i = round(100 a_i / max a)`` from the activations
a. The statistic of a term is the sum of the weights of the genes it shares with the list. Under the
null the term's m members are any m of the N background genes, so the number shared is
hypergeometric, and which ones are shared is any subset of that size:

    p = P(S >= s) = sum_k P(K = k) P(S_k >= s),    K ~ Hypergeometric(N, m, n),

with S_k the sum of the weights of a random k-subset.

The law of S_k follows exactly by adding one gene after the other, ``f_j(k, s) = k/j f_{j-1}(k-1,
s-v_j) + (1 - k/j) f_{j-1}(k, s)``, so nothing is sampled and p is valid for any weights; with equal
weights it is the hypergeometric p. It asks more than the unweighted test where the shared genes are
the strongest ones, and less where they are the weakest. It is not matched on detection: read it
beside the calibrated q, not instead of it.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from scircuit.analysis.annotation.results import ReportedPairs
from scircuit.analysis.enrichment.fdr import PTally
from scircuit.analysis.enrichment.gene_term_matrix import row_count
from scircuit.analysis.enrichment.hypergeometric import TailTable
from scircuit.analysis.enrichment.list_blocks import ListBlock
from scircuit.analysis.enrichment.pair_tests import MIN_OVERLAP

LEVELS = 100
_CODE = 1 << 20
_CHUNK = 2048


def whole_weights(activation: np.ndarray) -> np.ndarray:
    """Weights from 0 to `LEVELS`, in proportion to the activations (negative ones count as 0);
    int64.
    """
    positive = np.maximum(np.asarray(activation, dtype=float), 0.0)
    highest = positive.max(initial=0.0)
    return (
        np.rint(LEVELS * positive / highest).astype(np.int64)
        if highest > 0
        else np.full(positive.size, LEVELS, dtype=np.int64)
    )


def subset_tails(weights: np.ndarray) -> np.ndarray:
    """P(S_k >= s) for a random k-subset; k in rows (genes + 1), s in columns (sum + 2)."""
    total = int(weights.sum())
    law = np.zeros((weights.size + 1, total + 1))
    law[0, 0] = 1.0
    reached = 0
    for j, weight in enumerate(np.asarray(weights, dtype=np.int64).tolist(), 1):
        k = np.arange(1, j + 1)[:, None] / j
        reached += weight
        before = law[: j + 1, : reached + 1].copy()
        law[1 : j + 1, : reached + 1] = before[1:] * (1 - k)
        law[1 : j + 1, weight : reached + 1] += before[:j, : reached + 1 - weight] * k
    tails = np.zeros((weights.size + 1, total + 2))
    tails[:, :-1] = np.cumsum(law[:, ::-1], axis=1)[:, ::-1]
    return np.minimum(tails, 1.0)


def weighted_p(weights: np.ndarray, score: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """P(S >= score) of some terms of one list.

    Parameters
    ----------
    weights
        Whole-numbered weights of the list's genes, [n].
    score
        Sum of the weights of the shared genes, [terms].
    chance
        P(K = k) of every term, [terms, n + 1] (fewer columns where no term is that large).
    """
    tails = subset_tails(weights)[: chance.shape[1]]
    return np.minimum((chance * tails[:, score].T).sum(axis=1), 1.0)


def weighted_pairs(
    blocks: tuple[ListBlock, ...], activation: list[list[np.ndarray]], alpha: float
) -> tuple[ReportedPairs, int]:
    """Pairs with an overlap of two or more and q <= `alpha` in the family of every feature x every
    term, and the size of that family.

    Parameters
    ----------
    blocks
        Lists of every layer.
    activation
        For each block and list the activations of its genes, in the order of the row's columns.
    alpha
        Threshold.
    """
    family, first, parts = 0, 0, []
    for number, block in enumerate(blocks):
        family += block.features * len(block.incidence.terms)
        row, column, overlap, p = _small(block, activation[number], alpha)
        parts.append((first + row, np.full(row.size, number), row, column, overlap, p))
        first += len(activation[number])
    feature, of, row, column, overlap, p = (np.concatenate(x) for x in zip(*parts, strict=True))
    # pairs with p above alpha cannot lower a q that is at most alpha, so leaving them out changes
    # none that is kept
    q = PTally.of(p, np.ones(p.size, dtype=np.int64)).q(p, family)
    kept = np.flatnonzero((q <= alpha) & (overlap >= MIN_OVERLAP))
    none = np.full(kept.size, np.nan)
    return (
        ReportedPairs(
            feature[kept],
            of[kept],
            row[kept],
            column[kept],
            overlap[kept],
            p[kept],
            q[kept],
            none,
            none,
            none,
        ),
        family,
    )


def _small(block: ListBlock, activation: list[np.ndarray], alpha: float) -> tuple[np.ndarray, ...]:
    """Row, column, overlap and p of the pairs of a block with p <= `alpha`."""
    sizes = np.diff(block.rows.indptr)
    table = TailTable(sizes, block.incidence.sizes, len(block.incidence.genes))
    rank = table.ranks(block.incidence.sizes)
    chances: dict[int, np.ndarray] = {}
    weights = [whole_weights(a) for a in activation]
    # one product gives both sums: of the weights above `_CODE`, of ones below it
    coded = sparse.csr_matrix(block.rows.astype(np.int64))
    coded.data = np.concatenate(weights) * _CODE + 1
    matrix = block.incidence.matrix.astype(np.int64)
    empty = np.zeros(0, np.int64)
    found: list[tuple[np.ndarray, ...]] = [(empty, empty, empty, np.zeros(0))]
    for start in range(0, sizes.size, _CHUNK):
        product = sparse.csr_matrix(coded[start : start + _CHUNK] @ matrix)
        for r in range(start, start + row_count(product)):
            own = slice(product.indptr[r - start], product.indptr[r - start + 1])
            column, overlap, score = (
                product.indices[own].astype(np.int64),
                product.data[own] % _CODE,
                product.data[own] // _CODE,
            )
            size = int(sizes[r])
            if size not in chances:
                tail = table.of_list_size(size)
                chances[size] = tail - np.pad(tail[:, 1:], ((0, 0), (0, 1)))
            p = weighted_p(weights[r], score, chances[size][rank[column]])
            small = np.flatnonzero(p <= alpha)
            found.append((np.full(small.size, r), column[small], overlap[small], p[small]))
    return tuple(np.concatenate(x) for x in zip(*found, strict=True))

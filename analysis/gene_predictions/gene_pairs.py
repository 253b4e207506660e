"""Ordered pairs of genes that the edges of a circuit link, with a signed score.

Every edge s -> t with a value v (positive: the source supports the target, ablation lowers it) says
something about every pair of a top gene of s and a top gene of t:

    S(g, t) = sum_e v_e a(s_e, g) b(t_e, t),    N(g, t) = sum_e a(s_e, g) b(t_e, t),
    score   = S / N ,

with the weights of `scircuit.analysis.gene_predictions.gene_weights`. A published version divided
by the number of edges instead of N, so that a gene far down every list had a score near 0 whatever
its edges said. S and N are sparse products ``A' V B``, a block of source genes at a time; only
pairs of the requested genes and the best pairs are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scircuit.analysis.gene_predictions.gene_weights import GeneWeights
from scircuit.analysis.gene_predictions.pair_null import (
    ListMoments,
    ZCounts,
    count_steps,
    permuted_rows,
    strata_of,
)

if TYPE_CHECKING:
    import pandas as pd

_BLOCK = 512  # source genes at a time: three dense blocks of 20,000 genes take 250 MB
_NULL_GENES = 500  # source genes, drawn at random, whose pairs are drawn under the null


@dataclass(frozen=True)
class PairEdges:
    """Edges as the scores of gene pairs read them.

    Parameters
    ----------
    source, target
        Positions of features, [edges].
    value
        Signed strength, [edges]; positive: the source supports the target.
    layer
        Layer of every feature, [features].
    """

    source: np.ndarray
    target: np.ndarray
    value: np.ndarray
    layer: np.ndarray

    @property
    def finite(self) -> PairEdges:
        """The edges whose value is a number other than 0."""
        good = np.isfinite(self.value) & (self.value != 0)
        return PairEdges(self.source[good], self.target[good], self.value[good], self.layer)


@dataclass(frozen=True)
class GenePairs:
    """Scores of pairs of genes.

    Parameters
    ----------
    frame
        The best pairs by |z|: source, target (symbols), score, edges, z, q, strongest (position of
        the edge that says most about the pair).
    rows
        Scores of every pair of the requested source genes, [requested, genes]; NaN without
        `min_edges` edges.
    requested
        Source genes of `rows`.
    genes
        Columns of `rows`.
    pairs
        Pairs with at least `min_edges` edges.
    beyond, expected
        Pairs with q at the threshold, and how many of these a draw of the null has.
    draws, edges
        Draws of the null; edges with genes on both sides.
    """

    frame: pd.DataFrame
    rows: np.ndarray
    requested: tuple[str, ...]
    genes: tuple[str, ...]
    pairs: int
    beyond: int
    expected: float
    draws: int
    edges: int


def gene_pairs(
    edges: PairEdges,
    lists: GeneWeights,
    *,
    requested: Sequence[str] = (),
    top: int = 1000,
    min_edges: int = 2,
    q: float = 0.05,
    draws: int = 10,
    seed: int = 0,
) -> GenePairs:
    """Score all ordered pairs of genes that edges link.

    Parameters
    ----------
    edges
        Called edges with their values.
    lists
        Weighted gene lists of all features.
    requested
        Source genes whose pairs are all returned.
    top
        Best pairs returned.
    min_edges
        Fewest edges of a pair.
    q
        Largest q of a pair that is beyond the null.
    draws, seed
        Of the null.
    """
    links = edges.finite
    listed = lists.listed
    both = listed[links.source] & listed[links.target]
    links = PairEdges(links.source[both], links.target[both], links.value[both], links.layer)
    n = listed.size
    shape = (n, n)
    ends = (links.source, links.target)
    value = sparse.csr_matrix((links.value.astype(float), ends), shape=shape)
    one = sparse.csr_matrix((np.ones(links.value.size), ends), shape=shape)
    stratum = strata_of(links.layer, np.bincount(links.target, minlength=n), listed)
    moments = ListMoments(lists.weights, stratum)
    rng = np.random.default_rng(seed)
    taken = [permuted_rows(stratum, rng) for _ in range(draws)]
    shuffled = [(lists.weights[order], lists.member[order]) for order in taken]
    by_gene, in_list = lists.weights.T.tocsr(), lists.member.T.tocsr()
    at = {gene: i for i, gene in enumerate(requested)}
    rows = np.full((len(at), len(lists.genes)), np.nan)
    is_source = np.zeros(n, dtype=bool)
    is_source[links.source] = True
    sources = np.flatnonzero(in_list @ is_source.astype(float) > 0)
    drawn = np.zeros(len(lists.genes), dtype=bool)
    drawn[rng.permutation(sources)[:_NULL_GENES]] = True
    counts = ZCounts(draws=draws * int(drawn.sum()) / max(sources.size, 1))
    best = _Best(top)
    for start in range(0, sources.size, _BLOCK):
        genes = sources[start : start + _BLOCK]
        effects, reach = by_gene[genes] @ value, by_gene[genes] @ one
        through = in_list[genes] @ one
        support = _dense(through @ lists.member)
        weight, total = _dense(reach @ lists.weights), _dense(effects @ lists.weights)
        mean, sd = moments.mean_and_sd(sparse.csr_matrix(effects))
        own = (np.arange(genes.size), genes)
        enough = _enough(support, min_edges, own)
        z = _z(total, mean, sd)
        score = np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 0)
        counts.observed += count_steps(z[enough])
        for i, gene in enumerate(genes.tolist()):
            if lists.genes[gene] in at:
                rows[at[lists.genes[gene]]] = np.where(enough[i], score[i], np.nan)
        best.add(genes, enough, z, score, support)
        some = np.flatnonzero(drawn[genes])
        own = (np.arange(some.size), genes[some])
        for weights, member in shuffled if some.size else ():
            support = _dense(through[some] @ member)
            z = _z(_dense(effects[some] @ weights), mean[some], sd[some])
            counts.null += count_steps(z[_enough(support, min_edges, own)])
    frame = best.frame(lists.genes)
    frame["q"] = counts.q(frame["z"].to_numpy(float)) if draws else np.nan
    frame["strongest"] = _strongest(frame, links, lists, np.flatnonzero(_kept(edges, listed)))
    beyond, expected = counts.beyond(q) if draws else (0, 0.0)
    return GenePairs(
        frame,
        rows,
        tuple(requested),
        lists.genes,
        int(counts.observed.sum()),
        beyond,
        expected,
        draws,
        int(links.value.size),
    )


def _kept(edges: PairEdges, listed: np.ndarray) -> np.ndarray:
    good = np.isfinite(edges.value) & (edges.value != 0)
    return good & listed[edges.source] & listed[edges.target]


def _dense(matrix: sparse.csr_matrix) -> np.ndarray:
    return np.asarray(sparse.csr_matrix(matrix).toarray())


def _enough(support: np.ndarray, min_edges: int, own: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Pairs of two genes with enough edges; counts are sums of ones, exact in floating point."""
    enough = support >= min_edges - 0.5
    enough[own] = False
    return enough


def _z(total: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """Score in standard deviations of the null; 0 where permuting changes nothing."""
    size = np.maximum(np.abs(total), np.abs(mean))
    moves = sd > 1e-6 * size
    return np.divide(total - mean, sd, out=np.zeros_like(total), where=moves)


class _Best:
    """The pairs with the largest |z| so far; ties by symbols, so that blocks do not matter."""

    def __init__(self, top: int) -> None:
        self.top = top
        self.rows: list[np.ndarray] = [np.zeros((6, 0))]

    def add(
        self,
        genes: np.ndarray,
        enough: np.ndarray,
        z: np.ndarray,
        score: np.ndarray,
        support: np.ndarray,
    ) -> None:
        row, column = np.nonzero(enough)
        size = _rounded(z[row, column])
        if size.size > self.top:
            least = np.partition(size, size.size - self.top)[size.size - self.top]
            kept = size >= least
            row, column, size = row[kept], column[kept], size[kept]
        found = np.stack(
            [size, genes[row], column, z[row, column], score[row, column], support[row, column]]
        )
        together = np.concatenate([self.rows[0], found], axis=1)
        order = np.lexsort((together[2], together[1], -together[0]))
        self.rows = [together[:, order[: self.top]]]

    def frame(self, genes: tuple[str, ...]) -> pd.DataFrame:
        import pandas as pd

        _, source, target, z, score, support = self.rows[0]
        return pd.DataFrame(
            {
                "source": [genes[int(i)] for i in source],
                "target": [genes[int(i)] for i in target],
                "score": score,
                "edges": np.rint(support).astype(np.int64),
                "z": z,
            }
        )


def _rounded(z: np.ndarray) -> np.ndarray:
    """|z| to nine digits: sums in another order tie."""
    size = np.abs(z)
    scale = 10.0 ** (8 - np.floor(np.log10(np.maximum(size, 1e-9))))
    return np.rint(size * scale) / scale


def _strongest(
    frame: pd.DataFrame, links: PairEdges, lists: GeneWeights, position: np.ndarray
) -> np.ndarray:
    """Of each pair the edge with the largest weighted |value|, by its position among the given
    edges.
    """
    place = lists.position()
    order = np.argsort(links.source, kind="stable")
    bounds = np.searchsorted(links.source[order], np.arange(lists.listed.size + 1))
    columns = lists.weights.tocsc()
    size = np.abs(links.value)
    found = np.full(len(frame), -1, dtype=np.int64)
    for gene, rows in frame.groupby("source", sort=False).indices.items():
        g = place[str(gene)]
        features = columns.indices[columns.indptr[g] : columns.indptr[g + 1]]
        weight = columns.data[columns.indptr[g] : columns.indptr[g + 1]]
        own = [order[bounds[f] : bounds[f + 1]] for f in features.tolist()]
        at = np.concatenate(own)
        said = np.repeat(weight, [o.size for o in own]) * size[at]
        for row in rows.tolist():
            t = place[frame["target"].iat[row]]
            of_target = np.zeros(lists.listed.size)
            span = slice(columns.indptr[t], columns.indptr[t + 1])
            of_target[columns.indices[span]] = columns.data[span]
            each = said * of_target[links.target[at]]
            found[row] = position[at[each >= each.max() * (1 - 1e-12)].min()]
    return found

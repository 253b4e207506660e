"""Which features a background links: by shared gene sets, or by the pairs of a library of regulons.

- Gene sets: a feature has a set if its top genes are over-represented in it (hypergeometric,
  Benjamini-Hochberg over all features x sets). Source and target are linked if they have a set in
  common.
- Pairs (regulons): U(s) are the stated targets of the genes of source s. Source and target are
  linked if the genes of the target are over-represented in U(s) (hypergeometric, p <= 0.01). The
  threshold is fixed beforehand and not set by the edges, so that edges and resampled targets are
  judged alike; at most 1 % of unrelated pairs are linked by chance, and as many of either.

A feature that the background knows nothing about (no set; no stated targets; no gene with a stated
factor) cannot be linked by it. Its edges are not judged, and are not novel.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import sparse

from scircuit.analysis.enrichment.fdr import benjamini_hochberg
from scircuit.analysis.enrichment.gene_term_matrix import build
from scircuit.analysis.enrichment.hypergeometric import TailTable
from scircuit.analysis.enrichment.overrepresentation import collect, overlaps
from scircuit.analysis.gene_predictions.gene_weights import GeneWeights
from scircuit.analysis.genesets.library import GeneSetLibrary
from scircuit.analysis.genesets.regulons import Regulons

LINK_P = 0.01
"""Largest p of a link by regulons."""

_BLOCK = 256  # sources at a time


class Background(NamedTuple):
    """What a background says of features, as two matrices.

    Parameters
    ----------
    sources, targets
        Source and target are linked if the overlap of their rows, ``sources[s] . targets[t]``, is
        at least `least[s, t]`, which depends on the sizes of the rows: [features, things].
    knows_source, knows_target
        Which features it can link, [features] bool.
    threshold
        Largest p of a link by regulons; NaN: one shared set is enough.
    universe
        Genes, for regulons.
    words
        What a link is, for a sentence.
    """

    sources: sparse.csr_matrix
    targets: sparse.csr_matrix
    knows_source: np.ndarray
    knows_target: np.ndarray
    threshold: float
    universe: int
    words: str

    def table(self) -> TailTable:
        """The p of every overlap that rows can have."""
        return TailTable(np.diff(self.targets.indptr), np.diff(self.sources.indptr), self.universe)

    def linked(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Whether each pair of features is linked, bool."""
        if np.isfinite(self.threshold):
            return self.p(source, target) <= self.threshold
        return _overlap(self.sources, self.targets, source, target) > 0

    def p(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """The p of the overlap of each pair of features, for regulons."""
        return self.table().tail(
            _overlap(self.sources, self.targets, source, target),
            np.diff(self.sources.indptr)[source],
            np.diff(self.targets.indptr)[target],
        )

    def links_by_stratum(
        self, sources: np.ndarray, stratum: np.ndarray, size: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For blocks of sources how many features of each stratum they are linked with: positions
        in `sources`, and counts [block, strata]. Features of stratum -1 do not count.
        """
        used = np.flatnonzero(stratum >= 0)
        member = sparse.csr_matrix(
            (np.ones(used.size, dtype=np.int64), (used, stratum[used])), shape=(stratum.size, size)
        )
        by_thing = self.targets.T.tocsr()
        table = self.table() if np.isfinite(self.threshold) else None
        lengths = np.diff(self.sources.indptr), np.diff(self.targets.indptr)
        for start in range(0, sources.size, _BLOCK):
            at = np.arange(start, min(start + _BLOCK, sources.size))
            shared = sparse.coo_matrix(self.sources[sources[at]] @ by_thing)
            good = np.ones(shared.data.size, dtype=bool)
            if table is not None:
                of_source = lengths[0][sources[at]][shared.row]
                good = (
                    table.tail(shared.data.astype(np.int64), of_source, lengths[1][shared.col])
                    <= self.threshold
                )
            found = sparse.csr_matrix(
                (np.ones(int(good.sum()), np.int64), (shared.row[good], shared.col[good])),
                shape=shared.shape,
            )
            yield at, sparse.csr_matrix(found @ member).toarray()


def _overlap(
    first: sparse.csr_matrix, second: sparse.csr_matrix, source: np.ndarray, target: np.ndarray
) -> np.ndarray:
    """Things that row `source[i]` of the first and row `target[i]` of the second share."""
    found = np.zeros(source.size, dtype=np.int64)
    for start in range(0, source.size, 200_000):
        part = slice(start, start + 200_000)
        product = first[source[part]].multiply(second[target[part]])
        found[part] = np.asarray(product.sum(axis=1)).ravel()
    return found


def by_gene_sets(lists: GeneWeights, library: GeneSetLibrary, alpha: float) -> Background:
    """Features linked by a common gene set.

    Raises
    ------
    UserError
        If no gene of the library is among the genes of the features.
    """
    incidence = build([library], lists.genes, min_size=2, max_size=10**9, min_mapped=0.0)
    n, sets = lists.listed.size, len(incidence.terms)
    listed = np.flatnonzero(lists.listed)
    rows = sparse.csr_matrix(lists.member[listed].astype(np.int32))
    hits = collect(overlaps(rows, incidence))
    good = benjamini_hochberg(hits.p, listed.size * sets) <= alpha
    has = sparse.csr_matrix(
        (np.ones(int(good.sum()), np.int32), (listed[hits.row[good]], hits.column[good])),
        shape=(n, sets),
    )
    knows = np.diff(has.indptr) > 0
    return Background(has, has, knows, knows, np.nan, sets, "share a gene set")


def by_regulons(lists: GeneWeights, regulons: Regulons) -> Background:
    """Features linked by the pairs of a library."""
    place = lists.position()
    pairs = sorted(
        {
            (place[p.tf.upper()], place[p.target.upper()])
            for p in regulons.pairs
            if p.tf.upper() in place and p.target.upper() in place
        }
    )
    ends = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    size = len(lists.genes)
    regulates = sparse.csr_matrix(
        (np.ones(len(ends), np.int32), (ends[:, 0], ends[:, 1])), shape=(size, size)
    )
    member = sparse.csr_matrix(lists.member.astype(np.int32))
    reach = sparse.csr_matrix(member @ regulates)
    reach.data = np.ones_like(reach.data)
    reach.sort_indices()
    regulated = np.asarray(regulates.sum(axis=0)).ravel() > 0
    knows_target = (member @ regulated.astype(np.int32)) > 0
    return Background(
        reach, member, np.diff(reach.indptr) > 0, knows_target, LINK_P, size,
        "have a regulator in one and more of its targets than chance in the other",
    )  # fmt: skip

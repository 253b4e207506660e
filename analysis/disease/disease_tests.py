r"""Whether the features of a disease gene set sit at high degree, and are linked among themselves.

The features F(D) of a set D are those in whose top genes it is over-represented (hypergeometric,
Benjamini-Hochberg over all features x sets). They are chosen by genes alone; edges have no say, so
that a set does not grow with the edges that it is then said to have.

Two questions, each with two nulls of which the larger p counts:

- degree: mean residual degree r (log of out-degree by that expected from the firing rate) of the
  sources in F(D). Null of features: residuals permuted among sources of one layer and fifth of the
  firing rate. Null of genes, on the overlaps k of all sources,
  ``T(D) = sum_f k_f(D) r_f / sum_f k_f(D)``, for random sets with the genes of D replaced by genes
  that as many features list.
- linked: edges between two features of F(D). Null of features: as many features from each layer
  and class of degree. Null of genes: ``sum_st k_s(D) A_st k_t(D)``, for the same random sets.

The null of genes keeps what lists have in common (copies of one list in several layers), which the
null of features does not. p is two-sided for the degree and one-sided for links;
``p = (1 + hits) / (1 + draws)``, Benjamini-Hochberg over the sets; where fewer than ten draws are
as extreme, drawing goes on as far as that needs (`scircuit.analysis.disease.more_draws`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
from scipy import sparse

from scircuit.analysis.disease.more_draws import Alike, Drawn, draws_needed, go_on
from scircuit.analysis.enrichment.fdr import benjamini_hochberg
from scircuit.analysis.enrichment.gene_term_matrix import Incidence
from scircuit.analysis.enrichment.matched_null import detection_bins, draw_matched
from scircuit.analysis.enrichment.overrepresentation import collect, overlaps

if TYPE_CHECKING:
    import pandas as pd

LEAST_FEATURES = 5
LINK_DRAWS, _LIST_DRAWS, _LOOKUPS = 199, 20, 2e8
_MORE_LOOKUPS = 4e9  # of one set, where drawing goes on
_BLOCK = 512  # genes at a time


class Members(NamedTuple):
    """Features of sets: row (feature), column (set), p and q of each enriched pair; features that a
    matched random list gives each set at the same p, on average.
    """

    row: np.ndarray
    column: np.ndarray
    p: np.ndarray
    q: np.ndarray
    expected: np.ndarray


class DiseaseCircuit(NamedTuple):
    """What the tests read.

    Parameters
    ----------
    lists
        0/1, [features, genes], empty rows for features without genes.
    incidence
        The sets, cut to the genes of the lists.
    source, target
        Positions of the ends of the edges, [edges].
    layer, firing_rate
        Of every feature, [features].
    residual
        Residual degree of every feature, NaN where it was not ablated.
    """

    lists: sparse.csr_matrix
    incidence: Incidence
    source: np.ndarray
    target: np.ndarray
    layer: np.ndarray
    firing_rate: np.ndarray
    residual: np.ndarray


def enriched_features(
    lists: sparse.csr_matrix, incidence: Incidence, alpha: float, seed: int
) -> Members:
    """Features in whose genes a set is over-represented.

    Parameters
    ----------
    lists, incidence
        As in `DiseaseCircuit`.
    alpha
        Largest q.
    seed
        Of the matched random lists: as many genes that are listed as often.
    """
    listed = np.flatnonzero(np.diff(lists.indptr))
    own = sparse.csr_matrix(lists[listed].astype(np.int32))
    sets = len(incidence.terms)
    hits = collect(overlaps(own, incidence))
    q = benjamini_hochberg(hits.p, listed.size * sets)
    good = q <= alpha
    expected = np.zeros(sets)
    if good.any():
        threshold = hits.p[good].max() * (1 + 1e-9)
        rng = np.random.default_rng([seed, 1])
        genes = cast("tuple[int, int]", own.shape)[1]
        bins = detection_bins(np.bincount(own.indices, minlength=genes))
        for _ in range(_LIST_DRAWS):
            drawn = collect(overlaps(draw_matched(own, bins, rng), incidence))
            expected += np.bincount(drawn.column[drawn.p <= threshold], minlength=sets)
    return Members(
        listed[hits.row[good]], hits.column[good], hits.p[good], q[good], expected / _LIST_DRAWS
    )


def disease_tests(
    circuit: DiseaseCircuit,
    members: Members,
    *,
    draws: int = 1000,
    seed: int = 0,
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Both questions for every set.

    Parameters
    ----------
    draws
        Of each null, for every set (of links to random features 199, of large sets of genes fewer).
    alpha
        Largest q; drawing goes on for a set as far as that needs.

    Returns
    -------
    pandas.DataFrame
        One row a set: set, library, genes, features, expected_features, sources, residual,
        residual_expected, p_residual_features, p_residual_genes, q_residual, links, links_expected,
        p_links_features, p_links_genes, q_links, gene_draws (random sets of genes drawn for every
        set), least_p_residual, least_p_links (smallest p that the draws could give). NaN where
        fewer than five features (or sources) have the set.
    """
    import pandas as pd

    terms = circuit.incidence.terms
    sets = len(terms)
    inside = np.zeros((sets, circuit.layer.size), dtype=bool)
    inside[members.column, members.row] = True
    is_source = np.isfinite(circuit.residual)
    frame = pd.DataFrame(
        {
            "set": [t.name for t in terms],
            "library": [t.library for t in terms],
            "genes": circuit.incidence.sizes,
            "features": inside.sum(axis=1),
            "expected_features": members.expected,
            "sources": (inside & is_source).sum(axis=1),
        }
    )
    large = np.flatnonzero(frame["features"] >= LEAST_FEATURES)
    by_feature = _residual_null(circuit, inside, draws, seed)
    found = {name: np.full(sets, np.nan) for name in _COLUMNS}
    links = _Links(circuit, seed)
    gene = _GeneNull(circuit)
    for i in large.tolist():
        random = gene.random_sets(i, draws, seed)
        found["gene_draws"][i] = len(random)
        if frame["sources"][i] >= LEAST_FEATURES:
            values, mean, p = (column[i] for column in by_feature)
            found["residual"][i], found["residual_expected"][i] = values, mean
            found["p_residual_features"][i] = p
            found["p_residual_genes"][i] = gene.residual_p(i, random)
        observed, expected, p = links.among(np.flatnonzero(inside[i]))
        found["links"][i], found["links_expected"][i] = observed, expected
        found["p_links_features"][i] = p
        found["p_links_genes"][i] = gene.links_p(i, random)
    _go_on(found, circuit, inside, links, gene, alpha, seed, draws)
    for what in ("residual", "links"):
        both = np.maximum(found[f"p_{what}_features"], found[f"p_{what}_genes"])
        tested = np.isfinite(both)
        found[f"q_{what}"][tested] = benjamini_hochberg(both[tested])
    return frame.assign(**found)


_COLUMNS = (
    "residual", "residual_expected", "p_residual_features", "p_residual_genes", "q_residual",
    "links", "links_expected", "p_links_features", "p_links_genes", "q_links", "gene_draws",
    "least_p_residual", "least_p_links",
)  # fmt: skip


def _go_on(
    found: dict[str, np.ndarray],
    circuit: DiseaseCircuit,
    inside: np.ndarray,
    links: _Links,
    gene: _GeneNull,
    alpha: float,
    seed: int,
    draws: int,
) -> None:
    """Draw on for every set whose p may be small, in place."""
    is_source = np.isfinite(circuit.residual)
    strata = np.full(circuit.layer.size, -1)
    strata[is_source] = _rate_strata(circuit, np.flatnonzero(is_source))
    alike = Alike(strata)
    for what in ("residual", "links"):
        tested = np.flatnonzero(np.isfinite(found[f"p_{what}_features"]))
        most = draws_needed(tested.size, alpha)
        for i in tested.tolist():
            own = np.flatnonzero(inside[i])
            rng = np.random.default_rng([seed, 5, what == "links", i])
            if what == "links":
                by_feature, made = links.more(own, rng), LINK_DRAWS
            else:
                own = own[is_source[own]]
                by_feature, made = _more_residuals(circuit.residual, own, alike, rng), draws
            genes = int(gene.genes(i).size)
            few = int(found["gene_draws"][i])
            most_genes = max(few, min(most, int(_MORE_LOOKUPS // max(genes, 1) ** 2)))
            one = go_on(float(found[f"p_{what}_features"][i]), made, most, by_feature)
            two = Drawn(float(found[f"p_{what}_genes"][i]), 1 / (1 + most_genes))
            if one.p <= alpha:  # the larger p counts
                two = go_on(two.p, few, most_genes, gene.more(what, i, few, rng))
            found[f"p_{what}_features"][i], found[f"p_{what}_genes"][i] = one.p, two.p
            found[f"least_p_{what}"][i] = max(one.least, two.least)


def _more_residuals(
    residual: np.ndarray, own: np.ndarray, alike: Alike, rng: np.random.Generator
) -> Callable[[int], np.ndarray]:
    """Are mean residuals of features alike as far from what is expected."""
    value = residual[own].mean()
    expected = np.mean([residual[alike.strata == s].mean() for s in alike.strata[own]])

    def more(draws: int) -> np.ndarray:
        null = residual[alike.draw(own, draws, rng)].mean(axis=1)
        return np.abs(null - expected) >= abs(value - expected) * (1 - 1e-9) - 1e-12

    return more


def _rate_strata(circuit: DiseaseCircuit, at: np.ndarray) -> np.ndarray:
    """Layer and fifth of the firing rate."""
    return circuit.layer[at] * 10 + _fifths(circuit.firing_rate[at])


def _fifths(values: np.ndarray) -> np.ndarray:
    known = np.nan_to_num(values)
    return np.searchsorted(np.unique(np.quantile(known, (0.2, 0.4, 0.6, 0.8))), known)


def _residual_null(
    circuit: DiseaseCircuit, inside: np.ndarray, draws: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean residual of each set's sources, its mean in the null of features, and p."""
    at = np.flatnonzero(np.isfinite(circuit.residual))
    sets = inside.shape[0]
    if not at.size:
        none = np.full(sets, np.nan)
        return none, none, none
    residual, member = circuit.residual[at], inside[:, at].astype(float)
    count = np.maximum(member.sum(axis=1), 1)
    strata = _rate_strata(circuit, at)
    rng = np.random.default_rng([seed, 2])
    order = np.argsort(strata, kind="stable")
    null = np.empty((draws, sets))
    for d in range(draws):
        mixed = np.empty_like(residual)
        mixed[order] = residual[np.lexsort((rng.random(at.size), strata))]
        null[d] = member @ mixed / count
    value = member @ residual / count
    mean = null.mean(axis=0)
    return value, mean, _two_sided(value, null, mean)


def _two_sided(value: np.ndarray, null: np.ndarray, mean: np.ndarray) -> np.ndarray:
    away = np.abs(value - mean) * (1 - 1e-9) - 1e-12
    return (1 + (np.abs(null - mean) >= away).sum(axis=0)) / (1 + len(null))


class _Links:
    """Edges within sets of features, beside sets of as many from each layer and class of degree."""

    def __init__(self, circuit: DiseaseCircuit, seed: int) -> None:
        n = circuit.layer.size
        ones = np.ones(circuit.source.size, dtype=np.int32)
        self.edges = sparse.csr_matrix((ones, (circuit.source, circuit.target)), shape=(n, n))
        classes = [
            np.ceil(np.log2(np.bincount(end, minlength=n) + 1)).astype(np.int64)
            for end in (circuit.source, circuit.target)
        ]
        listed = (np.diff(circuit.lists.indptr) > 0).astype(np.int64)
        kinds = np.stack([circuit.layer, *classes, listed])
        strata = np.unique(kinds, axis=1, return_inverse=True)[1].ravel()
        order = np.argsort(strata, kind="stable")
        rng = np.random.default_rng([seed, 3])
        # a feature takes the place of another of its stratum; the same draws for all sets
        self.taken = np.empty((LINK_DRAWS, n), dtype=np.int32)
        for taken in self.taken:
            taken[order] = np.lexsort((rng.random(n), strata))
        self.flag = np.zeros(n, dtype=bool)
        self.alike = Alike(strata)

    def more(self, features: np.ndarray, rng: np.random.Generator) -> Callable[[int], np.ndarray]:
        """Have features alike as many edges among them."""
        observed = self.count(features)

        def more(draws: int) -> np.ndarray:
            drawn = self.alike.draw(features, draws, rng)
            return np.array([self.count(row) >= observed for row in drawn])

        return more

    def count(self, features: np.ndarray) -> int:
        """Edges between two of these features."""
        self.flag[features] = True
        found = int(self.flag[self.edges[features].indices].sum())
        self.flag[features] = False
        return found

    def among(self, features: np.ndarray) -> tuple[int, float, float]:
        """Edges between two of these features, their mean number in sets drawn at random, and p."""
        observed = self.count(features)
        null = np.array([self.count(taken[features]) for taken in self.taken])
        return (
            observed,
            float(null.mean()),
            (1 + int((null >= observed).sum())) / (1 + LINK_DRAWS),
        )


def gene_draws(genes: int, draws: int) -> int:
    """Random sets drawn for a set of so many genes: `draws`, and fewer for large sets, whose pairs
    of genes are looked up one by one; 199 at least where so many are asked for.
    """
    return min(draws, max(LINK_DRAWS, int(_LOOKUPS // max(genes, 1) ** 2)))


class _GeneNull:
    """The two questions put to random sets of genes that as many features list."""

    def __init__(self, circuit: DiseaseCircuit) -> None:
        lists = sparse.csr_matrix(circuit.lists.astype(np.float64))
        n = circuit.layer.size
        source = np.isfinite(circuit.residual)
        self.sum = lists[source].T @ circuit.residual[source]
        self.count = np.asarray(lists[source].sum(axis=0)).ravel()
        edges = sparse.csr_matrix(
            (np.ones(circuit.source.size, np.float32), (circuit.source, circuit.target)),
            shape=(n, n),
        )
        thin, by_gene = lists.astype(np.float32), lists.T.astype(np.float32).tocsr()
        self.pairs = np.zeros((by_gene.shape[0],) * 2, dtype=np.float32)
        for start in range(0, len(self.pairs), _BLOCK):
            block = slice(start, start + _BLOCK)
            self.pairs[block] = (by_gene[block] @ edges @ thin).toarray()
        self.bins = detection_bins(np.asarray(lists.sum(axis=0)).ravel(), 10)
        self.columns = circuit.incidence.matrix.tocsc()

    def genes(self, column: int) -> np.ndarray:
        """Genes of a set."""
        span = slice(self.columns.indptr[column], self.columns.indptr[column + 1])
        return np.sort(self.columns.indices[span])

    def random_sets(self, column: int, draws: int, seed: int) -> np.ndarray:
        """Random sets, [draws, genes of the set]; fewer draws for large sets (`gene_draws`)."""
        draws = gene_draws(self.genes(column).size, draws)
        return self._drawn(column, draws, np.random.default_rng([seed, 4, column]))

    def _drawn(self, column: int, draws: int, rng: np.random.Generator) -> np.ndarray:
        own = self.genes(column)
        whole = sparse.csr_matrix(
            (
                np.ones(draws * own.size, dtype=np.int32),
                np.tile(own, draws),
                np.arange(draws + 1) * own.size,
            ),
            shape=(draws, self.bins.size),
        )
        drawn = draw_matched(whole, self.bins, rng)
        return drawn.indices.reshape(draws, own.size)

    def more(
        self, what: str, column: int, made: int, rng: np.random.Generator
    ) -> Callable[[int], np.ndarray]:
        """Are random sets of genes as extreme, for one of the questions.

        Parameters
        ----------
        made
            Draws from which the mean of the residual is taken.
        """
        own = self.genes(column)
        if what == "links":
            observed = self._among(own)
            return lambda draws: np.array(
                [self._among(r) >= observed * (1 - 1e-9) for r in self._drawn(column, draws, rng)]
            )
        mean = self._means(self._drawn(column, made, rng)).mean()
        away = abs(float(self._means(own)) - mean) * (1 - 1e-9) - 1e-12
        return lambda draws: np.abs(self._means(self._drawn(column, draws, rng)) - mean) >= away

    def _means(self, genes: np.ndarray) -> np.ndarray:
        """Weighted mean residual of sets of genes."""
        return self.sum[genes].sum(axis=-1) / np.maximum(self.count[genes].sum(axis=-1), 1)

    def _among(self, genes: np.ndarray) -> float:
        """Edges between features by their overlaps."""
        return float(self.pairs[np.ix_(genes, genes)].sum(dtype=float))

    def residual_p(self, column: int, random: np.ndarray) -> float:
        """Two-sided p of the weighted mean residual."""
        null = self._means(random)
        return float(_two_sided(self._means(self.genes(column)), null, null.mean()))

    def links_p(self, column: int, random: np.ndarray) -> float:
        """One-sided p of the edges between features by their overlaps."""
        observed = self._among(self.genes(column))
        null = np.array([self._among(r) for r in random])
        return (1 + int((null >= observed * (1 - 1e-9)).sum())) / (1 + len(null))

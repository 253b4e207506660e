"""Over-representation of gene lists in gene sets: exact hypergeometric p for every list x term, by
one sparse product.

With L (lists x genes) and S (genes x terms), both 0/1, the overlaps are ``K = L S``; list and term
sizes are row and column sums after intersection with the background, and ``p = P(X >= k)`` depends
on (k, m, n) only (`scircuit.analysis.enrichment.hypergeometric`). The family of the
multiple-testing correction holds **every** list x every kept term, those without overlap included:
leaving them out, or testing only overlaps of two and more, annotates 10 to 90 % of random lists.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from scipy import sparse

from scircuit.analysis.enrichment.fdr import benjamini_hochberg, benjamini_hochberg_grouped
from scircuit.analysis.enrichment.gene_term_matrix import Incidence, build, row_count
from scircuit.analysis.enrichment.hypergeometric import TailTable, odds_ratio
from scircuit.analysis.genesets.library import GeneSetLibrary

if TYPE_CHECKING:
    import pandas as pd

Family = Literal["pooled", "feature", "hits", "overlap2"]
FAMILIES: dict[str, str] = {
    "pooled": "every list x every kept term in one family",
    "feature": "every kept term, one family per list",
    "hits": (
        "only terms with an overlap, one family per list (gseapy's own rule; anti-conservative)"
    ),
    "overlap2": (
        "only tests with an overlap of 2 or more, one family (a published rule; strongly"
        " anti-conservative)"
    ),
}


class Hits(NamedTuple):
    """Tests with an overlap of at least one: row of the list, column of the term, overlap and p;
    sorted by row.
    """

    row: np.ndarray
    column: np.ndarray
    overlap: np.ndarray
    p: np.ndarray


@dataclass(frozen=True)
class EnrichmentResult:
    """`frame` has one row a reported test (list, library, accession, term, p, q, odds_ratio,
    overlap, list_size, term_size, genes).

    `meta` says how: engine, family, family_size, background, lists, terms, thresholds and the
    libraries' coverage.
    """

    frame: pd.DataFrame
    meta: dict[str, Any]

    @property
    def sentence(self) -> str:
        """One line for a reader."""
        found = self.frame.loc[self.frame["q"] <= self.meta["q"], "list"].nunique()
        return (
            f"{found} of {self.meta['lists']} lists are enriched in at least one of"
            f" {self.meta['terms']:,} terms at q <= {self.meta['q']:g}"
            f" ({FAMILIES[self.meta['family']]}; {self.meta['family_size']:,} tests)"
        )


def overlaps(
    lists: sparse.csr_matrix,
    incidence: Incidence,
    table: TailTable | None = None,
    *,
    chunk: int = 4096,
) -> Iterator[Hits]:
    """Overlaps and p values of all lists, a block of rows at a time.

    Parameters
    ----------
    lists
        0/1 matrix, lists x background genes (`Incidence.rows`).
    incidence
        Gene sets cut to the background.
    table
        Tail table that covers the list sizes (default: built here).
    chunk
        Lists per block.
    """
    sizes = np.diff(lists.indptr)
    term_sizes = incidence.sizes
    table = table or TailTable(sizes, term_sizes, len(incidence.genes))
    for start in range(0, row_count(lists), chunk):
        block = lists[start : start + chunk]
        product: Any = (block @ incidence.matrix).tocsr()
        row = (
            np.repeat(np.arange(product.shape[0], dtype=np.int64), np.diff(product.indptr)) + start
        )
        k = product.data.astype(np.int64)
        yield Hits(
            row,
            product.indices.astype(np.int64),
            k,
            table.tail(k, term_sizes[product.indices], sizes[row]),
        )


def collect(blocks: Iterator[Hits]) -> Hits:
    """Join blocks of hits."""
    parts = list(blocks)
    if not parts:
        empty = np.zeros(0, dtype=np.int64)
        return Hits(empty, empty, empty, np.zeros(0))
    return Hits(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def correct(
    hits: Hits, lists: int, terms: int, family: Family = "pooled"
) -> tuple[np.ndarray, int]:
    """Q of every hit and the size of the (largest) family; see `FAMILIES`.

    Raises
    ------
    ValueError
        If the family is unknown.
    """
    if family == "pooled":
        return benjamini_hochberg(hits.p, lists * terms), lists * terms
    if family == "feature":
        return benjamini_hochberg_grouped(hits.p, hits.row, np.full(lists, terms)), terms
    if family == "hits":
        counts = np.bincount(hits.row, minlength=lists)
        return benjamini_hochberg_grouped(hits.p, hits.row, counts), int(counts.max(initial=0))
    if family == "overlap2":
        q = np.ones_like(hits.p)
        tested = hits.overlap >= 2
        q[tested] = benjamini_hochberg(hits.p[tested])
        return q, int(tested.sum())
    raise ValueError(f"unknown family {family!r}; expected one of {', '.join(FAMILIES)}")


def enrich(
    lists: Mapping[str, Sequence[str]],
    libraries: Sequence[GeneSetLibrary],
    background: Sequence[str],
    *,
    family: Family = "pooled",
    engine: Literal["exact", "gseapy"] = "exact",
    min_size: int = 5,
    max_size: int = 500,
    min_overlap: int = 1,
    q: float = 0.05,
    max_q: float = 1.0,
) -> EnrichmentResult:
    """Test every list against every term of every library.

    Parameters
    ----------
    lists
        Name -> genes, in the identifiers of the background.
    libraries
        Gene sets (`scircuit.analysis.genesets.library.read_gmt`, `shipped`, `Regulons.library`).
    background
        Genes that could have been listed.
    family
        Family of the Benjamini-Hochberg correction, see `FAMILIES`.
    engine
        ``exact`` (sparse product), or ``gseapy`` as the slow reference; both give the same p,
        overlaps and odds ratios.
    min_size, max_size
        Term sizes kept, counted after intersection with the background.
    min_overlap, max_q
        What is shown; applied after the correction, so they change no q.
    q
        Threshold named in the sentence.

    Raises
    ------
    UserError
        If a library hardly maps to the background.
    ValueError
        If the engine or family is unknown.
    """
    import pandas as pd

    incidence = build(libraries, background, min_size=min_size, max_size=max_size)
    names = list(lists)
    rows = incidence.rows(lists[n] for n in names)
    if engine == "exact":
        hits = collect(overlaps(rows, incidence))
    elif engine == "gseapy":
        from scircuit.analysis.enrichment.gseapy_reference import gseapy_hits

        hits = gseapy_hits(rows, incidence)
    else:
        raise ValueError(f"unknown engine {engine!r}; expected 'exact' or 'gseapy'")
    values, family_size = correct(hits, len(names), len(incidence.terms), family)
    shown = np.flatnonzero((hits.overlap >= min_overlap) & (values <= max_q))
    shown = shown[np.lexsort((hits.column[shown], hits.p[shown], hits.row[shown]))]
    row, column, overlap = hits.row[shown], hits.column[shown], hits.overlap[shown]
    list_size, term_size = np.diff(rows.indptr)[row], incidence.sizes[column]
    terms = [incidence.terms[c] for c in column]
    frame = pd.DataFrame(
        {
            "list": [names[r] for r in row],
            "library": [t.library for t in terms],
            "accession": [t.accession for t in terms],
            "term": [t.name for t in terms],
            "p": hits.p[shown],
            "q": values[shown],
            "odds_ratio": odds_ratio(overlap, term_size, list_size, len(incidence.genes)),
            "overlap": overlap,
            "list_size": list_size,
            "term_size": term_size,
            "genes": shared_genes(rows, incidence, row, column),
        }
    )
    meta = {
        "engine": engine,
        "family": family,
        "family_rule": FAMILIES[family],
        "family_size": family_size,
        "background": len(incidence.genes),
        "lists": len(names),
        "terms": len(incidence.terms),
        "q": q,
        "min_overlap": min_overlap,
        "min_size": min_size,
        "max_size": max_size,
        "libraries": {
            lib.name: {
                "file": lib.file,
                "sha256": lib.sha256,
                "release": lib.release,
                "notes": list(lib.notes),
            }
            for lib in libraries
        },
        "coverage": [c._asdict() for c in incidence.coverage],
    }
    return EnrichmentResult(frame, meta)


def shared_genes(
    rows: sparse.csr_matrix, incidence: Incidence, row: np.ndarray, column: np.ndarray
) -> list[list[str]]:
    """Background genes that list `row[i]` and term `column[i]` share, in background order."""
    by_term = incidence.matrix.tocsc()
    members: dict[int, set[int]] = {}
    found = []
    for r, c in zip(row.tolist(), column.tolist(), strict=True):
        term = members.get(c)
        if term is None:
            term = members[c] = set(
                by_term.indices[by_term.indptr[c] : by_term.indptr[c + 1]].tolist()
            )
        genes = rows.indices[rows.indptr[r] : rows.indptr[r + 1]].tolist()
        found.append([incidence.genes[g] for g in genes if g in term])
    return found

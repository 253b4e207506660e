"""Over-representation of named lists with every family of the correction: what the kernels of
`scircuit.analysis.enrichment` are compared with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from scircuit.analysis.enrichment.fdr import benjamini_hochberg, benjamini_hochberg_grouped
from scircuit.analysis.enrichment.gene_term_matrix import build
from scircuit.analysis.enrichment.gseapy_reference import gseapy_hits
from scircuit.analysis.enrichment.hypergeometric import odds_ratio
from scircuit.analysis.enrichment.overrepresentation import (
    Hits,
    collect,
    overlaps,
    shared_genes,
)
from scircuit.analysis.genesets.library import GeneSetLibrary

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
        Gene sets.
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
    incidence = build(libraries, background, min_size=min_size, max_size=max_size)
    names = list(lists)
    rows = incidence.rows(lists[n] for n in names)
    if engine == "exact":
        hits = collect(overlaps(rows, incidence))
    elif engine == "gseapy":
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

"""The records of an annotate run: Feature findings, genes, terms, libraries and the relationships
between them.

The graph has only the terms that some feature is enriched in, and of their members only the top
genes of some feature. Regulons are stored completely (TRRUST: 8,427 pairs), with modes and papers,
separately for each library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scircuit.analysis.annotation.labels import choose
from scircuit.analysis.annotation.library_records import (
    Closure,
    CoverageRow,
    coverage_of,
    gene_table,
    hierarchy_tables,
    library_table,
    member_tables,
    term_table,
)
from scircuit.analysis.annotation.regulator_tests import mode_counts, tf_share
from scircuit.analysis.annotation.results import ReportedPairs, TestedFeatures
from scircuit.analysis.annotation.top_genes import TopGenes
from scircuit.analysis.enrichment.fdr import benjamini_hochberg
from scircuit.analysis.enrichment.gene_term_matrix import KeptTerm
from scircuit.analysis.enrichment.hypergeometric import odds_ratio
from scircuit.analysis.enrichment.list_blocks import ListBlock
from scircuit.analysis.enrichment.overrepresentation import shared_genes
from scircuit.analysis.genesets.gene_names import GeneNames
from scircuit.core.address import parse
from scircuit.core.schema import schema_table

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from scircuit.analysis.genesets.library import GeneSetLibrary
    from scircuit.analysis.genesets.regulons import Regulons

_CAPTION = 32


class AnnotationTables(NamedTuple):
    """Tables for the shards, one frame with a row a feature, and what became of each library."""

    tables: dict[str, pa.Table]
    frame: pd.DataFrame
    coverage: list[CoverageRow]


def _caption(address: str, label: str) -> str:
    short = parse(address).short
    if len(label) > _CAPTION:
        label = label[: _CAPTION - 1].rstrip() + "…"
    return f"{short} {label}".rstrip()


def build_tables(
    tests: TestedFeatures,
    libraries: Sequence[GeneSetLibrary],
    trrust: Regulons | None,
    names: GeneNames,
    run: str,
    address: Callable[[int, int], str],
    *,
    loads_on: bool = True,
    closed: Mapping[str, Closure],
) -> AnnotationTables:
    """All tables of a run; `loads_on` False leaves out the genes of the features, `closed` are
    libraries closed over an ontology.
    """
    tops = tests.tops
    addresses = [address(int(la), int(ix)) for la, ix in zip(tops.layer, tops.index, strict=True)]
    frame = _feature_frame(addresses, tests, trrust, names)
    columns = {c: frame[c].tolist() for c in frame.columns if c not in ("layer", "index")}
    # features without a list have rows too: what an earlier run wrote on them is removed
    columns |= {
        "annotation_run": [run] * len(addresses),
        "tf_library": [trrust.name if trrust else ""] * len(addresses),
    }
    columns["name"] = [
        _caption(a, label) for a, label in zip(frame["id"], frame["label"], strict=True)
    ]
    coverage = coverage_of(tests, libraries, names)
    found = {"Feature": schema_table("Feature", columns)}
    if loads_on:
        found |= _loads_on(addresses, tops, run)
    found |= _enriched(addresses, tests, trrust, run)
    found["GeneSetLibrary"] = library_table(coverage, libraries)
    found |= member_tables(tests, libraries, names, closed)
    if closed:
        found |= hierarchy_tables(found["Term"], closed)
    if trrust:
        found["Gene-REGULATES-Gene"] = schema_table(
            "Gene-REGULATES-Gene",
            {
                "source": [names.gene_id(p.tf) for p in trrust.pairs],
                "target": [names.gene_id(p.target) for p in trrust.pairs],
                "mode": [p.mode for p in trrust.pairs],
                "pmids": [list(p.pmids) for p in trrust.pairs],
                "library": [trrust.name] * len(trrust.pairs),
            },
        )
    found["Gene"] = gene_table(found, trrust, names)
    return AnnotationTables(found, frame, coverage)


def _feature_frame(
    addresses: list[str], tests: TestedFeatures, trrust: Regulons | None, names: GeneNames
) -> pd.DataFrame:
    import pandas as pd

    tops, rows_of, calibration, reported = (
        tests.tops,
        tests.rows_of,
        tests.calibration,
        tests.reported,
    )
    n = len(addresses)
    columns: dict[str, list[object]] = {
        "label": [""] * n,
        "label_library": [""] * n,
        "label_q": [None] * n,
        "label_null": [None] * n,
        "label_ties": [None] * n,
        "annotated": [False] * n,
        "terms": [0] * n,
        "annotatable_genes": [0] * n,
        "best_tf": [None] * n,
        "best_tf_q": [None] * n,
        "tf_share": [None] * n,
        "tf_share_q": [None] * n,
    }
    counts = np.bincount(reported.feature, minlength=rows_of.size)
    annotatable = np.concatenate([_annotatable(b) for b in tests.blocks])
    for r, f in enumerate(rows_of.tolist()):
        columns["annotatable_genes"][f] = int(annotatable[r])
        columns["terms"][f], columns["annotated"][f] = int(counts[r]), bool(counts[r])
        columns["label_q"][f], columns["label_null"][f] = (
            float(calibration.q[r, 0]),
            float(calibration.p[r, 0]),
        )
    best = choose(
        reported.feature, reported.p, reported.overlap, _sizes(tests, reported), reported.column
    )
    for r, at, ties in zip(
        best.feature.tolist(), best.best.tolist(), best.ties.tolist(), strict=True
    ):
        f, term = rows_of[r], tests.blocks[reported.block[at]].incidence.terms[reported.column[at]]
        columns["label"][f], columns["label_library"][f], columns["label_ties"][f] = (
            term.name,
            term.library,
            ties,
        )
    if trrust:
        _factors(columns, tests, trrust)
    frame = pd.DataFrame(
        {
            "id": addresses,
            "layer": tops.layer,
            "index": tops.index,
            "top_genes": [[names.symbol[g] for g in genes] for genes in tops.genes],
            **columns,
        }
    )
    return frame.astype(object).where(frame.notna(), None)


def _sizes(tests: TestedFeatures, reported: ReportedPairs) -> np.ndarray:
    """Genes of every stored pair's term within the background of its block."""
    sizes = np.zeros(reported.column.size, dtype=np.int64)
    for number, block in enumerate(tests.blocks):
        own = reported.block == number
        sizes[own] = block.incidence.sizes[reported.column[own]]
    return sizes


def _annotatable(block: ListBlock) -> np.ndarray:
    """Genes of every list that are in some term."""
    in_some_term = np.asarray(block.incidence.matrix.sum(axis=1)).ravel() > 0
    return np.asarray(block.rows @ in_some_term.astype(np.int64)).ravel()


def _factors(columns: dict[str, list[object]], tests: TestedFeatures, trrust: Regulons) -> None:
    """Best transcription factor by its targets, and the share of factors among the top genes, of
    every tested feature.
    """
    first = 0
    shares: list[tuple[int, float, float]] = []
    for block, tested in zip(tests.blocks, tests.tested, strict=True):
        at = block.incidence.columns_of(trrust.name)
        hits = tested.hits
        own = np.flatnonzero((hits.column >= at.start) & (hits.column < at.stop))
        best = choose(
            hits.row[own],
            hits.p[own],
            hits.overlap[own],
            block.incidence.sizes[hits.column[own]],
            hits.column[own],
        )
        for r, where in zip(best.feature.tolist(), best.best.tolist(), strict=True):
            f = tests.rows_of[first + r]
            columns["best_tf"][f] = block.incidence.terms[hits.column[own[where]]].accession
            columns["best_tf_q"][f] = float(
                tests.calibration.q[first + r, tests.calibration.scope(trrust.name)]
            )
        if trrust.tfs & {g.upper() for g in block.incidence.genes}:
            found = tf_share(block.rows, block.incidence.genes, trrust.tfs)
            shares += [
                (int(tests.rows_of[first + r]), s, p)
                for r, (s, p) in enumerate(zip(found.share.tolist(), found.p.tolist(), strict=True))
            ]
        first += tested.lists
    # one family over all layers, features that could not be listed included
    q = benjamini_hochberg(
        np.array([p for _, _, p in shares]), sum(b.features for b in tests.blocks)
    )
    for (f, share, _), value in zip(shares, q.tolist(), strict=True):
        columns["tf_share"][f], columns["tf_share_q"][f] = share, value


def _loads_on(addresses: list[str], tops: TopGenes, run: str) -> dict[str, pa.Table]:
    source = [a for a, g in zip(addresses, tops.genes, strict=True) for _ in g]
    return {
        "Feature-LOADS_ON-Gene": schema_table(
            "Feature-LOADS_ON-Gene",
            {
                "source": source,
                "target": [g for genes in tops.genes for g in genes],
                "run": [run] * len(source),
                "rank": [r for genes in tops.genes for r in range(1, len(genes) + 1)],
                "mean_activation": [v for values in tops.mean_activation for v in values],
                "fire_count": [v for values in tops.fire_count for v in values],
            },
        )
    }


def _enriched(
    addresses: list[str], tests: TestedFeatures, trrust: Regulons | None, run: str
) -> dict[str, pa.Table]:
    import pyarrow as pa

    given = {
        "hypergeometric": tests.reported,
        **({"weighted": tests.weighted} if tests.weighted else {}),
    }
    found = [
        _enriched_by(test, reported, addresses, tests, trrust, run)
        for test, reported in given.items()
    ]
    return {
        "Feature-ENRICHED_FOR-Term": pa.concat_tables([table for table, _ in found]),
        "Term": term_table([t for _, terms in found for t in terms]),
    }


def _enriched_by(
    test: str,
    reported: ReportedPairs,
    addresses: list[str],
    tests: TestedFeatures,
    trrust: Regulons | None,
    run: str,
) -> tuple[pa.Table, list[KeptTerm]]:
    terms: list[KeptTerm] = []
    genes: list[list[str]] = []
    order: list[np.ndarray] = [np.zeros(0, dtype=np.int64)]
    ratio: list[np.ndarray] = [np.zeros(0)]
    counted: list[np.ndarray] = [np.zeros((3, 0), dtype=np.int64)]
    for number, block in enumerate(tests.blocks):
        own = np.flatnonzero(reported.block == number)
        row, column = reported.row[own], reported.column[own]
        terms += [block.incidence.terms[c] for c in column.tolist()]
        genes += shared_genes(block.rows, block.incidence, row, column)
        sizes = np.diff(block.rows.indptr)
        ratio.append(
            odds_ratio(
                reported.overlap[own],
                block.incidence.sizes[column],
                sizes[row],
                len(block.incidence.genes),
            )
        )
        background = np.full(own.size, len(block.incidence.genes))
        counted.append(np.stack([block.incidence.sizes[column], sizes[row], background]))
        order.append(own)
    term_genes, listed, background = np.concatenate(counted, axis=1).astype(np.int64).tolist()
    at = ReportedPairs(*(x[np.concatenate(order)] for x in reported))
    up, down = _modes(terms, genes, trrust)

    def numbers(values: np.ndarray) -> list[float | None]:
        return [None if np.isnan(v) else v for v in values.tolist()]

    return (
        schema_table(
            "Feature-ENRICHED_FOR-Term",
            {
                "source": [addresses[tests.rows_of[f]] for f in at.feature.tolist()],
                "target": [t.id for t in terms],
                "run": [run] * len(terms),
                "p": at.p.tolist(),
                "q": at.q.tolist(),
                "q_feature": numbers(at.q_feature),
                "q_layer": numbers(at.q_layer),
                "q_calibrated": numbers(at.q_calibrated),
                "odds_ratio": np.concatenate(ratio).tolist(),
                "activation": up,
                "repression": down,
                "overlap": at.overlap.tolist(),
                "term_genes": term_genes,
                "listed_genes": listed,
                "background_genes": background,
                "genes": genes,
                "library": [t.library for t in terms],
                "test": [test] * len(terms),
                "origin": ["own"] * len(terms),
            },
        ),
        terms,
    )


def _modes(
    terms: Sequence[KeptTerm], genes: Sequence[list[str]], trrust: Regulons | None
) -> tuple[list[int | None], list[int | None]]:
    """Shared targets that the TF of a target set activates and represses; None for other terms."""
    up: list[int | None] = [None] * len(terms)
    down: list[int | None] = [None] * len(terms)
    at = [i for i, t in enumerate(terms) if trrust and t.library == trrust.name]
    if trrust and at:
        activated, repressed = mode_counts(
            trrust, [terms[i].accession for i in at], [genes[i] for i in at]
        )
        for i, a, r in zip(at, activated.tolist(), repressed.tolist(), strict=True):
            up[i], down[i] = a, r
    return up, down

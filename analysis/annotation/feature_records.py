"""The records of an annotate run: Feature findings, genes, terms, libraries and the relationships
between them.

The graph holds what the features touch, not the libraries whole: terms that some feature is
enriched in, and of their members the genes that are a top gene of some feature. Regulons are kept
whole (TRRUST: 8,427 pairs), modes and papers included, each library's apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scircuit.analysis.annotation.calibrated_rates import ListBlock
from scircuit.analysis.annotation.labels import choose
from scircuit.analysis.annotation.library_records import (
    Closure,
    coverage_of,
    gene_table,
    hierarchy_tables,
    library_table,
    member_tables,
    term_table,
)
from scircuit.analysis.annotation.regulator_tests import mode_counts, tf_share
from scircuit.analysis.annotation.results import Outcome, Shown
from scircuit.analysis.annotation.top_genes import TopGenes
from scircuit.analysis.enrichment.fdr import benjamini_hochberg
from scircuit.analysis.enrichment.gene_term_matrix import KeptTerm
from scircuit.analysis.enrichment.hypergeometric import odds_ratio
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


class Found(NamedTuple):
    """Tables for the shards, one frame with a row a feature, and what became of each library."""

    tables: dict[str, pa.Table]
    frame: pd.DataFrame
    coverage: list[dict[str, Any]]


def _caption(address: str, label: str) -> str:
    short = parse(address).short
    if len(label) > _CAPTION:
        label = label[: _CAPTION - 1].rstrip() + "…"
    return f"{short} {label}".rstrip()


def build_tables(
    outcome: Outcome,
    libraries: Sequence[GeneSetLibrary],
    trrust: Regulons | None,
    names: GeneNames,
    run: str,
    address: Callable[[int, int], str],
    *,
    loads_on: bool = True,
    closed: Mapping[str, Closure],
) -> Found:
    """All tables of a run; `loads_on` False leaves out the genes of the features, `closed` are
    libraries closed over an ontology.
    """
    tops = outcome.tops
    addresses = [address(int(la), int(ix)) for la, ix in zip(tops.layer, tops.index, strict=True)]
    frame = _feature_frame(addresses, outcome, trrust, names)
    columns = {c: frame[c].tolist() for c in frame.columns if c not in ("layer", "index")}
    # Features without a list are among the rows: what an earlier run said of them is taken away.
    columns |= {
        "annotation_run": [run] * len(addresses),
        "tf_library": [trrust.name if trrust else ""] * len(addresses),
    }
    columns["name"] = [
        _caption(a, label) for a, label in zip(frame["id"], frame["label"], strict=True)
    ]
    coverage = coverage_of(outcome, libraries, names)
    found = {"Feature": schema_table("Feature", columns)}
    if loads_on:
        found |= _loads_on(addresses, tops, run)
    found |= _enriched(addresses, outcome, trrust, run)
    found["GeneSetLibrary"] = library_table(coverage, libraries)
    found |= member_tables(outcome, libraries, names, closed)
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
    return Found(found, frame, coverage)


def _feature_frame(
    addresses: list[str], outcome: Outcome, trrust: Regulons | None, names: GeneNames
) -> pd.DataFrame:
    import pandas as pd

    tops, rows_of, calibration, shown = (
        outcome.tops,
        outcome.rows_of,
        outcome.calibration,
        outcome.shown,
    )
    n = len(addresses)
    columns: dict[str, list[Any]] = {
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
    counts = np.bincount(shown.feature, minlength=rows_of.size)
    annotatable = np.concatenate([_annotatable(b) for b in outcome.blocks])
    for r, f in enumerate(rows_of.tolist()):
        columns["annotatable_genes"][f] = int(annotatable[r])
        columns["terms"][f], columns["annotated"][f] = int(counts[r]), bool(counts[r])
        columns["label_q"][f], columns["label_null"][f] = (
            float(calibration.q[r, 0]),
            float(calibration.p[r, 0]),
        )
    best = choose(shown.feature, shown.p, shown.overlap, _sizes(outcome, shown), shown.column)
    for r, at, ties in zip(
        best.feature.tolist(), best.best.tolist(), best.ties.tolist(), strict=True
    ):
        f, term = rows_of[r], outcome.blocks[shown.block[at]].incidence.terms[shown.column[at]]
        columns["label"][f], columns["label_library"][f], columns["label_ties"][f] = (
            term.name,
            term.library,
            ties,
        )
    if trrust:
        _factors(columns, outcome, trrust)
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


def _sizes(outcome: Outcome, shown: Shown) -> np.ndarray:
    """Genes of every stored pair's term within the background of its block."""
    sizes = np.zeros(shown.column.size, dtype=np.int64)
    for number, block in enumerate(outcome.blocks):
        own = shown.block == number
        sizes[own] = block.incidence.sizes[shown.column[own]]
    return sizes


def _annotatable(block: ListBlock) -> np.ndarray:
    """Genes of every list that are in some term."""
    in_some_term = np.asarray(block.incidence.matrix.sum(axis=1)).ravel() > 0
    return np.asarray(block.rows @ in_some_term.astype(np.int64)).ravel()


def _factors(columns: dict[str, list[Any]], outcome: Outcome, trrust: Regulons) -> None:
    """Best transcription factor by its targets, and the share of factors among the top genes, of
    every tested feature.
    """
    first = 0
    shares: list[tuple[int, float, float]] = []
    for block, tested in zip(outcome.blocks, outcome.tested, strict=True):
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
            f = outcome.rows_of[first + r]
            columns["best_tf"][f] = block.incidence.terms[hits.column[own[where]]].accession
            columns["best_tf_q"][f] = float(
                outcome.calibration.q[first + r, outcome.calibration.scope(trrust.name)]
            )
        if trrust.tfs & {g.upper() for g in block.incidence.genes}:
            found = tf_share(block.rows, block.incidence.genes, trrust.tfs)
            shares += [
                (int(outcome.rows_of[first + r]), s, p)
                for r, (s, p) in enumerate(zip(found.share.tolist(), found.p.tolist(), strict=True))
            ]
        first += tested.lists
    # one family over all layers, features that could not be listed included
    q = benjamini_hochberg(
        np.array([p for _, _, p in shares]), sum(b.features for b in outcome.blocks)
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
    addresses: list[str], outcome: Outcome, trrust: Regulons | None, run: str
) -> dict[str, pa.Table]:
    import pyarrow as pa

    given = {
        "hypergeometric": outcome.shown,
        **({"weighted": outcome.weighted} if outcome.weighted else {}),
    }
    found = [
        _enriched_by(test, shown, addresses, outcome, trrust, run) for test, shown in given.items()
    ]
    return {
        "Feature-ENRICHED_FOR-Term": pa.concat_tables([table for table, _ in found]),
        "Term": term_table([t for _, terms in found for t in terms]),
    }


def _enriched_by(
    test: str,
    shown: Shown,
    addresses: list[str],
    outcome: Outcome,
    trrust: Regulons | None,
    run: str,
) -> tuple[pa.Table, list[KeptTerm]]:
    terms: list[KeptTerm] = []
    genes: list[list[str]] = []
    order: list[np.ndarray] = [np.zeros(0, dtype=np.int64)]
    ratio: list[np.ndarray] = [np.zeros(0)]
    for number, block in enumerate(outcome.blocks):
        own = np.flatnonzero(shown.block == number)
        row, column = shown.row[own], shown.column[own]
        terms += [block.incidence.terms[c] for c in column.tolist()]
        genes += shared_genes(block.rows, block.incidence, row, column)
        sizes = np.diff(block.rows.indptr)
        ratio.append(
            odds_ratio(
                shown.overlap[own],
                block.incidence.sizes[column],
                sizes[row],
                len(block.incidence.genes),
            )
        )
        order.append(own)
    at = Shown(*(x[np.concatenate(order)] for x in shown))
    up, down = _modes(terms, genes, trrust)

    def numbers(values: np.ndarray) -> list[float | None]:
        return [None if np.isnan(v) else v for v in values.tolist()]

    return (
        schema_table(
            "Feature-ENRICHED_FOR-Term",
            {
                "source": [addresses[outcome.rows_of[f]] for f in at.feature.tolist()],
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

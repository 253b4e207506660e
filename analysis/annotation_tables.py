"""The records of an annotate run: Feature findings, genes, terms, libraries and the relationships between them.

The graph holds what the features touch, not the libraries whole: terms that some feature is enriched in, and of their members the genes
that are a top gene of some feature. TRRUST is kept whole (8,427 pairs), modes and papers included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analysis.annotation_shown import Outcome, Shown
from analysis.calibration import ListBlock
from analysis.enrichment import shared_genes
from analysis.fdr import benjamini_hochberg
from analysis.hypergeometric import odds_ratio
from analysis.incidence import KeptTerm
from analysis.labels import choose
from analysis.top_genes import TopGenes
from analysis.trrust import mode_counts, tf_share
from scircuit.address import parse
from scircuit.records import arrow_schema, conform

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from analysis.genesets import GeneSetLibrary
    from analysis.regulons import Regulons

_CAPTION = 32


class GeneNames:
    """Ensembl ids <-> symbols, for the background and for genes that only occur in the libraries.

    Two Ensembl ids with one symbol cannot be told apart by a symbol-keyed gene set: the one detected in more cells keeps the name, the
    other goes by its Ensembl id (`ambiguous` counts them, `shared` holds their symbols).
    """

    def __init__(self, detection: Mapping[str, float], symbol_of: Callable[[str], str], ensembl_of: Callable[[str], str | None]) -> None:
        ordered = sorted(detection, key=lambda g: (-float(detection[g]), g))
        self._ensembl_of = ensembl_of
        self.symbol: dict[str, str] = {}
        self.ensembl: dict[str, str] = {}
        self.shared: set[str] = set()
        self.ambiguous = 0
        for gene in ordered:
            symbol = symbol_of(gene) or gene
            if symbol.upper() in self.ensembl:
                self.ambiguous += 1
                self.shared.add(symbol.upper())
                symbol = gene
            self.symbol[gene] = symbol
            self.ensembl[symbol.upper()] = gene
        self.background = tuple(self.symbol[g] for g in ordered)

    def known(self, symbol: str) -> bool:
        """Whether a symbol, in any case, has an Ensembl id."""
        return not self.gene_id(symbol).startswith("symbol:")

    def gene_id(self, symbol: str) -> str:
        """Key of the ``Gene`` node: the Ensembl id, or ``symbol:X`` when none is known."""
        found = self.ensembl.get(symbol.upper()) or self._ensembl_of(symbol) or self._ensembl_of(symbol.upper())
        return found or f"symbol:{symbol}"


class Found(NamedTuple):
    """Tables for the shards, one frame with a row a feature, and what became of each library."""

    tables: dict[str, pa.Table]
    frame: pd.DataFrame
    coverage: list[dict[str, Any]]


def _table(kind: str, columns: Mapping[str, Any]) -> pa.Table:
    import pyarrow as pa

    schema = arrow_schema(kind, list(columns))
    return conform(kind, pa.table({f.name: pa.array(columns[f.name], type=f.type) for f in schema}))


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
) -> Found:
    """All tables of a run; `loads_on` False leaves out the genes of the features."""
    tops = outcome.tops
    addresses = [address(int(la), int(ix)) for la, ix in zip(tops.layer, tops.index, strict=True)]
    frame = _feature_frame(addresses, outcome, trrust, names)
    columns = {c: frame[c].tolist() for c in frame.columns if c not in ("layer", "index")}
    columns["name"] = [_caption(a, label) for a, label in zip(frame["id"], frame["label"], strict=True)]
    coverage = _coverage(outcome, libraries, names)
    found = {"Feature": _table("Feature", columns)}
    if loads_on:
        found |= _loads_on(addresses, tops, run)
    found |= _enriched(addresses, outcome, trrust, run)
    found["GeneSetLibrary"] = _libraries(coverage, libraries)
    found |= _members(outcome, libraries, names)
    if trrust:
        found["Gene-REGULATES-Gene"] = _table("Gene-REGULATES-Gene", {
            "source": [names.gene_id(p.tf) for p in trrust.pairs], "target": [names.gene_id(p.target) for p in trrust.pairs],
            "mode": [p.mode for p in trrust.pairs], "pmids": [list(p.pmids) for p in trrust.pairs],
            "library": [trrust.file] * len(trrust.pairs),
        })  # fmt: skip
    found["Gene"] = _genes(found, trrust, names)
    return Found(found, frame, coverage)


def _feature_frame(addresses: list[str], outcome: Outcome, trrust: Regulons | None, names: GeneNames) -> pd.DataFrame:
    import pandas as pd

    tops, rows_of, calibration, shown = outcome.tops, outcome.rows_of, outcome.calibration, outcome.shown
    n = len(addresses)
    columns: dict[str, list[Any]] = {
        "label": [""] * n, "label_library": [""] * n, "label_q": [None] * n, "label_null": [None] * n, "label_ties": [None] * n, "annotated": [False] * n,
        "terms": [0] * n, "annotatable_genes": [0] * n, "best_tf": [None] * n, "best_tf_q": [None] * n, "tf_share": [None] * n, "tf_share_q": [None] * n,
    }  # fmt: skip
    counts = np.bincount(shown.feature, minlength=rows_of.size)
    annotatable = np.concatenate([_annotatable(b) for b in outcome.blocks])
    for r, f in enumerate(rows_of.tolist()):
        columns["annotatable_genes"][f] = int(annotatable[r])
        columns["terms"][f], columns["annotated"][f] = int(counts[r]), bool(counts[r])
        columns["label_q"][f], columns["label_null"][f] = float(calibration.q[r, 0]), float(calibration.p[r, 0])
    best = choose(shown.feature, shown.p, shown.overlap, _sizes(outcome, shown), shown.column)
    for r, at, ties in zip(best.feature.tolist(), best.best.tolist(), best.ties.tolist(), strict=True):
        f, term = rows_of[r], outcome.blocks[shown.block[at]].incidence.terms[shown.column[at]]
        columns["label"][f], columns["label_library"][f], columns["label_ties"][f] = term.name, term.library, ties
    if trrust:
        _factors(columns, outcome, trrust)
    frame = pd.DataFrame({
        "id": addresses, "layer": tops.layer, "index": tops.index, "top_genes": [[names.symbol[g] for g in genes] for genes in tops.genes], **columns,
    })  # fmt: skip
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
    """Best transcription factor by its targets, and the share of factors among the top genes, of every tested feature."""
    first = 0
    shares: list[tuple[int, float, float]] = []
    for block, tested in zip(outcome.blocks, outcome.tested, strict=True):
        at = block.incidence.columns_of(trrust.name)
        hits = tested.hits
        own = np.flatnonzero((hits.column >= at.start) & (hits.column < at.stop))
        best = choose(hits.row[own], hits.p[own], hits.overlap[own], block.incidence.sizes[hits.column[own]], hits.column[own])
        for r, where in zip(best.feature.tolist(), best.best.tolist(), strict=True):
            f = outcome.rows_of[first + r]
            columns["best_tf"][f] = block.incidence.terms[hits.column[own[where]]].accession
            columns["best_tf_q"][f] = float(outcome.calibration.q[first + r, outcome.calibration.scope(trrust.name)])
        if trrust.tfs & {g.upper() for g in block.incidence.genes}:
            found = tf_share(block.rows, block.incidence.genes, trrust.tfs)
            shares += [(int(outcome.rows_of[first + r]), s, p) for r, (s, p) in enumerate(zip(found.share.tolist(), found.p.tolist(), strict=True))]
        first += tested.lists
    # one family over all layers, features that could not be listed included
    q = benjamini_hochberg(np.array([p for _, _, p in shares]), sum(b.features for b in outcome.blocks))
    for (f, share, _), value in zip(shares, q.tolist(), strict=True):
        columns["tf_share"][f], columns["tf_share_q"][f] = share, value


def _loads_on(addresses: list[str], tops: TopGenes, run: str) -> dict[str, pa.Table]:
    source = [a for a, g in zip(addresses, tops.genes, strict=True) for _ in g]
    return {"Feature-LOADS_ON-Gene": _table("Feature-LOADS_ON-Gene", {
        "source": source, "target": [g for genes in tops.genes for g in genes], "run": [run] * len(source),
        "rank": [r for genes in tops.genes for r in range(1, len(genes) + 1)],
        "mean_activation": [v for values in tops.mean_activation for v in values],
        "fire_count": [v for values in tops.fire_count for v in values],
    })}  # fmt: skip


def _enriched(addresses: list[str], outcome: Outcome, trrust: Regulons | None, run: str) -> dict[str, pa.Table]:
    import pyarrow as pa

    given = {"hypergeometric": outcome.shown, **({"weighted": outcome.weighted} if outcome.weighted else {})}
    found = [_enriched_by(test, shown, addresses, outcome, trrust, run) for test, shown in given.items()]
    return {"Feature-ENRICHED_FOR-Term": pa.concat_tables([table for table, _ in found]), "Term": term_table([t for _, terms in found for t in terms])}


def _enriched_by(
    test: str, shown: Shown, addresses: list[str], outcome: Outcome, trrust: Regulons | None, run: str
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
        ratio.append(odds_ratio(shown.overlap[own], block.incidence.sizes[column], sizes[row], len(block.incidence.genes)))
        order.append(own)
    at = Shown(*(x[np.concatenate(order)] for x in shown))
    up, down = _modes(terms, genes, trrust)

    def numbers(values: np.ndarray) -> list[float | None]:
        return [None if np.isnan(v) else v for v in values.tolist()]

    return _table("Feature-ENRICHED_FOR-Term", {
        "source": [addresses[outcome.rows_of[f]] for f in at.feature.tolist()], "target": [t.id for t in terms], "run": [run] * len(terms),
        "p": at.p.tolist(), "q": at.q.tolist(), "q_feature": numbers(at.q_feature), "q_layer": numbers(at.q_layer),
        "q_calibrated": numbers(at.q_calibrated), "odds_ratio": np.concatenate(ratio).tolist(), "activation": up, "repression": down,
        "overlap": at.overlap.tolist(), "genes": genes, "library": [t.library for t in terms], "test": [test] * len(terms), "origin": ["own"] * len(terms),
    }), terms  # fmt: skip


def _modes(terms: Sequence[KeptTerm], genes: Sequence[list[str]], trrust: Regulons | None) -> tuple[list[int | None], list[int | None]]:
    """Shared targets that the TF of a target set activates and represses; None for other terms."""
    up: list[int | None] = [None] * len(terms)
    down: list[int | None] = [None] * len(terms)
    at = [i for i, t in enumerate(terms) if trrust and t.library == trrust.name]
    if trrust and at:
        activated, repressed = mode_counts(trrust, [terms[i].accession for i in at], [genes[i] for i in at])
        for i, a, r in zip(at, activated.tolist(), repressed.tolist(), strict=True):
            up[i], down[i] = a, r
    return up, down


def term_table(terms: Sequence[KeptTerm]) -> pa.Table:
    """Node table of the terms; backgrounds of several layers may hold different numbers of a term's genes, and the largest is kept."""
    largest: dict[str, KeptTerm] = {}
    for t in terms:
        if t.id not in largest or largest[t.id].size_in_background < t.size_in_background:
            largest[t.id] = t
    hit = sorted(largest.values(), key=lambda t: t.id)
    return _table("Term", {
        "id": [t.id for t in hit], "name": [t.name for t in hit], "library": [t.library for t in hit],
        "accession": [t.accession for t in hit], "size": [t.size for t in hit], "size_in_background": [t.size_in_background for t in hit],
    })  # fmt: skip


def library_id(library: GeneSetLibrary) -> str:
    """Key of the ``GeneSetLibrary`` node: name and hash, so two releases are two nodes."""
    return f"{library.name}:{library.sha256[:12]}"


def _coverage(outcome: Outcome, libraries: Sequence[GeneSetLibrary], names: GeneNames) -> list[dict[str, Any]]:
    """Terms kept in some layer, and genes in the background of some layer (mapped), of them those whose symbol several Ensembl ids share, and lost."""
    known = {g.upper() for g in names.background}
    kept: dict[str, set[str]] = {}
    for incidence in {id(b.incidence): b.incidence for b in outcome.blocks}.values():
        for t in incidence.terms:
            kept.setdefault(t.library, set()).add(t.accession)
    return [
        {"library": lib.name, "terms_read": len(lib.terms), "terms_kept": len(kept.get(lib.name, ())), "genes_mapped": len(lib.genes & known),
         "genes_ambiguous": len(lib.genes & names.shared), "genes_lost": len(lib.genes - known)}
        for lib in libraries
    ]  # fmt: skip


def _libraries(coverage: Sequence[Mapping[str, Any]], libraries: Sequence[GeneSetLibrary]) -> pa.Table:
    return _table("GeneSetLibrary", {
        "id": [library_id(lib) for lib in libraries], "name": [lib.name for lib in libraries], "file": [lib.file for lib in libraries],
        "sha256": [lib.sha256 for lib in libraries], "release": [lib.release for lib in libraries],
        "licence": [lib.licence for lib in libraries], "terms": [c["terms_kept"] for c in coverage],
        **{name: [c[name] for c in coverage] for name in ("genes_mapped", "genes_ambiguous", "genes_lost")},
    })  # fmt: skip


def _members(outcome: Outcome, libraries: Sequence[GeneSetLibrary], names: GeneNames) -> dict[str, pa.Table]:
    of_library = {lib.name: library_id(lib) for lib in libraries}
    listed = {names.symbol[g].upper() for row in outcome.tops.genes for g in row}
    stored: dict[str, KeptTerm] = {}
    pairs: set[tuple[str, str]] = set()
    for number, block in enumerate(outcome.blocks):
        by_term = block.incidence.matrix.tocsc()
        stored_here = [s.column[s.block == number] for s in (outcome.shown, outcome.weighted) if s is not None]
        for c in np.unique(np.concatenate(stored_here)).tolist():
            term = stored.setdefault(block.incidence.terms[c].id, block.incidence.terms[c])
            members = (block.incidence.genes[g] for g in by_term.indices[by_term.indptr[c] : by_term.indptr[c + 1]].tolist())
            pairs.update((names.gene_id(g), term.id) for g in members if g.upper() in listed)
    source, target = zip(*sorted(pairs), strict=True) if pairs else ((), ())
    terms = sorted(stored)
    return {
        "Gene-MEMBER_OF-Term": _table("Gene-MEMBER_OF-Term", {"source": list(source), "target": list(target)}),
        "Term-MEMBER_OF-GeneSetLibrary": _table(
            "Term-MEMBER_OF-GeneSetLibrary", {"source": terms, "target": [of_library[stored[t].library] for t in terms]}
        ),
    }


def _genes(found: Mapping[str, pa.Table], trrust: Regulons | None, names: GeneNames) -> pa.Table:
    ids: set[str] = set()
    written = {names.gene_id(s): s for p in (trrust.pairs if trrust else ()) for s in (p.tf, p.target)}
    for kind, column in (("Feature-LOADS_ON-Gene", "target"), ("Gene-MEMBER_OF-Term", "source"),
                         ("Gene-REGULATES-Gene", "source"), ("Gene-REGULATES-Gene", "target")):  # fmt: skip
        if kind in found:
            ids.update(found[kind].column(column).to_pylist())
    tfs = trrust.tfs if trrust else set()
    ordered = sorted(ids)
    symbols = [names.symbol.get(g) or written.get(g) or g.removeprefix("symbol:") for g in ordered]
    return _table("Gene", {"id": ordered, "name": symbols, "symbol": symbols, "is_tf": [s.upper() in tfs for s in symbols]})

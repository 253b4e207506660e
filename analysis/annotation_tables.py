"""The records of an annotate run: Feature findings, genes, terms, libraries and the relationships between them.

The graph holds what the features touch, not the libraries whole: terms that some feature is enriched in, and of their members the genes
that are a top gene of some feature. TRRUST is kept whole (8,427 pairs), modes and papers included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analysis.enrichment import Hits, shared_genes
from analysis.hypergeometric import odds_ratio
from analysis.incidence import Incidence, row_count
from scircuit.address import parse
from scircuit.records import arrow_schema, conform

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from scipy import sparse

    from analysis.annotation import AnnotateOptions, TopGenes
    from analysis.genesets import GeneSetLibrary
    from analysis.matched_null import Calibration
    from analysis.trrust import Regulons

_CAPTION = 32


class GeneNames:
    """Ensembl ids <-> symbols, for the background and for genes that only occur in the libraries.

    Two Ensembl ids with one symbol cannot be told apart by a symbol-keyed gene set: the one detected in more cells keeps the name, the
    other goes by its Ensembl id (`ambiguous` counts them).
    """

    def __init__(
        self, seen: Iterable[str], symbol_of: Callable[[str], str], ensembl_of: Callable[[str], str | None], detection: Mapping[str, float]
    ) -> None:
        ordered = sorted(set(seen), key=lambda g: (-float(detection.get(g, 0.0)), g))
        self._ensembl_of = ensembl_of
        self.symbol: dict[str, str] = {}
        self.ensembl: dict[str, str] = {}
        self.ambiguous = 0
        for gene in ordered:
            symbol = symbol_of(gene) or gene
            if symbol.upper() in self.ensembl:
                self.ambiguous += 1
                symbol = gene
            self.symbol[gene] = symbol
            self.ensembl[symbol.upper()] = gene
        self.background = tuple(self.symbol[g] for g in ordered)
        self.detection = np.array([float(detection.get(g, 0.0)) for g in ordered])

    def known(self, symbol: str) -> bool:
        """Whether a symbol, in any case, has an Ensembl id."""
        return not self.gene_id(symbol).startswith("symbol:")

    def gene_id(self, symbol: str) -> str:
        """Key of the ``Gene`` node: the Ensembl id, or ``symbol:X`` when none is known."""
        found = self.ensembl.get(symbol.upper()) or self._ensembl_of(symbol) or self._ensembl_of(symbol.upper())
        return found or f"symbol:{symbol}"


class Found(NamedTuple):
    """Tables for the shards, and one frame with a row a feature."""

    tables: dict[str, pa.Table]
    frame: pd.DataFrame


def _table(kind: str, columns: Mapping[str, Any]) -> pa.Table:
    import pyarrow as pa

    schema = arrow_schema(kind, list(columns))
    return conform(kind, pa.table({f.name: pa.array(columns[f.name], type=f.type) for f in schema}))


def _best(hits: Hits, use: np.ndarray, sizes: np.ndarray, lists: int) -> np.ndarray:
    """Position of the best hit of every list (-1: none): smallest p, then larger overlap, smaller term, earlier column."""
    at = np.flatnonzero(use)
    order = at[np.lexsort((hits.column[at], sizes[hits.column[at]], -hits.overlap[at], hits.p[at], hits.row[at]))]
    rows, first = np.unique(hits.row[order], return_index=True)
    best = np.full(lists, -1, dtype=np.int64)
    best[rows] = order[first]
    return best


def _caption(address: str, label: str) -> str:
    short = parse(address).short
    if len(label) > _CAPTION:
        label = label[: _CAPTION - 1].rstrip() + "…"
    return f"{short} {label}".rstrip()


def build_tables(
    tops: TopGenes,
    tested: np.ndarray,
    rows: sparse.csr_matrix,
    hits: Hits,
    shown: np.ndarray,
    q_pooled: np.ndarray,
    calibration: Calibration,
    incidence: Incidence,
    libraries: Sequence[GeneSetLibrary],
    trrust: Regulons | None,
    names: GeneNames,
    config: AnnotateOptions,
    run: str,
    address: Callable[[int, int], str],
) -> Found:
    """All tables of a run; `tested` maps rows of `rows` to features of `tops`, `shown` are positions in `hits`."""
    addresses = [address(int(la), int(ix)) for la, ix in zip(tops.layer, tops.index, strict=True)]
    frame = _feature_frame(addresses, tops, tested, rows, hits, calibration, incidence, trrust, names, config)
    columns = {c: frame[c].tolist() for c in frame.columns if c not in ("layer", "index")}
    columns["name"] = [_caption(a, label) for a, label in zip(frame["id"], frame["label"], strict=True)]
    found = {"Feature": _table("Feature", columns)}
    found |= _loads_on(addresses, tops, run)
    found |= _enriched(addresses, tested, rows, hits, shown, q_pooled, incidence, run)
    found |= _libraries(incidence, libraries)
    found |= _members(hits, shown, incidence, tops, libraries, names)
    if trrust:
        found["Gene-REGULATES-Gene"] = _table("Gene-REGULATES-Gene", {
            "source": [names.gene_id(p.tf) for p in trrust.pairs], "target": [names.gene_id(p.target) for p in trrust.pairs],
            "mode": [p.mode for p in trrust.pairs], "pmids": [list(p.pmids) for p in trrust.pairs],
            "library": [trrust.file] * len(trrust.pairs),
        })  # fmt: skip
    found["Gene"] = _genes(found, trrust, names)
    return Found(found, frame)


def _feature_frame(
    addresses: list[str], tops: TopGenes, tested: np.ndarray, rows: sparse.csr_matrix, hits: Hits,
    calibration: Calibration, incidence: Incidence, trrust: Regulons | None, names: GeneNames, config: AnnotateOptions,
) -> pd.DataFrame:  # fmt: skip
    import pandas as pd

    sizes, count = incidence.sizes, row_count(rows)
    q_all = calibration.q["all"]
    two = hits.overlap >= 2
    best = _best(hits, two, sizes, count)
    annotated = (q_all <= config.q) & (best >= 0)
    in_some_term = np.asarray(incidence.matrix.sum(axis=1)).ravel() > 0
    annotatable = np.asarray(rows @ in_some_term.astype(np.int64)).ravel()
    at_threshold = np.bincount(hits.row[two & (hits.p <= calibration.threshold["all"])], minlength=count)
    frame = pd.DataFrame({
        "id": addresses, "layer": tops.layer, "index": tops.index,
        "top_genes": [[names.symbol[g] for g in genes] for genes in tops.genes],
        "label": "", "label_library": "", "label_q": np.nan, "annotated": False, "terms": 0, "annotatable_genes": 0,
        "best_tf": None, "best_tf_q": np.nan,
    })  # fmt: skip
    columns = {c: frame[c].tolist() for c in ("label", "label_library", "label_q", "annotated", "terms", "annotatable_genes", "best_tf", "best_tf_q")}
    tf_best = _best(hits, two & np.isin(hits.column, _columns(incidence, trrust.name)), sizes, count) if trrust else None
    for r, f in enumerate(tested.tolist()):
        columns["annotatable_genes"][f] = int(annotatable[r])
        columns["terms"][f] = int(at_threshold[r]) if annotated[r] else 0
        columns["annotated"][f] = bool(annotated[r])
        columns["label_q"][f] = float(q_all[r])
        if annotated[r]:
            term = incidence.terms[hits.column[best[r]]]
            columns["label"][f], columns["label_library"][f] = term.name, term.library
        if tf_best is not None and trrust is not None and tf_best[r] >= 0:
            columns["best_tf"][f] = incidence.terms[hits.column[tf_best[r]]].accession
            columns["best_tf_q"][f] = float(calibration.q[trrust.name][r])
    for name, values in columns.items():
        frame[name] = values
    return frame.astype(object).where(frame.notna(), None)


def _columns(incidence: Incidence, library: str) -> np.ndarray:
    at = incidence.columns_of(library)
    return np.arange(at.start, at.stop)


def _loads_on(addresses: list[str], tops: TopGenes, run: str) -> dict[str, pa.Table]:
    source = [a for a, g in zip(addresses, tops.genes, strict=True) for _ in g]
    return {"Feature-LOADS_ON-Gene": _table("Feature-LOADS_ON-Gene", {
        "source": source, "target": [g for genes in tops.genes for g in genes], "run": [run] * len(source),
        "rank": [r for genes in tops.genes for r in range(1, len(genes) + 1)],
        "mean_activation": [v for values in tops.mean_activation for v in values],
        "fire_count": [v for values in tops.fire_count for v in values],
    })}  # fmt: skip


def _enriched(
    addresses: list[str], tested: np.ndarray, rows: sparse.csr_matrix, hits: Hits, shown: np.ndarray, q: np.ndarray, incidence: Incidence, run: str
) -> dict[str, pa.Table]:
    row, column, overlap = hits.row[shown], hits.column[shown], hits.overlap[shown]
    terms = [incidence.terms[c] for c in column]
    ratio = odds_ratio(overlap, incidence.sizes[column], np.diff(rows.indptr)[row], len(incidence.genes))
    hit = [incidence.terms[c] for c in np.unique(column)]
    enriched = {
        "source": [addresses[tested[r]] for r in row], "target": [t.id for t in terms], "run": [run] * len(terms),
        "p": hits.p[shown].tolist(), "q": q[shown].tolist(), "odds_ratio": ratio.tolist(), "overlap": overlap.tolist(),
        "genes": shared_genes(rows, incidence, row, column), "library": [t.library for t in terms],
        "test": ["hypergeometric"] * len(terms), "origin": ["own"] * len(terms),
    }  # fmt: skip
    nodes = {
        "id": [t.id for t in hit], "name": [t.name for t in hit], "library": [t.library for t in hit],
        "accession": [t.accession for t in hit], "size": [t.size for t in hit], "size_in_background": [t.size_in_background for t in hit],
    }  # fmt: skip
    return {"Feature-ENRICHED_FOR-Term": _table("Feature-ENRICHED_FOR-Term", enriched), "Term": _table("Term", nodes)}


def library_id(library: GeneSetLibrary) -> str:
    """Key of the ``GeneSetLibrary`` node: name and hash, so two releases are two nodes."""
    return f"{library.name}:{library.sha256[:12]}"


def _libraries(incidence: Incidence, libraries: Sequence[GeneSetLibrary]) -> dict[str, pa.Table]:
    coverage = {c.library: c for c in incidence.coverage}
    ids = [library_id(lib) for lib in libraries]
    nodes = {
        "id": ids, "name": [lib.name for lib in libraries], "file": [lib.file for lib in libraries],
        "sha256": [lib.sha256 for lib in libraries], "release": [lib.release for lib in libraries],
        "licence": [lib.licence for lib in libraries], "terms": [coverage[lib.name].terms_kept for lib in libraries],
        "genes_mapped": [coverage[lib.name].genes_mapped for lib in libraries],
        "genes_lost": [coverage[lib.name].genes_lost for lib in libraries],
    }  # fmt: skip
    return {"GeneSetLibrary": _table("GeneSetLibrary", nodes)}


def _members(
    hits: Hits, shown: np.ndarray, incidence: Incidence, tops: TopGenes, libraries: Sequence[GeneSetLibrary], names: GeneNames
) -> dict[str, pa.Table]:
    of_library = {lib.name: library_id(lib) for lib in libraries}
    columns = np.unique(hits.column[shown])
    listed = np.zeros(len(incidence.genes), dtype=bool)
    listed[[incidence.index[names.symbol[g].upper()] for g in {g for row in tops.genes for g in row}]] = True
    by_term = incidence.matrix.tocsc()
    source, target = [], []
    for c in columns.tolist():
        members = by_term.indices[by_term.indptr[c] : by_term.indptr[c + 1]]
        chosen = members[listed[members]]
        source += [names.gene_id(incidence.genes[g]) for g in chosen.tolist()]
        target += [incidence.terms[c].id] * chosen.size
    terms = [incidence.terms[c] for c in columns]
    return {
        "Gene-MEMBER_OF-Term": _table("Gene-MEMBER_OF-Term", {"source": source, "target": target}),
        "Term-MEMBER_OF-GeneSetLibrary": _table(
            "Term-MEMBER_OF-GeneSetLibrary", {"source": [t.id for t in terms], "target": [of_library[t.library] for t in terms]}
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

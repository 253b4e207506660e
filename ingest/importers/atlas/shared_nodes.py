"""Nodes that the layers of an atlas share: model, dictionaries, genes, terms with members, modules,
cell types, knock-downs.

Genes are keyed by Ensembl id, so that atlases share them; terms by library and accession, cell
types and tissues by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from scircuit.core.address import Address
from scircuit.core.schema import schema_table
from scircuit.ingest.importers.atlas.atlas_terms import (
    LIBRARIES,
    Term,
    TermLibrary,
    caption,
    short_label,
    unique_terms,
)
from scircuit.ingest.importers.atlas.global_files import MODULE_METHOD, GlobalFiles, Group
from scircuit.ingest.importers.atlas.known_atlases import Atlas

if TYPE_CHECKING:
    import pyarrow as pa


class Genes:
    """Symbols of an atlas and their nodes.

    Parameters
    ----------
    gene_ids
        Symbol -> Ensembl id of every known gene.
    symbols
        Symbols in the lists of top genes.
    upper
        Symbols in overlaps and gene sets, all upper case (``C17ORF58`` for ``C17orf58``).
    """

    def __init__(
        self, gene_ids: Mapping[str, str], symbols: Iterable[str], upper: Iterable[str]
    ) -> None:
        known = {s.upper(): s for s in gene_ids}
        self.symbol: dict[str, str] = {}
        self.id: dict[str, str] = {}
        self._nodes: dict[str, str] = {}
        for symbol in sorted(set(symbols)):
            self.symbol.setdefault(symbol.upper(), symbol)
            self._add(symbol, gene_ids, known)
        for symbol in sorted(set(upper) - set(self.symbol)):
            self.symbol[symbol] = known.get(symbol, symbol)
            self._add(self.symbol[symbol], gene_ids, known)
        self.merged = len(self.id) - len(self._nodes)
        self.unknown = sum(i.startswith("symbol:") for i in self._nodes)

    def _add(self, symbol: str, gene_ids: Mapping[str, str], known: Mapping[str, str]) -> None:
        found = (
            gene_ids.get(symbol)
            or gene_ids.get(known.get(symbol.upper(), ""))
            or f"symbol:{symbol}"
        )
        self.id[symbol] = found
        self._nodes.setdefault(found, symbol)

    def ids_of(self, symbols: list[str]) -> pa.Array:
        """Ids of the nodes of many symbols."""
        import pyarrow as pa

        coded = pa.array(symbols, pa.string()).dictionary_encode()
        return pa.array([self.id[s] for s in coded.dictionary.to_pylist()], pa.string()).take(
            coded.indices
        )

    def of_upper(self, symbol: str) -> str:
        """Id of the node of an upper-case symbol."""
        return self.id[self.symbol[symbol]]

    def table(self) -> pa.Table:
        """The ``Gene`` nodes."""
        symbols = list(self._nodes.values())
        return schema_table("Gene", {"id": list(self._nodes), "name": symbols, "symbol": symbols})

    def __len__(self) -> int:
        return len(self._nodes)


def model_tables(
    atlas: Atlas, layers: Sequence[int], found: GlobalFiles, missing: Mapping[int, Sequence[str]]
) -> dict[str, pa.Table]:
    """Model and dictionaries, with the atlas' statements about each layer as JSON."""
    ids = [atlas.dictionary_id(layer) for layer in layers]
    summaries = []
    for layer in layers:
        parts = {
            "layer": found.layers.get(layer),
            "svd": found.summaries.get("svd", {}).get(layer),
            "tracking": found.summaries.get("tracking", {}).get(layer),
        }
        parts = {k: v for k, v in parts.items() if v} | (
            {"missing": list(missing[layer])} if missing.get(layer) else {}
        )
        summaries.append(json.dumps(parts, sort_keys=True) if parts else None)
    model = {
        "id": [atlas.model],
        "name": [atlas.model],
        "layers": [atlas.layers],
        "family": [atlas.family or None],
        "width": [atlas.hidden or None],
        "positions": [atlas.longest or None],
    }
    of = len(layers)
    dictionaries = {
        "id": ids,
        "name": [f"{atlas.dictionary} L{layer:02d}" for layer in layers],
        "model": [atlas.model] * of,
        "set": [atlas.dictionary] * of,
        "layer": list(layers),
        "features": [atlas.width] * of,
        "k": [atlas.k or None] * of,
        "rule": ["topk" if atlas.k else None] * of,
        "decoder_norm": ["rows" if atlas.k else None] * of,
        "variance_explained": [
            stated if isinstance(stated := found.layers.get(layer, {}).get(key), float) else None
            for key in ("variance_explained",)
            for layer in layers
        ],
        "trained_on": [atlas.trained_on or None] * of,
        "alive": [found.layers.get(layer, {}).get("alive") for layer in layers],
        "published_annotated": [found.layers.get(layer, {}).get("annotated") for layer in layers],
        "summary": summaries,
    }
    return {
        "Model": schema_table("Model", model),
        "Dictionary": schema_table("Dictionary", dictionaries),
        "Dictionary-OF-Model": schema_table(
            "Dictionary-OF-Model", {"source": ids, "target": [atlas.model] * of}
        ),
        "Dictionary-NEXT-Dictionary": schema_table(
            "Dictionary-NEXT-Dictionary", {"source": ids[:-1], "target": ids[1:]}
        ),
    }


def term_tables(
    named: Sequence[Term], library: TermLibrary, genes: Genes
) -> tuple[dict[str, pa.Table], list[str]]:
    """Terms, their reconstructed members and their libraries; and the ids of the libraries."""
    of = {t: library.terms.get(t, (None, [])) for t in unique_terms([*library.terms, *named])}
    nodes = {
        "id": [t.id for t in of],
        "name": [t.name for t in of],
        "library": [t.library for t in of],
        "accession": [t.accession for t in of],
        "size": [size for size, _ in of.values()],
    }
    source = [genes.of_upper(g.upper()) for _, members in of.values() for g in members]
    target = [t.id for t, (_, members) in of.items() for _ in members]
    libraries = {
        name: library.id(name) for name in LIBRARIES.values() if any(t.library == name for t in of)
    }
    kept = [t for t in of if t.library in libraries]
    count = len(libraries)
    release = (
        "reconstructed from published odds ratios: complete in size, members as far as they"
        " occurred in an overlap"
        if library.file
        else "not stated"
    )
    return {
        "Term": schema_table("Term", nodes),
        "Gene-MEMBER_OF-Term": schema_table(
            "Gene-MEMBER_OF-Term",
            {"source": source, "target": target, "origin": ["reconstructed"] * len(source)},
        ),
        "GeneSetLibrary": schema_table(
            "GeneSetLibrary",
            {
                "id": list(libraries.values()),
                "name": list(libraries),
                "file": [library.file or None] * count,
                "sha256": [library.sha256 or None] * count,
                "release": [release] * count,
                "licence": ["not stated"] * count,
                "terms": [sum(t.library == name for t in of) for name in libraries],
            },
        ),
        "Term-MEMBER_OF-GeneSetLibrary": schema_table(
            "Term-MEMBER_OF-GeneSetLibrary",
            {"source": [t.id for t in kept], "target": [libraries[t.library] for t in kept]},
        ),
    }, list(libraries.values())


def group_table(groups: Sequence[Group]) -> pa.Table:
    """Modules, and clusters of features without annotation."""
    return schema_table(
        "Module",
        {
            "id": [g.id for g in groups],
            "name": [
                f"L{g.layer:02d} {'module' if g.method == MODULE_METHOD else 'cluster'} {g.index}"
                + (f" {caption(short_label(g.top_terms[0]))}" if g.top_terms else "")
                for g in groups
            ],
            "layer": [g.layer for g in groups],
            "size": [len(g.features) for g in groups],
            "method": [g.method for g in groups],
            "index": [g.index for g in groups],
            "top_terms": [g.top_terms for g in groups],
            "genes": [g.genes for g in groups],
            "overlap": [g.overlap for g in groups],
            "firing_rate": [g.firing_rate for g in groups],
        },
    )


def named_tables(
    cell_types: Mapping[str, int | None], tissues: Iterable[str]
) -> dict[str, pa.Table]:
    """Cell types with their cells, where stated, and tissues."""
    names, organs = sorted(cell_types), sorted(tissues)
    return {
        "CellType": schema_table(
            "CellType", {"id": names, "name": names, "cells": [cell_types[n] for n in names]}
        ),
        "Tissue": schema_table("Tissue", {"id": organs, "name": organs}),
    }


def perturbation_table(found: GlobalFiles, genes: Mapping[str, str]) -> pa.Table:
    """Knock-downs; `genes` gives the Ensembl id of a symbol."""
    rows = found.targets
    columns: dict[str, Sequence[object]] = {
        key: [row[key] for row in rows]
        for key in ("symbol", "is_tf", "regulated", "responding", "specific", "top_features")
    }
    symbols = [str(row["symbol"]) for row in rows]
    names = [f"knockdown {symbol}" for symbol in symbols]
    return schema_table(
        "Perturbation",
        {
            "id": names,
            "name": names,
            "gene": [genes.get(s, f"symbol:{s}") for s in symbols],
            **columns,
        },
    )


def link_table(atlas: Atlas, found: GlobalFiles) -> pa.Table:
    """Links between layers, the lower layer first."""
    links = found.links
    ends = [
        [str(Address(atlas.model, atlas.dictionary, *end)) for end in side]
        for side in ([x.source for x in links], [x.target for x in links])
    ]
    return schema_table(
        "Feature-CO_OCCURS-Feature",
        {
            "source": ends[0],
            "target": ends[1],
            "pmi": [x.pmi for x in links],
            "rank": [x.rank for x in links],
            "method": [atlas.links] * len(links),
        },
    )

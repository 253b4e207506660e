"""``scircuit import atlas``: a published feature atlas (Geneformer, scGPT) as records; what it does
not give is listed, and an import is complete or absent.

Published annotations stay published: ``ENRICHED_FOR`` with ``origin = "published"``, the adjusted p
of the source in `q` and no `p`; labels from calibration (`label`, `annotated`) are not changed.
Properties of missing files stay empty; the files are named in the notes, in the findings and on the
``Dictionary`` of their layer. Without the features file of a layer, only the features that other
files name are imported.
"""

from __future__ import annotations

import gc
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scircuit.core.address import Address
from scircuit.core.config import ImportAtlasConfig
from scircuit.core.errors import UserError
from scircuit.core.schema import schema_table
from scircuit.ingest.importers.atlas.atlas_sentences import AtlasFindings, notes, sentences
from scircuit.ingest.importers.atlas.atlas_terms import (
    NO_LIBRARY,
    TermLibrary,
    library_path,
    read_library,
)
from scircuit.ingest.importers.atlas.global_files import (
    GLOBAL_FILES,
    MIN_CONTROL_FIRINGS,
    MODULE_METHOD,
    GlobalFiles,
    check_layer,
    read_global,
    stated_shape,
)
from scircuit.ingest.importers.atlas.json_fields import (
    LIST,
    check_type,
    find_files,
    mismatch,
    read_document,
)
from scircuit.ingest.importers.atlas.known_atlases import Atlas, recognise
from scircuit.ingest.importers.atlas.layer_file import LAYER_FILES, Layer, read_layer
from scircuit.ingest.importers.atlas.layer_tables import layer_tables
from scircuit.ingest.importers.atlas.shared_nodes import (
    Genes,
    group_table,
    link_table,
    model_tables,
    named_tables,
    perturbation_table,
    term_tables,
)
from scircuit.ingest.importers.source import Source, Tables

if TYPE_CHECKING:
    import pyarrow as pa

_FILE = re.compile(
    r"layer_(?P<layer>\d{2,3})_(?P<kind>"
    + "|".join(LAYER_FILES)
    + r")\.json|"
    + "|".join(re.escape(n) for n in GLOBAL_FILES)
)
LACKS = ("edges", "cells")


def read(config: ImportAtlasConfig, gene_ids: Mapping[str, str]) -> Source:
    """Read and check an atlas.

    Parameters
    ----------
    config
        Folder, term library and names.
    gene_ids
        Gene symbol -> Ensembl id.

    Raises
    ------
    UserError
        If the folder holds no atlas, or a file is damaged, has another form or contradicts another
        one.
    """
    collecting = gc.isenabled()
    # millions of small objects without a cycle: collecting garbage takes longer than reading
    gc.disable()
    try:
        return _read(config, gene_ids)
    finally:
        if collecting:
            gc.enable()


def _read(config: ImportAtlasConfig, gene_ids: Mapping[str, str]) -> Source:
    folder = Path(config.path)
    files = find_files(folder, _FILE)
    layer_files: dict[int, dict[str, Path]] = {}
    for name, path in files.items():
        match = _FILE.fullmatch(name)
        if match and match["layer"]:
            layer_files.setdefault(int(match["layer"]), {})[match["kind"]] = path
    first = min(
        (layer for layer, kinds in layer_files.items() if "features" in kinds), default=None
    )
    if first is None:
        what = f"{len(files)} other files of an atlas" if files else "no file of an atlas"
        below = sorted({p.parent.name for p in folder.glob("*/layer_*_features.json*")})
        fix = (
            f"give one of its folders: {', '.join(below)}"
            if below
            else "give the folder with the atlas' JSON files (public/data of its web page)"
        )
        raise UserError(
            f"{folder} has no layer_NN_features.json and {what}: there are no features to import",
            fix,
        )
    documents = {name: read_document(files[name]) for name in GLOBAL_FILES if name in files}
    layers, width = stated_shape(documents)
    sample = read_document(
        layer_files[first]["features"]
    )  # its length is the width where nothing states it
    atlas = recognise(layers, width or len(check_type(sample.value, LIST, sample.name)), config)
    outside = sorted(layer for layer in layer_files if layer >= atlas.layers)
    if outside:
        raise mismatch(
            f"there are files of layer {outside[0]}, but the atlas has {atlas.layers} layers"
        )

    found = read_global(atlas, documents)
    hashes = {name: d.sha256 for name, d in documents.items()}
    not_json = {name: d.infinite + d.nan for name, d in documents.items()}
    read_layers: dict[int, Layer] = {}
    for layer in range(atlas.layers):
        parts = {
            kind: read_document(path) if path != layer_files[first]["features"] else sample
            for kind, path in layer_files.get(layer, {}).items()
        }
        hashes |= {d.name: d.sha256 for d in parts.values()}
        not_json |= {d.name: d.infinite + d.nan for d in parts.values()}
        one = read_layer(atlas, layer, parts)
        check_layer(found, layer, one.module, one.counts, "modules.json" in documents)
        one.index = sorted({*one.index, *found.mentioned(layer)})
        read_layers[layer] = one

    path = library_path(folder, config.terms)
    library = read_library(path) if path else NO_LIBRARY
    if path:
        hashes[library.file] = library.sha256
    return _source(
        atlas,
        found,
        read_layers,
        library,
        gene_ids,
        layer_files,
        hashes,
        {k: n for k, n in not_json.items() if n},
        [n for n in GLOBAL_FILES if n not in documents and n not in atlas.never],
    )


def _source(
    atlas: Atlas,
    found: GlobalFiles,
    layers: Mapping[int, Layer],
    library: TermLibrary,
    gene_ids: Mapping[str, str],
    layer_files: Mapping[int, Mapping[str, Path]],
    hashes: Mapping[str, str],
    not_json: Mapping[str, int],
    no_global: Sequence[str],
) -> Source:
    missing = {
        layer: [k for k in LAYER_FILES if k not in layer_files.get(layer, {})] for layer in layers
    }
    symbols = {s for one in layers.values() for s in one.symbols}
    upper = {g.upper() for _, members in library.terms.values() for g in members}
    genes = Genes(gene_ids, symbols, upper)
    named = [t for one in layers.values() for t in one.terms]
    cell_types: dict[str, int | None] = {}
    for one in layers.values():
        cell_types = {
            **one.cell_types,
            **{k: v for k, v in cell_types.items() if v is not None or k not in one.cell_types},
        }
    tissues = {t for one in layers.values() for t in one.tissues}

    of_terms, libraries = term_tables(named, library, genes)
    shared = {
        **model_tables(atlas, list(layers), found, missing),
        **of_terms,
        **named_tables(cell_types, tissues),
        "Gene": genes.table(),
        "Module": group_table(found.groups),
        "Perturbation": perturbation_table(found, gene_ids),
    }
    units: dict[str, Tables] = {"nodes": lambda: shared}
    for layer, one in layers.items():
        units[f"L{layer:02d}"] = partial(_layer_tables, atlas, found, one, genes)
    units["links"] = lambda: {"Feature-CO_OCCURS-Feature": link_table(atlas, found)}

    counts = Counter({"features": sum(len(one.index) for one in layers.values())})
    for one in layers.values():
        counts.update(one.counts)
    findings = _findings(atlas, found, layers, library, counts, missing, not_json, shared, genes)
    return Source(
        format="atlas",
        name=f"{atlas.model}/{atlas.dictionary}",
        files=hashes,
        units=units,
        origin=atlas.origin,
        lacks=LACKS,
        findings=findings,
        sentences=sentences(findings),
        notes=notes(findings, no_global),
        uses={
            "Model": (atlas.model,),
            "Dictionary": tuple(atlas.dictionary_id(layer) for layer in layers),
            "GeneSetLibrary": tuple(libraries),
        },
    )


def _layer_tables(
    atlas: Atlas, found: GlobalFiles, one: Layer, genes: Genes
) -> dict[str, pa.Table]:
    """Tables of a layer, with its module members and its responses to knock-downs."""
    causal = found.causal if one.layer == found.patched else {}
    result = layer_tables(one, atlas, genes.ids_of, genes.symbol, causal)
    groups = [g for g in found.groups if g.layer == one.layer]

    def address(index: int) -> str:
        return str(Address(atlas.model, atlas.dictionary, one.layer, index))

    member = "Feature-MEMBER_OF-Module"
    result[member] = schema_table(
        member,
        {
            "source": [address(f) for g in groups for f in g.features],
            "target": [g.id for g in groups for _ in g.features],
        },
    )
    if one.layer == found.patched and found.responses:
        fired = [
            None if one.fire_count is None else int(one.fire_count[r.index])
            for r in found.responses
        ]
        kind = "Feature-RESPONDS_TO-Perturbation"
        result[kind] = schema_table(
            kind,
            {
                "source": [address(r.index) for r in found.responses],
                "target": [f"knockdown {r.symbol}" for r in found.responses],
                "effect": [r.effect for r in found.responses],
                "control_firings": fired,
                "degenerate": [None if n is None else n < MIN_CONTROL_FIRINGS for n in fired],
            },
        )
    return result


def _findings(
    atlas: Atlas,
    found: GlobalFiles,
    layers: Mapping[int, Layer],
    library: TermLibrary,
    counts: Mapping[str, int],
    missing: Mapping[int, list[str]],
    not_json: Mapping[str, int],
    shared: Mapping[str, pa.Table],
    genes: Genes,
) -> AtlasFindings:
    """Numbers for the manifest."""
    gene_lists = {layer: one.tables.get("Feature-LOADS_ON-Gene") for layer, one in layers.items()}
    infinite = sum(
        int(np.sum(links.columns["odds_infinite"]))
        for one in layers.values()
        for links in one.tables.values()
        if "odds_infinite" in links.columns
    )
    fired = layers[found.patched].fire_count if found.patched in layers else None
    responses = (
        [(abs(r.effect), int(fired[r.index])) for r in found.responses] if fired is not None else []
    )
    tested = {
        layer: one.counts["tested_features"]
        for layer, one in layers.items()
        if "tested_features" in one.counts
    }
    return {
        "model": atlas.model,
        "dictionary": atlas.dictionary,
        "layers": atlas.layers,
        "features_per_layer": atlas.width,
        "counts": dict(sorted(counts.items())),
        "layers_with_features": [
            layer for layer, kinds in missing.items() if "features" not in kinds
        ],
        "features_named_only": sum(
            len(one.index) for layer, one in layers.items() if "features" in missing[layer]
        ),
        "missing": {str(layer): kinds for layer, kinds in missing.items() if kinds},
        "feature_genes": {
            str(layer): len(links.owner) if links else 0 for layer, links in gene_lists.items()
        },
        "tested_features": {str(k): n for k, n in tested.items()},
        "annotated_by_layer": {
            str(layer): one.counts.get("annotated") for layer, one in layers.items()
        },
        "alive_by_layer": {str(layer): one.counts.get("alive") for layer, one in layers.items()},
        "infinite_odds": infinite,
        "not_json": dict(not_json),
        "published_totals": found.totals,
        "published_summaries": {
            k: v for k, v in found.summaries.items() if k not in ("svd", "tracking")
        },
        "term_library": library.file,
        "backgrounds": library.backgrounds.get(f"{atlas.family}_atlas", {}),
        "genes": len(genes),
        "genes_unknown": genes.unknown,
        "genes_merged": genes.merged,
        "terms": shared["Term"].num_rows,
        "memberships": shared["Gene-MEMBER_OF-Term"].num_rows,
        "groups": len(found.groups),
        "links": len(found.links),
        "modules": sum(g.method == MODULE_METHOD for g in found.groups),
        "responses": len(found.responses),
        "degenerate": sum(n < MIN_CONTROL_FIRINGS for _, n in responses),
        "degenerate_large": sum(e > 0.5 and n < MIN_CONTROL_FIRINGS for e, n in responses),
        "large": sum(e > 0.5 for e, _ in responses),
    }

"""``scircuit import atlas``: a published feature atlas (Geneformer, scGPT) as records, with what it
lacks said and nothing half.

Published annotations stay published: ``ENRICHED_FOR`` with ``origin = "published"``, the adjusted p
of the source in `q` and no `p`; the labels that calibration gives (`label`, `annotated`) are not
touched. Files that are missing leave their properties empty, are named in the notes, in the
findings and on the ``Dictionary`` of their layer; features of a layer without a features file are
there as far as other files name them.
"""

from __future__ import annotations

import gc
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scircuit.core.address import Address
from scircuit.core.config import ImportAtlasConfig
from scircuit.core.errors import UserError
from scircuit.core.schema import schema_table
from scircuit.ingest.importers.atlas import atlas_terms as terms
from scircuit.ingest.importers.atlas import global_files as whole
from scircuit.ingest.importers.atlas import json_fields as js
from scircuit.ingest.importers.atlas import layer_file as per_layer
from scircuit.ingest.importers.atlas import shared_nodes as nodes
from scircuit.ingest.importers.atlas.atlas_sentences import notes, sentences
from scircuit.ingest.importers.atlas.known_atlases import Atlas, recognise
from scircuit.ingest.importers.atlas.layer_tables import layer_tables
from scircuit.ingest.importers.source import Source, Tables

if TYPE_CHECKING:
    import pyarrow as pa

_FILE = re.compile(
    r"layer_(?P<layer>\d{2,3})_(?P<kind>"
    + "|".join(per_layer.KINDS)
    + r")\.json|"
    + "|".join(re.escape(n) for n in whole.GLOBAL)
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
    # millions of small objects without a cycle: looking through them takes longer than reading them
    gc.disable()
    try:
        return _read(config, gene_ids)
    finally:
        if collecting:
            gc.enable()


def _read(config: ImportAtlasConfig, gene_ids: Mapping[str, str]) -> Source:
    folder = Path(config.path)
    files = js.find(folder, _FILE)
    layer_files: dict[int, dict[str, Path]] = {}
    for name, path in files.items():
        match = _FILE.fullmatch(name)
        if match and match["layer"]:
            layer_files.setdefault(int(match["layer"]), {})[match["kind"]] = path
    first = min(
        (layer for layer, kinds in layer_files.items() if "features" in kinds), default=None
    )
    if first is None:
        what = f"{len(files)} of an atlas' other files" if files else "no file of an atlas"
        below = sorted({p.parent.name for p in folder.glob("*/layer_*_features.json*")})
        fix = (
            f"give one of the folders in it: {', '.join(below)}"
            if below
            else "give the folder with the atlas' JSON files (public/data of its web page)"
        )
        raise UserError(
            f"{folder} holds no layer_NN_features.json and {what}: there are no features to import",
            fix,
        )
    documents = {name: js.read(files[name]) for name in whole.GLOBAL if name in files}
    layers, width = whole.shape(documents)
    sample = js.read(
        layer_files[first]["features"]
    )  # its length is the width where nothing states it
    atlas = recognise(layers, width or len(js.typed(sample.value, js.LIST, sample.name)), config)
    outside = sorted(layer for layer in layer_files if layer >= atlas.layers)
    if outside:
        raise js.mismatch(
            f"there are files of layer {outside[0]}, the atlas has {atlas.layers} layers"
        )

    found = whole.read_global(atlas, documents)
    hashes = {name: d.sha256 for name, d in documents.items()}
    odd = {name: d.infinite + d.nan for name, d in documents.items()}
    read_layers: dict[int, per_layer.Layer] = {}
    for layer in range(atlas.layers):
        parts = {
            kind: js.read(path) if path != layer_files[first]["features"] else sample
            for kind, path in layer_files.get(layer, {}).items()
        }
        hashes |= {d.name: d.sha256 for d in parts.values()}
        odd |= {d.name: d.infinite + d.nan for d in parts.values()}
        one = per_layer.read_layer(atlas, layer, parts)
        whole.check_layer(found, layer, one.module, one.counts, "modules.json" in documents)
        one.index = sorted({*one.index, *found.mentioned(layer)})
        read_layers[layer] = one

    path = terms.library_path(folder, config.terms)
    library = terms.read_library(path) if path else terms.NO_LIBRARY
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
        {k: n for k, n in odd.items() if n},
        [n for n in whole.GLOBAL if n not in documents and n not in atlas.never],
    )


def _source(
    atlas: Atlas,
    found: whole.Global,
    layers: Mapping[int, per_layer.Layer],
    library: terms.Library,
    gene_ids: Mapping[str, str],
    layer_files: Mapping[int, Mapping[str, Path]],
    hashes: Mapping[str, str],
    odd: Mapping[str, int],
    no_global: Sequence[str],
) -> Source:
    missing = {
        layer: [k for k in per_layer.KINDS if k not in layer_files.get(layer, {})]
        for layer in layers
    }
    symbols = {s for one in layers.values() for s in one.symbols}
    upper = {g.upper() for _, members in library.terms.values() for g in members}
    genes = nodes.Genes(gene_ids, symbols, upper)
    named = [t for one in layers.values() for t in one.terms]
    cell_types: dict[str, int | None] = {}
    for one in layers.values():
        cell_types = {
            **one.cell_types,
            **{k: v for k, v in cell_types.items() if v is not None or k not in one.cell_types},
        }
    tissues = {t for one in layers.values() for t in one.tissues}

    term_tables, libraries = nodes.term_tables(named, library, genes)
    shared = {
        **nodes.model_tables(atlas, list(layers), found, missing),
        **term_tables,
        **nodes.named_tables(cell_types, tissues),
        "Gene": genes.table(),
        "Module": nodes.group_table(found.groups),
        "Perturbation": nodes.perturbation_table(found, gene_ids),
    }
    units: dict[str, Tables] = {"nodes": lambda: shared}
    for layer, one in layers.items():
        units[f"L{layer:02d}"] = partial(_layer_tables, atlas, found, one, genes)
    units["links"] = lambda: {"Feature-CO_OCCURS-Feature": nodes.link_table(atlas, found)}

    counts = Counter({"features": sum(len(one.index) for one in layers.values())})
    for one in layers.values():
        counts.update(one.counts)
    findings = _findings(atlas, found, layers, library, counts, missing, odd, shared, genes)
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
    atlas: Atlas, found: whole.Global, one: per_layer.Layer, genes: nodes.Genes
) -> dict[str, pa.Table]:
    """Tables of a layer: its own, its members of modules and its responses to knock-downs."""
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
                "degenerate": [None if n is None else n < whole.MIN_CONTROL_FIRINGS for n in fired],
            },
        )
    return result


def _findings(
    atlas: Atlas,
    found: whole.Global,
    layers: Mapping[int, per_layer.Layer],
    library: terms.Library,
    counts: Mapping[str, int],
    missing: Mapping[int, list[str]],
    odd: Mapping[str, int],
    shared: Mapping[str, Any],
    genes: nodes.Genes,
) -> dict[str, Any]:
    """Numbers for the manifest; lists of layers are 0-based."""
    lists = {
        layer: one.tables.get("Feature-LOADS_ON-Gene", {"owner": ()})["owner"]
        for layer, one in layers.items()
    }
    infinite = sum(
        int(columns["odds_infinite"].sum())
        for one in layers.values()
        for columns in one.tables.values()
        if "odds_infinite" in columns
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
        "feature_genes": {str(layer): len(owner) for layer, owner in lists.items()},
        "tested_features": {str(k): n for k, n in tested.items()},
        "annotated_by_layer": {
            str(layer): one.counts.get("annotated") for layer, one in layers.items()
        },
        "alive_by_layer": {str(layer): one.counts.get("alive") for layer, one in layers.items()},
        "infinite_odds": infinite,
        "not_json": dict(odd),
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
        "modules": sum(g.method == whole.MODULE_METHOD for g in found.groups),
        "responses": len(found.responses),
        "degenerate": sum(n < whole.MIN_CONTROL_FIRINGS for _, n in responses),
        "degenerate_large": sum(e > 0.5 and n < whole.MIN_CONTROL_FIRINGS for e, n in responses),
        "large": sum(e > 0.5 for e, _ in responses),
    }

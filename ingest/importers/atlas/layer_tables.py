"""The columns of one layer of an atlas as Arrow tables; each distinct id and gene is looked up
once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from scircuit.core.address import Address
from scircuit.core.schema import arrow_schema
from scircuit.ingest.importers.atlas.atlas_terms import caption
from scircuit.ingest.importers.atlas.known_atlases import Atlas
from scircuit.ingest.importers.atlas.layer_file import Column, Layer

if TYPE_CHECKING:
    import pyarrow as pa


def layer_tables(
    found: Layer,
    atlas: Atlas,
    gene_of: Callable[[list[str]], pa.Array],
    symbol_of: Mapping[str, str],
    more: Mapping[str, Mapping[int, float | str | None]],
) -> dict[str, pa.Table]:
    """Arrow tables of a layer.

    Parameters
    ----------
    gene_of
        Symbols -> ids of the ``Gene`` nodes.
    symbol_of
        Upper-case symbol -> symbol as the atlas writes it.
    more
        Further ``Feature`` properties, by name: index -> value.
    """
    import pyarrow as pa

    ids = pa.array(found.ids(atlas))
    result = {"Feature": _feature_table(found, atlas, more)}
    result["Feature-OF-Dictionary"] = pa.table(
        {
            "source": result["Feature"].column("id"),
            "target": pa.repeat(atlas.dictionary_id(found.layer), len(found.index)),
        }
    )
    for kind, links in found.tables.items():
        schema = arrow_schema(kind, links.columns)
        to_genes = kind == "Feature-LOADS_ON-Gene"
        ends = {
            "source": ids.take(pa.array(links.owner)),
            "target": (
                gene_of(links.target.tolist()) if to_genes else pa.array(links.target, pa.string())
            ),
        }
        arrays = [
            ends[column.name]
            if column.name in ends
            else _property(column, links.columns[column.name], len(links.owner), symbol_of)
            for column in schema
        ]
        result[kind] = pa.table(arrays, schema=schema)
    return result


def _property(
    declared: pa.Field, values: Column, rows: int, symbol_of: Mapping[str, str]
) -> pa.Array:
    """One property of the relationships of a kind."""
    import pyarrow as pa

    if isinstance(values, str):
        return pa.repeat(values, rows)
    if declared.name == "genes":
        return pa.array([[symbol_of.get(g, g) for g in one] for one in values], declared.type)
    if declared.name == "odds_infinite":  # stored only where true: most have an odds ratio
        infinite = np.asarray(values)
        return pa.array(infinite, pa.bool_(), mask=~infinite)
    return _array(values, declared.type)


def _array(values: np.ndarray | list, type_: pa.DataType) -> pa.Array:
    """Values with NaN as null."""
    import pyarrow as pa

    if isinstance(values, np.ndarray) and values.dtype.kind == "f":
        null = np.isnan(values)
        return pa.array(np.where(null, 0.0, values), pa.float64(), mask=null).cast(type_)
    return pa.array(values, type_)


def _feature_table(
    found: Layer, atlas: Atlas, more: Mapping[str, Mapping[int, float | str | None]]
) -> pa.Table:
    import pyarrow as pa

    at = np.array(found.index, dtype=np.int64)
    dictionary = atlas.dictionary_id(found.layer)
    addresses = [Address(atlas.model, atlas.dictionary, found.layer, i) for i in found.index]
    captions = found.feature.get("caption", [""] * atlas.width)
    columns: dict[str, np.ndarray | list] = {
        "id": [str(a) for a in addresses],
        "name": [f"{a.short} {caption(captions[a.index])}".rstrip() for a in addresses],
        "model": [atlas.model] * len(at),
        "dictionary": [dictionary] * len(at),
        "layer": np.full(len(at), found.layer),
        "index": at,
    }
    for name, values in found.feature.items():
        if name != "caption":
            columns[name] = (
                values[at] if isinstance(values, np.ndarray) else [values[i] for i in found.index]
            )
    for name, known in more.items():
        columns[name] = [known.get(i) for i in found.index]
    genes = found.tables.get("Feature-LOADS_ON-Gene")
    if genes is not None:
        lists: dict[int, list[str]] = {}
        for owner, gene in zip(genes.owner.tolist(), genes.target, strict=True):
            lists.setdefault(owner, []).append(gene)
        columns["top_genes"] = [lists.get(i) for i in found.index]
    if found.module is not None:
        columns["module"] = [
            f"{dictionary}/M{m:02d}" if m >= 0 else None for m in found.module.tolist()
        ]
    schema = arrow_schema("Feature", [c for c in columns if c != "id"])
    return pa.table([_array(columns[f.name], f.type) for f in schema], schema=schema)

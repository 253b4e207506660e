"""The columns of one layer of an atlas as Arrow tables: whole columns at once, ids and genes looked
up once for each distinct one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from scircuit.core.address import Address
from scircuit.core.schema import arrow_schema
from scircuit.ingest.importers.atlas.atlas_terms import caption
from scircuit.ingest.importers.atlas.known_atlases import Atlas
from scircuit.ingest.importers.atlas.layer_file import Layer

if TYPE_CHECKING:
    import pyarrow as pa


def layer_tables(
    found: Layer,
    atlas: Atlas,
    gene_of: Callable[[list[str]], pa.Array],
    symbol_of: Mapping[str, str],
    more: Mapping[str, Mapping[int, Any]],
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
    for kind, columns in found.tables.items():
        schema = arrow_schema(kind, [c for c in columns if c not in ("owner", "target")])
        rows = len(columns["owner"])
        arrays = []
        for part in schema:
            if part.name == "source":
                arrays.append(ids.take(pa.array(columns["owner"])))
                continue
            if part.name == "target":
                arrays.append(
                    gene_of(columns["target"].tolist())
                    if kind == "Feature-LOADS_ON-Gene"
                    else pa.array(columns["target"], pa.string())
                )
                continue
            value = columns[part.name]
            if isinstance(value, str):
                arrays.append(pa.repeat(value, rows))
            elif part.name == "genes":
                arrays.append(
                    pa.array([[symbol_of.get(g, g) for g in one] for one in value], part.type)
                )
            elif part.name == "odds_infinite":
                arrays.append(
                    pa.array(value, pa.bool_(), mask=~value)
                )  # said where it holds: most have an odds ratio
            else:
                arrays.append(_array(value, part.type))
        result[kind] = pa.table(arrays, schema=schema)
    return result


def _array(values: Any, type_: pa.DataType) -> pa.Array:
    """Values with NaN as null."""
    import pyarrow as pa

    if isinstance(values, np.ndarray) and values.dtype.kind == "f":
        null = np.isnan(values)
        return pa.array(np.where(null, 0.0, values), pa.float64(), mask=null).cast(type_)
    return pa.array(values, type_)


def _feature_table(found: Layer, atlas: Atlas, more: Mapping[str, Mapping[int, Any]]) -> pa.Table:
    import pyarrow as pa

    at = np.array(found.index, dtype=np.int64)
    dictionary = atlas.dictionary_id(found.layer)
    addresses = [Address(atlas.model, atlas.dictionary, found.layer, i) for i in found.index]
    captions = found.feature.get("caption", [""] * atlas.width)
    columns: dict[str, Any] = {
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
        for owner, gene in zip(genes["owner"].tolist(), genes["target"], strict=True):
            lists.setdefault(owner, []).append(gene)
        columns["top_genes"] = [lists.get(i) for i in found.index]
    if found.module is not None:
        columns["module"] = [
            f"{dictionary}/M{m:02d}" if m >= 0 else None for m in found.module.tolist()
        ]
    schema = arrow_schema("Feature", [c for c in columns if c != "id"])
    return pa.table([_array(columns[f.name], f.type) for f in schema], schema=schema)

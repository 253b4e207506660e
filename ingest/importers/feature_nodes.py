"""The nodes of imported features: model, dictionaries, and the features by their addresses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from scircuit.core.address import Address, dictionary_id
from scircuit.core.errors import UserError
from scircuit.core.schema import arrow_schema, conform

if TYPE_CHECKING:
    import pyarrow as pa

Key = tuple[int, int]  # layer, index
_LARGEST = (999, 9_999_999)  # layer and index that an address can have


def kind_table(kind: str, rows: Iterable[Mapping[str, object]]) -> pa.Table:
    """Rows as a table of a kind, without properties that no row has."""
    import pyarrow as pa

    listed = list(rows)
    names: dict[str, None] = {}
    for row in listed:
        names.update(dict.fromkeys(k for k, v in row.items() if v is not None))
    return conform(kind, pa.Table.from_pylist(listed, schema=arrow_schema(kind, names)))


def feature_tables(
    model: str,
    dictionary: str,
    features: Mapping[Key, Mapping[str, object]],
    sizes: Mapping[int, int] | None = None,
) -> dict[str, pa.Table]:
    """Model, dictionaries and features as tables by kind.

    Parameters
    ----------
    model, dictionary
        Names in addresses.
    features
        (layer, index) -> further properties of the feature.
    sizes
        Layer -> latents of its dictionary, where known.

    Raises
    ------
    UserError
        If a layer or index cannot be part of an address, or exceeds the size of its dictionary.
    """
    for layer, index in features:
        if not (0 <= layer <= _LARGEST[0] and 0 <= index <= _LARGEST[1]):
            raise UserError(
                f"layer {layer}, feature {index} is not a valid address: layers go from 0 to"
                f" {_LARGEST[0]}, indices from 0 to {_LARGEST[1]:,}",
                "check which column is which",
            )
        if sizes and index >= sizes.get(layer, index + 1):
            raise UserError(
                f"feature {index} of layer {layer} exceeds its dictionary, which has"
                f" {sizes[layer]:,} latents",
                "check the model and its dictionaries",
            )
    layers = sorted({layer for layer, _ in features})
    ids = {layer: dictionary_id(model, dictionary, layer) for layer in layers}
    rows = []
    for (layer, index), more in sorted(features.items()):
        address = Address(model, dictionary, layer, index)
        rows.append(
            {
                "id": str(address),
                "name": address.short,
                "model": model,
                "dictionary": ids[layer],
                "layer": layer,
                "index": index,
                **more,
            }
        )
    known = sizes or {}
    return {
        "Model": kind_table("Model", [{"id": model, "name": model}]),
        "Dictionary": kind_table(
            "Dictionary",
            [
                {
                    "id": ids[t],
                    "name": f"{dictionary} L{t:02d}",
                    "model": model,
                    "set": dictionary,
                    "layer": t,
                    "features": known.get(t),
                }
                for t in layers
            ],
        ),
        "Feature": kind_table("Feature", rows),
        "Dictionary-OF-Model": kind_table(
            "Dictionary-OF-Model", [{"source": ids[t], "target": model} for t in layers]
        ),
        "Feature-OF-Dictionary": kind_table(
            "Feature-OF-Dictionary", [{"source": r["id"], "target": r["dictionary"]} for r in rows]
        ),
    }


def used_nodes(tables: Mapping[str, pa.Table]) -> dict[str, tuple[str, ...]]:
    """Ids of the models and dictionaries in these tables, which the run uses."""
    return {
        label: tuple(tables[label].column("id").to_pylist()) for label in ("Model", "Dictionary")
    }

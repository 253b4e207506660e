"""Column names that tell ``neo4j-admin database import`` ids, ends and lists, generated from
`scircuit.core.schema`.

A column of a Parquet file is named as in a CSV header: ``id:ID(Feature)``, ``:START_ID(Feature)``,
``:END_ID(Term)``. Plain types come from the file; lists are written as text with ``;`` between the
items, because not every supported version reads other lists from Parquet. The tool stores no empty
text or list, and streaming does the same. Ids are grouped by label, so two labels can use the same
id.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from scircuit.core import schema
from scircuit.core.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

DELIMITER = ";"
_LISTS = {"str[]": "string[]", "int[]": "long[]", "float[]": "double[]"}


def bulk_headers(kind: str, columns: Iterable[str]) -> dict[str, str]:
    """Map the columns of a kind to the import tool's names, keys first.

    Raises
    ------
    ValueError
        If the kind or a column is not declared.
    """
    names: list[str] = list(schema.arrow_schema(kind, columns).names)
    if kind in schema.NODES:
        keys: dict[str, str] = {"id": f"id:ID({kind})"}
    else:
        relationship = schema.RELATIONSHIPS[kind]
        keys = {
            "source": f":START_ID({relationship.source})",
            "target": f":END_ID({relationship.target})",
        }
    lists = {
        p.name: f"{p.name}:{_LISTS[p.type]}" for p in schema.properties_of(kind) if p.type in _LISTS
    }
    return {name: {**lists, **keys}.get(name, name) for name in names}


def bulk_table(kind: str, table: pa.Table) -> pa.Table:
    """Rename and encode a conformed table for the import tool, without its empty columns.

    Raises
    ------
    UserError
        If a list cannot be written with the tool's delimiter; streaming has no such limit.
    """
    import pyarrow as pa

    keys = schema.keys_of(kind)
    kept = [
        n for n in table.column_names if n in keys or table.column(n).null_count < table.num_rows
    ]
    headers = bulk_headers(kind, kept)
    arrays = []
    for name in headers:
        column = table.column(name)
        if pa.types.is_list(column.type):
            column = pa.array(
                [_joined(kind, name, item) for item in column.to_pylist()], pa.string()
            )
        arrays.append(column)
    return pa.table(arrays, names=list(headers.values()))


def _joined(kind: str, name: str, items: list[object] | None) -> str | None:
    if items is None:
        return None
    texts = [repr(item) if isinstance(item, float) else str(item) for item in items]
    bad = next((t for t in texts if DELIMITER in t or t != t.strip() or '"' in t or not t), None)
    if bad is not None:
        raise UserError(
            f"{kind}.{name} has the list item {bad!r}, which the import tool cannot read (it is"
            f" empty, has quotes or outer spaces, or contains {DELIMITER!r})",
            "load the runs by streaming instead: scircuit load",
        )
    return DELIMITER.join(texts)

"""Tables of a kind in their declared Arrow types; anything undeclared is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from scircuit.core.schema.kinds import RETIRED, SCHEMA_VERSION, keys_of, properties_of

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Column = Sequence[object] | np.ndarray | pa.Array | pa.ChunkedArray


def arrow_schema(kind: str, columns: Iterable[str] | None = None) -> pa.Schema:
    """Arrow schema of a kind: keys first, then the properties in declared order.

    Parameters
    ----------
    kind
        Node label or ``Source-TYPE-Target``.
    columns
        Restrict to these properties (keys are always there); default all declared ones.

    Raises
    ------
    ValueError
        If the kind or a column is not declared.
    """
    import pyarrow as pa

    types = {
        "str": pa.string(),
        "int": pa.int64(),
        "float": pa.float64(),
        "bool": pa.bool_(),
        "str[]": pa.list_(pa.string()),
        "int[]": pa.list_(pa.int64()),
        "float[]": pa.list_(pa.float64()),
    }
    declared = {p.name: p for p in properties_of(kind)}
    keys = keys_of(kind)
    wanted = (set(declared) if columns is None else set(columns)) - set(keys)
    unknown = sorted(wanted - set(declared))
    if unknown:
        raise ValueError(
            f"{kind} has no property {', '.join(unknown)}; declared:"
            f" {', '.join(declared) or 'none'}. Declare it first, with its unit and source, in"
            " scircuit/core/schema"
        )
    fields = [pa.field(k, pa.string(), nullable=False) for k in keys]
    fields += [pa.field(p.name, types[p.type]) for p in declared.values() if p.name in wanted]
    return pa.schema(
        fields, metadata={"scircuit.kind": kind, "scircuit.schema": str(SCHEMA_VERSION)}
    )


def schema_table(kind: str, columns: Mapping[str, Column]) -> pa.Table:
    """Table of a kind from its columns, in the declared types; errors as `conform`."""
    import pyarrow as pa

    schema = arrow_schema(kind, list(columns))
    return conform(kind, pa.table({f.name: pa.array(columns[f.name], type=f.type) for f in schema}))


def without_retired(kind: str, table: pa.Table) -> pa.Table:
    """The table without properties that an earlier version of the schema declared for its kind. A
    table of this version keeps all its columns, so that an undeclared one is still refused.
    """
    written = (table.schema.metadata or {}).get(b"scircuit.schema", b"")
    if not written.isdigit() or int(written) >= SCHEMA_VERSION:
        return table
    gone = [name for name in RETIRED.get(kind, ()) if name in table.column_names]
    return table.drop_columns(gone) if gone else table


def conform(kind: str, table: pa.Table) -> pa.Table:
    """Cast a table to the declared schema of its kind, columns in declared order.

    Raises
    ------
    ValueError
        If a key is missing, null or empty, a column is not declared, or a value cannot be cast
        without loss.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    keys = keys_of(kind)
    missing = [k for k in keys if k not in table.column_names]
    if missing:
        raise ValueError(
            f"{kind} table lacks the key column {', '.join(missing)}; it has"
            f" {', '.join(table.column_names)}"
        )
    schema = arrow_schema(kind, table.column_names)
    try:
        cast = pa.table([table.column(f.name).cast(f.type) for f in schema], names=schema.names)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"{kind} table does not fit the declared types: {error}") from error
    for key in keys:
        is_empty = pc.call_function("equal", [cast.column(key), pa.scalar("")])
        empty = pc.call_function("sum", [is_empty]).as_py() or 0
        if without := cast.column(key).null_count + empty:
            raise ValueError(f"{kind} table has {without} rows without {key!r}")
    return cast.replace_schema_metadata(schema.metadata)

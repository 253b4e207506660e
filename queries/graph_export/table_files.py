"""A part of the graph as tables: Parquet by kind, and the node and edge files that BioCypher writes
for ``neo4j-admin database import``.

Tables are written as they are read, so memory holds one of them at a time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from scircuit.core import schema as records
from scircuit.queries.graph_export.graph_part import (
    Part,
    Tables,
    clashing_ids,
    plain_ids,
    weight_of,
)

if TYPE_CHECKING:
    import pyarrow as pa

_BREAKS = re.compile("[\r\n]+")
# BioCypher's usual ";" is what recent import tools take for the delimiter of vectors
DELIMITER, ARRAY_DELIMITER = "\t", "|"


def write_parquet(part: Part, folder: Path) -> list[str]:
    """Write ``<label>.parquet`` and ``<Source-TYPE-Target>.parquet``; the field metadata of a
    declared property says what it is.

    Returns
    -------
    list of str
        The files.
    """
    import pyarrow.parquet as pq

    written = []
    for kind, tables in (*part.nodes.items(), *part.edges.items()):
        schema = _described(kind, union_schema(tables))
        name = f"{kind}.parquet"
        with pq.ParquetWriter(folder / name, schema, compression="zstd") as writer:
            for table in tables():
                writer.write_table(fitted(table, schema))
        written.append(name)
    return written


def union_schema(tables: Tables) -> pa.Schema:
    """Columns of all tables of a kind, keys first."""
    import pyarrow as pa

    schemas = {table.schema.remove_metadata() for table in tables()}
    schema = pa.unify_schemas(sorted(schemas, key=lambda s: -len(s)), promote_options="permissive")
    keys = [n for n in ("id", "source", "target") if n in schema.names]
    return pa.schema(
        [schema.field(n) for n in (*keys, *(n for n in schema.names if n not in keys))]
    )


def fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Table with exactly these columns; those it lacks are null."""
    import pyarrow as pa

    columns = [
        (
            table.column(f.name).cast(f.type)
            if f.name in table.column_names
            else pa.nulls(table.num_rows, f.type)
        )
        for f in schema
    ]
    return pa.table(columns, schema=schema)


def _described(kind: str, schema: pa.Schema) -> pa.Schema:
    import pyarrow as pa

    declared = (
        {p.name: p for p in records.properties_of(kind)}
        if kind in records.NODES or kind in records.RELATIONSHIPS
        else {}
    )
    fields = [
        (
            f.with_metadata({"description": declared[f.name].doc, "unit": declared[f.name].unit})
            if f.name in declared
            else f
        )
        for f in schema
    ]
    weight, meaning = weight_of(kind) if "-" in kind else ("", "")
    return pa.schema(
        fields,
        metadata={
            "scircuit.kind": kind,
            **({"scircuit.weight": f"{weight}: {meaning}"} if weight else {}),
        },
    )


def write_biocypher(part: Part, folder: Path) -> tuple[list[str], int]:
    """Write ``<kind>-header.csv``, ``<kind>-part000.csv``, ... and the import call.

    The header names ``:ID``, the properties with their types and ``:LABEL``; for edges
    ``:START_ID``, the properties, ``:END_ID`` and ``:TYPE``. Columns are separated by tabs, list
    items by ``|``, texts are in double quotes (inside them doubled). A text has no line breaks and
    a list item no ``|``: the import tool cannot take them, so a space and a ``/`` stand in their
    place.

    Returns
    -------
    list of str
        The files.
    int
        Values in which something was replaced.
    """
    clashes = clashing_ids(part)
    written, replaced = [], 0
    for kind, tables in (*part.nodes.items(), *part.edges.items()):
        schema = union_schema(tables)
        (folder / f"{kind}-header.csv").write_text(
            DELIMITER.join(_header(kind, schema)) + "\n", encoding="utf-8"
        )
        written.append(f"{kind}-header.csv")
        for number, table in enumerate(tables()):
            ready, count = _csv_table(kind, fitted(table, schema), clashes)
            replaced += count
            name = f"{kind}-part{number:03d}.csv"
            _write_csv(ready, folder / name)
            written.append(name)
    call = folder / "neo4j-admin-import-call.sh"
    call.write_text(_import_call(part), encoding="utf-8")
    call.chmod(0o755)
    return [*written, call.name], replaced


def _header(kind: str, schema: pa.Schema) -> list[str]:
    typed = [f.name + _csv_type(f.type) for f in schema if f.name not in ("id", "source", "target")]
    if "-" in kind:
        return [":START_ID", *typed, ":END_ID", ":TYPE"]
    return [":ID", "id", *typed, ":LABEL"]


def _csv_type(of: pa.DataType) -> str:
    import pyarrow as pa

    if pa.types.is_list(of):
        return f"{_csv_type(of.value_type) or ':string'}[]"
    if pa.types.is_boolean(of):
        return ":boolean"
    if pa.types.is_integer(of):
        return ":long"
    return ":double" if pa.types.is_floating(of) else ""


def _csv_table(kind: str, table: pa.Table, clashes: Mapping[str, set[str]]) -> tuple[pa.Table, int]:
    """Columns in the order of the header, lists joined."""
    import pyarrow as pa

    replaced = 0
    columns: dict[str, pa.ChunkedArray | pa.Array] = {}
    for name in table.column_names:
        column = table.column(name)
        if pa.types.is_list(column.type):
            texts = [None if v is None else [str(item) for item in v] for v in column.to_pylist()]
            replaced += sum(ARRAY_DELIMITER in item for v in texts if v for item in v)
            column = pa.array(
                [
                    (
                        None
                        if v is None
                        else ARRAY_DELIMITER.join(i.replace(ARRAY_DELIMITER, "/") for i in v)
                    )
                    for v in texts
                ],
                pa.string(),
            )
        if pa.types.is_string(column.type):
            texts = column.to_pylist()
            broken = sum(1 for t in texts if t and _BREAKS.search(t))
            if broken:
                replaced += broken
                column = pa.array([t and _BREAKS.sub(" ", t) for t in texts], pa.string())
        elif pa.types.is_floating(column.type) and any(
            v is not None and not math.isfinite(v) for v in column.to_pylist()
        ):
            column = pa.array([_number(v) for v in column.to_pylist()], pa.string())
        columns[name] = column
    if "-" not in kind:
        ids = columns.pop("id")
        key = pa.array(plain_ids(ids.to_pylist(), kind, clashes), pa.string())
        ordered = [key, ids, *columns.values(), pa.repeat(kind, table.num_rows)]
    else:
        source, of, target = kind.split("-")
        ends = [
            pa.array(plain_ids(columns.pop(end).to_pylist(), label, clashes), pa.string())
            for end, label in (("source", source), ("target", target))
        ]
        ordered = [ends[0], *columns.values(), ends[1], pa.repeat(of, table.num_rows)]
    return pa.table(ordered, names=[str(n) for n in range(len(ordered))]), replaced


def _number(value: float | None) -> str | None:
    """A number as Java writes it; what is no number is unknown."""
    if value is None or math.isnan(value):
        return None
    return repr(value) if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"


def _write_csv(table: pa.Table, path: Path) -> None:
    from pyarrow import csv

    csv.write_csv(
        table,
        path,
        csv.WriteOptions(include_header=False, delimiter=DELIMITER, quoting_style="needed"),
    )


def _import_call(part: Part) -> str:
    files = [f'--nodes="{k}-header.csv,{k}-part.*"' for k in part.nodes] + [
        f'--relationships="{k}-header.csv,{k}-part.*"' for k in part.edges
    ]
    lines = [
        "#!/bin/bash",
        (
            "# written by scircuit export; run it where Neo4j 5 or later is installed:"
            " NEO4J_HOME=/path/to/neo4j ./neo4j-admin-import-call.sh"
        ),
        'cd "$(dirname "$0")" || exit 1',
        (
            '"${NEO4J_HOME:-.}"/bin/neo4j-admin database import full neo4j --delimiter="\\t"'
            f' --array-delimiter="{ARRAY_DELIMITER}" --quote=\'"\' --overwrite-destination=true \\'
        ),
    ]
    return "\n".join([*lines, *(f"  {f} \\" for f in files[:-1]), f"  {files[-1]}"]) + "\n"

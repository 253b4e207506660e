"""Hash of the values in a table, independent of file, chunking and compression.

``content = sha256(column name, values, nulls for every column that has a value)``; columns with
only nulls count as absent. It distinguishes two shards of the same name with different content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

LATE_COLUMNS = ("q", "q_computed", "q_direct")
"""Columns filled in after the records were first written: every q needs all tests of the run."""


def content_hash(table: pa.Table, *, skip: Collection[str] = LATE_COLUMNS) -> str:
    """Hash the values of all columns but `skip`; row order counts, encoding does not.

    Parameters
    ----------
    table
        Any conformed table or slice of one.
    skip
        Columns to leave out.

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    state = hashlib.sha256(str(table.num_rows).encode())
    for name in sorted(set(table.column_names) - set(skip)):
        column = table.column(name)
        if column.null_count < len(column):
            state.update(f"\0{name}\0".encode())
            _update(state, column.combine_chunks())
    return state.hexdigest()[:32]


def late_columns_hash(table: pa.Table) -> str:
    """Hash the late columns only; empty when none has a value."""
    if all(
        table.column(name).null_count == table.num_rows
        for name in LATE_COLUMNS
        if name in table.column_names
    ):
        return ""
    return content_hash(
        table.select([name for name in LATE_COLUMNS if name in table.column_names]), skip=()
    )


def _update(state: hashlib._Hash, array: pa.Array) -> None:
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    state.update(array.is_null().to_numpy(zero_copy_only=False).tobytes())
    if pa.types.is_list(array.type):
        lengths = pc.fill_null(pc.call_function("list_value_length", [array]), -1)
        state.update(lengths.to_numpy(zero_copy_only=False).astype("<i8").tobytes())
        _update(state, array.flatten())
    elif pa.types.is_string(array.type):
        filled = pc.fill_null(array, "")
        lengths = pc.call_function("binary_length", [filled]).to_numpy(zero_copy_only=False)
        state.update(lengths.astype("<i8").tobytes())
        state.update("".join(filled.to_pylist()).encode())
    else:
        zero = pa.scalar(False if pa.types.is_boolean(array.type) else 0, array.type)
        state.update(pc.fill_null(array, zero).to_numpy(zero_copy_only=False).tobytes())

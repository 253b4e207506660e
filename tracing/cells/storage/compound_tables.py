"""Tables as anndata stored them before 2020: one array of records per table, categories in uns."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scircuit.tracing.cells.storage.stored_columns import in_categories
from scircuit.tracing.cells.storage.stored_nodes import (
    HdfNode,
    Unreadable,
    child,
    is_array,
    length_of,
    read,
    texts,
)

_INDEX = ("index", "_index")


def is_compound(node: HdfNode) -> bool:
    """Whether a node is an array of records."""
    return is_array(node) and getattr(node.dtype, "names", None) is not None


def read_compound(node: HdfNode, uns: HdfNode, name: str) -> tuple[pd.DataFrame, list[str]]:
    """A table and what was left out of it, as `stored_columns.read_table`.

    Parameters
    ----------
    node
        The array of records.
    uns
        Where ``COLUMN_categories`` holds the names of a column of codes.
    name
        What the table is called in messages.

    Raises
    ------
    Unreadable
        If its records or its index cannot be read.
    """
    length_of(node)
    records = read(node)
    fields = list(records.dtype.names or ())
    index_name = next((f for f in _INDEX if f in fields), None)
    if index_name is None:
        first = fields[0] if fields and records[fields[0]].dtype.kind in "OSU" else None
        if first is None:
            raise Unreadable("it has no index", "write the file again with anndata")
        index_name = first
    columns: dict[str, pd.Series] = {}
    unreadable: dict[str, str] = {}
    for field in fields:
        if field == index_name:
            continue
        try:
            values = _field(records, field)
            named = child(uns, f"{field}_categories")
            if is_array(named) and values.dtype.kind in "iu":
                columns[field] = in_categories(values, np.atleast_1d(texts(read(named))), False)
            else:
                columns[field] = pd.Series(values)
        except Unreadable as error:
            unreadable[field] = error.reason
    frame = pd.DataFrame(columns, index=pd.RangeIndex(len(records)))
    frame.index = pd.Index(
        _field(records, index_name), name=None if index_name == "_index" else index_name
    )
    frame.attrs["unreadable"] = unreadable
    return frame, [f"{name}[{c!r}] is left out: {why}" for c, why in unreadable.items()]


def _field(records: np.ndarray, field: str) -> np.ndarray:
    values = np.asarray(records[field])
    if values.ndim != 1:
        raise Unreadable(f"it has {values.ndim} dimensions, expected 1")
    return texts(values)

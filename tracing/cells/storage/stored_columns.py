"""Tables of an AnnData file (obs, var), column by column.

Encodings read here: arrays of numbers and texts, categoricals (a group, or the form of before
2021), nullable integers, booleans and texts. Another encoding is left to the installed anndata. A
column that cannot be read stops nothing; it is named with the reason.
"""

from __future__ import annotations

import warnings
from importlib.metadata import version

import h5py
import numpy as np
import pandas as pd

from scircuit.tracing.cells.storage.stored_nodes import (
    HdfNode,
    Unreadable,
    attribute,
    attribute_text,
    child,
    first_line,
    is_array,
    is_group,
    length_of,
    names,
    read,
    texts,
)

_ARRAYS = ("", "array", "string-array")
_NULLABLE = ("nullable-integer", "nullable-boolean", "nullable-string-array")
_INDEX = ("_index", "index")  # what anndata and older writers call the index
_MOST_NOTES = 5


def read_table(node: HdfNode, name: str) -> tuple[pd.DataFrame, list[str]]:
    """A table and what was mended or left out of it, one sentence each.

    ``attrs["unreadable"]`` of the table maps columns that cannot be read to the reason.

    Raises
    ------
    Unreadable
        If it is no table, or its index cannot be read.
    """
    if not is_group(node):
        raise Unreadable(
            "it is an array where a table is expected"
            if is_array(node)
            else "it is not stored, or its header cannot be read",
            "write the file again with anndata",
        )
    stored = names(node)
    notes = []
    index_name = attribute_text(node, "_index")
    if index_name not in stored:
        found = next((n for n in _INDEX if n in stored), None)
        if found is None:
            raise Unreadable(
                "it has no index: "
                + (f"{index_name!r} is not stored" if index_name else "no attribute names it"),
                f"write the names of the rows into {name}/_index, or write the file again with"
                " anndata",
            )
        notes.append(f"{name} does not say which column is its index; {found!r} is taken")
        index_name = found
    try:
        index = read_column(child(node, index_name))
    except Unreadable as error:
        raise Unreadable(f"its index {index_name!r}: {error.reason}", error.fix) from error
    columns: dict[str, pd.Series] = {}
    unreadable: dict[str, str] = {}
    for column in _order(node, name, index_name, stored, notes):
        try:
            if column not in stored:
                raise Unreadable("column-order names it, but it is not stored")
            values = read_column(child(node, column), len(index))
        except Unreadable as error:
            unreadable[column] = error.reason
            continue
        columns[column] = values
    frame = pd.DataFrame(columns, index=pd.RangeIndex(len(index)))
    frame.index = pd.Index(index.to_numpy(), name=None if index_name == _INDEX[0] else index_name)
    frame.attrs["unreadable"] = unreadable
    listed = list(unreadable.items())
    notes += [f"{name}[{c!r}] is left out: {reason}" for c, reason in listed[:_MOST_NOTES]]
    if len(listed) > _MOST_NOTES:
        notes.append(f"{len(listed) - _MOST_NOTES:,} more columns of {name} cannot be read")
    return frame, notes


def _order(
    node: HdfNode, name: str, index_name: str, stored: list[str], notes: list[str]
) -> list[str]:
    """Columns in the order that the file names; as stored where it does not."""
    value = attribute(node, "column-order")
    order = None
    if value is not None and not isinstance(value, h5py.Empty):
        given = np.asarray(value).ravel()
        if not len(given):
            return []
        if given.dtype.kind in "OSUT":
            order = [
                v.decode(errors="replace") if isinstance(v, bytes) else str(v)
                for v in given.tolist()
            ]
    elif isinstance(value, h5py.Empty):
        return []
    if order is None:
        order = sorted(c for c in stored if c not in (index_name, "__categories"))
        if order:
            notes.append(f"{name} does not name its columns; they are taken as stored")
    return list(dict.fromkeys(order))


def read_column(node: HdfNode, length: int | None = None) -> pd.Series:
    """One column, of `length` values where that is known.

    Raises
    ------
    Unreadable
        If it is absent, of another length, inconsistent, damaged, or of an unknown encoding.
    """
    encoding = attribute_text(node, "encoding-type")
    if is_array(node) and encoding in _ARRAYS:
        categories = attribute(node, "categories")
        if isinstance(categories, h5py.Reference):
            return _categorical(node, _referred(node, categories), node, length)
        return pd.Series(_plain(node, length))
    if is_group(node) and encoding == "categorical":
        return _categorical(child(node, "codes"), child(node, "categories"), node, length)
    if is_group(node) and encoding in _NULLABLE:
        return _nullable(node, length)
    if not is_array(node) and not is_group(node):
        raise Unreadable("it is not stored, or its header cannot be read")
    return _left_to_anndata(node, encoding, length)


def _plain(node: HdfNode, length: int | None) -> np.ndarray:
    found = length_of(node)
    if length is not None and found != length:
        raise Unreadable(f"it holds {found:,} values for {length:,} rows")
    return texts(read(node))


def _part(node: HdfNode, what: str, length: int | None) -> np.ndarray:
    try:
        return _plain(node, length)
    except Unreadable as error:
        raise Unreadable(f"its {what}: {error.reason}", error.fix) from error


def _referred(node: HdfNode, reference: HdfNode) -> HdfNode:
    try:
        return node.file[reference]
    except Exception:
        return None


def _categorical(coded: HdfNode, named: HdfNode, node: HdfNode, length: int | None) -> pd.Series:
    codes, categories = _part(coded, "codes", length), _part(named, "categories", None)
    return in_categories(codes, categories, _is_true(attribute(node, "ordered")))


def in_categories(codes: np.ndarray, categories: np.ndarray, ordered: bool) -> pd.Series:
    """A categorical column; code -1 is a missing value.

    Raises
    ------
    Unreadable
        If a code has no category, or the categories are not different.
    """
    if codes.dtype.kind not in "iu":
        raise Unreadable(f"its codes have the type {codes.dtype}, expected whole numbers")
    if len(codes) and (codes.min() < -1 or codes.max() >= len(categories)):
        raise Unreadable(
            f"its codes run from {codes.min()} to {codes.max()}, but there are"
            f" {len(categories):,} categories"
        )
    try:
        return pd.Series(
            pd.Categorical.from_codes(codes.astype(np.int64), pd.Index(categories), ordered=ordered)
        )
    except (ValueError, TypeError) as error:
        raise Unreadable(f"its categories are invalid ({first_line(error)})") from error


def _is_true(value: object) -> bool:
    return isinstance(value, bool | np.bool_ | int | np.integer) and bool(value)


def _nullable(node: HdfNode, length: int | None) -> pd.Series:
    values = _part(child(node, "values"), "values", length)
    mask = _part(child(node, "mask"), "mask", len(values))
    if mask.dtype.kind != "b":
        raise Unreadable(f"its mask has the type {mask.dtype}, expected true and false")
    if values.dtype.kind in "iu":
        return pd.Series(pd.arrays.IntegerArray(values, mask))
    if values.dtype.kind == "b":
        return pd.Series(pd.arrays.BooleanArray(values, mask))
    if values.dtype.kind == "f":
        return pd.Series(pd.arrays.FloatingArray(values, mask))
    held = values.astype(object)
    held[mask] = None
    return pd.Series(held, dtype="string")


def _left_to_anndata(node: HdfNode, encoding: str, length: int | None) -> pd.Series:
    from anndata.io import read_elem

    for part in [node] if is_array(node) else [child(node, n) for n in names(node)]:
        if is_array(part) and part.shape is not None:
            read(part, slice(0, 1) if len(part.shape) else ())  # damage and filters, in words
            if length is not None and len(part.shape) == 1 and part.shape[0] > 10 * length + 1000:
                raise Unreadable(f"it holds {part.shape[0]:,} values for {length:,} rows")
    named = f"its encoding {encoding!r} {attribute_text(node, 'encoding-version')}".rstrip()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values = pd.Series(read_elem(node))
    except Exception as error:
        raise Unreadable(
            f"{named} is not known to the installed anndata {version('anndata')}",
            "install a newer anndata, or store the column as text or numbers",
        ) from error
    if length is not None and len(values) != length:
        raise Unreadable(f"it holds {len(values):,} values for {length:,} rows")
    return values.reset_index(drop=True)

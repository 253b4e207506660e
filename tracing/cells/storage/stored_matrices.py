"""Matrices of a file, read by rows: CSR, CSC and dense.

What a reader would take on trust is checked: that the pointers of rows rise and end where the
values end, that shapes agree with the tables, and in the rows that are read, that every index is
inside the matrix and no entry is stored twice. Indices in another order are sorted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from scircuit.core.errors import UserError
from scircuit.tracing.cells.storage.expression import Matrix
from scircuit.tracing.cells.storage.stored_nodes import (
    AGAIN,
    HdfNode,
    Unreadable,
    attribute,
    attribute_text,
    check_size,
    child,
    chunks_lost,
    is_array,
    is_group,
    length_of,
    read,
)

_BLOCK = 4_000_000  # numbers read at once


class Sparse(NamedTuple):
    """Arrays of a compressed matrix: `indptr` in memory and checked, the others in the file."""

    indptr: np.ndarray
    indices: HdfNode
    data: HdfNode


def stored_matrix(file: str, name: str, node: HdfNode, n_cells: int, var: pd.DataFrame) -> Matrix:
    """A matrix of an AnnData file.

    Raises
    ------
    Unreadable
        If it is neither sparse nor dense, or does not agree with the tables.
    """
    wanted = (n_cells, len(var))
    if is_array(node):
        if node.shape is None:
            raise Unreadable("it is null")
        _check_shape(tuple(int(n) for n in node.shape), wanted)
        _check_kind(node, "values", "biuf")
        return named_matrix(file, name, wanted, var, lambda rows: _dense_rows(node, rows))
    if not is_group(node):
        raise Unreadable("it is not stored, or its header cannot be read")
    kind = attribute_text(node, "encoding-type") or attribute_text(node, "h5sparse_format")
    if kind not in ("csr_matrix", "csc_matrix", "csr", "csc"):
        raise Unreadable(
            f"its encoding is {kind!r}; expected csr_matrix, csc_matrix or a dense array",
            "write the file again with anndata",
        )
    stated = attribute(node, "shape")
    stated = attribute(node, "h5sparse_shape") if stated is None else stated
    try:
        shape = tuple(int(n) for n in np.asarray(stated).ravel())
    except (TypeError, ValueError, OverflowError):
        raise Unreadable(f"its shape is {str(stated)[:40]!r}, expected two whole numbers") from None
    _check_shape(shape, wanted)
    if kind.startswith("csr"):
        arrays = sparse_arrays(node, n_cells)
        return named_matrix(file, name, wanted, var, lambda rows: csr_rows(arrays, rows, len(var)))
    arrays = sparse_arrays(node, len(var))
    return named_matrix(file, name, wanted, var, lambda rows: _csc_rows(arrays, rows, wanted))


def named_matrix(
    file: str,
    name: str,
    shape: tuple[int, int],
    var: pd.DataFrame,
    rows: Callable[[np.ndarray], sparse.csr_matrix],
) -> Matrix:
    """A matrix whose reading errors name the file and the matrix."""

    def read_rows(wanted: np.ndarray) -> sparse.csr_matrix:
        try:
            with np.errstate(invalid="ignore"):  # signalling NaN; not finite is found by the scale
                return rows(wanted)
        except Unreadable as error:
            raise UserError(
                f"cells: {file}: {name} cannot be read: {error.reason}", error.fix
            ) from error

    return Matrix(name, shape, var, read_rows)


def sparse_arrays(node: HdfNode, n_major: int) -> Sparse:
    """Arrays of a compressed matrix of `n_major` rows (CSR) or columns (CSC).

    Raises
    ------
    Unreadable
        If one is missing or of another type, or the pointers do not fit the values.
    """
    lengths = {}
    for part, kinds in (("indptr", "iuf"), ("indices", "iu"), ("data", "biuf")):
        try:
            lengths[part] = length_of(child(node, part))
        except Unreadable as error:
            raise Unreadable(f"{part}: {error.reason}", error.fix) from error
        _check_kind(child(node, part), part, kinds)
        check_size(child(node, part))
        if part != "indptr" and (lost := chunks_lost(child(node, part))):
            raise Unreadable(
                f"{part}: {lost[0]:,} of {lost[1]:,} chunks are not stored, and would be read as 0",
                AGAIN,
            )
    if lengths["indptr"] != n_major + 1:
        raise Unreadable(f"indptr holds {lengths['indptr']:,} numbers, expected {n_major + 1:,}")
    if lengths["indices"] != lengths["data"]:
        raise Unreadable(
            f"indices holds {lengths['indices']:,} numbers and data {lengths['data']:,}"
        )
    indptr = _part(node, "indptr")
    if indptr.dtype.kind == "f" and not (indptr == np.floor(indptr)).all():
        raise Unreadable("indptr holds numbers that are not whole")
    falls = np.flatnonzero(indptr[1:] < indptr[:-1])
    if len(falls):
        raise Unreadable(f"indptr falls from {indptr[falls[0]]} to {indptr[falls[0] + 1]}")
    if indptr[0] != 0 or indptr[-1] != lengths["data"]:
        raise Unreadable(
            f"indptr runs from {indptr[0]} to {indptr[-1]}, but data holds"
            f" {lengths['data']:,} numbers"
        )
    return Sparse(indptr.astype(np.int64), child(node, "indices"), child(node, "data"))


def csr_rows(arrays: Sparse, rows: np.ndarray, n_columns: int) -> sparse.csr_matrix:
    """Rows of a CSR matrix, ascending."""
    sizes = np.diff(arrays.indptr)[rows]
    data, indices = np.empty(sizes.sum(), np.float64), np.empty(sizes.sum(), np.int32)
    at = np.concatenate(([0], np.cumsum(sizes)))
    for run in _runs(rows, sizes):
        source = slice(
            int(arrays.indptr[rows[run.start]]), int(arrays.indptr[rows[run.stop - 1] + 1])
        )
        data[at[run.start] : at[run.stop]] = _slice(arrays.data, "data", source)
        found = _slice(arrays.indices, "indices", source)
        _check_range(found, n_columns)
        indices[at[run.start] : at[run.stop]] = found
    matrix = sparse.csr_matrix((data, indices, at), shape=(len(rows), n_columns))
    matrix.sort_indices()
    again = np.flatnonzero(matrix.indices[1:] == matrix.indices[:-1])
    starts = np.zeros(len(data) + 1, dtype=bool)
    starts[at] = True
    again = again[~starts[again + 1]]
    if len(again):
        row = rows[np.searchsorted(at, again[0], side="right") - 1]
        raise _twice(int(row), int(matrix.indices[again[0]]))
    return matrix


def _csc_rows(arrays: Sparse, rows: np.ndarray, shape: tuple[int, int]) -> sparse.csr_matrix:
    position = np.full(shape[0], -1, dtype=np.int64)
    position[rows] = np.arange(len(rows))
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for run in _runs(np.arange(shape[1]), np.diff(arrays.indptr)):
        source = slice(int(arrays.indptr[run.start]), int(arrays.indptr[run.stop]))
        found = _slice(arrays.indices, "indices", source)
        _check_range(found, shape[0])
        row = position[found]
        column = np.repeat(
            np.arange(run.start, run.stop), np.diff(arrays.indptr[run.start : run.stop + 1])
        )
        keep = row >= 0
        values = _slice(arrays.data, "data", source)
        parts.append((values[keep].astype(np.float64), row[keep], column[keep]))
    if not parts:
        return sparse.csr_matrix((len(rows), shape[1]))
    data, row, column = (np.concatenate(p) for p in zip(*parts, strict=True))
    order = np.lexsort((column, row))
    again = np.flatnonzero((np.diff(row[order]) == 0) & (np.diff(column[order]) == 0))
    if len(again):
        raise _twice(int(rows[row[order][again[0]]]), int(column[order][again[0]]))
    return sparse.csr_matrix((data, (row, column)), shape=(len(rows), shape[1]))


def _dense_rows(node: HdfNode, rows: np.ndarray) -> sparse.csr_matrix:
    width = int(node.shape[1])
    blocks = [
        sparse.csr_matrix(
            read(node, slice(int(rows[run.start]), int(rows[run.stop - 1]) + 1)).astype(np.float64)
        )
        for run in _runs(rows, np.full(len(rows), width))
    ]
    return (
        sparse.csr_matrix(sparse.vstack(blocks, format="csr"))
        if blocks
        else sparse.csr_matrix((0, width))
    )


def _runs(rows: np.ndarray, sizes: np.ndarray) -> Iterator[slice]:
    """Spans of `rows` that are neighbours in the file and hold no more than a block of numbers."""
    start, held = 0, 0
    for i in range(len(rows)):
        if i > start and (rows[i] != rows[i - 1] + 1 or held + sizes[i] > _BLOCK):
            yield slice(start, i)
            start, held = i, 0
        held += int(sizes[i])
    if len(rows):
        yield slice(start, len(rows))


def _part(node: HdfNode, part: str) -> np.ndarray:
    try:
        return read(child(node, part))
    except Unreadable as error:
        raise Unreadable(f"{part}: {error.reason}", error.fix) from error


def _slice(node: HdfNode, part: str, source: slice) -> np.ndarray:
    try:
        values = read(node, source)
    except Unreadable as error:
        raise Unreadable(f"{part}: {error.reason}", error.fix) from error
    return values


def _check_shape(shape: tuple[int, ...], wanted: tuple[int, int]) -> None:
    if shape != wanted:
        found = " x ".join(map(str, shape)) or "a single number"
        raise Unreadable(
            f"it is {found}, but there are {wanted[0]} cells in obs and {wanted[1]} genes in var"
        )


def _check_kind(node: HdfNode, what: str, kinds: str) -> None:
    if node.dtype.kind not in kinds:
        raise Unreadable(f"{what}: the type is {node.dtype}, expected numbers")


def _check_range(indices: np.ndarray, size: int) -> None:
    if len(indices) and (indices.min() < 0 or indices.max() >= size):
        bad = indices[(indices < 0) | (indices >= size)]
        raise Unreadable(
            f"indices holds {bad[0]}, outside 0 to {size - 1} ({len(bad):,} such in the part read)"
        )


def _twice(row: int, column: int) -> Unreadable:
    return Unreadable(
        f"cell {row} holds gene {column} twice (counted from 0)",
        "if the entries are meant to be added: adata.X.sum_duplicates(), then write the file again",
    )

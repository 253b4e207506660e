"""Cell Ranger's feature-barcode matrices, versions 2 (one group per genome) and 3 (`matrix`).

Columns are cells, so the stored CSC is the CSR of cells x genes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from scircuit.core.errors import UserError
from scircuit.tracing.cells.storage.expression import Expression, Matrix
from scircuit.tracing.cells.storage.stored_matrices import (
    Sparse,
    csr_rows,
    named_matrix,
    sparse_arrays,
)
from scircuit.tracing.cells.storage.stored_nodes import (
    HdfNode,
    Unreadable,
    child,
    is_array,
    is_group,
    length_of,
    names,
    read,
    texts,
)

_GENES = "Gene Expression"


def tenx_groups(file: HdfNode) -> list[str]:
    """Groups at the top of a file that hold a matrix of Cell Ranger 2, one per genome."""
    return [name for name in names(file) if {"barcodes", "gene_names"} <= set(_held(file, name))]


def _held(file: HdfNode, name: str) -> list[str]:
    try:
        return names(child(file, name))
    except Unreadable:
        return []


def read_tenx(path: Path, group: HdfNode, where: str) -> Expression:
    """The matrix in one group of a 10x file, genes only.

    Raises
    ------
    UserError
        If barcodes, genes or the matrix cannot be read.
    """
    notes: list[str] = []
    try:
        barcodes = _texts(group, "barcodes")
        arrays = sparse_arrays(group, len(barcodes))
        var, keep = _genes(group, notes)
        _check_shape(group, len(var), len(barcodes))
    except Unreadable as error:
        raise UserError(
            f"cells: {path.name}: {where} cannot be read: {error.reason}", error.fix
        ) from error
    obs = pd.DataFrame(index=pd.Index(barcodes))
    obs.attrs["unreadable"] = {}
    return Expression(
        path, "10x h5", obs, {"X": _matrix(path, arrays, var, keep)}, notes=tuple(notes)
    )


def _matrix(path: Path, arrays: Sparse, var: pd.DataFrame, keep: np.ndarray) -> Matrix:
    shape, width = (len(arrays.indptr) - 1, len(keep)), len(var)

    def rows(wanted: np.ndarray) -> sparse.csr_matrix:
        values = csr_rows(arrays, wanted, width)
        return values if len(keep) == width else sparse.csr_matrix(values[:, keep])

    return named_matrix(path.name, "X", shape, var.iloc[keep], rows)


def _genes(group: HdfNode, notes: list[str]) -> tuple[pd.DataFrame, np.ndarray]:
    """Genes and other features of a file, and which rows are genes."""
    features = child(group, "features")
    if not is_group(features):
        index, ids = _texts(group, "gene_names"), _texts(group, "genes")
        _check_equal(len(index), len(ids), "genes")
        return pd.DataFrame({"gene_ids": ids}, index=pd.Index(index)), np.arange(len(index))
    columns: dict[str, np.ndarray] = {}
    for name in ("name", "id", "feature_type", "genome"):
        try:
            columns[name] = _texts(features, name)
        except Unreadable as error:
            if name == "feature_type" and name in names(features):
                raise
            notes.append(f"features/{name} is left out: {error.reason}")
    index = columns.get("name", columns.get("id"))
    if index is None:
        raise Unreadable("features has neither name nor id")
    for name, values in columns.items():
        _check_equal(len(index), len(values), f"features/{name}")
    var = pd.DataFrame(index=pd.Index(index))
    if "id" in columns:
        var["gene_ids"] = columns["id"]
    for name in ("feature_type", "genome"):
        if name in columns:
            var[name] = columns[name]
    return var, _which_genes(var, columns)


def _which_genes(var: pd.DataFrame, columns: dict[str, np.ndarray]) -> np.ndarray:
    if "feature_type" not in columns:
        ids = [str(v) for v in columns.get("id", ())]
        if not ids or not all("ENS" in v for v in ids):
            raise Unreadable(
                "features/feature_type is not stored, and not every id is an Ensembl id: genes"
                " cannot be told from antibodies and other features",
                "write the file again with Cell Ranger, or convert it and keep the genes only",
            )
        return np.arange(len(var))
    keep = np.flatnonzero(columns["feature_type"] == _GENES)
    if not len(keep):
        held = ", ".join(sorted({str(v) for v in columns["feature_type"]})[:5])
        raise Unreadable(
            f"no feature has the type {_GENES!r}; features/feature_type holds {held or 'nothing'}",
            "give the file with gene expression",
        )
    return keep


def _texts(group: HdfNode, name: str) -> np.ndarray:
    node = child(group, name)
    try:
        length_of(node)
        return np.array([str(v) for v in texts(read(node))], dtype=object)
    except Unreadable as error:
        raise Unreadable(f"{name}: {error.reason}", error.fix) from error


def _check_equal(wanted: int, found: int, name: str) -> None:
    if wanted != found:
        raise Unreadable(f"{name} holds {found:,} names, expected {wanted:,}")


def _check_shape(group: HdfNode, genes: int, cells: int) -> None:
    node = child(group, "shape")
    if not is_array(node) or node.shape != (2,) or node.dtype.kind not in "iu":
        return
    stated = tuple(int(n) for n in read(node))
    if stated != (genes, cells):
        raise Unreadable(
            f"its shape is {stated[0]} genes x {stated[1]} cells, but {genes} genes and {cells}"
            " barcodes are named"
        )

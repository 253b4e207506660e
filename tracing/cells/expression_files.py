"""Expression files without loading them whole: h5ad (CSR, CSC, dense) and 10x h5, rows on demand.

Nothing but HDF5 is opened. A pickle, a truncated file or another format is refused by its first
bytes, with what it is.
"""

from __future__ import annotations

import pickletools
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from scircuit.core.errors import UserError

_HDF5 = b"\x89HDF\r\n\x1a\n"
_BLOCK = 4_000_000  # numbers read at once

# h5py declares every node of a file as group, dataset or datatype; which one is checked where read
HdfNode = Any


@dataclass(frozen=True)
class Matrix:
    """A cells x genes matrix of a file; `rows` reads the given rows, ascending, as CSR float64."""

    name: str
    shape: tuple[int, int]
    var: pd.DataFrame
    rows: Callable[[np.ndarray], sparse.csr_matrix]


@dataclass(frozen=True)
class Expression:
    """What an expression file offers: cell annotations and matrices (``X``, ``raw/X``,
    ``layers/NAME``).
    """

    path: Path
    format: str
    obs: pd.DataFrame
    matrices: Mapping[str, Matrix] = field(repr=False)
    genome: str = ""


def kind_of(path: Path) -> str:
    """What a file is by its first bytes: ``hdf5``, or a description of something else."""
    with path.open("rb") as file:
        head = file.read(2048)
    if not head:
        return "an empty file"
    if any(head[offset : offset + 8] == _HDF5 for offset in (0, 512, 1024)):
        return "hdf5"
    if head[:2] == b"\x1f\x8b":
        return "a gzip file"
    if head[:4] == b"PK\x03\x04":
        return "a zip archive (a PyTorch checkpoint has this form)"
    if head[:1] == b"\x80" or _is_pickle(head):
        return "a Python pickle, which can run code when it is loaded; it was not loaded"
    if head[:5] in (b"RDX2\n", b"RDX3\n") or head[:2] == b"X\n":
        return "an R data file"
    if head[:14] == b"%%MatrixMarket":
        return "a Matrix Market file"
    if b"\0" not in head:
        return f"a text file that starts with {head[:40].decode(errors='replace')!r}"
    return f"of an unknown format (first bytes {head[:8].hex(' ')})"


def _is_pickle(head: bytes) -> bool:
    """Whether bytes start like a pickle of protocol 0 or 1: opcodes that parse and import or build
    something.
    """
    seen = set()
    try:
        for opcode, _, _ in pickletools.genops(head):
            seen.add(opcode.name)
    except Exception:
        pass  # a cut-off head ends in an error; what was parsed before it decides
    return (
        bool(seen & {"GLOBAL", "REDUCE", "INST", "BUILD"})
        or {"MARK", "DICT"} <= seen
        or {"EMPTY_DICT", "SETITEMS"} <= seen
    )


@contextmanager
def open_expression(path: Path) -> Iterator[Expression]:
    """Open an expression file for reading by rows; the matrices are valid inside the block.

    Raises
    ------
    UserError
        If the file is absent, truncated, not HDF5, or HDF5 of another kind.
    """
    path = Path(path)
    if not path.exists():
        near = (
            ", ".join(sorted(p.name for p in path.parent.glob("*.h5*"))[:5])
            if path.parent.is_dir()
            else ""
        )
        raise UserError(
            f"cells: {path} does not exist",
            f"check the path{f'; the folder holds {near}' if near else ''}",
        )
    if path.is_dir():
        raise UserError(
            f"cells: {path} is a folder; expected an h5ad or 10x h5 file", "give the file itself"
        )
    kind = kind_of(path)
    if kind != "hdf5":
        raise UserError(
            f"cells: {path.name} is {kind}; expected an h5ad (AnnData) or a 10x h5 file",
            "write the cells with adata.write_h5ad('cells.h5ad'), raw counts in X or in"
            " layers['counts']",
        )
    try:
        with h5py.File(path, "r") as file:
            yield _expression(path, file)
    except (OSError, RuntimeError) as error:
        size = path.stat().st_size
        what = "truncated" if "truncated" in str(error) else "damaged"
        raise UserError(
            f"cells: {path.name} is {what}: HDF5 cannot read it"
            f" ({str(error).splitlines()[0][:200]}); it has {size:,} bytes here",
            "copy or download the file again and compare its size and checksum with the source",
        ) from error


def _expression(path: Path, file: HdfNode) -> Expression:
    if "matrix" in file and "barcodes" in _keys(file["matrix"]):
        return _tenx(path, file["matrix"])
    if "obs" in file and "var" in file:
        return _legacy(path) if isinstance(file["obs"], h5py.Dataset) else _h5ad(path, file)
    for name in file:
        if "barcodes" in _keys(file[name]) and "gene_names" in _keys(file[name]):
            return _tenx(path, file[name], genome=str(name))
    raise UserError(
        f"cells: {path.name} is HDF5 but neither h5ad nor 10x: it holds"
        f" {', '.join(list(file)[:8]) or 'nothing'}",
        "an h5ad holds obs, var and X; a 10x file holds matrix/barcodes. Convert it with anndata"
        " and write_h5ad",
    )


def _keys(node: HdfNode) -> set[str]:
    return set(node) if isinstance(node, h5py.Group) else set()


def _h5ad(path: Path, file: HdfNode) -> Expression:
    from anndata.io import read_elem

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        obs, var = _frame(read_elem(file["obs"])), _frame(read_elem(file["var"]))
        raw_var = (
            _frame(read_elem(file["raw/var"])) if "raw" in file and "var" in file["raw"] else None
        )
    matrices = {}
    if "X" in file:
        matrices["X"] = _matrix("X", file["X"], var)
    for name in _keys(file.get("layers")):
        matrices[f"layers/{name}"] = _matrix(f"layers/{name}", file[f"layers/{name}"], var)
    if raw_var is not None:
        matrices["raw/X"] = _matrix("raw/X", file["raw/X"], raw_var)
    for matrix in matrices.values():
        if matrix.shape != (len(obs), len(matrix.var)):
            raise UserError(
                f"cells: {path.name}: {matrix.name} is {matrix.shape[0]} x {matrix.shape[1]}, but"
                f" there are {len(obs)} cells in obs and {len(matrix.var)} genes in var",
                "the file is inconsistent: write it again from its source",
            )
    return Expression(path, "h5ad", obs, matrices)


def _frame(element: object) -> pd.DataFrame:
    if not isinstance(element, pd.DataFrame):
        raise UserError(
            f"cells: obs or var is a {type(element).__name__}; expected a table",
            "write the file again with anndata",
        )
    return element


def _legacy(path: Path) -> Expression:
    """Read an h5ad of before 2020: anndata reads it whole."""
    import anndata

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data: Any = anndata.read_h5ad(path)  # anndata allows many types of matrix

    def held(name: str, values: np.ndarray | sparse.csr_matrix, var: pd.DataFrame) -> Matrix:
        shape = (int(values.shape[0]), int(values.shape[1]))  # pyright: ignore[reportOptionalSubscript]
        return Matrix(
            name, shape, var, lambda rows: sparse.csr_matrix(values[rows], dtype=np.float64)
        )

    matrices = {"X": held("X", data.X, data.var)}
    matrices |= {
        f"layers/{name}": held(f"layers/{name}", values, data.var)
        for name, values in data.layers.items()
    }
    if data.raw is not None:
        matrices["raw/X"] = held("raw/X", data.raw.X, data.raw.var)
    return Expression(path, "h5ad", data.obs, matrices)


def _tenx(path: Path, group: HdfNode, genome: str = "") -> Expression:
    """Cell Ranger's feature-barcode matrix: columns are cells, so its CSC is the CSR of cells x
    genes.
    """

    def text(name: str) -> np.ndarray:
        return np.array(
            [v.decode() if isinstance(v, bytes) else str(v) for v in group[name][:]], dtype=object
        )

    if "features" in group:
        var = pd.DataFrame({"gene_ids": text("features/id")}, index=text("features/name"))
        for column in ("feature_type", "genome"):
            if column in group["features"]:
                var[column] = text(f"features/{column}")
        genome = genome or ", ".join(sorted(set(var.to_dict("list").get("genome", ())) - {""}))
    else:
        var = pd.DataFrame({"gene_ids": text("genes")}, index=text("gene_names"))
    obs = pd.DataFrame(index=text("barcodes"))
    whole = Matrix("X", (len(obs), len(var)), var, lambda rows: _csr_rows(group, rows, len(var)))
    keep = (
        np.flatnonzero(var["feature_type"] == "Gene Expression")
        if "feature_type" in var
        else np.arange(len(var))
    )
    if len(keep) < len(var):
        whole = Matrix(
            "X",
            (len(obs), len(keep)),
            var.iloc[keep],
            lambda rows: sparse.csr_matrix(_csr_rows(group, rows, len(var))[:, keep]),
        )
    return Expression(path, "10x h5", obs, {"X": whole}, genome)


def _matrix(name: str, node: HdfNode, var: pd.DataFrame) -> Matrix:
    if isinstance(node, h5py.Dataset):
        return Matrix(
            name,
            (int(node.shape[0]), int(node.shape[1])),
            var,
            lambda rows: _dense_rows(node, rows),
        )
    kind = node.attrs.get("encoding-type", node.attrs.get("h5sparse_format", ""))
    shape = tuple(int(n) for n in node.attrs.get("shape", node.attrs.get("h5sparse_shape", ())))
    if kind not in ("csr_matrix", "csc_matrix", "csr", "csc") or len(shape) != 2:
        raise UserError(
            f"cells: {name} has encoding {kind!r}; expected csr_matrix, csc_matrix or a dense"
            " array",
            "write the file again with anndata",
        )
    n_cells, n_genes = shape
    if kind.startswith("csr"):
        return Matrix(name, (n_cells, n_genes), var, lambda rows: _csr_rows(node, rows, n_genes))
    return Matrix(
        name, (n_cells, n_genes), var, lambda rows: _csc_rows(node, rows, (n_cells, n_genes))
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


def _csr_rows(node: HdfNode, rows: np.ndarray, n_columns: int) -> sparse.csr_matrix:
    indptr = node["indptr"][:].astype(np.int64)
    sizes = np.diff(indptr)[rows]
    data, indices = np.empty(sizes.sum(), np.float64), np.empty(sizes.sum(), np.int32)
    at = np.concatenate(([0], np.cumsum(sizes)))
    for run in _runs(rows, sizes):
        source = slice(int(indptr[rows[run.start]]), int(indptr[rows[run.stop - 1] + 1]))
        data[at[run.start] : at[run.stop]] = node["data"][source]
        indices[at[run.start] : at[run.stop]] = node["indices"][source]
    matrix = sparse.csr_matrix((data, indices, at), shape=(len(rows), n_columns))
    matrix.sum_duplicates()
    return matrix


def _csc_rows(node: HdfNode, rows: np.ndarray, shape: tuple[int, int]) -> sparse.csr_matrix:
    indptr = node["indptr"][:].astype(np.int64)
    position = np.full(shape[0], -1, dtype=np.int64)
    position[rows] = np.arange(len(rows))
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for run in _runs(np.arange(shape[1]), np.diff(indptr)):
        source = slice(int(indptr[run.start]), int(indptr[run.stop]))
        row = position[node["indices"][source]]
        column = np.repeat(
            np.arange(run.start, run.stop), np.diff(indptr[run.start : run.stop + 1])
        )
        keep = row >= 0
        parts.append((node["data"][source][keep].astype(np.float64), row[keep], column[keep]))
    if not parts:
        return sparse.csr_matrix((len(rows), shape[1]))
    data, row, column = (np.concatenate(p) for p in zip(*parts, strict=True))
    return sparse.csr_matrix((data, (row, column)), shape=(len(rows), shape[1]))


def _dense_rows(node: HdfNode, rows: np.ndarray) -> sparse.csr_matrix:
    width = node.shape[1]
    blocks = [
        sparse.csr_matrix(
            node[int(rows[run.start]) : int(rows[run.stop - 1]) + 1].astype(np.float64)
        )
        for run in _runs(rows, np.full(len(rows), width))
    ]
    return (
        sparse.csr_matrix(sparse.vstack(blocks, format="csr"))
        if blocks
        else sparse.csr_matrix((0, width))
    )

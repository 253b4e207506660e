"""What a file is by its first bytes, and how a file of another kind becomes one that can be read.

A pickle is recognised and never loaded.
"""

from __future__ import annotations

import gzip
import pickletools
import zlib
from pathlib import Path

_HDF5 = b"\x89HDF\r\n\x1a\n"
_HEAD = 2048

WRITE = (
    "write the cells with adata.write_h5ad('cells.h5ad'), raw counts in X or in layers['counts']"
)


def kind_of(path: Path) -> str:
    """What a file is by its first bytes: ``hdf5``, or a description of something else."""
    with path.open("rb") as file:
        return _kind(file.read(_HEAD))


def packed_kind(path: Path) -> str:
    """What a gzip file holds, by the first bytes of its content."""
    try:
        with gzip.open(path) as file:
            return _kind(file.read(_HEAD))
    except (OSError, EOFError, zlib.error):
        return "damaged content"


def _kind(head: bytes) -> str:
    if not head:
        return "an empty file"
    if any(head[offset : offset + 8] == _HDF5 for offset in (0, 512, 1024)):
        return "hdf5"
    if head[:2] == b"\x1f\x8b":
        return "a gzip file"
    if head[:4] == b"PK\x03\x04":
        return "a zip archive (a PyTorch checkpoint has this form)"
    for magic, name in ((b"\x28\xb5\x2f\xfd", "Zstandard"), (b"BZh", "bzip2"), (b"\xfd7zXZ", "xz")):
        if head.startswith(magic):
            return f"compressed with {name}; decompress it first"
    if head[257:262] == b"ustar":
        return "a tar archive; unpack it first"
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


def conversion(kind: str) -> str:
    """What to do with a file of this kind."""
    if "R data" in kind:
        return (
            "convert it in R: zellkonverter::writeH5AD(Seurat::as.SingleCellExperiment(x),"
            " 'cells.h5ad')"
        )
    if "Matrix Market" in kind:
        return (
            "give genes and barcodes beside it, and convert the folder:"
            " scanpy.read_10x_mtx('folder').write_h5ad('cells.h5ad')"
        )
    if "text file" in kind:
        return (
            "if it is a table of counts, cells in rows: anndata.io.read_csv('table.csv')"
            ".write_h5ad('cells.h5ad'); transpose with .T where genes are in rows"
        )
    return WRITE


def folder_conversion(path: Path) -> str:
    """What to do with a folder that is no zarr store."""
    held = {entry.name.removesuffix(".gz") for entry in path.iterdir()}
    if "matrix.mtx" in held:
        return f"it holds matrix.mtx: scanpy.read_10x_mtx({str(path)!r}).write_h5ad('cells.h5ad')"
    return "give the file itself"


def inner_conversion(path: Path, place: str, stored: str) -> str:
    """How a table of cells inside a file or store is given.

    Parameters
    ----------
    path, place
        The file, and the group in it.
    stored
        ``h5``, ``gzip`` or ``zarr``.
    """
    if stored == "zarr" and path.is_dir():
        return f"give {path / place}"
    if stored == "zarr":
        return f"unpack the archive, and give the folder {place} in it"
    return (
        f"write it as a file: anndata.io.read_elem(h5py.File({path.name!r})[{place!r}])"
        ".write_h5ad('cells.h5ad')"
    )


def other_hdf5(members: list[str]) -> tuple[str, str] | None:
    """Name and conversion of an HDF5 file of another kind, by the groups at its top."""
    held = set(members)
    if {"matrix", "row_attrs", "col_attrs"} <= held:
        return (
            "a loom file",
            "convert it: anndata.io.read_loom('cells.loom', obs_names='CellID', var_names='Gene')"
            ".write_h5ad('cells.h5ad')",
        )
    if {"assays", "meta.data"} <= held:
        return (
            "an h5Seurat file",
            "convert it in R: SeuratDisk::Convert('cells.h5Seurat', dest = 'h5ad')",
        )
    return None

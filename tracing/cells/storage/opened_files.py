"""Opening of expression files: plain HDF5, gzip of it, zarr folders and zip stores.

A gzip file is expanded into a temporary file, block by block and below a ceiling; zarr is read in
place. Nothing else is opened.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import h5py

from scircuit.core.errors import UserError, disk_full
from scircuit.core.expansion import check_zip, copy_gzip
from scircuit.core.files import sha256_file
from scircuit.tracing.cells.storage.file_kinds import (
    WRITE,
    conversion,
    folder_conversion,
    kind_of,
    packed_kind,
)
from scircuit.tracing.cells.storage.stored_nodes import AGAIN, HdfNode, first_line
from scircuit.tracing.cells.storage.string_heaps import endless_heap

_ZARR = (".zgroup", "zarr.json", ".zattrs")
_EXPECTED = "expected an h5ad (AnnData), a 10x h5 file, an h5mu or a zarr store"


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[HdfNode, str]]:
    """Root of a file, and how it is stored: ``h5``, ``gzip`` or ``zarr``.

    Raises
    ------
    UserError
        If the file is absent, unreadable, truncated, or of a kind that is not read.
    """
    try:
        kind = _checked(path)
    except OSError as error:
        raise UserError(
            f"cells: {path} cannot be read ({error.strerror or error})",
            "check the path and the permissions",
        ) from error
    with contextlib.ExitStack() as stack:
        if kind == "zarr":
            yield stack.enter_context(_zarr(path)), "zarr"
            return
        plain = path
        if kind == "gzip":
            plain = stack.enter_context(_expanded(path))
        yield stack.enter_context(_hdf5(path, plain)), kind


def content_sha256(path: Path) -> str:
    """SHA-256 of a file; of a folder, that of the names and hashes of its files."""
    path = Path(path)
    if not path.is_dir():
        return sha256_file(path)
    digest = hashlib.sha256()
    for name in sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()):
        digest.update(f"{sha256_file(path / name)}  {name}\n".encode())
    return digest.hexdigest()


def _checked(path: Path) -> str:
    """``h5``, ``gzip`` or ``zarr``; anything else is refused."""
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
        if any((path / name).is_file() for name in _ZARR):
            return "zarr"
        raise UserError(
            f"cells: {path} is a folder, and no zarr store; {_EXPECTED}", folder_conversion(path)
        )
    if not path.is_file():
        raise UserError(f"cells: {path} is not a regular file; {_EXPECTED}", WRITE)
    kind = kind_of(path)
    if kind == "hdf5":
        return "h5"
    if kind.startswith("a zip archive") and _zarr_root(path) is not None:
        return "zarr"
    if kind == "a gzip file":
        inner = packed_kind(path)
        if inner == "hdf5":
            return "gzip"
        kind = f"a gzip file that holds {inner}"
    raise UserError(f"cells: {path.name} is {kind}; {_EXPECTED}", conversion(kind))


@contextlib.contextmanager
def _hdf5(path: Path, plain: Path) -> Iterator[HdfNode]:
    if (place := endless_heap(plain)) is not None:
        raise UserError(
            f"cells: {path.name} is damaged: the texts stored at byte {place:,} are overwritten",
            AGAIN,
        )
    try:
        file = _unlocked(plain)
    except BlockingIOError as error:
        raise UserError(
            f"cells: {path.name} is open for writing in another program",
            "close it there, or copy the file",
        ) from error
    except Exception as error:
        what = "truncated" if "truncated" in str(error) else "damaged"
        raise UserError(
            f"cells: {path.name} is {what}: HDF5 cannot read it ({first_line(error)}); it has"
            f" {plain.stat().st_size:,} bytes here",
            AGAIN,
        ) from error
    try:
        yield file
    finally:
        file.close()


def _unlocked(path: Path) -> h5py.File:
    """The file, open for reading; file systems that offer no locks are read without one."""
    try:
        return h5py.File(path, "r")
    except BlockingIOError:
        raise
    except OSError as error:
        if "lock file" not in str(error):
            raise
        return h5py.File(path, "r", locking=False)


@contextlib.contextmanager
def _expanded(path: Path) -> Iterator[Path]:
    """The content of a gzip file, in a temporary file that goes when the block ends."""
    with tempfile.TemporaryDirectory(prefix="scircuit-") as folder:
        target = Path(folder) / "cells.h5ad"
        try:
            with target.open("wb") as file:
                copy_gzip(path, file)
        except OSError as error:
            if not disk_full(error):
                raise UserError(
                    f"cells: {path.name} cannot be expanded ({error})", AGAIN
                ) from error
            raise UserError(
                f"cells: {path.name} does not fit into {tempfile.gettempdir()} when expanded",
                "make room there, set TMPDIR to a larger disk, or expand it yourself",
            ) from error
        yield target


def _zarr_root(path: Path) -> str | None:
    """Folder inside a zip archive that is a zarr store: empty for its top, None where none is."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [PurePosixPath(name) for name in archive.namelist()]
    except Exception:
        return None
    roots = sorted(
        (m.parent for m in members if m.name in _ZARR), key=lambda p: (len(p.parts), str(p))
    )
    return None if not roots else "" if str(roots[0]) == "." else str(roots[0])


@contextlib.contextmanager
def _zarr(path: Path) -> Iterator[HdfNode]:
    try:
        zarr = importlib.import_module("zarr")
        stores = importlib.import_module("zarr.storage")
    except ImportError as error:
        raise UserError(
            f"cells: {path.name} is a zarr store, and the package zarr is not installed",
            "pip install zarr, or write the cells as h5ad",
        ) from error
    with contextlib.ExitStack() as stack:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # zarr warns of forms that anndata writes
                if path.is_dir():
                    root = zarr.open_group(str(path), mode="r")
                else:
                    check_zip(path)
                    store = stores.ZipStore(str(path), mode="r")
                    stack.callback(store.close)
                    root = zarr.open_group(store, path=_zarr_root(path) or "", mode="r")
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"cells: {path.name} is a damaged zarr store ({first_line(error)})", AGAIN
            ) from error
        yield root

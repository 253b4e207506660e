"""One node of an HDF5 or zarr file: what it is, its attributes, and its numbers.

Every call into the libraries is guarded here: whatever they raise becomes `Unreadable` with the
reason in words. A missing decompression filter is told from damage, and a dataset whose stated
size its stored bytes cannot bear is refused before memory is asked for.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import h5py
import numpy as np

# The libraries declare a node as group, array or datatype; which one is checked where it is read.
HdfNode = Any

AGAIN = "copy or download the file again and compare its size and checksum with the source"
REWRITE = "the file is inconsistent: write it again from its source"
_FILTERS = {
    305: "LZO",
    307: "bzip2",
    32000: "LZF",
    32001: "Blosc",
    32004: "LZ4",
    32008: "bitshuffle",
    32013: "ZFP",
    32015: "Zstandard",
    32017: "SZ",
    32026: "Blosc2",
}
_LARGE = 1 << 28  # bytes above which a stated size must be borne by stored bytes
_MOST_PACKED = 5000  # numbers expand at most so often; gzip reaches 1,032 on zeros


class Unreadable(Exception):
    """A part of a file that cannot be read: the reason, and what to do."""

    def __init__(self, reason: str, fix: str = REWRITE) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix


def is_array(node: HdfNode) -> bool:
    """Whether a node holds numbers or texts."""
    return node is not None and hasattr(node, "shape") and hasattr(node, "dtype")


def is_group(node: HdfNode) -> bool:
    """Whether a node holds other nodes."""
    return node is not None and hasattr(node, "keys") and not hasattr(node, "dtype")


def names(node: HdfNode) -> list[str]:
    """Names of the nodes in a group; none where it is no group."""
    if not is_group(node):
        return []
    try:
        if not isinstance(node, h5py.Group):
            return _zarr_names(node)
        # h5py gives a name that is not UTF-8 as bytes
        return [n.decode(errors="replace") if isinstance(n, bytes) else str(n) for n in node]
    except Exception as error:
        raise Unreadable(f"its members cannot be listed ({first_line(error)})", AGAIN) from error


def _zarr_names(node: HdfNode) -> list[str]:
    """Names in a zarr group, from the store itself: zarr parses every member to list one, so that
    one that it does not know would hide the others.
    """
    store, inside = node.store, PurePosixPath(str(node.path).strip("/"))
    root = Path(getattr(store, "root", None) or store.path)
    if root.is_dir():
        return sorted(p.name for p in (root / inside).iterdir() if p.is_dir())
    with zipfile.ZipFile(root) as archive:
        members = [PurePosixPath(name) for name in archive.namelist()]
    below = len(inside.parts)
    return sorted(
        {m.parts[below] for m in members if inside in m.parents and len(m.parts) > below + 1}
    )


def child(node: HdfNode, name: str) -> HdfNode:
    """A node of a group; None where it is absent or its header cannot be read."""
    if not is_group(node):
        return None
    try:
        return node[name]
    except Exception:  # a dangling link, a damaged header
        return None


def attribute(node: HdfNode, name: str) -> HdfNode:
    """An attribute as stored; None where it is absent or cannot be read."""
    try:
        return node.attrs.get(name)
    except Exception:
        return None


def attribute_text(node: HdfNode, name: str) -> str:
    """An attribute as text: other writers store bytes, or a list of one; empty where absent."""
    value = attribute(node, name)
    if isinstance(value, np.ndarray | list | tuple):
        value = np.asarray(value, dtype=object).ravel()
        value = value[0] if len(value) == 1 else None
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return "" if value is None or isinstance(value, h5py.Empty) else str(value)


def length_of(node: HdfNode) -> int:
    """Length of a one-dimensional array.

    Raises
    ------
    Unreadable
        If the node is absent, a group, null, or has another number of dimensions.
    """
    if not is_array(node):
        raise Unreadable(
            "it is a group where an array is expected"
            if is_group(node)
            else "it is not stored, or its header cannot be read"
        )
    if node.shape is None:
        raise Unreadable("it is null")
    if len(node.shape) != 1:
        raise Unreadable(f"it has {len(node.shape)} dimensions, expected 1")
    return int(node.shape[0])


def read(node: HdfNode, selection: HdfNode = ...) -> np.ndarray:
    """Numbers or texts of an array.

    Raises
    ------
    Unreadable
        If they cannot be read: damage, a filter that is not installed, pickled content, or a
        stated size that the stored bytes cannot bear.
    """
    if node.shape is None:
        raise Unreadable("it is null")
    _check_filters(node)
    if selection is ...:
        check_size(node)
    try:
        return np.asarray(node[selection])
    except MemoryError:
        raise Unreadable(
            f"its shape {tuple(node.shape)} does not fit into memory", REWRITE
        ) from None
    except Exception as error:
        raise Unreadable(f"it is damaged ({first_line(error)})", AGAIN) from error


def texts(values: np.ndarray) -> np.ndarray:
    """Texts as Python strings; other values as they are.

    Raises
    ------
    Unreadable
        If a text is not UTF-8 or a value is no text.
    """
    if values.dtype.kind in "biuf":
        return values
    if values.dtype.kind not in "OSUT":
        raise Unreadable(f"its values have the type {values.dtype}")
    try:
        result = [v.decode() if isinstance(v, bytes) else v for v in values.tolist()]
    except UnicodeDecodeError:
        raise Unreadable("it holds text that is not UTF-8", "write it again as UTF-8") from None
    if odd := next((v for v in result if not isinstance(v, str) and v is not None), None):
        raise Unreadable(f"it holds a value of type {type(odd).__name__} among texts")
    out = np.empty(len(result), dtype=object)
    out[:] = result
    return out


def first_line(error: BaseException) -> str:
    """What a library said, short."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def check_size(node: HdfNode) -> None:
    """Refuse a size that is stated but not stored; such an array would fill the memory.

    Raises
    ------
    Unreadable
        The shape, and the bytes that are there.
    """
    logical = int(np.prod([int(n) for n in node.shape], dtype=object)) * node.dtype.itemsize
    if logical <= _LARGE:
        return
    try:
        stored = _stored_bytes(node)
    except Exception:
        stored = 0
    if logical > _MOST_PACKED * stored:
        raise Unreadable(
            f"it claims the shape {tuple(node.shape)}, but only {stored:,} bytes of it are stored"
        )


def chunks_lost(node: HdfNode) -> tuple[int, int] | None:
    """How many of the chunks of an array are not stored, and how many there should be; None where
    all are, or nobody can tell. Both libraries read such a chunk as zeros.
    """
    try:
        if isinstance(node, h5py.Dataset):
            if node.chunks is None or not node.size:
                return None
            total = int(np.prod([-(-n // c) for n, c in zip(node.shape, node.chunks, strict=True)]))
            stored = int(node.id.get_num_chunks())
        else:
            if getattr(node, "shards", None) is not None:
                return None
            total, stored = int(node.nchunks), int(node.nchunks_initialized)
    except Exception:  # the reading itself finds out
        return None
    return (total - stored, total) if stored < total else None


def _stored_bytes(node: HdfNode) -> int:
    if isinstance(node, h5py.Dataset):
        return int(node.id.get_storage_size())
    found: HdfNode = node.nbytes_stored  # a number in zarr 2, a function in zarr 3
    return int(found() if inspect.isroutine(found) else found)


def _check_filters(node: HdfNode) -> None:
    """Name a filter that is not installed; hdf5plugin, where present, brings the usual ones."""
    if not isinstance(node, h5py.Dataset):
        return _refuse_pickles(node)
    missing = _missing_filters(node)
    if missing:
        with contextlib.suppress(ImportError):
            importlib.import_module("hdf5plugin")
        missing = _missing_filters(node)
    if missing:
        raise Unreadable(
            f"it is compressed with the HDF5 filter {' and '.join(missing)}, which is not"
            " installed here; the file may be whole",
            "pip install hdf5plugin, or write the file again with compression='gzip'",
        )
    return None


def _missing_filters(node: HdfNode) -> list[str]:
    try:
        plan = node.id.get_create_plist()
        found = [plan.get_filter(i) for i in range(plan.get_nfilters())]
        return [
            f"{code} ({_FILTERS.get(code) or name.decode(errors='replace') or 'unnamed'})"
            for code, _, _, name in found
            if not h5py.h5z.filter_avail(code)
        ]
    except Exception as error:
        raise Unreadable(f"its filters cannot be read ({first_line(error)})", AGAIN) from error


def _refuse_pickles(node: HdfNode) -> None:
    """A zarr array may be coded as Python pickles, which can run code when they are read."""
    try:
        stated = dict(node.metadata.to_dict())
        stated.pop("attributes", None)
    except AttributeError:  # zarr 2
        stated = {"codecs": (node.filters, node.compressor)}
    if "pickle" in repr(stated).lower():
        raise Unreadable("it is coded as Python pickles, which can run code; it was not read")

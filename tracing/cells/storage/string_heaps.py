"""Heaps of texts in an HDF5 file, checked before HDF5 reads them.

HDF5 keeps texts of any length in collections of objects (``GCOL``) and walks a collection by the
sizes that its objects state. Where a part of the file was overwritten with zeros, as downloads that
broke off leave it, an object states size 0, and HDF5 walks on the spot for ever. Here the same walk
is done with a check.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

_SIGNATURE = b"GCOL\x01\0\0\0"
_LARGEST = 4 << 30  # bytes of a file that is searched; a larger one is read unchecked
_HEADER = 16  # of a collection, and of an object
_OBJECT = struct.Struct("<HHIQ")  # index, references, reserved, size


def endless_heap(path: Path) -> int | None:
    """Where the first collection begins on which HDF5 would not return; None where all end."""
    if not _HEADER < path.stat().st_size <= _LARGEST:
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content.find(_SIGNATURE)
        while start >= 0:
            if not _ends(content, start):
                return start
            start = content.find(_SIGNATURE, start + len(_SIGNATURE))
    return None


def _ends(content: mmap.mmap, start: int) -> bool:
    """Whether a walk over a collection's objects comes to an end, or to an error."""
    if start + _HEADER > len(content):
        return True
    (size,) = struct.unpack_from("<Q", content, start + 8)
    stop = start + size
    if stop > len(content):
        return True
    at = start + _HEADER
    while at + _HEADER <= stop:
        index, _, _, length = _OBJECT.unpack_from(content, at)
        # the size of object 0, which is the free space, includes its header
        step = _HEADER + (length + 7 & ~7) if index else length
        step &= (1 << 64) - 1
        if step == 0:
            return False
        at += step
    return True

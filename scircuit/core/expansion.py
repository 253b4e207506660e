"""Compressed input with a ceiling on what it may expand to.

A few megabytes of gzip or zip can hold terabytes of zeros. Everything that is read compressed goes
through here: expansion runs in blocks and stops at the first block that passes the ceiling, before
the memory or the disk is used. Published files of this trade expand 3 to 9 times; expression
matrices, mostly zeros, up to some 50 times.
"""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from scircuit.core.errors import UserError

BLOCK = 1 << 20


class Ceiling(NamedTuple):
    """What a compressed file may expand to.

    Parameters
    ----------
    size
        Most bytes when expanded.
    ratio
        Most bytes when expanded, per byte of the compressed file; counts only above `free` bytes.
    free
        Bytes that are permitted whatever the ratio.
    """

    size: int
    ratio: int
    free: int = 32 << 20

    def of(self, packed: int) -> int:
        """Most bytes that a file of `packed` bytes may expand to."""
        return min(self.size, max(self.free, self.ratio * packed))


TEXT = Ceiling(2 << 30, 50)
EXPRESSION = Ceiling(256 << 30, 200)


def is_gzip(raw: bytes) -> bool:
    """Whether bytes begin as gzip does."""
    return raw[:2] == b"\x1f\x8b"


def expand_gzip(raw: bytes, name: object, ceiling: Ceiling = TEXT) -> bytes:
    """Expand gzip of any number of members in memory.

    Parameters
    ----------
    raw
        The compressed bytes.
    name
        The file, for messages.

    Raises
    ------
    UserError
        If it is damaged or truncated, or expands beyond the ceiling.
    """
    return b"".join(_blocks(io.BytesIO(raw), len(raw), name, ceiling))


def copy_gzip(source: Path, target: BinaryIO, ceiling: Ceiling = EXPRESSION) -> int:
    """Expand a gzip file into an open file, block by block; returns the bytes written.

    Raises
    ------
    UserError
        As `expand_gzip`; what was written until then is in `target`.
    OSError
        If `source` cannot be read or `target` cannot be written.
    """
    written = 0
    with Path(source).open("rb") as file:
        for block in _blocks(file, Path(source).stat().st_size, source, ceiling):
            target.write(block)
            written += len(block)
    return written


def check_zip(path: Path, ceiling: Ceiling = EXPRESSION) -> None:
    """Refuse a zip archive (``.npz``, ``.pt``, a zarr store) whose members expand beyond the
    ceiling.

    The sizes are those that the archive states; readers take no more from a member. A damaged
    archive, and what is none, passes: its own reader says so.

    Raises
    ------
    UserError
        If it would expand beyond the ceiling.
    """
    try:
        packed = Path(path).stat().st_size
        with zipfile.ZipFile(path) as archive:
            expanded = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError):
        return
    if expanded > (most := ceiling.of(packed)):
        raise _too_large(path, packed, f"states {_size(expanded)}", most)


_AGAIN = "copy or download it again: it is probably truncated"


def _blocks(file: BinaryIO, packed: int, name: object, ceiling: Ceiling) -> Iterator[bytes]:
    """Expanded blocks of a gzip stream of `packed` bytes."""
    most, expanded = ceiling.of(packed), 0
    try:
        with gzip.GzipFile(fileobj=file) as stream:
            while block := stream.read(BLOCK):
                expanded += len(block)
                if expanded > most:
                    raise _too_large(name, packed, f"expands to more than {_size(most)}", most)
                yield block
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{name} is a damaged gzip file ({error})", _AGAIN) from None


def _too_large(name: object, packed: int, found: str, most: int) -> UserError:
    return UserError(
        f"{name} has {_size(packed)} and {found} when expanded; at most {_size(most)} are expanded"
        " from a file of this size",
        "check what the file is; if it is the right one, expand it yourself and give the plain"
        " file",
    )


def _size(count: int) -> str:
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count} bytes"

"""Text files of genes: gzipped or plain, with or without byte-order mark, any line ends, UTF-8,
UTF-16 or Latin-1.

The first bytes and lines decide what a file is, never its name. Files that are not text, truncated
or empty are refused here.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from scircuit.analysis.genesets.symbols import RENAMED, Symbol
from scircuit.core.errors import UserError
from scircuit.core.expansion import expand_gzip, is_gzip

GMT_FIX = "a GMT file has lines of: name TAB id or description TAB gene TAB gene ..."
_PACKED = {
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"BZh": "bzip2",
    b"\x1f\x8b": "gzip inside gzip",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x89HDF": "HDF5",
}
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")
_NO_WIDTH = re.compile("[\u200b-\u200d\u2060\ufeff\u00ad]")  # copied from web pages, not seen
_LATIN_SHARE = 0.1  # with more bytes above ASCII it is not text in a Western encoding
_EXAMPLES = 12


class GeneFile(NamedTuple):
    """Text of a file, its lines without blank ones, the hash of its bytes, and notes."""

    file: str
    text: str
    lines: list[str]
    sha256: str
    notes: tuple[str, ...]


def read_text(path: Path | str) -> GeneFile:
    """Read a plain or gzipped text file.

    Raises
    ------
    UserError
        If the file is absent, a truncated gzip or one that expands beyond any gene-set file,
        packed in another way, not text, or empty.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read the gene-set file {path}: {error.strerror or error}", "check the path"
        ) from None
    digest = hashlib.sha256(raw).hexdigest()
    if is_gzip(raw):
        raw = expand_gzip(raw, path)
    packed = next((name for start, name in _PACKED.items() if raw.startswith(start)), "")
    if packed:
        raise UserError(
            f"{path} is not plain text but {packed}",
            "unpack it, or save it as tab-separated text, plain or gzipped",
        )
    text, notes = _decode(path, raw)
    text, unseen = _NO_WIDTH.subn("", text)
    if unseen:
        notes = (*notes, f"{unseen} characters without width were removed")
    lines = [line for line in re.split(r"\r\n|\n|\r", text) if line.strip()]
    if not lines:
        raise UserError(f"{path} is empty: 0 lines with text", GMT_FIX)
    if len(lines) > 1 and not text.endswith(("\n", "\r")):
        last = re.split(r"[\t,;]", lines[-1])
        notes = (
            *notes,
            (
                f"the last of {len(lines)} lines ({last[0][:60]}, {len(last)} fields) has no line"
                " end: the file may be truncated"
            ),
        )
    return GeneFile(path.name, text, lines, digest, notes)


def _decode(path: Path, raw: bytes) -> tuple[str, tuple[str, ...]]:
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            return raw.decode("utf-16"), ("the text is UTF-16, as some spreadsheets save it",)
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path} begins as UTF-16 text but is not (byte {error.start})",
                "save it as UTF-8 text",
            ) from None
    if encoding := _utf16_without_mark(raw):
        return raw.decode(encoding), ("the text is UTF-16 without a byte-order mark",)
    try:
        text = raw.decode("utf-8-sig")
        notes: tuple[str, ...] = ()
    except UnicodeDecodeError as error:
        beyond = sum(1 for byte in raw if byte > 0x7F)
        if beyond > _LATIN_SHARE * len(raw):
            raise UserError(f"{path} is not text in UTF-8 (byte {error.start})", GMT_FIX) from None
        text, notes = (
            raw.decode("latin-1"),
            (f"not UTF-8: read as Latin-1, {beyond} characters outside ASCII",),
        )
    if _CONTROL.search(text):
        raise UserError(f"{path} is not text: it has control characters", GMT_FIX)
    return text, notes


def _utf16_without_mark(raw: bytes) -> str:
    """The byte order of UTF-16 text of mostly Western letters; empty if it is none."""
    for encoding, high in (("utf-16-le", raw[1::2]), ("utf-16-be", raw[::2])):
        if len(raw) % 2 == 0 and high.count(0) > 0.9 * len(high):
            with contextlib.suppress(UnicodeDecodeError):
                if not _CONTROL.search(raw.decode(encoding)):
                    return encoding
    return ""


def symbol_notes(symbols: Iterable[Symbol]) -> list[str]:
    """Notes on symbols that were repaired or could not be, one line for each kind, with counts."""
    counts = Counter(s.note for s in symbols if s.note)
    renamed = {note: times for note, times in counts.items() if RENAMED in note}
    notes = [
        note if times == 1 else f"{note} ({times} times)"
        for note, times in counts.items()
        if note not in renamed
    ]
    if renamed:
        examples = [note.replace(RENAMED, " to ") for note in list(renamed)[:_EXAMPLES]]
        more = f" and {len(renamed) - _EXAMPLES} more" if len(renamed) > _EXAMPLES else ""
        notes.append(
            f"{len(renamed)} retired symbols ({sum(renamed.values())} times) were updated:"
            f" {', '.join(examples)}{more}"
        )
    return notes

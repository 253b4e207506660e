"""Reads the JSON files of an atlas: plain or gzipped, with bare ``Infinity`` and ``NaN``, and
checked field by field.

Some published files hold ``Infinity``, which is not JSON: strict parsers reject the whole file.
Here such values are read and counted. A file that is damaged or has other fields than it should is
refused with its name and the first record that does not fit.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scircuit.core.errors import UserError

_FIX = "copy the atlas' files again; if they were edited, restore the published ones"
_NUMBERED = re.compile(rb'"\d+"\s*:\s*\{')

TEXT, FLAG, WHOLE, NUMBER, LIST, OBJECT = (str,), (bool,), (int,), (int, float), (list,), (dict,)


class Document(NamedTuple):
    """A file as read: its value, the hash of its uncompressed bytes, and how many values are no
    JSON numbers.
    """

    name: str
    value: Any
    sha256: str
    infinite: int
    nan: int


def find(folder: Path, names: re.Pattern[str]) -> dict[str, Path]:
    """Files of a folder by their name without ``.gz``; where a file is there both plain and
    gzipped, they must be equal.

    Raises
    ------
    UserError
        If the folder cannot be read, or two forms of one file differ.
    """
    try:
        paths = sorted(p for p in Path(folder).iterdir() if p.is_file())
    except OSError as error:
        raise UserError(
            f"cannot read the folder {folder}: {error.strerror or error}",
            "give the folder that holds the atlas' JSON files",
        ) from None
    found: dict[str, Path] = {}
    for path in paths:
        name = path.name.removesuffix(".gz")
        if not names.fullmatch(name):
            continue
        if name in found and content(found[name]) != content(path):
            raise UserError(
                f"{found[name].name} and {path.name} are both in {folder} and differ",
                "delete the one that is not the published file",
            )
        found.setdefault(name, path)
    return found


def content(path: Path) -> bytes:
    """Bytes of a file, uncompressed.

    Raises
    ------
    UserError
        If it cannot be read, is a damaged gzip file, or is empty.
    """
    try:
        raw = Path(path).read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(
            f"{path} is a damaged gzip file ({error})", "copy it again: it is probably cut short"
        ) from None
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror or error}",
            "check that the file is there and readable",
        ) from None
    if not raw.strip():
        raise UserError(f"{path} is empty", _FIX)
    return raw


def read(path: Path) -> Document:
    """Read one file; ``Infinity`` and ``NaN`` are accepted and counted.

    Raises
    ------
    UserError
        If it is damaged, is no JSON, or names one record twice.
    """
    raw = content(path)
    odd: Counter[str] = Counter()

    def constant(text: str) -> float:
        odd[text] += 1
        return float(text)

    try:
        value = json.loads(raw, parse_constant=constant)
        if len(_NUMBERED.findall(raw)) > _numbered(value):
            json.loads(raw, object_pairs_hook=lambda pairs: _once(path, pairs))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}", _FIX) from None
    return Document(
        path.name.removesuffix(".gz"),
        value,
        hashlib.sha256(raw).hexdigest(),
        odd["Infinity"] + odd["-Infinity"],
        odd["NaN"],
    )


def _numbered(value: Any) -> int:
    """Objects under a numeric key, at the depths where an atlas has them: fewer than the text shows
    means that a key occurs twice.
    """
    if not isinstance(value, dict):
        return 0
    inner = [value, *(v for v in value.values() if isinstance(v, dict))]
    return sum(1 for d in inner for k, v in d.items() if k.isdigit() and isinstance(v, dict))


def _once(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = [k for k, n in Counter(k for k, _ in pairs).items() if n > 1]
    if twice:
        raise UserError(f"{path}: the key {twice[0]!r} occurs twice in one object", _FIX)
    return dict(pairs)


def column(rows: Sequence[Any], key: str, types: tuple[type, ...], where: str) -> list[Any]:
    """One field of all records.

    Parameters
    ----------
    rows
        Records.
    types
        Exact types that its values may have.
    where
        File and kind of record, for the message.

    Raises
    ------
    UserError
        If a record lacks the field, or has it with another type.
    """
    try:
        values = [row[key] for row in rows]
        if set(map(type, values)) <= set(types):
            return values
    except (KeyError, TypeError, IndexError):
        pass
    for number, row in enumerate(rows):
        found = row.get(key, "nothing") if isinstance(row, dict) else row
        if not isinstance(row, dict) or key not in row or type(found) not in types:
            expected = " or ".join(t.__name__ for t in types)
            raise UserError(
                f"{where} {number}: {key!r} should be {expected}, found {str(found)[:60]!r}", _FIX
            )
    raise AssertionError("unreachable: a record that does not fit is named above")


def typed(value: Any, types: tuple[type, ...], where: str) -> Any:
    """`value`, if it has one of the types; else a UserError that says what was expected."""
    if type(value) not in types:
        raise UserError(
            f"{where} should be {' or '.join(t.__name__ for t in types)}, found"
            f" {type(value).__name__}",
            _FIX,
        )
    return value


def indices(keys: Iterable[Any], size: int, where: str) -> list[int]:
    """Whole numbers from 0 to `size` - 1, each at most once, written as numbers or as text.

    Raises
    ------
    UserError
        If one is no number, out of range, or there twice.
    """
    found: list[int] = []
    for key in keys:
        number = int(key) if type(key) is str and key.isascii() and key.isdigit() else key
        if type(number) is not int or not 0 <= number < size:
            raise UserError(
                f"{where}: {str(key)[:40]!r} is not an index from 0 to {size - 1}", _FIX
            )
        found.append(number)
    if len(set(found)) < len(found):
        twice = Counter(found).most_common(1)[0][0]
        raise UserError(f"{where}: index {twice} occurs {found.count(twice)} times", _FIX)
    return found


def mismatch(problem: str) -> UserError:
    """The files contradict each other."""
    return UserError(problem, "these files do not belong together or were edited; " + _FIX)


def field(mapping: Mapping[str, Any], key: str, types: tuple[type, ...], where: str) -> Any:
    """One field of one record, checked as in `column`."""
    return column([mapping], key, types, where)[0]

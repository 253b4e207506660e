"""Reads the JSON files of an atlas: plain or gzipped, with bare ``Infinity`` and ``NaN``, and
checked field by field.

Some published files contain ``Infinity``, which is not JSON: strict parsers reject the whole file.
This reader accepts and counts such values. A file that is damaged or has unexpected fields is
refused with its name and the first record that does not fit.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar, cast

from scircuit.core.errors import UserError
from scircuit.core.expansion import expand_gzip, is_gzip

T = TypeVar("T")
_FIX = "copy the atlas' files again; if they were edited, restore the published ones"
_NUMBERED = re.compile(rb'"\d+"\s*:\s*\{')

TEXT, FLAG, WHOLE, NUMBER, LIST, OBJECT = (str,), (bool,), (int,), (int, float), (list,), (dict,)


class Document(NamedTuple):
    """A file as read: its value, the hash of its uncompressed bytes, and how many of its values are
    infinite or not a number.
    """

    name: str
    value: object
    sha256: str
    infinite: int
    nan: int


def find_files(folder: Path, names: re.Pattern[str]) -> dict[str, Path]:
    """Files of a folder by their name without ``.gz``; a plain and a gzipped copy must be equal.

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
        if name in found and file_content(found[name]) != file_content(path):
            raise UserError(
                f"{found[name].name} and {path.name} in {folder} differ",
                "delete the one that is not the published file",
            )
        found.setdefault(name, path)
    return found


def file_content(path: Path) -> bytes:
    """Bytes of a file, uncompressed.

    Raises
    ------
    UserError
        If it cannot be read, is a damaged gzip file or one that expands beyond any atlas, or is
        empty.
    """
    try:
        raw = Path(path).read_bytes()
        if is_gzip(raw):
            raw = expand_gzip(raw, path)
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror or error}",
            "check that the file exists and is readable",
        ) from None
    if not raw.strip():
        raise UserError(f"{path} is empty", _FIX)
    return raw


def read_document(path: Path) -> Document:
    """Read one file; ``Infinity`` and ``NaN`` are accepted and counted.

    Raises
    ------
    UserError
        If it is damaged, is not JSON, or names one record twice.
    """
    raw = file_content(path)
    not_json: Counter[str] = Counter()

    def constant(text: str) -> float:
        not_json[text] += 1
        return float(text)

    try:
        value = json.loads(raw, parse_constant=constant)
        if len(_NUMBERED.findall(raw)) > _count_numbered(value):
            json.loads(raw, object_pairs_hook=lambda pairs: _reject_duplicates(path, pairs))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}", _FIX) from None
    return Document(
        path.name.removesuffix(".gz"),
        value,
        hashlib.sha256(raw).hexdigest(),
        not_json["Infinity"] + not_json["-Infinity"],
        not_json["NaN"],
    )


def _count_numbered(value: object) -> int:
    """Objects under a numeric key, at the depths where an atlas has them; if the text has more of
    them, a key occurs twice.
    """
    if not isinstance(value, dict):
        return 0
    inner = [value, *(v for v in value.values() if isinstance(v, dict))]
    return sum(1 for d in inner for k, v in d.items() if k.isdigit() and isinstance(v, dict))


def _reject_duplicates(path: Path, pairs: list[tuple[str, object]]) -> dict[str, object]:
    twice = [k for k, n in Counter(k for k, _ in pairs).items() if n > 1]
    if twice:
        raise UserError(f"{path}: the key {twice[0]!r} occurs twice in one object", _FIX)
    return dict(pairs)


def column_of(
    rows: Sequence[Mapping[str, object]], key: str, types: tuple[type[T], ...], where: str
) -> list[T]:
    """One field of all records.

    Parameters
    ----------
    rows
        Records.
    types
        Permitted types of its values, without subclasses.
    where
        File and kind of record, for the message.

    Raises
    ------
    UserError
        If the field is missing in a record, or has another type.
    """
    try:
        values = [row[key] for row in rows]
        if set(map(type, values)) <= set(types):
            return cast("list[T]", values)
    except (KeyError, TypeError, IndexError):
        pass
    for number, row in enumerate(rows):
        found = row.get(key, "nothing") if isinstance(row, dict) else row
        if not isinstance(row, dict) or key not in row or type(found) not in types:
            expected = " or ".join(t.__name__ for t in types)
            raise UserError(
                f"{where} {number}: {key!r} should be {expected}, found {str(found)[:60]!r}", _FIX
            )
    raise AssertionError("unreachable: the loop above finds a record that does not fit")


def check_type(value: object, types: tuple[type[T], ...], where: str) -> T:
    """`value`, if it has one of the types; else a UserError that names the expected type."""
    if type(value) not in types:
        raise UserError(
            f"{where} should be {' or '.join(t.__name__ for t in types)}, found"
            f" {type(value).__name__}",
            _FIX,
        )
    return cast("T", value)


def indices(keys: Iterable[object], size: int, where: str) -> list[int]:
    """Integers from 0 to `size` - 1, each at most once, written as numbers or as text.

    Raises
    ------
    UserError
        If one is not a number, out of range, or a duplicate.
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
    """Error for files that contradict each other."""
    return UserError(problem, "these files do not belong together or were edited; " + _FIX)


def value_of(mapping: Mapping[str, object], key: str, types: tuple[type[T], ...], where: str) -> T:
    """One field of one record, checked as in `column_of`."""
    return column_of([mapping], key, types, where)[0]

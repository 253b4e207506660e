"""Reads external files strictly: complete, of the expected shape, and with finite numbers.

JSON has no ``NaN`` and no ``Infinity``; Python's reader accepts both. Here they are refused with
their file, as are truncated files, so that a faulty file stops an import before anything is
written.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias, Union

from scircuit.core.address import parse
from scircuit.core.errors import UserError
from scircuit.core.expansion import expand_gzip, is_gzip
from scircuit.core.files import sha256_file

Json: TypeAlias = Union["dict[str, Json]", "list[Json]", str, int, float, bool, None]
"""A value of a parsed JSON file."""
BOM = b"\xef\xbb\xbf"
_MAX_SINGLE_HASHES = 200  # larger sets of files get one hash per folder


def read_json(path: Path) -> Json:
    """Content of a JSON file, plain or gzipped.

    Raises
    ------
    UserError
        If the file is missing, truncated, not JSON, contains NaN or Infinity, or is gzip that
        expands beyond any result file.
    """
    again = "fetch or export the file again"

    def refuse_constant(name: str) -> Json:
        raise UserError(
            f"{path} contains {name}, which is not a number in JSON",
            "find out what the value should be (a division by zero?) and export it again",
        )

    try:
        raw = path.read_bytes()
        if is_gzip(raw):
            raw = expand_gzip(raw, path)
        return json.loads(raw.removeprefix(BOM).decode(), parse_constant=refuse_constant)
    except FileNotFoundError:
        raise UserError(f"there is no file {path}", "check the path") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error})", again) from error
    except json.JSONDecodeError as error:
        if not error.doc.strip():
            raise UserError(f"{path} is empty", again) from None
        cut = error.pos >= len(error.doc.rstrip()) - 1 or error.msg.startswith(
            "Unterminated string"
        )
        raise UserError(
            f"{path} is {'truncated' if cut else 'not JSON'}: {error}", again
        ) from error
    except RecursionError:
        raise UserError(
            f"{path} is nested too deeply for a result file", "check that it is the right file"
        ) from None
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror}", "check the path and its permissions"
        ) from error


def hashes(paths: list[Path], folder: Path) -> dict[str, str]:
    """Path below `folder` -> sha256; for more than 200 files, one joint hash per folder and file
    extension.
    """
    single = {str(p.relative_to(folder)): sha256_file(p) for p in sorted(paths)}
    if len(single) <= _MAX_SINGLE_HASHES:
        return single
    groups: dict[str, list[str]] = {}
    for name, found in single.items():
        groups.setdefault(f"{Path(name).parent}/*{Path(name).suffix}", []).append(f"{name} {found}")
    return {
        f"{key} ({len(lines)} files)": hashlib.sha256("\n".join(lines).encode()).hexdigest()
        for key, lines in groups.items()
    }


def json_object(value: object, names: tuple[str, ...], where: str) -> Mapping[str, Json]:
    """The value, which must be an object with these fields.

    Raises
    ------
    UserError
        If it is not; the message says what was found instead.
    """
    if not isinstance(value, dict):
        raise UserError(
            f"{where} is a {type(value).__name__}, expected an object with {', '.join(names)}",
            "check that it is the right file",
        )
    missing = [n for n in names if n not in value]
    if missing:
        raise UserError(
            f"{where} has no {', '.join(missing)}; it has"
            f" {', '.join(map(str, list(value)[:12])) or 'nothing'}",
            "check that it is the right file",
        )
    return value


def number(value: object, where: str) -> float:
    """A finite number.

    Raises
    ------
    UserError
        If it is a text, a boolean, or not finite (``1e999`` is read as infinity).
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UserError(f"{where} is {value!r}, expected a finite number", "export the file again")
    return float(value)


def whole_number(value: object, where: str, minimum: int = 0) -> int:
    """An integer of at least `minimum`.

    Raises
    ------
    UserError
        If it is not.
    """
    found = number(value, where)
    if found != int(found) or found < minimum:
        raise UserError(
            f"{where} is {value!r}, expected an integer of at least {minimum}",
            "export the file again",
        )
    return int(found)


def json_list(value: object, where: str) -> list[Json]:
    """A list.

    Raises
    ------
    UserError
        If it is something else.
    """
    if not isinstance(value, list):
        raise UserError(
            f"{where} is a {type(value).__name__}, expected a list",
            "check that it is the right file",
        )
    return value


def check_names(model: str, dictionary: str) -> None:
    """Refuse names that cannot be part of an address."""
    try:
        parse(f"{model}/{dictionary}/L00/F0000")
    except ValueError as error:
        raise UserError(
            str(error),
            "use lower-case letters, digits and . _ - in names, such as --model-name"
            " geneformer-v2-316m --dictionary-name k562-x4-k32",
        ) from error

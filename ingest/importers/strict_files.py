"""Reading other people's files strictly: whole, of the expected shape, and with numbers that are
numbers.

JSON has no ``NaN`` and no ``Infinity``; Python's reader takes both. Here they are refused with
their place, as are truncated files, so that what cannot be right stops before anything is written.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scircuit.core.address import parse
from scircuit.core.errors import UserError
from scircuit.core.files import sha256_file

BOM = b"\xef\xbb\xbf"
_SINGLE = 200  # files that are hashed one by one


def read_json(path: Path) -> Any:
    """Content of a JSON file, plain or gzipped.

    Raises
    ------
    UserError
        If the file is missing, truncated, no JSON, or holds NaN or Infinity.
    """
    again = "fetch or export the file again"

    def refuse_constant(name: str) -> Any:
        raise UserError(
            f"{path} holds {name}, which is no number in JSON",
            "find out what the value should be (a division by zero?) and export it again",
        )

    try:
        raw = path.read_bytes()
        if path.suffix == ".gz":
            raw = gzip.decompress(raw)
        return json.loads(raw.removeprefix(BOM).decode(), parse_constant=refuse_constant)
    except FileNotFoundError:
        raise UserError(f"there is no file {path}", "check the path") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is truncated or no gzip file ({error})", again) from error
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
            f"{path} is nested too deeply to be a result file", "check that it is the right file"
        ) from None
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror}", "check the path and its permissions"
        ) from error


def hashes(paths: list[Path], folder: Path) -> dict[str, str]:
    """Path below `folder` -> sha256; of more than 200 files, one joint hash for each folder and
    ending.
    """
    single = {str(p.relative_to(folder)): sha256_file(p) for p in sorted(paths)}
    if len(single) <= _SINGLE:
        return single
    groups: dict[str, list[str]] = {}
    for name, found in single.items():
        groups.setdefault(f"{Path(name).parent}/*{Path(name).suffix}", []).append(f"{name} {found}")
    return {
        f"{key} ({len(lines)} files)": hashlib.sha256("\n".join(lines).encode()).hexdigest()
        for key, lines in groups.items()
    }


def fields(value: Any, names: tuple[str, ...], where: str) -> Mapping[str, Any]:
    """The value, which must be an object that has these fields.

    Raises
    ------
    UserError
        If it is something else; the message says what was found instead.
    """
    if not isinstance(value, dict):
        raise UserError(
            f"{where} is a {type(value).__name__}, expected an object with {', '.join(names)}",
            "check that it is the right file",
        )
    missing = [n for n in names if n not in value]
    if missing:
        raise UserError(
            f"{where} lacks {', '.join(missing)}; it has"
            f" {', '.join(map(str, list(value)[:12])) or 'nothing'}",
            "check that it is the right file",
        )
    return value


def number(value: Any, where: str) -> float:
    """A finite number.

    Raises
    ------
    UserError
        If it is a text, a truth value, or not finite (``1e999`` reads as infinity).
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UserError(f"{where} is {value!r}, expected a finite number", "export the file again")
    return float(value)


def whole(value: Any, where: str, least: int = 0) -> int:
    """A whole number of at least `least`.

    Raises
    ------
    UserError
        If it is not.
    """
    found = number(value, where)
    if found != int(found) or found < least:
        raise UserError(
            f"{where} is {value!r}, expected a whole number from {least} up",
            "export the file again",
        )
    return int(found)


def items(value: Any, where: str) -> list[Any]:
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
    """Refuse names that no address may contain."""
    try:
        parse(f"{model}/{dictionary}/L00/F0000")
    except ValueError as error:
        raise UserError(
            str(error),
            "give names of lower-case letters, digits and . _ -, such as --model-name"
            " geneformer-v2-316m --dictionary-name k562-x4-k32",
        ) from error

"""Files that appear under their name only when complete, and hashes of files.

A file is written under a temporary name, synced and renamed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

_LARGEST = 256 << 20  # of a file that is read as one JSON value


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(value: object) -> str:
    """JSON with sorted keys and no NaN, the same text for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=str)


class Unreadable(ValueError):
    """A file that does not hold what it should; the message says what was found instead."""


def read_text(path: Path) -> str:
    """Text of a small file of our own.

    Raises
    ------
    FileNotFoundError
        If it is not there.
    Unreadable
        If it is no file, or not UTF-8.
    """
    try:
        found = Path(path).stat()
        if not stat.S_ISREG(found.st_mode):
            raise Unreadable("it is a folder" if stat.S_ISDIR(found.st_mode) else "it is no file")
        if found.st_size > _LARGEST:
            raise Unreadable(f"it has {found.st_size:,} bytes")
        return Path(path).read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable(f"it is not UTF-8 text: byte {error.start} of {found.st_size}") from None
    except FileNotFoundError:
        if Path(path).is_symlink():
            raise Unreadable("it is a link to nothing") from None
        raise
    except OSError as error:
        raise Unreadable(f"it cannot be read: {error.strerror or error}") from error


def read_json(path: Path) -> object:
    """Value of a JSON file; errors as `read_text`, and `Unreadable` if it is not JSON."""
    text = read_text(path)
    if not text.strip("\x00 \t\r\n"):
        raise Unreadable("it is empty" if not text else "it holds nothing but zero bytes")
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except RecursionError:
        raise Unreadable("it is nested too deeply") from None
    except ValueError as error:
        raise Unreadable(f"it is not JSON: {error}") from None


def json_object(path: Path) -> dict[str, Any]:
    """Object in a JSON file of somebody else; empty where it is missing, damaged or no object."""
    try:
        if not Path(path).is_file():  # reading a pipe would wait for whoever fills it
            return {}
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _no_number(text)


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` when the block ends without an
    error.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{path.name}.{os.getpid()}-"
    handle, name = tempfile.mkstemp(prefix=prefix, suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a folder beside `out` that takes its place when the block ends without an error."""
    out.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(out)
    prefix = f".{out.name}.{os.getpid()}-"
    fresh = Path(tempfile.mkdtemp(prefix=prefix, suffix=".tmp", dir=out.parent))
    old = fresh.with_suffix(".old")
    try:
        yield fresh
        fresh.chmod(0o755)
        if out.exists():
            out.rename(old)
        fresh.rename(out)
    finally:
        if not out.exists() and old.exists():
            old.rename(out)
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def remove_leftovers(path: Path) -> None:
    """Take away what processes that were killed while they wrote `path` left beside it
    (``.NAME.PID-xyz.tmp``), and put back an old folder that was moved aside (``.old``) if nothing
    has taken its place. What belongs to a living process stays.
    """
    left = re.compile(re.escape(f".{path.name}.") + r"(\d+)-\w+\.(tmp|old)")
    for stray in sorted(path.parent.iterdir()) if path.parent.is_dir() else ():
        match = left.fullmatch(stray.name)
        if match is None or _lives(int(match[1])):
            continue
        if match[2] == "old" and not path.exists():
            stray.rename(path)
        elif stray.is_dir() and not stray.is_symlink():
            shutil.rmtree(stray, ignore_errors=True)
        else:
            stray.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    """Whether a process of this machine is alive; one of another user is."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def write_json(path: Path, value: object) -> None:
    """Write JSON whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(
            json.dumps(value, indent=1, sort_keys=True, allow_nan=False, default=str) + "\n"
        )

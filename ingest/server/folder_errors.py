"""What the system's refusal of a file in the server's folder means, in one sentence."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from scircuit.core.errors import UserError, disk_full

OTHER_FOLDER = "choose another --study folder"


@contextlib.contextmanager
def usable(home: Path) -> Iterator[None]:
    """Turn an `OSError` from the block into a sentence about the server's folder.

    Raises
    ------
    UserError
        What was refused, why, and what to do.
    """
    try:
        yield
    except OSError as error:
        raise UserError(*_told(home, error)) from error


def located(home: Path) -> Path:
    """Return the folder as an absolute path without links.

    Raises
    ------
    UserError
        If it is a link that leads to itself, or a user's home that does not exist.
    """
    try:
        return home.expanduser().resolve()
    except (RuntimeError, OSError) as error:
        raise UserError(
            f"the server's folder {home} is no folder: {error}", OTHER_FOLDER
        ) from error


def _told(home: Path, error: OSError) -> tuple[str, str]:
    name = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
    path = name if name and not isinstance(error.filename, int) else str(home)
    reason = error.strerror or str(error)
    if error.errno in (errno.EACCES, errno.EPERM):
        owner = _owner(home)
        whose = f": the study belongs to {owner}" if owner else ""
        return (
            f"the server's folder {home} cannot be used: {path}: {reason}{whose}",
            "choose a --study folder of your own, or ask the owner for access",
        )
    if error.errno == errno.EROFS:
        return (
            f"the server's folder {home} cannot be written: the file system is read-only",
            "choose a --study folder on a file system that can be written",
        )
    if error.errno == errno.EFBIG:
        return (
            f"{path} may not grow as large as it must: {reason} (ulimit -f)",
            "raise the limit in a new shell: ulimit -f unlimited",
        )
    if disk_full(error):
        return (
            f"there is no room to write {path}: {reason}",
            "free some space; committed data are not lost",
        )
    if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
        return (
            f"the file system of {home} cannot lock files ({reason}), which a database needs",
            "choose a --study folder on a local disk",
        )
    if error.errno in (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ELOOP, errno.ENOTEMPTY):
        return (
            f"the server's folder {home} cannot be written: {path} is not what it should be:"
            f" {reason}",
            f"move {path} away and repeat",
        )
    return f"the server's folder {home} cannot be written: {path}: {reason}", OTHER_FOLDER


def _owner(home: Path) -> str:
    """The name of another user who owns the folder, or the nearest one above it."""
    import pwd

    for folder in (home, *home.parents):
        with contextlib.suppress(OSError):
            uid = folder.stat().st_uid
            if uid == os.geteuid():
                return ""
            try:
                return pwd.getpwuid(uid).pw_name
            except KeyError:
                return f"user {uid}"
    return ""

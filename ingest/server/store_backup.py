"""Keeps the old store until an operation that replaces it has succeeded.

The import tool deletes the old graph first and leaves an unusable store when its input is bad. The
old store is therefore renamed, and renamed back when the operation fails or is interrupted; after a
kill the next start or operation does this.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from scircuit.ingest.server.home import DATABASE

PARTS = ("databases", "transactions")


@contextlib.contextmanager
def replacing(home: Path) -> Iterator[None]:
    """Run a block that writes a new store; when it raises, the old store is restored."""
    restore(home)
    aside = home / "data" / "before"
    # The order matters if the process is killed: the mark of an unfinished operation exists before
    # anything is moved.
    aside.mkdir()
    for part in PARTS:
        store = home / "data" / part / DATABASE
        if store.exists():
            store.rename(aside / part)
    try:
        yield
    except BaseException:
        restore(home)
        raise
    done = aside.with_name("before-done")
    shutil.rmtree(done, ignore_errors=True)
    aside.rename(done)
    shutil.rmtree(done, ignore_errors=True)


def restore(home: Path) -> bool:
    """Restore the old store after an unfinished operation; return whether there was one."""
    aside = home / "data" / "before"
    if not aside.is_dir():
        return False
    kept = [part for part in PARTS if (aside / part).exists()]
    # What was not moved yet is still in place and complete, and must not be deleted.
    for part in kept:
        store = home / "data" / part / DATABASE
        shutil.rmtree(store, ignore_errors=True)
        (aside / part).rename(store)
    aside.rmdir()
    return True

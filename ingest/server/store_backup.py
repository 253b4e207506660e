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

from scircuit.core.progress import say
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


def lost_mark(home: Path) -> Path:
    """File that exists while the graph lacks what it had: its store was lost and made anew."""
    return home / "data" / "graph-lost"


def complete(home: Path) -> None:
    """Make what is left of a store startable, where a part of it was deleted.

    Transaction logs without their store would keep the database from being made anew, and the
    system's database has the password. The graph is then empty; `lost_mark` says so.
    """
    data = home / "data"
    missing = [name for name in ("system", DATABASE) if not (data / "databases" / name).is_dir()]
    if not missing or not (data / "transactions").is_dir():
        return
    for name in missing:
        shutil.rmtree(data / "transactions" / name, ignore_errors=True)
    if DATABASE in missing:
        lost_mark(home).touch()
        say(f"the graph's files are missing in {data}: an empty graph is made")


def set_aside(home: Path, database: str) -> Path:
    """Move a database that cannot be opened into a folder of its own, and return that folder."""
    data = home / "data"
    number = 1 + sum(1 for _ in data.glob("damaged-*"))
    kept = data / f"damaged-{number}"
    if database == DATABASE:
        lost_mark(home).touch()
    for part in PARTS:
        store = data / part / database
        if store.exists():
            (kept / part).mkdir(parents=True)
            store.rename(kept / part / database)
    return kept

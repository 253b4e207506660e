"""One writer for a run: a lock of the operating system for each run of a study.

::

    study/.locks/<run id>.lock     held (flock) by the process that writes, loads or deletes the run
                 <run id>.json     who that is: pid, host, verb and since when; for the message only
                 study.lock        held for a moment: ``study.toml`` is rewritten, or it is settled
                                   whether a run is deleted or another one is computed from it

The lock goes with its process, however that ends; a note that stayed behind means nothing. Whoever
comes second is refused at once, before anything is written, and told who holds the run. Readers
hold no lock: what they read is checked by its hash.

On a network file system the lock holds between machines only where the server keeps locks (NFS 4,
or NFS 3 with lockd). Where a folder knows no locks at all, that is said, and the work goes on.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from scircuit.core.errors import UserError
from scircuit.core.files import Unreadable, read_json
from scircuit.core.progress import say
from scircuit.core.run_files.manifest import is_run_id, require_run_id
from scircuit.core.terminal import one_line

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOCKS = ".locks"
DELETE = "runs delete"  # the verb of the process that deletes a run
_STUDY_WAIT_S = 30.0
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


@dataclass(frozen=True)
class Owner:
    """The process that holds a run; fields are empty where its note cannot be read."""

    run: str
    verb: str = ""
    pid: int = 0
    host: str = ""
    since: str = ""
    graph: bool = True  # whether it also writes into the study's database

    def __str__(self) -> str:
        if not self.pid:
            return "another process"
        where = "" if self.host == socket.gethostname() else f" on {one_line(self.host[:60])}"
        verb, since = one_line(self.verb[:20]), one_line(self.since[:32])
        return f"another process (pid {self.pid}{where}: scircuit {verb}, since {since})"


class RunInUse(UserError):
    """Another process writes, loads or deletes the run."""

    def __init__(self, owner: Owner) -> None:
        super().__init__(
            f"run {owner.run} is in use by {owner}",
            "wait until that process has ended, then give the same command again",
        )
        self.owner = owner


@contextlib.contextmanager
def one_writer(
    study: Path, run: str, verb: str, *, graph: bool = True, signed: bool = True
) -> Iterator[Callable[[], None]]:
    """Hold a run for the block: nobody else writes, loads or deletes it meanwhile.

    Parameters
    ----------
    study
        Folder of the study; without write access to it the block runs without a lock.
    run
        Id of the run.
    verb
        What is done with it, for the message that others get.
    graph
        Whether the block also writes into the study's database.
    signed
        Write the note of who holds the run at once; else when the function that the block is given
        is called, so that a block that is refused before it changes nothing.

    Raises
    ------
    RunInUse
        At once, if another process holds the run.
    UserError
        If the text is not the id of a run.
    """
    lock = _acquired(study / LOCKS, require_run_id(run))
    if lock is None:
        yield lambda: None
        return
    note, notes = _note(study, run), []
    since = datetime.now(UTC).isoformat(timespec="seconds")
    owner = Owner(run, verb, os.getpid(), socket.gethostname(), since, graph)

    def sign() -> None:
        with contextlib.suppress(OSError):
            notes.append(note)
            note.write_text(json.dumps(asdict(owner)), encoding="utf-8")

    try:
        if signed:
            sign()
        yield sign
    finally:
        with contextlib.suppress(OSError):
            for written in notes:
                written.unlink(missing_ok=True)
        lock.release()


def owners(study: Path) -> list[Owner]:
    """Processes that hold a run of the study at this moment."""
    found: list[Owner] = []
    for path in sorted((study / LOCKS).glob("*.lock")):
        if not is_run_id(path.stem):
            continue
        try:
            lock = _acquired(path.parent, path.stem)
        except RunInUse as used:
            found.append(used.owner)
        else:
            if lock is not None:
                lock.release()
    return found


def require_parents(study: Path, parents: Collection[str]) -> None:
    """Refuse to begin a run whose parents are gone or going; call it while `changing_study`.

    Raises
    ------
    UserError
        If a parent is not in the study any more, or another process deletes it.
    """
    deleting = {owner.run for owner in owners(study) if owner.verb == DELETE} if parents else ()
    for parent in parents:
        if parent in deleting or not (study / "runs" / parent).is_dir():
            raise UserError(
                f"run {parent}, from which this one is computed, was deleted meanwhile",
                "choose another run: scircuit runs lists them",
            )


def require_unused(study: Path, purpose: str) -> None:
    """Refuse what would take the database from a process that writes into it.

    Parameters
    ----------
    study
        Folder of the study.
    purpose
        What is refused, such as ``the server cannot be stopped``.

    Raises
    ------
    UserError
        If another process writes into the database of the study.
    """
    if found := [owner for owner in owners(study) if owner.graph]:
        raise UserError(
            f"{purpose}: run {found[0].run} is in use by {found[0]}",
            "wait until that process has ended, or end it, then give the same command again",
        )


@contextlib.contextmanager
def changing_study(study: Path) -> Iterator[None]:
    """Hold the study itself for the block, which is short: two processes do not lose each other's
    options, and no run is begun from one that is being deleted.

    Raises
    ------
    UserError
        If another process holds it for long.
    """
    try:
        lock = _acquired(study / LOCKS, "study", _STUDY_WAIT_S)
    except RunInUse as used:
        raise UserError(f"study {study} is being changed by another process", used.fix) from None
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def _acquired(folder: Path, name: str, wait_s: float = 0.0) -> BaseFileLock | None:
    """The lock, held; None where the folder cannot be written or knows no locks."""
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{name}.lock", timeout=wait_s)
        lock.acquire(poll_interval=0.05)
    except Timeout:
        raise RunInUse(_owner(folder.parent, name)) from None
    except OSError as error:
        if error.errno in _NO_LOCKS:
            say(
                f"  {folder} is on a file system without locks: do not start two processes on one"
                " run"
            )
            return None
        if error.errno in _READ_ONLY:
            return None  # then a writer fails at its first file, and a reader needs no lock
        raise UserError(
            f"{folder} cannot hold the locks of the study: {error.strerror or error}",
            "free space, or choose another --study folder",
        ) from error
    return lock


def _note(study: Path, run: str) -> Path:
    return study / LOCKS / f"{run}.json"


def _owner(study: Path, run: str) -> Owner:
    """Who holds a run, as its note says."""
    try:
        found = read_json(_note(study, run))
    except (OSError, Unreadable):
        return Owner(run)
    if not isinstance(found, dict) or type(found.get("pid")) is not int:
        return Owner(run)
    return Owner(
        run,
        str(found.get("verb", "")),
        found["pid"],
        str(found.get("host", "")),
        str(found.get("since", "")),
        found.get("graph") is not False,
    )

"""Waits until a started server answers, and explains why it did not."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from scircuit.core.errors import UserError
from scircuit.ingest.server.home import DATABASE, HOST
from scircuit.ingest.server.info import ServerInfo

LOGS = ("neo4j.log", "console.log")
DEBUG = "debug.log"
# First match wins: (pattern in the logs, what it means, what to do).
REASONS: tuple[tuple[str, str, str], ...] = (
    (
        r"No space left on device|Disk quota exceeded",
        "the disk is full",
        "free some space; committed data are not lost",
    ),
    (
        r"unable to create (new )?native thread|Cannot create worker GC thread",
        "too few threads or too little address space are allowed (ulimit -u, ulimit -v)",
        "raise the limit in a new shell, or close other programs",
    ),
    (
        r"Could not reserve enough space|insufficient memory|Cannot allocate"
        r" memory|os::commit_memory|"
        r"OutOfMemoryError|exceeds the maximum|Initial heap size set to a larger|Too small"
        r" (initial|maximum) heap",
        "there is too little memory for the server's heap and page cache",
        (
            "choose another heap or page cache, such as heap 512m and pagecache 256m, or close"
            " other programs"
        ),
    ),
    (
        r"Invalid memory configuration|exceeds physical memory",
        "heap and page cache together exceed the memory of this machine",
        "choose a smaller heap or page cache",
    ),
    (
        r"StoreLockException|FileLockException|Store and its lock file has been locked",
        "another server process uses the same data folder",
        "stop that process, then start again",
    ),
    (
        r"Unknown store version|downgrade|UnsupportedFormat|StoreFormat.*not|was not recognised as"
        r" any known version|"
        r"not able to (read|open) .*newer",
        "the data were written by another server version that this one cannot open",
        (
            "start the version that wrote the data, or delete the server's folder and load the runs"
            " again"
        ),
    ),
    (
        (
            r"Unrecognized setting|Error evaluating value for setting|Failed to (read|parse)"
            r" config|Setting .* (is not|must)"
        ),
        "a setting is not accepted",
        "look at conf/extra.conf in the server's folder",
    ),
    (
        r"Too many open files|failed to (open a new selector|create a child event loop)",
        "too few open files are allowed (ulimit -n)",
        "raise the limit in a new shell: ulimit -n 4096",
    ),
    (
        r"File too large|File size limit exceeded",
        "files may not grow as large as the database needs (ulimit -f)",
        "raise the limit in a new shell: ulimit -f unlimited",
    ),
    (
        r"Read-only file system",
        "its folder is on a read-only file system",
        "choose a --study folder on a file system that can be written",
    ),
    (
        r"No locks available|Function not implemented|Operation not supported",
        "the file system of its folder cannot lock files, which a database needs",
        "choose a --study folder on a local disk",
    ),
    (
        r"AccessDeniedException|Permission denied",
        "a file in its folder belongs to another user",
        "ask the owner for access, or choose a --study folder of your own",
    ),
    (
        r"Network is unreachable|Cannot assign requested address|Unresolved address|"
        r"UnknownHostException",
        "an address that it should listen on does not work on this machine",
        "bring the loopback up (as root: ip link set lo up), and look at conf/extra.conf",
    ),
)
PORT_TAKEN = r"Address already in use|PortBindException|BindException"


class PortLost(Exception):
    """Another process took the port before the server started."""


class StoreDamaged(UserError):
    """The server runs, but cannot open the files of a database, whose name is `database`."""

    def __init__(self, problem: str, fix: str, database: str) -> None:
        super().__init__(problem, fix)
        self.database = database


class NotReady(UserError):
    """The process runs but does not answer in time."""


def log_sizes(home: Path) -> dict[str, int]:
    """Return the current sizes of the logs, so that only new text is read later."""
    return {
        name: (home / "logs" / name).stat().st_size if (home / "logs" / name).exists() else 0
        for name in (*LOGS, DEBUG)
    }


def new_log_text(home: Path, since: dict[str, int]) -> str:
    """Return the new text in the logs, at most the last 64 KB of each."""
    return "\n".join(_new_text(home / "logs" / name, since.get(name, 0)) for name in LOGS)


def _new_text(path: Path, since: int) -> str:
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            file.seek(max(since if size >= since else 0, size - 65536))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def diagnosis(home: Path, text: str) -> UserError:
    """Turn the log text of a failed start into an error with cause and fix."""
    logs = f"the logs are in {home / 'logs'}"
    for pattern, meaning, fix in REASONS:
        if re.search(pattern, text):
            return UserError(f"the server did not start: {meaning}", f"{fix} ({logs})")
    telling = [
        line for line in text.splitlines() if re.search(r"ERROR|Error|Caused by|Exception", line)
    ]
    last = (telling or text.strip().splitlines() or ["it wrote no message"])[-1].strip()
    return UserError(f"the server did not start: {last[:300]}", logs)


def wait_ready(
    info: ServerInfo, alive: Callable[[], bool], since: dict[str, int], deadline: float
) -> None:
    """Return as soon as the server answers a query with its password, and serves the Browser.

    Parameters
    ----------
    info
        The server's addresses, password and process.
    alive
        Returns whether its process runs.
    since
        Sizes of the logs before the start.
    deadline
        `time.monotonic` value after which to give up.

    Raises
    ------
    PortLost
        If the server ended because a port was in use.
    UserError
        If it ended for another reason, refuses the password, or does not answer in time.
    """
    import logging

    import neo4j
    from neo4j.exceptions import AuthError, DriverError, Neo4jError

    # Refused connections are expected while the server starts.
    quiet = logging.getLogger("neo4j")
    level = quiet.level
    quiet.setLevel(logging.CRITICAL)
    ports = [int(address.rpartition(":")[2]) for address in (info.uri, info.http)]
    try:
        while time.monotonic() < deadline:
            if not alive():
                text = new_log_text(info.home, since)
                if re.search(PORT_TAKEN, text):
                    raise PortLost
                raise diagnosis(info.home, text)
            if all(_listens(info.pid or 0, port) for port in ports):
                try:
                    with neo4j.GraphDatabase.driver(
                        info.uri,
                        auth=(info.user, info.password),
                        connection_timeout=5,
                        max_transaction_retry_time=0,
                    ) as driver:
                        driver.execute_query("RETURN 1", database_=DATABASE)
                    return
                except AuthError as error:
                    raise UserError(
                        f"the server at {info.uri} refuses the password in"
                        f" {info.home / 'password'}",
                        "if the password was changed in the Browser, write the new one into that"
                        " file",
                    ) from error
                except (DriverError, Neo4jError, OSError):
                    pass  # the port is open before the database is
            _refuse_damaged(info.home, since)
            time.sleep(0.15)
    finally:
        quiet.setLevel(level)
    raise NotReady(
        f"the server (process {info.pid}) did not answer at {info.uri} in time",
        "recovery after a crash can take minutes: repeat the command; the log is"
        f" {info.home / 'logs/neo4j.log'}",
    )


def _refuse_damaged(home: Path, since: dict[str, int]) -> None:
    """Raise `StoreDamaged` if the server has given up opening a database; it then waits for ever.

    Only its log for developers says so.
    """
    text = _new_text(home / "logs" / DEBUG, since.get(DEBUG, 0))
    found = re.search(r"Failed to start DatabaseId\{[^\[]*\[(system|neo4j)\]\}", text)
    if found:
        why = re.search(r"(?:Caused by: [\w.$]+: |start 'DatabaseId\S+ )([^\n\\]{1,200})", text)
        raise StoreDamaged(
            f"the database {found[1]} in {home} cannot be opened"
            f"{f' ({why[1].strip()})' if why else ''}",
            "load the runs again: the graph can be rebuilt from them",
            found[1],
        )


def _listens(pid: int, port: int) -> bool:
    """Whether this process listens: another server may have taken the port first."""
    try:
        sockets = psutil.Process(pid).net_connections(kind="tcp")
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return _accepts(port)
    return any(s.status == psutil.CONN_LISTEN and s.laddr and s.laddr.port == port for s in sockets)


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1):
            return True
    except OSError:
        return False

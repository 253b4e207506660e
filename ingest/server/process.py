"""Starts, stops and finds the server of a study: ``stopped -> starting -> answering -> stopped``.

The server continues to run when the process that started it ends. A second start returns the
running server; a start after a crash recovers what was committed; simultaneous starts wait for each
other.
"""

from __future__ import annotations

import contextlib
import logging
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil

from scircuit.core.errors import UserError
from scircuit.core.progress import say
from scircuit.ingest.server import (
    admin,
    browser_copy,
    confinement,
    jars,
    jvm,
    preconditions,
    store_backup,
)
from scircuit.ingest.server import home as homes
from scircuit.ingest.server.browser_copy import BrowserSeed
from scircuit.ingest.server.find_process import end, find_server, is_server_of
from scircuit.ingest.server.folder_errors import located, usable
from scircuit.ingest.server.home import State
from scircuit.ingest.server.info import Progress, ServerInfo
from scircuit.ingest.server.java import find_java
from scircuit.ingest.server.profiles import DEFAULT_PROFILE, PROFILES, Profile, profile_of
from scircuit.ingest.server.ready import (
    PortLost,
    StoreDamaged,
    diagnosis,
    log_sizes,
    wait_ready,
)

BIND_ATTEMPTS = 4
KILL_ATTEMPTS = 3

_log = logging.getLogger(__name__)


def start(
    home: Path,
    *,
    profile: str = DEFAULT_PROFILE,
    bolt_port: int | None = None,
    http_port: int | None = None,
    heap: str = "1g",
    pagecache: str = "512m",
    seed: BrowserSeed | None = None,
    progress: Progress | None = None,
    wait_s: float = 120,
) -> ServerInfo:
    """Start the server of a home, and return when it answers queries; a running one is not changed.

    A server that is killed while it starts is started again. A database that is missing or cannot
    be opened is made anew (the files are kept), and `store_backup.lost_mark` says so.

    Parameters
    ----------
    home
        The server's folder; created when absent.
    profile
        Server version, one of `PROFILES`.
    bolt_port, http_port
        Ports on 127.0.0.1. Default: those of the last start, or 7687 and 7474, or the next free
        ones.
    heap, pagecache
        Java heap and page cache, such as ``1g`` and ``512m``.
    seed
        Content added to the Browser. Default: that of an earlier start.
    progress
        Called during the download of the jars; by default a bar on stderr.
    wait_s
        Seconds to wait for the server to answer.

    Returns
    -------
    ServerInfo
        Addresses, password and process.

    Raises
    ------
    UserError
        If a requested port is in use, memory, disk space or open files are insufficient, the
        loopback does not work, the folder cannot be written, no supported Java is found, the jars
        cannot be downloaded, the data are of a newer version, or the server does not answer in
        time.
    """
    chosen = profile_of(profile)
    sizes = jvm.parse_size(heap, "heap"), jvm.parse_size(pagecache, "page cache")
    home = homes.prepare(home)
    with usable(home), _one_at_a_time(home, wait_s):
        state = homes.read_state(home)
        for opening in confinement.openings(confinement.read_extra(home)):
            say(f"warning: {home / 'conf' / 'extra.conf'} opens this server: {opening}")
        running = find_server(home, state.pid)
        if running is not None:
            try:
                return _join(home, state, running, chosen, seed, wait_s)
            except UserError:
                if is_server_of(running, home):
                    raise
                say("the running server was stopped by another process: it is started again")
        if store_backup.restore(home):
            say("an import or load was interrupted; the previous graph was restored")
        _refuse_older(home, state, chosen)
        for name, port in (("Bolt", bolt_port), ("HTTP", http_port)):
            if port:
                homes.choose_port(name, port, port)
        preconditions.check(home, *sizes)
        jvm.empty_temporary_folder(home)
        store_backup.complete(home)
        jars.install(profile, progress)
        java = find_java(chosen)
        _first_password(home, chosen, java.path)
        state = replace(state, version=chosen.version, pid=0, heap=heap, pagecache=pagecache)
        jar = browser_copy.current_jar(jars.browser_jar(chosen), home, state.seed)
        if seed is not None:
            jar = browser_copy.seeded_jar(jars.browser_jar(chosen), home, seed)
            state = replace(state, seed=seed.digest, post_connect=seed.post_connect)
        names = not confinement.openings(confinement.read_extra(home))
        command = jvm.server_command(java.path, chosen, home, heap, jar, names=names)
        for _database in ("neo4j", "system"):
            try:
                return _launch(home, state, command, pagecache, (bolt_port, http_port), wait_s)
            except StoreDamaged as error:
                kept = store_backup.set_aside(home, error.database)
                say(f"{error.problem}: its files are kept in {kept}, and it is made anew")
                _first_password(home, chosen, java.path)
        return _launch(home, state, command, pagecache, (bolt_port, http_port), wait_s)


def stop(home: Path, timeout_s: float = 120) -> bool:
    """Shut the server down; kill it if that takes too long. Committed data are kept in any case.

    Returns
    -------
    bool
        Whether a server was running.
    """
    home = located(home)
    with usable(home):
        if not home.is_dir():
            return False
    state = homes.read_state(home)
    process = find_server(home, state.pid)
    if process is not None and not end(process, timeout_s):
        _log.warning(
            "the server (process %d) did not stop within %.0f s and was killed",
            process.pid,
            timeout_s,
        )
    if state.pid:
        # On a full disk the stop must still succeed; a stale process id is recognised as such.
        with contextlib.suppress(OSError):
            homes.write_state(home, homes.stopped(state))
    return process is not None


def status(home: Path) -> ServerInfo:
    """Describe the server of a home; if stopped, ``running`` is False and ``pid`` is None."""
    home = located(home)
    state = homes.read_state(home)
    process = find_server(home, state.pid)
    return homes.info_of(home, replace(state, pid=process.pid if process else 0))


@contextlib.contextmanager
def _one_at_a_time(home: Path, wait_s: float) -> Iterator[None]:
    """Allow one start of a home at a time; the system releases the lock when the process ends."""
    from filelock import FileLock, Timeout

    lock = FileLock(home / "run" / "start.lock")
    try:
        lock.acquire(timeout=wait_s)
    except Timeout:
        raise UserError(
            f"the server in {home} is already being started", "wait for it, then repeat"
        ) from None
    except NotImplementedError:  # filelock's word for a file system without locks
        raise UserError(
            f"the file system of {home} cannot lock files, which a database needs",
            "choose a --study folder on a local disk",
        ) from None
    try:
        yield
    finally:
        lock.release()


def _join(
    home: Path,
    state: State,
    running: psutil.Process,
    profile: Profile,
    seed: BrowserSeed | None,
    wait_s: float,
) -> ServerInfo:
    """Return a running server once it answers; without the loopback it never would."""
    preconditions.check_loopback()
    if state.pid != running.pid:
        state = replace(state, pid=running.pid)
        homes.write_state(home, state)
    if state.version != profile.version:
        _log.warning(
            "the server in %s runs version %s, not %s; stop it first to change",
            home,
            state.version,
            profile.version,
        )
    if seed is not None and seed.digest != state.seed:
        _log.warning(
            "the Browser's content has changed; it is used from the next start of the server on"
        )
    info = homes.info_of(home, state)
    wait_ready(
        info, lambda: is_server_of(running, home), log_sizes(home), time.monotonic() + wait_s
    )
    return info


def _refuse_older(home: Path, state: State, profile: Profile) -> None:
    """A store that a newer server has opened cannot be opened by an older one again."""
    if not (home / "data" / "databases").exists():
        return
    if state.version not in PROFILES:
        raise UserError(
            f"{home / 'server.json'} says that the data were made by Neo4j {state.version!r}, which"
            f" this version of scircuit does not run ({', '.join(PROFILES)})",
            f"upgrade scircuit, or delete {shlex.quote(str(home))} and load the runs again",
        )
    stored = PROFILES[state.version]
    if stored.order > profile.order:
        raise UserError(
            f"the data in {home} were made by Neo4j {stored.version}, which {profile.version}"
            " cannot open",
            f"start version {stored.version}, or delete {shlex.quote(str(home))} and load the runs"
            " again",
        )


def _first_password(home: Path, profile: Profile, java: Path) -> None:
    """Set the password of a new home; refuse data whose password file is missing."""
    if (home / "data" / "databases" / "system").exists():
        if not homes.read_password(home):
            raise UserError(
                f"the data in {home} have a password, but the file {home / 'password'} is missing"
                " or empty",
                f"write the password into it, or delete {shlex.quote(str(home))} and load the runs"
                " again",
            )
        return
    # An interrupted first start may have left one of the two: both are created again.
    shutil.rmtree(home / "data" / "dbms", ignore_errors=True)
    admin.set_initial_password(home, profile, java, homes.make_password(home))


def _launch(
    home: Path,
    state: State,
    command: list[str],
    pagecache: str,
    requested: tuple[int | None, int | None],
    wait_s: float,
) -> ServerInfo:
    """Run the server on free ports; if another process takes a port meanwhile, choose again."""
    lost: frozenset[int] = frozenset()
    killed = 0
    for _ in range(BIND_ATTEMPTS + KILL_ATTEMPTS):
        bolt = homes.choose_port("Bolt", requested[0], state.bolt_port, lost)
        http = homes.choose_port("HTTP", requested[1], state.http_port, lost | {bolt})
        if (bolt, http) != (state.bolt_port, state.http_port):
            _log.info("ports: Bolt %d, HTTP %d", bolt, http)
        state = replace(state, bolt_port=bolt, http_port=http)
        settings = {**homes.settings_of(state, pagecache), **profile_of(state.version).settings}
        if state.post_connect:
            http_root = homes.info_of(home, state).http
            settings["browser.post_connect_cmd"] = state.post_connect.replace("{http}", http_root)
        homes.write_conf(home, settings)
        extra = home / "conf" / "extra.conf"
        confinement.check_ports(confinement.read_extra(home), bolt, http, extra)
        try:
            return _run(home, state, command, wait_s)
        except PortLost:
            lost = lost | {port for port in (bolt, http) if not homes.is_free(port)}
            _log.info("a port of %d and %d was taken in the meantime", bolt, http)
        except Killed as error:
            killed += 1
            if killed == KILL_ATTEMPTS:
                raise UserError(
                    f"the server was killed {killed} times while it started (signal {error})",
                    "another process ends it, or this machine lacks memory: choose a smaller heap"
                    f" or page cache (the logs are in {home / 'logs'})",
                ) from error
            say(f"the server was killed while it started (signal {error}): it is started again")
    raise UserError(
        "other processes repeatedly took the chosen ports", "choose free ports yourself"
    )


class Killed(Exception):
    """A signal of another process ended the server before it answered."""


# By the code that a process ends with; Java's is 128 and the number when it is asked to end.
_SIGNALS = {
    -signal.SIGKILL: signal.SIGKILL,
    -signal.SIGTERM: signal.SIGTERM,
    128 + signal.SIGTERM: signal.SIGTERM,
}


def _run(home: Path, state: State, command: list[str], wait_s: float) -> ServerInfo:
    """Run the command detached and wait until it answers; stop it on any interruption."""
    since = log_sizes(home)
    started: subprocess.Popen[bytes] | None = None
    try:
        homes.write_state(home, replace(state, pid=0))
        with (home / "logs" / "console.log").open("ab") as console:
            started = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                cwd=home,
                env=jvm.environment(home),
                start_new_session=True,
            )
        process = started
        state = replace(state, pid=process.pid)
        homes.write_state(home, state)
        info = homes.info_of(home, state)
        wait_ready(info, lambda: process.poll() is None, since, time.monotonic() + wait_s)
        return info
    except OSError as error:
        if started is not None:
            _reap(started)
        raise diagnosis(home, str(error)) from error
    except UserError as error:
        sent = _SIGNALS.get((started.poll() or 0) if started is not None else 0)
        if sent is not None:
            raise Killed(int(sent)) from error
        if started is not None:
            _reap(started)
        raise
    except BaseException:
        if started is not None:
            _reap(started)
        raise
    finally:
        if started is not None and started.poll() is not None:
            homes.write_state(home, homes.stopped(state))


def _reap(process: subprocess.Popen[bytes]) -> None:
    """Stop a child that did not become a server; kill it if it does not end."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)

"""The folder of one study's server: layout, settings, ports and password.

``conf/neo4j.conf`` is written at every start from `settings_of`; the user's own settings go into
``conf/extra.conf`` and take precedence. ``server.json`` stores version, ports and process, so that
the Browser's address stays the same between starts. ``password`` is random and readable by its
owner only.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shlex
import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from scircuit.core.errors import UserError
from scircuit.core.files import Unreadable, read_json, read_text, remove_leftovers, write_json
from scircuit.ingest.server import confinement, jvm
from scircuit.ingest.server.folder_errors import located, usable
from scircuit.ingest.server.info import ServerInfo
from scircuit.ingest.server.profiles import DEFAULT_PROFILE

HOST = "127.0.0.1"
USER = "neo4j"
DATABASE = "neo4j"
BOLT_PORT = 7687
HTTP_PORT = 7474
PORTS_TRIED = 200
FOLDERS = ("conf", "data", "import", "logs", "plugins", "run", "run/tmp", "browser")


@dataclass(frozen=True)
class State:
    """Content of ``server.json``; `pid` 0 means stopped."""

    version: str = DEFAULT_PROFILE
    bolt_port: int = BOLT_PORT
    http_port: int = HTTP_PORT
    pid: int = 0
    seed: str = ""
    post_connect: str = ""
    heap: str = "1g"
    pagecache: str = "512m"


def read_state(home: Path) -> State:
    """Read ``server.json``.

    A missing or damaged file, or a value that cannot be, gives the defaults: ports are chosen
    anew, and a running process is found by its command line.

    Raises
    ------
    UserError
        If another user's folder does not let it be read.
    """
    path = home / "server.json"
    try:
        raw = read_json(path)
    except Unreadable as error:
        _explain(error, home, PermissionError)
        return State()
    except FileNotFoundError:
        return State()
    if not isinstance(raw, dict):
        return State()
    valid = {name: raw[name] for name, fits in _FITS.items() if name in raw and fits(raw[name])}
    return State(**valid)


def _explain(error: Unreadable, home: Path, refused: type[OSError]) -> None:
    """Say what the system refused; return where the file itself is damaged."""
    if isinstance(error.__cause__, refused):
        with usable(home):
            raise error.__cause__ from None


def _between(low: int, high: int) -> Callable[[object], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _is_line(value: object) -> bool:
    return isinstance(value, str) and len(value) <= 4096 and (value == "" or value.isprintable())


def _is_size(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[1-9]\d{0,9}[kmgt]", value) is not None


# A line break in a text would become a setting of its own in the server's configuration.
_FITS: dict[str, Callable[[object], bool]] = {
    "version": _is_line,
    "bolt_port": _between(1, 65535),
    "http_port": _between(1, 65535),
    "pid": _between(0, 2**31 - 1),
    "seed": _is_line,
    "post_connect": _is_line,
    "heap": _is_size,
    "pagecache": _is_size,
}


def write_state(home: Path, state: State) -> None:
    """Write ``server.json`` whole or not at all; a start and a stop may write at the same time."""
    path = home / "server.json"
    remove_leftovers(path)
    write_json(path, asdict(state))


def prepare(home: Path) -> Path:
    """Create the folder and its sub-folders, closed to other users, and return it as an absolute
    path.

    Raises
    ------
    UserError
        If it cannot be created, belongs to another user, or its path cannot be told to Java.
    """
    home = located(home)
    jvm.root(home)
    with usable(home):
        home.mkdir(parents=True, exist_ok=True)
        home.chmod(0o700)
        for name in FOLDERS:
            (home / name).mkdir(exist_ok=True)
            if not os.access(home / name, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "Permission denied", str(home / name))
        _require_no_pipes(home)
    return home


def _require_no_pipes(home: Path) -> None:
    """Refuse a pipe or a device where a file belongs: opening it would wait for ever."""
    for folder in (home, *(home / name for name in FOLDERS)):
        for path in folder.iterdir():
            if path.exists() and not (path.is_file() or path.is_dir()):
                raise UserError(
                    f"{path} is neither a file nor a folder",
                    f"remove it: rm {shlex.quote(str(path))}",
                )


def read_password(home: Path) -> str:
    """Return the password, or an empty text if there is none yet.

    Raises
    ------
    UserError
        If the file holds something that no one can have typed as a password.
    """
    path = home / "password"
    try:
        text = read_text(path).strip()
    except FileNotFoundError:
        return ""
    except Unreadable as error:
        _explain(error, home, OSError)
        text = "\0"
    if text and (len(text) > 4096 or not text.isprintable()):
        raise UserError(
            f"{path} is damaged: it holds no password",
            "write the server's password into it; if that is lost, delete"
            f" {shlex.quote(str(home))} and load the runs again: the graph is rebuilt from them",
        )
    return text


def make_password(home: Path) -> str:
    """Draw a random password and write it to a file that only its owner can read.

    It is hexadecimal, so that it needs no quoting in a shell, an option or an address.
    """
    password = secrets.token_hex(16)
    path = home / "password"
    part = home / f"password.{os.getpid()}"
    part.unlink(missing_ok=True)
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(password + "\n")
    part.replace(path)
    return password


def is_free(port: int) -> bool:
    """Whether no process listens on the loopback port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Connections of an earlier server in TIME_WAIT must not count as a listener.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def choose_port(
    name: str, requested: int | None, remembered: int, avoid: frozenset[int] = frozenset()
) -> int:
    """Return the port to listen on.

    A requested port is used or refused; otherwise the stored one, or the next free one above it.

    Raises
    ------
    UserError
        If the requested port is in use or invalid, or no port is free.
    """
    if requested:
        if not 1 <= requested <= 65535:
            raise UserError(
                f"{name} port {requested} is not between 1 and 65535", f"choose another {name} port"
            )
        if requested in avoid or not is_free(requested):
            raise UserError(
                f"{name} port {requested} is used by another process",
                f"stop that process, choose another {name} port, or leave the port out to use the"
                " next free one",
            )
        return requested
    for port in range(remembered, min(remembered + PORTS_TRIED, 65536)):
        if port not in avoid and is_free(port):
            return port
    raise UserError(
        f"no free {name} port from {remembered} to {remembered + PORTS_TRIED - 1}",
        f"choose a free {name} port yourself",
    )


def settings_of(state: State, pagecache: str) -> dict[str, str]:
    """Return the server's settings.

    Loopback only, with passwords, without usage reports. Transaction logs are not kept beyond the
    last checkpoint and not preallocated: a study can be rebuilt from its runs, and they would need
    half a gigabyte per study.
    """
    return {
        "server.default_listen_address": HOST,
        "server.default_advertised_address": HOST,
        "server.bolt.listen_address": f"{HOST}:{state.bolt_port}",
        "server.bolt.advertised_address": f"{HOST}:{state.bolt_port}",
        "server.http.listen_address": f"{HOST}:{state.http_port}",
        "server.http.advertised_address": f"{HOST}:{state.http_port}",
        "server.https.enabled": "false",
        "dbms.security.auth_enabled": "true",
        "dbms.usage_report.enabled": "false",
        "client.allow_telemetry": "false",
        "server.memory.pagecache.size": pagecache,
        "db.tx_log.rotation.retention_policy": "keep_none",
        "db.tx_log.preallocate": "false",
        "browser.remote_content_hostname_whitelist": "localhost,127.0.0.1",
        **confinement.SETTINGS,
    }


def write_conf(home: Path, settings: dict[str, str]) -> None:
    """Write ``conf/neo4j.conf``; ``conf/extra.conf`` (same format) overrides single settings."""
    merged = {**settings, **confinement.read_extra(home)}
    lines = ["# Written at every start. Put your own settings into extra.conf in this folder."]
    lines += [f"{key}={value}" for key, value in merged.items()]
    (home / "conf" / "neo4j.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")


def info_of(home: Path, state: State) -> ServerInfo:
    """Describe the server of a home from its stored state."""
    http = f"http://{HOST}:{state.http_port}"
    uri = f"bolt://{HOST}:{state.bolt_port}"
    return ServerInfo(
        uri=uri,
        user=USER,
        password=read_password(home),
        browser=f"{http}/browser/?dbms={uri.replace('//', f'//{USER}@')}",
        http=http,
        version=state.version,
        pid=state.pid or None,
        home=home,
        running=state.pid != 0,
    )


def stopped(state: State) -> State:
    """Return the state without its process."""
    return replace(state, pid=0)

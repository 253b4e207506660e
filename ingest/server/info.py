"""Return types of the server functions, and the type of their progress callback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

Progress = Callable[[str, int, int], None]
"""Called as ``progress(what, done, total)``; `done` and `total` count bytes of a download."""


@dataclass(frozen=True)
class ServerInfo:
    """Where a study's server answers, or would answer once started.

    Attributes
    ----------
    uri
        Bolt address, such as ``bolt://127.0.0.1:7687``.
    user, password
        Credentials; the password is empty if none was set yet.
    browser
        Address of the Neo4j Browser, connected to `uri`.
    http
        Root of the HTTP server.
    version
        Neo4j version of the profile in use.
    pid
        Process id, or None when stopped.
    home
        The server's folder.
    running
        Whether the process runs.
    """

    uri: str
    user: str
    password: str = field(repr=False)
    browser: str
    http: str
    version: str
    pid: int | None
    home: Path
    running: bool


@dataclass(frozen=True)
class ImportReport:
    """Counts from ``neo4j-admin database import full``, and the wall time."""

    nodes: int
    relationships: int
    properties: int
    seconds: float

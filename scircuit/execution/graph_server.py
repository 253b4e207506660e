"""Which Neo4j a study talks to: the user's own by NEO4J_URI, else the study's local server, started
when needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from scircuit.core.config import ServerConfig
from scircuit.core.errors import UserError, quoted
from scircuit.core.progress import say
from scircuit.core.study import Study

if TYPE_CHECKING:
    from scircuit.ingest.graph.connection import Connection, Target
    from scircuit.ingest.server import ServerInfo


def start_server(study: Study, config: ServerConfig | None = None, *, quiet: bool = False) -> Any:
    """Start the study's local server, Browser style, queries and guide included, or wait until the
    running one answers; without a configuration, with the version and memory of the last start.
    """
    from scircuit.ingest import server
    from scircuit.queries import browser

    config = config or _as_before(study)
    if not server.status(study.server_home).running and not quiet:
        say(f"starting Neo4j {config.profile} in {study.server_home}")
    script, files = browser.seed()
    return server.start(
        study.server_home,
        profile=config.profile,
        bolt_port=config.bolt_port or None,
        http_port=config.http_port or None,
        heap=config.heap,
        pagecache=config.pagecache,
        seed=server.BrowserSeed(script, files, browser.POST_CONNECT),
    )


def _as_before(study: Study) -> ServerConfig:
    """Version and memory that the study's server had when it was last started."""
    from scircuit.ingest.server import PROFILES
    from scircuit.ingest.server.home import read_state

    state = read_state(study.server_home)
    if state.version not in PROFILES:
        return ServerConfig()
    return ServerConfig(profile=state.version, heap=state.heap, pagecache=state.pagecache)


def target(study: Study, *, start: bool = True) -> Target:
    """Address and password of the study's database.

    Raises
    ------
    UserError
        If the local server is stopped and `start` is false, or the user's own server is only half
        named.
    """
    from scircuit.ingest.graph.connection import target_from_env

    own = target_from_env()
    if own is not None:
        return own
    from scircuit.ingest import server

    info = server.status(study.server_home)
    if not info.running:
        if not start:
            raise UserError(
                f"the database of {study.root} is not running",
                f"start it: scircuit db start --study {quoted(study.root)}",
            )
        info = start_server(study)
    return _target_of(study, info)


def _target_of(study: Study, info: ServerInfo) -> Target:
    from scircuit.ingest.graph.connection import Target

    return Target(info.uri, info.user, info.password, study=str(study.root))


def open_graph(study: Study, *, start: bool = True) -> Connection:
    """Open a connection to the study's database.

    Parameters
    ----------
    study
        The study.
    start
        Start the study's own server where it is not running, and again where it ends while the
        connection is in use: what was asked then is asked once more. The user's own server
        (NEO4J_URI) is never started.

    Raises
    ------
    UserError
        If the database cannot be reached.
    """
    from scircuit.ingest.graph.connection import Connection, target_from_env

    own = target_from_env()
    if own is not None:
        return Connection.open(own)

    def revive() -> Target:
        return _target_of(study, start_server(study))

    return Connection.open(target(study, start=start), revive=revive if start else None)


def opener(study: Study) -> Callable[[], Connection]:
    """Give a function that opens a connection to the study's database, starting the local server on
    first use.
    """

    def open_connection() -> Connection:
        return open_graph(study)

    return open_connection

"""Which Neo4j a study talks to: the user's own by NEO4J_URI, else the study's local server, started
when needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from scircuit.core.config import ServerConfig
from scircuit.core.errors import UserError
from scircuit.core.progress import say
from scircuit.core.study import Study

if TYPE_CHECKING:
    from scircuit.ingest.graph.connection import Connection, Target


def start_server(study: Study, config: ServerConfig | None = None, *, quiet: bool = False) -> Any:
    """Start the study's local server (or find it running), Browser style, queries and guide
    included.
    """
    from scircuit.ingest import server
    from scircuit.queries import browser

    config = config or ServerConfig()
    found = server.status(study.server_home)
    if found.running:
        return found
    if not quiet:
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


def target(study: Study, *, start: bool = True) -> Target:
    """Address and password of the study's database.

    Raises
    ------
    UserError
        If the local server is stopped and `start` is false, or the user's own server is only half
        named.
    """
    from scircuit.ingest.graph.connection import Target, target_from_env

    own = target_from_env()
    if own is not None:
        return own
    if start:
        info = start_server(study)
    else:
        from scircuit.ingest import server

        info = server.status(study.server_home)
        if not info.running:
            raise UserError(
                f"the database of {study.root} is not running",
                f"start it: scircuit db start --study {study.root}",
            )
    return Target(info.uri, info.user, info.password)


def opener(study: Study) -> Callable[[], Connection]:
    """Give a function that opens a connection to the study's database, starting the local server on
    first use.
    """
    from scircuit.ingest.graph.connection import Connection

    def open_connection() -> Connection:
        return Connection.open(target(study))

    return open_connection

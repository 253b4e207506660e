"""Whether a text is the Bolt address of a server, decided before anything connects to it.

The driver takes ``http://`` for another protocol that needs more libraries, resolves
``bolt://host:abc`` as a name, and wraps a port of 70,000 to another server's.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from scircuit.core.errors import UserError

_SCHEMES = ("bolt", "bolt+s", "bolt+ssc", "neo4j", "neo4j+s", "neo4j+ssc")


def require_bolt(uri: str) -> None:
    """Refuse what is no Bolt address; a password in it is not repeated.

    Raises
    ------
    UserError
        If scheme, host or port is not one, or the address holds a user.
    """
    shown, _, where = uri.rpartition("@")
    shown = f"{shown.partition('://')[0]}://...@{where}" if shown else uri
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        reason = "of brackets that do not match" if "[" in uri or "]" in uri else str(error)
        raise _refused(shown, reason) from None
    if parts.scheme.lower() not in _SCHEMES:
        raise _refused(shown, f"expected one of {', '.join(f'{s}://' for s in _SCHEMES)}")
    if not host or any(c.isspace() or not c.isprintable() for c in uri):
        raise _refused(shown, "expected a host")
    if port == 0:
        raise _refused(shown, "expected a port between 1 and 65535")
    if "@" in parts.netloc:
        raise UserError(
            f"{shown!r} holds a user; expected an address only",
            f"write it as {parts.scheme}://{where}, and give the user and the password as"
            " NEO4J_USERNAME and NEO4J_PASSWORD",
        )


def _refused(shown: str, reason: str) -> UserError:
    return UserError(f"{shown!r} is not a Bolt address: {reason}", "write it as bolt://HOST:PORT")

"""What the server may reach and who may reach it, and which settings of the user change that.

By default a statement can read no file and fetch no address: ``LOAD CSV`` is refused both, since
any text given to ``scircuit query --cypher`` could otherwise read what the user can read.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path

from scircuit.core.errors import UserError
from scircuit.core.files import Unreadable, read_text

SETTINGS: Mapping[str, str] = {
    # If the user allows files, then only those in the home's folder ``import``.
    "server.directories.import": "import",
    "dbms.security.allow_csv_import_from_file_urls": "false",
    "internal.dbms.cypher_ip_blocklist": "0.0.0.0/0,::/0",
}
_ADDRESSES = ("server.bolt.listen_address", "server.http.listen_address")


def read_extra(home: Path) -> dict[str, str]:
    """Read ``conf/extra.conf``, the user's own settings; empty where there is none.

    Raises
    ------
    UserError
        If it cannot be read as text, or a line is no setting.
    """
    path = home / "conf" / "extra.conf"
    if not path.exists() and not path.is_symlink():
        return {}
    fix = "write one setting per line, name=value, as plain text (UTF-8), or delete the file"
    try:
        text = read_text(path).removeprefix("\ufeff")
    except (Unreadable, FileNotFoundError) as error:
        raise UserError(f"{path} cannot be read as text: {error}", fix) from error
    found = {}
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        key, equals, value = stripped.partition("=")
        if not equals or not key.strip() or not stripped.isprintable():
            raise UserError(
                f"{path}:{number}: {stripped[:80]!r} has no '='"
                if not equals
                else f"{path}:{number}: {stripped[:80]!r} is not a setting",
                fix,
            )
        found[key.strip()] = value.strip()
    return found


def openings(extra: Mapping[str, str]) -> list[str]:
    """Say what the user's settings open to others; empty if they open nothing.

    Parameters
    ----------
    extra
        Settings of ``conf/extra.conf``.
    """
    found = []
    for key, value in extra.items():
        if key.endswith("listen_address") and not _is_loopback(value):
            found.append(f"other machines can reach it ({key}={value})")
    if _is(extra, "dbms.security.auth_enabled", "false"):
        found.append("it asks for no password (dbms.security.auth_enabled=false)")
    if _is(extra, "dbms.security.allow_csv_import_from_file_urls", "true"):
        where = extra.get("server.directories.import", SETTINGS["server.directories.import"])
        found.append(f"LOAD CSV can read files in {where or 'any folder'!r}")
    elif extra.get("server.directories.import", "import") != "import":
        found.append(f"its import folder is {extra['server.directories.import'] or 'any folder'!r}")
    block = "internal.dbms.cypher_ip_blocklist"
    if extra.get(block, SETTINGS[block]) != SETTINGS[block]:
        found.append(f"LOAD CSV can fetch addresses ({block}={extra[block]})")
    for key in ("dbms.security.procedures.unrestricted", "server.https.enabled"):
        if extra.get(key, "") not in ("", "false"):
            found.append(f"{key}={extra[key]}")
    return found


def check_ports(extra: Mapping[str, str], bolt: int, http: int, path: Path) -> None:
    """Refuse a listen address with another port than the server was given.

    Raises
    ------
    UserError
        If there is one: the server would be waited for in vain.
    """
    for key, port, option in zip(
        _ADDRESSES, (bolt, http), ("--bolt-port", "--http-port"), strict=True
    ):
        given = _split(extra.get(key, ""))[1]
        if given and int(given) != port:
            raise UserError(
                f"{path} sets {key}={extra[key]}, but the port is {port}",
                f"leave the setting out and give the port by scircuit db start {option} {given}",
            )


def _is(extra: Mapping[str, str], key: str, value: str) -> bool:
    return extra.get(key, "").lower() == value


def _split(value: str) -> tuple[str, str]:
    """Address and port of ``host:port``, ``[v6]:port``, or one of them alone."""
    found = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*):(\d{1,9})", value)
    return (found[1].strip("[]"), found[2]) if found else (value.strip("[]"), "")


def _is_loopback(value: str) -> bool:
    address = _split(value)[0].lower()
    if address in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False

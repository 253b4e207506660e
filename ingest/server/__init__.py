"""A Neo4j Community server on this machine: downloaded once, private to one study, without Docker
or an installed Java.

The names below are loaded on first use, so that importing this package is fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scircuit.ingest.server.admin import check, dump, import_full, load_dump
    from scircuit.ingest.server.browser_copy import BrowserSeed
    from scircuit.ingest.server.info import ImportReport, Progress, ServerInfo
    from scircuit.ingest.server.jars import install
    from scircuit.ingest.server.process import start, status, stop
    from scircuit.ingest.server.profiles import DEFAULT_PROFILE, PROFILES, Profile

_MODULE_OF = {
    "BrowserSeed": "browser_copy",
    "DEFAULT_PROFILE": "profiles",
    "ImportReport": "info",
    "PROFILES": "profiles",
    "Profile": "profiles",
    "Progress": "info",
    "ServerInfo": "info",
    "check": "admin",
    "dump": "admin",
    "import_full": "admin",
    "install": "jars",
    "load_dump": "admin",
    "start": "process",
    "status": "process",
    "stop": "process",
}

__all__ = [
    "DEFAULT_PROFILE",
    "PROFILES",
    "BrowserSeed",
    "ImportReport",
    "Profile",
    "Progress",
    "ServerInfo",
    "check",
    "dump",
    "import_full",
    "install",
    "load_dump",
    "start",
    "status",
    "stop",
]


def __getattr__(name: str) -> Any:  # whatever the module defines
    if name in _MODULE_OF:
        return getattr(importlib.import_module(f"scircuit.ingest.server.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""The software a result depends on: what a run was begun with, and what goes on with it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.metadata import version

from scircuit.core.version import __version__

_DECIDE = ("numpy", "scipy", "torch", "transformers")  # arithmetic, p values and the model's layers


def packages() -> dict[str, str]:
    """Versions that a result depends on; of Python the language's, since its patches compute the
    same.
    """
    return {
        "scircuit": __version__,
        "python": "{}.{}".format(*sys.version_info),
        **{name: version(name) for name in _DECIDE},
    }


def listed(versions: Mapping[str, str]) -> str:
    """Names with versions as one text."""
    return ", ".join(f"{name} {number}" for name, number in versions.items())


def differing(
    expected: Mapping[str, str], found: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Packages of both lists whose versions are not the same, as they are in each."""
    names = [name for name in expected if name in found and expected[name] != found[name]]
    return {name: expected[name] for name in names}, {name: found[name] for name in names}

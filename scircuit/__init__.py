"""scircuit traces the causal circuits inside single-cell foundation models and keeps them in a Neo4j graph.

The verbs are the same as on the command line, on plain objects, and are loaded when first used:
`check`, `train`, `trace`, `load`, `annotate`, `analyse`, `ablate`, `steer`, `report`, `query`, `cypher`, `connect`, `runs`, `demo`,
`import_`, `match`, `export`, `genesets`.

>>> import scircuit as sc
>>> sc.query("top_hubs", study="scircuit-study")  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

ROOMS = ("tracing", "ingest", "analysis", "queries")
_VERBS = {
    "check": "check", "train": "train", "trace": "trace", "load": "load", "annotate": "annotate", "analyse": "analyse",
    "ablate": "ablate", "steer": "steer", "report": "report", "query": "query", "cypher": "query", "connect": "database",
    "runs": "runs", "demo": "demo", "import_": "importing", "export": "exporting", "match": "match", "genesets": "genesets",
}  # fmt: skip


def _check_rooms() -> None:
    """Make sure that `import analysis` and its sisters find this project's rooms, not a script of the same name."""
    home = Path(__file__).resolve().parent.parent
    for room in ROOMS:
        expected = home / room / "__init__.py"
        spec = PathFinder.find_spec(room)
        found = Path(spec.origin).resolve() if spec and spec.origin else None
        if spec is not None and found != expected and expected.exists():
            where = found or (list(spec.submodule_search_locations or [])[:1] or ["?"])[0]
            raise ImportError(
                f"{where} shadows scircuit's room {room!r} (expected {expected}): Python finds it first because its folder comes "
                f"first on sys.path.\n  fix: rename it (for example my_{room}.py), or start Python from another folder"
            )


_check_rooms()


def __getattr__(name: str) -> Any:
    if name in _VERBS:
        return getattr(importlib.import_module(f"scircuit.cli.{_VERBS[name]}"), name)
    raise AttributeError(f"module 'scircuit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_VERBS])

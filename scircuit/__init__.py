"""scircuit traces the causal circuits inside single-cell foundation models and keeps them in a
Neo4j graph.

The verbs are the same as on the command line, on plain objects, and are loaded when first used:
`check`, `train`, `trace`, `load`, `annotate`, `analyse`, `ablate`, `steer`, `report`, `query`,
`cypher`, `connect`, `runs`, `demo`, `import_`, `match`, `export`, `genesets`.

>>> import scircuit as sc
>>> sc.query("top_hubs", study="scircuit-study")  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

ROOMS = ("tracing", "ingest", "analysis", "queries")
_VERBS = {
    "check": "check",
    "train": "train",
    "trace": "trace",
    "load": "load",
    "annotate": "annotate",
    "analyse": "analyse",
    "ablate": "ablate",
    "steer": "steer",
    "report": "report",
    "query": "query",
    "cypher": "query",
    "connect": "database",
    "runs": "runs",
    "demo": "demo",
    "import_": "importing",
    "export": "exporting",
    "match": "match",
    "genesets": "genesets",
}


def __getattr__(name: str) -> Any:
    if name in _VERBS:
        return getattr(importlib.import_module(f"scircuit.workflows.{_VERBS[name]}"), name)
    raise AttributeError(f"module 'scircuit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_VERBS])

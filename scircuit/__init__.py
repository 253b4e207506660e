"""Trace the causal circuits inside single-cell foundation models and keep them in a Neo4j graph.

The functions are the verbs of the command line: `check`, `train`, `trace`, `null`, `load`,
`annotate`, `analyse`, `ablate`, `steer`, `importance`, `circuit`, `attribute`, `compare`,
`predict`, `reproduce`, `report`, `query`, `cypher`, `connect`, `runs`, `demo`, `import_`, `match`,
`export`, `genesets`. Plots are in `scircuit.pl`. Everything is loaded on first use.

>>> import scircuit as sc
>>> sc.query("top_hubs", study="scircuit-study")  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import Any

from scircuit.core.version import __version__

__all__ = ["__version__"]

_WORKFLOW_OF = {
    "ablate": "interventions.ablate",
    "analyse": "analyse",
    "annotate": "annotate",
    "attribute": "interventions.attribute",
    "check": "check",
    "circuit": "interventions.circuit",
    "compare": "evidence.compare",
    "connect": "database",
    "cypher": "query",
    "demo": "demo",
    "export": "exporting",
    "genesets": "genesets",
    "import_": "importing",
    "importance": "interventions.importance",
    "load": "database",
    "match": "match",
    "null": "null",
    "predict": "evidence.predict",
    "query": "query",
    "report": "report",
    "reproduce": "evidence.reproduce",
    "runs": "runs",
    "steer": "interventions.steer",
    "trace": "trace",
    "train": "train",
}


def __getattr__(name: str) -> Any:
    if name in _WORKFLOW_OF:
        return getattr(importlib.import_module(f"scircuit.workflows.{_WORKFLOW_OF[name]}"), name)
    if name == "pl":
        return importlib.import_module("scircuit.pl")
    raise AttributeError(f"module 'scircuit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_WORKFLOW_OF, "pl"])

"""Options of the server, and of exports out of the graph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scircuit.core.config.option import option


@dataclass(frozen=True)
class ServerConfig:
    """The Neo4j server of a study.

    NEO4J_URI, NEO4J_USERNAME and NEO4J_PASSWORD select your own server instead.
    """

    profile: str = option("2026.07.1", "server version", ("2026.07.1", "5.26.29"))
    bolt_port: int = option(0, "Bolt port (0: 7687, or the next free one)")
    http_port: int = option(0, "HTTP port (0: 7474, or the next free one)")
    heap: str = option("1g", "Java heap")
    pagecache: str = option("512m", "page cache")


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """``scircuit export``: write a run, or the part of the graph that a question returns."""

    out: Path = option(help="file or folder to write")
    format: str = option(
        "parquet",
        "parquet, graphml, circuit-tracer, neuronpedia or biocypher",
        ("parquet", "graphml", "circuit-tracer", "neuronpedia", "biocypher"),
    )
    run: str = option("", "run whose records are written (default: the newest complete trace run)")
    query: str = option(
        "",
        "catalogue question or read-only Cypher that returns the part to write (needs the"
        " database)",
    )
    parameters: tuple[str, ...] = option((), "NAME=VALUE parameters of the question", short="-p")
    q: float = option(0.05, "maximum q of the edges (1: all stored edges)")
    features: tuple[str, ...] = option((), "only edges between these features and their neighbours")

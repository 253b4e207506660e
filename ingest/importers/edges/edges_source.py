"""``scircuit import edges``: edges of a published circuit study, whatever of its formats they are
in.

=============================================
=========================================================================================
``circuit_L05_features.json``                  n, mean, sd, d, consistency; at most 50 targets of each source and layer, all of them counted
``circuit_graph.json``, annotated edges        mean, d, consistency of the same edges
``feature_0898.json``, ``feature_F0898.json``  d, consistency; the strongest targets, all of them counted
``deltas/feature_0898.npz``                    everything, from the effects in every cell
``circuit_edges*.csv``                         d, consistency; in newer files also mean and counts of cells
=============================================  =========================================================================================

What a file does not give stays empty, and is stated on the run (`lacks`, `cap`, `rule`), so that a
comparison which needs it can be refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from scircuit.core.config import ImportEdgesConfig
from scircuit.core.errors import UserError
from scircuit.ingest.importers.edges.csv_format import read_csv
from scircuit.ingest.importers.edges.edge_table import (
    Edges,
    blocks,
    capped_sizes,
    check,
    edge_tables,
    node_tables,
    sorted_edges,
)
from scircuit.ingest.importers.edges.json_format import condition_rows, read_graph, read_layers
from scircuit.ingest.importers.edges.per_feature_format import read_deltas, read_features
from scircuit.ingest.importers.feature_nodes import uses
from scircuit.ingest.importers.gaps import MEANING
from scircuit.ingest.importers.source import Source
from scircuit.ingest.importers.strict_files import check_names, hashes, read_json

_SUMMARIES = (
    "exhaustive_summary",
    "progress",
    "circuit_analysis",
    "summary",
)  # of files that hold no edge of their own
_FORMATS = (
    "circuit_L*_features.json, circuit_graph.json, annotated edges, feature_*.json, feature_*.npz,"
    " circuit_edges*.csv"
)


def read(config: ImportEdgesConfig, gene_ids: Mapping[str, str]) -> Source:  # noqa: ARG001 - edges name no gene
    """Read and check the edges of one study and condition.

    Raises
    ------
    UserError
        If there is no known file, several formats, studies or conditions are mixed, a file is
        damaged, or its columns contradict each other.
    """
    model, dictionary = config.model_name, config.dictionary_name
    check_names(model, dictionary)
    path = Path(config.path)
    files = _files(path)
    format, edges, used, notes = _read(files, config)
    notes = [*notes, *edges.notes, *check(edges, path.name)]
    _layer_as_said(edges, config.source_layer)
    edges = sorted_edges(edges)
    nodes = node_tables(model, dictionary, edges)
    bounds = blocks(edges)
    units = {"features": lambda: nodes} | {
        "edges" if len(bounds) == 1 else f"edges-{i:04d}": partial(
            edge_tables, model, dictionary, edges, *bound
        )
        for i, bound in enumerate(bounds)
    }
    return Source(
        format=format,
        name=" ".join([f"{model}/{dictionary}", config.condition]).strip(),
        files=hashes(used, path if path.is_dir() else path.parent),
        units=units,
        uses=uses(nodes),
        origin=path.name,
        lacks=edges.lacks,
        cap=edges.cap,
        rule=edges.rule,
        notes=tuple(notes),
        findings={
            **edges.findings,
            "edges": len(edges),
            "features": nodes["Feature"].num_rows,
            "layers": nodes["Dictionary"].column("layer").to_pylist(),
        },
        sentences=tuple(_sentences(edges)),
    )


def _layer_as_said(edges: Edges, source_layer: int) -> None:
    found = sorted({int(t) for t in edges.source_layer})
    if source_layer >= 0 and found != [source_layer]:
        raise UserError(
            f"the sources are of layers {', '.join(map(str, found))}, not of {source_layer}",
            "leave --source-layer out: the files say it",
        )


def _sentences(edges: Edges) -> list[str]:
    import numpy as np

    d = edges.values["d"]
    sources = len(np.unique(np.stack([edges.source_layer, edges.source]), axis=1).T)
    missing = "; ".join(MEANING[gap] for gap in edges.lacks)
    kept = (
        f", at most {edges.cap} of {edges.cap_of} (largest group {int(capped_sizes(edges).max())})"
        if edges.cap
        else ""
    )
    said = [
        f"{len(edges):,} edges of {sources:,} sources{kept}: ablation lowers the target in"
        f" {(d < 0).mean():.1%}, median |d| {np.median(np.abs(d)):.2f}; rule {edges.rule}"
    ]
    if "symmetric_rule" in edges.lacks:
        said.append(
            "the share of edges that lower their target is not a finding: the rule lets negative"
            " effects pass more easily than positive ones"
        )
    return [*said, f"the source does not give: {missing}"] if missing else said


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"there is no file or folder {path}", "check the path")
    known = (".json", ".json.gz", ".csv", ".npz")
    files = sorted(
        p
        for folder in (path, path / "deltas")
        for p in folder.glob("*")
        if p.is_file() and p.name.endswith(known)
    )
    if not files:
        raise UserError(f"{path} holds no JSON, CSV or npz file", f"known are {_FORMATS}")
    return files


def _read(files: list[Path], config: ImportEdgesConfig) -> tuple[str, Edges, list[Path], list[str]]:
    """Format, edges, files read, and notes on those that were not."""
    sorts: dict[str, dict[Path, Any]] = {}
    for path in files:
        kind, data = _sort(path)
        sorts.setdefault(kind, {})[path] = data
    left_out = sorts.pop("summary", {})
    notes = (
        [
            f"{len(left_out)} files hold no edge of their own and were not read:"
            f" {', '.join(sorted(p.name for p in left_out)[:3])}"
        ]
        if left_out
        else []
    )
    if "layers" in sorts and "graph" in sorts:
        notes.append(_same_run(sorts["layers"], sorts.pop("graph")))
    if set(sorts) not in (
        {"layers"},
        {"graph"},
        {"annotated"},
        {"features"},
        {"deltas"},
        {"features", "deltas"},
        {"csv"},
    ):
        raise UserError(
            f"the files are of {len(sorts)} formats:"
            f" {', '.join(sorted(sorts)) or 'none that is known'}",
            f"import each from a folder of its own; known are {_FORMATS}",
        )
    for kind in ("graph", "annotated", "csv"):
        if len(sorts.get(kind, {})) > 1:
            raise UserError(
                f"{len(sorts[kind])} files of edges:"
                f" {', '.join(sorted(p.name for p in sorts[kind])[:4])}",
                "several studies would be mixed: import one file at a time",
            )
    used = [p for documents in sorts.values() for p in documents]
    if config.condition and not {"annotated", "csv"} & set(sorts):
        raise UserError(
            f"the files name no condition, from which {config.condition!r} could be chosen",
            "leave --condition out",
        )
    format, edges = _edges(sorts, config)
    return format, edges, used, notes


def _edges(sorts: Mapping[str, Mapping[Path, Any]], config: ImportEdgesConfig) -> tuple[str, Edges]:
    if "deltas" in sorts:
        stated = read_features(sorts["features"])[1] if "features" in sorts else {}
        return "cell-effects", read_deltas(list(sorts["deltas"]), stated, config.source_layer)
    kind, documents = next(iter(sorts.items()))
    path, data = next(iter(documents.items()))
    if kind == "layers":
        return "circuit-layers", read_layers(documents)
    if kind == "features":
        return "feature-edges", read_features(documents)[0]
    if kind == "csv":
        return "edge-csv", read_csv(path, config.condition)
    if kind == "graph":
        return "circuit-graph", _counted(read_graph(data["edges"], path.name), data, path.name)
    return "annotated-edges", read_graph(
        condition_rows(data, config.condition, config.model_name, path.name), path.name
    )


def _sort(path: Path) -> tuple[str, Any]:
    """Which of the formats a file is in, and its content where it is JSON."""
    if path.suffix == ".npz":
        return "deltas", None
    if path.suffix == ".csv":
        return "csv", None
    if path.name.split(".")[0] in _SUMMARIES:
        return "summary", None
    data = read_json(path)
    names = set(data) if isinstance(data, dict) else set()
    if {"source_layer", "features"} <= names:
        return "layers", data
    if "source_layer" in names and (
        {"feature_idx", "downstream_edges"} <= names or {"feature_id", "top_edges"} <= names
    ):
        return "features", data
    if "edges" in names:
        return "graph", data
    if (
        names
        and all(isinstance(v, list) for v in data.values())
        and all(isinstance(r, dict) and "cohens_d" in r for v in data.values() for r in v[:1])
    ):
        return "annotated", data
    if "accumulator_state" in names:
        raise UserError(
            f"{path.name} is the state of a run that was not finished",
            "finish the run and import its result",
        )
    found = (
        f"an object with {', '.join(sorted(names)[:8])}" if names else f"a {type(data).__name__}"
    )
    raise UserError(
        f"{path.name} holds {found}: no format of edges that is known", f"known are {_FORMATS}"
    )


def _counted(edges: Edges, data: Mapping[str, Any], name: str) -> Edges:
    stated = data.get("n_edges")
    if stated is not None and stated != len(edges):
        raise UserError(
            f"{name} lists {len(edges):,} edges and counts {stated:,}",
            "the file is not whole: fetch it again",
        )
    return replace(edges, findings={**edges.findings, "edges_kept": len(edges)})


def _same_run(layers: Mapping[Path, Any], graph: Mapping[Path, Any]) -> str:
    """The joint graph holds the edges of the files of its layers and less of each."""
    kept = sum(
        len(e.get("top_effects", ()))
        for d in layers.values()
        for f in d["features"]
        for e in f.get("downstream_effects", {}).values()
    )
    for path, data in graph.items():
        if len(data["edges"]) != kept:
            raise UserError(
                f"{path.name} has {len(data['edges']):,} edges, the files of the layers {kept:,}",
                "a layer is missing, or the files are of different runs: import one alone",
            )
    return (
        f"{', '.join(sorted(p.name for p in graph))}: the same {kept:,} edges with less of each;"
        " not read"
    )

"""``scircuit import edges``: edges of a published circuit study, in any of its formats.

=============================================  ====================================================
``circuit_L05_features.json``                  n, mean, sd, d, consistency; at most 50 targets per
                                               source and layer, and the number of targets
``circuit_graph.json``, annotated edges        mean, d, consistency of the same edges
``feature_0898.json``, ``feature_F0898.json``  d, consistency; the strongest targets, and the number
                                               of targets
``deltas/feature_0898.npz``                    all statistics, from the effects in every cell
``circuit_edges*.csv``                         d, consistency; newer files also mean and cell counts
=============================================  ====================================================

What a file does not give stays empty, and is listed on the run (`lacks`, `cap`, `rule`), so that a
comparison that needs it can be refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

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
from scircuit.ingest.importers.edges.per_feature_format import read_cell_effects, read_features
from scircuit.ingest.importers.feature_nodes import used_nodes
from scircuit.ingest.importers.gaps import MEANING
from scircuit.ingest.importers.source import Source
from scircuit.ingest.importers.strict_files import (
    Json,
    check_names,
    hashes,
    json_list,
    json_object,
    read_json,
    whole_number,
)

# files without edges
_SUMMARIES = ("exhaustive_summary", "progress", "circuit_analysis", "summary")
_FORMATS = (
    "circuit_L*_features.json, circuit_graph.json, annotated edges, feature_*.json, feature_*.npz,"
    " circuit_edges*.csv"
)


def read(config: ImportEdgesConfig, gene_ids: Mapping[str, str]) -> Source:  # noqa: ARG001 - edges name no gene
    """Read and check the edges of one study and condition.

    Raises
    ------
    UserError
        If there is no known file, the files are of several formats, studies or conditions, a file
        is damaged, or its columns contradict each other.
    """
    model, dictionary = config.model_name, config.dictionary_name
    check_names(model, dictionary)
    path = Path(config.path)
    files = _files(path)
    format, edges, used, notes = _read_files(files, config)
    notes = [*notes, *edges.notes, *check(edges, path.name)]
    _check_source_layer(edges, config.source_layer)
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
        uses=used_nodes(nodes),
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


def _check_source_layer(edges: Edges, source_layer: int) -> None:
    found = sorted({int(t) for t in edges.source_layer})
    if source_layer >= 0 and found != [source_layer]:
        raise UserError(
            f"the sources are of layers {', '.join(map(str, found))}, not of {source_layer}",
            "leave --source-layer out: the files state it",
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
        f" {(d < 0).mean():.1%} of them, median |d| {np.median(np.abs(d)):.2f}; rule {edges.rule}"
    ]
    if "symmetric_rule" in edges.lacks:
        said.append(
            "the share of edges that lower their target is not a finding: negative effects pass the"
            " rule more easily than positive ones"
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
        raise UserError(f"{path} has no JSON, CSV or npz file", f"supported: {_FORMATS}")
    return files


def _read_files(
    files: list[Path], config: ImportEdgesConfig
) -> tuple[str, Edges, list[Path], list[str]]:
    """Format, edges, files read, and notes on files that were not read."""
    by_format: dict[str, dict[Path, Mapping[str, Json]]] = {}
    for path in files:
        kind, data = _format_of(path)
        by_format.setdefault(kind, {})[path] = data
    without_edges = by_format.pop("summary", {})
    notes = (
        [
            f"{len(without_edges)} summary files without edges were not read:"
            f" {', '.join(sorted(p.name for p in without_edges)[:3])}"
        ]
        if without_edges
        else []
    )
    if "layers" in by_format and "graph" in by_format:
        notes.append(_note_same_edges(by_format["layers"], by_format.pop("graph")))
    if set(by_format) not in (
        {"layers"},
        {"graph"},
        {"annotated"},
        {"features"},
        {"deltas"},
        {"features", "deltas"},
        {"csv"},
    ):
        raise UserError(
            f"the files are of {len(by_format)} formats:"
            f" {', '.join(sorted(by_format)) or 'no supported one'}",
            f"import each format from a separate folder; supported: {_FORMATS}",
        )
    for kind in ("graph", "annotated", "csv"):
        if len(by_format.get(kind, {})) > 1:
            raise UserError(
                f"{len(by_format[kind])} files of edges:"
                f" {', '.join(sorted(p.name for p in by_format[kind])[:4])}",
                "these may be several studies: import one file at a time",
            )
    used = [p for documents in by_format.values() for p in documents]
    if config.condition and not {"annotated", "csv"} & set(by_format):
        raise UserError(
            f"the files have no conditions, so {config.condition!r} cannot be chosen",
            "leave --condition out",
        )
    format, edges = _read_format(by_format, config)
    return format, edges, used, notes


def _read_format(
    by_format: Mapping[str, Mapping[Path, Mapping[str, Json]]], config: ImportEdgesConfig
) -> tuple[str, Edges]:
    if "deltas" in by_format:
        stated = read_features(by_format["features"])[1] if "features" in by_format else {}
        return "cell-effects", read_cell_effects(
            list(by_format["deltas"]), stated, config.source_layer
        )
    kind, documents = next(iter(by_format.items()))
    path, data = next(iter(documents.items()))
    if kind == "layers":
        return "circuit-layers", read_layers(documents)
    if kind == "features":
        return "feature-edges", read_features(documents)[0]
    if kind == "csv":
        return "edge-csv", read_csv(path, config.condition)
    if kind == "graph":
        return "circuit-graph", _check_count(read_graph(data["edges"], path.name), data, path.name)
    return "annotated-edges", read_graph(
        condition_rows(data, config.condition, config.model_name, path.name), path.name
    )


def _format_of(path: Path) -> tuple[str, Mapping[str, Json]]:
    """Format of a file, and its content if it is JSON."""
    if path.suffix == ".npz":
        return "deltas", {}
    if path.suffix == ".csv":
        return "csv", {}
    if path.name.split(".")[0] in _SUMMARIES:
        return "summary", {}
    data = read_json(path)
    if not isinstance(data, dict):
        raise _unsupported(path, f"a {type(data).__name__}")
    names = set(data)
    if {"source_layer", "features"} <= names:
        return "layers", data
    if "source_layer" in names and (
        {"feature_idx", "downstream_edges"} <= names or {"feature_id", "top_edges"} <= names
    ):
        return "features", data
    if "edges" in names:
        return "graph", data
    if data and all(_is_condition(rows) for rows in data.values()):
        return "annotated", data
    if "accumulator_state" in names:
        raise UserError(
            f"{path.name} is the state of a run that was not finished",
            "finish the run and import its result",
        )
    raise _unsupported(
        path, f"an object with {', '.join(sorted(names)[:8])}" if names else "a dict"
    )


def _is_condition(rows: Json) -> bool:
    """Whether a value of the annotated edges is a list of edges."""
    if not isinstance(rows, list):
        return False
    return not rows or (isinstance(rows[0], dict) and "cohens_d" in rows[0])


def _unsupported(path: Path, content: str) -> UserError:
    return UserError(
        f"{path.name} has {content}: not a supported format of edges", f"supported: {_FORMATS}"
    )


def _check_count(edges: Edges, data: Mapping[str, Json], name: str) -> Edges:
    if data.get("n_edges") is None:
        stated = len(edges)
    else:
        stated = whole_number(data["n_edges"], f"{name}: n_edges")
    if stated != len(edges):
        raise UserError(
            f"{name} lists {len(edges):,} edges, but counts {stated:,}",
            "the file is incomplete: fetch it again",
        )
    return replace(edges, findings={**edges.findings, "edges_kept": len(edges)})


def _note_same_edges(
    layers: Mapping[Path, Mapping[str, Json]], graph: Mapping[Path, Mapping[str, Json]]
) -> str:
    """Note that the joint graph repeats the edges of the layer files with fewer statistics."""
    kept = sum(_listed_effects(data, path.name) for path, data in layers.items())
    for path, data in graph.items():
        edges = json_list(data["edges"], f"{path.name}: edges")
        if len(edges) != kept:
            raise UserError(
                f"{path.name} has {len(edges):,} edges, the files of the layers {kept:,}",
                "a layer is missing, or the files are of different runs: import one alone",
            )
    return (
        f"{', '.join(sorted(p.name for p in graph))}: the same {kept:,} edges with fewer"
        " statistics; not read"
    )


def _listed_effects(data: Mapping[str, Json], name: str) -> int:
    """Number of edges in the file of one layer."""
    listed = 0
    for feature in json_list(data["features"], f"{name}: features"):
        feature = json_object(feature, (), f"{name}: a feature")
        effects = json_object(feature.get("downstream_effects", {}), (), f"{name}: effects")
        for effect in effects.values():
            effect = json_object(effect, (), f"{name}: effects of a layer")
            listed += len(json_list(effect.get("top_effects", []), f"{name}: top_effects"))
    return listed

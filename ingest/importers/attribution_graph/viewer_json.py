"""Attribution graphs as JSON: the viewer format of circuit-tracer, and Neuronpedia's, which asks
for the same fields and allows further ones.

Required, as Neuronpedia's public schema states them: metadata (slug, scan, prompt_tokens, prompt),
qParams, nodes (node_id, feature, layer, ctx_idx, feature_type, jsNodeId, clerp), links (source,
target, weight). The index of a feature stands in ``node_id`` (layer_index_position); ``feature``
repeats it, or holds it paired with the layer by Cantor's pairing, (l + i)(l + i + 1) / 2 + i.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from scircuit.core.address import slug
from scircuit.core.errors import UserError
from scircuit.ingest.importers.attribution_graph.attribution_nodes import AttributionGraph
from scircuit.ingest.importers.strict_files import fields, items, number, read_json, whole

_METADATA = ("slug", "scan", "prompt_tokens", "prompt")
_NODE = (
    "node_id",
    "feature",
    "layer",
    "ctx_idx",
    "feature_type",
    "jsNodeId",
)  # clerp is required by one format, empty by default in the other
_MAIN = ("cross layer transcoder", "transcoder", "sae")
_ATTENTION = ("lorsa",)
_ID = re.compile(r"(\d+)_(\d+)_(\d+)")


def read_graph_json(path: Path) -> AttributionGraph:
    """Read and check one graph.

    Raises
    ------
    UserError
        If a required field is missing or of another type, a link names no node, or the index of a
        feature cannot be told.
    """
    data = fields(read_json(path), ("metadata", "qParams", "nodes", "links"), path.name)
    metadata = fields(data["metadata"], _METADATA, f"{path.name}: metadata")
    _refuse_own(metadata, data["links"], path.name)
    fields(data["qParams"], (), f"{path.name}: qParams")
    items(metadata["prompt_tokens"], f"{path.name}: prompt_tokens")
    rows: list[tuple[int, int, int, int]] = []
    labels: dict[int, str] = {}
    sort_of: dict[str, str] = {}
    at: dict[str, int] = {}
    shared: set[str] = set()
    for node in items(data["nodes"], f"{path.name}: nodes"):
        node = fields(node, _NODE, f"{path.name}: a node")
        key, sort = str(node["node_id"]), _sort(str(node["feature_type"]), path.name)
        if key in sort_of:
            if sort == sort_of[key] == "feature":
                raise UserError(
                    f"{path.name}: two feature nodes are called {key}", "export the graph again"
                )
            shared.add(key)
        if sort == "feature" or key not in sort_of:
            sort_of[key] = sort
        if sort == "feature":
            at[key] = len(rows)
            rows.append(_feature(node, path.name))
            if str(node.get("clerp") or "").strip():
                labels[at[key]] = str(node["clerp"]).strip()
    part, layer, index, position = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    links, incoming, ambiguous, zero = _links(
        items(data["links"], f"{path.name}: links"), sort_of, at, shared, path.name
    )
    notes = (
        [
            f"{ambiguous:,} links touch {len(shared)} names that two nodes share: left out (a known"
            " fault of the format: an error node can be called like a feature)"
        ]
        if ambiguous
        else []
    )
    if zero:
        notes.append(f"{zero:,} links between features have the weight 0: left out")
    nodes = {
        sort: sum(
            s == sort for s in (_sort(str(n["feature_type"]), path.name) for n in data["nodes"])
        )
        for sort in ("feature", "error", "embedding", "logit")
    }
    threshold = metadata.get("node_threshold")
    pruning = metadata.get("pruning_settings") or {}
    model, dictionary = _names(metadata)
    return AttributionGraph(
        title=str(metadata["slug"]),
        model=model,
        dictionary=dictionary,
        layer=layer,
        index=index,
        position=position,
        part=part,
        source=links[0].astype(np.int64),
        target=links[1].astype(np.int64),
        weight=links[2],
        nodes=nodes,
        incoming=incoming,
        labels=labels,
        notes=tuple(notes),
        cut=True,
        rule=(
            "attribution graph of one input, cut for display (node threshold"
            f" {pruning.get('node_threshold', threshold)}, edge threshold"
            f" {pruning.get('edge_threshold')})"
        ),
        findings={
            "prompt": str(metadata["prompt"]),
            "tokens": len(metadata["prompt_tokens"]),
            "scan": str(metadata["scan"]),
        },
    )


def _refuse_own(metadata: Mapping[str, Any], links: Any, where: str) -> None:
    """Refuse what `scircuit export` wrote: a view of a traced run would come back as attributions
    of one input, without n, d and q.
    """
    info = metadata.get("info")
    generator = info.get("generator") if isinstance(info, dict) else None
    if not isinstance(generator, dict) or generator.get("name") != "scircuit":
        return
    runs = (
        sorted({str(link["run"]) for link in links if isinstance(link, dict) and link.get("run")})
        if isinstance(links, list)
        else []
    )
    named = ", ".join(runs) or "its run"
    raise UserError(
        f"{where} is a view of {named}, written by scircuit export: it holds ablation effects with"
        " their sign turned, not attributions of one input",
        f"bring the run itself: copy the folder runs/{runs[0] if len(runs) == 1 else 'RUN'} of its"
        " study into runs/ of this one, then: scircuit load",
    )


def _names(metadata: Mapping[str, Any]) -> tuple[str, str]:
    """Model and dictionary set where the file names the dictionaries; alone, ``scan`` may be either
    of the two.
    """
    source = (metadata.get("feature_details") or {}).get("neuronpedia_source_set") or (
        metadata.get("info") or {}
    ).get("transcoder_set")
    if source:
        return slug(str(metadata["scan"])), slug(str(source))
    transcoders = (
        metadata.get("transcoder_list") or []
    )  # scan is then a hash that differs from process to process
    return "", slug(str(transcoders[0])) if len(transcoders) == 1 else ""


def _sort(feature_type: str, where: str) -> str:
    if feature_type in (*_MAIN, *_ATTENTION):
        return "feature"
    if feature_type in ("embedding", "logit"):
        return feature_type
    if "error" in feature_type:
        return "error"
    known = ", ".join([*_MAIN, *_ATTENTION, "embedding", "logit", "... error"])
    raise UserError(
        f"{where} has a node of the type {feature_type!r}; known are {known}",
        "say on the project page which tool wrote it",
    )


def _feature(node: Mapping[str, Any], where: str) -> tuple[int, int, int, int]:
    """Part, layer, index and position of a feature node."""
    name, given = str(node["node_id"]), node["feature"]
    if not str(node["layer"]).isdecimal():
        raise UserError(
            f"{where}: node {name} is a feature of layer {node['layer']!r}, expected a number",
            "export the graph again",
        )
    layer, position = int(node["layer"]), whole(node["ctx_idx"], f"{where}: node {name}: ctx_idx")
    part = int(str(node["feature_type"]) in _ATTENTION)
    found = _ID.fullmatch(name)
    if not found:
        return part, layer, whole(given, f"{where}: node {name}: feature"), position
    index = int(found[2])
    paired = (layer + index) * (layer + index + 1) // 2 + index
    if (
        int(found[1]) != layer
        or int(found[3]) != position
        or (given is not None and given not in (index, paired))
    ):
        raise UserError(
            f"{where}: node {name} is said to be feature {given} of layer {layer} at position"
            f" {position}; the name says layer {found[1]}, feature {index}, position {found[3]}",
            "export the graph again",
        )
    return part, layer, index, position


def _links(
    links: list[Any],
    sort_of: Mapping[str, str],
    at: Mapping[str, int],
    shared: set[str],
    where: str,
) -> tuple[np.ndarray, dict[str, float], int, int]:
    """Links between features [3, m], |weight| into features by the sort of its source, links of
    shared names, and links between features of weight 0.
    """
    kept: list[tuple[float, float, float]] = []
    incoming = {"feature": 0.0, "error": 0.0, "embedding": 0.0}
    ambiguous = zero = 0
    for link in links:
        link = fields(link, ("source", "target", "weight"), f"{where}: a link")
        source, target, weight = (
            str(link["source"]),
            str(link["target"]),
            number(link["weight"], f"{where}: weight of a link"),
        )
        for end in (source, target):
            if end not in sort_of:
                raise UserError(
                    f"{where}: a link names the node {end}, which is not there",
                    "the file is not whole: export the graph again",
                )
        if source in shared or target in shared:
            ambiguous += 1
            continue
        if sort_of[target] != "feature":
            continue
        if weight == 0:
            zero += sort_of[source] == "feature"
            continue
        if sort_of[source] not in incoming:
            raise UserError(
                f"{where}: a link leads from the logit {source} to a feature",
                "source and target may be exchanged",
            )
        incoming[sort_of[source]] += abs(weight)
        if sort_of[source] == "feature":
            kept.append((at[source], at[target], weight))
    return np.array(kept, dtype=float).reshape(-1, 3).T, incoming, ambiguous, zero

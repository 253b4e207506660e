"""Attribution graphs as JSON: the viewer format of circuit-tracer, and that of Neuronpedia with the
same required fields.

Required by Neuronpedia's public schema: metadata (slug, scan, prompt_tokens, prompt), qParams,
nodes (node_id, feature, layer, ctx_idx, feature_type, jsNodeId, clerp), links (source, target,
weight). The index of a feature is part of ``node_id`` (layer_index_position); ``feature`` repeats
it, or contains layer l and index i combined by Cantor's pairing, (l + i)(l + i + 1) / 2 + i.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from scircuit.core.address import slug
from scircuit.core.errors import UserError
from scircuit.ingest.importers.attribution_graph.attribution_nodes import (
    NODE_TYPES,
    AttributionGraph,
)
from scircuit.ingest.importers.strict_files import (
    Json,
    json_list,
    json_object,
    number,
    read_json,
    whole_number,
)

_METADATA = ("slug", "scan", "prompt_tokens", "prompt")
# clerp is required by one format, empty by default in the other
_NODE = ("node_id", "feature", "layer", "ctx_idx", "feature_type", "jsNodeId")
_MAIN = ("cross layer transcoder", "transcoder", "sae")
_ATTENTION = ("lorsa",)
_ID = re.compile(r"(\d+)_(\d+)_(\d+)")


def read_graph_json(path: Path) -> AttributionGraph:
    """Read and check one graph.

    Raises
    ------
    UserError
        If a required field is missing or of another type, a link names an unknown node, or the
        index of a feature is unclear.
    """
    data = json_object(read_json(path), ("metadata", "qParams", "nodes", "links"), path.name)
    metadata = json_object(data["metadata"], _METADATA, f"{path.name}: metadata")
    _refuse_own_export(metadata, data["links"], path.name)
    json_object(data["qParams"], (), f"{path.name}: qParams")
    tokens = json_list(metadata["prompt_tokens"], f"{path.name}: prompt_tokens")
    rows: list[tuple[int, int, int, int]] = []
    labels: dict[int, str] = {}
    type_of: dict[str, str] = {}
    at: dict[str, int] = {}
    shared: set[str] = set()
    counted: Counter[str] = Counter()
    for node in json_list(data["nodes"], f"{path.name}: nodes"):
        node = json_object(node, _NODE, f"{path.name}: a node")
        key, node_type = str(node["node_id"]), _node_type(str(node["feature_type"]), path.name)
        counted[node_type] += 1
        if key in type_of:
            if node_type == type_of[key] == "feature":
                raise UserError(
                    f"{path.name}: two feature nodes have the name {key}", "export the graph again"
                )
            shared.add(key)
        if node_type == "feature" or key not in type_of:
            type_of[key] = node_type
        if node_type == "feature":
            at[key] = len(rows)
            rows.append(_feature(node, path.name))
            if str(node.get("clerp") or "").strip():
                labels[at[key]] = str(node["clerp"]).strip()
    part, layer, index, position = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    links, incoming, ambiguous, zero = _links(
        json_list(data["links"], f"{path.name}: links"), type_of, at, shared, path.name
    )
    notes = (
        [
            f"{ambiguous:,} links of {len(shared)} names that two nodes share were left out (a"
            " known fault of the format: an error node can have the name of a feature)"
        ]
        if ambiguous
        else []
    )
    if zero:
        notes.append(f"{zero:,} links between features with weight 0 were left out")
    threshold = metadata.get("node_threshold")
    pruning = json_object(metadata.get("pruning_settings") or {}, (), "pruning_settings")
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
        nodes={node_type: counted[node_type] for node_type in NODE_TYPES},
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
            "tokens": len(tokens),
            "scan": str(metadata["scan"]),
        },
    )


def _refuse_own_export(metadata: Mapping[str, Json], links: Json, where: str) -> None:
    """Refuse an export of `scircuit`: a traced run would become attributions without n, d and q."""
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
        f"{where} is a view of {named}, written by scircuit export: it has ablation effects with"
        " reversed sign, not attributions of one input",
        f"use the run itself: copy the folder runs/{runs[0] if len(runs) == 1 else 'RUN'} of its"
        " study into runs/ of this one, then: scircuit load",
    )


def _names(metadata: Mapping[str, Json]) -> tuple[str, str]:
    """Model and dictionary set if the file names the dictionaries; ``scan`` alone may be either."""
    details = json_object(metadata.get("feature_details") or {}, (), "feature_details")
    info = json_object(metadata.get("info") or {}, (), "info")
    source = details.get("neuronpedia_source_set") or info.get("transcoder_set")
    if source:
        return slug(str(metadata["scan"])), slug(str(source))
    # scan is then a hash that differs from process to process
    transcoders = json_list(metadata.get("transcoder_list") or [], "transcoder_list")
    return "", slug(str(transcoders[0])) if len(transcoders) == 1 else ""


def _node_type(feature_type: str, where: str) -> str:
    if feature_type in (*_MAIN, *_ATTENTION):
        return "feature"
    if feature_type in ("embedding", "logit"):
        return feature_type
    if "error" in feature_type:
        return "error"
    known = ", ".join([*_MAIN, *_ATTENTION, "embedding", "logit", "... error"])
    raise UserError(
        f"{where} has a node of the type {feature_type!r}; known types: {known}",
        "report on the project page which tool wrote it",
    )


def _feature(node: Mapping[str, Json], where: str) -> tuple[int, int, int, int]:
    """Part, layer, index and position of a feature node."""
    name, given = str(node["node_id"]), node["feature"]
    if not str(node["layer"]).isdecimal():
        raise UserError(
            f"{where}: node {name} is a feature of layer {node['layer']!r}, expected a number",
            "export the graph again",
        )
    layer = int(str(node["layer"]))
    position = whole_number(node["ctx_idx"], f"{where}: node {name}: ctx_idx")
    part = int(str(node["feature_type"]) in _ATTENTION)
    found = _ID.fullmatch(name)
    if not found:
        return part, layer, whole_number(given, f"{where}: node {name}: feature"), position
    index = int(found[2])
    paired = (layer + index) * (layer + index + 1) // 2 + index
    if (
        int(found[1]) != layer
        or int(found[3]) != position
        or (given is not None and given not in (index, paired))
    ):
        raise UserError(
            f"{where}: node {name} is stated to be feature {given} of layer {layer} at position"
            f" {position}; its name gives layer {found[1]}, feature {index}, position {found[3]}",
            "export the graph again",
        )
    return part, layer, index, position


def _links(
    links: list[Json],
    type_of: Mapping[str, str],
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
        link = json_object(link, ("source", "target", "weight"), f"{where}: a link")
        source, target, weight = (
            str(link["source"]),
            str(link["target"]),
            number(link["weight"], f"{where}: weight of a link"),
        )
        for end in (source, target):
            if end not in type_of:
                raise UserError(
                    f"{where}: a link names the node {end}, which does not exist",
                    "the file is incomplete: export the graph again",
                )
        if source in shared or target in shared:
            ambiguous += 1
            continue
        if type_of[target] != "feature":
            continue
        if weight == 0:
            zero += type_of[source] == "feature"
            continue
        if type_of[source] not in incoming:
            raise UserError(
                f"{where}: a link leads from the logit {source} to a feature",
                "source and target may be swapped",
            )
        incoming[type_of[source]] += abs(weight)
        if type_of[source] == "feature":
            kept.append((at[source], at[target], weight))
    return np.array(kept, dtype=float).reshape(-1, 3).T, incoming, ambiguous, zero

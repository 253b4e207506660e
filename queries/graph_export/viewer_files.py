"""A part of the graph as the JSON that attribution-graph viewers open: circuit-tracer's and
Neuronpedia's.

Both show features as nodes and one number on each link, for one model and one prompt. The cohort
takes the place of the prompt: one position, ``ctx_idx`` 0. A viewer reads a positive
weight as "the source raises the target", so for ``AFFECTS`` the weight is what the source gives,

    weight = - mean effect of ablating the source    (dictionary units of the target),

and the link carries the mean, n, d and q as stored. ``ATTRIBUTES_TO`` keeps its weight. ``feature``
is the pairing of layer and index that both viewers undo (schema version 1): ``(l + i)(l + i + 1) /
2 + i``. Sources: ``apps/webapp/app/api/graph/graph-schema.json`` of hijohnnylin/neuronpedia and
``circuit_tracer/frontend/graph_models.py`` of decoderesearch/circuit-tracer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from scircuit.core.address import Address, parse
from scircuit.core.errors import UserError
from scircuit.queries.graph_export.graph_part import Part, Properties

Json = dict[str, Any]
"""An object of the file. `Any`: the viewers' formats nest values of every JSON type."""

CAUSAL = ("AFFECTS", "ATTRIBUTES_TO")
MAX_NODES, MAX_LINKS = 7_500, 100_000
_DESCRIPTION = (
    "Circuit traced by ablation over a cohort of cells, not over one prompt. Link weight: minus the"
    " mean effect of ablating the source, in dictionary units of the target, so that a positive"
    " weight means that the source raises the target; mean, n, d and q are on each link."
)
_HOME = "https://github.com/scircuit/scircuit"


def viewer_graph(
    part: Part, slug: str, *, neuronpedia: bool, version: str = ""
) -> tuple[Json, list[str]]:
    """Give the graph as plain values, and what was left out.

    Parameters
    ----------
    part
        What to write; only features and their causal edges can be shown.
    slug
        Name of the graph.
    neuronpedia
        With the further metadata that Neuronpedia shows.
    version
        Version of scircuit, for the metadata.

    Raises
    ------
    UserError
        If there are no causal edges between features, features of several models, or more than a
        viewer can show.
    """
    kinds = [
        k
        for k in part.edges
        if k.split("-")[0] == k.split("-")[2] == "Feature" and k.split("-")[1] in CAUSAL
    ]
    count = sum(part.counts[k] for k in kinds)
    if not count:
        held = ", ".join(f"{k} {part.counts[k]:,}" for k in part.edges)
        raise UserError(
            f"{part.name} has no AFFECTS or ATTRIBUTES_TO edges between features (it has: {held})",
            "export a trace run, or use --format graphml or parquet",
        )
    if count > MAX_LINKS:
        raise _too_big(part, f"{count:,} links", f"{MAX_LINKS:,}")
    links = [
        _link(row, kind)
        for kind in kinds
        for table in part.edges[kind]()
        for row in table.to_pylist()
    ]
    ends = {parse(end) for link in links for end in (link["source"], link["target"])}
    models = sorted({(a.model, a.dictionary) for a in ends})
    if len(models) > 1:
        raise UserError(
            f"{part.name} contains features of {len(models)} dictionary sets"
            f" ({', '.join('/'.join(m) for m in models)}); a viewer shows one",
            "use --format graphml, or choose the features of one set with --features",
        )
    if len(ends) > MAX_NODES:
        raise _too_big(part, f"{len(ends):,} features", f"{MAX_NODES:,}")
    rows = {
        row["id"]: row
        for table in part.nodes["Feature"]()
        for row in table.to_pylist()
        if row["id"] in {str(a) for a in ends}
    }
    nodes = [_node(a, rows.get(str(a), {})) for a in sorted(ends)]
    for link in links:
        link["source"], link["target"] = (
            _node_id(parse(link[end])) for end in ("source", "target")
        )
    left = [f"{part.counts[k]:,} {k}" for k in part.edges if k not in kinds]
    left += [f"{part.counts[k]:,} {k} nodes" for k in part.nodes if k != "Feature"]
    graph = {
        "metadata": _metadata(part, slug, models[0], neuronpedia, version),
        "qParams": _state(ends, rows),
        "nodes": nodes,
        "links": links,
    }
    return graph, (
        [f"viewers show only features and causal edges; not exported: {', '.join(left)}"]
        if left
        else []
    )


def viewer_json(graph: Json) -> str:
    """Text of the file; NaN and infinity, which JSON does not have, are refused."""
    return json.dumps(graph, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _too_big(part: Part, found: str, limit: str) -> UserError:
    return UserError(
        f"{part.name} gives {found}; a viewer shows at most {limit}",
        "export less: choose addresses with --features, a smaller --q, or a query that returns"
        " paths with --query",
    )


def _link(row: Properties, kind: str) -> Json:
    affects = "-AFFECTS-" in kind
    value = _number(row.get("mean" if affects else "weight"))
    if value is None:
        raise UserError(
            f"the edge {row['source']} -> {row['target']} has no"
            f" {'mean effect' if affects else 'weight'}, which a viewer needs",
            "use --format graphml or parquet",
        )
    more = {
        k: row[k]
        for k in ("mean", "n", "d", "q", "run")
        if isinstance(row.get(k), str) or _number(row.get(k)) is not None
    }
    return {
        "source": row["source"],
        "target": row["target"],
        "weight": -value if affects else value,
        **more,
    }


def _number(value: object) -> float | int | None:
    """The value if it is a finite number."""
    return value if isinstance(value, (int, float)) and math.isfinite(value) else None


def _node_id(a: Address) -> str:
    return f"{a.layer}_{a.index}_0"


def _node(a: Address, row: Properties) -> Json:
    genes = row.get("top_genes")
    total = a.layer + a.index
    return {
        "node_id": _node_id(a),
        "feature": total * (total + 1) // 2 + a.index,
        "layer": str(a.layer),
        "ctx_idx": 0,
        "feature_type": "cross layer transcoder",
        "token_prob": 0.0,
        "is_target_logit": False,
        "run_idx": 0,
        "reverse_ctx_idx": 0,
        "jsNodeId": f"{a.layer}_{a.index}-0",
        "clerp": (
            row.get("label")
            or row.get("published_label")
            or (", ".join(genes[:4]) if isinstance(genes, list) else "")
        ),
        "influence": None,
        "activation": _number(row.get("mean_activation")),
        "address": str(a),
    }


def _state(ends: set[Address], rows: Mapping[str, Properties]) -> Json:
    """Saved state of the viewer: modules with two or more features here are its supernodes."""
    members: dict[str, list[str]] = {}
    for a in sorted(ends):
        module = rows.get(str(a), {}).get("module")
        if isinstance(module, str) and module:
            members.setdefault(module, []).append(_node_id(a))
    return {
        "pinnedIds": [],
        "supernodes": [[name, *ids] for name, ids in members.items() if len(ids) > 1],
        "linkType": "both",
        "clickedId": "",
        "sg_pos": "",
    }


def _metadata(
    part: Part, slug: str, model: tuple[str, str], neuronpedia: bool, version: str
) -> Json:
    info = part.info
    generator = {"name": "scircuit", "version": version, "url": _HOME}
    data: Json = {
        "info": {"generator": generator, "description": f"{_DESCRIPTION} Source: {part.name}."},
        "slug": slug,
        "scan": model[0],
        "transcoder_list": [],
        "prompt_tokens": [str(info.get("cells", "the cells of the cohort"))],
        "prompt": str(info.get("cells", "the cells of the cohort")),
        "node_threshold": None,
        "schema_version": 1,
    }
    if neuronpedia:
        del data["node_threshold"], data["transcoder_list"]
        data |= {
            "feature_details": {"neuronpedia_source_set": model[1]},
            "generation_settings": {
                k: v for k, v in info.items() if k in ("run", "question", "model", "method")
            },
            "pruning_settings": {k: v for k, v in info.items() if k in ("q", "features")},
        }
    return data

"""Edges of the circuit-tracing study as JSON: one file a source layer
(``circuit_L05_features.json``), the joint graph (``circuit_graph.json``), or its annotated form.

The first gives n, mean, sd, d and consistency of at most 50 targets of each source and layer,
beside how many there were; the others give mean, d and consistency of the same edges and do not say
what was cut. None gives how many cells moved up and how many down.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from scircuit.core.errors import UserError
from scircuit.ingest.importers.edges.edge_table import BY_LAYER, RULE, Edges, cap_seen, group_sizes
from scircuit.ingest.importers.feature_nodes import Key
from scircuit.ingest.importers.strict_files import fields, items, number, whole

CAP = 50  # the study wrote the 50 largest |d| of each source and layer
CONDITIONS = {
    "K562_K562_GF": "geneformer",
    "K562_Multi_GF": "geneformer",
    "TS_Multi_GF": "geneformer",
    "scGPT_TS_Multi": "scgpt",
}
_NEVER = ("counts", "p", "null", "cells", "symmetric_rule")
_EFFECT = ("target_feature_idx", "mean_delta", "std_delta", "cohens_d", "consistency")
_ROW = (
    "source_layer",
    "source_feature",
    "target_layer",
    "target_feature",
    "cohens_d",
    "consistency",
)


def edges_of(rows: Sequence[Mapping[str, float]], names: Iterable[str], **more: Any) -> Edges:
    """Rows with ``source_layer, source, target_layer, target`` and the statistics `names` as
    arrays.
    """
    ends: dict[str, Any] = {
        k: np.array([r[k] for r in rows], dtype=np.int64)
        for k in ("source_layer", "source", "target_layer", "target")
    }
    return Edges(
        **ends,
        values={k: np.array([r.get(k, np.nan) for r in rows], dtype=float) for k in names},
        **more,
    )


def read_layers(documents: Mapping[Path, Any]) -> Edges:
    """Files of one run, one a source layer.

    Raises
    ------
    UserError
        If they are of several models or thresholds, or a count contradicts what it counts.
    """
    rows: list[dict[str, float]] = []
    features: dict[Key, dict[str, Any]] = {}
    cut, counted = 0, 0
    settings = {path.name: _settings(data) for path, data in documents.items()}
    if len(set(settings.values())) > 1:
        shown = "; ".join(
            f"{name}: {', '.join(map(str, s))}" for name, s in sorted(settings.items())[:3]
        )
        raise UserError(
            f"the files are of different models or thresholds ({shown})",
            "import each study from a folder of its own",
        )
    for path, data in documents.items():
        layer = whole(data["source_layer"], f"{path.name}: source_layer")
        for given in items(data["features"], f"{path.name}: features"):
            given = fields(
                given, ("source_feature_idx", "downstream_effects"), f"{path.name}: a feature"
            )
            index = whole(given["source_feature_idx"], f"{path.name}: source_feature_idx")
            more, kept, significant = _feature(rows, layer, index, given, path.name)
            if (layer, index) in features:
                raise UserError(
                    f"{path.name}: feature {index} of layer {layer} is there twice",
                    "several studies may be mixed in the folder: import one at a time",
                )
            features[layer, index] = more
            cut, counted = cut + significant - kept, counted + significant
    cap = CAP if cut else 0
    notes = (
        (
            (
                f"{cut:,} of {counted:,} edges were not kept by the source, which wrote the {CAP}"
                " largest |d| of each feature and layer"
            ),
        )
        if cut
        else ()
    )
    _, d, consistency, cells = next(iter(settings.values()))
    return edges_of(
        rows,
        ("n", "mean", "sd", "d", "consistency"),
        features=features,
        cap=cap,
        notes=notes,
        lacks=(*_NEVER, *(("all_edges",) if cut else ())),
        rule=_rule(d, consistency),
        findings={
            "sources": len(features),
            "edges_legacy": counted,
            "edges_kept": counted - cut,
            "cells": cells,
        },
    )


def _settings(data: Mapping[str, Any]) -> tuple[str, Any, Any, Any]:
    config = data.get("config") or {}
    return (
        str(data.get("model") or "model not named"),
        config.get("cohens_d_threshold"),
        config.get("consistency_threshold"),
        config.get("n_cells"),
    )


def _rule(d: Any, consistency: Any) -> str:
    return (
        RULE
        if (d, consistency) in ((0.5, 0.7), (None, None))
        else RULE.replace("> 0.5", f"> {d}").replace("> 0.7", f"> {consistency}")
    )


def counted_effects(
    effects: Any, layer: str, where: str
) -> tuple[Mapping[str, Any], list[Any], int]:
    """A layer's effects of one source as they are given, those listed, and how many there were;
    refused where more are listed than counted.
    """
    given = fields(effects, ("n_significant", "top_effects"), f"{where}, layer {layer}")
    listed = items(given["top_effects"], f"{where}: top_effects")
    counted = whole(given["n_significant"], f"{where}: n_significant")
    if counted < len(listed):
        raise UserError(
            f"{where} lists {len(listed)} effects in layer {layer} and counts {counted}",
            "the file was changed: fetch it again",
        )
    return given, listed, counted


def _feature(
    rows: list[dict[str, float]], layer: int, index: int, given: Mapping[str, Any], name: str
) -> tuple[dict[str, Any], int, int]:
    """Add the edges of one source; its properties, edges kept, and edges that there were."""
    where, kept, significant = f"{name}, feature {index}", 0, 0
    for target_layer, effects in fields(
        given["downstream_effects"], (), f"{where}: downstream_effects"
    ).items():
        effects, listed, stated = counted_effects(effects, target_layer, where)
        kept, significant = kept + len(listed), significant + stated
        for effect in listed:
            effect = fields(effect, _EFFECT, f"{where}: an effect")
            values = {k: number(effect[k], f"{where}: {k}") for k in _EFFECT[1:]}
            n = effect.get(
                "n_cells_measured",
                effects.get("n_cells_measured", given.get("n_cells_with_activity")),
            )
            rows.append(
                {
                    "source_layer": layer,
                    "source": index,
                    "target_layer": layer_of(target_layer, where),
                    "target": whole(effect["target_feature_idx"], f"{where}: target_feature_idx"),
                    "mean": values["mean_delta"],
                    "sd": values["std_delta"],
                    "d": values["cohens_d"],
                    "consistency": values["consistency"],
                    **({} if n is None else {"n": whole(n, f"{where}: n_cells_measured")}),
                }
            )
    total = given.get("total_significant_edges")
    if total is not None and whole(total, f"{where}: total_significant_edges") != significant:
        raise UserError(
            f"{where} counts {total} edges in all and {significant} over its layers",
            "the file was changed: fetch it again",
        )
    more: dict[str, Any] = {"traced": True, "out_degree_legacy": significant}
    if "source_activation_freq" in given:
        more["firing_rate"] = number(
            given["source_activation_freq"], f"{where}: source_activation_freq"
        )
    if "n_cells_with_activity" in given:
        more["cells_active"] = whole(
            given["n_cells_with_activity"], f"{where}: n_cells_with_activity"
        )
    return more, kept, significant


def layer_of(text: Any, where: str) -> int:
    """A layer that is a key of a JSON object."""
    if not str(text).isdecimal():
        raise UserError(
            f"{where} names the layer {text!r}, expected a number",
            "check that it is the right file",
        )
    return int(text)


def read_graph(rows: Any, name: str) -> Edges:
    """Rows of ``circuit_graph.json``, or of one condition of the annotated edges."""
    found = []
    for row in items(rows, f"{name}: edges"):
        row = fields(row, _ROW, f"{name}: an edge")
        found.append(
            {
                "source_layer": whole(row["source_layer"], f"{name}: source_layer"),
                "source": whole(row["source_feature"], f"{name}: source_feature"),
                "target_layer": whole(row["target_layer"], f"{name}: target_layer"),
                "target": whole(row["target_feature"], f"{name}: target_feature"),
                "d": number(row["cohens_d"], f"{name}: cohens_d"),
                "consistency": number(row["consistency"], f"{name}: consistency"),
                "mean": (
                    number(row["mean_delta"], f"{name}: mean_delta")
                    if row.get("mean_delta") is not None
                    else np.nan
                ),
            }
        )
    edges = edges_of(found, ("mean", "d", "consistency"))
    cap, of = (CAP, BY_LAYER) if found and int(group_sizes(edges).max()) == CAP else (0, BY_LAYER)
    seen, of_seen = cap_seen(edges)
    if seen and (of_seen != of or not cap):
        cap, of = seen, of_seen
    notes = (
        (f"up to {cap} edges of {of}, as many as the source kept: there may have been more",)
        if cap
        else ()
    )
    lacks = (
        "n",
        "sd",
        *(("mean",) if np.isnan(edges.values["mean"]).any() else ()),
        *_NEVER,
        *(("all_edges",) if cap else ()),
    )
    return replace(
        edges, cap=cap, cap_of=of, lacks=lacks, notes=notes, findings={"edges_kept": len(edges)}
    )


def condition_rows(data: Mapping[str, Any], condition: str, model: str, name: str) -> Any:
    """Rows of one condition of the annotated edges.

    Raises
    ------
    UserError
        If there are several and none was chosen, it is not there, or it is of another model than
        the one named.
    """
    unknown = [c for c in data if c not in CONDITIONS]
    if unknown:
        raise UserError(
            f"{name} holds the unknown condition {unknown[0]!r}; known are {', '.join(CONDITIONS)}",
            "check that it is the right file",
        )
    chosen = condition or (next(iter(data)) if len(data) == 1 else "")
    if chosen not in data:
        what = f"no condition {condition!r}; it holds" if condition else f"{len(data)} conditions:"
        raise UserError(
            f"{name} holds {what} {', '.join(data)}",
            "import one at a time: --condition NAME, with the model and dictionary it belongs to",
        )
    other = {"geneformer": "scgpt", "scgpt": "geneformer"}[CONDITIONS[chosen]]
    if other in model:
        raise UserError(
            f"condition {chosen} is of {CONDITIONS[chosen]}, not of {model}",
            "give the model of the condition by --model-name",
        )
    return data[chosen]

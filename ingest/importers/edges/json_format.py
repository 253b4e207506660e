"""Edges of the circuit-tracing study as JSON: one file per source layer
(``circuit_L05_features.json``), the joint graph (``circuit_graph.json``), or its annotated form.

The first gives n, mean, sd, d and consistency of at most 50 targets per source and layer, and how
many targets there were; the others give mean, d and consistency of the same edges without that
number. None gives counts of cells with a positive and a negative effect.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from scircuit.core.edge_rules import LEGACY_CONSISTENCY, LEGACY_D
from scircuit.core.errors import UserError
from scircuit.ingest.importers.edges.edge_table import (
    BY_LAYER,
    RULE,
    Edges,
    detected_cap,
    group_sizes,
)
from scircuit.ingest.importers.feature_nodes import Key
from scircuit.ingest.importers.strict_files import (
    Json,
    json_list,
    json_object,
    number,
    whole_number,
)

CAP = 50  # the study wrote the 50 largest |d| of each source and layer
CONDITIONS = {
    "K562_K562_GF": "geneformer",
    "K562_Multi_GF": "geneformer",
    "TS_Multi_GF": "geneformer",
    "scGPT_TS_Multi": "scgpt",
}
_NOT_GIVEN = ("counts", "p", "computed", "null", "cells", "symmetric_rule")
_EFFECT = ("target_feature_idx", "mean_delta", "std_delta", "cohens_d", "consistency")
_ROW = (
    "source_layer",
    "source_feature",
    "target_layer",
    "target_feature",
    "cohens_d",
    "consistency",
)


def edge_arrays(rows: Sequence[Mapping[str, float]], names: Iterable[str]) -> Edges:
    """Rows with ``source_layer, source, target_layer, target`` and the statistics `names` as
    arrays.
    """
    source_layer, source, target_layer, target = (
        np.array([row[name] for row in rows], dtype=np.int64)
        for name in ("source_layer", "source", "target_layer", "target")
    )
    values = {name: np.array([r.get(name, np.nan) for r in rows], dtype=float) for name in names}
    return Edges(source_layer, source, target_layer, target, values)


def read_layers(documents: Mapping[Path, Mapping[str, Json]]) -> Edges:
    """Files of one run, one per source layer.

    Raises
    ------
    UserError
        If they are of several models or thresholds, or a count contradicts what it counts.
    """
    rows: list[dict[str, float]] = []
    features: dict[Key, dict[str, object]] = {}
    cut, counted = 0, 0
    settings = {path.name: _settings(data) for path, data in documents.items()}
    if len(set(settings.values())) > 1:
        examples = "; ".join(
            f"{name}: {', '.join(map(str, s))}" for name, s in sorted(settings.items())[:3]
        )
        raise UserError(
            f"the files are of different models or thresholds ({examples})",
            "import each study from a folder of its own",
        )
    for path, data in documents.items():
        layer = whole_number(data["source_layer"], f"{path.name}: source_layer")
        for given in json_list(data["features"], f"{path.name}: features"):
            given = json_object(
                given, ("source_feature_idx", "downstream_effects"), f"{path.name}: a feature"
            )
            index = whole_number(given["source_feature_idx"], f"{path.name}: source_feature_idx")
            more, kept, significant = _feature(rows, layer, index, given, path.name)
            if (layer, index) in features:
                raise UserError(
                    f"{path.name}: feature {index} of layer {layer} is listed twice",
                    "the folder may contain several studies: import one at a time",
                )
            features[layer, index] = more
            cut, counted = cut + significant - kept, counted + significant
    cap = CAP if cut else 0
    notes = (
        (
            (
                f"the source did not keep {cut:,} of {counted:,} edges: it wrote the {CAP} largest"
                " |d| per feature and layer"
            ),
        )
        if cut
        else ()
    )
    _, d, consistency, cells = next(iter(settings.values()))
    return replace(
        edge_arrays(rows, ("n", "mean", "sd", "d", "consistency")),
        features=features,
        cap=cap,
        notes=notes,
        lacks=(*_NOT_GIVEN, *(("all_edges",) if cut else ())),
        rule=_rule(d, consistency),
        findings={
            "sources": len(features),
            "edges_legacy": counted,
            "edges_kept": counted - cut,
            "cells": cells,
        },
    )


def _settings(data: Mapping[str, Json]) -> tuple[str, Json, Json, Json]:
    config = json_object(data.get("config") or {}, (), "config")
    return (
        str(data.get("model") or "model not named"),
        config.get("cohens_d_threshold"),
        config.get("consistency_threshold"),
        config.get("n_cells"),
    )


def _rule(d: Json, consistency: Json) -> str:
    return (
        RULE
        if (d, consistency) in ((LEGACY_D, LEGACY_CONSISTENCY), (None, None))
        else RULE.replace(f"> {LEGACY_D}", f"> {d}").replace(
            f"> {LEGACY_CONSISTENCY}", f"> {consistency}"
        )
    )


def counted_effects(
    effects: Json, layer: str, where: str
) -> tuple[Mapping[str, Json], list[Json], int]:
    """Effects of one source on a layer: as given, those listed, and the number found.

    Raises
    ------
    UserError
        If more are listed than counted.
    """
    given = json_object(effects, ("n_significant", "top_effects"), f"{where}, layer {layer}")
    listed = json_list(given["top_effects"], f"{where}: top_effects")
    counted = whole_number(given["n_significant"], f"{where}: n_significant")
    if counted < len(listed):
        raise UserError(
            f"{where} lists {len(listed)} effects in layer {layer} and counts {counted}",
            "the file was changed: fetch it again",
        )
    return given, listed, counted


def _feature(
    rows: list[dict[str, float]], layer: int, index: int, given: Mapping[str, Json], name: str
) -> tuple[dict[str, object], int, int]:
    """Add the edges of one source; return its properties, edges kept, and edges found."""
    where, kept, significant = f"{name}, feature {index}", 0, 0
    for target_layer, effects in json_object(
        given["downstream_effects"], (), f"{where}: downstream_effects"
    ).items():
        effects, listed, stated = counted_effects(effects, target_layer, where)
        kept, significant = kept + len(listed), significant + stated
        for effect in listed:
            effect = json_object(effect, _EFFECT, f"{where}: an effect")
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
                    "target": whole_number(
                        effect["target_feature_idx"], f"{where}: target_feature_idx"
                    ),
                    "mean": values["mean_delta"],
                    "sd": values["std_delta"],
                    "d": values["cohens_d"],
                    "consistency": values["consistency"],
                    **({} if n is None else {"n": whole_number(n, f"{where}: n_cells_measured")}),
                }
            )
    total = given.get("total_significant_edges")
    if (
        total is not None
        and whole_number(total, f"{where}: total_significant_edges") != significant
    ):
        raise UserError(
            f"{where} counts {total} edges in all and {significant} over its layers",
            "the file was changed: fetch it again",
        )
    more: dict[str, object] = {"traced": True, "out_degree_legacy": significant}
    if "source_activation_freq" in given:
        more["firing_rate"] = number(
            given["source_activation_freq"], f"{where}: source_activation_freq"
        )
    if "n_cells_with_activity" in given:
        more["cells_active"] = whole_number(
            given["n_cells_with_activity"], f"{where}: n_cells_with_activity"
        )
    return more, kept, significant


def layer_of(text: str, where: str) -> int:
    """A layer that is a key of a JSON object."""
    if not text.isdecimal():
        raise UserError(
            f"{where} has the layer {text!r}, expected a number",
            "check that it is the right file",
        )
    return int(text)


def read_graph(rows: Json, name: str) -> Edges:
    """Rows of ``circuit_graph.json``, or of one condition of the annotated edges."""
    found = []
    for row in json_list(rows, f"{name}: edges"):
        row = json_object(row, _ROW, f"{name}: an edge")
        found.append(
            {
                "source_layer": whole_number(row["source_layer"], f"{name}: source_layer"),
                "source": whole_number(row["source_feature"], f"{name}: source_feature"),
                "target_layer": whole_number(row["target_layer"], f"{name}: target_layer"),
                "target": whole_number(row["target_feature"], f"{name}: target_feature"),
                "d": number(row["cohens_d"], f"{name}: cohens_d"),
                "consistency": number(row["consistency"], f"{name}: consistency"),
                "mean": (
                    number(row["mean_delta"], f"{name}: mean_delta")
                    if row.get("mean_delta") is not None
                    else np.nan
                ),
            }
        )
    edges = edge_arrays(found, ("mean", "d", "consistency"))
    at_cap = bool(found) and int(group_sizes(edges).max()) == CAP
    cap, of = (CAP if at_cap else 0), BY_LAYER
    detected, of_detected = detected_cap(edges)
    if detected and (of_detected != of or not cap):
        cap, of = detected, of_detected
    notes = (
        (f"at most {cap} edges of {of}, the number that the source kept: there may be more",)
        if cap
        else ()
    )
    lacks = (
        "n",
        "sd",
        *(("mean",) if np.isnan(edges.values["mean"]).any() else ()),
        *_NOT_GIVEN,
        *(("all_edges",) if cap else ()),
    )
    return replace(
        edges, cap=cap, cap_of=of, lacks=lacks, notes=notes, findings={"edges_kept": len(edges)}
    )


def condition_rows(data: Mapping[str, Json], condition: str, model: str, name: str) -> Json:
    """Rows of one condition of the annotated edges.

    Raises
    ------
    UserError
        If there are several and none was chosen, it does not exist, or it is of another model than
        the one given.
    """
    unknown = [c for c in data if c not in CONDITIONS]
    if unknown:
        raise UserError(
            f"{name} has the unknown condition {unknown[0]!r}; known conditions:"
            f" {', '.join(CONDITIONS)}",
            "check that it is the right file",
        )
    chosen = condition or (next(iter(data)) if len(data) == 1 else "")
    if chosen not in data:
        what = f"no condition {condition!r}; it has" if condition else f"{len(data)} conditions:"
        raise UserError(
            f"{name} has {what} {', '.join(data)}",
            "import one at a time: --condition NAME, with the model and dictionary it belongs to",
        )
    other = {"geneformer": "scgpt", "scgpt": "geneformer"}[CONDITIONS[chosen]]
    if other in model:
        raise UserError(
            f"condition {chosen} is of {CONDITIONS[chosen]}, not of {model}",
            "give the model of the condition with --model-name",
        )
    return data[chosen]

r"""One file per source feature: ``feature_0898.json`` of an exhaustive map, its effects in every
cell ``deltas/feature_0898.npz``, and the third-model variant.

The JSON gives d and consistency of at most 50 targets per layer (per feature in the variant), and
how many there were. The npz has the change of every target in every active cell, ``dl6, dl11,
dl17``, half precision, [cells, features]; from it follows

    n = cells,  mean,  sd (n - 1),  n_pos = #(x > 0),  n_neg = #(x < 0),  d = mean / max(sd, 1e-10)

All targets with |d| > 0.5 become edges, whatever their consistency: with the counts, queries can
apply either rule. Half precision rounds changes below 3e-8 to 0; those cells have no effect.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scircuit.core.edge_rules import LEGACY_D, LEGACY_MIN_CELLS, legacy_edges
from scircuit.core.errors import UserError
from scircuit.core.expansion import check_zip
from scircuit.ingest.importers.edges.edge_table import (
    BY_LAYER,
    BY_SOURCE,
    RULE,
    Edges,
)
from scircuit.ingest.importers.edges.json_format import counted_effects, edge_arrays, layer_of
from scircuit.ingest.importers.feature_nodes import Key
from scircuit.ingest.importers.strict_files import (
    Json,
    json_list,
    json_object,
    number,
    whole_number,
)

_NOT_GIVEN = ("p", "computed", "null", "cells")
_FILE_NAME = re.compile(r"feature_F?(\d+)\.")
_ARRAY_NAME = re.compile(r"dl(\d+)")
_D_TOLERANCE = 0.02  # difference of d that half precision can make, relative to 1 + |d|


class FeatureFile(NamedTuple):
    """Content of the JSON file of one feature."""

    rows: list[dict[str, float]]
    properties: dict[str, object]
    significant: int


def read_features(
    documents: Mapping[Path, Mapping[str, Json]],
) -> tuple[Edges, dict[Key, FeatureFile]]:
    """Edges from one file per feature, and the content of each file.

    Raises
    ------
    UserError
        If a field is missing, a count differs from the list, or a feature is listed twice.
    """
    stated: dict[Key, FeatureFile] = {}
    cap = 0
    for path, data in documents.items():
        variant = "top_edges" in data
        layer = whole_number(data["source_layer"], f"{path.name}: source_layer")
        index = whole_number(
            data["feature_id" if variant else "feature_idx"], f"{path.name}: feature index"
        )
        if (named := _FILE_NAME.match(path.name)) and int(named[1]) != index:
            raise UserError(
                f"{path.name} describes feature {index}", "the file was renamed: fetch it again"
            )
        if (layer, index) in stated:
            raise UserError(
                f"{path.name}: feature {index} of layer {layer} is listed twice",
                "import one study at a time",
            )
        found, largest = (_third_model_feature if variant else _exhaustive_feature)(
            layer, index, data, path.name
        )
        stated[layer, index] = found
        cap = max(cap, largest)
    rows = [r for s in stated.values() for r in s.rows]
    counted = sum(s.significant for s in stated.values())
    cut = counted - len(rows)
    per = BY_SOURCE if any("top_edges" in d for d in documents.values()) else BY_LAYER
    notes = (
        (
            (
                f"the source did not keep {cut:,} of {counted:,} edges: it wrote the {cap} largest"
                f" |d| of {per}"
            ),
        )
        if cut
        else ()
    )
    names = ("n", "d", "consistency") if any("n" in r for r in rows) else ("d", "consistency")
    edges = replace(
        edge_arrays(rows, names),
        features={k: s.properties for k, s in stated.items()},
        cap=cap if cut else 0,
        cap_of=per,
        notes=notes,
        lacks=(
            *(() if "n" in names else ("n",)),
            "counts",
            "mean",
            "sd",
            *_NOT_GIVEN,
            "symmetric_rule",
            *(("all_edges",) if cut else ()),
        ),
        findings={"sources": len(stated), "edges_legacy": counted, "edges_kept": len(rows)},
    )
    return edges, stated


def _exhaustive_feature(
    layer: int, index: int, data: Mapping[str, Json], name: str
) -> tuple[FeatureFile, int]:
    """``feature_NNNN.json`` of an exhaustive map."""
    rows: list[dict[str, float]] = []
    significant, largest = 0, 0
    cells = (
        whole_number(data["n_cells_active"], f"{name}: n_cells_active")
        if "n_cells_active" in data
        else None
    )
    for target_layer, effects in json_object(
        data["downstream_edges"], (), f"{name}: downstream_edges"
    ).items():
        _, listed, count = counted_effects(effects, target_layer, name)
        significant += count
        largest = max(largest, len(listed) if count > len(listed) else 0)
        for effect in listed:
            effect = json_object(effect, ("target", "d", "consistency"), f"{name}: an effect")
            rows.append(
                _row(
                    layer,
                    index,
                    layer_of(target_layer, name),
                    effect["target"],
                    effect["d"],
                    effect["consistency"],
                    cells,
                    name,
                )
            )
    _check_total(data, "total_significant_edges", significant, name)
    more: dict[str, object] = {"traced": True, "out_degree_legacy": significant}
    if cells is not None:
        more["cells_active"] = cells
    if "activation_freq" in data:
        more["firing_rate"] = number(data["activation_freq"], f"{name}: activation_freq")
    return FeatureFile(rows, more, significant), largest


def _third_model_feature(
    layer: int, index: int, data: Mapping[str, Json], name: str
) -> tuple[FeatureFile, int]:
    """The third-model format: strongest edges over all layers, and counts by layer."""
    rows = []
    for edge in json_list(data["top_edges"], f"{name}: top_edges"):
        edge = json_object(
            edge, ("tgt_layer", "tgt_feature", "cohens_d", "consistency"), f"{name}: an edge"
        )
        rows.append(
            _row(
                layer,
                index,
                whole_number(edge["tgt_layer"], f"{name}: tgt_layer"),
                edge["tgt_feature"],
                edge["cohens_d"],
                edge["consistency"],
                None,
                name,
            )
        )
    significant = sum(
        whole_number(n, f"{name}: edges_by_layer")
        for n in json_object(data.get("edges_by_layer", {}), (), f"{name}: edges_by_layer").values()
    )
    _check_total(data, "total_edges", significant, name)
    if significant < len(rows):
        raise UserError(
            f"{name} lists {len(rows)} edges and counts {significant}",
            "the file was changed: fetch it again",
        )
    return FeatureFile(rows, {"traced": True, "out_degree_legacy": significant}, significant), (
        len(rows) if significant > len(rows) else 0
    )


def _check_total(data: Mapping[str, Json], field: str, counted: int, name: str) -> None:
    if field in data and whole_number(data[field], f"{name}: {field}") != counted:
        raise UserError(
            f"{name} counts {data[field]} edges in all and {counted} over its layers",
            "the file was changed: fetch it again",
        )


def _row(
    layer: int,
    index: int,
    target_layer: int,
    target: Json,
    d: Json,
    consistency: Json,
    cells: int | None,
    name: str,
) -> dict[str, float]:
    return {
        "source_layer": layer,
        "source": index,
        "target_layer": target_layer,
        "target": whole_number(target, f"{name}: target"),
        "d": number(d, f"{name}: d"),
        "consistency": number(consistency, f"{name}: consistency"),
        **({} if cells is None else {"n": cells}),
    }


def read_cell_effects(
    paths: list[Path], stated: Mapping[Key, FeatureFile], source_layer: int
) -> Edges:
    """Edges with all statistics, from the per-cell effects.

    Parameters
    ----------
    paths
        ``feature_NNNN.npz``.
    stated
        Content of the JSON files of the same features, if present: layer, firing rate, and degrees
        to compare with.
    source_layer
        Layer of the sources where no JSON file states it; below 0 if unknown.

    Raises
    ------
    UserError
        If a file is damaged, not finite (half precision overflows at 65,504), of another shape, or
        contradicts its JSON.
    """
    layer_by_index: dict[int, int] = {}
    for layer, index in stated:
        if index in layer_by_index:
            raise UserError(
                f"feature {index} has JSON files for layers {layer_by_index[index]} and {layer}:"
                " its npz file does not state a layer",
                "import one source layer at a time",
            )
        layer_by_index[index] = layer
    parts: list[Edges] = []
    features: dict[Key, dict[str, object]] = {}
    differ = width = edges_legacy = 0
    for path in paths:
        named = _FILE_NAME.match(path.name)
        if not named:
            raise UserError(
                f"{path.name} has no feature in its name, expected a name such as feature_0898.npz",
                "keep the published file names",
            )
        index = int(named[1])
        layer = layer_by_index.get(index, source_layer)
        if layer < 0:
            raise UserError(
                f"{path.name} does not state its layer, and there is no feature_{named[1]}.json"
                " that does",
                "give --source-layer",
            )
        edges, legacy, cells, width = _edges_from_cells(path, layer, index, width)
        more: dict[str, object] = {
            "traced": True,
            "cells_active": cells,
            "out_degree_legacy": legacy,
        }
        if known := stated.get((layer, index)):
            differ += _disagrees(path, edges, legacy, cells, known)
            more |= known.properties
        edges_legacy += known.significant if known else legacy
        features[layer, index] = more
        parts.append(edges)
    for key in sorted(set(stated) - set(features)):
        raise UserError(
            f"feature {key[1]} of layer {key[0]} has a JSON file but no npz file"
            f" ({len(set(stated) - set(features))} such features)",
            "import the two in separate folders",
        )
    source_layer_of, source, target_layer, target = (
        np.concatenate(arrays)
        for arrays in zip(
            *((e.source_layer, e.source, e.target_layer, e.target) for e in parts), strict=True
        )
    )
    values = {
        k: np.concatenate([e.values[k] for e in parts])
        for k in ("n", "n_pos", "n_neg", "mean", "sd", "d")
    }
    notes = ["changes below 3e-8 are 0 in half precision: these cells count as without effect"]
    if differ:
        notes.append(
            f"{differ} of {len(paths)} features have another number of edges by the published rule"
            " than in their JSON file, because of half precision"
        )
    return Edges(
        source_layer_of,
        source,
        target_layer,
        target,
        values,
        features=features,
        lacks=_NOT_GIVEN,
        rule=f"|d| > {LEGACY_D}",
        notes=tuple(notes),
        findings={
            "sources": len(features),
            "edges_legacy": edges_legacy,
            "edges_kept": len(source),
        },
    )


def _edges_from_cells(
    path: Path, layer: int, index: int, width: int
) -> tuple[Edges, int, int, int]:
    """Edges of one feature, its edges by the published rule, its cells, and the width of the
    dictionaries.
    """
    import zipfile

    check_zip(path)
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path.name} cannot be read: {error}", "fetch the file again") from error
    if not arrays or not all(_ARRAY_NAME.fullmatch(k) for k in arrays):
        raise UserError(
            f"{path.name} has {', '.join(arrays) or 'no arrays'}, expected one array per layer,"
            " such as dl6, dl11, dl17",
            "check that it is the right file",
        )
    shapes = {x.shape for x in arrays.values()}
    if (
        len(shapes) != 1
        or len(next(iter(shapes))) != 2
        or (width and next(iter(shapes))[1] != width)
    ):
        raise UserError(
            f"{path.name} has arrays of shapes {sorted(shapes)}, expected [cells,"
            f" {width or 'features'}] in all layers",
            "several models may be mixed in the folder",
        )
    cells, width = next(iter(shapes))
    columns: dict[str, list[np.ndarray]] = {
        k: [] for k in ("target_layer", "target", "n_pos", "n_neg", "mean", "sd", "d")
    }
    legacy = 0
    for name, given in sorted(arrays.items(), key=lambda item: int(item[0][2:])):
        x = given.astype(np.float64)
        bad = ~np.isfinite(x)
        if bad.any():
            what = "infinite: half precision overflows at 65,504" if np.isinf(x).any() else "NaN"
            raise UserError(
                f"{path.name}: {int(bad.sum()):,} of {x.size:,} effects in {name} are {what}",
                "compute the effects again in single precision",
            )
        if cells < LEGACY_MIN_CELLS:
            continue  # one cell has no spread, hence no d
        mean, sd = x.mean(0), x.std(0, ddof=1)
        d, positive = mean / np.maximum(sd, 1e-10), (x > 0).sum(0)
        keep = np.flatnonzero(np.abs(d) > LEGACY_D)
        legacy += int(legacy_edges(d, cells, positive).sum())
        found = {
            "target": keep,
            "n_pos": positive[keep],
            "n_neg": (x < 0).sum(0)[keep],
            "mean": mean[keep],
            "sd": sd[keep],
            "d": d[keep],
        }
        for k, column in {**found, "target_layer": np.full(len(keep), int(name[2:]))}.items():
            columns[k].append(column)
    flat = {k: np.concatenate(c) if c else np.zeros(0) for k, c in columns.items()}
    target_layer, target = (flat.pop(k).astype(np.int64) for k in ("target_layer", "target"))
    size = len(target)
    values = {"n": np.full(size, float(cells)), **{k: c.astype(float) for k, c in flat.items()}}
    edges = Edges(
        np.full(size, layer), np.full(size, index), target_layer, target, values, rule=RULE
    )
    return edges, legacy, cells, width


def _disagrees(path: Path, edges: Edges, legacy: int, cells: int, known: FeatureFile) -> bool:
    """Whether the JSON states another number of edges; refuse where the two cannot be of one
    feature.
    """
    if known.properties.get("cells_active", cells) != cells:
        raise UserError(
            f"{path.name} has effects in {cells} cells, its JSON says"
            f" {known.properties['cells_active']}",
            "the files are of different runs: fetch both again",
        )
    found = {
        (int(t), int(i)): float(d)
        for t, i, d in zip(edges.target_layer, edges.target, edges.values["d"], strict=True)
    }
    off = [
        r
        for r in known.rows
        if abs(found.get((int(r["target_layer"]), int(r["target"])), 0.0) - r["d"])
        > _D_TOLERANCE * (1 + abs(r["d"]))
    ]
    if len(off) > len(known.rows) / 2:
        raise UserError(
            f"{path.name}: {len(off)} of the {len(known.rows)} edges in its JSON file have another"
            " d",
            "the files are of different runs: fetch both again",
        )
    return legacy != known.significant

r"""One file a source feature: ``feature_0898.json`` of an exhaustive map, its per-cell effects
``deltas/feature_0898.npz``, and the third-model variant.

The JSON gives d and consistency of at most 50 targets of each layer (of the whole feature in the
variant), and how many there were. The npz holds the change of every target in every active cell,
``dl6, dl11, dl17``, half precision, [cells, features]; from it everything follows:

    n = cells,  mean,  sd (n - 1),  n_pos = #(x > 0),  n_neg = #(x < 0),  d = mean / max(sd, 1e-10)

All targets with |d| > 0.5 become edges, whatever their consistency: with the counts, both rules can
be asked for. Half precision turns changes below 3e-8 into 0; those cells count as unmoved.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scircuit.core.errors import UserError
from scircuit.ingest.importers.edges.edge_table import (
    BY_LAYER,
    BY_SOURCE,
    CONSISTENCY,
    RULE,
    D,
    Edges,
)
from scircuit.ingest.importers.edges.json_format import counted_effects, edges_of, layer_of
from scircuit.ingest.importers.feature_nodes import Key
from scircuit.ingest.importers.strict_files import fields, items, number, whole

_LACKS = ("p", "null", "cells")
_NAME = re.compile(r"feature_F?(\d+)\.")
_KEY = re.compile(r"dl(\d+)")
_OFF = 0.02  # difference of d that half precision can make, relative to 1 + |d|


class Stated(NamedTuple):
    """What the JSON of one feature says."""

    rows: list[dict[str, float]]
    properties: dict[str, Any]
    significant: int


def read_features(documents: Mapping[Path, Any]) -> tuple[Edges, dict[Key, Stated]]:
    """Edges of one file a feature, and what each says.

    Raises
    ------
    UserError
        If a file lacks a field, counts other than it lists, or a feature is there twice.
    """
    stated: dict[Key, Stated] = {}
    cap = 0
    for path, data in documents.items():
        variant = "top_edges" in data
        layer = whole(data["source_layer"], f"{path.name}: source_layer")
        index = whole(
            data["feature_id" if variant else "feature_idx"], f"{path.name}: feature index"
        )
        if (named := _NAME.match(path.name)) and int(named[1]) != index:
            raise UserError(
                f"{path.name} describes feature {index}", "the file was renamed: fetch it again"
            )
        if (layer, index) in stated:
            raise UserError(
                f"{path.name}: feature {index} of layer {layer} is there twice",
                "import one study at a time",
            )
        found, largest = (_variant if variant else _one)(layer, index, data, path.name)
        stated[layer, index] = found
        cap = max(cap, largest)
    rows = [r for s in stated.values() for r in s.rows]
    counted = sum(s.significant for s in stated.values())
    cut = counted - len(rows)
    per = BY_SOURCE if any("top_edges" in d for d in documents.values()) else BY_LAYER
    notes = (
        (
            (
                f"{cut:,} of {counted:,} edges were not kept by the source, which wrote the {cap}"
                f" largest |d| of {per}"
            ),
        )
        if cut
        else ()
    )
    names = ("n", "d", "consistency") if any("n" in r for r in rows) else ("d", "consistency")
    edges = edges_of(
        rows,
        names,
        features={k: s.properties for k, s in stated.items()},
        cap=cap if cut else 0,
        cap_of=per,
        notes=notes,
        lacks=(
            *(() if "n" in names else ("n",)),
            "counts",
            "mean",
            "sd",
            *_LACKS,
            "symmetric_rule",
            *(("all_edges",) if cut else ()),
        ),
        findings={"sources": len(stated), "edges_legacy": counted, "edges_kept": len(rows)},
    )
    return edges, stated


def _one(layer: int, index: int, data: Mapping[str, Any], name: str) -> tuple[Stated, int]:
    """``feature_NNNN.json`` of an exhaustive map."""
    rows: list[dict[str, float]] = []
    significant, largest = 0, 0
    cells = (
        whole(data["n_cells_active"], f"{name}: n_cells_active")
        if "n_cells_active" in data
        else None
    )
    for target_layer, effects in fields(
        data["downstream_edges"], (), f"{name}: downstream_edges"
    ).items():
        _, listed, count = counted_effects(effects, target_layer, name)
        significant += count
        largest = max(largest, len(listed) if count > len(listed) else 0)
        for effect in listed:
            effect = fields(effect, ("target", "d", "consistency"), f"{name}: an effect")
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
    _total(data, "total_significant_edges", significant, name)
    more: dict[str, Any] = {"traced": True, "out_degree_legacy": significant}
    if cells is not None:
        more["cells_active"] = cells
    if "activation_freq" in data:
        more["firing_rate"] = number(data["activation_freq"], f"{name}: activation_freq")
    return Stated(rows, more, significant), largest


def _variant(layer: int, index: int, data: Mapping[str, Any], name: str) -> tuple[Stated, int]:
    """The third-model form: the strongest edges of the feature over all layers, and its counts by
    layer.
    """
    rows = []
    for edge in items(data["top_edges"], f"{name}: top_edges"):
        edge = fields(
            edge, ("tgt_layer", "tgt_feature", "cohens_d", "consistency"), f"{name}: an edge"
        )
        rows.append(
            _row(
                layer,
                index,
                whole(edge["tgt_layer"], f"{name}: tgt_layer"),
                edge["tgt_feature"],
                edge["cohens_d"],
                edge["consistency"],
                None,
                name,
            )
        )
    significant = sum(
        whole(n, f"{name}: edges_by_layer")
        for n in fields(data.get("edges_by_layer", {}), (), f"{name}: edges_by_layer").values()
    )
    _total(data, "total_edges", significant, name)
    if significant < len(rows):
        raise UserError(
            f"{name} lists {len(rows)} edges and counts {significant}",
            "the file was changed: fetch it again",
        )
    return Stated(rows, {"traced": True, "out_degree_legacy": significant}, significant), (
        len(rows) if significant > len(rows) else 0
    )


def _total(data: Mapping[str, Any], field: str, counted: int, name: str) -> None:
    if field in data and whole(data[field], f"{name}: {field}") != counted:
        raise UserError(
            f"{name} counts {data[field]} edges in all and {counted} over its layers",
            "the file was changed: fetch it again",
        )


def _row(
    layer: int,
    index: int,
    target_layer: int,
    target: Any,
    d: Any,
    consistency: Any,
    cells: int | None,
    name: str,
) -> dict[str, float]:
    return {
        "source_layer": layer,
        "source": index,
        "target_layer": target_layer,
        "target": whole(target, f"{name}: target"),
        "d": number(d, f"{name}: d"),
        "consistency": number(consistency, f"{name}: consistency"),
        **({} if cells is None else {"n": cells}),
    }


def read_deltas(paths: list[Path], stated: Mapping[Key, Stated], source_layer: int) -> Edges:
    """Edges with all statistics, from the per-cell effects.

    Parameters
    ----------
    paths
        ``feature_NNNN.npz``.
    stated
        What JSON files of the same features say, where they are there: layer, firing rate, and
        degrees to compare with.
    source_layer
        Layer of the sources where no JSON says it; below 0 where unknown.

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
                f"feature {index} is described for layers {layer_by_index[index]} and {layer}: its"
                " deltas name no layer",
                "import one source layer at a time",
            )
        layer_by_index[index] = layer
    parts: list[Edges] = []
    features: dict[Key, dict[str, Any]] = {}
    differ, width = 0, 0
    for path in paths:
        named = _NAME.match(path.name)
        if not named:
            raise UserError(
                f"{path.name} names no feature, expected a name such as feature_0898.npz",
                "keep the names the files were published with",
            )
        index = int(named[1])
        layer = layer_by_index.get(index, source_layer)
        if layer < 0:
            raise UserError(
                f"{path.name} does not say its layer, and there is no feature_{named[1]}.json that"
                " does",
                "give --source-layer",
            )
        edges, legacy, cells, width = _deltas(path, layer, index, width)
        more: dict[str, Any] = {"traced": True, "cells_active": cells, "out_degree_legacy": legacy}
        if known := stated.get((layer, index)):
            differ += _compare(path, edges, legacy, cells, known)
            more |= known.properties
        features[layer, index] = more
        parts.append(edges)
    for key in sorted(set(stated) - set(features)):
        raise UserError(
            f"feature {key[1]} of layer {key[0]} has a JSON file and no deltas"
            f" ({len(set(stated) - set(features))} such features)",
            "import the two in separate folders",
        )
    joined: dict[str, Any] = {
        k: np.concatenate([getattr(e, k) for e in parts])
        for k in ("source_layer", "source", "target_layer", "target")
    }
    values = {
        k: np.concatenate([e.values[k] for e in parts])
        for k in ("n", "n_pos", "n_neg", "mean", "sd", "d")
    }
    notes = ["changes below 3e-8 are 0 in half precision: such cells count as unmoved"]
    if differ:
        notes.append(
            f"{differ} of {len(paths)} features have another number of edges by the published rule"
            " than their JSON says: half precision"
        )
    return Edges(
        **joined,
        values=values,
        features=features,
        lacks=_LACKS,
        rule=f"|d| > {D}",
        notes=tuple(notes),
        findings={
            "sources": len(features),
            "edges_legacy": sum(f["out_degree_legacy"] for f in features.values()),
            "edges_kept": len(joined["source"]),
        },
    )


def _deltas(path: Path, layer: int, index: int, width: int) -> tuple[Edges, int, int, int]:
    """Edges of one feature, its edges by the published rule, its cells, and the width of the
    dictionaries.
    """
    import zipfile

    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path.name} cannot be read: {error}", "fetch the file again") from error
    if not arrays or not all(_KEY.fullmatch(k) for k in arrays):
        raise UserError(
            f"{path.name} holds {', '.join(arrays) or 'nothing'}, expected one array a layer, such"
            " as dl6, dl11, dl17",
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
        if cells < 2:
            continue  # one cell has no spread, hence no d
        mean, sd = x.mean(0), x.std(0, ddof=1)
        d, positive = mean / np.maximum(sd, 1e-10), (x > 0).sum(0)
        keep = np.flatnonzero(np.abs(d) > D)
        share = np.maximum(positive, cells - positive) / cells
        legacy += int(((np.abs(d) > D) & (share > CONSISTENCY)).sum())
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
    size = len(flat["target"])
    ends: dict[str, Any] = {
        "target_layer": flat.pop("target_layer").astype(np.int64),
        "target": flat.pop("target").astype(np.int64),
    }
    source: dict[str, Any] = {"source_layer": np.full(size, layer), "source": np.full(size, index)}
    values = {"n": np.full(size, float(cells)), **{k: c.astype(float) for k, c in flat.items()}}
    return Edges(**source, **ends, values=values, rule=RULE), legacy, cells, width


def _compare(path: Path, edges: Edges, legacy: int, cells: int, known: Stated) -> bool:
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
        > _OFF * (1 + abs(r["d"]))
    ]
    if len(off) > len(known.rows) / 2:
        raise UserError(
            f"{path.name}: d of {len(off)} of the {len(known.rows)} edges in its JSON is"
            " another one",
            "the files are of different runs: fetch both again",
        )
    return legacy != known.significant

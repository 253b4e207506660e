"""Files of an atlas that describe more than one layer: summary, modules, links between layers,
causal patching, knock-downs, clusters of unannotated features.

A knock-down's effect is ``ES = (mean - mean_control) / sqrt(max(var_control, 1e-10))`` over 100,000
control positions. Where a feature hardly fires in the controls the variance is 0 and the effect
depends on the constant 1e-10 alone: `degenerate` marks features with fewer than 200 firings in all
control positions, about five of which are in the sample.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from scircuit.ingest.importers.atlas.json_fields import (
    FLAG,
    LIST,
    NUMBER,
    OBJECT,
    TEXT,
    WHOLE,
    Document,
    check_type,
    column_of,
    indices,
    mismatch,
    value_of,
)
from scircuit.ingest.importers.atlas.known_atlases import Atlas

GLOBAL_FILES = (
    "global_summary.json",
    "modules.json",
    "cross_layer_graph.json",
    "causal_patching.json",
    "perturbation_response.json",
    "novel_clusters.json",
    "svd_comparison.json",
    "cross_layer_tracking.json",
)
MIN_CONTROL_FIRINGS = 200
MODULE_METHOD = "published: Leiden on co-activation (PMI >= 2, joint count >= 50)"
CLUSTER_METHOD = (
    "published: Leiden on the Jaccard overlap of the top-20 genes, features without annotation"
)
_PAIR = re.compile(r"L(\d{2})_L(\d{2})")


class Group(NamedTuple):
    """A module or a cluster, with its features."""

    id: str
    layer: int
    index: int
    features: list[int]
    method: str
    top_terms: list[str]
    genes: list[str]
    overlap: float | None
    firing_rate: float | None


class Link(NamedTuple):
    """A link between features of two layers."""

    source: tuple[int, int]
    target: tuple[int, int]
    pmi: float
    rank: int


class Response(NamedTuple):
    """A feature's effect size under a knock-down."""

    index: int
    symbol: str
    effect: float


@dataclass
class GlobalFiles:
    """Checked content of the files in `GLOBAL_FILES`; empty where a file is missing."""

    layers: dict[int, dict[str, object]] = field(default_factory=dict)
    totals: dict[str, object] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    patched: int = -1
    causal: dict[str, dict[int, float | str | None]] = field(default_factory=dict)
    responses: list[Response] = field(default_factory=list)
    targets: list[dict[str, object]] = field(default_factory=list)
    summaries: dict[str, dict] = field(default_factory=dict)

    def mentioned(self, layer: int) -> set[int]:
        """Features of a layer that these files name."""
        named = {f for g in self.groups if g.layer == layer for f in g.features}
        named |= {
            end[1] for link in self.links for end in (link.source, link.target) if end[0] == layer
        }
        if layer == self.patched:
            named |= set(self.causal.get("causal_ratio", {})) | {r.index for r in self.responses}
        return named


def stated_shape(documents: Mapping[str, Document]) -> tuple[int, int]:
    """Layers and features of each layer as the summary states them; zeros without one."""
    if "global_summary.json" not in documents:
        return 0, 0
    value = check_type(documents["global_summary.json"].value, OBJECT, "global_summary.json")
    layers, width = (
        value_of(value, key, WHOLE, "global_summary.json")
        for key in ("n_layers", "n_features_per_layer")
    )
    if not (0 < layers <= 999 and 0 < width <= 9_999_999):
        raise mismatch(f"global_summary.json states {layers} layers of {width} features")
    return layers, width


def read_global(atlas: Atlas, documents: Mapping[str, Document]) -> GlobalFiles:
    """Check and convert the files that are present.

    Raises
    ------
    UserError
        If a file has another form, or names a layer or feature that the atlas cannot have.
    """
    found = GlobalFiles(patched=atlas.patched)
    readers = {
        "global_summary.json": _summary,
        "modules.json": _modules,
        "cross_layer_graph.json": _links,
        "causal_patching.json": _causal,
        "perturbation_response.json": _perturbations,
        "novel_clusters.json": _clusters,
        "svd_comparison.json": _svd,
        "cross_layer_tracking.json": _tracking,
    }
    for name, reader in readers.items():
        if name in documents:
            reader(found, atlas, name, documents[name].value)
    return found


def check_layer(
    found: GlobalFiles,
    layer: int,
    module: np.ndarray | None,
    counts: Mapping[str, int],
    with_modules: bool,
) -> None:
    """Compare one layer's features with the summary and the modules.

    Raises
    ------
    UserError
        If a feature's module, or the number of alive or annotated features, differs.
    """
    stated = found.layers.get(layer, {})
    for key in ("alive", "annotated"):
        if key in stated and key in counts and stated[key] != counts[key]:
            raise mismatch(
                f"layer {layer} has {counts[key]:,} {key} features; global_summary.json says"
                f" {stated[key]:,}"
            )
    if module is None or not with_modules:
        return
    expected = np.full(len(module), -1)
    for group in found.groups:
        if group.layer == layer and group.method == MODULE_METHOD:
            expected[group.features] = group.index
    wrong = np.flatnonzero(expected != module)
    if wrong.size:
        f = wrong[0]
        raise mismatch(
            f"layer {layer}: {wrong.size} features, such as {f}, are in another module by"
            f" modules.json ({expected[f]}) than by the features file ({module[f]})"
        )


def _layer(value: object, atlas: Atlas, where: str) -> int:
    return indices([value], atlas.layers, f"{where}, layer")[0]


def _summary(found: GlobalFiles, atlas: Atlas, name: str, value: object) -> None:
    value = check_type(value, OBJECT, name)
    rows = value_of(value, "layers", LIST, name)
    for layer, row in zip(
        indices(column_of(rows, "layer", WHOLE, name), atlas.layers, name), rows, strict=True
    ):
        found.layers[layer] = row
    for key in ("alive", "annotated"):
        column_of(rows, key, WHOLE, f"{name} layer")
    found.totals = {k: v for k, v in value.items() if k != "layers"}


def _modules(found: GlobalFiles, atlas: Atlas, name: str, value: object) -> None:
    rows = check_type(value, LIST, name)
    layers, ids, sizes = (
        column_of(rows, key, WHOLE, f"{name} module") for key in ("layer", "id", "n")
    )
    features, tops = (
        column_of(rows, key, LIST, f"{name} module") for key in ("features", "top_anns")
    )
    seen: dict[int, list[int]] = {}
    for layer, number, size, members, top in zip(layers, ids, sizes, features, tops, strict=True):
        where = f"{name}, layer {_layer(layer, atlas, name)}, module {number}"
        if size != len(indices(members, atlas.width, where)):
            raise mismatch(f"{where} lists {len(members)} features, but states {size}")
        seen.setdefault(layer, []).extend(members)
        found.groups.append(
            Group(
                f"{atlas.dictionary_id(layer)}/M{number:02d}",
                layer,
                number,
                members,
                MODULE_METHOD,
                column_of(top, "t", TEXT, where),
                [],
                None,
                None,
            )
        )
    for layer, members in seen.items():
        indices(members, atlas.width, f"{name}, modules of layer {layer}")
        indices(
            [g.index for g in found.groups if g.layer == layer],
            1_000_000,
            f"{name}, module ids of layer {layer}",
        )


def _links(found: GlobalFiles, atlas: Atlas, name: str, value: object) -> None:
    for key, pair in check_type(value, OBJECT, name).items():
        match = _PAIR.fullmatch(key)
        if match is None:
            raise mismatch(f"{name}: {key!r} is not a pair of layers such as 'L00_L05'")
        a, b = (_layer(int(part), atlas, f"{name} {key}") for part in match.groups())
        rows = value_of(pair, "deps", LIST, f"{name} {key}")
        sources = indices(
            column_of(rows, "a", WHOLE, f"{name} {key} source"),
            atlas.width,
            f"{name} {key}, sources",
        )
        for source, links in zip(
            sources, column_of(rows, "deps", LIST, f"{name} {key} source"), strict=True
        ):
            where = f"{name} {key}, source {source}"
            targets = indices(column_of(links, "b", WHOLE, where), atlas.width, where)
            values = column_of(links, "pmi", NUMBER, where)
            # rank 1 is the strongest, however the file orders them
            for rank, at in enumerate(sorted(range(len(values)), key=lambda i: -values[i]), 1):
                found.links.append(Link((a, source), (b, targets[at]), float(values[at]), rank))
        found.summaries.setdefault("links", {})[key] = pair.get("summary", {})


def _causal(found: GlobalFiles, atlas: Atlas, name: str, value: object) -> None:
    value = check_type(value, OBJECT, name)
    layer = value.get("layer", atlas.patched)
    if layer == -1:
        raise mismatch(
            f"{name} does not state which layer was patched, and this is not a known atlas"
        )
    found.patched = _layer(layer, atlas, name)
    rows = value_of(value, "features", LIST, name)
    index = indices(column_of(rows, "i", WHOLE, name), atlas.width, name)
    for key, prop in (("td", "causal_target"), ("od", "causal_other"), ("sr", "causal_ratio")):
        found.causal[prop] = dict(
            zip(index, map(float, column_of(rows, key, NUMBER, f"{name} feature")), strict=True)
        )
    found.causal["causal_readout"] = dict.fromkeys(index, atlas.readout or None)
    found.summaries["causal_patching"] = {**value.get("summary", {}), "layer": layer}


def _perturbations(found: GlobalFiles, atlas: Atlas, name: str, value: object) -> None:
    value = check_type(value, OBJECT, name)
    rows = value_of(value, "targets", LIST, name)
    if found.patched == -1:
        raise mismatch(
            f"{name} does not state the layer of its features, and this is not a known atlas"
        )
    where = f"{name} target"
    symbols = column_of(rows, "gene", TEXT, where)
    columns: dict[str, Sequence[object]] = {
        "symbol": symbols,
        "is_tf": column_of(rows, "tf", FLAG, where),
        "regulated": column_of(rows, "nk", WHOLE, where),
        "responding": column_of(rows, "nr", WHOLE, where),
        "specific": column_of(rows, "ns", WHOLE, where),
    }
    if len(set(symbols)) < len(rows):
        raise mismatch(f"{name} lists {len(rows) - len(set(symbols))} knock-downs twice")
    for at, (symbol, top) in enumerate(
        zip(symbols, column_of(rows, "top", LIST, f"{name} target"), strict=True)
    ):
        where = f"{name}, {symbol}"
        index = indices(column_of(top, "i", WHOLE, where), atlas.width, where)
        found.responses += [
            Response(i, symbol, float(e))
            for i, e in zip(index, column_of(top, "es", NUMBER, where), strict=True)
        ]
        found.targets.append(
            {**{key: values[at] for key, values in columns.items()}, "top_features": len(top)}
        )
    found.summaries["perturbation_response"] = value.get("summary", {})


def _clusters(found: GlobalFiles, atlas: Atlas, name: str, value: object) -> None:
    for key, one in check_type(value, OBJECT, name).items():
        layer = _layer(key, atlas, name)
        rows = value_of(one, "clusters", LIST, f"{name} {key}")
        where = f"{name}, layer {layer}, cluster"
        overlap, rate = (
            column_of(rows, k, NUMBER, where) for k in ("mean_jaccard", "mean_activation_freq")
        )
        genes, members = (column_of(rows, k, LIST, where) for k in ("consensus_genes", "features"))
        for at, number in enumerate(
            indices(column_of(rows, "cluster_id", WHOLE, where), 1_000_000, where)
        ):
            indices(members[at], atlas.width, f"{where} {number}")
            found.groups.append(
                Group(
                    f"{atlas.dictionary_id(layer)}/N{number:02d}",
                    layer,
                    number,
                    members[at],
                    CLUSTER_METHOD,
                    [],
                    genes[at],
                    float(overlap[at]),
                    float(rate[at]),
                )
            )
        found.summaries.setdefault("clusters", {})[str(layer)] = one.get("summary", {})


def _svd(found: GlobalFiles, atlas: Atlas, name: str, value: object) -> None:
    value = check_type(value, OBJECT, name)
    for key, row in value_of(value, "per_layer", OBJECT, name).items():
        found.summaries.setdefault("svd", {})[_layer(key, atlas, name)] = row
    found.summaries["svd_aggregate"] = value.get("aggregate", {})


def _tracking(found: GlobalFiles, atlas: Atlas, name: str, value: object) -> None:
    value = check_type(value, OBJECT, name)
    rows = value_of(value, "adjacent_persistence", LIST, name)
    for layer, row in zip(column_of(rows, "from_layer", WHOLE, name), rows, strict=True):
        found.summaries.setdefault("tracking", {})[_layer(layer, atlas, name)] = row
    found.summaries["tracking_lifecycle"] = value.get("lifecycle_summary", {})

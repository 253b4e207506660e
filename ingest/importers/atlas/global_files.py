"""What an atlas says beyond one layer: summary, modules, links between layers, causal patching,
knock-downs, clusters of unannotated features.

A knock-down's effect is ``ES = (mean - mean_control) / sqrt(max(var_control, 1e-10))`` over 100,000
control positions. Where a feature hardly fires in the controls that variance is 0 and the effect
measures the floor: `degenerate` says so below 200 firings in all control positions, some five of
which fall into the sample.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from scircuit.ingest.importers.atlas import json_fields as js
from scircuit.ingest.importers.atlas.known_atlases import Atlas

GLOBAL = (
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
class Global:
    """Checked content of the files in `GLOBAL`; what is missing is empty."""

    layers: dict[int, dict[str, Any]] = field(default_factory=dict)
    totals: dict[str, Any] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    patched: int = -1
    causal: dict[str, dict[int, Any]] = field(default_factory=dict)
    responses: list[Response] = field(default_factory=list)
    targets: list[dict[str, Any]] = field(default_factory=list)
    summaries: dict[str, Any] = field(default_factory=dict)

    def mentioned(self, layer: int) -> set[int]:
        """Features of a layer that these files name."""
        named = {f for g in self.groups if g.layer == layer for f in g.features}
        named |= {
            end[1] for link in self.links for end in (link.source, link.target) if end[0] == layer
        }
        if layer == self.patched:
            named |= set(self.causal.get("causal_ratio", {})) | {r.index for r in self.responses}
        return named


def shape(documents: Mapping[str, js.Document]) -> tuple[int, int]:
    """Layers and features of each layer as the summary states them; zeros without one."""
    if "global_summary.json" not in documents:
        return 0, 0
    value = js.typed(documents["global_summary.json"].value, js.OBJECT, "global_summary.json")
    layers, width = (
        js.field(value, key, js.WHOLE, "global_summary.json")
        for key in ("n_layers", "n_features_per_layer")
    )
    if not (0 < layers <= 999 and 0 < width <= 9_999_999):
        raise js.mismatch(f"global_summary.json states {layers} layers of {width} features")
    return layers, width


def read_global(atlas: Atlas, documents: Mapping[str, js.Document]) -> Global:
    """Check and convert the files that are there.

    Raises
    ------
    UserError
        If a file has another form, or names a layer or feature that the atlas cannot have.
    """
    found = Global(patched=atlas.patched)
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
    found: Global,
    layer: int,
    module: np.ndarray | None,
    counts: Mapping[str, int],
    with_modules: bool,
) -> None:
    """Compare one layer's features with what the summary and the modules say of it.

    Raises
    ------
    UserError
        If a feature belongs to another module than stated, or the numbers of alive or annotated
        features differ.
    """
    stated = found.layers.get(layer, {})
    for key in ("alive", "annotated"):
        if key in stated and key in counts and stated[key] != counts[key]:
            raise js.mismatch(
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
        raise js.mismatch(
            f"layer {layer}: {wrong.size} features, such as {f}, are in another module by"
            f" modules.json ({expected[f]}) than by the features file ({module[f]})"
        )


def _layer(value: Any, atlas: Atlas, where: str) -> int:
    return js.indices([value], atlas.layers, f"{where}, layer")[0]


def _summary(found: Global, atlas: Atlas, name: str, value: Any) -> None:
    rows = js.field(value, "layers", js.LIST, name)
    for layer, row in zip(
        js.indices(js.column(rows, "layer", js.WHOLE, name), atlas.layers, name), rows, strict=True
    ):
        found.layers[layer] = row
    for key in ("alive", "annotated"):
        js.column(rows, key, js.WHOLE, f"{name} layer")
    found.totals = {k: v for k, v in value.items() if k != "layers"}


def _modules(found: Global, atlas: Atlas, name: str, value: Any) -> None:
    rows = js.typed(value, js.LIST, name)
    layers, ids, sizes, features, tops = (
        js.column(rows, key, types, f"{name} module")
        for key, types in (
            ("layer", js.WHOLE),
            ("id", js.WHOLE),
            ("n", js.WHOLE),
            ("features", js.LIST),
            ("top_anns", js.LIST),
        )
    )
    seen: dict[int, list[int]] = {}
    for layer, number, size, members, top in zip(layers, ids, sizes, features, tops, strict=True):
        where = f"{name}, layer {_layer(layer, atlas, name)}, module {number}"
        if size != len(js.indices(members, atlas.width, where)):
            raise js.mismatch(f"{where} lists {len(members)} features and states {size}")
        seen.setdefault(layer, []).extend(members)
        found.groups.append(
            Group(
                f"{atlas.dictionary_id(layer)}/M{number:02d}",
                layer,
                number,
                members,
                MODULE_METHOD,
                js.column(top, "t", js.TEXT, where),
                [],
                None,
                None,
            )
        )
    for layer, members in seen.items():
        js.indices(members, atlas.width, f"{name}, modules of layer {layer}")
        js.indices(
            [g.index for g in found.groups if g.layer == layer],
            1_000_000,
            f"{name}, module ids of layer {layer}",
        )


def _links(found: Global, atlas: Atlas, name: str, value: Any) -> None:
    for key, pair in js.typed(value, js.OBJECT, name).items():
        match = _PAIR.fullmatch(key)
        if match is None:
            raise js.mismatch(f"{name}: {key!r} is no pair of layers such as 'L00_L05'")
        a, b = (_layer(int(part), atlas, f"{name} {key}") for part in match.groups())
        rows = js.field(pair, "deps", js.LIST, f"{name} {key}")
        sources = js.indices(
            js.column(rows, "a", js.WHOLE, f"{name} {key} source"),
            atlas.width,
            f"{name} {key}, sources",
        )
        for source, links in zip(
            sources, js.column(rows, "deps", js.LIST, f"{name} {key} source"), strict=True
        ):
            where = f"{name} {key}, source {source}"
            targets = js.indices(js.column(links, "b", js.WHOLE, where), atlas.width, where)
            values = js.column(links, "pmi", js.NUMBER, where)
            # rank 1 is the strongest, however the file orders them
            for rank, at in enumerate(sorted(range(len(values)), key=lambda i: -values[i]), 1):
                found.links.append(Link((a, source), (b, targets[at]), float(values[at]), rank))
        found.summaries.setdefault("links", {})[key] = pair.get("summary", {})


def _causal(found: Global, atlas: Atlas, name: str, value: Any) -> None:
    layer = js.typed(value, js.OBJECT, name).get("layer", atlas.patched)
    if layer == -1:
        raise js.mismatch(
            f"{name} does not say which layer was patched, and this atlas is not a known one"
        )
    found.patched = _layer(layer, atlas, name)
    rows = js.field(value, "features", js.LIST, name)
    index = js.indices(js.column(rows, "i", js.WHOLE, name), atlas.width, name)
    for key, prop in (("td", "causal_target"), ("od", "causal_other"), ("sr", "causal_ratio")):
        found.causal[prop] = dict(
            zip(index, map(float, js.column(rows, key, js.NUMBER, f"{name} feature")), strict=True)
        )
    found.causal["causal_readout"] = dict.fromkeys(index, atlas.readout or None)
    found.summaries["causal_patching"] = {**value.get("summary", {}), "layer": layer}


def _perturbations(found: Global, atlas: Atlas, name: str, value: Any) -> None:
    rows = js.field(js.typed(value, js.OBJECT, name), "targets", js.LIST, name)
    if found.patched == -1:
        raise js.mismatch(
            f"{name} does not say of which layer its features are, and this atlas is not a"
            " known one"
        )
    columns = {
        key: js.column(rows, old, types, f"{name} target")
        for key, old, types in (
            ("symbol", "gene", js.TEXT),
            ("is_tf", "tf", js.FLAG),
            ("regulated", "nk", js.WHOLE),
            ("responding", "nr", js.WHOLE),
            ("specific", "ns", js.WHOLE),
        )
    }
    if len(set(columns["symbol"])) < len(rows):
        raise js.mismatch(
            f"{name} lists {len(rows) - len(set(columns['symbol']))} knock-downs twice"
        )
    for at, (symbol, top) in enumerate(
        zip(columns["symbol"], js.column(rows, "top", js.LIST, f"{name} target"), strict=True)
    ):
        where = f"{name}, {symbol}"
        index = js.indices(js.column(top, "i", js.WHOLE, where), atlas.width, where)
        found.responses += [
            Response(i, symbol, float(e))
            for i, e in zip(index, js.column(top, "es", js.NUMBER, where), strict=True)
        ]
        found.targets.append(
            {**{key: values[at] for key, values in columns.items()}, "top_features": len(top)}
        )
    found.summaries["perturbation_response"] = value.get("summary", {})


def _clusters(found: Global, atlas: Atlas, name: str, value: Any) -> None:
    for key, one in js.typed(value, js.OBJECT, name).items():
        layer = _layer(key, atlas, name)
        rows = js.field(one, "clusters", js.LIST, f"{name} {key}")
        where = f"{name}, layer {layer}, cluster"
        overlap, rate = (
            js.column(rows, k, js.NUMBER, where) for k in ("mean_jaccard", "mean_activation_freq")
        )
        genes, members = (
            js.column(rows, k, js.LIST, where) for k in ("consensus_genes", "features")
        )
        for at, number in enumerate(
            js.indices(js.column(rows, "cluster_id", js.WHOLE, where), 1_000_000, where)
        ):
            js.indices(members[at], atlas.width, f"{where} {number}")
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


def _svd(found: Global, atlas: Atlas, name: str, value: Any) -> None:
    for key, row in js.field(
        js.typed(value, js.OBJECT, name), "per_layer", js.OBJECT, name
    ).items():
        found.summaries.setdefault("svd", {})[_layer(key, atlas, name)] = row
    found.summaries["svd_aggregate"] = value.get("aggregate", {})


def _tracking(found: Global, atlas: Atlas, name: str, value: Any) -> None:
    rows = js.field(js.typed(value, js.OBJECT, name), "adjacent_persistence", js.LIST, name)
    for layer, row in zip(js.column(rows, "from_layer", js.WHOLE, name), rows, strict=True):
        found.summaries.setdefault("tracking", {})[_layer(layer, atlas, name)] = row
    found.summaries["tracking_lifecycle"] = value.get("lifecycle_summary", {})

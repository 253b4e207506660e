"""One layer of an atlas: its features with their genes, published terms, cell types and tissues, as
columns checked against each other.

The files give ``f = fire_count / N`` and ``ma = sum(activation) / N`` over all N positions; the
graph holds the mean over active ones, ``mean_activation = ma / f``, with ``f`` from the fire count
where N is known. Adjusted p values become `q`; where the file has 0 the published value lay below
5e-7 and was rounded. An odds ratio of ``Infinity``, or of ``a d / 1e-10`` where b c = 0, becomes
`odds_infinite`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scircuit.core.address import Address
from scircuit.ingest.importers.atlas import atlas_terms as terms
from scircuit.ingest.importers.atlas import json_fields as js
from scircuit.ingest.importers.atlas.known_atlases import Atlas

RARE = 100
KINDS = ("features", "annotations", "celltypes", "positions")
_INFINITE = 1e10
"""Published odds ratios with b c = 0 are a d / 1e-10, so 1e10 or more; those of 3,000 cells cannot reach it otherwise."""


@dataclass
class Layer:
    """What one layer gives: tables by kind, and names that need nodes.

    Attributes
    ----------
    index
        Features that the layer's files describe.
    tables
        Relationship tables by kind, and the columns of ``Feature`` by name in `feature`.
    module
        Module of each feature (-1: none); None without a features file.
    symbols, upper_symbols
        Gene symbols as the lists of genes write them; those of overlaps are upper case throughout.
    counts
        What was found, summed over layers by the caller.
    """

    layer: int
    index: list[int]
    feature: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    module: np.ndarray | None = None
    fire_count: np.ndarray | None = None
    symbols: list[str] = field(default_factory=list)
    terms: list[terms.Term] = field(default_factory=list)
    cell_types: dict[str, int | None] = field(default_factory=dict)
    tissues: set[str] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)

    def ids(self, atlas: Atlas) -> list[str]:
        """Addresses of all features the layer can have."""
        return [
            str(Address(atlas.model, atlas.dictionary, self.layer, i)) for i in range(atlas.width)
        ]


def read_layer(atlas: Atlas, layer: int, documents: Mapping[str, js.Document]) -> Layer:
    """Check and convert the files of one layer.

    Parameters
    ----------
    documents
        Kind (`KINDS`) -> file; what is missing leaves its properties empty.

    Raises
    ------
    UserError
        If a file has another form, or the files contradict each other.
    """
    found = Layer(layer, [])
    if "features" in documents:
        _features(found, atlas, documents["features"])
    if "annotations" in documents:
        _annotations(found, atlas, documents["annotations"], "features" in documents)
    if "celltypes" in documents:
        _cell_types(found, atlas, documents["celltypes"])
    if "positions" in documents:
        _positions(found, atlas, documents["positions"])
    return found


def _features(found: Layer, atlas: Atlas, document: js.Document) -> None:
    where = f"{document.name} record"
    rows = js.typed(document.value, js.LIST, document.name)
    if len(rows) != atlas.width:
        raise js.mismatch(
            f"{document.name} has {len(rows):,} features, the atlas has {atlas.width:,} in each"
            " layer"
        )
    index = js.indices(js.column(rows, "i", js.WHOLE, where), atlas.width, document.name)
    if index != list(range(atlas.width)):
        rows = [rows[at] for at in np.argsort(index).tolist()]

    def values(key: str, types: tuple[type, ...]) -> list[Any]:
        return js.column(rows, key, types, where)

    dead, fired, entries = (
        np.array(values("d", js.FLAG)),
        np.array(values("fc", js.WHOLE)),
        np.array(values("na", js.WHOLE)),
    )
    rate, mean = _finite(values("f", js.NUMBER)), _finite(values("ma", js.NUMBER))
    label, ontology, lists = values("lb", js.TEXT), values("to", js.TEXT), values("tg", js.LIST)
    wrong = np.flatnonzero(dead != (fired == 0))
    if wrong.size:
        raise js.mismatch(
            f"{document.name}: {wrong.size} features such as {wrong[0]} are dead with firings, or"
            " alive without"
        )
    if fired.min() < 0 or entries.min() < 0:
        raise js.mismatch(f"{document.name} has counts below 0")
    if atlas.positions:
        share = fired / atlas.positions
        off = np.flatnonzero(np.abs(share - rate) > 6e-7)  # the file has 6 decimals
        if off.size:
            raise js.mismatch(
                f"{document.name}: feature {off[0]} fires {fired[off[0]]:,} times, which is no"
                f" share of {rate[off[0]]} of {atlas.positions:,} positions"
            )
        rate = share
    found.index, found.module, found.fire_count = (
        list(range(atlas.width)),
        np.array(values("m", js.WHOLE)),
        fired,
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        # `ma` has 4 decimals: where it reads 0 although the feature fires, its mean is not known
        active = np.where((mean > 0) & (rate > 0), mean / rate, np.nan)
    found.feature |= {
        "alive": ~dead,
        "fire_count": fired,
        "rare": fired < RARE,
        "firing_rate": rate,
        "mean_activation": active,
        "published_terms": entries,
        "published_label": [t or None for t in label],
        "published_library": [
            (
                None
                if o == "none"
                else terms.LIBRARIES.get(o, terms.TF_LIBRARY if o == terms.TF_ONTOLOGY else o)
            )
            for o in ontology
        ],
        "svd_aligned": np.array(values("sv", js.FLAG)),
        "caption": [terms.short_label(t) for t in label],
    }
    flat = [gene for genes in lists for gene in genes]
    _genes(
        found,
        np.repeat(np.arange(atlas.width), [len(g) for g in lists]),
        flat,
        f"{document.name} top gene",
        None,
    )
    counts = found.counts
    counts["alive"], counts["annotated"], counts["rare"] = (
        int((~dead).sum()),
        int((entries > 0).sum()),
        int(((fired < RARE) & ~dead).sum()),
    )
    counts["entries"], counts["mean_unknown"] = (
        int(entries.sum()),
        int((np.isnan(active) & ~dead).sum()),
    )


def _genes(
    found: Layer, owner: np.ndarray, rows: list[Any], where: str, fire_counts: str | None
) -> None:
    """Set the lists of top genes, rank 1 first; a feature that has a long list keeps no short one."""
    symbols = js.column(rows, "n", js.TEXT, where)
    starts = (
        np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
        if owner.size
        else np.zeros(0, np.int64)
    )
    sizes = np.diff(np.r_[starts, owner.size])
    new: dict[str, Any] = {
        "owner": owner,
        "target": np.array(symbols, dtype=object),
        "rank": np.arange(owner.size) - np.repeat(starts, sizes) + 1,
        "mean_activation": _finite(js.column(rows, "a", js.NUMBER, where)),
        "fire_count": (
            np.array(js.column(rows, fire_counts, js.WHOLE, where), dtype=float)
            if fire_counts
            else np.full(owner.size, np.nan)
        ),
    }
    known = found.tables.get("Feature-LOADS_ON-Gene")
    if known is not None:
        new = _replace(found.layer, known, new)
    found.tables["Feature-LOADS_ON-Gene"], found.symbols = new, new["target"].tolist()


def _replace(layer: int, short: dict[str, Any], long: dict[str, Any]) -> dict[str, Any]:
    """Lists of `long` in the place of those of `short`, whose genes must be their first ones."""
    first = {
        (o, r): g
        for o, r, g in zip(
            long["owner"].tolist(), long["rank"].tolist(), long["target"], strict=True
        )
    }
    covered = np.isin(short["owner"], long["owner"])
    for o, r, g in zip(
        short["owner"][covered].tolist(),
        short["rank"][covered].tolist(),
        short["target"][covered],
        strict=True,
    ):
        if first.get((o, r)) != g:
            raise js.mismatch(
                f"layer {layer}, feature {o}: gene {r} is {g} in the features file and"
                f" {first.get((o, r))} in the annotations file"
            )
    joined = {name: np.concatenate([short[name][~covered], long[name]]) for name in short}
    order = np.lexsort((joined["rank"], joined["owner"]))
    return {name: values[order] for name, values in joined.items()}


def _annotations(found: Layer, atlas: Atlas, document: js.Document, with_features: bool) -> None:
    where = f"{document.name} annotation"
    rows = js.typed(document.value, js.OBJECT, document.name)
    index = js.indices(rows, atlas.width, document.name)
    order = np.argsort(index, kind="stable").tolist()
    records, owner = (
        [list(rows.values())[at] for at in order],
        np.array(index, dtype=np.int64)[order],
    )
    entries = js.column(records, "anns", js.LIST, f"{document.name} feature")
    lists = js.column(records, "genes", js.LIST, f"{document.name} feature")
    number = np.array([len(e) for e in entries], dtype=np.int64)
    if with_features:
        stated = found.feature["published_terms"]
        given = np.zeros(atlas.width, np.int64)
        given[owner] = number
        wrong = np.flatnonzero(given != stated)
        if wrong.size:
            f = wrong[0]
            raise js.mismatch(
                f"{wrong.size} features of layer {found.layer}, such as {f}, have another number of"
                f" entries in {document.name} ({given[f]}) than stated ({stated[f]})"
            )
    else:
        found.index = owner.tolist()
        found.feature["published_terms"] = _spread(atlas, owner, number)
        found.counts["annotated"], found.counts["entries"] = (
            int((number > 0).sum()),
            int(number.sum()),
        )
    _genes(
        found,
        np.repeat(owner, [len(g) for g in lists]),
        [g for genes in lists for g in genes],
        f"{document.name} gene",
        "fc",
    )

    flat = [entry for one in entries for entry in one]
    source = np.repeat(owner, number)
    ontology, text = js.column(flat, "o", js.TEXT, where), js.column(flat, "t", js.TEXT, where)
    p, odds = (
        np.array(js.column(flat, "p", js.NUMBER, where), dtype=float),
        js.column(flat, "or", js.NUMBER, where),
    )
    overlap, genes = (
        np.array(js.column(flat, "n", js.WHOLE, where), dtype=np.int64),
        js.column(flat, "g", js.LIST, where),
    )
    kinds = np.array(ontology, dtype=object)
    for name, prop in terms.EDGES.items():
        at = kinds == name
        found.feature[prop] = _spread(atlas, source[at], p[at])
        found.counts[prop] = int(at.sum())
    tested = np.flatnonzero(~np.isin(kinds, list(terms.EDGES)))
    bad = np.flatnonzero((p < 0) | (p > 1))
    if bad.size:
        raise js.mismatch(f"{where} {bad[0]}: p or density {p[bad[0]]} is not between 0 and 1")
    if any(type(g) is not str for at in tested.tolist() for g in genes[at]):
        raise js.mismatch(
            f"{document.name}: a list of overlapping genes holds something that is no symbol"
        )
    by_text = {
        key: terms.term(*key)
        for key in dict.fromkeys((ontology[at], text[at]) for at in tested.tolist())
    }
    named = [by_text[ontology[at], text[at]] for at in tested.tolist()]
    pairs = set(zip(source[tested].tolist(), (t.id for t in named), strict=True))
    if len(pairs) < len(named):
        raise js.mismatch(
            f"{document.name}: {len(named) - len(pairs)} terms are listed twice for one feature"
        )
    found.terms = list(by_text.values())
    found.tables["Feature-ENRICHED_FOR-Term"] = {
        "owner": source[tested],
        "target": np.array([t.id for t in named], dtype=object),
        "q": _known(p[tested]),
        **_odds([odds[at] for at in tested.tolist()]),
        "overlap": overlap[tested],
        "genes": [genes[at] for at in tested.tolist()],
        "library": [t.library for t in named],
        "test": "fisher_ov2_bh",
        "origin": "published",
    }
    found.counts |= {
        "associations": len(named),
        "tf_associations": sum(t.library == terms.TF_LIBRARY for t in named),
        "tested_features": len(np.unique(source[tested])),
        "p_zero": int((p[tested] == 0).sum()),
        "features_with_genes": len(owner),
    }


def _cell_types(found: Layer, atlas: Atlas, document: js.Document) -> None:
    where = document.name
    value = js.typed(document.value, js.OBJECT, where)
    rows = js.field(value, "features", js.OBJECT, where)
    index = js.indices(rows, atlas.width, where)
    order = np.argsort(index, kind="stable").tolist()
    records, owner = (
        [list(rows.values())[at] for at in order],
        np.array(index, dtype=np.int64)[order],
    )
    if not found.index:
        found.index = owner.tolist()
    elif len(found.index) < atlas.width:
        found.index = sorted({*found.index, *owner.tolist()})
    meta = value.get("cell_type_meta", {})
    if meta:
        sizes = js.column(
            list(js.typed(meta, js.OBJECT, where).values()), "n", js.WHOLE, f"{where} cell type"
        )
        found.cell_types |= dict(zip(meta, sizes, strict=True))
    for key, name, kind in (
        ("ct", "c", "Feature-ACTIVE_IN-CellType"),
        ("ti", "t", "Feature-ACTIVE_IN-Tissue"),
    ):
        lists = js.column(records, key, js.LIST, f"{where} feature")
        flat = [row for one in lists for row in one]
        source = np.repeat(owner, [len(one) for one in lists])
        target = js.column(flat, name, js.TEXT, f"{where} {key}")
        if len(set(zip(source.tolist(), target, strict=True))) < len(flat):
            raise js.mismatch(
                f"{where}: one feature lists the same {'cell type' if key == 'ct' else 'tissue'}"
                " twice"
            )
        columns: dict[str, Any] = {
            "owner": source,
            "target": np.array(target, dtype=object),
            "q": _known(np.array(js.column(flat, "p", js.NUMBER, f"{where} {key}"), dtype=float)),
            **_odds(js.column(flat, "or", js.NUMBER, f"{where} {key}")),
            "test": "fisher_top_cells_bh",
            "origin": "published",
        }
        if key == "ct":
            columns["cells"] = np.array(
                js.column(flat, "n", js.WHOLE, f"{where} {key}"), dtype=np.int64
            )
            found.cell_types = {**dict.fromkeys(target), **found.cell_types}
        else:
            found.tissues = set(target)
        found.tables[kind] = columns
    found.counts["top_cells"] = sum(map(len, js.column(records, "tc", js.LIST, f"{where} feature")))


def _positions(found: Layer, atlas: Atlas, document: js.Document) -> None:
    rows = js.typed(document.value, js.LIST, document.name)
    try:
        points = np.array(rows, dtype=float)
    except (TypeError, ValueError):
        points = np.zeros(0)
    if points.shape != (atlas.width, 2):
        raise js.mismatch(
            f"{document.name} should be {atlas.width:,} pairs of numbers, found {len(rows):,}"
            " records" + f" of shape {points.shape}" * bool(points.size)
        )
    points = np.where(np.isfinite(points), points, np.nan)
    found.feature["layout_x"], found.feature["layout_y"] = points[:, 0], points[:, 1]


def _finite(values: list[float]) -> np.ndarray:
    """Numbers; what is infinite or no number is unknown."""
    found = np.array(values, dtype=float)
    return np.where(np.isfinite(found), found, np.nan)


def _known(p: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(p), p, np.nan)


def _spread(atlas: Atlas, owner: np.ndarray, values: np.ndarray) -> np.ndarray:
    """One value for each feature of the layer, unknown for those that have none."""
    spread = np.full(atlas.width, np.nan)
    spread[owner] = values
    return spread


def _odds(values: list[float]) -> dict[str, Any]:
    odds = np.array(values, dtype=float)
    infinite = odds >= _INFINITE
    return {
        "odds_ratio": np.where(infinite | ~np.isfinite(odds), np.nan, odds),
        "odds_infinite": infinite,
    }

"""One layer of an atlas: its features with their genes, published terms, cell types and tissues, as
columns checked against each other.

The files give ``f = fire_count / N`` and ``ma = sum(activation) / N`` over all N positions; the
graph holds the mean over active ones, ``mean_activation = ma / f``, with ``f`` from the fire count
where N is known. Adjusted p values become `q`; where the file has 0 the published value lay below
5e-7 and was rounded. An odds ratio of ``Infinity``, or of ``a d / 1e-10`` where b c = 0, becomes
`odds_infinite`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, cast

import numpy as np

from scircuit.core.address import Address
from scircuit.ingest.importers.atlas.atlas_terms import (
    LIBRARIES,
    PAIR_DENSITIES,
    TF_LIBRARY,
    TF_ONTOLOGY,
    Term,
    short_label,
    term_of,
)
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

T = TypeVar("T")
RARE = 100
LAYER_FILES = ("features", "annotations", "celltypes", "positions")
_INFINITE = 1e10
"""Published odds ratios with b c = 0 are a d / 1e-10, so at least 1e10; no other odds ratio of
3,000
cells is that large."""


Column = np.ndarray | list | str
"""Values of one property, or one text for all rows."""


@dataclass
class Links:
    """Relationships of one kind: index of the feature, id of the other node, further columns."""

    owner: np.ndarray
    target: np.ndarray
    columns: dict[str, Column]


@dataclass
class Layer:
    """Content of one layer: tables by kind, and names that need nodes.

    Attributes
    ----------
    index
        Features that the layer's files describe.
    feature
        Properties of ``Feature`` by name, one value for each feature of the layer.
    tables
        Relationships by kind.
    module
        Module of each feature (-1: none); None without a features file.
    symbols, upper_symbols
        Gene symbols as the lists of genes write them; those of overlaps are upper case throughout.
    counts
        Numbers of records, summed over layers by the caller.
    """

    layer: int
    index: list[int]
    feature: dict[str, np.ndarray | list] = field(default_factory=dict)
    tables: dict[str, Links] = field(default_factory=dict)
    module: np.ndarray | None = None
    fire_count: np.ndarray | None = None
    symbols: list[str] = field(default_factory=list)
    terms: list[Term] = field(default_factory=list)
    cell_types: dict[str, int | None] = field(default_factory=dict)
    tissues: set[str] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)

    def ids(self, atlas: Atlas) -> list[str]:
        """Addresses of all features the layer can have."""
        return [
            str(Address(atlas.model, atlas.dictionary, self.layer, i)) for i in range(atlas.width)
        ]


def read_layer(atlas: Atlas, layer: int, documents: Mapping[str, Document]) -> Layer:
    """Check and convert the files of one layer.

    Parameters
    ----------
    documents
        Kind (`LAYER_FILES`) -> file; the properties of a missing file stay empty.

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


def _features(found: Layer, atlas: Atlas, document: Document) -> None:
    where = f"{document.name} record"
    rows = check_type(document.value, LIST, document.name)
    if len(rows) != atlas.width:
        raise mismatch(
            f"{document.name} has {len(rows):,} features, the atlas has {atlas.width:,} in each"
            " layer"
        )
    index = indices(column_of(rows, "i", WHOLE, where), atlas.width, document.name)
    if index != list(range(atlas.width)):
        rows = [rows[at] for at in np.argsort(index).tolist()]

    def values(key: str, types: tuple[type[T], ...]) -> list[T]:
        return column_of(rows, key, types, where)

    dead, fired, entries = (
        np.array(values("d", FLAG)),
        np.array(values("fc", WHOLE)),
        np.array(values("na", WHOLE)),
    )
    rate, mean = _finite(values("f", NUMBER)), _finite(values("ma", NUMBER))
    label, ontology, lists = values("lb", TEXT), values("to", TEXT), values("tg", LIST)
    wrong = np.flatnonzero(dead != (fired == 0))
    if wrong.size:
        raise mismatch(
            f"{document.name}: {wrong.size} features, such as {wrong[0]}, are marked dead but fire,"
            " or are marked alive but never fire"
        )
    if fired.min() < 0 or entries.min() < 0:
        raise mismatch(f"{document.name} has counts below 0")
    if atlas.positions:
        share = fired / atlas.positions
        off = np.flatnonzero(np.abs(share - rate) > 6e-7)  # the file has 6 decimals
        if off.size:
            raise mismatch(
                f"{document.name}: feature {off[0]} fires {fired[off[0]]:,} times, but its share of"
                f" {atlas.positions:,} positions is given as {rate[off[0]]}"
            )
        rate = share
    found.index, found.module, found.fire_count = (
        list(range(atlas.width)),
        np.array(values("m", WHOLE)),
        fired,
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        # `ma` has 4 decimals: where it is 0 although the feature fires, the mean is unknown
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
            (None if o == "none" else LIBRARIES.get(o, TF_LIBRARY if o == TF_ONTOLOGY else o))
            for o in ontology
        ],
        "svd_aligned": np.array(values("sv", FLAG)),
        "caption": [short_label(t) for t in label],
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
    found: Layer, owner: np.ndarray, rows: list[dict], where: str, fire_counts: str | None
) -> None:
    """Set the lists of top genes, rank 1 first; a long list replaces the short one of a feature."""
    symbols = column_of(rows, "n", TEXT, where)
    starts = (
        np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
        if owner.size
        else np.zeros(0, np.int64)
    )
    sizes = np.diff(np.r_[starts, owner.size])
    new = Links(
        owner,
        np.array(symbols, dtype=object),
        {
            "rank": np.arange(owner.size) - np.repeat(starts, sizes) + 1,
            "mean_activation": _finite(column_of(rows, "a", NUMBER, where)),
            "fire_count": (
                np.array(column_of(rows, fire_counts, WHOLE, where), dtype=float)
                if fire_counts
                else np.full(owner.size, np.nan)
            ),
        },
    )
    short = found.tables.get("Feature-LOADS_ON-Gene")
    if short is not None:
        new = _replace(found.layer, short, new)
    found.tables["Feature-LOADS_ON-Gene"], found.symbols = new, new.target.tolist()


def _replace(layer: int, short: Links, long: Links) -> Links:
    """Replace lists of `short` by those of `long`, which must start with the same genes."""
    short_rank, long_rank = (cast("np.ndarray", lists.columns["rank"]) for lists in (short, long))
    first = {
        (owner, rank): gene
        for owner, rank, gene in zip(
            long.owner.tolist(), long_rank.tolist(), long.target, strict=True
        )
    }
    covered = np.isin(short.owner, long.owner)
    for owner, rank, gene in zip(
        short.owner[covered].tolist(),
        short_rank[covered].tolist(),
        short.target[covered],
        strict=True,
    ):
        if first.get((owner, rank)) != gene:
            raise mismatch(
                f"layer {layer}, feature {owner}: gene {rank} is {gene} in the features file and"
                f" {first.get((owner, rank))} in the annotations file"
            )

    def joined(kept: Column, new: Column) -> np.ndarray:
        return np.concatenate([cast("np.ndarray", kept)[~covered], cast("np.ndarray", new)])

    owners = joined(short.owner, long.owner)
    order = np.lexsort((joined(short_rank, long_rank), owners))
    columns: dict[str, Column] = {
        name: joined(values, long.columns[name])[order] for name, values in short.columns.items()
    }
    return Links(owners[order], joined(short.target, long.target)[order], columns)


def _annotations(found: Layer, atlas: Atlas, document: Document, with_features: bool) -> None:
    where = f"{document.name} annotation"
    rows = check_type(document.value, OBJECT, document.name)
    index = indices(rows, atlas.width, document.name)
    order = np.argsort(index, kind="stable").tolist()
    records, owner = (
        [list(rows.values())[at] for at in order],
        np.array(index, dtype=np.int64)[order],
    )
    entries = column_of(records, "anns", LIST, f"{document.name} feature")
    lists = column_of(records, "genes", LIST, f"{document.name} feature")
    number = np.array([len(e) for e in entries], dtype=np.int64)
    if with_features:
        stated = found.feature["published_terms"]
        given = np.zeros(atlas.width, np.int64)
        given[owner] = number
        wrong = np.flatnonzero(given != stated)
        if wrong.size:
            f = wrong[0]
            raise mismatch(
                f"{wrong.size} features of layer {found.layer}, such as {f}, have a different"
                f" number of entries in {document.name} ({given[f]}) than in the features file"
                f" ({stated[f]})"
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
    ontology, text = column_of(flat, "o", TEXT, where), column_of(flat, "t", TEXT, where)
    p, odds = (
        np.array(column_of(flat, "p", NUMBER, where), dtype=float),
        column_of(flat, "or", NUMBER, where),
    )
    overlap, genes = (
        np.array(column_of(flat, "n", WHOLE, where), dtype=np.int64),
        column_of(flat, "g", LIST, where),
    )
    kinds = np.array(ontology, dtype=object)
    for name, prop in PAIR_DENSITIES.items():
        at = kinds == name
        found.feature[prop] = _spread(atlas, source[at], p[at])
        found.counts[prop] = int(at.sum())
    tested = np.flatnonzero(~np.isin(kinds, list(PAIR_DENSITIES)))
    bad = np.flatnonzero((p < 0) | (p > 1))
    if bad.size:
        raise mismatch(f"{where} {bad[0]}: p or density {p[bad[0]]} is not between 0 and 1")
    if any(type(g) is not str for at in tested.tolist() for g in genes[at]):
        raise mismatch(
            f"{document.name}: a list of overlapping genes has an item that is not a gene symbol"
        )
    by_text = {
        key: term_of(*key)
        for key in dict.fromkeys((ontology[at], text[at]) for at in tested.tolist())
    }
    named = [by_text[ontology[at], text[at]] for at in tested.tolist()]
    pairs = set(zip(source[tested].tolist(), (t.id for t in named), strict=True))
    if len(pairs) < len(named):
        raise mismatch(
            f"{document.name}: {len(named) - len(pairs)} terms are listed twice for one feature"
        )
    found.terms = list(by_text.values())
    found.tables["Feature-ENRICHED_FOR-Term"] = Links(
        source[tested],
        np.array([t.id for t in named], dtype=object),
        {
            "q": _finite(p[tested]),
            **_odds([odds[at] for at in tested.tolist()]),
            "overlap": overlap[tested],
            "genes": [genes[at] for at in tested.tolist()],
            "library": [t.library for t in named],
            "test": "fisher_ov2_bh",
            "origin": "published",
        },
    )
    found.counts |= {
        "associations": len(named),
        "tf_associations": sum(t.library == TF_LIBRARY for t in named),
        "tested_features": len(np.unique(source[tested])),
        "p_zero": int((p[tested] == 0).sum()),
        "features_with_genes": len(owner),
    }


def _cell_types(found: Layer, atlas: Atlas, document: Document) -> None:
    where = document.name
    value = check_type(document.value, OBJECT, where)
    rows = value_of(value, "features", OBJECT, where)
    index = indices(rows, atlas.width, where)
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
        sizes = column_of(
            list(check_type(meta, OBJECT, where).values()), "n", WHOLE, f"{where} cell type"
        )
        found.cell_types |= dict(zip(meta, sizes, strict=True))
    for key, name, kind in (
        ("ct", "c", "Feature-ACTIVE_IN-CellType"),
        ("ti", "t", "Feature-ACTIVE_IN-Tissue"),
    ):
        lists = column_of(records, key, LIST, f"{where} feature")
        flat = [row for one in lists for row in one]
        source = np.repeat(owner, [len(one) for one in lists])
        target = column_of(flat, name, TEXT, f"{where} {key}")
        if len(set(zip(source.tolist(), target, strict=True))) < len(flat):
            raise mismatch(
                f"{where}: one feature lists the same {'cell type' if key == 'ct' else 'tissue'}"
                " twice"
            )
        columns: dict[str, Column] = {
            "q": _finite(column_of(flat, "p", NUMBER, f"{where} {key}")),
            **_odds(column_of(flat, "or", NUMBER, f"{where} {key}")),
            "test": "fisher_top_cells_bh",
            "origin": "published",
        }
        if key == "ct":
            columns["cells"] = np.array(
                column_of(flat, "n", WHOLE, f"{where} {key}"), dtype=np.int64
            )
            found.cell_types = {**dict.fromkeys(target), **found.cell_types}
        else:
            found.tissues = set(target)
        found.tables[kind] = Links(source, np.array(target, dtype=object), columns)
    found.counts["top_cells"] = sum(map(len, column_of(records, "tc", LIST, f"{where} feature")))


def _positions(found: Layer, atlas: Atlas, document: Document) -> None:
    rows = check_type(document.value, LIST, document.name)
    try:
        points = np.array(rows, dtype=float)
    except (TypeError, ValueError):
        points = np.zeros(0)  # not numbers: refused below
    if points.shape != (atlas.width, 2):
        raise mismatch(
            f"{document.name} should be {atlas.width:,} pairs of numbers, found {len(rows):,}"
            " records" + f" of shape {points.shape}" * bool(points.size)
        )
    points = np.where(np.isfinite(points), points, np.nan)
    found.feature["layout_x"], found.feature["layout_y"] = points[:, 0], points[:, 1]


def _finite(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Numbers; infinite ones become NaN, which stands for unknown."""
    found = np.array(values, dtype=float)
    return np.where(np.isfinite(found), found, np.nan)


def _spread(atlas: Atlas, owner: np.ndarray, values: np.ndarray) -> np.ndarray:
    """One value for each feature of the layer, NaN where there is none."""
    spread = np.full(atlas.width, np.nan)
    spread[owner] = values
    return spread


def _odds(values: Sequence[float]) -> dict[str, Column]:
    odds = np.array(values, dtype=float)
    infinite = odds >= _INFINITE
    return {
        "odds_ratio": np.where(infinite | ~np.isfinite(odds), np.nan, odds),
        "odds_infinite": infinite,
    }

r"""Imported edges as arrays, the checks on them, and their records.

In every format an edge is a source, a later target and the published effect size d = mean / sd of
the change over cells. Everything else may be missing and then stays empty. A column that
contradicts another stops the import, because one of the two is then not what its name says:

    sign(mean) = sign(d),   d = mean / max(sd, 1e-10),   n_pos + n_neg <= n
    consistency = max(n_pos, n - n_pos) / n
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from scircuit.core.address import Address
from scircuit.core.edge_rules import (
    LEGACY_CONSISTENCY,
    LEGACY_D,
    LEGACY_TEXT,
    STATED,
    consistency,
)
from scircuit.core.errors import UserError
from scircuit.core.schema import conform
from scircuit.ingest.importers.feature_nodes import Key, feature_tables

if TYPE_CHECKING:
    import pyarrow as pa

BY_LAYER, BY_SOURCE = "each source and layer", "each source"
RULE = f"published: {LEGACY_TEXT}, cells without effect counted as negative"
STATISTICS = ("n", "n_pos", "n_neg", "mean", "sd", "d", "consistency")
_COUNTS = ("n", "n_pos", "n_neg")
_D_TOLERANCE = 0.01  # relative difference of d and mean / sd that rounded decimals can make
_MIN_AT_CAP = 3  # groups of equal largest size that look like a cap
_BLOCK = 500_000  # edges in one work unit


@dataclass(frozen=True)
class Edges:
    """Edges of one study and condition.

    Attributes
    ----------
    source_layer, source, target_layer, target
        Layers and indices, int64, one value per edge.
    values
        Those of `STATISTICS` that the source gives, float64, one value per edge; NaN where a value
        is missing.
    features
        (layer, index) -> properties of features that the source describes.
    cap_of
        Group that the cap refers to: ``each source and layer``, or ``each source`` over all layers.
    lacks, cap, rule, notes, findings
        As in `scircuit.ingest.importers.source.Source`.
    """

    source_layer: np.ndarray
    source: np.ndarray
    target_layer: np.ndarray
    target: np.ndarray
    values: Mapping[str, np.ndarray]
    features: Mapping[Key, Mapping[str, object]] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()
    cap: int = 0
    cap_of: str = BY_LAYER
    rule: str = RULE
    notes: tuple[str, ...] = ()
    findings: Mapping[str, object] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.source)


def check(edges: Edges, where: str) -> list[str]:
    """Check edges, and return notes on what may be unexpected in them.

    Raises
    ------
    UserError
        If there are none, one is listed twice, leads to an earlier layer or is not finite, or two
        columns contradict each other.
    """
    if not len(edges):
        raise UserError(
            f"{where} has no edges",
            "check that it is the right file, and that the study that wrote it was finished",
        )
    _check_ends(edges, where)
    _check_duplicates(edges, where)
    for name, column in edges.values.items():
        _check_values(name, column, where)
    return [*_check_columns(edges, where), *_note_below_rule(edges)]


def _refuse_where(mask: np.ndarray, edges: Edges, what: str, fix: str) -> None:
    if mask.any():
        at = int(np.flatnonzero(mask)[0])
        first = (
            f"L{edges.source_layer[at]} F{edges.source[at]} -> L{edges.target_layer[at]}"
            f" F{edges.target[at]}"
        )
        raise UserError(
            f"{what}: {int(mask.sum()):,} of {len(edges):,} edges, the first is {first}", fix
        )


def _check_ends(edges: Edges, where: str) -> None:
    negative = (
        np.min([edges.source_layer, edges.source, edges.target_layer, edges.target], axis=0) < 0
    )
    _refuse_where(
        negative, edges, f"{where}: a layer or feature below 0", "check which column is which"
    )
    _refuse_where(
        edges.target_layer <= edges.source_layer,
        edges,
        f"{where}: the target is in the same or an earlier layer",
        "source and target columns may be swapped",
    )


def _check_duplicates(edges: Edges, where: str) -> None:
    order = np.lexsort((edges.target, edges.target_layer, edges.source, edges.source_layer))
    ends = np.stack([edges.source_layer, edges.source, edges.target_layer, edges.target])[:, order]
    again = np.zeros(len(edges), bool)
    again[order[1:]] = (ends[:, 1:] == ends[:, :-1]).all(0)
    _refuse_where(
        again,
        edges,
        f"{where}: the same source and target more than once",
        "it may contain several conditions: import one condition at a time",
    )


def _check_values(name: str, column: np.ndarray, where: str) -> None:
    infinite = np.isinf(column)
    if infinite.any():
        raise UserError(
            f"{where}: {name} is infinite in {int(infinite.sum()):,} of {len(column):,} edges",
            "export the file again",
        )
    if name == "d" and np.isnan(column).any():
        raise UserError(
            f"{where}: {int(np.isnan(column).sum()):,} of {len(column):,} edges have no effect"
            " size d",
            "leave these rows out, or export the file again",
        )
    if name in _COUNTS and ((column < 0) | (column != np.floor(column)))[~np.isnan(column)].any():
        raise UserError(
            f"{where}: {name} is not a count (below 0 or not an integer)",
            "check which column is which",
        )
    if name == "consistency" and ((column < 0) | (column > 1)).any():
        raise UserError(
            f"{where}: consistency goes from {np.nanmin(column):g} to {np.nanmax(column):g},"
            " expected shares from 0 to 1",
            "check which column is which",
        )
    if name == "sd" and (column < 0).any():
        raise UserError(
            f"{where}: the standard deviation is below 0 in {int((column < 0).sum()):,} edges",
            "check which column is which",
        )


def _check_columns(edges: Edges, where: str) -> list[str]:
    v, notes = edges.values, []
    d, columns = v["d"], "check which column is which"
    if "mean" in v:
        _refuse_where(v["mean"] * d < 0, edges, f"{where}: mean and d have opposite signs", columns)
    if "mean" in v and "sd" in v:
        expected = v["mean"] / np.maximum(v["sd"], 1e-10)
        off = np.abs(expected - d) > _D_TOLERANCE * np.maximum(np.abs(d), np.abs(expected))
        if off.mean() > 0.5:
            _refuse_where(off, edges, f"{where}: d is not mean / sd", columns)
        if off.any():
            notes.append(
                f"d differs from mean / sd by more than {_D_TOLERANCE:.0%} in {int(off.sum()):,}"
                " edges (rounded values): both are stored as given"
            )
    if "n" in v and {"n_pos", "n_neg"} <= set(v):
        _refuse_where(
            v["n_pos"] + v["n_neg"] > v["n"], edges, f"{where}: n_pos + n_neg exceeds n", columns
        )
    if {"n", "n_pos", "consistency"} <= set(v):
        _refuse_where(
            np.abs(consistency(v["n"], v["n_pos"]) - v["consistency"]) > _D_TOLERANCE,
            edges,
            f"{where}: consistency is not max(n_pos, n - n_pos) / n",
            columns,
        )
    return notes


def _note_below_rule(edges: Edges) -> list[str]:
    weak = STATED.refuted(edges.values)
    return (
        [
            f"{int(weak.sum()):,} of {len(edges):,} edges do not pass the published rule (|d| >"
            f" {LEGACY_D}, consistency > {LEGACY_CONSISTENCY})"
        ]
        if weak.any()
        else []
    )


def likely_cap(groups: np.ndarray) -> int:
    """Largest group size if it looks like a cap: several groups have exactly this size, and many
    more than the size below; else 0.

    Parameters
    ----------
    groups
        Edges kept per group.
    """
    largest = int(groups.max(initial=0))
    at, below = int((groups == largest).sum()), int((groups == largest - 1).sum())
    return largest if largest >= 10 and at >= _MIN_AT_CAP and at > 2 * below else 0


def group_sizes(edges: Edges) -> np.ndarray:
    """Edges per source feature and target layer with any."""
    return np.unique(
        np.stack([edges.source_layer, edges.source, edges.target_layer]), axis=1, return_counts=True
    )[1]


def source_sizes(edges: Edges) -> np.ndarray:
    """Edges per source feature over all layers."""
    return np.unique(np.stack([edges.source_layer, edges.source]), axis=1, return_counts=True)[1]


def capped_sizes(edges: Edges) -> np.ndarray:
    """Edges per group that the cap refers to."""
    return source_sizes(edges) if edges.cap_of == BY_SOURCE else group_sizes(edges)


def detected_cap(edges: Edges) -> tuple[int, str]:
    """Largest number of edges per source, or per source and layer, if it looks like a cap; else 0.

    If each source has edges in one layer only, the two are the same. Otherwise equal sums can
    result from layers that all reach their cap: they are then a multiple of it.
    """
    if not len(edges):
        return 0, BY_LAYER
    layers, sources = group_sizes(edges), source_sizes(edges)
    by_layer, by_source = likely_cap(layers), likely_cap(sources)
    follows = 0 < by_layer < by_source and by_source % by_layer == 0
    if by_source and len(layers) > len(sources) and not follows:
        return by_source, BY_SOURCE
    return by_layer, BY_LAYER


def sorted_edges(edges: Edges) -> Edges:
    """Edges sorted by their ends, so that the order in the files does not matter."""
    order = np.lexsort((edges.target, edges.target_layer, edges.source, edges.source_layer))
    return replace(
        edges,
        source_layer=edges.source_layer[order],
        source=edges.source[order],
        target_layer=edges.target_layer[order],
        target=edges.target[order],
        values={name: column[order] for name, column in edges.values.items()},
    )


def addresses(model: str, dictionary: str, layer: np.ndarray, index: np.ndarray) -> pa.Array:
    """Addresses as text, one per row; each distinct address is formatted once."""
    import pyarrow as pa

    both, at = np.unique(np.stack([layer, index]), axis=1, return_inverse=True)
    printed = [str(Address(model, dictionary, int(t), int(i))) for t, i in both.T]
    return pa.array(printed, type=pa.string()).take(pa.array(at.ravel()))


def node_tables(model: str, dictionary: str, edges: Edges) -> dict[str, pa.Table]:
    """Model, dictionaries, and every feature with an edge or a description."""
    ends = np.concatenate(
        [
            np.stack([edges.source_layer, edges.source]),
            np.stack([edges.target_layer, edges.target]),
        ],
        axis=1,
    )
    features: dict[Key, dict[str, object]] = {
        (int(t), int(i)): {} for t, i in np.unique(ends, axis=1).T
    }
    for t, i in np.unique(np.stack([edges.source_layer, edges.source]), axis=1).T:
        features[int(t), int(i)]["traced"] = True
    for key, more in edges.features.items():
        features[key] = {**features.get(key, {}), **more}
    return feature_tables(model, dictionary, features)


def edge_tables(
    model: str, dictionary: str, edges: Edges, start: int = 0, stop: int | None = None
) -> dict[str, pa.Table]:
    """Edges from `start` to `stop` as records; missing values are null."""
    import pyarrow as pa

    part = slice(start, stop)
    columns: dict[str, pa.Array] = {
        "source": addresses(model, dictionary, edges.source_layer[part], edges.source[part]),
        "target": addresses(model, dictionary, edges.target_layer[part], edges.target[part]),
    }
    counts = {"n", "n_pos", "n_neg"} <= set(edges.values)
    for name, column in edges.values.items():
        if name == "consistency" and counts:
            continue  # it follows from the counts
        given = pa.array(column[part], from_pandas=True)
        columns[name] = given.cast(pa.int64()) if name in _COUNTS else given
    kind = "Feature-AFFECTS-Feature"
    return {kind: conform(kind, pa.table(columns))}


def blocks(edges: Edges) -> list[tuple[int, int]]:
    """Bounds of the work units."""
    return [(at, min(at + _BLOCK, len(edges))) for at in range(0, len(edges), _BLOCK)]

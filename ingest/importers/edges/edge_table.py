r"""Imported edges as arrays, what must hold of them, and the records they become.

Whatever the format, an edge is a source, a later target and the published effect size d = mean / sd
of the change over cells. Everything else may be missing and then stays empty: nothing is filled in.
A column that contradicts another stops the import, because then one of the two is not what its name
says:

    sign(mean) = sign(d),   d = mean / max(sd, 1e-10),   n_pos + n_neg <= n,   consistency = max(n_pos, n - n_pos) / n
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from scircuit.core.address import Address
from scircuit.core.errors import UserError
from scircuit.core.schema import conform
from scircuit.ingest.importers.feature_nodes import Key, feature_tables

if TYPE_CHECKING:
    import pyarrow as pa

BY_LAYER, BY_SOURCE = "each source and layer", "each source"
RULE = (
    "published: |d| > 0.5 and max(n_pos, n - n_pos) / n > 0.7, cells without effect counted as"
    " negative"
)
D, CONSISTENCY = 0.5, 0.7
STATISTICS = ("n", "n_pos", "n_neg", "mean", "sd", "d", "consistency")
_COUNTS = ("n", "n_pos", "n_neg")
_SLACK = 0.01  # relative difference of d and mean / sd that rounded decimals can make
_PILE = 3  # groups of equal largest size that look like a cap
_BLOCK = 500_000  # edges in one work unit


@dataclass(frozen=True)
class Edges:
    """Edges of one study and condition.

    Attributes
    ----------
    source_layer, source, target_layer, target
        Layers and indices, int64, one value an edge.
    values
        Those of `STATISTICS` that the source gives, float64, one value an edge; NaN where a single
        value is missing.
    features
        (layer, index) -> properties of features that the source describes.
    cap_of
        What the cap counts: edges of ``each source and layer``, or of ``each source`` over all
        layers.
    lacks, cap, rule, notes, findings
        As in `scircuit.ingest.importers.source.Source`.
    """

    source_layer: np.ndarray
    source: np.ndarray
    target_layer: np.ndarray
    target: np.ndarray
    values: Mapping[str, np.ndarray]
    features: Mapping[Key, Mapping[str, Any]] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()
    cap: int = 0
    cap_of: str = BY_LAYER
    rule: str = RULE
    notes: tuple[str, ...] = ()
    findings: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.source)


def check(edges: Edges, where: str) -> list[str]:
    """Notes on what may be odd in these edges.

    Raises
    ------
    UserError
        If there is none, one is there twice, goes backwards, is not finite, or if two columns
        contradict each other.
    """
    if not len(edges):
        raise UserError(
            f"{where} holds no edge",
            "check that it is the right file, and that the study that wrote it was finished",
        )
    _positions(edges, where)
    _twice(edges, where)
    for name, column in edges.values.items():
        _finite(name, column, where)
    return [*_contradictions(edges, where), *_weak(edges)]


def _refuse(mask: np.ndarray, edges: Edges, what: str, fix: str) -> None:
    if mask.any():
        at = int(np.flatnonzero(mask)[0])
        shown = (
            f"L{edges.source_layer[at]} F{edges.source[at]} -> L{edges.target_layer[at]}"
            f" F{edges.target[at]}"
        )
        raise UserError(
            f"{what}: {int(mask.sum()):,} of {len(edges):,} edges, the first is {shown}", fix
        )


def _positions(edges: Edges, where: str) -> None:
    negative = (
        np.min([edges.source_layer, edges.source, edges.target_layer, edges.target], axis=0) < 0
    )
    _refuse(negative, edges, f"{where}: a layer or feature below 0", "check which column is which")
    _refuse(
        edges.target_layer <= edges.source_layer,
        edges,
        f"{where}: the target lies in the same or an earlier layer",
        "source and target columns may be exchanged",
    )


def _twice(edges: Edges, where: str) -> None:
    order = np.lexsort((edges.target, edges.target_layer, edges.source, edges.source_layer))
    ends = np.stack([edges.source_layer, edges.source, edges.target_layer, edges.target])[:, order]
    again = np.zeros(len(edges), bool)
    again[order[1:]] = (ends[:, 1:] == ends[:, :-1]).all(0)
    _refuse(
        again,
        edges,
        f"{where}: the same source and target more than once",
        "several conditions may be mixed in it: import one condition at a time",
    )


def _finite(name: str, column: np.ndarray, where: str) -> None:
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
            f"{where}: {name} is no count (below 0 or not whole)", "check which column is which"
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


def _contradictions(edges: Edges, where: str) -> list[str]:
    v, notes = edges.values, []
    d, columns = v["d"], "check which column is which"
    if "mean" in v:
        _refuse(v["mean"] * d < 0, edges, f"{where}: mean and d have opposite signs", columns)
    if "mean" in v and "sd" in v:
        expected = v["mean"] / np.maximum(v["sd"], 1e-10)
        off = np.abs(expected - d) > _SLACK * np.maximum(np.abs(d), np.abs(expected))
        if off.mean() > 0.5:
            _refuse(off, edges, f"{where}: d is not mean / sd", columns)
        if off.any():
            notes.append(
                f"d differs from mean / sd by more than {_SLACK:.0%} in {int(off.sum()):,} edges"
                " (rounded values): both are kept as given"
            )
    if "n" in v and {"n_pos", "n_neg"} <= set(v):
        _refuse(
            v["n_pos"] + v["n_neg"] > v["n"], edges, f"{where}: n_pos + n_neg exceeds n", columns
        )
    if {"n", "n_pos", "consistency"} <= set(v):
        share = np.maximum(v["n_pos"], v["n"] - v["n_pos"]) / np.maximum(v["n"], 1)
        _refuse(
            np.abs(share - v["consistency"]) > _SLACK,
            edges,
            f"{where}: consistency is not max(n_pos, n - n_pos) / n",
            columns,
        )
    return notes


def _weak(edges: Edges) -> list[str]:
    weak = np.abs(edges.values["d"]) <= D
    if "consistency" in edges.values:
        weak |= edges.values["consistency"] <= CONSISTENCY
    return (
        [
            f"{int(weak.sum()):,} of {len(edges):,} edges do not pass the published rule (|d| >"
            f" {D}, consistency > {CONSISTENCY})"
        ]
        if weak.any()
        else []
    )


def pile(groups: np.ndarray) -> int:
    """Largest size of the groups where it looks like a cap: several groups end exactly there, more
    than just below; else 0.

    Parameters
    ----------
    groups
        Edges kept of each group.
    """
    largest = int(groups.max(initial=0))
    at, below = int((groups == largest).sum()), int((groups == largest - 1).sum())
    return largest if largest >= 10 and at >= _PILE and at > 2 * below else 0


def group_sizes(edges: Edges) -> np.ndarray:
    """Edges of each source feature and target layer that has any."""
    return np.unique(
        np.stack([edges.source_layer, edges.source, edges.target_layer]), axis=1, return_counts=True
    )[1]


def source_sizes(edges: Edges) -> np.ndarray:
    """Edges of each source feature over all layers."""
    return np.unique(np.stack([edges.source_layer, edges.source]), axis=1, return_counts=True)[1]


def capped_sizes(edges: Edges) -> np.ndarray:
    """Edges of each group that the cap of these edges counts."""
    return source_sizes(edges) if edges.cap_of == BY_SOURCE else group_sizes(edges)


def cap_seen(edges: Edges) -> tuple[int, str]:
    """Largest number of edges kept of each source, or of each source and layer, where it looks like
    a cap; 0 without one.

    Where each source has edges in one layer the two are the same. Where they are not, equal sums
    can follow from full layers: then they are a multiple.
    """
    if not len(edges):
        return 0, BY_LAYER
    layers, sources = group_sizes(edges), source_sizes(edges)
    by_layer, by_source = pile(layers), pile(sources)
    follows = 0 < by_layer < by_source and by_source % by_layer == 0
    if by_source and len(layers) > len(sources) and not follows:
        return by_source, BY_SOURCE
    return by_layer, BY_LAYER


def sorted_edges(edges: Edges) -> Edges:
    """The same edges in the order of their ends, so that files in another order give the same
    records.
    """
    from dataclasses import replace

    order = np.lexsort((edges.target, edges.target_layer, edges.source, edges.source_layer))
    ends: dict[str, Any] = {
        name: getattr(edges, name)[order]
        for name in ("source_layer", "source", "target_layer", "target")
    }
    return replace(edges, **ends, values={k: c[order] for k, c in edges.values.items()})


def addresses(model: str, dictionary: str, layer: np.ndarray, index: np.ndarray) -> pa.Array:
    """Printed addresses, one a row; every feature is printed once."""
    import pyarrow as pa

    both, at = np.unique(np.stack([layer, index]), axis=1, return_inverse=True)
    printed = [str(Address(model, dictionary, int(t), int(i))) for t, i in both.T]
    return pa.array(printed, type=pa.string()).take(pa.array(at.ravel()))


def node_tables(model: str, dictionary: str, edges: Edges) -> dict[str, pa.Table]:
    """Model, dictionaries and every feature that is an end of an edge or described."""
    ends = np.concatenate(
        [
            np.stack([edges.source_layer, edges.source]),
            np.stack([edges.target_layer, edges.target]),
        ],
        axis=1,
    )
    features: dict[Key, dict[str, Any]] = {
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
    """Edges from `start` to `stop` as records; values that are missing are null."""
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

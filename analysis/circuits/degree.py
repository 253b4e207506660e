"""Degrees of features by an edge rule, out of an edge table.

The rules are those of `scircuit.core.edge_rules`. Beside the one that is asked for, degrees by
``legacy``, the published rule, are counted for comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scircuit.core.edge_rules import (
    CALIBRATED,
    CARRIED,
    COMPUTED,
    DEFAULT,
    GENERIC,
    MAX_Q,
    MIN_EFFECT,
    MIN_SUPPORT,
    EdgeRule,
    legacy_edges,
)
from scircuit.core.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

_EDGE_COLUMNS = (
    "n",
    "n_pos",
    "n_neg",
    "mean",
    "sd",
    "d",
    "p",
    "q",
    "direct",
    "halves",
    "computed",
    "computed_cells",
    "q_computed",
    "q_direct",
    "z_computed",
    "z_direct",
)
_REQUIRED = ("n", "n_pos", "n_neg", "mean", "d", "q")


class FeatureArrays(NamedTuple):
    """Features as arrays of one length, in the table's order; NaN where unknown; `scale` is the
    mean activation, 0 where unknown.
    """

    id: np.ndarray
    layer: np.ndarray
    firing_rate: np.ndarray
    traced: np.ndarray
    scale: np.ndarray

    @property
    def sources(self) -> np.ndarray:
        """Positions of the features that were ablated."""
        return np.flatnonzero(self.traced)


class EdgeArrays(NamedTuple):
    """Edges as arrays of one length; `source` and `target` are positions in the features, `scale`
    is that of the target.
    """

    source: np.ndarray
    target: np.ndarray
    n: np.ndarray
    n_pos: np.ndarray
    n_neg: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    d: np.ndarray
    p: np.ndarray
    q: np.ndarray
    direct: np.ndarray
    halves: np.ndarray
    computed: np.ndarray
    computed_cells: np.ndarray
    q_computed: np.ndarray
    q_direct: np.ndarray
    z_computed: np.ndarray
    z_direct: np.ndarray
    scale: np.ndarray

    def keep(self, mask: np.ndarray) -> EdgeArrays:
        """The edges where `mask` is true."""
        return EdgeArrays(*(column[mask] for column in self))


def _floats(table: pa.Table, column: str) -> np.ndarray:
    if column not in table.column_names:
        return np.full(table.num_rows, np.nan)
    return table.column(column).cast("float64").to_numpy(zero_copy_only=False).astype(float)


def read_features(table: pa.Table) -> FeatureArrays:
    """Feature table of a trace run (kind ``Feature``) as arrays.

    Raises
    ------
    UserError
        If a needed column is missing, an id is repeated, or no feature was traced.
    """
    if missing := [
        c for c in ("id", "layer", "firing_rate", "traced") if c not in table.column_names
    ]:
        raise UserError(
            f"the feature table has no {', '.join(missing)}; it has"
            f" {', '.join(table.column_names)}",
            "trace again",
        )
    ids = np.array(table.column("id").to_pylist(), dtype=object)
    if len(set(ids.tolist())) != ids.size:
        raise UserError(
            f"the feature table has {ids.size} rows for {len(set(ids.tolist()))} features",
            "give one run's features",
        )
    traced = np.nan_to_num(_floats(table, "traced")) > 0
    if not traced.any():
        raise UserError(f"none of {ids.size} features was ablated", "analyse a trace run")
    return FeatureArrays(
        ids,
        _floats(table, "layer").astype(np.int64),
        _floats(table, "firing_rate"),
        traced,
        np.nan_to_num(_floats(table, "mean_activation")),
    )


def read_edges(table: pa.Table, features: FeatureArrays) -> EdgeArrays:
    """Edge table of a trace run (kind ``Feature-AFFECTS-Feature``) as arrays.

    Raises
    ------
    UserError
        If a needed column is missing, or an end of an edge is not among the features.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if missing := [c for c in ("source", "target", *_REQUIRED) if c not in table.column_names]:
        raise UserError(
            f"the edge table has no {', '.join(missing)}; it has {', '.join(table.column_names)}",
            "finish the trace run first",
        )
    known = pa.array(features.id.tolist(), type=pa.string())
    ends = []
    for end in ("source", "target"):
        at = pc.index_in(table.column(end), value_set=known)  # pyright: ignore[reportAttributeAccessIssue]
        if at.null_count:
            first = next(
                v
                for v, i in zip(table.column(end).to_pylist(), at.to_pylist(), strict=True)
                if i is None
            )
            raise UserError(
                f"{at.null_count} edges have a {end} that is not in the feature table, such as"
                f" {first}",
                "give both tables of one run",
            )
        ends.append(at.to_numpy(zero_copy_only=False).astype(np.int64))
    return EdgeArrays(
        *ends, *(_floats(table, c) for c in _EDGE_COLUMNS), scale=features.scale[ends[1]]
    )


def edges_by(
    edges: EdgeArrays,
    rule: EdgeRule,
    q: float = MAX_Q,
    min_support: int = MIN_SUPPORT,
    min_effect: float = MIN_EFFECT,
) -> np.ndarray:
    """Mask of the edges that pass a rule; what is not known makes none."""
    thresholds = {"q": q, "min_support": min_support, "min_effect": min_effect}
    return rule.holds(edges._asdict(), thresholds)


def rule_for(edges: EdgeArrays, name: str = "") -> EdgeRule:
    """The rule by which edges are counted: the named one, or the default, or where the run has no
    random directions the calibrated one.

    Raises
    ------
    UserError
        If the named rule needs random directions and the run has none.
    """
    has_null = bool(np.isfinite(edges.q_computed).any() or np.isfinite(edges.q_direct).any())
    if not name:
        return DEFAULT if has_null else CALIBRATED
    rule = RULES[name]
    if not has_null and rule.name != CALIBRATED.name:
        raise UserError(
            f"the run has no random directions, so it cannot tell {name} edges",
            "trace again with --null-draws 64, or use --rule calibrated",
        )
    return rule


RULES = {rule.name: rule for rule in (COMPUTED, CARRIED, GENERIC, CALIBRATED)}


def legacy(edges: EdgeArrays) -> np.ndarray:
    """Mask of the edges that pass the published rule."""
    return legacy_edges(edges.d, edges.n, edges.n_pos)


class Degrees(NamedTuple):
    """Degrees of every feature, int64 (features,); `by_layer` is (features, target layers)."""

    out: np.ndarray
    into: np.ndarray
    legacy: np.ndarray
    by_layer: np.ndarray
    layers: tuple[int, ...]
    support_share: np.ndarray


def degrees(
    features: FeatureArrays,
    edges: EdgeArrays,
    *,
    rule: EdgeRule = CALIBRATED,
    q: float = MAX_Q,
    min_support: int = MIN_SUPPORT,
    min_effect: float = MIN_EFFECT,
) -> Degrees:
    """Count edges in and out of every feature.

    Parameters
    ----------
    features, edges
        Of one trace run.
    rule, q, min_support, min_effect
        What an edge is.

    Returns
    -------
    Degrees
        ``support_share`` is the share of out-edges with a negative effect (ablation lowers the
        target), NaN without edges.
    """
    size = features.id.size
    good = edges_by(edges, rule, q, min_support, min_effect)
    layers: Sequence[int] = sorted({int(v) for v in features.layer[edges.target]})
    position = {layer: i for i, layer in enumerate(layers)}
    by_layer = np.zeros((size, len(layers)), dtype=np.int64)
    if good.any():
        column = np.array([position[int(v)] for v in features.layer[edges.target[good]]])
        np.add.at(by_layer, (edges.source[good], column), 1)
    out = np.bincount(edges.source[good], minlength=size)
    lowered = np.bincount(edges.source[good & (getattr(edges, rule.effect) < 0)], minlength=size)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = lowered / out
    return Degrees(
        out,
        np.bincount(edges.target[good], minlength=size),
        np.bincount(edges.source[legacy(edges)], minlength=size),
        by_layer,
        tuple(layers),
        share,
    )

"""Edge rules, and q values over all live tests although only gated ones are stored.

Benjamini-Hochberg over m live tests: ``q(p) = min over p' >= p of m p' / #{tests with p <= p'}``. Sign-flip p values are few and
discrete, so each work unit hands over its distinct p values with their counts and the whole family is ranked from those.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa


class QTable(NamedTuple):
    """q of every distinct p of a family of tests, ascending."""

    p: np.ndarray
    q: np.ndarray

    def threshold(self, q: float = 0.05) -> float:
        """Largest p whose q is at most `q`; 0 when there is none."""
        passing = self.p[self.q <= q]
        return float(passing[-1]) if len(passing) else 0.0


def q_table(p_values: np.ndarray | Sequence[np.ndarray], p_counts: np.ndarray | Sequence[np.ndarray]) -> QTable:
    """Benjamini-Hochberg q of distinct p values with their counts; several units are given as lists of arrays.

    Raises
    ------
    ValueError
        If values and counts do not match, or a p is not a probability.
    """
    p, counts = _joined(p_values, np.float64), _joined(p_counts, np.int64)
    if p.shape != counts.shape:
        raise ValueError(f"{p.size} p values but {counts.size} counts; give the distinct p values and how often each occurred")
    if p.size and not ((p >= 0) & (p <= 1)).all():
        raise ValueError("p values must lie in [0, 1]; found NaN or values outside. Leave tests without a p out of the family")
    distinct, inverse = np.unique(p, return_inverse=True)
    rank = np.cumsum(np.bincount(inverse, weights=counts, minlength=len(distinct)))
    if len(distinct) == 0:
        return QTable(distinct, distinct.copy())
    raw = rank[-1] * distinct / rank
    return QTable(distinct, np.minimum(np.minimum.accumulate(raw[::-1])[::-1], 1.0))


def with_q(edges: pa.Table, table: QTable) -> pa.Table:
    """Edges with their q column set.

    Raises
    ------
    ValueError
        If an edge's p is not in the family.
    """
    import pyarrow as pa

    p = edges.column("p").to_numpy(zero_copy_only=False)
    at = np.searchsorted(table.p, p)
    inside = np.minimum(at, max(len(table.p) - 1, 0))
    if len(p) and (len(table.p) == 0 or not (table.p[inside] == p).all()):
        raise ValueError("an edge's p is not among the p values of the family; rank the units of the same run")
    q = pa.array(table.q[inside] if len(p) else np.zeros(0), pa.float64())
    if "q" in edges.column_names:
        return edges.set_column(edges.column_names.index("q"), "q", q)
    return edges.add_column(edges.column_names.index("p") + 1, "q", q)


def calibrated(edges: pa.Table, q: float = 0.05, min_support: int = 6) -> np.ndarray:
    """Mask of edges by the calibrated rule: q at most `q`, and at least `min_support` cells with an effect."""
    return (_column(edges, "q") <= q) & (_column(edges, "n_pos") + _column(edges, "n_neg") >= min_support)


def legacy(edges: pa.Table) -> np.ndarray:
    """Mask of edges by the published rule; see `legacy_rule`."""
    return legacy_rule(_column(edges, "d"), _column(edges, "n"), _column(edges, "n_pos"))


def legacy_rule(d: np.ndarray, n: np.ndarray, n_pos: np.ndarray) -> np.ndarray:
    """|d| > 0.5 and max(n_pos, n - n_pos) / n > 0.7, where zeros count as not positive (asymmetric; for replication only)."""
    n = np.asarray(n)
    share = np.maximum(n_pos, n - n_pos) / np.maximum(n, 1)
    return (n >= 2) & (np.abs(d) > 0.5) & (share > 0.7)


def _joined(arrays: np.ndarray | Sequence[np.ndarray], dtype: type) -> np.ndarray:
    if isinstance(arrays, np.ndarray):
        return arrays.astype(dtype)
    parts = [np.atleast_1d(np.asarray(a, dtype)) for a in arrays]
    return np.concatenate(parts) if parts else np.zeros(0, dtype)


def _column(table: pa.Table, name: str) -> np.ndarray:
    return table.column(name).to_numpy(zero_copy_only=False)

r"""q values over all callable tests although only gated ones are stored, and the edge rules
(`scircuit.core.edge_rules`) on a table of edges.

The family are the m live tests that can be called, those with at least `MIN_SUPPORT` cells with an
effect. With R(p) of them with p at most p, and I(p) >= 1 the inflation of small p by skewness, read
from the run itself (`scircuit.tracing.statistics.skewness`),

    q(p) = min over p' >= p of  m p' I(p') / R(p') .

With I = 1 that is Benjamini-Hochberg (1995): with symmetric effects the expected share of false
edges is at most q when the tests are independent or positively dependent. I only ever raises q,
where effects are skewed. Targets of one source share its cells, so false edges come in clumps: the
bound is on the mean over runs, a single source can have more. ``method="by"`` bounds it under any
dependence (Benjamini and Yekutieli 2001: m times sum of 1/i).

Sign-flip p values are few and discrete, so each work unit hands over its distinct p values with
their counts and the whole family is ranked from those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from scircuit.core import edge_rules
from scircuit.core.edge_rules import MAX_Q, MIN_EFFECT, MIN_SUPPORT
from scircuit.tracing.statistics.skewness import Null, inflation

if TYPE_CHECKING:
    import pyarrow as pa

TEST = (
    "two-sided sign flips over the cells with an effect, whatever their number; fewer than"
    f" {MIN_SUPPORT} such cells are never called"
)
"""Which test gives p, as the record of a run says it."""

Arrays = np.ndarray | Sequence[np.ndarray]


class QTable(NamedTuple):
    """q of every distinct p of a family of tests, ascending; beyond `exact` the family knows only
    how many tests there are, and q is 1.
    """

    p: np.ndarray
    q: np.ndarray
    exact: float = 1.0

    def threshold(self, q: float = MAX_Q) -> float:
        """Largest p whose q is at most `q`; 0 when there is none."""
        passing = self.p[self.q <= q]
        return float(passing[-1]) if len(passing) else 0.0

    def of(self, p: np.ndarray) -> np.ndarray:
        """Give the q that a test with this p would have in the family: ``of(p) <= q0`` exactly when
        ``p <= threshold(q0)``.
        """
        return np.append(self.q, 1.0)[np.searchsorted(self.p, p)]


def q_table(
    p_values: Arrays,
    p_counts: Arrays,
    method: Literal["bh", "by"] = "bh",
    null: Null | None = None,
    exact: float = 1.0,
) -> QTable:
    """Compute q of distinct p values with their counts; several units are given as lists of arrays.

    Parameters
    ----------
    p_values, p_counts
        Distinct p values of the family and how often each occurred.
    method
        ``bh``, or ``by`` for any dependence between tests.
    null
        Null draws of the run; without them q is that of the method alone.
    exact
        p up to which tests are told apart; those beyond count in m and no more, as if their p were
        1. No q up to `exact` changes by that, for q is never below p.

    Raises
    ------
    ValueError
        If values and counts do not match, a p is not a probability, or the method is unknown.
    """
    if method not in ("bh", "by"):
        raise ValueError(f"method {method!r}; expected 'bh' or 'by'")
    distinct, counts = _ranked(p_values, p_counts, exact)
    if len(distinct) == 0:
        return QTable(distinct, distinct.copy(), exact)
    rank = np.cumsum(counts)
    m = rank[-1]
    false = m * distinct
    if method == "by":
        from scipy.special import digamma

        false *= digamma(m + 1) + np.euler_gamma  # sum of 1/i over the m tests
    if null is not None:
        false *= inflation(null, distinct)
    raw = false / rank
    return QTable(distinct, np.minimum(np.minimum.accumulate(raw[::-1])[::-1], 1.0), exact)


def with_q(edges: pa.Table, table: QTable) -> pa.Table:
    """Edges with their q column set.

    Edges with fewer than `MIN_SUPPORT` cells with an effect (``n_pos + n_neg``, where the table has
    them) are not in the family: their q is 1, as nothing is claimed about them.

    Raises
    ------
    ValueError
        If the p of an edge that can be called is not in the family.
    """
    import pyarrow as pa

    p = _column(edges, "p")
    member = np.ones(len(p), bool)
    if {"n_pos", "n_neg"} <= set(edges.column_names):
        member = _column(edges, "n_pos") + _column(edges, "n_neg") >= MIN_SUPPORT
    if not np.isin(p[member & (p <= table.exact)], table.p).all():
        raise ValueError(
            "an edge's p is not among the p values of the family; rank the units of the same run"
        )
    q = pa.array(np.where(member, table.of(p), 1.0), pa.float64())
    if "q" in edges.column_names:
        return edges.set_column(edges.column_names.index("q"), "q", q)
    return edges.add_column(edges.column_names.index("p") + 1, "q", q)


def calibrated(
    edges: pa.Table,
    q: float = MAX_Q,
    min_support: int = MIN_SUPPORT,
    min_effect: float = MIN_EFFECT,
    scale: Mapping[str, float] | None = None,
) -> np.ndarray:
    """Mask of edges by the calibrated rule (`scircuit.core.edge_rules`).

    Parameters
    ----------
    edges
        Edges with q.
    q, min_support, min_effect
        Thresholds of the rule.
    scale
        Address of a feature -> its mean activation (`scale_of`); where it is not given, the size of
        the effect is not asked.
    """
    large: tuple[np.ndarray | float, np.ndarray | float] = (0.0, 0.0)
    if scale is not None:
        of_target = [scale.get(t) or 0.0 for t in edges.column("target").to_pylist()]
        large = _column(edges, "mean"), np.array(of_target)
    return edge_rules.calibrated_edges(
        _column(edges, "q"),
        _column(edges, "n_pos"),
        _column(edges, "n_neg"),
        *large,
        max_q=q,
        min_support=min_support,
        min_effect=min_effect,
    )


def scale_of(features: pa.Table) -> dict[str, float]:
    """Mean activation of every feature that fires in the clean cells, by address."""
    rows = zip(
        features.column("id").to_pylist(),
        features.column("mean_activation").to_pylist(),
        strict=True,
    )
    return {address: value for address, value in rows if value}


def _ranked(values: Arrays, counts: Arrays, exact: float) -> tuple[np.ndarray, np.ndarray]:
    """Distinct p values ascending, and how often each occurred in all units; those beyond `exact`
    are 1.
    """
    p, times = _joined(values, np.float64), _joined(counts, np.int64)
    if p.shape != times.shape:
        raise ValueError(
            f"{p.size} p values but {times.size} counts; give the distinct p values and how often"
            " each occurred"
        )
    if p.size and not ((p >= 0) & (p <= 1)).all():
        raise ValueError(
            "p values must lie in [0, 1]; found NaN or values outside. Leave tests without a p out"
            " of the family"
        )
    distinct, inverse = np.unique(np.where(p > exact, 1.0, p), return_inverse=True)
    return distinct, np.bincount(inverse, weights=times, minlength=len(distinct))


def _joined(arrays: Arrays, dtype: type) -> np.ndarray:
    if isinstance(arrays, np.ndarray):
        return arrays.astype(dtype)
    parts = [np.atleast_1d(np.asarray(a, dtype)) for a in arrays]
    return np.concatenate(parts) if parts else np.zeros(0, dtype)


def _column(table: pa.Table, name: str) -> np.ndarray:
    return table.column(name).to_numpy(zero_copy_only=False)

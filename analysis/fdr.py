"""Benjamini-Hochberg q values when the family is larger than the list of p values kept.

``q_(i) = min_{j >= i} m p_(j) / j`` over the sorted p. Tests that are not listed (overlap 0, so p = 1) count in the family size m
and nowhere else: they sort last and cannot lower any q.
"""

from __future__ import annotations

import numpy as np


def benjamini_hochberg(p: np.ndarray, family: int | None = None) -> np.ndarray:
    """Q values in the order of `p`.

    Parameters
    ----------
    p
        p values of the tests that are listed.
    family
        Number m of all tests, listed or not (default: ``len(p)``).

    Raises
    ------
    ValueError
        If the family is smaller than the list, or a p is outside [0, 1] or NaN.
    """
    p = np.asarray(p, dtype=float)
    m = p.size if family is None else int(family)
    if m < p.size:
        raise ValueError(f"the family has {m} tests, but {p.size} p values are listed")
    if p.size == 0:
        return p.copy()
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"{int((~((p >= 0) & (p <= 1))).sum())} of {p.size} p values are not in [0, 1]")
    order = np.argsort(p, kind="stable")
    scaled = p[order] * m / np.arange(1, p.size + 1)
    q = np.empty_like(p)
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q


def benjamini_hochberg_grouped(p: np.ndarray, group: np.ndarray, families: np.ndarray) -> np.ndarray:
    """`benjamini_hochberg` within each group; `group` holds integers that index `families` (tests per group)."""
    p, group = np.asarray(p, dtype=float), np.asarray(group)
    q = np.empty_like(p)
    order = np.argsort(group, kind="stable")
    bounds = np.searchsorted(group[order], np.arange(len(families) + 1))
    for g, m in enumerate(families):
        rows = order[bounds[g] : bounds[g + 1]]
        if rows.size:
            q[rows] = benjamini_hochberg(p[rows], int(m))
    return q

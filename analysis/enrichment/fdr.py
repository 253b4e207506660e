"""Benjamini-Hochberg q values when the family is larger than the list of p values kept.

``q_(i) = min_{j >= i} m p_(j) / j`` over the sorted p. Tests that are not listed (overlap 0, so p =
1) count in the family size m and nowhere else: they sort last and cannot lower any q.

Equal p have equal q, so the distinct p and how often each occurs are enough (`PTally`): the
overlaps of a hundred thousand lists with thousands of terms have some ten thousand distinct p, and
none of their forty million pairs has to be kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

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
        raise ValueError(
            f"{int((~((p >= 0) & (p <= 1))).sum())} of {p.size} p values are not in [0, 1]"
        )
    order = np.argsort(p, kind="stable")
    scaled = p[order] * m / np.arange(1, p.size + 1)
    q = np.empty_like(p)
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q


def benjamini_hochberg_grouped(
    p: np.ndarray, group: np.ndarray, families: np.ndarray
) -> np.ndarray:
    """`benjamini_hochberg` within each group; `group` has integers that index `families` (tests
    per group).
    """
    p, group = np.asarray(p, dtype=float), np.asarray(group)
    q = np.empty_like(p)
    order = np.argsort(group, kind="stable")
    bounds = np.searchsorted(group[order], np.arange(len(families) + 1))
    for g, m in enumerate(families):
        rows = order[bounds[g] : bounds[g + 1]]
        if rows.size:
            q[rows] = benjamini_hochberg(p[rows], int(m))
    return q


class PTally(NamedTuple):
    """How often each p occurs: `p` rising (repeats allowed), `count` beside it."""

    p: np.ndarray
    count: np.ndarray

    @classmethod
    def of(cls, p: np.ndarray, count: np.ndarray) -> PTally:
        """Tally of p values that occur at least once."""
        used = np.flatnonzero(count)
        order = used[np.argsort(p[used], kind="stable")]
        return cls(p[order], count[order].astype(np.int64))

    @classmethod
    def join(cls, tallies: Iterable[PTally]) -> PTally:
        """Tally of several families taken as one."""
        parts = list(tallies)
        return (
            cls.of(np.concatenate([t.p for t in parts]), np.concatenate([t.count for t in parts]))
            if parts
            else cls(np.zeros(0), np.zeros(0, np.int64))
        )

    @property
    def tests(self) -> int:
        """Tests that are counted."""
        return int(self.count.sum())

    def q(self, p: np.ndarray, family: int | None = None) -> np.ndarray:
        """`benjamini_hochberg` of p values that are in the tally, the tally's other p included.

        Raises
        ------
        ValueError
            If the family is smaller than the tally, or a p is not in it.
        """
        m = self.tests if family is None else int(family)
        if m < self.tests:
            raise ValueError(f"the family has {m} tests, but {self.tests} p values are counted")
        p = np.asarray(p, dtype=float)
        at = np.searchsorted(self.p, p)
        if p.size and (at.max(initial=0) >= self.p.size or (self.p[at] != p).any()):
            raise ValueError("a p value is not in the tally")
        return self._q(m)[at]

    def threshold(self, family: int, alpha: float) -> float:
        """Largest p with q <= `alpha` (-1: none)."""
        good = np.flatnonzero(self._q(family) <= alpha)
        return float(self.p[good[-1]]) if good.size else -1.0

    def _q(self, family: int) -> np.ndarray:
        scaled = self.p * family / np.cumsum(self.count)
        return np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)

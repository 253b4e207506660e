"""The family of tests of a run, gathered unit by unit: distinct p values of the tests that can be
called with their counts, and null p values with their weights.

Up to 20 cells p is a multiple of 2^-19, beyond that it has four digits, so distinct values are few
however many tests there are; they are put together whenever many have come in, and a run of any
size needs little memory for them.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from scircuit.tracing.statistics.q_values import QTable, q_table
from scircuit.tracing.statistics.skewness import Null

_MANY = 2**21  # values held before they are put together


class Family:
    """Callable tests of a run; the order in which units come changes nothing (null weights are
    integers, and add up exactly).

    Parameters
    ----------
    exact
        p up to which tests are told apart (`q_table`).
    """

    def __init__(self, exact: float = 1.0) -> None:
        self.exact, self.tests = exact, 0
        self._p, self._counts, self._null = (
            [np.zeros(0)],
            [np.zeros(0, np.int64)],
            [Null.joined([])],
        )

    def add(self, p: np.ndarray, counts: np.ndarray, null: Null) -> None:
        """Take in one unit: distinct p values, how often each occurred, and its null draws."""
        self.tests += int(counts.sum())
        self._p.append(p)
        self._counts.append(counts)
        self._null.append(null)
        if sum(map(len, self._p)) + sum(len(n.p) for n in self._null) > _MANY:
            self._join()

    def table(self, method: Literal["bh", "by"] = "bh") -> QTable:
        """Rank all tests: q of every distinct p."""
        self._join()
        return q_table(self._p[0], self._counts[0], method, self._null[0], self.exact)

    def between(self, low: float, high: float) -> int:
        """Callable tests with ``low < p <= high``."""
        self._join()
        return int(self._counts[0][(self._p[0] > low) & (self._p[0] <= high)].sum())

    def _join(self) -> None:
        p, inverse = np.unique(np.concatenate(self._p), return_inverse=True)
        counts = np.zeros(len(p), np.int64)
        np.add.at(counts, inverse, np.concatenate(self._counts))
        self._p, self._counts, self._null = [p], [counts], [Null.joined(self._null)]

"""Upper tail of the hypergeometric distribution, P(X >= k), exact to a few units in the last place.

X counts the members of a term (m of N genes) in a list of n genes: ``P(X = x) = C(m, x) C(N - m, n
- x) / C(N, n)``. The pmf is built by its recurrence ``P(x + 1) / P(x) = (m - x)(n - x) / ((x + 1)(N
- m - n + x + 1))`` from ``P(0) = prod_{i < n} (N - m - i) / (N - i)`` and summed from the small
end, so nothing cancels. Sums of gammaln lose five digits and ``1 - cdf`` is 0 below 1e-16; neither
is used. Where P(0) underflows or is 0, the value comes from `scipy.stats.hypergeom.sf`.
"""

from __future__ import annotations

import numpy as np

# below exp(-600) the recurrence would start from a denormal number
_SMALLEST_LOG = -600.0


class TailTable:
    """P(X >= k) for every (k, m, n) that can occur, each distinct (m, n) computed once.

    Parameters
    ----------
    list_sizes
        Genes per list, n; any shape, duplicates allowed.
    term_sizes
        Genes per term, m.
    background
        Genes in the background, N.
    """

    def __init__(self, list_sizes: np.ndarray, term_sizes: np.ndarray, background: int) -> None:
        self.background = int(background)
        self._n = np.unique(np.asarray(list_sizes, dtype=np.int64))
        self._m = np.unique(np.asarray(term_sizes, dtype=np.int64))
        if self._n.size and (self._n[0] < 0 or self._n[-1] > background):
            raise ValueError(
                f"list sizes {self._n[0]} to {self._n[-1]} do not fit a background of {background}"
                " genes"
            )
        if self._m.size and (self._m[0] < 0 or self._m[-1] > background):
            raise ValueError(
                f"term sizes {self._m[0]} to {self._m[-1]} do not fit a background of {background}"
                " genes"
            )
        largest = int(self._m[-1]) if self._m.size else 0
        self._width = np.minimum(self._n, largest) + 1
        self._offset = np.concatenate([[0], np.cumsum(self._width * self._m.size)])
        self._flat = np.concatenate(
            [self._block(int(n), int(w)).ravel() for n, w in zip(self._n, self._width, strict=True)]
            or [np.zeros(0)]
        )

    def _block(self, n: int, width: int) -> np.ndarray:
        """Tails for one n: rows are the distinct m, columns are k = 0 .. width - 1."""
        m, total = self._m.astype(float), float(self.background)
        steps = np.arange(n, dtype=float)
        with np.errstate(divide="ignore", invalid="ignore"):
            start = np.where(m + n > total, -np.inf, 0.0)
            fits = np.isfinite(start)
            ratio = (total - m[fits, None] - steps) / (total - steps)
            start[fits] = np.log(ratio).sum(axis=1)
            pmf = np.zeros((m.size, width))
            pmf[:, 0] = np.where(start > _SMALLEST_LOG, 1.0, 0.0)
            pmf[fits, 0] *= np.prod(ratio, axis=1)
            for x in range(width - 1):
                pmf[:, x + 1] = (
                    pmf[:, x]
                    * np.maximum((m - x) * (n - x), 0.0)
                    / ((x + 1) * (total - m - n + x + 1))
                )
        tail = np.cumsum(pmf[:, ::-1], axis=1)[:, ::-1].copy()
        hard = ~(start > _SMALLEST_LOG)
        if hard.any():
            from scipy.stats import hypergeom

            tail[hard] = hypergeom.sf(
                np.arange(width)[None, :] - 1, self.background, self._m[hard, None], n
            )
        tail[:, 0] = 1.0
        return np.minimum(tail, 1.0)

    @property
    def values(self) -> np.ndarray:
        """Every tail of the table, flat; `starts` and `ranks` give the positions."""
        return self._flat

    @property
    def term_sizes(self) -> np.ndarray:
        """Distinct term sizes m, rising."""
        return self._m

    def starts(self, list_sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each list: position of its first tail in `values`, and tails for each term size."""
        ni = np.searchsorted(self._n, list_sizes)
        return self._offset[ni], self._width[ni]

    def ranks(self, term_sizes: np.ndarray) -> np.ndarray:
        """For each term: rank of its size among the distinct ones. A pair's tail is ``values[start
        + rank * width + overlap]``.
        """
        return np.searchsorted(self._m, term_sizes)

    def tail(self, overlap: np.ndarray, term_size: np.ndarray, list_size: np.ndarray) -> np.ndarray:
        """P(X >= overlap) element by element, for the sizes given at construction."""
        start, width = self.starts(np.asarray(list_size))
        return self._flat[
            start + self.ranks(np.asarray(term_size)) * width + np.asarray(overlap, dtype=np.int64)
        ]

    def of_list_size(self, list_size: int) -> np.ndarray:
        """Tails of one list size, distinct term sizes x overlap (0 .. width - 1)."""
        start, width = self.starts(np.array([list_size]))
        return self._flat[start[0] : start[0] + width[0] * self._m.size].reshape(
            self._m.size, width[0]
        )


def odds_ratio(
    overlap: np.ndarray, term_size: np.ndarray, list_size: np.ndarray, background: int
) -> np.ndarray:
    """Sample odds ratio with 0.5 added to each of the four cells (Haldane-Anscombe)."""
    a = np.asarray(overlap, dtype=float)
    b, c = term_size - a, list_size - a
    d = background - term_size - list_size + a
    return (a + 0.5) * (d + 0.5) / ((b + 0.5) * (c + 0.5))

r"""More random draws where a p is at the least that its draws allow.

With B draws no p is below 1 / (1 + B), so that among m sets one with an effect has q <= alpha only
if B is at least m / alpha. Drawing goes on, for the sets that need it, until ten draws are as
extreme as the set or twice that number is done (Besag and Clifford 1991):

    p = 10 / l                      at the l-th draw, where the tenth hit came after B draws
    p = (1 + hits) / (1 + draws)    where it never came.

Both are valid: P(p <= t) <= t for a set without an effect.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

MOST_DRAWS = 100_000
_HITS = 10
_MARGIN = 2
_BLOCK = 500  # draws at a time


class Drawn(NamedTuple):
    """p, and the smallest p that the draws could have given."""

    p: float
    least: float


def draws_needed(tests: int, alpha: float) -> int:
    """Twice the draws that one set among so many needs for q <= `alpha`; 100,000 at most."""
    return min(MOST_DRAWS, math.ceil(_MARGIN * tests / alpha))


def go_on(p: float, draws: int, most: int, more: Callable[[int], np.ndarray]) -> Drawn:
    """Draw on until ten hits or `most` draws.

    Parameters
    ----------
    p, draws
        ``(1 + hits) / (1 + draws)`` of the draws that were made.
    most
        Draws in all.
    more
        Of a number of new draws, whether each is as extreme as what was observed.
    """
    hits = round(p * (1 + draws)) - 1
    least = 1 / (1 + max(draws, most))
    while hits < _HITS and draws < most:
        new = more(min(_BLOCK, most - draws))
        count = hits + np.cumsum(new)
        if count[-1] >= _HITS:
            return Drawn(_HITS / (draws + int(np.argmax(count >= _HITS)) + 1), least)
        hits, draws = int(count[-1]), draws + new.size
        p = (1 + hits) / (1 + draws)
    return Drawn(p, least)


class Alike:
    """Features of the same strata, at random.

    Parameters
    ----------
    strata
        Of every feature, [features].
    """

    def __init__(self, strata: np.ndarray) -> None:
        self.strata = strata
        self.order = np.argsort(strata, kind="stable")
        self.sorted = strata[self.order]

    def draw(self, features: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
        """As many different features from each stratum, [draws, features]."""
        parts = []
        for stratum, k in zip(*np.unique(self.strata[features], return_counts=True), strict=True):
            first, last = np.searchsorted(self.sorted, [stratum, stratum + 1])
            parts.append(self.order[first + _choose(draws, int(last - first), int(k), rng)])
        return np.concatenate(parts, axis=1)


def _choose(draws: int, n: int, k: int, rng: np.random.Generator) -> np.ndarray:
    """Different numbers below n, [draws, k]."""
    if k * k > n:
        return np.argsort(rng.random((draws, n)), axis=1)[:, :k]
    found = rng.integers(0, n, (draws, k))
    while True:
        ranked = np.sort(found, axis=1)
        twice = np.flatnonzero((ranked[:, 1:] == ranked[:, :-1]).any(axis=1))
        if not twice.size:
            return found
        found[twice] = rng.integers(0, n, (twice.size, k))

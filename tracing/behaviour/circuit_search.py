r"""The smallest set of features that keeps a behaviour, on the cells given.

With m(C) the mean behaviour over cells when all features but those of C are at their means, m(all)
that of the unedited model and m() that without any feature,

    F(C) = (m(C) - m()) / (m(all) - m())

Features are taken by falling score. The first of the sizes 1, 2, 4, ... that keeps the wanted share
is found, and the smallest between it and the one before by bisection. The members are then ranked
again by what each alone is worth, ``F(C) - F(C without f)``, and the smallest beginning of that
order is taken, as long as the set becomes smaller. This is a greedy search: a smaller set of other
features may exist.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

ROUNDS = 3  # of ranking the members again
MOST_RANKED = 512  # members; more are left in the order of their scores

Share = Callable[[np.ndarray], np.ndarray]
"""[M, size] bool sets of features kept -> F of each, [M]."""


class Found(NamedTuple):
    """Result of a search.

    Attributes
    ----------
    order
        Features, best first; the circuit is its beginning.
    size
        Features of the circuit; 0 where no set up to `limit` keeps the share.
    share
        F of the circuit, or the largest F up to `limit`.
    best_size
        Size of that.
    needed
        The smallest of the sizes 1, 2, 4, ... that keeps the share at all; 0: none does.
    """

    order: np.ndarray
    size: int
    share: float
    best_size: int
    needed: int


def sizes_up_to(n: int, *others: int) -> list[int]:
    """0, 1, 2, 4, ... and n, with others that are at most n, ascending."""
    powers = (2**i for i in range(n.bit_length()))
    return sorted({0, n, *(s for s in powers if s <= n), *(s for s in others if 0 <= s <= n)})


def search(f: Share, order: np.ndarray, space_size: int, wanted: float, limit: int) -> Found:
    """Find the circuit.

    Parameters
    ----------
    f
        F on the cells of the search.
    order
        Candidates by falling score.
    space_size
        Length of a mask.
    wanted
        Share of the behaviour to keep.
    limit
        Most features of a circuit.
    """

    def prefixes(of: np.ndarray, sizes: list[int]) -> np.ndarray:
        sets = np.zeros((len(sizes), space_size), bool)
        for row, size in zip(sets, sizes, strict=True):
            row[of[:size]] = True
        return f(sets)

    sizes = [s for s in sizes_up_to(len(order), limit) if s]
    shares = prefixes(order, sizes)
    passing = [s for s, share in zip(sizes, shares, strict=True) if share >= wanted]
    small = [i for i, s in enumerate(sizes) if s <= limit]
    best = max(small, key=lambda i: shares[i])
    if not passing or passing[0] > limit:
        needed = passing[0] if passing else 0
        return Found(order, 0, float(shares[best]), sizes[best], needed)

    def bisect(of: np.ndarray, low: int, high: int) -> int:
        """A size in low+1 .. high that keeps the share where the next smaller one does not; `high`
        does.
        """
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if prefixes(of, [middle])[0] >= wanted else (middle, high)
        return high

    size = passing[0]
    before = sizes.index(size) - 1
    size = bisect(order, sizes[before] if before >= 0 else 0, size)
    for _ in range(ROUNDS):
        if not 1 < size <= MOST_RANKED:
            break
        members = order[:size]
        without = np.zeros((size, space_size), bool)
        without[:, members] = True
        without[np.arange(size), members] = False
        again = members[np.argsort(f(without), kind="stable")]
        ranked = np.concatenate([again, order[size:]])
        smaller = bisect(ranked, 0, size)
        order, shrunk, size = ranked, smaller < size, smaller
        if not shrunk:
            break
    return Found(order, size, float(prefixes(order, [size])[0]), size, passing[0])

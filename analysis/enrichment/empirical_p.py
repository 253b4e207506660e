"""p of every feature's best term among its matched random lists
(`scircuit.analysis.enrichment.matched_null` has the formula).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from scircuit.analysis.enrichment.profile_null import ProfileNull

# p of one test from two engines differ in the last digits; a random list that ties must count as
# good as the feature
SLACK = 1 + 1e-9


def equal_runs(sorted_values: np.ndarray) -> list[tuple[int, slice]]:
    """Value and slice of every run of equal values."""
    edges = np.flatnonzero(np.diff(sorted_values)) + 1
    bounds = [0, *edges.tolist(), sorted_values.size]
    return [(int(sorted_values[a]), slice(a, b)) for a, b in pairwise(bounds) if b > a]


def empirical_p(
    smallest: np.ndarray,
    null: np.ndarray,
    nulls: Sequence[ProfileNull],
    of_block: Sequence[np.ndarray],
    profile: Sequence[np.ndarray],
    firsts: np.ndarray,
    chosen: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Empirical p of every feature (features x scopes), and of the random lists of the chosen
    features (random lists x chosen x scopes).
    """
    lists, n, scopes = null.shape
    better = (null[:-1] <= smallest[None] * SLACK).sum(axis=0)
    p = (1 + better) / lists
    some = null[:, chosen]
    order = np.sort(some, axis=0)
    rank = np.empty(some.shape)
    for c in range(chosen.size):
        for i in range(scopes):
            rank[:, c, i] = np.searchsorted(order[:, c, i], some[:, c, i] * SLACK, side="right")
    null_p = rank / lists
    position = np.full(n, -1, dtype=np.int64)
    position[chosen] = np.arange(chosen.size)
    needed = ((better == 0) & (smallest < 1)).any(axis=1) | (position >= 0)
    for b, (distribution, in_scope) in enumerate(zip(nulls, of_block, strict=True)):
        rows = np.flatnonzero(needed[firsts[b] : firsts[b + 1]])
        kinds, inverse = np.unique(profile[b][rows], axis=0, return_inverse=True)
        by_kind = np.argsort(inverse, kind="stable")
        for kind, at in equal_runs(inverse[by_kind]):
            expected = distribution.expected(kinds[kind])
            for f in (rows[by_kind[at]] + firsts[b]).tolist():
                for own, i in enumerate([0, *in_scope.tolist()]):
                    if better[f, i] == 0:
                        p[f, i] = min(p[f, i], expected.at(smallest[f, i] * SLACK, own))
                    if position[f] >= 0 and rank[:, position[f], i].min() == 1:
                        d = int(rank[:, position[f], i].argmin())
                        null_p[d, position[f], i] = min(
                            null_p[d, position[f], i], expected.at(null[d, f, i] * SLACK, own)
                        )
    return p, null_p

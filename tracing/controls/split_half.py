"""Replication of effects: those found in one half of the cells are tested in the other.

An edge is chosen on all cells, so agreement of its halves is not a test of it: of chance effects
that reach p <= 0.0023 in 20 cells, 45 % have the same sign and p <= 0.05 in both halves. Here one
half (even or odd cells) chooses and the other tests:

    found   p <= 0.01 in one half, with an effect in 6 or more cells of the other half (with fewer,
            no p there is below 0.05)
    held    same sign and p <= 0.05 in the other

Expected by chance: at most 2.5 % are held. Either half chooses once. Hubs are
compared in the same way: out-degrees are counts of p <= 0.01 in either half.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scircuit.tracing.statistics.effect_statistics import HALF_CELLS, HALF_P, Tests

FOUND_P = 0.01
CHANCE = HALF_P / 2  # maximum share of chance effects that replicate with the same sign


class Replication(NamedTuple):
    """Counts of some sources."""

    found: np.ndarray  # [layers] of the targets, in their order
    held: np.ndarray  # [layers]
    even: np.ndarray  # [sources] effects with p <= 0.01 in the even cells
    odd: np.ndarray  # [sources]

    @classmethod
    def joined(cls, parts: list[Replication]) -> Replication:
        """Of the sources of all parts, in order."""
        found, held, even, odd = zip(*parts, strict=True)
        return cls(
            np.sum(found, axis=0), np.sum(held, axis=0), np.concatenate(even), np.concatenate(odd)
        )


def replication(even: Tests, odd: Tests, sources: int, columns: list[slice]) -> Replication:
    """Compare every live test of one half with that of the other.

    Parameters
    ----------
    even, odd
        Tests of the same sources and targets in either half of the cells.
    sources
        How many sources there are.
    columns
        Targets of each layer.
    """
    targets = columns[-1].stop
    _, here, there = np.intersect1d(
        even.pairs(targets), odd.pairs(targets), assume_unique=True, return_indices=True
    )
    target = even.target[here]
    same = np.sign(even.mean[here]) == np.sign(odd.mean[there])
    found, held = np.zeros(len(columns), np.int64), np.zeros(len(columns), np.int64)
    for a, b, at, other in ((even, odd, here, there), (odd, even, there, here)):
        chosen = (a.p[at] <= FOUND_P) & (b.cells[other] >= HALF_CELLS)
        again = chosen & same & (b.p[other] <= HALF_P)
        for number, layer in enumerate(columns):
            inside = (target >= layer.start) & (target < layer.stop)
            found[number] += np.count_nonzero(chosen & inside)
            held[number] += np.count_nonzero(again & inside)
    degrees = [np.bincount(t.source[t.p <= FOUND_P], minlength=sources) for t in (even, odd)]
    return Replication(found, held, *degrees)


def hub_replication(
    even: np.ndarray, odd: np.ndarray, positions: np.ndarray
) -> tuple[float | None, float | None]:
    """Spearman correlation between halves of the cells of out-degree, and of out-degree beyond its
    expectation from the firing rate.

    A hub that is chosen and measured on the same cells looks too good (winner's curse); its rank in
    cells that did not choose it does not. The expectation is a line of log(degree + 1) on
    log(positions) in each half. None where a half has one degree only.
    """
    from scipy.stats import spearmanr

    def rho(a: np.ndarray, b: np.ndarray) -> float | None:
        varied = len(a) > 3 and np.ptp(a) > 0 and np.ptp(b) > 0
        return float(spearmanr(a, b)[0]) if varied else None  # pyright: ignore[reportArgumentType]

    def beyond(degree: np.ndarray) -> np.ndarray:
        x, y = np.log(positions), np.log1p(degree)
        return y - np.polyval(np.polyfit(x, y, 1), x) if len(x) > 3 and np.ptp(x) > 0 else y

    return rho(even, odd), rho(beyond(even), beyond(odd))

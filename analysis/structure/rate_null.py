r"""Degrees that the firing rate alone gives.

The expected degree of a feature is that of its firing rate
(`scircuit.analysis.circuits.hubs.expected_degree`), scaled so that every layer keeps its edges. In
a draw the edges of a layer fall on its features at random with these expectations, each edge by
itself (multinomial).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from scircuit.analysis.circuits.hubs import expected_degree

_NUMBERS = 2_000_000  # degrees in memory at a time


def expected_by_rate(degree: np.ndarray, rate: np.ndarray, layer: np.ndarray) -> np.ndarray:
    """Degree expected from the firing rate, with the edges of every layer, (features,).

    Parameters
    ----------
    degree, rate, layer
        Degree, firing rate (NaN counts as 0) and layer of features, (features,).
    """
    expected = expected_degree(degree, rate)[0]
    # a feature that never fired here may have edges all the same: none is impossible
    expected = np.maximum(expected, 1e-6)
    _, group = np.unique(layer, return_inverse=True)
    have, want = (np.bincount(group, weights=w) for w in (expected, degree))
    return expected * (want / have)[group]


def degrees_by_rate(
    expected: np.ndarray, layer: np.ndarray, draws: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Random degrees with these expectations, in blocks of draws (draws, features).

    Parameters
    ----------
    expected
        Of `expected_by_rate`.
    layer
        Layer of the features, (features,).
    """
    groups = [np.flatnonzero(layer == value) for value in np.unique(layer)]
    sums = [float(expected[at].sum()) for at in groups]
    block = max(1, _NUMBERS // max(expected.size, 1))
    for first in range(0, draws, block):
        drawn = np.zeros((min(block, draws - first), expected.size), np.int64)
        for at, total in zip(groups, sums, strict=True):
            if total > 0:
                drawn[:, at] = rng.multinomial(round(total), expected[at] / total, len(drawn))
        yield drawn

r"""Do two partitions of the same features agree.

With n_ij features in group i of one and group j of the other, their sums a_i and b_j, and
C(n) = n (n - 1) / 2,

    adjusted Rand = (sum C(n_ij) - E) / ((sum C(a_i) + sum C(b_j)) / 2 - E),
                    E = sum C(a_i) sum C(b_j) / C(n)

is 1 for equal partitions and 0 on average for random ones with the same sizes (Hubert and Arabie,
J. Classification 2:193, 1985). The variation of information, ``H(a | b) + H(b | a)`` in nats, is 0
for equal ones (Meila, J. Multivariate Analysis 98:873, 2007).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Agreement(NamedTuple):
    """Adjusted Rand index and variation of information (nats)."""

    rand: float
    information: float


def agreement(first: np.ndarray, second: np.ndarray) -> Agreement:
    """Agreement of two partitions.

    Parameters
    ----------
    first, second
        Group of every feature, integers, (features,).

    Returns
    -------
    Agreement
        `rand` is 0 where both have one group only, or no two features share one in either: equal
        partitions of this kind say nothing of their makers. Without features both are 0.
    """
    first, second = np.asarray(first), np.asarray(second)
    if not first.size:
        return Agreement(0.0, 0.0)
    _, a = np.unique(first, return_inverse=True)
    groups, b = np.unique(second, return_inverse=True)
    cell = np.unique(a * groups.size + b, return_counts=True)[1].astype(float)
    rows, columns = np.bincount(a).astype(float), np.bincount(b).astype(float)
    n = float(first.size)
    both, one, two = (float((v * (v - 1)).sum()) / 2 for v in (cell, rows, columns))
    pairs = n * (n - 1) / 2
    expected = one * two / pairs if pairs else 0.0
    largest = (one + two) / 2
    rand = (both - expected) / (largest - expected) if largest > expected else 0.0
    joint, h_a, h_b = (float(-(v / n * np.log(v / n)).sum()) for v in (cell, rows, columns))
    return Agreement(rand, max(2 * joint - h_a - h_b, 0.0))

"""Edge statistics over cells.

For one source and one target with effects x_c in the n cells where the source is active, after effects at or below the numeric
floor are set to zero: n_pos and n_neg count the signs, ``mean = sum(x) / n``, ``sd`` uses n - 1, ``d = mean / max(sd, 1e-10)``, p is
the two-sided sign-flip p. A test is *live* when n >= 2 and at least one effect is not zero.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tracing.signflip import sign_flip_p

HALF_P = 0.05


class Tests(NamedTuple):
    """The live tests of some sources, one entry each."""

    __test__ = False  # not a pytest class

    source: np.ndarray  # position of the source in the given effects
    target: np.ndarray  # position of the target in the given effects
    effects: np.ndarray  # [N, C] float64, zero at or below the floor and in cells where the source is not active
    n: np.ndarray
    n_pos: np.ndarray
    n_neg: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    d: np.ndarray
    p: np.ndarray

    def halves(self, chosen: np.ndarray) -> np.ndarray:
        """In how many halves of the cells (even and odd) the chosen tests keep the sign of the mean with p <= 0.05."""
        x = self.effects[chosen]
        sign, found = np.sign(self.mean[chosen]), np.zeros(len(x), np.int64)
        for h in (0, 1):
            part = x[:, h::2]
            if part.shape[1]:
                with np.errstate(invalid="ignore"):
                    found += (np.sign(part.sum(1)) == sign) & (sign != 0) & (sign_flip_p(part) <= HALF_P)
        return found


def edge_statistics(effects: np.ndarray, active: np.ndarray, floors: np.ndarray) -> Tests:
    """Statistics of every live test.

    Parameters
    ----------
    effects
        [S, C, T] effect of S sources on T targets in C cells; ignored where the source is not active.
    active
        [S, C] whether the source is active in the cell.
    floors
        [T] numeric floor of each target: effects of at most this size count as zero.
    """
    alive = active & (active.sum(1, keepdims=True) >= 2)
    x = np.where(alive[:, :, None] & (np.abs(effects) > floors), effects, 0)
    source, target = np.nonzero((x != 0).any(1))
    rows = np.ascontiguousarray(x.transpose(0, 2, 1)[source, target], dtype=np.float64)
    counted = active[source]
    n = counted.sum(1)
    mean = rows.sum(1) / np.maximum(n, 1)
    sd = np.sqrt((((rows - mean[:, None]) * counted) ** 2).sum(1) / np.maximum(n - 1, 1))
    return Tests(
        source, target, rows, n, (rows > 0).sum(1), (rows < 0).sum(1), mean, sd, mean / np.maximum(sd, 1e-10), sign_flip_p(rows)
    )

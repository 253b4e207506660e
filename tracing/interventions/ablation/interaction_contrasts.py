r"""Interaction contrasts of every order, on raw effects of single cells.

For a subset S of the set, with |S| >= 2 and all conditions read at the same positions,

    J_S = sum over T in S, T not empty, of (-1)^(|S| - |T|) effect_T

which is zero if the members of S act on the target independently of each other. Of two features J
is ``effect_AB - effect_A - effect_B``; of three it is what the pairs do not explain. It is tested
against 0 over cells by sign flips. A contrast adds 2^|S| - 1 effects, so up to so many numeric
floors count as zero.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scircuit.tracing.interventions.intervention_tables import interval
from scircuit.tracing.statistics.sign_flip import sign_flip_p


class Contrast(NamedTuple):
    """Tests of one subset at one layer: arrays over targets."""

    mean: np.ndarray
    low: np.ndarray  # 95 % interval over cells
    high: np.ndarray
    p: np.ndarray  # NaN where no cell has a contrast above the floor


def subsets_of(order: int) -> list[int]:
    """Subsets of two and more members, as bits: pairs first, then by number."""
    return sorted(
        (m for m in range(1, 2**order) if m.bit_count() >= 2), key=lambda m: (m.bit_count(), m)
    )


def inside(subset: int) -> list[int]:
    """Conditions that a subset contains, as bits, itself included."""
    return [m for m in range(1, subset + 1) if m & subset == m]


def contrast_of(effects: np.ndarray, subset: int) -> np.ndarray:
    """J of a subset.

    Parameters
    ----------
    effects
        [conditions, ...]; condition m is at place m - 1.
    subset
        Its members as bits.
    """
    found = np.zeros(effects.shape[1:], np.float64)
    # large conditions first: effects of two features are summed as joint - A - B
    for m in sorted(inside(subset), key=lambda m: (-m.bit_count(), m)):
        sign = 1 if (subset.bit_count() - m.bit_count()) % 2 == 0 else -1
        found += sign * effects[m - 1].astype(np.float64)
    return found


def tested(by_cell: np.ndarray, floor: float) -> Contrast:
    """Mean, interval and sign-flip p of contrasts [cells, T]; those up to `floor` are zero."""
    by_cell = np.where(np.abs(by_cell) > floor, by_cell, 0.0)
    mean, low, high = interval(by_cell)
    enough = by_cell.shape[0] >= 2
    p = sign_flip_p(by_cell.T) if enough else np.full(by_cell.shape[1], np.nan)
    return Contrast(mean, low, high, p)


def contrast(effects: np.ndarray, subset: int, floor: float) -> Contrast:
    """Test J of a subset.

    Parameters
    ----------
    effects
        [conditions, cells, T] effects on activations.
    subset
        Its members as bits.
    floor
        Numeric floor of one effect.
    """
    return tested(contrast_of(effects, subset), (2 ** subset.bit_count() - 1) * floor)

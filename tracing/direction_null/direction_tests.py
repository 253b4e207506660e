r"""Tests whether the effect of a source on a target is more than a random direction would have.

For source f and target j, with mean mu and standard deviation sigma of the effect over K random
directions in the place of f (sigma times the factor of the audit,
`scircuit.tracing.direction_null.null_audit`),

    z = (effect - mu) / sigma ,    p = 2 P( t_{K-1} > |z| / sqrt(1 + 1/K) ) .

To first order z = sqrt(d) cos(W_f, J_j): how much better this direction is aimed at j than a random
one. A computed effect has to be consistent over cells as well: its p is the larger of this one and
the sign-flip p over cells, which is computed only where it can matter. All p are rounded up to four
digits, so that the distinct ones of a run stay few.

A pair is *callable* when the target fires in the clean cells, at least `MIN_SUPPORT` cells have an
effect above rounding, and sigma is above rounding. These make up the family of
Benjamini-Hochberg. Directions that had no part in mu and sigma are judged in the same way and
counted (`HeldOut`): how many edges at a threshold are expected where there is no feature.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scircuit.core.edge_rules import MIN_SUPPORT
from scircuit.tracing.statistics.sign_flip import rounded_up, sign_flip_p

if TYPE_CHECKING:
    from scircuit.tracing.direction_null.readout import Readout

BINS_A_DECADE, DECADES = 64, 16


class Family(NamedTuple):
    """What the tests of some sources need that is the same for all of them."""

    readout: Readout
    floors: np.ndarray  # [T] changes of the pre-activation up to this count as none
    alive: np.ndarray  # [T] whether the target fires in the clean cells
    draws: int  # directions that give mean and standard deviation; further ones are held out
    gate: float  # p above this are not stored


class DirectionTests(NamedTuple):
    """Tests of one source against all T targets; z and p are NaN where a pair is not callable."""

    direct: np.ndarray
    computed: np.ndarray
    computed_cells: np.ndarray  # cells whose computed effect has the sign of its mean
    z_direct: np.ndarray
    z_computed: np.ndarray
    p_direct: np.ndarray
    p_computed: np.ndarray  # 1 where the direction alone has p above the gate
    held_out: tuple[np.ndarray, np.ndarray]  # [held out, T] p of direct and computed effects


def direction_tests(
    total: np.ndarray,
    direct: np.ndarray,
    null: np.ndarray | None,
    factors: np.ndarray,
    family: Family,
) -> DirectionTests:
    """Test one source.

    Parameters
    ----------
    total, direct
        [n, D] changes of the states in the n cells in which the source is active.
    null
        [draws and held out, 2, D] mean changes when random directions take its place; None: not
        drawn, and no pair is callable.
    factors
        [2, T] factors of the standard deviations of direct and computed effects; NaN: not known.
    family
        See there.
    """
    by_cell = family.readout.split(total, direct)
    drawn = (None, None)
    if null is not None:
        drawn = family.readout.split(null[:, 0], null[:, 1])
    found = [
        _against(values.mean(0), nulls, factor, family)
        for values, nulls, factor in zip(by_cell, drawn, factors, strict=True)
    ]
    for values, (_, *judged) in zip(by_cell, found, strict=True):
        moves = (np.abs(values) > family.floors).sum(0) >= MIN_SUPPORT
        # z too: the q of a direct effect is found from it when all of the run are known
        for numbers in judged:
            numbers[..., ~(moves & family.alive)] = np.nan
    (direct_mean, z_direct, p_direct, held_direct), (computed, z_computed, p, held) = found
    possible = p <= family.gate
    rows = by_cell[1][:, possible].T
    rows = np.where(np.abs(rows) > family.floors[possible, None], rows, 0.0)
    p[p > family.gate] = 1.0
    p[possible] = np.maximum(p[possible], sign_flip_p(rows, up_to=family.gate))
    agree = (np.sign(by_cell[1]) == np.sign(computed)) & (np.abs(by_cell[1]) > family.floors)
    return DirectionTests(
        direct_mean,
        computed,
        agree.sum(0),
        z_direct,
        z_computed,
        rounded_up(p_direct),
        rounded_up(p),
        (held_direct, held),
    )


def _against(
    effect: np.ndarray, drawn: np.ndarray | None, factor: np.ndarray, family: Family
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Effect, z, p [T] and p of the directions held out [H, T]; NaN where sigma says nothing."""
    if drawn is None:
        unknown = np.full(effect.shape, np.nan)
        return effect, unknown, unknown.copy(), np.full((0, len(effect)), np.nan)
    own, others = drawn[: family.draws], drawn[family.draws :]
    mean, sd = own.mean(0), own.std(0, ddof=1)
    sd = np.where(sd > family.floors, sd, np.nan)
    z = (effect - mean) / (sd * factor)
    return (
        effect,
        z,
        direction_p(z, family.draws),
        direction_p((others - mean) / np.where(np.isnan(factor), np.nan, sd), family.draws),
    )


def direction_p(z: np.ndarray, draws: int) -> np.ndarray:
    """Two-sided p of z over so many random directions."""
    from scipy.special import stdtr

    return 2 * stdtr(draws - 1, -np.abs(z) / np.sqrt(1 + 1 / draws))


def smallest_p(width: int, draws: int) -> float:
    """The smallest p that directions in a space of this width can have to first order, where z is
    at most the square root of the width.
    """
    return float(direction_p(np.array(np.sqrt(width)), draws))


class HeldOut:
    """Counts of p values of the directions held out, in bins of 1/64 of a decade."""

    @staticmethod
    def none() -> np.ndarray:
        """Counts of nothing."""
        return np.zeros(BINS_A_DECADE * DECADES + 1, np.int64)

    @staticmethod
    def count(p: np.ndarray) -> np.ndarray:
        """Counts [bins] of some p values, from 1 downwards; NaN are left out."""
        p = p[np.isfinite(p)]
        at = np.floor(-np.log10(np.maximum(p, 1e-300)) * BINS_A_DECADE).astype(np.int64)
        return np.bincount(
            np.minimum(at, BINS_A_DECADE * DECADES), minlength=BINS_A_DECADE * DECADES + 1
        )

    @staticmethod
    def up_to(counts: np.ndarray, p: float) -> int:
        """Number of p values up to `p`; the whole bin of `p` is counted, so rather too many."""
        if not p > 0:
            return 0
        at = int(np.floor(-np.log10(p) * BINS_A_DECADE))
        return int(counts[..., min(at, BINS_A_DECADE * DECADES) :].sum())

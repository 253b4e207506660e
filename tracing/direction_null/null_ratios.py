"""How far the pooled null of random directions is from drawing them directly, and what follows from
it (`scircuit.tracing.direction_null.null_audit` measures it).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

KINDS = ("direct", "computed")
TRUSTED = (0.5, 2.0)
"""Ratios in which the pooled null is scaled; outside of them it says nothing."""


class Ratio(NamedTuple):
    """Directly drawn over pooled standard deviation, of one layer pair, context and kind."""

    median: float
    low: float  # 5 % of the (source, target) pairs are below
    high: float  # 95 % of them
    sources: int  # in the sample
    # of every source of the sample, by how often it fires: active positions, median over targets
    steps: tuple[tuple[int, float], ...]
    # [steps, T of the layer] how much larger the ratio of a target is than that median; None: not
    targets: np.ndarray | None = None

    def factor(self, positions: int) -> float:
        """What the pooled standard deviation of a source is multiplied by: never less than 1, and
        NaN where it says nothing.

        The more positions are edited, the more they react to each other. So the medians of the
        sample are made to rise with the number of positions, and a source gets that of its own
        number, interpolated.

        Parameters
        ----------
        positions
            Active positions of the source, summed over cells.
        """
        at, medians = np.array(self.steps).T
        risen = float(np.interp(np.log(positions), np.log(at), np.maximum.accumulate(medians)))
        low, high = TRUSTED
        trusted = low <= self.median <= high and risen <= high
        return max(1.0, risen) if trusted else float("nan")

    def factors(self, positions: int) -> np.ndarray | float:
        """The same for every target of the layer: larger where a target is reached through other
        edited positions (`scircuit.tracing.direction_null.target_ratios`).
        """
        if self.targets is None:
            return self.factor(positions)
        at = np.log([step for step, _ in self.steps])
        place = float(np.interp(np.log(positions), at, np.arange(len(at))))
        below = int(place)
        above, share = min(below + 1, len(at) - 1), place - below
        relative = (1 - share) * self.targets[below] + share * self.targets[above]
        return self.factor(positions) * relative


Ratios = Mapping[tuple[int, int, str], Ratio]
"""(context, measured layer, kind) -> ratio; kinds as in `KINDS`."""


class UnitNull(NamedTuple):
    """Random directions in the place of the sources of a work unit."""

    changes: np.ndarray  # [sources, draws and held out, 2, D] mean changes of the states
    ratios: Ratios


def factors(
    ratios: Ratios, context: int, columns: Mapping[int, slice], positions: int
) -> np.ndarray:
    """Factors of the standard deviations of direct and computed effects, [2, T]; NaN where the
    ratio is not known or says nothing.

    Parameters
    ----------
    ratios
        What the audit found.
    context
        Context in which a source is traced.
    columns
        Measured layer -> its targets among all.
    positions
        Active positions of the source, summed over cells.
    """
    found = np.full((len(KINDS), max(c.stop for c in columns.values())), np.nan)
    for kind, name in enumerate(KINDS):
        for t, at in columns.items():
            if (ratio := ratios.get((context, t, name))) is not None:
                found[kind, at] = ratio.factors(positions)
    return found

r"""Slope of a readout on the dose, over cells, and where it stands among the controls.

Per cell the slope is the least-squares slope through the origin, ``sum(dose y) / sum(dose^2)``:
at dose 0 nothing is changed. p is a sign-flip test of the cells' slopes. It asks whether the
feature moves the readout the same way in these cells; it says nothing of other features. Beside it,
with N random directions of equal norm,

    p_random = (1 + #{ |slope of a random direction| >= |slope| }) / (1 + N)

where slopes are means over cells: at N = 5 it cannot fall below 0.17.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scircuit.tracing.interventions.intervention_tables import interval
from scircuit.tracing.statistics.sign_flip import sign_flip_p


class Slope(NamedTuple):
    """Dose slope of one readout of one feature; None where it cannot be told."""

    slope: float | None
    low: float | None
    high: float | None
    p: float | None
    p_random: float | None
    control: float | None  # root mean square over the random directions
    matched: float | None
    cells: int
    above_random: bool = False  # no random direction has as large a slope


NO_SLOPE = Slope(None, None, None, None, None, None, None, 0)


def slopes(changes: np.ndarray, doses: np.ndarray) -> np.ndarray:
    """Least-squares slope through the origin on the dose.

    Parameters
    ----------
    changes
        [cells, doses, ...] changes of a readout.
    doses
        [doses], or [cells, doses] where they differ between cells.

    Returns
    -------
    [cells, ...]; NaN for cells whose doses are all 0.
    """
    if doses.ndim == 1:
        return np.tensordot(doses, changes, axes=(0, 1)) / (doses**2).sum()
    square = (doses**2).sum(1)
    total = np.einsum("cd,cd...->c...", doses, changes)
    shaped = square.reshape(-1, *[1] * (total.ndim - 1))
    return np.divide(total, shaped, out=np.full_like(total, np.nan), where=shaped > 0)


def slope_of(changes: np.ndarray, doses: np.ndarray, random: int, fixed: bool = False) -> Slope:
    """Slope of one readout of one feature.

    Parameters
    ----------
    changes
        [cells, directions, doses]: the feature's own direction, `random` random ones, and that of
        the matched feature where there is one; NaN for cells without a value.
    doses
        [cells, doses].
    random
        Random directions.
    fixed
        The sign is that of a product of weights, the same in every cell: no test over cells.
    """
    known = np.isfinite(changes).all(axis=(1, 2)) & ((doses**2).sum(1) > 0)
    if not known.any() or changes.shape[2] == 0:
        return NO_SLOPE
    each = slopes(np.moveaxis(changes[known], 1, 2), doses[known])  # [cells, directions]
    mean, low, high = interval(each)
    many = len(each) > 1
    controls, rest = np.abs(mean[1 : 1 + random]), mean[1 + random :]
    hits = int((controls >= abs(mean[0])).sum())
    return Slope(
        float(mean[0]),
        float(low[0]) if many else None,
        float(high[0]) if many else None,
        float(sign_flip_p(each[None, :, 0])[0]) if many and not fixed else None,
        (1 + hits) / (1 + random) if random else None,
        float(np.sqrt((controls**2).mean())) if random else None,
        float(rest[0]) if len(rest) else None,
        len(each),
        random > 0 and hits == 0,
    )

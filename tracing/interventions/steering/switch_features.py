r"""ON and OFF features: higher, or lower, in late cells than in early ones (or in the second of two
states than in the first).

With a the mean activation over a cell's gene positions, d = (mean_late - mean_early) / pooled SD.
As in the published panel a feature takes part where a > 0 in at least 5 % of the cells; ON is d >=
0.5, the 12 largest a layer, OFF is d <= -0.5, the 8 smallest. They are chosen on one half of the
probe cells; the d that is stored is computed on the other half, so that it does not carry the
choice's luck.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from scircuit.core.address import Address
from scircuit.core.errors import UserError

LEAST_FREQUENCY, LEAST_D, MOST_ON, MOST_OFF = 0.05, 0.5, 12, 8


class Switch(NamedTuple):
    """One ON or OFF feature."""

    layer: int
    index: int
    kind: str  # on, off; empty: neither
    chosen_d: float | None  # on the half that chose it
    d: float | None  # on the other half


def standardised_difference(
    activation: np.ndarray, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Cohen's d of each feature, second minus first.

    Parameters
    ----------
    activation
        [n, F] mean activation of each cell.
    first, second
        Masks [n] of the early and the late cells.

    Returns
    -------
    [F]; NaN where a side has fewer than two cells or nothing varies.
    """
    a, b = (activation[m].astype(np.float64) for m in (first, second))
    if min(len(a), len(b)) < 2:
        return np.full(activation.shape[1], np.nan)
    pooled = (a.var(0, ddof=1) * (len(a) - 1) + b.var(0, ddof=1) * (len(b) - 1)) / (
        len(a) + len(b) - 2
    )
    scale = np.sqrt(pooled)
    return np.divide(b.mean(0) - a.mean(0), scale, out=np.full(len(scale), np.nan), where=scale > 0)


def switch_features(
    activation: Mapping[int, np.ndarray], first: np.ndarray, second: np.ndarray, seed: int
) -> list[Switch]:
    """The panel of ON and OFF features of each layer.

    Raises
    ------
    UserError
        If no feature of any layer passes.
    """
    rng = np.random.default_rng([seed, 13])
    chooser = np.zeros(len(first), dtype=bool)
    for mask in (first, second):
        cells = rng.permutation(np.flatnonzero(mask))
        chooser[cells[: (len(cells) + 1) // 2]] = True
    found: list[Switch] = []
    largest = 0.0
    for layer in sorted(activation):
        table = activation[layer]
        frequent = (table > 0).mean(0) >= LEAST_FREQUENCY
        d = standardised_difference(table, first & chooser, second & chooser)
        other = standardised_difference(table, first & ~chooser, second & ~chooser)
        d = np.where(frequent, d, np.nan)
        largest = max(largest, float(np.nanmax(np.abs(d))) if np.isfinite(d).any() else 0.0)
        order = np.argsort(np.where(np.isnan(d), 0, d), kind="stable")
        on = [i for i in order[::-1] if d[i] >= LEAST_D][:MOST_ON]
        off = [i for i in order if d[i] <= -LEAST_D][:MOST_OFF]
        for kind, chosen in (("on", on), ("off", off)):
            found += [
                Switch(
                    layer,
                    int(i),
                    kind,
                    float(d[i]),
                    float(other[i]) if np.isfinite(other[i]) else None,
                )
                for i in chosen
            ]
    if not found:
        raise UserError(
            f"no feature differs between {int(first.sum())} early and {int(second.sum())} late"
            f" probe cells: the largest |d| of those that fire in {LEAST_FREQUENCY:.0%} of them is"
            f" {largest:.2f}, and {LEAST_D} is needed",
            "give --features, other --layers, or more --probe-cells",
        )
    return found


def described(
    activation: Mapping[int, np.ndarray],
    first: np.ndarray,
    second: np.ndarray,
    features: Sequence[Address],
) -> list[Switch]:
    """What features that were chosen otherwise are, by d over all cells of the two masks; those
    with an absolute d below 0.5, or that fire too rarely, are neither on nor off and have no kind.
    """
    tables = {t: standardised_difference(a, first, second) for t, a in activation.items()}
    made = []
    for f in features:
        d = float(tables[f.layer][f.index])
        frequent = float((activation[f.layer][:, f.index] > 0).mean()) >= LEAST_FREQUENCY
        known = np.isfinite(d)
        kind = ""
        if known and frequent and abs(d) >= LEAST_D:
            kind = "on" if d > 0 else "off"
        made.append(Switch(f.layer, f.index, kind, None, d if known else None))
    return made

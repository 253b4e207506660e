"""A value beside its null, in numbers that a report can print: None instead of NaN."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

MOST_DRAWS, FEWEST_DRAWS = 499, 39
_EDGES_DRAWN = 40_000_000  # edges of all random graphs together


class Beside(NamedTuple):
    """A value, mean and middle 95 % of its null, how many standard deviations it is away (None: the
    null does not vary), and p.
    """

    observed: float | None
    null_mean: float | None
    null_low: float | None
    null_high: float | None
    z: float | None
    p: float | None


def number(value: float | np.floating | None) -> float | None:
    """The value as a float; None where it is not finite."""
    return float(value) if value is not None and np.isfinite(value) else None


def beside(observed: float, null: np.ndarray, side: str = "both") -> Beside:
    """A value beside draws of its null, with ``p = (1 + hits) / (1 + draws)``.

    Parameters
    ----------
    observed
        The value.
    null
        Draws, (draws,).
    side
        What counts as a hit: a draw at least as large (``above``), at most as large (``below``), or
        both, each doubled (``both``).
    """
    null = np.asarray(null, float)
    if not null.size or not np.isfinite(observed) or not np.isfinite(null).all():
        return Beside(number(observed), None, None, None, None, None)
    slack = 1e-12 * max(abs(observed), float(np.abs(null).max()))  # sums in another order are ties
    up = (1 + int((null >= observed - slack).sum())) / (1 + null.size)
    down = (1 + int((null <= observed + slack).sum())) / (1 + null.size)
    p = {"above": up, "below": down, "both": min(1.0, 2 * min(up, down))}[side]
    mean, spread = float(null.mean()), float(null.std(ddof=1)) if null.size > 1 else 0.0
    low, high = (float(v) for v in np.quantile(null, [0.025, 0.975]))
    z = (observed - mean) / spread if spread > 10 * slack else None
    return Beside(float(observed), mean, low, high, z, p)


def draws_for(edges: int, most: int = MOST_DRAWS) -> int:
    """Random graphs to draw: `most`, and fewer for very many edges, 39 at least."""
    return int(np.clip(_EDGES_DRAWN // max(edges, 1), FEWEST_DRAWS, most))

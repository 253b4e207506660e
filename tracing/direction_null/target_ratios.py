r"""At which targets random directions vary more than the pooled null says, beyond what is usual in
their layer.

The pooled null edits every position alone. What a head moves from one edited position to another is
in the effect of a source and not in that null, and only the targets that the head writes have it.
The audit knows the ratio r_ij of the directly drawn to the pooled standard deviation for a few
sources i, by how many positions they fire at, and every target j. With m_i the median over targets,

    v_ij = the averages of (r_ij / m_i)^2 that rise with i and are closest to it (isotonic)

as more positions pass more on. Eight draws make a ratio vary by itself. How much the mean b_j of
(r_ij / m_i)^2 over sources does so is read from the difference of its two halves (every second
source), as a robust standard deviation s over targets, and v_ij is drawn towards 1 by it (as James
and Stein do):

    relative_ij^2 = 1 + (v_ij - 1) max(0, 1 - (s / (b_j - 1))^2)     where b_j > 1, else 1 .
"""

from __future__ import annotations

import numpy as np

_MAD = 1.4826  # standard deviations of a normal in a median absolute deviation


def target_ratios(ratios: np.ndarray) -> np.ndarray:
    """How much more than the median of its source the ratio of a target is.

    Parameters
    ----------
    ratios
        [sources, targets] ratios, sources by rising number of positions; NaN where a target does
        not move.

    Returns
    -------
    numpy.ndarray
        The same shape: at least 1, rising with the source; 1 where nothing is known.
    """
    squares = (ratios / np.nanmedian(ratios, axis=1, keepdims=True)) ** 2
    rising, mean = _rising(squares), _mean(squares)
    if len(ratios) < 2:
        kept = np.ones(ratios.shape[1])
    else:
        difference = (_mean(squares[0::2]) - _mean(squares[1::2])) / 2
        known = difference[np.isfinite(difference)]
        noise = _MAD * np.median(np.abs(known)) if len(known) else 0.0
        above = np.maximum(np.nan_to_num(mean) - 1, 1e-12)
        kept = np.maximum(0.0, 1 - (noise / above) ** 2)
    return np.sqrt(1 + kept * np.maximum(np.nan_to_num(rising, nan=1.0) - 1, 0.0))


def _mean(x: np.ndarray) -> np.ndarray:
    """Mean over sources without NaN; NaN where there is none."""
    known = np.isfinite(x)
    with np.errstate(invalid="ignore"):
        return np.where(known, x, 0.0).sum(0) / known.sum(0)


def _rising(x: np.ndarray) -> np.ndarray:
    """The rising sequence closest to each column, by squares: with M(a, b) the mean of rows a to b,
    row i is the largest over a <= i of the smallest over b >= i of M(a, b).
    """
    known = np.isfinite(x)
    zero = np.zeros((1, x.shape[1]))
    sums = np.concatenate([zero, np.where(known, x, 0.0).cumsum(0)])
    counts = np.concatenate([zero, known.cumsum(0)])
    n = len(x)
    found = np.full(x.shape, -np.inf)
    for a in range(n):
        smallest = np.full(x.shape[1], np.inf)
        for i in range(n - 1, a - 1, -1):
            many = counts[i + 1] - counts[a]
            with np.errstate(invalid="ignore", divide="ignore"):
                mean = (sums[i + 1] - sums[a]) / many
            smallest = np.fmin(smallest, np.where(many > 0, mean, np.inf))
            found[i] = np.maximum(found[i], np.where(np.isfinite(smallest), smallest, -np.inf))
    return np.where(np.isfinite(found), found, np.nan)

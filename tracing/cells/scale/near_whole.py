"""Whether the fractions of a cell are those of expected counts, and not of rates or logarithms.

Reads that fit several genes, and ambient RNA taken off, leave counts that are whole for most genes
(RSEM, STARsolo's EM, alevin) or a little below whole numbers (SoupX, decontX). Rates (TPM, FPKM)
and logarithms know nothing of whole numbers: their fractions are spread evenly. One of these shows
expected counts:

- at least 35 % of the values from 0.5 to 8.5 are whole, and 40 % of those around 2 (square roots
  and log2(x + 1) of counts: up to 33 %; rates: below 1 %) and around 1 or 3;
- the fractions of the values from 1 to 4 gather around whole numbers: the mean of exp(2 pi i x) is
  at least 0.3 long, significantly so, and points to them or a little below (densities that fall
  evenly reach 0.2, a quarter turn away);
- there are at least 2.2 times as many values just below 1 and 2 as just above, significantly so
  (densities that fall evenly: up to 1.5).

Logarithms of expected counts lie around a few levels, one of which may be near a whole number. So
cells whose values are all small must show the step at 2 and at 3 as well.
"""

from __future__ import annotations

import numpy as np

from scircuit.tracing.cells.scale.whole_numbers import SHALLOW

_WHOLE, _AROUND = 0.35, 0.4
_GATHERED, _RAYLEIGH = 0.3, 10.0  # length of the mean; n times its square (chance: exp(-10))
_BELOW, _ABOVE = -0.4, 0.12  # where it may point, in turns
_STEP, _NULL, _DEVIATIONS = 2.2, 0.6, 4.0  # below / above; share below of an even density
_EVEN_LENGTH, _EVEN_STEP = 0.25, 1.6  # what an even density does not exceed
_LEVEL = 0.2  # share of values that are one level
_JUDGED = 60  # values from 1 to 4 that would show it


def mostly_whole(x: np.ndarray) -> bool:
    """Whether so many values are whole that fractions are the exception.

    One level of a function of counts may be whole by chance, or at 1; so the values around 2, and
    those around 1 or 3, must be whole too.
    """
    small = x[(x > 0.5) & (x < 8.5)]
    whole = is_whole(small)
    if len(small) < 10 or whole.mean() < _WHOLE:
        return False
    near = [np.rint(small) == k for k in (1, 2, 3)]
    one, two, three = (
        bool(whole[at].sum() >= 3 and whole[at].mean() >= _AROUND) if at.any() else False
        for at in near
    )
    return two and (one or three)


def is_whole(x: np.ndarray) -> np.ndarray:
    """Which values are whole numbers, but for rounding."""
    return np.abs(x - np.rint(x)) < 1e-4


def near_whole(x: np.ndarray) -> bool | None:
    """Whether values look like expected counts; None where they are too few, or too much between,
    to tell.

    Parameters
    ----------
    x
        Values above 0 of one cell.
    """
    if mostly_whole(x):
        return True
    window = x[(x > 1.001) & (x <= 4.0)]
    n = len(window)
    # values of a few levels only are a function of counts, whose place says nothing
    if n < 20 or np.unique(np.round(window, 6), return_counts=True)[1].max() > _LEVEL * n:
        return False if n >= _JUDGED else None
    mean = np.exp(2j * np.pi * window).mean()
    turn, length = float(np.angle(mean)) / (2 * np.pi), float(np.abs(mean))
    below = np.array([((x > k - 0.2) & (x <= k + 1e-3)).sum() for k in (1, 2, 3)])
    above = np.array([((x > k + 1e-3) & (x <= k + 0.2)).sum() for k in (1, 2, 3)])
    if x.max() <= SHALLOW and not (below[1] >= 1.8 * above[1] + 5 and below[2] >= 1.5 * above[2]):
        return False
    if length >= _GATHERED and n * length**2 >= _RAYLEIGH and _BELOW < turn < _ABOVE:
        return True
    both, low = int((below + above)[:2].sum()), int(below[:2].sum())
    sure = low - _NULL * both >= _DEVIATIONS * np.sqrt(_NULL * (1 - _NULL) * both)
    if sure and low >= _STEP * (both - low) and below[1] >= 1.3 * above[1] + 5:
        return True
    even = length < _EVEN_LENGTH and low < _EVEN_STEP * max(both - low, 1)
    return False if n >= _JUDGED and even else None

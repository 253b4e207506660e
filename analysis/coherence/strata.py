"""Features that may stand for one another as targets: those of one layer with about as many terms
and about the same firing rate.

Features of a layer are put in classes by their number of terms (1, 2 to 3, 4 to 7, ...; a class of
fewer than eight is joined with the next one), and each class is cut by the rank of the firing rate
into twenty parts, or fewer, so that each has eight features or more.
"""

from __future__ import annotations

import numpy as np

LEAST, PART, MOST_PARTS = 8, 8, 20


def strata(
    layer: np.ndarray, size: np.ndarray, rate: np.ndarray, eligible: np.ndarray
) -> np.ndarray:
    """Number of the stratum of every feature; -1 where it is not eligible.

    Parameters
    ----------
    layer
        Layer of every feature, int (features,).
    size
        Number of terms, int (features,); constant where it should not count.
    rate
        Firing rate, (features,); NaN where it is not known, which counts as the lowest.
    eligible
        Features that can stand for others, bool (features,).
    """
    found = np.full(layer.size, -1, dtype=np.int64)
    rate = np.where(np.isnan(rate), -1.0, rate)
    number = 0
    for one in np.unique(layer[eligible]):
        here = np.flatnonzero(eligible & (layer == one))
        for members in _classes(here, size[here]):
            # equal rates stay in the order of the features, whatever the sort does with ties
            ordered = members[np.lexsort((members, rate[members]))]
            parts = 1 if np.unique(rate[members]).size < 2 else members.size // PART
            for part in np.array_split(ordered, int(np.clip(parts, 1, MOST_PARTS))):
                found[part] = number
                number += 1
    return found


def _classes(features: np.ndarray, size: np.ndarray) -> list[np.ndarray]:
    """The features by class of their size, small classes joined with the next one."""
    power = np.floor(np.log2(np.maximum(size, 1))).astype(np.int64)
    groups: list[np.ndarray] = []
    for one in np.unique(power):
        members = features[power == one]
        if groups and groups[-1].size < LEAST:
            groups[-1] = np.concatenate([groups[-1], members])
        else:
            groups.append(members)
    if len(groups) > 1 and groups[-1].size < LEAST:
        last = groups.pop()
        groups[-1] = np.concatenate([groups[-1], last])
    return groups

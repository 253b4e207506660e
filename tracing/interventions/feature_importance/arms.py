"""The features whose importance is compared: hubs, each with a feature of its own layer that fires
as often, and features at random.

A hub's match is the feature with the nearest log firing rate among those that are no hubs, of the
same layer, each given once; hubs choose in the order of their rank. The random features are drawn
from what is left, of the hubs' layers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scircuit.core.errors import UserError

MIN_HUBS = 2  # fewer pairs cannot be compared at all


class Arms(NamedTuple):
    """Positions in the list of features: `matched[i]` is the match of `hubs[i]`."""

    hubs: np.ndarray
    matched: np.ndarray
    random: np.ndarray
    asked: int  # hubs asked for
    distance: float  # median |difference of log firing rates| between hub and match

    @property
    def every(self) -> np.ndarray:
        """All features of the arms: hubs, matched, random."""
        return np.concatenate([self.hubs, self.matched, self.random])


def choose_arms(
    layer: np.ndarray, firing_rate: np.ndarray, rank: np.ndarray, hubs: int, seed: int = 0
) -> Arms:
    """Choose hubs, matched and random features.

    Parameters
    ----------
    layer, firing_rate, rank
        Of every feature that was ablated as a source, [F]: 0-based layer, share of positions where
        it fires (above 0), and rank as a hub (1 is the strongest; NaN: none).
    hubs
        Number of hubs; fewer where a layer has too few other features to match them all.
    seed
        Of the random features.

    Raises
    ------
    UserError
        If there are too few features to compare two hubs with two others.
    """
    known = np.flatnonzero(np.isfinite(rank) & (firing_rate > 0))
    order = known[np.argsort(rank[known], kind="stable")]
    log_rate = np.log(np.where(firing_rate > 0, firing_rate, 1.0))
    most = len(order) // 3
    chosen, free = order[: min(hubs, most)], set(order[min(hubs, most) :].tolist())
    pairs: list[tuple[int, int]] = []
    for hub in chosen:
        others = np.array(sorted(f for f in free if layer[f] == layer[hub]), dtype=np.int64)
        if not len(others):
            continue
        match = int(others[np.argmin(np.abs(log_rate[others] - log_rate[hub]))])
        pairs.append((int(hub), match))
        free.discard(match)
    if len(pairs) < MIN_HUBS:
        raise UserError(
            f"{len(pairs)} hub(s) of {len(order)} ablated features can be matched with a feature of"
            f" their layer; expected {MIN_HUBS} or more",
            f"give --hubs {MIN_HUBS} or more, and trace more features of a layer"
            f" ({3 * MIN_HUBS} at least)",
        )
    top, matched = (np.array(side, dtype=np.int64) for side in zip(*pairs, strict=True))
    left = np.array(sorted(f for f in free if layer[f] in set(layer[top].tolist())), dtype=np.int64)
    drawn = np.random.default_rng(seed).permutation(left)[: len(top)]
    distance = float(np.median(np.abs(log_rate[top] - log_rate[matched])))
    return Arms(top, matched, np.sort(drawn), hubs, distance)

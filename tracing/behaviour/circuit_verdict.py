"""Whether a circuit counts, from its curve on the cells that did not choose it.

It keeps the wanted share there; its interval over these cells is above what random circuits of its
size, layers and firing rates keep; and few of them keep as much. A wide interval never helps: with
the same shares, fewer cells do not make a circuit count that more cells would not.
"""

from __future__ import annotations

import numpy as np

from scircuit.tracing.behaviour.circuit_curve import Curve, share_of_random
from scircuit.tracing.behaviour.circuit_search import Found

MAX_P = 0.05


def nothing_to_keep(gap: np.ndarray, chooses: np.ndarray, p: float) -> str:
    """Why there is no behaviour to keep, or nothing."""
    halves = float(gap[chooses].mean()), float(gap[~chooses].mean())
    if p <= MAX_P and halves[0] * halves[1] > 0:
        return ""
    return (
        f"putting every feature at its mean changes the behaviour by {-gap.mean():.3g} on average"
        f" of {len(gap)} cells (sign-flip p = {p:.2g}; halves {-halves[0]:.3g} and"
        f" {-halves[1]:.3g}): the features carry nothing of it that could be kept"
    )


def refusal_of(
    found: Found, curve: Curve, share: float, max_share: float, alive: int, judging: int
) -> str:
    """Why the circuit does not count, or nothing.

    Parameters
    ----------
    found, curve
        The search on the cells that choose, and the curve on those that judge.
    share, max_share
        Of the behaviour, to be kept; and the most features, of all.
    alive, judging
        Features that fire, and cells that judge.
    """
    if not found.size:
        needed = (
            f"the first {found.needed} do, {found.needed / alive:.0%} of all"
            if found.needed
            else "no beginning of the order does"
        )
        sure = " on average, and less in some resamples of these cells"
        return (
            f"no set of up to {max_share:.0%} of the {alive} features keeps"
            f" {share:.0%} of the behaviour: the best, of {found.best_size}, keeps"
            f" {found.share:.0%}{sure if found.share >= share else ''}; {needed}"
        )
    at = curve.at(found.size)
    kept, low, high = curve.sufficiency[at], curve.low[at], curve.high[at]
    random = float(curve.random[:, at].mean())
    if kept < share or low <= random:
        measured = (
            f"the {found.size} features that keep {found.share:.0%} of the behaviour in the cells"
            f" that chose them keep {kept:.0%} in the other {judging} (95 % interval {low:.0%} to"
            f" {high:.0%})"
        )
        if high < share:
            return f"{measured}, less than the {share:.0%} asked for"
        if kept < share:
            return (
                f"{measured}: the {share:.0%} asked for are not shown in {judging} cells;"
                " give more cells, --n-cells"
            )
        return (
            f"{measured}: more than the {random:.0%} of random circuits is not shown in {judging}"
            " cells; give more cells, --n-cells"
        )
    p = share_of_random(curve.random[:, at], float(kept))
    if p > MAX_P:
        return (
            f"random circuits of {found.size} features that fire as often keep as much: p ="
            f" {p:.2g} in {len(curve.random)} draws (mean {random:.0%},"
            f" the circuit {kept:.0%})"
        )
    return ""

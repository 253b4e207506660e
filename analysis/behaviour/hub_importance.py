"""Do hubs matter more for the model's own task than features that fire as often: the finding of
``scircuit importance``, from the tests over cells and pairs that it is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scircuit.analysis.finding import Finding
from scircuit.analysis.plot_style import BLUE, GREY, INK, ORANGE

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

MAX_P = 0.05
MIN_OTHERS = 6  # cells beside those of the trace run; with five, no p of sign flips is 0.05 or less
ARMS = ("hub", "matched", "random")
_COLOURS = dict(zip(ARMS, (BLUE, ORANGE, GREY), strict=True))


class Measured(NamedTuple):
    """What the features were measured on."""

    cells: int
    masked: int  # genes
    baseline: float  # mean loss of the unedited model, nats a masked gene
    others: int  # cells beside those of the trace run: measured on, where there are enough
    hubs_asked: int
    distance: float  # median |difference of log firing rates| in a pair

    @property
    def held_out(self) -> bool:
        """Whether they were measured on cells other than those of the trace run."""
        return self.others >= MIN_OTHERS


def hub_importance(
    frame: pd.DataFrame, comparisons: Mapping[str, Mapping[str, float | int]], measured: Measured
) -> Finding:
    """Say whether hubs are more important.

    Parameters
    ----------
    frame
        One row per feature: feature, arm (hub, matched, random), match, layer, degree, firing_rate,
        importance, low, high, p, q, cells_active, as_published.
    comparisons
        ``matched``, ``random``, ``rho`` and ``partial``: value, low, high, p and n of each; NaN
        where it cannot be had.
    measured
        Cells and baseline.
    """
    means = {arm: _plain(frame.loc[frame["arm"] == arm, "importance"].mean()) for arm in ARMS}
    clear = {arm: int(((frame["arm"] == arm) & (frame["q"] <= MAX_P)).sum()) for arm in ARMS}
    numbers = {
        **measured._asdict(),
        "held_out": measured.held_out,
        "pairs": int(comparisons["matched"]["n"]),
        "means": means,
        "significant": clear,
        **{
            f"{name}_{key}": _plain(value)
            for name, found in comparisons.items()
            for key, value in found.items()
        },
    }
    return Finding(
        "hub_importance",
        "Importance of hubs",
        _sentence(means, clear, comparisons),
        f"Each of {numbers['pairs']} hubs has a feature of its layer with the nearest firing rate"
        f" (median ratio {np.exp(measured.distance):.2f}); the pair is the unit of the sign flips."
        " Cells in which a feature is not active count as zero. Measured on"
        f" {measured.masked:,} genes of {measured.cells:,} cells{_which(measured)}.",
        frame,
        numbers,
        draw=draw,
    )


def _which(measured: Measured) -> str:
    """Of which cells they are."""
    if measured.held_out:
        return " other than those of the trace run"
    return (
        f" of the trace run, on which the hubs were chosen as well ({measured.others} others pass"
        f" its filters, {MIN_OTHERS} or more are needed)"
    )


def _sentence(
    means: Mapping[str, float | None],
    clear: Mapping[str, int],
    comparisons: Mapping[str, Mapping[str, float | int]],
) -> str:
    pairs = comparisons["matched"]
    changes = (
        f"without one of {pairs['n']} hubs the masked-LM loss changes by {_number(means['hub'])}"
        f" nats a masked gene, without a match by {_number(means['matched'])}"
    )
    counted = f"{clear['hub']} hubs and {clear['matched']} matches have q <= {MAX_P}"
    p, difference = float(pairs["p"]), float(pairs["value"])
    if np.isnan(p) or np.isnan(difference):
        return f"{changes}: no pair differs at all, so nothing can be said of hubs; {counted}"
    more = "more" if difference > 0 else "less"
    verdict = f"{more} important than" if p <= MAX_P else "not told apart from"
    low, high = float(pairs["low"]), float(pairs["high"])
    interval = f"{low:.2g} to {high:.2g}, " if np.isfinite(low) and np.isfinite(high) else ""
    return (
        f"hubs are {verdict} features that fire as often: {changes} (difference {difference:.2g},"
        f" {interval}p = {p:.2g}); {counted}"
    )


def _number(value: float | None) -> str:
    return "nothing known" if value is None else f"{value:+.2g}"


def _plain(value: float) -> float | None:
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not np.isfinite(value) else value


def draw(frame: pd.DataFrame, numbers: Mapping[str, object], ax: Axes) -> None:  # noqa: ARG001
    """Importance against out-degree, with 95 % intervals over cells."""
    for arm in reversed(ARMS):
        rows = frame.loc[frame["arm"] == arm]
        middle = rows["importance"].to_numpy(float)
        spread = np.abs(rows[["low", "high"]].to_numpy(float).T - middle)
        ax.errorbar(
            rows["degree"] + 1,
            middle,
            yerr=np.nan_to_num(spread),
            fmt="o",
            markersize=4,
            linewidth=0.7,
            color=_COLOURS[arm],
            label={"hub": "hubs", "matched": "fire as often", "random": "random"}[arm],
        )
    ax.axhline(0, color=INK, linewidth=0.7)
    ax.set_xscale("log")
    ax.set(xlabel="out-degree + 1", ylabel="change of the masked-LM loss (nats)")
    ax.legend()

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
ARMS = ("hub", "matched", "random")
_COLOURS = dict(zip(ARMS, (BLUE, ORANGE, GREY), strict=True))


class Measured(NamedTuple):
    """What the features were measured on."""

    cells: int
    masked: int  # genes
    baseline: float  # mean loss of the unedited model, nats a masked gene
    held_out: bool  # cells other than those of the trace run
    hubs_asked: int
    distance: float  # median |difference of log firing rates| in a pair


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
        _sentence(means, clear, comparisons, measured),
        f"Each of {numbers['pairs']} hubs has a feature of its layer with the nearest firing rate"
        f" (median ratio {np.exp(measured.distance):.2f}); the pair is the unit of the sign flips."
        " Cells in which a feature is not active count as zero.",
        frame,
        numbers,
        draw=draw,
    )


def _sentence(
    means: Mapping[str, float | None],
    clear: Mapping[str, int],
    comparisons: Mapping[str, Mapping[str, float | int]],
    measured: Measured,
) -> str:
    pairs, rho, partial = (comparisons[k] for k in ("matched", "rho", "partial"))
    where = "other cells than those of the trace run" if measured.held_out else "cells of the run"
    first = (
        f"ablating one of {pairs['n']} hubs changes the masked-LM loss by {_number(means['hub'])}"
        f" nats a masked gene on average (loss {measured.baseline:.2f} on {measured.masked:,} genes"
        f" of {measured.cells} {where}), one of their matches by {_number(means['matched'])}"
    )
    p = float(pairs["p"])
    if np.isnan(p):
        verdict = "no pair differs at all, so nothing can be said of hubs"
    else:
        more = "more" if pairs["value"] > 0 else "less"
        verdict = (
            f"hubs are {f'{more} important than' if p <= MAX_P else 'not told apart from'} features"
            f" that fire as often (difference {pairs['value']:.2g}, 95 % interval"
            f" {pairs['low']:.2g} to {pairs['high']:.2g}; sign-flip p = {p:.2g})"
        )
    counted = (
        f"single features with q <= {MAX_P}: {clear['hub']} hubs, {clear['matched']} matches,"
        f" {clear['random']} random ones"
    )
    told = [
        f"{found['value']:.2f}{words} (p = {found['p']:.2g})"
        for found, words in ((rho, ""), (partial, " given the firing rate"))
        if not np.isnan(found["value"])
    ]
    ranks = f"; Spearman's rho of out-degree and importance is {' and '.join(told)}" if told else ""
    return f"{first}: {verdict}; {counted}{ranks}"


def _number(value: float | None) -> str:
    return "nothing known" if value is None else f"{value:+.2g}"


def _plain(value: float) -> float | None:
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not np.isfinite(value) else value


def draw(frame: pd.DataFrame, numbers: Mapping[str, object], ax: Axes) -> None:  # noqa: ARG001
    """Importance against out-degree, with 95 % intervals over cells."""
    for arm in reversed(ARMS):
        rows = frame[frame["arm"] == arm]
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

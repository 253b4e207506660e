"""How much of a behaviour is kept by how many features: the finding of ``scircuit circuit``."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import TYPE_CHECKING

from scircuit.analysis.finding import Finding
from scircuit.analysis.plot_style import BLUE, GREY, INK, ORANGE

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

NAME = "behaviour_circuit"
COLUMNS = (
    "size", "share", "sufficiency", "low", "high", "random", "random_low", "random_high",
    "necessity", "necessity_low", "necessity_high",
)  # fmt: skip


def behaviour_circuit(
    frame: pd.DataFrame, numbers: Mapping[str, object], refusal: str, text: str
) -> Finding:
    """Put a circuit, or why there is none, in words.

    Parameters
    ----------
    frame
        The curve, one row per size (`COLUMNS`); empty where there was nothing to keep.
    numbers
        behaviour, size, considered, sufficiency, low, high, sufficiency_random, p, necessity,
        necessity_random, cpr, cpr_random, cmd, cmd_random, cells, chosen_on, draws, edges,
        edges_kept, sufficiency_edges with its interval, sufficiency_no_edges, members, joins,
        wanted; None where unknown.
    refusal
        Why there is no circuit; empty where there is one.
    text
        The behaviour in words.
    """
    if refusal:
        sentence = f"no circuit keeps the {text}: {refusal}"
    else:
        n = numbers
        p = f", p = {n['p']:.2g}" if isinstance(n["p"], float) and isfinite(n["p"]) else ""
        sentence = (
            f"{n['size']} of {n['considered']:,} features keep {_share(n['sufficiency'])} of the"
            f" {text} with all others at their means ({_share(n['low'])} to {_share(n['high'])}"
            f" over {n['judged_on']} other cells; random circuits"
            f" {_share(n['sufficiency_random'])}{p}); without them {_share(n['necessity'])} is"
            f" lost (random {_share(n['necessity_random'])}); {_edges(n)}"
        )
    return Finding(
        NAME,
        "Circuit of a behaviour",
        sentence,
        f"{numbers['draws']} random circuits of the same size: every feature is replaced by one of"
        " its layer and of the same fifth of firing rates. Features are chosen and put at their"
        " means; the edges between them are computed edges of the trace run, and what these alone"
        " keep is the share when each feature is driven only by those with an edge to it.",
        frame,
        numbers,
        draw=draw,
    )


def _edges(numbers: Mapping[str, object]) -> str:
    """What the edges between the features keep."""
    edges = numbers["edges"]
    called = f"{edges} computed edge{'s' * (edges != 1)}"
    if numbers.get("sufficiency_edges") is None:
        return f"{called} join{'s' * (edges == 1)} them"
    low, high = (numbers[f"sufficiency_edges_{side}"] for side in ("low", "high"))
    if not edges:
        return (
            "no computed edge joins them; driven by none of the others, they keep"
            f" {_share(numbers['sufficiency_no_edges'])}"
        )
    return (
        f"their {called} alone keep{'s' * (edges == 1)} {_share(numbers['sufficiency_edges'])}"
        f" ({_share(low)} to {_share(high)}; without any {_share(numbers['sufficiency_no_edges'])})"
    )


def _share(value: object) -> str:
    if not isinstance(value, (int, float)) or not isfinite(value):
        return "unknown"
    return f"{round(value, 2) + 0.0:.0%}"  # no -0%


def draw(frame: pd.DataFrame, numbers: Mapping[str, object], ax: Axes) -> None:
    """Share of the behaviour kept against circuit size, beside random circuits."""
    size = frame["size"]
    ax.fill_between(size, frame["random_low"], frame["random_high"], color=GREY, alpha=0.3, lw=0)
    ax.plot(size, frame["random"], color=GREY, label="random, same layers and firing")
    ax.fill_between(size, frame["low"], frame["high"], color=BLUE, alpha=0.2, lw=0)
    ax.plot(size, frame["sufficiency"], "o-", color=BLUE, markersize=4, label="kept by these alone")
    ax.plot(size, frame["necessity"], "s--", color=ORANGE, markersize=4, label="lost without these")
    for level in (0, 1):
        ax.axhline(level, color=INK, linewidth=0.5)
    if numbers.get("size"):
        ax.axvline(float(str(numbers["size"])), color=INK, linewidth=0.8, linestyle=":")
    ax.set_xscale("symlog", linthresh=1)
    ax.set(xlabel="features in the circuit", ylabel="share of the behaviour")
    ax.legend()

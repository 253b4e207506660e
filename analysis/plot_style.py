"""One look for all figures: blue what was measured, orange its control or expectation, grey
context.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, GREY, INK, GREEN = "#1f6f9e", "#d9822b", "#9aa5b1", "#22303c", "#4f8a5b"
STYLE = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": "#b8c1ca",
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": "#52606d",
    "ytick.color": "#52606d",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "svg.fonttype": "path",
    "axes.axisbelow": True,
    "svg.hashsalt": "scircuit",
}


def axes_or_new(ax: Axes | None, size: tuple[float, float] = (6.4, 4.0)) -> Axes:
    """The given Axes, or those of a new pyplot figure in the project's style."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    with plt.rc_context(STYLE):  # pyright: ignore[reportArgumentType]
        return plt.subplots(figsize=size, layout="constrained")[1]


def no_data(ax: Axes, text: str) -> Axes:
    """Empty Axes with a text in the middle."""
    ax.set_axis_off()
    ax.text(
        0.5, 0.5, text, ha="center", va="center", color="#52606d", wrap=True, transform=ax.transAxes
    )
    return ax

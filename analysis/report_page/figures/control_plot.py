"""Figure of the sampled controls: effects of the features beside those of other directions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scircuit.analysis.plot_style import BLUE, GREY, ORANGE
from scircuit.analysis.report_page.control_rows import Row
from scircuit.analysis.report_page.number_text import as_float

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_controls(ax: Axes, rows: list[Row]) -> None:
    """Edges of the sampled sources beside the edges of each control, by layer pair."""
    rows = [r for r in rows if r["control_edges"] is not None]  # split halves count no edges
    names = list(dict.fromkeys(r["pair"] for r in rows))
    kinds = list(dict.fromkeys(r["control"] for r in rows))
    height = 0.8 / (len(kinds) + 1)
    y = np.arange(len(names))[::-1]
    colors = [ORANGE, "#e8b77d", "#f3d9b8", GREY]
    real = [max((as_float(r["edges"]) for r in rows if r["pair"] == n), default=0) for n in names]
    ax.barh(y + 0.4 - height / 2, real, height, color=BLUE, label="features")
    for i, kind in enumerate(kinds, 1):
        values = [
            next(
                (
                    as_float(r["control_edges"])
                    for r in rows
                    if r["pair"] == n and r["control"] == kind
                ),
                0,
            )
            for n in names
        ]
        ax.barh(
            y + 0.4 - height * (i + 0.5),
            values,
            height,
            color=colors[(i - 1) % len(colors)],
            label=str(kind).replace("_", " "),
        )
    ax.set_yticks(y, [str(n) for n in names])
    ax.set_xlabel("effects that are not zero, of the sampled sources")
    ax.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.08 - 0.32 / (1 + len(names))),
        ncols=4,
        fontsize=8.5,
    )

"""Figures of the report as images inside the page: SVG, or PNG for figures with many marks."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from scircuit.analysis.plot_style import BLUE, GREY, ORANGE, STYLE
from scircuit.analysis.report_page.control_rows import Row
from scircuit.analysis.report_page.number_text import as_float

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_MANY_MARKS = 6000


def image(
    draw: Callable[[Axes], object], size: tuple[float, float] = (6.6, 4.1), marks: int = 0
) -> str:
    """Data URI of a figure.

    Parameters
    ----------
    draw
        Draws on the Axes it is given.
    size
        Width and height in inches.
    marks
        Number of points drawn; beyond 6,000 the figure is a PNG.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):  # pyright: ignore[reportArgumentType]
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.add_subplot())
        file = io.BytesIO()
        if marks > _MANY_MARKS:
            figure.savefig(file, format="png", dpi=170)
            kind = "png"
        else:
            figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
            kind = "svg+xml"
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


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
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4, fontsize=8.5)


def draw_ablation(ax: Axes, pairs: pd.DataFrame) -> None:
    """Ratio of joint to single effects of every pair, beside that of exactly additive effects."""
    y = np.arange(len(pairs))[::-1]
    ax.axvline(1, color=GREY, lw=1, ls=":")
    ax.hlines(
        y,
        pairs["ratio_null"].to_numpy(float),
        pairs["ratio"].to_numpy(float),
        color="#d5dbe1",
        lw=3,
    )
    ax.plot(pairs["ratio"].to_numpy(float), y, "o", ms=9, color=BLUE, mec="white", label="measured")
    ax.plot(
        pairs["ratio_null"].to_numpy(float), y, "D", ms=4.5, color=ORANGE, label="exactly additive"
    )
    ax.set_yticks(y, pairs["pair"].tolist())
    ax.set_ylim(-0.6, len(pairs) - 0.4)
    ax.set_xlabel("median |joint effect| / sum of |single effects|")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)


def draw_steering(ax: Axes, doses: pd.DataFrame, readout: str) -> None:
    """Readout against coefficient, one line a feature with its interval, and the control."""
    palette = [
        "#1f6f9e",
        "#4f8a5b",
        "#8a5a83",
        "#b5552f",
        "#3b4d8f",
        "#7a7a2e",
        "#2e7a78",
        "#96484f",
    ]
    for i, (name, rows) in enumerate(doses.groupby("feature", sort=False)):
        rows = rows.sort_values("coefficient")
        x, y = rows["coefficient"].to_numpy(float), rows["effect"].to_numpy(float)
        color = palette[i % len(palette)]
        ax.plot(x, y, "o-", ms=4.5, lw=1.7, color=color, label=str(name))
        ax.fill_between(
            x,
            rows["effect_low"].to_numpy(float),
            rows["effect_high"].to_numpy(float),
            color=color,
            alpha=0.13,
            lw=0,
        )
        control = rows["control"].to_numpy(float)
        if np.isfinite(control).any():
            ax.plot(
                x, control, "--", lw=1.2, color=ORANGE, label="random direction" if i == 0 else None
            )
    ax.axhline(0, color=GREY, lw=1)
    ax.axvline(1, color=GREY, lw=1, ls=":")
    ax.set(xlabel="coefficient on the activation (1: no change)", ylabel=readout)
    ax.legend(
        fontsize=8.5,
        ncols=4,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.14),
        handlelength=1.4,
        columnspacing=1.2,
    )

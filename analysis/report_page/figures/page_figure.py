"""One figure of the report: an SVG in which no text is cut, and the numbers that it shows.

Long axis labels and titles are wrapped to the length of their axis, and the picture is as large as
all that is drawn.
"""

from __future__ import annotations

import base64
import io
import math
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scircuit.analysis.plot_style import STYLE

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

_MANY_MARKS = 2000  # of one series; beyond it the marks are pixels within the SVG
_PIXELS = 4  # of a picture's edge; text closer to it is not cut
SIZE = (6.6, 4.1)


@dataclass(frozen=True)
class PageFigure:
    """A drawn figure.

    Parameters
    ----------
    name
        Name of its files: lower case, underscores.
    caption
        What it shows, in words.
    svg
        The picture, a complete SVG file; empty where there are numbers only.
    frame
        The numbers it shows.
    inline
        Whether the SVG has real text and stands in the page as it is.
    """

    name: str
    caption: str
    svg: str
    frame: pd.DataFrame
    inline: bool = False

    @property
    def address(self) -> str:
        """Data URI of the picture."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg.encode()).decode()}"

    @property
    def csv(self) -> str:
        """The numbers as CSV; a value that is not known is empty."""
        return self.frame.to_csv(index=False, lineterminator="\n")


def drawn(
    name: str,
    caption: str,
    draw: Callable[[Axes], object],
    frame: pd.DataFrame | None = None,
    size: tuple[float, float] = SIZE,
) -> PageFigure:
    """Draw one figure on its own Axes.

    Parameters
    ----------
    name, caption
        Of the figure.
    draw
        Draws on the Axes it is given.
    frame
        The numbers shown (default: the points of its lines).
    size
        Width and height in inches.
    """
    return drawn_on_figure(name, caption, lambda figure: draw(figure.add_subplot()), frame, size)


def drawn_on_figure(
    name: str,
    caption: str,
    draw: Callable[[Figure], object],
    frame: pd.DataFrame | None = None,
    size: tuple[float, float] = SIZE,
) -> PageFigure:
    """As `drawn`, where `draw` divides the figure itself."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):  # pyright: ignore[reportArgumentType]
        figure = Figure(figsize=size, layout="constrained", dpi=170)
        draw(figure)
        points = points_of(figure) if frame is None else frame
        fit_labels(figure)
        for axes in figure.axes:
            for line in axes.lines:
                line.set_rasterized(len(line.get_xdata()) > _MANY_MARKS)  # pyright: ignore[reportArgumentType]
            for marks in axes.collections:
                marks.set_rasterized(len(marks.get_offsets()) > _MANY_MARKS)  # pyright: ignore[reportArgumentType]
        file = io.StringIO()
        figure.savefig(
            file,
            format="svg",
            metadata={"Date": None, "Creator": None},
            bbox_inches=figure.get_tightbbox().padded(0.06),
        )
    return PageFigure(name, caption, file.getvalue(), points)


def fit_labels(figure: Figure) -> None:
    """Wrap titles and axis labels that are longer than their axis, and fix the layout: it is the
    costly part of a figure.
    """
    figure.draw_without_rendering()
    wrapped = False
    for axes in figure.axes:
        box = axes.get_window_extent()
        whole = figure.bbox.width
        for text, vertical, room in (
            (axes.yaxis.label, True, box.height),
            (axes.xaxis.label, False, whole),
            (axes.title, False, whole),
            (axes._left_title, False, whole),  # pyright: ignore[reportAttributeAccessIssue]
        ):
            wrapped |= _wrap(text, vertical, room)
    if wrapped:
        figure.draw_without_rendering()
    figure.set_layout_engine(None)  # none, so that saving does not lay it out again


def _wrap(text: Text, vertical: bool, room: float) -> bool:
    extent = text.get_window_extent()
    length = extent.height if vertical else extent.width
    words = text.get_text()
    if length <= room or room <= _PIXELS or not words.strip() or "$" in words:
        return False
    width = max(math.floor(len(words) * room / length) - 1, 8)
    text.set_text(textwrap.fill(words.replace("\n", " "), width))
    return True


def points_of(figure: Figure) -> pd.DataFrame:
    """Points of the lines of a figure by their label: series, x and y as their axes are named."""
    import numpy as np
    import pandas as pd

    rows = []
    for axes in figure.axes:
        x_name, y_name = (
            a.label.get_text() or n for a, n in ((axes.xaxis, "x"), (axes.yaxis, "y"))
        )
        for line in axes.lines:
            label = str(line.get_label())
            if label.startswith("_"):  # matplotlib's name of a line that is not in the legend
                continue
            x, y = (np.asarray(v, dtype=float) for v in line.get_data())
            rows.append(pd.DataFrame({"series": label, x_name: x, y_name: y}))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()

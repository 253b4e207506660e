"""Heat map of the effects by layer and class: generic, carried and computed, beside the computed
ones that random directions would have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scircuit.analysis.plot_style import GREY, INK
from scircuit.analysis.report_page.control_rows import NULL, Row
from scircuit.analysis.report_page.number_text import as_float, known

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLASSES = {
    "computed": "computed",
    "expected": "computed, of\nrandom directions",
    "carried": "carried",
    "generic": "generic",
}
_NUMBERED = 9  # columns up to which the numbers are written into the cells


def layer_frame(controls: list[Row], pairs: pd.DataFrame | None, rule: str) -> pd.DataFrame:
    """One row a pair of layers: source_layer, target_layer, then effects by class.

    Parameters
    ----------
    controls
        Rows of `control_rows`; those of the direction null tell the classes apart.
    pairs
        Frame of `LayerPairs`, for runs that have no direction null.
    rule
        Name of its edge rule.
    """
    import pandas as pd

    columns = {"computed": "edges", "expected": "expected_false"}
    columns |= {name: name for name in ("carried", "generic")}
    rows = [
        {k: int(as_float(r[k])) for k in ("source_layer", "target_layer")}
        | {name: as_float(r.get(column)) for name, column in columns.items()}
        for r in controls
        if r.get("control") == NULL and known(r.get("edges"))
    ]
    if not rows and pairs is not None and len(pairs):
        rows = [
            {
                "source_layer": int(r["source_layer"]),
                "target_layer": int(r["target_layer"]),
                rule: float(r["edges"]),
            }
            for r in pairs.to_dict("records")
        ]
    frame = pd.DataFrame(rows)
    return frame.sort_values(["source_layer", "target_layer"], ignore_index=True) if rows else frame


def classes_of(frame: pd.DataFrame) -> list[str]:
    """Classes with a number in some pair of layers."""
    names = [c for c in frame.columns if c not in ("source_layer", "target_layer")]
    return [c for c in names if bool(frame[c].notna().any())]


def figure_size(frame: pd.DataFrame) -> tuple[float, float]:
    """Width and height in inches."""
    sources, targets = (frame[c].nunique() for c in ("source_layer", "target_layer"))
    if sources == 1:
        return 6.6, 1.5 + 0.42 * targets
    return 6.6, len(classes_of(frame)) * (1.0 + 0.32 * sources)


def draw_layer_classes(figure: Figure, frame: pd.DataFrame) -> None:
    """Target layer by class for one source layer, else source layer by target layer, one panel a
    class; darker cells have more effects, on a logarithmic scale.
    """
    classes = classes_of(frame)
    highest = float(np.nanmax(frame[classes].to_numpy(float), initial=1.0))
    if frame["source_layer"].nunique() == 1:
        matrix = frame[classes].to_numpy(float)
        axes = figure.add_subplot()
        _cells(axes, matrix, highest)
        axes.set_xticks(range(len(classes)), [CLASSES.get(c, c) for c in classes])
        axes.set_yticks(range(len(frame)), [f"L{int(v):02d}" for v in frame["target_layer"]])
        axes.set_ylabel("target layer")
        axes.set_title(f"effects of sources in L{int(frame['source_layer'].iloc[0]):02d}")
        return
    layers = [sorted(frame[c].unique().tolist()) for c in ("source_layer", "target_layer")]
    at = [[side.index(v) for v in frame[c]] for side, c in zip(layers, _SIDES, strict=True)]
    for i, name in enumerate(classes):
        axes = figure.add_subplot(len(classes), 1, i + 1)
        matrix = np.full([len(side) for side in layers], np.nan)
        matrix[at[0], at[1]] = frame[name].to_numpy(float)
        _cells(axes, matrix, highest)
        axes.set_xticks(range(len(layers[1])), [f"L{int(v):02d}" for v in layers[1]])
        axes.set_yticks(range(len(layers[0])), [f"L{int(v):02d}" for v in layers[0]])
        axes.set_title(CLASSES.get(name, name).replace("\n", " "))
        axes.set_ylabel("source layer")
    axes.set_xlabel("target layer")


_SIDES = ("source_layer", "target_layer")


def _cells(axes: Axes, matrix: np.ndarray, highest: float) -> None:
    """Draw counts as cells, with their numbers where there is room for them."""
    import matplotlib as mpl

    shade = np.log10(1 + np.nan_to_num(matrix)) / max(np.log10(1 + highest), 1e-9)
    colors = mpl.colormaps["Blues"](0.04 + 0.76 * shade**1.6)
    colors[np.isnan(matrix)] = (1, 1, 1, 1)
    axes.imshow(colors, aspect="auto", interpolation="nearest")
    axes.set_xticks(np.arange(-0.5, matrix.shape[1]), minor=True)
    axes.set_yticks(np.arange(-0.5, matrix.shape[0]), minor=True)
    axes.grid(which="minor", color="white", lw=1.5)
    axes.tick_params(which="both", length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    if matrix.shape[1] > _NUMBERED:
        return
    for (i, j), value in np.ndenumerate(matrix):
        text = "–" if np.isnan(value) else f"{value:,.0f}" if value >= 10 else f"{value:.3g}"
        color = GREY if np.isnan(value) else "white" if shade[i, j] > 0.8 else INK
        axes.text(j, i, text, ha="center", va="center", fontsize=9, color=color)

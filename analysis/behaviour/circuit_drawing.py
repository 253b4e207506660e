"""The features of a behaviour circuit by layer, with the computed edges between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from scircuit.analysis.plot_style import BLUE, GREY, INK, ORANGE
from scircuit.core.address import parse

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

COLUMNS = (
    "position", "feature", "layer", "score", "target", "target_layer", "computed", "z_computed",
    "strongest",
)  # fmt: skip
_UNIT, _HALF, _SIZE = 1.9, 0.25, 8.5  # inches a column, half a box in columns, points
_BOX = {"boxstyle": "round,pad=0.3", "fc": "white", "ec": GREY, "linewidth": 0.8}


def members_frame(numbers: Mapping[str, object]) -> pd.DataFrame:
    """One row per edge between the features that are drawn, and one per feature without an edge out
    (`COLUMNS`); empty of a circuit that is refused.

    Parameters
    ----------
    numbers
        Of the finding: members (address, layer, score), best first, and joins (source, target,
        computed effect, its z), the strongest first.
    """
    import pandas as pd

    members = _rows(numbers, "members")
    layer_of = {feature: layer for feature, layer, _ in members}
    rows = []
    for position, (feature, layer, score) in enumerate(members, 1):
        out = [edge[1:] for edge in _rows(numbers, "joins") if edge[0] == feature]
        ends = [(t, layer_of[t], effect, z, i == 0) for i, (t, effect, z) in enumerate(out)]
        rows += [
            (position, feature, layer, score, *end)
            for end in ends or [(None, None, None, None, False)]
        ]
    frame = pd.DataFrame(rows, columns=pd.Index(list(COLUMNS)))
    return frame.astype({"target_layer": "Int64", "computed": "float64", "z_computed": "float64"})


def drawing_size(numbers: Mapping[str, object]) -> tuple[float, float]:
    """Width and height in inches."""
    columns = _columns(numbers)
    most = max((len(c) for c in columns.values()), default=1)
    return _UNIT * (len(columns) + 1), max(2.0, 0.9 + 0.34 * most)


def draw_members(numbers: Mapping[str, object], ax: Axes) -> None:
    """Draw the features in columns by layer, and the behaviour on the right.

    An arrow head means that the source supports the target, a bar that it suppresses it. The
    strongest edge of each feature is dark. A feature without an edge out acts on the behaviour
    through the residual stream or through other features (dotted).
    """
    columns = _columns(numbers)
    places: dict[str, tuple[float, float]] = {}
    for x, (layer, members) in enumerate(columns.items()):
        ax.text(x, 1.02, f"layer {layer}", ha="center", va="bottom", color=GREY, fontsize=_SIZE)
        for i, feature in enumerate(members):
            places[feature] = (x, 1 - (i + 0.5) / len(members))
    end = (float(len(columns)), 0.5)
    joins, seen = _rows(numbers, "joins"), set()
    strongest = max((abs(z) for *_, z in joins), default=1.0) or 1.0
    for source, target, effect, z in joins:
        first = source not in seen
        seen.add(source)
        ax.annotate(
            "",
            (places[target][0] - _HALF, places[target][1]),
            (places[source][0] + _HALF, places[source][1]),
            arrowprops={
                "arrowstyle": "-|>" if effect < 0 else "|-|,widthA=0,widthB=0.35",
                "color": BLUE if effect < 0 else ORANGE,
                "alpha": 0.95 if first else 0.4,
                "linewidth": 0.7 + 1.8 * abs(z) / strongest,
                "shrinkA": 0,
                "shrinkB": 0,
            },
        )
    for feature, (x, y) in places.items():
        if feature not in seen:
            ax.plot(
                [x + _HALF, end[0]], [y, end[1]], color=GREY, linewidth=0.7, linestyle=":", zorder=0
            )
        words = parse(feature).short
        ax.text(x, y, words, ha="center", va="center", color=INK, bbox=_BOX, fontsize=_SIZE)
    box = _BOX | {"fc": "#f5f7f9"}
    ax.text(*end, "behaviour", ha="center", va="center", color=INK, bbox=box, fontsize=_SIZE)
    ax.set(xlim=(-0.5, len(columns) + 0.5), ylim=(-0.04, 1.1))
    ax.set_axis_off()


def _columns(numbers: Mapping[str, object]) -> dict[int, list[str]]:
    """Layer, ascending -> its features, best first."""
    found: dict[int, list[str]] = {}
    for feature, layer, _ in _rows(numbers, "members"):
        found.setdefault(int(layer), []).append(feature)
    return dict(sorted(found.items()))


def _rows(numbers: Mapping[str, object], name: str) -> Sequence[Sequence[Any]]:
    return cast("Sequence[Sequence[Any]]", numbers.get(name) or ())

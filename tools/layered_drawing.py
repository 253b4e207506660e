"""Draws a graph in rows as SVG, without any library, so that the same graph gives the same bytes.

Boxes stand in given rows. An arrow that passes a row gets a free place in it, and places are
sorted by the mean place of their neighbours, which keeps crossings few.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

WIDTH = 1000
ROW = 92
BOX = 34
MARGIN = 30
_STYLE = (
    "text{font:14px system-ui,'DejaVu Sans',sans-serif;fill:#1d2b36}"
    ".box{fill:#e8eef3;stroke:#546e7a}.arrow{fill:none;stroke:#607d8b;stroke-width:1.2}"
    ".up{fill:none;stroke:#b71c1c;stroke-width:1.8}.count{font-size:11px;fill:#455a64}"
    ".paper{fill:#ffffff}"
)

Place = str | tuple[str, str, int]  # a box, or the place of an arrow in a row that it passes


def draw(layers: Sequence[Sequence[str]], arrows: Mapping[tuple[str, str], str], title: str) -> str:
    """The picture.

    Parameters
    ----------
    layers
        Names of the boxes, row by row from the top.
    arrows
        Text beside each arrow (or none), by the names it joins. Arrows that point upwards or to a
        box of the same row are red.
    """
    row_of = {name: i for i, layer in enumerate(layers) for name in layer}
    rows: list[list[Place]] = [list(layer) for layer in layers]
    chains: dict[tuple[str, str], list[Place]] = {}
    for a, b in sorted(arrows):
        between: list[Place] = [(a, b, i) for i in range(row_of[a] + 1, row_of[b])]
        for i, place in enumerate(between, row_of[a] + 1):
            rows[i].append(place)
        chains[a, b] = [a, *between, b]
    _sort(rows, list(chains.values()))
    x = {place: at for row in rows for place, at in _spread(row)}
    height = ROW * (len(rows) - 1) + BOX + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{title}</title><style>{_STYLE}</style>",
        '<defs><marker id="tip" markerWidth="9" markerHeight="8" refX="8" refY="4" orient="auto">'
        '<path d="M0,0 L9,4 L0,8 z" fill="#607d8b"/></marker></defs>',
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
    ]
    for pair, chain in chains.items():
        parts.append(_arrow(chain, pair, row_of, x, arrows[pair]))
    for name, row in row_of.items():
        left, top = x[name] - _width(name) / 2, MARGIN + ROW * row
        parts.append(
            f'<rect class="box" x="{left:.0f}" y="{top}" width="{_width(name):.0f}"'
            f' height="{BOX}" rx="5"/><text x="{x[name]:.0f}" y="{top + 22}"'
            f' text-anchor="middle">{name}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


def _width(place: Place) -> float:
    return 8.2 * len(place) + 26 if isinstance(place, str) else 16.0


def _sort(rows: list[list[Place]], chains: list[list[Place]]) -> None:
    """Sort each row by the mean place of the neighbours above, then of those below, some times."""
    near: dict[Place, list[Place]] = defaultdict(list)
    for chain in chains:
        for a, b in pairwise(chain):
            near[a].append(b)
            near[b].append(a)
    for sweep in range(12):
        order = range(1, len(rows)) if sweep % 2 == 0 else range(len(rows) - 2, -1, -1)
        for i in order:
            other = rows[i - 1] if sweep % 2 == 0 else rows[i + 1]
            at = {place: (j + 0.5) / len(other) for j, place in enumerate(other)}
            own = {place: (j + 0.5) / len(rows[i]) for j, place in enumerate(rows[i])}

            def mean(place: Place, at=at, own=own) -> float:
                found = [at[n] for n in near[place] if n in at]
                return sum(found) / len(found) if found else own[place]

            rows[i].sort(key=mean)


def _spread(row: list[Place]) -> list[tuple[Place, float]]:
    """Places of a row with equal gaps between them."""
    gap = max((WIDTH - sum(map(_width, row))) / (len(row) + 1), 6.0)
    at, found = gap, []
    for place in row:
        found.append((place, at + _width(place) / 2))
        at += _width(place) + gap
    return found


def _arrow(
    chain: list[Place],
    pair: tuple[str, str],
    row_of: Mapping[str, int],
    x: Mapping[Place, float],
    text: str,
) -> str:
    first, last = row_of[pair[0]], row_of[pair[1]]
    if last <= first:  # upwards or sideways: one red curve
        a, b = MARGIN + ROW * first + BOX / 2, MARGIN + ROW * last + BOX / 2
        (x1, x2), bend = (x[pair[0]], x[pair[1]]), max(a, b) + 46
        path = f"M{x1:.0f},{a:.0f} C{x1:.0f},{bend:.0f} {x2:.0f},{bend:.0f} {x2:.0f},{b:.0f}"
        return f'<path class="up" d="{path}"/>'
    points = [(x[chain[0]], MARGIN + ROW * first + BOX)]
    for i, place in enumerate(chain[1:-1], first + 1):
        points += [(x[place], MARGIN + ROW * i), (x[place], MARGIN + ROW * i + BOX)]
    points.append((x[chain[-1]], MARGIN + ROW * last))
    path = f"M{points[0][0]:.0f},{points[0][1]}"
    for (x1, y1), (x2, y2) in pairwise(points):
        middle = (y1 + y2) / 2
        path += f" C{x1:.0f},{middle:.0f} {x2:.0f},{middle:.0f} {x2:.0f},{y2}"
    (x1, y1), (x2, y2) = points[-2:]
    label = ""
    if text:
        at = ((x1 + x2) / 2 + 6, (y1 + y2) / 2 + 4)
        label = f'<text class="count" x="{at[0]:.0f}" y="{at[1]:.0f}">{text}</text>'
    return f'<path class="arrow" d="{path}" marker-end="url(#tip)"/>{label}'

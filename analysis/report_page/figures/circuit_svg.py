"""The circuit of one feature as an SVG with real text: the source on the left, its strongest
targets on the right by layer.

An arrow head means that the source supports the target, a bar that it suppresses it; strong edges
are thick. The room for a text is reckoned from its number of signs with a generous width, because
the fonts of the reader are not known.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from scircuit.analysis.plot_style import BLUE, INK, ORANGE
from scircuit.core.address import parse

if TYPE_CHECKING:
    import pandas as pd

    from scircuit.analysis.circuits.feature_circuit import FeatureCircuit

_SOFT, _LINE = "#52606d", "#e1e6eb"
_FONT = "'DejaVu Sans','Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"
_WIDE = 0.76  # width of a sign relative to its size; capitals of wide fonts have about as much
_LEFT, _SIDE, _CARD, _GAP, _ROW, _HEAD = 8, 8, 216, 128, 25, 30
_NAME = 118  # room for the address of a target
_SIGNS = 46  # of one line beside a target


def circuit_frame(circuit: FeatureCircuit) -> pd.DataFrame:
    """One row a drawn edge: source, target, layer, genes, effect, strength, sign."""
    import pandas as pd

    columns = ["source", "target", "layer", "genes", "effect", "strength", "sign"]
    return pd.DataFrame(
        [
            (
                circuit.address,
                t.address,
                t.layer,
                " ".join(t.genes),
                t.effect,
                t.strength,
                _sign(t.effect),
            )
            for t in circuit.targets
        ],
        columns=pd.Index(columns),
    )


def circuit_svg(circuit: FeatureCircuit, labels: Mapping[str, str] | None = None) -> str:
    """The drawing; empty for a feature without edges.

    Parameters
    ----------
    circuit
        The feature and its strongest edges.
    labels
        Address -> term that a feature is annotated with.
    """
    if not circuit.targets:
        return ""
    labels = labels or {}
    targets = sorted(circuit.targets, key=lambda t: (t.layer, -abs(t.strength), t.address))
    said = {t.address: _said(labels.get(t.address, ""), t.genes) for t in targets}
    widest = max(_width(words, 13) for lines in said.values() for words, _ in lines)
    right = _LEFT + _CARD + _GAP
    width = max(math.ceil(right + _NAME + widest + _SIDE), 640)
    parts, places, y, layer = [], [], 8.0, None
    for target in targets:
        if target.layer != layer:
            layer = target.layer
            y += 8 if parts else 0
            parts.append(_text(right, y + 16, f"LAYER {layer}", 11, _SOFT, "600"))
            parts.append(
                f'<line x1="{right}" y1="{y + 23:.1f}" x2="{width - _SIDE}" y2="{y + 23:.1f}"'
                f' stroke="{_LINE}"/>'
            )
            y += _HEAD
        places.append((target, y + _ROW / 2))
        y += _ROW + 17 * (len(said[target.address]) - 1)
    card, card_height = _card(circuit, y / 2)
    body = max(y, card_height + 16)
    middle = max(y / 2, 8 + card_height / 2)
    strongest = max(abs(t.strength) for t in targets) or 1.0
    for target, at in places:
        parts.append(_edge(middle, at, right, target.effect, abs(target.strength) / strongest))
        parts.append(_text(right + 6, at + 4.5, _short(target.address), 12.5, INK, "600"))
        for i, (words, style) in enumerate(said[target.address]):
            parts.append(_text(right + _NAME, at + 4.5 + 17 * i, words, 13, INK, style=style))
    legend, legend_height = _legend(body + 14)
    height = math.ceil(body + 14 + legend_height)
    name = escape(f"Circuit of {_short(circuit.address)}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
        f' height="{height}" role="img" aria-label="{name}" font-family="{_FONT}">'
        f"<title>{name}</title>" + "".join(parts) + card + legend + "</svg>"
    )


def _said(label: str, genes: Sequence[str]) -> list[tuple[str, str]]:
    """Lines beside a target with their style: its term, and its top genes."""
    lines = [(words, "normal") for words in (_lines(label, _SIGNS) if label else ())]
    listed = ", ".join(genes)
    return lines + [(w, "italic") for w in _lines(listed or "no annotated genes", _SIGNS)]


def _card(circuit: FeatureCircuit, middle: float) -> tuple[str, float]:
    """The source in its box, centred at a height; and the height of the box."""
    signs = int((_CARD - 24) / (12.5 * _WIDE))
    lines = [(_short(circuit.address), 14, "700", "normal", INK)]
    if circuit.label:
        lines += [(s, 12.5, "400", "normal", INK) for s in _lines(circuit.label, signs)]
    genes = ", ".join(circuit.genes) or "no annotated genes"
    lines += [(s, 12.5, "400", "italic", INK) for s in _lines(genes, signs)]
    rest = circuit.edges - len(circuit.targets)
    told = f"{circuit.edges:,} {circuit.rule} edges" + (
        f", the strongest {len(circuit.targets)} drawn" if rest > 0 else ""
    )
    lines += [(s, 11.5, "400", "normal", _SOFT) for s in _lines(told, signs)]
    height = 20 + 18 * len(lines)
    top = max(middle - height / 2, 8)
    box = (
        f'<rect x="{_LEFT}" y="{top:.1f}" width="{_CARD}" height="{height}" rx="9" fill="#f5f7f9"'
        f' stroke="#b8c1ca"/>'
    )
    texts = "".join(
        _text(_LEFT + 12, top + 22 + 18 * i, words, size, color, weight, style)
        for i, (words, size, weight, style, color) in enumerate(lines)
    )
    return box + texts, height


def _edge(start: float, end: float, right: float, effect: float, strength: float) -> str:
    """A curve from the source to a target, with an arrow head or a bar."""
    x1, x2 = _LEFT + _CARD, right - 8
    color = BLUE if effect < 0 else ORANGE
    thick = 1.2 + 2.6 * strength
    bend = (x2 - x1) * 0.55
    stop = x2 - 7 if effect < 0 else x2
    curve = (
        f'<path d="M{x1} {start:.1f} C{x1 + bend:.1f} {start:.1f} {stop - bend:.1f} {end:.1f}'
        f' {stop} {end:.1f}" fill="none" stroke="{color}" stroke-width="{thick:.2f}"/>'
    )
    return curve + _head(x2, end, effect)


def _head(x: float, y: float, effect: float) -> str:
    if effect < 0:
        return (
            f'<path d="M{x + 3} {y:.1f} L{x - 8} {y - 5.5:.1f} L{x - 8} {y + 5.5:.1f} Z"'
            f' fill="{BLUE}"/>'
        )
    return (
        f'<line x1="{x}" y1="{y - 6.5:.1f}" x2="{x}" y2="{y + 6.5:.1f}" stroke="{ORANGE}"'
        f' stroke-width="3"/>'
    )


def _legend(top: float) -> tuple[str, float]:
    parts = []
    for i, (effect, words) in enumerate(
        (
            (-1.0, "supports: ablating the source lowers the target"),
            (1.0, "suppresses: ablating the source raises the target"),
        )
    ):
        y = top + 9 + 20 * i
        color = BLUE if effect < 0 else ORANGE
        parts.append(
            f'<line x1="{_LEFT}" y1="{y}" x2="{_LEFT + 26}" y2="{y}" stroke="{color}"'
            f' stroke-width="2.4"/>'
        )
        parts.append(_head(_LEFT + 30, y, effect))
        parts.append(_text(_LEFT + 44, y + 4.5, words, 12, _SOFT))
    return "".join(parts), 46


def _text(
    x: float,
    y: float,
    words: str,
    size: float,
    color: str,
    weight: str = "400",
    style: str = "normal",
) -> str:
    italic = ' font-style="italic"' if style == "italic" else ""
    bold = f' font-weight="{weight}"' if weight != "400" else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{color}"{bold}{italic}>'
        f"{escape(words)}</text>"
    )


def _lines(text: str, signs: int) -> list[str]:
    return textwrap.wrap(text, signs) or [text]


def _width(text: str, size: float) -> float:
    return len(text) * size * _WIDE


def _short(address: str) -> str:
    return parse(address).short


def _sign(effect: float) -> str:
    return "supports" if effect < 0 else "suppresses"

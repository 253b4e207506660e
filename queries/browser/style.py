"""Browser style from `scircuit.core.schema`: one rule for each label and relationship type, with
the declared colour and caption.

The classic Browser keeps the style as an object of selectors, ``{"node.Feature": {"color": ...,
"caption": "{name}"}}``, and reads the same thing from a ``.grass`` file. Text is black or white,
whichever has the greater contrast (WCAG 2 relative luminance).
"""

from __future__ import annotations

from scircuit.core.schema import NODES, RELATIONSHIPS

Style = dict[str, dict[str, str]]

DIAMETERS = {
    "Feature": "80px",
    "Term": "80px",
    "Intervention": "80px",
    "Run": "65px",
    "Dictionary": "65px",
    "Cohort": "65px",
    "Control": "65px",
}
# Of the edge types, only the causal one is drawn strongly; the others stay in the background.
RELATIONSHIP_COLORS = {
    "AFFECTS": "#2B2D42",
    "ATTRIBUTES_TO": "#5E548E",
    "REGULATES": "#386641",
    "ENRICHED_FOR": "#BC6C25",
    "LOADS_ON": "#A7C957",
    "SHIFTED": "#B5179E",
    "PART_OF": "#B5179E",
    "SAME_GENES": "#2E86AB",
    "CO_OCCURS": "#7B8FA1",
    "ACTIVE_IN": "#E07A5F",
    "RESPONDS_TO": "#81B29A",
}
RELATIONSHIP_WIDTHS = {
    "AFFECTS": "2px",
    "ATTRIBUTES_TO": "2px",
    "REGULATES": "2px",
    "SHIFTED": "2px",
    "SAME_GENES": "2px",
}
# Counts say more on an arrow than the word AFFECTS: cells whose target falls (support) and rises
# (suppress) under ablation. Who says that a feature is about a term or fires in a cell type matters
# more than the type's name: own, or published.
RELATIONSHIP_CAPTIONS = {
    "AFFECTS": "-{n_neg} +{n_pos}",
    "ENRICHED_FOR": "{origin}",
    "ACTIVE_IN": "{origin}",
    "REGULATES": "{mode}",
}
QUIET = "#ADB5BD"


def _channels(color: str) -> list[int]:
    return [int(color[i : i + 2], 16) for i in (1, 3, 5)]


def _luminance(color: str) -> float:
    linear = [
        c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4
        for c in (v / 255 for v in _channels(color))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """WCAG 2 contrast ratio of two ``#RRGGBB`` colours, 1 to 21."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _text_on(color: str) -> str:
    return max(("#FFFFFF", "#1B1B1E"), key=lambda text: contrast(text, color))


def _darker(color: str, factor: float = 0.8) -> str:
    return "#" + "".join(f"{round(v * factor):02X}" for v in _channels(color))


def style() -> Style:
    """Rules of the Browser: general ones first, one for each declared label and relationship type
    after them.
    """
    rules: Style = {
        "node": {
            "diameter": "50px",
            "color": "#A5ABB6",
            "border-color": "#9AA1AC",
            "border-width": "2px",
            "text-color-internal": "#FFFFFF",
            "font-size": "10px",
        },
        "relationship": {
            "color": QUIET,
            "shaft-width": "1px",
            "font-size": "8px",
            "padding": "3px",
            "text-color-external": "#000000",
            "text-color-internal": "#FFFFFF",
            "caption": "<type>",
        },
    }
    for label, node in NODES.items():
        rules[f"node.{label}"] = {
            "color": node.color,
            "border-color": _darker(node.color),
            "text-color-internal": _text_on(node.color),
            "caption": f"{{{node.caption}}}",
            "diameter": DIAMETERS.get(label, "50px"),
        }
    for type_ in dict.fromkeys(r.type for r in RELATIONSHIPS.values()):
        color = RELATIONSHIP_COLORS.get(type_, QUIET)
        rules[f"relationship.{type_}"] = {
            "color": color,
            "shaft-width": RELATIONSHIP_WIDTHS.get(type_, "1px"),
            "font-size": "10px" if type_ in RELATIONSHIP_CAPTIONS else "8px",
            "padding": "3px",
            "text-color-external": "#000000",
            "text-color-internal": _text_on(color),
            "caption": RELATIONSHIP_CAPTIONS.get(type_, "<type>"),
        }
    return rules


def grass(rules: Style) -> str:
    """The rules as the text of a ``.grass`` file, for a Browser that was not given them: drop the
    file on it.
    """
    quoted = {"caption", "defaultCaption"}
    blocks = []
    for selector, properties in rules.items():
        lines = [
            f"  {name}: " + (f'"{value}"' if name in quoted else value) + ";"
            for name, value in properties.items()
        ]
        blocks.append("\n".join([f"{selector} {{", *lines, "}"]))
    return "\n\n".join(blocks) + "\n"

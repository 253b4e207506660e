"""By how much annotation exceeds chance: for the features of a run, and for an imported atlas by
its published rule.

Rates are shares of features. The excess of a rule is its rate minus the rate of matched random gene
lists at the same threshold, with a 95 % interval over clusters of features with similar gene lists;
the published rule of an atlas is compared with the published procedure on random gene lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from scircuit.analysis.annotation import sentences
from scircuit.analysis.plot_style import BLUE, ORANGE
from scircuit.analysis.report_page.number_text import as_float, count, known, percent
from scircuit.analysis.report_page.report_input import (
    AnnotateFindings,
    PublishedFindings,
    PublishedLayerRow,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class AtlasRow(PublishedLayerRow):
    """A layer of an atlas as the page lists it; shares by the calibrated rule (`own`) and by
    Benjamini-Hochberg over all tests (`bh`).
    """

    atlas: str
    own: float | None
    bh: float | None


def excess(annotate: AnnotateFindings) -> tuple[float, float, float] | None:
    """Annotation rate minus that of matched random lists with its 95 % interval, over all libraries
    by the calibrated rule; None where not measured.
    """
    found = annotate.get("excess")
    if not found:
        found = next(
            (
                (r["excess"], r["excess_low"], r["excess_high"])
                for r in annotate.get("rates", ())
                if (r["library"], r["rule"]) == ("all", "calibrated")
            ),
            None,
        )
    if not found or not all(known(x) for x in found):
        return None
    low, middle, high = sorted(float(x) for x in found)
    return middle, low, high


def excess_sentence(annotate: AnnotateFindings) -> str:
    """Annotation beyond chance in one sentence; empty where not measured."""
    found = excess(annotate)
    return sentences.excess_sentence(*found) if found else ""


def features_rated(annotate: AnnotateFindings) -> int | None:
    """Features that the rate is a share of, including those without a gene list."""
    return next(
        (
            r["lists"]
            for r in annotate.get("rates", ())
            if (r["library"], r["rule"]) == ("all", "calibrated")
        ),
        annotate.get("features"),
    )


def published_claim(atlas: AnnotateFindings, published: PublishedFindings) -> str:
    """What an atlas publishes, for the findings."""
    return (
        f"in {_name(atlas)}, {percent(published.get('published'))} of"
        f" {count(published.get('alive'))} features are annotated as published"
    )


def published_control(atlas: AnnotateFindings, published: PublishedFindings) -> str:
    """What the published rate is compared with: the published procedure on random lists, and the
    calibrated rule on the same gene sets.
    """
    rate, random = published.get("published", 0.0), published.get("random", 0.0)
    above = rate - random
    verdict = (
        f"so it exceeds chance by {percent(above)}" if above > 0 else "so it does not exceed chance"
    )
    parts = [f"the published procedure annotates {percent(random)} of random gene lists, {verdict}"]
    calibrated = published.get("calibrated")
    if calibrated:
        parts.append(
            f"the calibrated rule annotates {percent(calibrated['rate'])} of features and"
            f" {percent(calibrated['null_rate'], 2)} of matched random lists"
        )
    own = excess_sentence(atlas)
    if own:
        parts.append(f"with the complete gene sets {own}")
    return "; ".join(parts)


def _name(atlas: AnnotateFindings) -> str:
    return str(atlas.get("name") or "imported atlas")


def atlas_rows(atlases: Sequence[AnnotateFindings]) -> list[AtlasRow]:
    """A row for each layer of each atlas whose published rate was compared with its null."""
    rows: list[AtlasRow] = []
    for atlas in atlases:
        published = atlas.get("published")
        for layer in published.get("layers", ()) if published else ():
            rows.append(
                {
                    **layer,
                    "atlas": _name(atlas),
                    "own": layer["calibrated"] / layer["alive"] if layer["alive"] else None,
                    "bh": layer["pooled"] / layer["alive"] if layer["alive"] else None,
                }
            )
    return rows


def draw_published(ax: Axes, rows: Sequence[AtlasRow]) -> None:
    """Published rate of every layer beside the published procedure on random lists, with the range
    of its draws.
    """
    y = list(range(len(rows)))[::-1]
    several = len({r["atlas"] for r in rows}) > 1
    ax.barh(
        [v + 0.19 for v in y],
        [100 * r["published"] for r in rows],
        0.36,
        color=BLUE,
        label="published",
    )
    spread = [
        [100 * max(r["random"] - r["random_low"], 0) for r in rows],
        [100 * max(r["random_high"] - r["random"], 0) for r in rows],
    ]
    ax.barh(
        [v - 0.19 for v in y],
        [100 * r["random"] for r in rows],
        0.36,
        color=ORANGE,
        xerr=spread,
        label="same procedure, random lists",
    )
    ax.plot(
        [100 * as_float(r["own"]) for r in rows],
        y,
        "D",
        ms=5,
        color="#1b1b1e",
        label="calibrated rule",
    )
    ax.set_yticks(y, [f"{r['atlas'] + ' ' if several else ''}L{r['layer']:02d}" for r in rows])
    ax.set_xlabel("features annotated (%)")
    ax.set_xlim(0, 100 * max(max(r["published"], r["random"]) for r in rows) * 1.15)
    ax.set_ylim(-0.7, len(rows) - 0.3)
    ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, fontsize=8, columnspacing=1.0)

"""How much annotation exceeds chance, in one sentence: of a run's own features, and of an imported
atlas by its own rule.

Rates are shares of features. The excess of a rule is its rate minus the rate of matched random gene
lists at the same threshold, with a 95 % interval over clusters of features with like gene lists;
the published rule of an atlas is held against the published procedure on random gene lists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scircuit.analysis.annotation import sentences
from scircuit.analysis.plots import BLUE, ORANGE
from scircuit.analysis.report_page.number_text import count, known, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def excess(annotate: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """Annotation rate beyond matched random lists with its 95 % interval, of any library by the
    calibrated rule; None where not measured.
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
    low, middle, high = sorted(map(float, found))
    return middle, low, high


def excess_words(annotate: Mapping[str, Any]) -> str:
    """What the run says of annotation beyond chance (`scircuit.analysis.annotation.sentences`);
    empty where not measured.
    """
    found = excess(annotate)
    return sentences.excess_words(*found) if found else ""


def counted(annotate: Mapping[str, Any]) -> Any:
    """Features that the rate is a share of, those without a gene list included."""
    return next(
        (
            r["lists"]
            for r in annotate.get("rates", ())
            if (r["library"], r["rule"]) == ("all", "calibrated")
        ),
        annotate.get("features"),
    )


def published_claim(atlas: Mapping[str, Any]) -> str:
    """What an atlas publishes, for the findings."""
    p = atlas["published"]
    return (
        f"in {_name(atlas)}, {percent(p['published'])} of {count(p['alive'])} features are"
        " annotated as published"
    )


def published_control(atlas: Mapping[str, Any]) -> str:
    """What the published rate stands against: the published procedure on random lists, and the
    calibrated rule on the same gene sets.
    """
    p, words = atlas["published"], []
    above = p["published"] - p["random"]
    verdict = (
        f"so it exceeds chance by {percent(above)}" if above > 0 else "so it does not exceed chance"
    )
    words.append(
        f"the published procedure annotates {percent(p['random'])} of random gene lists, {verdict}"
    )
    if p.get("calibrated"):
        words.append(
            f"by the calibrated rule {percent(p['calibrated']['rate'])}, beside"
            f" {percent(p['calibrated']['null_rate'], 2)} of matched random lists"
        )
    own = excess_words(atlas)
    if own:
        words.append(f"in the complete gene sets {own}")
    return "; ".join(words)


def _name(atlas: Mapping[str, Any]) -> str:
    return str(atlas.get("name") or "imported atlas")


def atlas_rows(atlases: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each layer of each atlas whose published rate was held against its null."""
    rows = []
    for atlas in atlases:
        for layer in atlas.get("published", {}).get("layers", ()):
            rows.append(
                {
                    **layer,
                    "atlas": _name(atlas),
                    "own": layer["calibrated"] / layer["alive"] if layer["alive"] else None,
                    "bh": layer["pooled"] / layer["alive"] if layer["alive"] else None,
                }
            )
    return rows


def draw_published(ax: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
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
    ax.plot([100 * r["own"] for r in rows], y, "D", ms=5, color="#1b1b1e", label="calibrated rule")
    ax.set_yticks(y, [f"{r['atlas'] + ' ' if several else ''}L{r['layer']:02d}" for r in rows])
    ax.set_xlabel("features annotated (%)")
    ax.set_xlim(0, 100 * max(max(r["published"], r["random"]) for r in rows) * 1.15)
    ax.set_ylim(-0.7, len(rows) - 0.3)
    ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, fontsize=8, columnspacing=1.0)

r"""Sets of features that were ablated together, and classes of such sets: the finding of ``scircuit
ablate``.

A set is one unit, however many layers it was read at: its values are means over these layers, its
shares ``sum of significant / sum of tested`` contrasts. For each class the medians have intervals
by drawing sets again; two classes are compared by relabelling sets
(`scircuit.analysis.interventions.class_medians`), with Benjamini-Hochberg over all comparisons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from scircuit.analysis.enrichment.fdr import benjamini_hochberg
from scircuit.analysis.finding import Finding
from scircuit.analysis.interventions.class_medians import (
    DRAWS,
    class_difference,
    class_median,
)
from scircuit.analysis.plot_style import BLUE, GREY, INK, ORANGE

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

CLASSES = ("same", "cross", "random")
MEASURES = ("ratio", "ratio_null", "ratio_beyond_null", "signed_ratio", "significant_share")
_COMPARED = ("ratio_beyond_null", "signed_ratio", "significant_share")
_WIDTH = 0.12  # half of the width over which the sets of a class are spread in the plot


def set_classes(nodes: pd.DataFrame) -> Finding:
    """Compare the classes of the sets of a run.

    Parameters
    ----------
    nodes
        ``Intervention`` rows of an ablate run, one per set or subset and layer read: id, name, set,
        set_class, order, target_layer, cells, tested, significant, ratio, ratio_null, signed_ratio.

    Returns
    -------
    Finding
        ``frame`` has one row per set: set, class, order, layers_read, cells, `MEASURES`, and
        ``significant_share_2`` and so on for the contrasts of each order. ``numbers`` has
        ``classes`` (median and interval of each measure) and ``class_differences`` (difference of
        medians, p, q).
    """
    frame = _frame(nodes)
    classes = {name: _medians(own) for name, own in _by_class(frame).items()}
    differences = _differences(frame)
    return Finding(
        "set_classes",
        "Features ablated together",
        _sentence(frame, classes, differences),
        "For the ratio every cell's joint effect is replaced by the sum of its single ones; classes"
        f" are compared by {DRAWS:,} relabellings of sets, q over {len(differences)} comparisons,"
        f" and intervals are of {DRAWS:,} draws of sets.",
        frame,
        {"sets": len(frame), "classes": classes, "class_differences": differences},
        draw=draw,
    )


def _frame(nodes: pd.DataFrame) -> pd.DataFrame:
    """One row per set, in the order of the run."""
    table = nodes.assign(key=nodes["set"].str.rpartition("/L")[0])
    values = ("ratio", "ratio_null", "signed_ratio", "tested", "significant")
    table = table.astype(dict.fromkeys(values, "float64"))
    whole = table.loc[table["set"] == table["id"]]
    sets = whole.groupby("key", sort=False)
    frame = sets[["name", "set_class", "order", "cells"]].first()
    frame = frame.rename(columns={"name": "set", "set_class": "class"})
    frame.insert(3, "layers_read", sets.size())
    means = sets[["ratio", "ratio_null", "signed_ratio"]].mean()
    frame[["ratio", "ratio_null", "signed_ratio"]] = means
    frame["ratio_beyond_null"] = frame["ratio"] - frame["ratio_null"]
    frame["significant_share"] = _share(sets[["tested", "significant"]].sum())
    for order, own in table.groupby("order"):
        sums = own.groupby("key")[["tested", "significant"]].sum()
        frame[f"significant_share_{order}"] = _share(cast("pd.DataFrame", sums))
    return frame.reset_index(drop=True)


def _share(sums: pd.DataFrame) -> pd.Series:
    return sums["significant"] / sums["tested"].where(sums["tested"] > 0)


def _by_class(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Sets by class, known classes first; where sets have several sizes, each size apart, since the
    ratio of additive effects depends on it.
    """
    names = frame["class"].astype(str)
    if frame["order"].nunique() > 1:
        names = names + " of " + frame["order"].astype(str)
    seen = list(dict.fromkeys(names))
    first = [c for c in CLASSES if c in seen]
    return {c: frame.loc[names == c] for c in [*first, *(c for c in seen if c not in first)]}


def _medians(own: pd.DataFrame) -> dict[str, dict[str, Any]]:
    return {m: class_median(own[m].to_numpy(float))._asdict() for m in MEASURES}


def _differences(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Every two of the known classes by every measure; p and q are None with too few sets."""
    own = _by_class(frame)
    there = [c for c in CLASSES if c in own]
    found = [
        {
            "classes": f"{one} - {other}",
            "measure": measure,
            **class_difference(
                own[one][measure].to_numpy(float), own[other][measure].to_numpy(float)
            )._asdict(),
            "q": None,
        }
        for i, one in enumerate(there)
        for other in there[i + 1 :]
        for measure in _COMPARED
    ]
    tested = [d for d in found if d["p"] is not None]
    q = benjamini_hochberg(np.array([d["p"] for d in tested], float))
    for difference, value in zip(tested, q, strict=True):
        difference["q"] = float(value)
    return found


def _sentence(
    frame: pd.DataFrame,
    classes: Mapping[str, Mapping[str, Mapping[str, Any]]],
    differences: Sequence[Mapping[str, Any]],
) -> str:
    if not frame["ratio"].notna().to_numpy().any():
        return f"none of {len(frame)} sets has a joint effect, so there is no ratio to compare."
    parts = []
    for name, of in classes.items():
        ratio, signed = of["ratio"], of["signed_ratio"]
        parts.append(
            f"{name} sets, {ratio['sets']} with a ratio: median {_interval(ratio)}, additive"
            f" effects would give {_number(of['ratio_null']['median'])}; signed ratio of means"
            f" {_interval(signed)}, of additive effects 1"
        )
    known = [d for d in differences if d["measure"] == "signed_ratio" and d["p"] is not None]
    parts += [
        f"signed ratio, {d['classes']}: {d['difference']:+.3f},"
        f" p = {d['p']:.3g} by relabelling sets (q = {d['q']:.3g})"
        for d in known
    ]
    if not known:
        parts.append(
            "no two classes of two or more sets with a signed ratio can be compared"
            if differences
            else "there are no other classes to compare with"
        )
    return "; ".join(parts)


def _number(x: float | None) -> str:
    return "unknown" if x is None else f"{x:.2f}"


def _interval(of: Mapping[str, Any]) -> str:
    if of["low"] is None:
        return _number(of["median"])
    return f"{of['median']:.2f} ({of['low']:.2f} to {of['high']:.2f})"


def draw(frame: pd.DataFrame, numbers: Mapping[str, Any], ax: Axes) -> None:
    """Ratio of every set by class, beside what additive effects on the same cells give; medians
    with their intervals.
    """
    own, medians = _by_class(frame), numbers["classes"]
    for column, colour, side, label in (
        ("ratio", BLUE, -0.2, "measured"),
        ("ratio_null", ORANGE, 0.2, "additive effects on the same cells"),
    ):
        named = False
        for place, (name, sets) in enumerate(own.items()):
            values = np.sort(sets[column].dropna().to_numpy(float))
            spread = np.linspace(-_WIDTH, _WIDTH, len(values)) if len(values) > 1 else 0 * values
            ax.scatter(place + side + spread, values, s=8, color=colour, alpha=0.35, linewidths=0)
            of = medians[name][column]
            if of["median"] is None:
                continue
            ends = [[0.0], [0.0]]
            if of["low"] is not None:
                ends = [[of["median"] - of["low"]], [of["high"] - of["median"]]]
            ax.errorbar(
                [place + side],
                [of["median"]],
                yerr=ends,
                fmt="o",
                color=colour,
                markeredgecolor=INK,
                capsize=3,
                label=None if named else label,
            )
            named = True
    ax.axhline(1, color=GREY, linewidth=0.8, linestyle=":")
    ax.set_xticks(range(len(own)), [f"{name}\n{len(sets)} sets" for name, sets in own.items()])
    ax.set_xlim(-0.6, len(own) - 0.4)
    ax.set_ylabel("|joint effect| / sum of |single effects|")
    if ax.get_legend_handles_labels()[0]:
        ax.legend()

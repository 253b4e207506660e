"""What the sets of an ablate run say together: contrasts that differ from zero by order, ratios
beside what additive effects give, and classes of sets compared with the set as the unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from scircuit.analysis.finding import Finding
    from scircuit.execution.ablation_sets.chosen_sets import ChosenSets

Numbers = dict[str, Any]


def summarise_sets(
    tables: Mapping[str, pa.Table], chosen: ChosenSets
) -> tuple[Numbers, list[str], list[Finding]]:
    """Numbers for the manifest, without NaN, sentences, and the finding that compares sets."""
    from scircuit.analysis.interventions.set_classes import CLASSES, set_classes

    nodes = tables["Intervention"].to_pandas()
    whole = nodes[nodes["set"] == nodes["id"]]
    finding = set_classes(nodes)
    sets = len(finding.frame)  # one may be read at several layers
    numbers: Numbers = {
        "pairs": sets,
        "tested": int(nodes["tested"].sum()),
        "significant": int(nodes["significant"].sum()),
        "ratio": _median(whole["ratio"]),
        "ratio_null": _median(whole["ratio_null"]),
    }
    what = "pairs" if bool((whole["order"] == 2).all()) else "sets"
    sentences = [
        f"{numbers['significant']:,} of {numbers['tested']:,} interaction contrasts of"
        f" {sets} {what} differ from zero; the ratio |joint| / sum |single| is"
        f" {_text(numbers['ratio'])}, exactly additive effects would give"
        f" {_text(numbers['ratio_null'])}"
    ]
    numbers["orders"] = [_order(own, int(order)) for order, own in nodes.groupby("order")]
    computed = [o for o in numbers["orders"] if o["tested_computed"]]
    if computed:
        sentences.append(
            "of the part that the blocks compute, contrasts differ from zero in "
            + ", ".join(
                f"{o['significant_computed']:,} of {o['tested_computed']:,} of order {o['order']}"
                for o in computed
            )
        )
    sentences += _apart(
        whole, {s.name for s in chosen.sets if len({f.layer for f in s.members}) > 1}
    )
    sentences += chosen.notes
    if whole["set_class"].isin(CLASSES).any():
        numbers |= {k: finding.numbers[k] for k in ("classes", "class_differences")}
        sentences.append(finding.sentence)
    return numbers, sentences, [finding]


def _apart(whole: pd.DataFrame, across: set[str]) -> list[str]:
    """Sets whose features are active together in no clean pass: within a layer they have no joint
    effect; across layers a later feature may become active when an earlier one is removed.
    """
    together = whole.groupby("name", sort=False)["cells_together"].max()
    names = [str(name) for name, most in together.items() if most == 0]
    if not names:
        return []
    later = sum(name in across for name in names)
    within = len(names) - later
    parts = []
    if within:
        parts.append(f"{within:,} within one layer, which have no joint effect")
    if later:
        parts.append(
            f"{later:,} across layers, whose later features can become active once an earlier one"
            " is removed, so that joint effects are possible"
        )
    return [
        f"in {len(names):,} of {len(together):,} sets no cell has all features active:"
        f" {' and '.join(parts)}"
    ]


def _order(own: pd.DataFrame, order: int) -> Numbers:
    names = ("subadditive", "additive", "superadditive")
    return {
        "order": order,
        "contrasts_of": len(own),
        **{
            k: int(own[k].fillna(0).sum())
            for k in (
                "tested",
                "significant",
                "tested_computed",
                "significant_computed",
                *names,
                *(f"{n}_null" for n in names),
            )
        },
        **{
            k: _median(cast("pd.Series", own[k]))
            for k in (
                *("ratio", "ratio_null", "signed_ratio"),
                *("higher_order", "higher_order_null", "marginal", "marginal_null"),
            )
        },
    }


def _median(x: pd.Series) -> float | None:
    known = x.dropna()
    return float(known.astype(float).median()) if len(known) else None


def _text(x: float | None) -> str:
    return "unknown" if x is None else f"{x:.2f}"

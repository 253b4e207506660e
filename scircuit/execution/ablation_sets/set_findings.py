"""What the sets of an ablate run say together: contrasts that differ from zero by order, ratios
beside what additive effects give, and classes of sets compared with the set as the unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from scircuit.execution.ablation_sets.chosen_sets import ChosenSets

Numbers = dict[str, Any]
CLASSES = ("same", "cross", "random")
_COMPARED = (("same", "cross"), ("same", "random"), ("cross", "random"))


def summarise_sets(tables: Mapping[str, pa.Table], chosen: ChosenSets) -> tuple[Numbers, list[str]]:
    """Numbers for the manifest, without NaN, and sentences."""
    nodes = tables["Intervention"].to_pandas()
    whole = nodes[nodes["set"] == nodes["id"]]
    numbers: Numbers = {
        "pairs": len(whole),
        "tested": int(nodes["tested"].sum()),
        "significant": int(nodes["significant"].sum()),
        "ratio": _median(whole["ratio"]),
        "ratio_null": _median(whole["ratio_null"]),
    }
    what = "pairs" if bool((whole["order"] == 2).all()) else "sets"
    sentences = [
        f"{numbers['significant']:,} of {numbers['tested']:,} interaction contrasts of"
        f" {len(whole)} {what} differ from zero; the ratio |joint| / sum |single| is"
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
    apart = int((whole["cells_together"] == 0).sum())
    if apart:
        sentences.append(
            f"in {apart} of {len(whole)} sets no cell has all features active; they have no joint"
            " effect"
        )
    sentences += chosen.notes
    classes = [c for c in CLASSES if (whole["set_class"] == c).any()]
    if classes:
        numbers["classes"] = {c: _class(whole[whole["set_class"] == c]) for c in classes}
        numbers["class_differences"] = _differences(whole)
        sentences += _class_sentences(numbers["classes"], numbers["class_differences"])
    return numbers, sentences


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
            k: _median(own[k])
            for k in ("ratio", "ratio_null", "signed_ratio", "higher_order", "higher_order_null")
        },
    }


def _measures(own: pd.DataFrame) -> dict[str, pd.Series]:
    """One value for each set that classes are compared by."""
    return {
        "ratio": own["ratio"].astype(float),
        "ratio_null": own["ratio_null"].astype(float),
        "ratio_beyond_null": own["ratio"].astype(float) - own["ratio_null"].astype(float),
        "signed_ratio": own["signed_ratio"].astype(float),
        "significant_share": own["significant"] / own["tested"].where(own["tested"] > 0),
    }


def _class(own: pd.DataFrame) -> Numbers:
    from scircuit.tracing.interventions.ablation.set_classes import class_median

    return {
        name: class_median(values.to_numpy(float))._asdict()
        for name, values in _measures(own).items()
    }


def _differences(whole: pd.DataFrame) -> list[Numbers]:
    from scircuit.tracing.interventions.ablation.set_classes import class_difference

    by_class = {c: _measures(whole[whole["set_class"] == c]) for c in CLASSES}
    return [
        {
            "classes": f"{one} - {other}",
            "measure": name,
            **class_difference(
                by_class[one][name].to_numpy(float), by_class[other][name].to_numpy(float)
            )._asdict(),
        }
        for one, other in _COMPARED
        for name in ("ratio_beyond_null", "signed_ratio", "significant_share")
    ]


def _class_sentences(classes: Mapping[str, Numbers], differences: Sequence[Numbers]) -> list[str]:
    found = []
    for name, of in classes.items():
        one, signed = of["ratio"], of["signed_ratio"]
        interval = "" if one["low"] is None else f" ({one['low']:.2f} to {one['high']:.2f})"
        found.append(
            f"{name} sets, {one['sets']} with a ratio: median {_text(one['median'])}{interval},"
            f" additive effects would give {_text(of['ratio_null']['median'])}; signed ratio of"
            f" means {_text(signed['median'])}, of additive effects 1"
        )
    known = [d for d in differences if d["measure"] == "signed_ratio" and d["p"] is not None]
    found += [
        f"signed ratio, {d['classes']}: {d['difference']:+.3f},"
        f" p = {d['p']:.3g} by relabelling sets"
        for d in known
    ]
    return found


def _median(x: pd.Series) -> float | None:
    known = x.dropna()
    return float(known.astype(float).median()) if len(known) else None


def _text(x: float | None) -> str:
    return "unknown" if x is None else f"{x:.2f}"

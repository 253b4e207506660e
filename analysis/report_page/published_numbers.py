"""Published numbers beside those of a run, each with what chance gives.

The published study: exhaustive ablation of 4,065 features of layer 5 of Geneformer V2-316M in 20
K562 control cells, edges by |d| > 0.5 and a consistency above 0.7, measured in layers 6, 11 and 17
(Kendiukhov). The selective study: 30 annotated features of a layer of Geneformer or scGPT, 200
cells (arXiv 2603.01752); what chance gives of its numbers is recomputed by `scircuit reproduce`. A
run of another model on other cells need not have the same numbers; the two columns
for chance tell which of them mean anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scircuit.analysis.report_page.findings import middle
from scircuit.analysis.report_page.intervention_runs import rows_of
from scircuit.analysis.report_page.number_text import DASH, as_float, count, known, number, percent

if TYPE_CHECKING:
    from scircuit.analysis.report_page.report_input import ReportInput


class Published(NamedTuple):
    """A published number.

    Parameters
    ----------
    quantity
        What is counted.
    value
        As printed.
    chance
        What the same procedure gives where there is nothing to find; empty if not known.
    own
        The same of a run, and its control, as texts; empty where it was not measured.
    """

    quantity: str
    value: str
    chance: str
    own: Callable[[ReportInput], tuple[str, str]]


class ComparedRow(NamedTuple):
    """A row of the table."""

    quantity: str
    published: str
    chance: str
    here: str
    control: str


def compared(parts: ReportInput) -> list[ComparedRow]:
    """Every published number beside that of the run; none without a trace run."""
    if not parts.trace:
        return []
    return [ComparedRow(p.quantity, p.value, p.chance, *p.own(parts)) for p in PUBLISHED]


def _degrees(column: str) -> Callable[[ReportInput], np.ndarray]:
    def of(parts: ReportInput) -> np.ndarray:
        if parts.analysis is None:
            return np.zeros(0)
        frame = parts.analysis.frames["hubs"]
        return frame[column].to_numpy(float) if column in frame else np.zeros(0)

    return of


def _by_both(
    measure: Callable[[np.ndarray], float], text: Callable[[object], str] = number
) -> Callable[[ReportInput], tuple[str, str]]:
    """A property of the out-degrees by the published rule, then by the rule of the run."""

    def own(parts: ReportInput) -> tuple[str, str]:
        if parts.analysis is None:
            return DASH, ""
        old, new = (_degrees(c)(parts) for c in ("out_degree_legacy", "out_degree"))
        rule = str(parts.analysis.findings["rule"])
        said = [
            f"{text(measure(v))} by {name}"
            for v, name in ((old, "the published rule"), (new, f"{rule} edges"))
            if v.size
        ]
        return ", ".join(said) or DASH, _expected_false(parts)

    return own


def _expected_false(parts: ReportInput) -> str:
    """Computed edges per source of random directions."""
    false, sources = (as_float(parts.trace.get(k)) for k in ("expected_false", "sources"))
    if not (known(false) and known(sources) and sources):
        return ""
    return f"random directions: {number(false / sources)} computed edges a source"


def _tail(parts: ReportInput) -> tuple[str, str]:
    tail = parts.analysis.tail if parts.analysis is not None else None
    if tail is None or tail.fit is None:
        return DASH, "no tail to fit" if tail is not None else ""
    lognormal = next((c for c in tail.comparisons if c.name == "lognormal"), None)
    beside = f"lognormal against power law p = {number(lognormal.p, 2)}" if lognormal else ""
    return (
        f"{number(tail.alpha)} (degree ≥ {count(tail.xmin)}, {count(tail.n_tail)} features)",
        beside,
    )


def _false_share(parts: ReportInput) -> tuple[str, str]:
    false, found = (as_float(parts.trace.get(k)) for k in ("expected_false", "edges_computed"))
    if not (known(false) and known(found) and found):
        return DASH, ""
    return (
        f"{percent(false / found)} of the computed edges",
        "random directions in place of the features",
    )


def _firing(parts: ReportInput) -> tuple[str, str]:
    rows = [] if parts.analysis is None else parts.analysis.frames["rules"].to_dict("records")
    found = {str(r["rule"]): r.get("degree_rate_spearman") for r in rows}
    names = {
        "legacy": "the published rule",
        "calibrated": "effects not zero",
        "computed": "computed edges",
    }
    said = [
        f"{number(found[k], 2)} by {words}" for k, words in names.items() if known(found.get(k))
    ]
    half = (parts.trace.get("controls") or {}).get("half_residual_rho")
    beside = (
        f"degree beyond it, in the other half of the cells: {number(half, 2)}"
        if known(half)
        else ""
    )
    return ", ".join(said) or DASH, beside


def _bare_hubs(parts: ReportInput) -> tuple[str, str]:
    bias = parts.analysis.bias if parts.analysis is not None else None
    if bias is None or not bias.fisher or not bias.features:
        return DASH, ""
    first, null = bias.fisher[0], bias.matched[0]
    return (
        f"{percent(1 - first.top_share, 0)} of {first.k}"
        f" (all: {percent(1 - bias.annotated / bias.features, 0)})",
        f"features with similar firing rates: {percent(1 - null.null_mean, 0)}",
    )


def _ratio(order: int) -> Callable[[ReportInput], tuple[str, str]]:
    def own(parts: ReportInput) -> tuple[str, str]:
        frame = rows_of(parts.interventions, "ablate")
        if "order" not in frame or "ratio" not in frame or "ratio_null" not in frame:
            return DASH, ""
        rows = frame.loc[(frame["order"] == order) & frame["ratio"].notna()]
        if not len(rows):
            return DASH, ""
        ratio, null = (middle(rows, c) for c in ("ratio", "ratio_null"))
        sets = rows["name"].nunique() if "name" in rows else len(rows)  # read at several layers
        return f"{number(ratio)} ({sets} sets)", f"exactly additive effects: {number(null)}"

    return own


def _finding_numbers(parts: ReportInput, name: str) -> Mapping[str, Any]:
    """Numbers of a stored finding; empty without one."""
    found = parts.stored_finding(name)
    return found.numbers if found is not None else {}


def _coherent(parts: ReportInput) -> tuple[str, str]:
    row = _finding_numbers(parts, "coherence").get("all") or {}
    if not known(row.get("observed")):
        return DASH, ""
    return (
        f"{percent(row['observed'])} of {count(row['edges'])} edges",
        f"targets resampled among annotated features: {percent(row['expected'])}",
    )


def _negative(parts: ReportInput) -> tuple[str, str]:
    rows = _finding_numbers(parts, "sign_structure").get("rules") or ()
    names = {"legacy": "the published rule", "computed": "computed edges"}
    said, beside = [], []
    for row in rows:
        if row["rule"] in names and known(row.get("support_share")):
            words = names[row["rule"]]
            said.append(f"{percent(row['support_share'])} by {words}")
            if known(row.get("expected_share")):
                beside.append(f"{percent(row['expected_share'])} by {words}")
    return ", ".join(said) or DASH, f"random signs: {', '.join(beside)}" if beside else ""


def _consensus(parts: ReportInput) -> tuple[str, str]:
    """Common pairs of labels over those of permuted names, and the same for resampled targets."""
    rows = _finding_numbers(parts, "consensus").get("nulls") or ()
    pairs = [r for r in rows if r["counted"] == "pairs"]
    named = [r for r in pairs if r["null"] == "names permuted" and r.get("expected")]
    random = [r["expected"] for r in pairs if r["null"] == "targets resampled"]
    if not named or not known(named[0].get("observed")):
        return DASH, ""
    by_names = as_float(named[0]["expected"])
    beside = f"targets resampled: {number(float(np.mean(random)) / by_names)}" if random else ""
    return f"{number(as_float(named[0]['observed']) / by_names)}", beside


def _mean(values: np.ndarray) -> float:
    return float(values.mean())


def _median(values: np.ndarray) -> float:
    return float(np.median(values))


def _largest(values: np.ndarray) -> float:
    return float(values.max())


PUBLISHED: tuple[Published, ...] = (
    Published("edges per source, mean", "342.9 (1,393,850 of 4,065 features)", "", _by_both(_mean)),
    Published("edges per source, median", "284", "", _by_both(_median)),
    Published("edges per source, largest", "2,138", "", _by_both(_largest, count)),
    Published(
        "exponent of the tail of the degrees",
        "6.05 (degree ≥ 860, 157 features)",
        "lognormal not distinguishable",
        _tail,
    ),
    Published(
        "false edges among those of the rule",
        "3.6 % of 327,609",
        "signs of the cells flipped",
        _false_share,
    ),
    Published("rank correlation of degree and firing rate", "0.84", "", _firing),
    Published(
        "hubs without annotation",
        "40 % of 20 (all: 46 %)",
        "Fisher p = 0.66",
        _bare_hubs,
    ),
    Published(
        "joint effect of two / sum of single effects",
        "0.70",
        "0.71 where effects only add up",
        _ratio(2),
    ),
    Published(
        "joint effect of three / sum of single effects",
        "0.53 (first release 0.59)",
        "0.58 where effects only add up",
        _ratio(3),
    ),
    Published(
        "edges whose ends share a term (selective study)",
        "53 %",
        "25 to 29 % (Geneformer), 31 to 36 % (scGPT) with random annotated targets",
        _coherent,
    ),
    Published(
        "edges with d < 0 (selective study)",
        "65.5 to 89.4 %",
        "57 to 100 % of effects that rise as often as they fall, in 90 to 30 % of the cells",
        _negative,
    ),
    Published(
        "pairs of labels common to two models, over permuted names (selective study)",
        "10.6",
        "13 to 19 with random targets of the same sources",
        _consensus,
    ),
)

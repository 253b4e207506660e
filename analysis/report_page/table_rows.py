"""Rows of the tables of the report, out of its parts: hubs, layer pairs, joint ablations, doses,
scrambled copies, runs and cells.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scircuit.analysis.report_page.control_rows import Row, layer_pair, records
from scircuit.analysis.report_page.findings import middle
from scircuit.analysis.report_page.intervention_runs import rows_of, sets_in
from scircuit.analysis.report_page.number_text import as_float, known, number

if TYPE_CHECKING:
    import pandas as pd

    from scircuit.analysis.report_page.report_input import ReportInput

HUBS, ALPHA = 15, 0.05


class SteeringWords(NamedTuple):
    """`text` says what is done, `axis` what the coefficient is; `one_is_clean`: whether a
    coefficient of 1 changes nothing.
    """

    text: str
    axis: str
    one_is_clean: bool


_HUB_PROPERTIES = (
    "ablation_redundancy",
    "ablation_null",
    "steering_gene",
    "steering_slope",
    "top_genes",
)


def null_rows(parts: ReportInput) -> list[tuple[str, list[str]]]:
    """Headline numbers in words, then the run's own and those of each kind of scrambled copy."""
    kinds = parts.null.get("kinds", [])
    rows = []
    for row in parts.null.get("table", ()):
        values = [number(row["trained"])]
        for kind in kinds:
            found = row.get(kind)
            measured = [v for v in found if known(v)] if isinstance(found, list) else []
            ends = [number(v) for v in (min(measured), max(measured))] if measured else ["–"]
            values.append(" to ".join(dict.fromkeys(ends)))
        rows.append((str(row["words"]), values))
    return rows


def hub_rows(parts: ReportInput) -> list[Row]:
    """The hubs that are strongest for their firing rate, with what interventions found of them."""
    if parts.analysis is None:
        return []
    top = parts.analysis.frames["hubs"].head(HUBS)
    extra = (
        parts.features.set_index("id") if len(parts.features) and "id" in parts.features else None
    )
    rows = []
    for row in records(top):
        more = (
            extra.loc[row["id"]].to_dict() if extra is not None and row["id"] in extra.index else {}
        )
        rows.append({**{k: _plain(more.get(k)) for k in _HUB_PROPERTIES}, **row})
    return rows


def _plain(value: object) -> object:
    if isinstance(value, (list, tuple, np.ndarray)):
        return [str(v) for v in value]
    return value if known(value) else None


def pair_rows(parts: ReportInput) -> list[Row]:
    """Layer pairs of the analysis."""
    if parts.analysis is None:
        return []
    rows = records(parts.analysis.pairs.frame)
    for row in rows:
        row["pair"] = layer_pair(row)
    return rows


def _members(parts: ReportInput) -> dict[str, list[str]]:
    """Short addresses of the features of each intervention, in the order of their roles."""
    found: dict[str, list[str]] = {}
    if len(parts.members):
        order = [c for c in ("target", "role") if c in parts.members]
        for row in parts.members.sort_values(order).to_dict("records"):
            found.setdefault(str(row["target"]), []).append(
                "/".join(str(row["source"]).split("/")[-2:])
            )
    return found


def ablation_rows(parts: ReportInput) -> list[Row]:
    """Joint ablations, those with the most significant contrasts first."""
    members = _members(parts)
    rows = records(rows_of(parts.interventions, "ablate"))
    rows = [r for r in rows if as_float(r.get("order") or 2) >= 2]
    for row in rows:
        row["pair"] = " + ".join(members.get(str(row.get("id")), [])) or str(
            row.get("name") or row.get("id")
        )
    return sorted(
        rows,
        key=lambda r: (
            -as_float(r.get("significant") or 0),
            str(r["pair"]),
            str(r.get("target_layer")),
        ),
    )


def dose_rows(parts: ReportInput) -> list[Row]:
    """Steering conditions with a measured effect, by feature and coefficient; control_size is the
    size of the change by one random direction.
    """
    members = _members(parts)
    rows = [
        r
        for r in records(rows_of(parts.interventions, "steer"))
        if known(r.get("effect")) and known(r.get("coefficient"))
    ]
    for row in rows:
        row["feature"] = " + ".join(members.get(str(row.get("id")), [])) or str(
            row.get("name") or row.get("id")
        )
        row["control_size"] = _size(row.get("control"), row.get("control_sd"))
    return sorted(rows, key=lambda r: (str(r["feature"]), as_float(r["coefficient"])))


def _size(mean: object, sd: object) -> float | None:
    """Root mean square of signed values with this mean and spread; None where one is not known. The
    mean alone would not do: over N directions of either sign it is far smaller than any of them.
    """
    if not (known(mean) and known(sd)):
        return None
    return float(np.hypot(as_float(mean), as_float(sd)))


def steering_words(doses: list[Row]) -> SteeringWords:
    """What the coefficient means in the mode of the run."""
    modes = {str(r.get("mode")) if known(r.get("mode")) else "amplify" for r in doses}
    if modes <= {"clamp", "clamp-all"} and modes:
        where = " and ".join(
            words
            for mode, words in (
                ("clamp", "wherever it fires"),
                ("clamp-all", "at all gene positions"),
            )
            if mode in modes
        )
        return SteeringWords(
            "The activation of a feature is set to a coefficient times its mean active value,"
            f" {where}; 1 is that mean value, not an unchanged cell, and 0 switches the feature"
            " off.",
            "activation set to, in units of the mean active value",
            False,
        )
    if modes == {"amplify"} or not modes:
        return SteeringWords(
            "The activation of a feature is multiplied by a coefficient wherever it fires; 1"
            " changes nothing, 0 is ablation.",
            "coefficient on the activation (1: no change, 0: ablated)",
            True,
        )
    return SteeringWords(
        "The activation of a feature is multiplied by a coefficient (amplify), or set to a"
        " coefficient times its mean active value (clamp).",
        "coefficient, or clamped value in units of the mean active value",
        False,
    )


def readout_frame(parts: ReportInput) -> pd.DataFrame:
    """Doses and changes of the readouts beside the gene logits: feature, readout, unit, dose,
    effect, low, high, control, control_sd.
    """
    shifts, nodes = parts.readout_shifts, parts.readouts
    if not len(shifts) or not len(nodes) or "target" not in shifts or "id" not in nodes:
        return shifts.iloc[:0]
    members = _members(parts)
    named = nodes.set_index("id")
    kept = shifts.loc[shifts["target"].isin(named.index.tolist()) & shifts["effect"].notna()]
    frame = kept.assign(
        feature=[" + ".join(members.get(str(i), [str(i)])) for i in kept["source"]],
        readout=kept["target"].map(named["name"]),
        unit=kept["target"].map(named["unit"]) if "unit" in named else "",
    )
    if "readout" in named:
        frame = frame.loc[kept["target"].map(named["readout"]) != "own genes"]
    for column in ("dose", "low", "high", "control", "control_sd"):
        frame[column] = frame[column].astype(float) if column in frame else float("nan")
    columns = ["feature", "readout", "unit", "dose", "effect", "low", "high"]
    return frame[[*columns, "control", "control_sd"]].sort_values(
        ["readout", "feature", "dose"], ignore_index=True
    )


def readout_rows(parts: ReportInput) -> list[Row]:
    """The readouts that steering was read by, by name; no_better: their probe is as good with
    shuffled labels, by the rule of the run's own warning.
    """
    rows = sorted(records(parts.readouts), key=lambda r: str(r.get("name")))
    for row in rows:
        tested = known(row.get("measure")) and known(row.get("p"))
        row["no_better"] = tested and as_float(row["p"]) > ALPHA
    return rows


def ratio_rows(parts: ReportInput) -> list[Row]:
    """Median ratio of joint to single effects by number of features ablated together and by class
    of set: order, set_class, sets, ratio, ratio_null, tested, significant.
    """
    frame = rows_of(parts.interventions, "ablate")
    if not len(frame) or "order" not in frame:
        return []
    frame = frame.loc[frame["order"] >= 2]
    for column in ("ratio", "ratio_null", "tested", "significant"):
        if column not in frame:
            frame = frame.assign(**{column: float("nan")})
    classes = frame.get("set_class")
    frame = frame.assign(set_class="" if classes is None else classes.fillna(""))
    rows = []
    for (order, name), own in frame.groupby(["order", "set_class"]):
        rows.append(
            {
                "order": int(order),
                "set_class": str(name),
                "sets": sets_in(own),
                **{c: middle(own, c) for c in ("ratio", "ratio_null")},
                **{c: int(own[c].sum()) for c in ("tested", "significant")},
            }
        )
    return rows


def shift_frame(parts: ReportInput) -> pd.DataFrame:
    """Targets of ablated pairs: intervention, target, joint, additive, interaction, q.

    The sum of the single effects is the joint effect less the contrast of the pair; larger sets,
    whose contrast is of a higher order, are left out.
    """
    shifts = parts.shifts
    needed = ("source", "target", "effect", "interaction", "q")
    if not len(shifts) or any(c not in shifts for c in needed):
        return shifts.iloc[:0]
    pairs = rows_of(parts.interventions, "ablate")
    if "order" in pairs:
        pairs = pairs.loc[pairs["order"] == 2]
    own = shifts.loc[shifts["source"].isin(pairs["id"])]
    own = own.loc[own["effect"].notna() & own["interaction"].notna()]
    return own.assign(
        intervention=own["source"], joint=own["effect"], additive=own["effect"] - own["interaction"]
    )[["intervention", "target", "joint", "additive", "interaction", "q"]].reset_index(drop=True)


def run_row(run: Mapping[str, object]) -> Row:
    """A run as the page lists it."""

    def dump(value: object) -> str:
        return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)

    names = ("run", "verb", "started", "seconds", "version", "device", "seed")
    return {
        **{k: run.get(k) for k in names},
        "config": dump(run.get("config", "")),
        "inputs": dump(run.get("inputs", "")),
    }


def composition(cohort: Mapping[str, object]) -> list[tuple[str, list[tuple[str, float]]]]:
    """Counts of the filtered obs columns, largest first."""
    value = cohort.get("composition")
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            return []
    if not isinstance(value, Mapping):
        return []
    return [
        (str(column), sorted(groups.items(), key=lambda g: (-g[1], str(g[0])))[:8])
        for column, groups in value.items()
        if isinstance(groups, Mapping) and all(isinstance(v, (int, float)) for v in groups.values())
    ]

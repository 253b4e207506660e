"""Ablate and steer runs one by one: runs of one verb answer different questions, so each has its
own numbers, figures and sentences, and nothing is summed over runs.

Of a second run the names of figures and anchors end in ``_2``, and so on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

    from scircuit.analysis.report_page.report_input import ReportInput


class OneRun(NamedTuple):
    """`parts` with this run's interventions alone; `suffix` ends the names of what belongs to it;
    `about` says what it did where there are several runs, else it is empty.
    """

    parts: ReportInput
    run: str
    suffix: str
    about: str

    def of(self, question: str) -> str:
        """A question about this run."""
        return f"{question} ({self.about})" if self.about else question


def rows_of(frame: pd.DataFrame, verb: str) -> pd.DataFrame:
    """Interventions of one verb."""
    return frame.loc[frame["verb"] == verb] if len(frame) and "verb" in frame else frame.iloc[:0]


def runs_of(parts: ReportInput, verb: str) -> list[OneRun]:
    """The runs of a verb in the order of their rows; all rows as one where no run is named, and one
    without rows where there is none.
    """
    rows = rows_of(parts.interventions, verb)
    names = list(dict.fromkeys(rows["run"].dropna())) if "run" in rows else []
    if len(names) < 2:
        return [OneRun(parts, str(names[0]) if names else "", "", "")]
    found = []
    for i, name in enumerate(names, 1):
        own = rows.loc[rows["run"] == name]
        suffix = f"_{i}" * (i > 1)
        about = f"run {i} of {len(names)}: {_about(parts, own, verb)}"
        found.append(OneRun(_only(parts, own, verb, str(name)), str(name), suffix, about))
    return found


def sets_in(frame: pd.DataFrame) -> int:
    """Different sets of features among interventions, however many of their subsets and layers have
    a row.
    """
    if "set" not in frame:
        return len(frame)
    own = frame["id"] if "id" in frame else frame["set"]
    return int(
        frame["set"].fillna(own).astype(str).str.replace(r"/L\d+$", "", regex=True).nunique()
    )


def _about(parts: ReportInput, own: pd.DataFrame, verb: str) -> str:
    if verb == "ablate":
        order, sets = int(own["order"].max()) if "order" in own else 2, sets_in(own)
        one, many = ("pair", "pairs") if order == 2 else (f"set of {order}", f"sets of {order}")
        return f"{sets:,} {one if sets == 1 else many}"
    inside = parts.members["target"].isin(own["id"]) if len(parts.members) else []
    features = parts.members.loc[inside, "source"].nunique() if len(parts.members) else len(own)
    modes = sorted(set(own["mode"].dropna())) if "mode" in own else []
    how = f", {' and '.join(modes)}" if modes else ""
    return f"{features:,} feature{'s' * (features != 1)}{how}"


def _only(parts: ReportInput, own: pd.DataFrame, verb: str, run: str) -> ReportInput:
    ids = own["id"].tolist()

    def within(frame: pd.DataFrame, column: str) -> pd.DataFrame:
        return frame.loc[frame[column].isin(ids)] if column in frame else frame.iloc[:0]

    return replace(
        parts,
        interventions=own,
        members=within(parts.members, "target"),
        shifts=within(parts.shifts, "source"),
        readout_shifts=within(parts.readout_shifts, "source"),
        readouts=parts.readouts.loc[parts.readouts["run"] == run]
        if "run" in parts.readouts
        else parts.readouts,
        features=parts.run_features.get(run, parts.features),
        runs=[r for r in parts.runs if r.get("verb") != verb or r.get("run") == run],
    )

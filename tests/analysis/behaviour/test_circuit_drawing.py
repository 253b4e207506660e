"""The drawn features of a behaviour circuit, and the words about its edges."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from scircuit.analysis.behaviour.behaviour_circuit import COLUMNS as CURVE
from scircuit.analysis.behaviour.behaviour_circuit import behaviour_circuit
from scircuit.analysis.behaviour.circuit_drawing import (
    COLUMNS,
    draw_members,
    drawing_size,
    members_frame,
)
from scircuit.analysis.behaviour.hub_importance import MIN_OTHERS, Measured, hub_importance
from scircuit.analysis.report_page import StoredFinding, report_page
from tests.support.report_parts import tiny_parts

A, B, C, D = (f"toy/set/L{t:02d}/F{i:04d}" for t, i in ((0, 3), (2, 7), (2, 8), (5, 1)))
NUMBERS = {
    "size": 4, "considered": 60, "sufficiency": 0.9, "low": 0.8, "high": 1.0, "draws": 19,
    "sufficiency_random": 0.0, "p": 0.05, "necessity": 0.8, "necessity_random": 0.0,
    "judged_on": 12, "edges": 3, "sufficiency_edges": 0.6, "sufficiency_edges_low": 0.5,
    "sufficiency_edges_high": 0.7, "sufficiency_no_edges": 0.1,
    "members": [[D, 5, 0.5], [A, 0, 0.25], [B, 2, 0.125], [C, 2, 0.1]],
    "joins": [[A, B, -0.5, -9.0], [B, D, 0.1, 5.0], [A, D, 0.4, 4.0]],
}  # fmt: skip


def finding(numbers=NUMBERS, refusal=""):
    curve = pd.DataFrame(np.ones((3, len(CURVE))), columns=list(CURVE))
    return behaviour_circuit(curve, numbers, refusal, "masked-LM loss")


def test_one_row_for_each_edge_and_each_feature_without_one():
    frame = members_frame(NUMBERS)
    assert tuple(frame.columns) == COLUMNS
    rows = frame[["position", "feature", "layer", "target", "target_layer", "strongest"]]
    assert [
        tuple(None if pd.isna(v) else v for v in row) for row in rows.itertuples(index=False)
    ] == [
        (1, D, 5, None, None, False),
        (2, A, 0, B, 2, True),
        (2, A, 0, D, 5, False),
        (3, B, 2, D, 5, True),
        (4, C, 2, None, None, False),
    ]
    assert frame["computed"].dropna().tolist() == [-0.5, 0.4, 0.1]
    assert frame["z_computed"].dropna().tolist() == [-9.0, 4.0, 5.0]
    assert members_frame({}).empty and members_frame({"members": [], "joins": []}).empty


def test_the_report_draws_every_circuit_and_none_that_is_refused():
    found = (finding(), finding(NUMBERS | {"members": [], "joins": []}, "too few keep it"))
    stored = [
        StoredFinding(f"circuit_behaviour_circuit{end}", one, f"circuit-{end}", "circuit")
        for end, one in zip(("", "_2"), found, strict=True)
    ]
    page = report_page(tiny_parts([2, 3], stored=stored))
    name = "circuit_behaviour_circuit_features"
    assert {n for n in page.figures if n.endswith("_features")} == {name}
    assert page.figures[name].csv == members_frame(NUMBERS).to_csv(index=False, lineterminator="\n")
    assert f'id="figure-{name}"' in page.html and f'href="figures/{name}.svg"' in page.html


def test_features_stand_in_columns_by_layer_with_their_edges():
    ax = Figure(figsize=drawing_size(NUMBERS)).add_subplot()
    draw_members(NUMBERS, ax)
    at = {t.get_text(): t.get_position() for t in ax.texts if t.get_text()}
    assert [at[f"layer {layer}"][0] for layer in (0, 2, 5)] == [0, 1, 2]
    assert [at[name][0] for name in ("L00/F0003", "L02/F0007", "L02/F0008", "L05/F0001")] == [
        *(0, 1, 1, 2),
    ]
    assert at["L02/F0007"][1] > at["L02/F0008"][1] and at["behaviour"][0] == 3
    arrows = [t for t in ax.texts if isinstance(t, Annotation)]
    half = np.array([0.25, 0])
    found = [(tuple(a.xy), tuple(a.xyann)) for a in arrows]
    assert found == [
        (tuple(end), tuple(start))
        for end, start in [
            (at[f"L{t}"] - half, at[f"L{s}"] + half)
            for s, t in (
                ("00/F0003", "02/F0007"),
                ("02/F0007", "05/F0001"),
                ("00/F0003", "05/F0001"),
            )
        ]
    ]
    assert [a.arrow_patch.get_alpha() for a in arrows] == [0.95, 0.95, 0.4]
    assert len(ax.lines) == 2  # of the two without an edge out, to the behaviour


def test_the_sentence_says_what_the_edges_keep():
    words = finding().sentence
    assert words.endswith("; their 3 computed edges alone keep 60% (50% to 70%; without any 10%)")
    assert "the edges between them are computed edges of the trace run" in finding().null
    one = finding(NUMBERS | {"edges": 1, "sufficiency_edges": None}).sentence
    assert one.endswith("1 computed edge joins them")


@pytest.mark.parametrize("others", [0, MIN_OTHERS - 1, MIN_OTHERS])
def test_the_null_of_importance_says_which_cells_were_measured(others):
    frame = pd.DataFrame({"arm": ["hub", "matched"], "importance": [0.1, 0.0], "q": [0.01, 1.0]})
    one = {"value": 0.1, "low": 0.0, "high": 0.2, "p": 0.04, "n": 1}
    measured = Measured(7, 90, 3.0, others, 1, 0.0)
    found = hub_importance(
        frame, dict.fromkeys(("matched", "random", "rho", "partial"), one), measured
    )
    assert "  " not in found.null and found.numbers["held_out"] == (others >= MIN_OTHERS)
    which = "of 7 cells other than those of the trace run."
    if others < MIN_OTHERS:
        which = (
            "of 7 cells of the trace run, on which the hubs were chosen as well"
            f" ({others} others pass its filters, 6 or more are needed)."
        )
    assert found.null.endswith(which)

"""Tables on the screen: nothing that a row holds is lost, and what all rows share stands once."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from scircuit.cli.tables import render


def test_a_table_that_fits_is_shown_whole():
    frame = pd.DataFrame(
        {"name": ["a", "b"], "empty": ["", ""], "same": ["x", "x"], "value": [1.5, np.nan]}
    )
    lines = render(frame, "table").splitlines()
    assert lines[0].split() == ["name", "empty", "same", "value"]
    assert [line.split() for line in lines[1:]] == [["a", "x", "1.5"], ["b", "x"]]


def test_a_wide_table_says_once_what_all_rows_share_and_names_what_is_empty():
    long = [f"{'long text ' * 9}{i}" for i in range(3)]
    frame = pd.DataFrame(
        {
            "name": long,
            "other": long[::-1],
            "empty": ["", None, ""],
            "run": ["trace-1"] * 3,
            "value": [7.0] * 3,
        }
    )
    lines = [line.rstrip() for line in render(frame, "table").splitlines()]
    assert lines[0] == "run: trace-1"
    assert lines[1].split() == ["name", "other", "value"]
    assert [line.split()[-1] for line in lines[2:5]] == ["7"] * 3, "numbers stay in their rows"
    assert lines[-1] == "no value in any row: empty"


def test_sections_have_the_columns_that_they_fill():
    frame = pd.DataFrame(
        {
            "section": ["gene", "gene", "term"],
            "name": ["CD3D", "LCK", "T cell"],
            "value": [3.0, 2.0, np.nan],
            "library": ["", "", "GO_BP"],
        }
    )
    assert [line.split() for line in render(frame, "table").splitlines()] == [
        ["gene"],
        ["name", "value"],
        ["CD3D", "3"],
        ["LCK", "2"],
        [],
        ["term"],
        ["name", "library"],
        ["T", "cell", "GO_BP"],
    ]


@pytest.mark.parametrize("name", ["release of Ca2+ [cytosol]", "[bold]", "a :smile: b", "[/]"])
def test_brackets_and_colons_are_text(name):
    assert name in render(pd.DataFrame({"name": [name]}), "table")


def test_programs_get_every_column():
    frame = pd.DataFrame({"section": ["a", "a"], "empty": ["", ""], "n": [1, 2]})
    assert render(frame, "csv").splitlines() == ["section,empty,n", "a,,1", "a,,2"]
    assert json.loads(render(frame, "json")) == [
        {"section": "a", "empty": "", "n": 1},
        {"section": "a", "empty": "", "n": 2},
    ]
    assert render(frame.head(0), "table") == "(no rows)"

"""Findings as files: what is written comes back, and every declared plot exists."""

import importlib

import pandas as pd
import pytest

from scircuit.analysis.finding import Finding
from scircuit.core.errors import UserError
from scircuit.execution.findings.finding_files import (
    DRAWN_BY,
    finding_records,
    read_findings,
    write_findings,
)


def test_findings_come_back_as_they_were_written(tmp_path):
    frame = pd.DataFrame({"id": ["a", "b"], "share": [0.5, None], "parts": [[1, 2], []]})
    written = [
        Finding("motifs", "M", "3 of 4, by chance 1", "100 draws", frame, {"p": None, "n": 4}),
        Finding("attenuation", "A", "nothing to test", "no draws", frame.iloc[:0]),
    ]
    write_findings(tmp_path, written)
    back = read_findings(tmp_path)
    assert [f.name for f in back] == ["motifs", "attenuation"]  # in the order of writing
    for old, new in zip(written, back, strict=True):
        assert (old.title, old.sentence, old.null, old.numbers) == (
            new.title,
            new.sentence,
            new.null,
            new.numbers,
        )
        assert new.frame["id"].tolist() == old.frame["id"].tolist()
        assert new.drawn == bool(len(old.frame))


def test_records_of_findings(tmp_path):
    assert finding_records(tmp_path, "analyse-1", "analyse") == {}
    frame = pd.DataFrame({"x": [1]})
    written = [
        Finding("motifs", "M", "3 of 4", "100 draws", frame, {"p": 0.5, "n": 4}),
        Finding("attenuation", "A", "nothing", "none", frame.iloc[:0], {"p": None}),
    ]
    write_findings(tmp_path, written)
    found = finding_records(tmp_path, "analyse-1", "analyse")
    rows = found["Finding"].to_pylist()
    assert [(r["id"], r["position"], r["p"], r["run"]) for r in rows] == [
        ("analyse-1/motifs", 0, 0.5, "analyse-1"),
        ("analyse-1/attenuation", 1, None, "analyse-1"),
    ]
    assert rows[0]["numbers"] == '{"n":4,"p":0.5}' and rows[0]["null_text"] == "100 draws"
    assert found["Finding-FROM-Run"].to_pylist() == [
        {"source": r["id"], "target": "analyse-1"} for r in rows
    ]


@pytest.mark.parametrize("name", DRAWN_BY)
def test_every_declared_plot_is_there(name):
    module = importlib.import_module(DRAWN_BY[name])
    assert callable(module.draw)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not a parquet file"])
def test_a_damaged_file_is_named(tmp_path, content):
    write_findings(tmp_path, [Finding("motifs", "M", "s", "n", pd.DataFrame({"x": [1]}))])
    path = next((tmp_path / "findings").glob("*.parquet"))
    path.write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as a finding"):
        read_findings(tmp_path)


def test_nothing_to_draw_says_why():
    empty = Finding("motifs", "M", "no edges", "n", pd.DataFrame(), draw=lambda *_: None)
    assert not empty.drawn
    with pytest.raises(ValueError, match="no edges"):
        empty.plot()

"""The files of a report: page and figures are there whole, none of an earlier report is left."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import pytest

from scircuit.analysis.finding import Finding
from scircuit.analysis.report_page import ReportPage, StoredFinding
from scircuit.analysis.report_page.figures.all_figures import _of_findings
from scircuit.analysis.report_page.figures.page_figure import PageFigure
from scircuit.core.study import Manifest, Study
from scircuit.execution.findings.finding_files import write_findings
from scircuit.execution.findings.stored_findings import shown_runs, stored_findings
from scircuit.workflows.report import ReportResult, write_page


def page(*names):
    frame = pd.DataFrame({"x": [1.5, None]})
    return ReportPage("<p>page", {n: PageFigure(n, "caption", f"<svg>{n}", frame) for n in names})


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_figures_of_an_earlier_report_go(tmp_path):
    path = tmp_path / "report" / "index.html"
    write_page(path, page("degree", "hubs"))
    write_page(path, page("degree"))
    folder = tmp_path / "report"
    assert files(folder) == ["figures/degree.csv", "figures/degree.svg", "index.html"]
    assert (folder / "figures" / "degree.csv").read_text() == 'x\n1.5\n""\n'
    assert (folder / "figures" / "degree.svg").read_text() == "<svg>degree"


def test_rows_without_a_picture_are_written(tmp_path):
    """So are those of a stored finding that nothing is drawn of, even without a row."""
    bare = {"one": PageFigure("one", "caption", "", pd.DataFrame({"x": [1.5]}))}
    write_page(tmp_path / "report" / "index.html", ReportPage("<p>page", bare))
    assert files(tmp_path / "report") == ["figures/one.csv", "index.html"]
    finding = Finding("same", "Title", "too few", "n", pd.DataFrame({"x": [], "p": []}))
    stored = StoredFinding("analyse_same", finding, "analyse-1", "analyse")
    [figure] = _of_findings(SimpleNamespace(stored=[stored]))  # pyright: ignore[reportArgumentType]
    assert (figure.name, figure.svg, figure.csv) == ("analyse_same", "", "x,p\n")


def test_the_earlier_figures_stay_when_the_new_ones_cannot_be_written(tmp_path):
    path = tmp_path / "report" / "index.html"
    write_page(path, page("degree"))
    broken = page("hubs")
    with pytest.raises(AttributeError):
        write_page(path, broken._replace(figures={**broken.figures, "none": None}))
    assert files(tmp_path / "report") == ["figures/degree.csv", "figures/degree.svg", "index.html"]


def test_the_output_names_page_and_figures(tmp_path):
    result = ReportResult(tmp_path / "index.html", ("one",), figures=("degree", "hubs"))
    assert f"figures {tmp_path / 'figures'}" in str(result) and "degree, hubs" in str(result)
    assert result.to_json()["figures"][1] == str(tmp_path / "figures" / "hubs.svg")
    assert result.to_json()["numbers"][0] == str(tmp_path / "figures" / "degree.csv")


def test_findings_of_all_runs_that_build_on_the_trace(tmp_path, monkeypatch):
    def run(name, verb, parents, minute, complete=True):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        frame = pd.DataFrame({"x": [1]})
        write_findings(folder, [Finding("same", f"{name} title", "s", "n", frame)])
        status = "complete" if complete else "running"
        return Manifest(
            run=name, verb=verb, status=status, started=f"2026-01-01T00:{minute:02d}:00",
            parents=parents, config={}, inputs={}, version="1",
        )  # fmt: skip

    trace = run("trace-1", "trace", (), 0)
    runs = [
        trace,
        run("trace-2", "trace", (), 1),
        run("analyse-1", "analyse", ("trace-1",), 2),
        run("analyse-2", "analyse", ("trace-1",), 3),
        run("analyse-3", "analyse", ("trace-2",), 4),
        run("analyse-4", "analyse", ("trace-1",), 5, complete=False),
        run("circuit-1", "circuit", ("analyse-1",), 6),
        run("circuit-2", "circuit", ("trace-1",), 7),
        run("importance-1", "importance", ("trace-1",), 8),
    ]
    study = Study(tmp_path)
    monkeypatch.setattr(Study, "manifests", lambda self: runs)
    found = stored_findings(study, shown_runs(study, trace))
    assert [(f.name, f.run) for f in found] == [
        ("analyse_same", "analyse-2"),
        ("importance_same", "importance-1"),
        ("circuit_same", "circuit-1"),
        ("circuit_same_2", "circuit-2"),
    ]
    assert found[0].finding.title == "analyse-2 title"

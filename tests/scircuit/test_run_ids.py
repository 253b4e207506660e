"""Whatever is given as the id of a run, no path outside the study is read, written or deleted, and
the answer is one sentence.
"""

from __future__ import annotations

import json
import shutil

import pytest
from click.testing import CliRunner

import scircuit
from scircuit.cli.main import cli
from scircuit.core.errors import UserError
from scircuit.core.run_files.manifest import Manifest, require_run_id, run_id
from scircuit.core.study import Study
from scircuit.workflows.runs import compare_runs, deletable, delete_run

RUN = "trace-0123456789"
HOSTILE = (
    "..",
    ".",
    "../../victim",
    "../victim",
    "/etc",
    "trace-0123456789/../../../victim",
    "trace-0123456789/",
    "trace-0123456789\n",
    "trace-0123456789\0",
    "TRACE-0123456789",
    "trace_0123456789",
    "trace-",
    "-0123456789",
    "--yes",
    "trace-٠١٢٣٤٥٦٧٨٩",  # digits, but not those of an id
    "träce-0123456789",
    "\x1b[2Jtrace-0123456789",
    "trace-" + "0" * 5000,
    "\udc80",
)


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study with one complete trace run, beside a folder that must stay as it is."""
    monkeypatch.setenv("NEO4J_URI", "")
    place = Study(tmp_path / "inside" / "study")
    for folder in (place.runs / RUN, tmp_path / "victim", tmp_path / "inside" / "victim"):
        folder.mkdir(parents=True)
        Manifest(RUN, "trace", {}, {}, "0", status="complete").save(folder)
    return place


def everything(folder):
    return {p.relative_to(folder): p.is_dir() or p.read_bytes() for p in folder.rglob("*")}


def test_ids_that_the_program_makes_have_the_form():
    for verb in ("trace", "annotate", "analyse", "import", "null", "ablate", "steer", "match"):
        run = run_id(verb, {}, {})
        assert require_run_id(run) == run


@pytest.mark.parametrize("run", HOSTILE, ids=lambda text: ascii(text)[:24])
def test_no_function_takes_another_text_for_an_id(study, tmp_path, run):
    before = everything(tmp_path)
    calls = {
        "delete": lambda: delete_run(run, study.root),
        "deletable": lambda: deletable(run, study.root),
        "compare": lambda: compare_runs(RUN, run, study.root),
        "load": lambda: scircuit.load(study.root, run),
        "report": lambda: scircuit.report(study.root, run),
        "analyse": lambda: scircuit.analyse(study=study.root, run=run, database=False),
        "annotate": lambda: scircuit.annotate(study=study.root, run=run, database=False),
        "ablate": lambda: scircuit.ablate(study=study.root, run=run, database=False),
        "steer": lambda: scircuit.steer(study=study.root, run=run, database=False),
        "null": lambda: scircuit.null(study=study.root, run=run, database=False),
        "match": lambda: scircuit.match(study=study.root, runs=(run,), database=False),
        "export": lambda: scircuit.export(study=study.root, run=run, out=tmp_path / "out"),
        "folder": lambda: study.run_folder(run),
    }
    for call in calls.values():
        with pytest.raises(UserError, match=r"is not the id of a run|a zero byte") as refused:
            call()
        assert len(refused.value.problem) < 200 and refused.value.problem.isprintable()
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("runs", "delete", "../../victim", "--yes"),
        ("runs", "delete", "..", "--yes"),
        ("runs", "show", "../../victim"),
        ("runs", "compare", RUN, "../../victim"),
        ("load", "--run", "../../victim"),
        ("report", "--run", "../../victim"),
        ("export", "--run", "../../victim", "--out", "out"),
        ("annotate", "--no-database", "--run", "../../victim"),
        ("match", "--no-database", "--runs", "../../victim"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_the_command_line_refuses_as_well(study, tmp_path, arguments):
    before = everything(tmp_path)
    result = CliRunner().invoke(cli, [*arguments, "--study", str(study.root)])
    assert isinstance(result.exception, UserError)
    assert "'../../victim' is not the id" in str(result.exception) or "'..'" in str(
        result.exception
    )
    assert everything(tmp_path) == before


def test_a_link_is_no_run(study, tmp_path):
    linked = "trace-00000000aa"
    (study.runs / linked).symlink_to(tmp_path / "victim")
    (study.runs / "trace-00000000bb").symlink_to("trace-00000000bb")
    before = everything(tmp_path / "victim")
    for run in (linked, "trace-00000000bb"):
        with pytest.raises(UserError, match="is a link; a run is a folder of the study itself"):
            delete_run(run, study.root)
    assert everything(tmp_path / "victim") == before
    frame = scircuit.runs(study.root)
    assert dict(zip(frame["run"], frame["status"], strict=True)) == {
        RUN: "complete",
        linked: "damaged",
        "trace-00000000bb": "damaged",
    }


def test_a_link_inside_a_run_is_not_followed_when_it_is_deleted(study, tmp_path):
    (study.runs / RUN / "parts").symlink_to(tmp_path / "victim", target_is_directory=True)
    before = everything(tmp_path / "victim")
    delete_run(RUN, study.root)
    assert not (study.runs / RUN).exists()
    assert everything(tmp_path / "victim") == before


def test_a_folder_with_the_manifest_of_another_run_is_neither_read_nor_deleted(study):
    copy = "trace-00000000cc"
    shutil.copytree(study.runs / RUN, study.runs / copy)
    for act in (study.manifest, lambda run: delete_run(run, study.root)):
        with pytest.raises(UserError, match=f"is the manifest of another run, {RUN}"):
            act(copy)
    assert (study.runs / copy / "manifest.json").exists()


def test_a_run_is_deleted_without_starting_a_server(study):
    (study.runs / "notes").mkdir()
    assert delete_run(RUN, study.root) == {"relationships": 0, "nodes": 0, "chunks": 0}
    assert not study.server_home.exists()
    assert sorted(p.name for p in study.runs.iterdir()) == ["notes"]


def test_a_damaged_run_can_be_deleted_and_a_newer_one_not(study):
    path = study.runs / RUN / "manifest.json"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps({**whole, "schema": 99, "version": "9.9"}))
    with pytest.raises(UserError, match=r"written by a newer scircuit \(9\.9\)"):
        delete_run(RUN, study.root)
    path.write_bytes(b"\0" * 40)
    delete_run(RUN, study.root)
    assert not (study.runs / RUN).exists()

"""A mistyped ``--study``: nothing is started, nothing is made, and studies with a similar name are
named.
"""

from __future__ import annotations

import pytest

import scircuit as sci
from scircuit.core.errors import UserError
from scircuit.core.run_files.manifest import Manifest
from scircuit.core.study import Study, studies_like
from scircuit.ingest import server
from tests.support.cli_process import scircuit

READING = (
    ("annotate", "--no-database"),
    ("analyse", "--no-database"),
    ("analyse", "--no-database", "--run", "trace-0123456789"),
    ("null", "--no-database"),
    ("ablate", "--no-database"),
    ("steer", "--no-database"),
    ("match", "--no-database"),
    ("report",),
    ("report", "--run", "trace-0123456789"),
    ("export", "--out", "out"),
    ("export", "--out", "out", "--query", "top_hubs"),
    ("query", "top_hubs"),
    ("query", "--cypher", "RETURN 1"),
    ("load",),
    ("load", "--run", "trace-0123456789"),
    ("runs",),
    ("runs", "show", "trace-0123456789"),
    ("runs", "compare", "trace-0123456789", "trace-0123456789"),
    ("runs", "delete", "trace-0123456789", "--yes"),
    ("db", "stop"),
    ("db", "status"),
    ("db", "browser", "--print"),
    ("db", "dump", "out"),
    ("db", "check"),
    ("db", "rebuild"),
)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a study, a similar folder that is none, and no server to be had."""
    monkeypatch.setenv("NEO4J_URI", "")
    monkeypatch.setattr(server, "start", lambda *_a, **_k: pytest.fail("a server was started"))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my study" / "runs" / "import-0123456789"
    folder.mkdir(parents=True)
    Manifest(folder.name, "import", {}, {}, "0", "complete").save(folder)
    (tmp_path / "my-stud").mkdir()
    return tmp_path


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_reading_verbs_refuse_a_study_that_is_not_there(place, arguments):
    before = sorted(place.rglob("*"))
    for name, found in (("my-study", "does not exist"), ("my-stud", "holds no study")):
        ended = scircuit(*arguments, "--study", name)
        assert ended.code == 2, ended
        assert f"study {name} {found}" in ended.err, ended.err
        assert "did you mean --study 'my study'?" in ended.err
        assert ended.err.count("\n") == 2 and ended.out == ""
    assert sorted(place.rglob("*")) == before


def test_a_database_of_ones_own_needs_no_study(place, monkeypatch):
    monkeypatch.setenv("NEO4J_URI", "bolt://127.0.0.1:1")
    monkeypatch.setenv("NEO4J_USERNAME", "a")
    monkeypatch.setenv("NEO4J_PASSWORD", "b")
    ended = scircuit("query", "--cypher", "RETURN 1", "--study", "my-study")
    assert ended.code == 2 and "127.0.0.1:1" in ended.err


def test_what_begins_a_study_makes_it(place, tmp_path):
    from scircuit.execution.active_run import active_run

    with active_run(Study(tmp_path / "new"), "trace", {}, {}, database=False) as run:
        run.conclude({})
    assert list(sci.runs(tmp_path / "new")["status"]) == ["complete"]


def test_only_studies_are_near(place):
    for name in ("my studio", "other study"):
        (place / name).mkdir()
    (place / "my studio" / "study.toml").touch()
    assert [p.name for p in studies_like(place / "my studi")] == ["my studio", "my study"]
    assert studies_like(place / "zzz") == []
    with pytest.raises(UserError, match="begin one: scircuit demo"):
        sci.runs(place / "zzz")

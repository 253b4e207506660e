import errno
import itertools
import json
from pathlib import Path

import pytest

from scircuit.core.errors import UserError
from scircuit.core.files import atomic_path
from scircuit.core.run_files.manifest import may_differ
from scircuit.core.study import (
    Manifest,
    ShardEntry,
    Study,
    now,
    parents_first,
    run_id,
    to_the_second,
)


def test_run_id_depends_on_configuration_and_inputs_only():
    one = run_id("trace", {"a": 1, "b": 2}, {"cells": "x"})
    assert one == run_id("trace", {"b": 2, "a": 1}, {"cells": "x"})
    assert one.startswith("trace-")
    others = {
        run_id("trace", {"a": 1, "b": 3}, {"cells": "x"}),
        run_id("trace", {"a": 1, "b": 2}, {"cells": "y"}),
        run_id("steer", {"a": 1, "b": 2}, {"cells": "x"}),
    }
    assert one not in others
    assert len(others) == 3


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "file"
    with atomic_path(target) as temporary:
        temporary.write_text("whole")
    assert target.read_text() == "whole"
    with pytest.raises(OSError, match="full"), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "disk full")
    assert target.read_text() == "whole"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_manifest_round_trip_and_damage(tmp_path):
    manifest = Manifest(
        "trace-1",
        "trace",
        {"n": 1},
        {"cells": "x"},
        "0",
        shards=(ShardEntry("s", "Feature", 3, "h"),),
        parents=("p",),
    )
    manifest.save(tmp_path)
    assert Manifest.load(tmp_path) == manifest
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="not a run manifest"):
        Manifest.load(tmp_path)
    with pytest.raises(UserError, match=r"manifest\.json is missing"):
        Manifest.load(tmp_path / "none")


def test_latest_names_the_verb_to_run(tmp_path):
    study = Study(tmp_path)
    with pytest.raises(UserError, match="no complete 'trace' run"):
        study.latest("trace")
    for run, status, started in (
        ("trace-1", "complete", "2026-01-01"),
        ("trace-2", "running", "2026-01-02"),
    ):
        folder = study.run_folder(run)
        folder.mkdir(parents=True)
        Manifest(run, "trace", {}, {}, "0", status=status, started=started).save(folder)
    assert study.latest("trace").run == "trace-1"
    assert study.latest("trace", complete=False).run == "trace-2"


def test_runs_follow_those_they_build_on_whatever_the_clock_said():
    def run(name, started, *parents):
        return Manifest(name, "trace", {}, {}, "0", started=started, parents=parents)

    same = "2026-01-01T00:00:00+00:00"
    child, parent = run("annotate-1", same, "trace-1"), run("trace-1", same)
    early = run("analyse-1", "2025-01-01T00:00:00+00:00", "annotate-1", "trace-1", "trace-gone")
    later = run("trace-2", "2026-01-01T00:00:00.000001+00:00")
    for order in itertools.permutations((child, parent, early, later)):
        found = [m.run for m in parents_first(order)]
        assert found == ["trace-1", "annotate-1", "analyse-1", "trace-2"]
    one, other = run("trace-3", same, "trace-4"), run("trace-4", same, "trace-3")
    assert [m.run for m in parents_first([other, one])] == ["trace-3", "trace-4"]


def test_runs_of_one_second_are_told_apart():
    times = {now("microseconds") for _ in range(3)}
    assert all("." in time and "." not in to_the_second(time) for time in times)
    assert to_the_second("2026-01-01T00:00:00+00:00") == "2026-01-01T00:00:00+00:00"


def test_runs_that_are_a_file_are_not_no_runs(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(UserError, match="is a file; the runs of a study are in a folder"):
        Study(tmp_path).manifests()


def test_a_manifest_shows_that_it_was_changed(tmp_path):
    manifest = Manifest(
        "trace-1", "trace", {"path": Path("x"), "n": 1}, {}, "0", findings={"p": 0.1, "by": {1: 2}}
    )
    manifest.save(tmp_path)
    path = tmp_path / "manifest.json"
    whole = path.read_text()
    assert Manifest.load(tmp_path).findings == {"p": 0.1, "by": {"1": 2}}
    for before, after in (("0.1", "0.2"), ('"n": 1', '"n": 2'), ('"path": "x"', '"path": "y"')):
        assert whole.count(before) == 1
        path.write_text(whole.replace(before, after))
        with pytest.raises(UserError, match="it was changed after scircuit wrote it"):
            Manifest.load(tmp_path)
    earlier = json.loads(whole)
    del earlier["seal"], earlier["schema"]
    path.write_text(json.dumps(earlier))
    assert Manifest.load(tmp_path).schema == 0


def test_findings_that_an_earlier_version_did_not_write_are_named():
    old = Manifest("trace-1", "trace", {}, {}, "0.1", schema=0)
    new = Manifest("trace-2", "trace", {}, {}, "0.2")
    what = r"run trace-1 \(scircuit 0\.1\) .* \(KeyError: 'edges'\)"
    with pytest.raises(UserError, match=what), may_differ(new, None, old):
        old.findings["edges"]
    with pytest.raises(KeyError), may_differ(new):
        new.findings["edges"]
    with pytest.raises(UserError, match=r"^plain$"), may_differ(old):
        raise UserError("plain")

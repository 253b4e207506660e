import errno

import pytest

from scircuit.core.errors import UserError
from scircuit.core.files import atomic_path
from scircuit.core.study import Manifest, ShardEntry, Study, run_id


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

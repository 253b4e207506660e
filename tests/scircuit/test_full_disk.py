"""A disk that becomes full in the middle of a run: one message, nothing stored is lost, and the run
goes on when there is room.
"""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from scircuit.core.errors import UserError
from scircuit.tracing.clean_pass.clean_pass import StoredStates
from scircuit.tracing.dictionaries import load_dictionaries
from tests.support.study_runs import (
    command,
    demo,
    folder_of,
    outcome,
    parts_done,
    start,
    trace,
    units_done,
)


class SmallDisk:
    """A file system of 8 MB of its own, where this process may mount one; else a limit on the size
    of each file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mounted = (
            shutil.which("mount") is not None
            and subprocess.run(
                ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)],
                capture_output=True,
                check=False,
            ).returncode
            == 0
        )
        self.limit = 0

    def leave(self, size: int) -> None:
        """Leave room for so many bytes."""
        if self.mounted:
            free = os.statvfs(self.folder)
            (self.folder / "ballast").write_bytes(bytes(free.f_bavail * free.f_bsize - size))
        self.limit = size // 8  # no single file is as large as all of them

    def make_room(self) -> None:
        (self.folder / "ballast").unlink(missing_ok=True)
        self.limit = 0

    def run(self, full: list[str]) -> subprocess.CompletedProcess[str]:
        def limit() -> None:
            if self.limit and not self.mounted:
                resource.setrlimit(resource.RLIMIT_FSIZE, (self.limit, resource.RLIM_INFINITY))

        return subprocess.run(full, capture_output=True, text=True, check=False, preexec_fn=limit)

    def close(self) -> None:
        if self.mounted:
            subprocess.run(["umount", str(self.folder)], check=True)


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    found = SmallDisk(folder)
    yield found
    found.close()


def test_a_full_disk_stops_a_run_that_goes_on_when_there_is_room(root, disk, tmp_path):
    # parts of the null go when a run ends, so their size could not be counted here
    options = demo(root, unit_features=1, null_draws=0)
    study, undisturbed = disk.folder / "study", tmp_path / "undisturbed"
    assert start(options, undisturbed) == 0
    whole = folder_of(undisturbed)
    pages = {
        p: -(-p.stat().st_size // 4096)
        for p in whole.rglob("*")
        if p.is_file() and not p.name.startswith(("controls", "run-end"))
    }
    of_units = sum(n for p, n in pages.items() if p.name.startswith("L"))
    disk.leave(4096 * (sum(pages.values()) - of_units // 2))
    stopped = disk.run(command(options, study))
    assert stopped.returncode == 2, stopped.stderr
    assert (
        "the disk is full" in stopped.stderr
        and "free space" in stopped.stderr
        and "Traceback" not in stopped.stderr
    )
    assert stopped.stderr.count("error:") == 1
    manifest = json.loads((folder_of(study) / "manifest.json").read_text())
    assert manifest["status"] in ("running", "failed")
    kept = units_done(study)
    assert not disk.mounted or 0 < kept < len(outcome(whole)["units"])
    again = disk.run(command(options, study))
    assert again.returncode == 2 and "the disk is full" in again.stderr, "no room yet"
    assert units_done(study) >= kept
    disk.make_room()
    assert disk.run(command(options, study)).returncode == 0
    assert outcome(folder_of(study)) == outcome(whole)


def test_a_disk_that_is_full_at_the_controls_keeps_the_parts_it_took(root, tmp_path, monkeypatch):
    """Space is counted here: only the arrays of the controls beyond the first two find none."""
    options = demo(root, control_features=10)
    undisturbed, study = tmp_path / "undisturbed", tmp_path / "study"
    assert start(options, undisturbed) == 0
    room, plain = [2], np.savez

    def savez(file, *arrays, **named):
        if "controls" in Path(file.name).name:
            if not room[0]:
                file.write(b"half of it")
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            room[0] -= 1
        plain(file, *arrays, **named)

    monkeypatch.setattr(np, "savez", savez)
    for _ in range(2):  # no room the second time either
        with pytest.raises(UserError, match="the disk is full") as refused:
            trace(study=study, database=False, quiet=True, **options)
        assert "free space" in refused.value.fix
        assert parts_done(study, "controls") == 2
        assert not [p for p in study.rglob("*") if p.name.endswith(".tmp")]
    assert json.loads((folder_of(study) / "manifest.json").read_text())["status"] == "failed"
    room[0] = 1
    trace(study=study, database=False, quiet=True, **options)
    assert room[0] == 0, "one part was missing"
    assert outcome(folder_of(study)) == outcome(folder_of(undisturbed))


def test_clean_states_on_a_full_disk(disk, monkeypatch):
    disk.leave(20_000)
    monkeypatch.setattr(tempfile, "tempdir", str(disk.folder))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    states = {layer: torch.full((100, 10), float(layer)) for layer in range(20)}
    with tempfile.TemporaryDirectory() as folder:
        if not disk.mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
        try:
            with pytest.raises(UserError, match="clean states cannot be written into") as refused:
                StoredStates(states, Path(folder) / "0", torch.device("cpu"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert "TMPDIR" in refused.value.fix
        disk.make_room()
        stored = StoredStates(states, Path(folder) / "1", torch.device("cpu"))
        np.testing.assert_array_equal(stored[7], states[7])


def test_a_training_on_a_full_disk_goes_on_when_there_is_room(examples, disk, tmp_path):
    start = (
        "import scircuit.tracing.training.trainer as t; t.CHECKPOINT_SECONDS = 0.0; from"
        " scircuit.cli.main import main; main()"
    )
    training = [
        sys.executable,
        "-c",
        start,
        "train",
        "--model",
        str(examples / "model"),
        "--n-cells",
        "10",
        "--layers",
        "1",
        "--study",
        str(tmp_path / "study"),
        "--cells",
        str(examples / "cells" / "celltypist_sample_559cells.h5ad"),
        "--epochs",
        "1",
        "--batch-rows",
        "512",
        "--device",
        "cpu",
    ]
    assert (
        subprocess.run(
            [*training, "--out", tmp_path / "undisturbed"], capture_output=True, check=False
        ).returncode
        == 0
    )
    disk.leave(300_000)
    stopped = disk.run([*training, "--out", str(disk.folder / "out")])
    assert stopped.returncode == 2, stopped.stderr
    assert (
        "the disk is full" in stopped.stderr
        and "free space" in stopped.stderr
        and "unexpected" not in stopped.stderr
    )
    assert not (disk.folder / "out" / "layer01").exists()
    disk.make_room()
    assert disk.run([*training, "--out", str(disk.folder / "out")]).returncode == 0
    assert (
        load_dictionaries(disk.folder / "out")[1].sha256
        == load_dictionaries(tmp_path / "undisturbed")[1].sha256
    )

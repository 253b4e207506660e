"""A trace that is killed or interrupted is resumed by the same command, and the result is that of an undisturbed run."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from ingest.shards import ShardStore

KIND = "Feature-AFFECTS-Feature"


@pytest.fixture(scope="module")
def command(root):
    examples = root / "examples"
    features = [part for f in range(12) for part in ("--features", str(f))]
    return [
        sys.executable, "-c", "from scircuit.cli.main import main; main()", "trace", "--no-database",
        "--model", str(examples / "model"), "--dictionaries", str(examples / "dictionaries"),
        "--cells", str(examples / "cells" / "celltypist_sample_559cells.h5ad"), "--source-layers", "3", "--n-cells", "8",
        "--unit-features", "1", "--control-features", "2", *features,
    ]  # fmt: skip


def run_folder(study):
    folders = list((study / "runs").glob("trace-*"))
    return folders[0] if folders else None


def disturbed(command, study, signal_number, after_units):
    """Start a trace, send a signal when some units are done, and give its exit code."""
    process = subprocess.Popen([*command, "--study", str(study)], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        folder = run_folder(study)
        if folder and len(list((folder / "units").glob("L*.json"))) >= after_units:
            break
        time.sleep(0.02)
    os.kill(process.pid, signal_number)
    message = process.communicate(timeout=60)[1]
    return process.returncode, message


@pytest.fixture(scope="module")
def undisturbed(command, tmp_path_factory):
    study = tmp_path_factory.mktemp("undisturbed")
    subprocess.run([*command, "--study", str(study)], check=True, capture_output=True)
    return run_folder(study)


def same(a, b):
    left, right = (ShardStore(f).tables(KIND).sort_by([("source", "ascending"), ("target", "ascending")]) for f in (a, b))
    assert left.num_rows > 100
    assert left.equals(right)


@pytest.mark.parametrize("after_units", [1, 5])
def test_kill_9_then_resume(command, undisturbed, tmp_path, after_units):
    code, _ = disturbed(command, tmp_path, signal.SIGKILL, after_units)
    assert code == -signal.SIGKILL
    folder = run_folder(tmp_path)
    assert json.loads((folder / "manifest.json").read_text())["status"] == "running"
    resumed = subprocess.run([*command, "--study", str(tmp_path)], check=True, capture_output=True, text=True)
    assert "work units are done" in resumed.stderr
    assert run_folder(tmp_path).name == undisturbed.name
    same(run_folder(tmp_path), undisturbed)


def test_ctrl_c_keeps_what_was_done(command, undisturbed, tmp_path):
    code, message = disturbed(command, tmp_path, signal.SIGINT, 2)
    assert code == 130
    assert "interrupted" in message and "Traceback" not in message
    assert json.loads((run_folder(tmp_path) / "manifest.json").read_text())["status"] == "interrupted"
    analysed = subprocess.run([*command[:3], "analyse", "--study", str(tmp_path)], check=False, capture_output=True, text=True)
    assert analysed.returncode == 2, "an unfinished run must not be analysed"
    assert "no complete 'trace' run" in analysed.stderr
    subprocess.run([*command, "--study", str(tmp_path)], check=True, capture_output=True)
    same(run_folder(tmp_path), undisturbed)

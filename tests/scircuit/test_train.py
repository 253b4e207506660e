"""``scircuit train``: stopped by a signal and started again it gives the weights of an undisturbed
training.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from scircuit.tracing.dictionaries import load_dictionaries
from tests.support.patience import HANGS_S


@pytest.fixture(scope="module")
def command(examples):
    # Checkpoints at every pause, so that a kill at any moment finds one.
    start = (
        "import scircuit.tracing.training.trainer as t; t.CHECKPOINT_SECONDS = 0.0; from"
        " scircuit.cli.main import main; main()"
    )
    return [
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
        "--cells",
        str(examples / "cells" / "celltypist_sample_559cells.h5ad"),
        "--epochs",
        "5",
        "--batch-rows",
        "128",
        "--device",
        "cpu",
    ]


def trained(command, folder):
    result = subprocess.run(
        [*command, "--out", folder / "out"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=HANGS_S,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout, {
        layer: d.sha256 for layer, d in load_dictionaries(folder / "out").items()
    }


@pytest.fixture(scope="module")
def undisturbed(command, tmp_path_factory):
    return trained(command, tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_a_stopped_training_is_resumed_by_the_same_command(
    command, undisturbed, tmp_path, number, code
):
    process = subprocess.Popen(
        [*command, "--out", tmp_path / "out"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + HANGS_S
    while (
        time.monotonic() < deadline
        and process.poll() is None
        and not list(tmp_path.glob("out/.training/*/checkpoint.safetensors"))
    ):
        time.sleep(0.01)
    os.kill(process.pid, number)
    message = process.communicate(timeout=HANGS_S)[1]
    assert process.returncode == code and "Traceback" not in message, message
    assert list(tmp_path.glob("out/.training/*/checkpoint.safetensors")) and not list(
        tmp_path.glob("out/layer*")
    )
    [saved] = tmp_path.glob("out/.training/*/checkpoint.safetensors")
    for name in (
        ".checkpoint.safetensors.abcd1234.tmp",
        ".tmpAbC123",
    ):  # as a process killed while it saves leaves them
        (saved.parent / name).write_bytes(b"half")
    text, weights = trained(command, tmp_path)
    assert weights == undisturbed[1] and list(weights) == [1]
    assert text == undisturbed[0].replace(
        str(undisturbed[0].split()[2].rstrip(",")), str(tmp_path / "out")
    )
    assert not (tmp_path / "out" / ".training").exists()


def test_what_is_reported(undisturbed):
    assert "variance explained" in undisturbed[0]
    assert (
        "the PCA has 16 components: as many active numbers a row as a dictionary with k = 16"
        in undisturbed[0]
    )

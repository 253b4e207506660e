"""Memory that is short in any verb is said with what to do, and is no defect of the program."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner

import scircuit.tracing.evaluation.quality
import scircuit.tracing.training.topk_sae
from scircuit.cli.command import verb_command
from scircuit.cli.main import VERBS, cli
from scircuit.core.config import AblateConfig, AnnotateConfig
from scircuit.core.errors import UserError


def short(*_arguments, **_options):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore lines")


@pytest.fixture
def common(examples, tmp_path):
    return [
        "--model",
        str(examples / "model"),
        "--cells",
        str(examples / "cells" / "celltypist_sample_559cells.h5ad"),
        "--n-cells",
        "10",
        "--study",
        str(tmp_path / "study"),
        "--device",
        "cpu",
        "--max-length",
        "128",
    ]


def refused(result, *ways):
    assert isinstance(result.exception, UserError), result.output
    assert (
        result.exception.problem == "out of memory: CUDA out of memory. Tried to allocate 2.00 GiB."
    )
    assert result.exception.fix == ", or ".join(ways)


def test_in_a_training(common, tmp_path, monkeypatch):
    monkeypatch.setattr(scircuit.tracing.training.topk_sae.TopKTrainer, "step", short)
    result = CliRunner().invoke(
        cli, ["train", *common, "--layers", "1", "--out", str(tmp_path / "out"), "--expansion", "1"]
    )
    refused(
        result,
        "free memory and give the same command again, which resumes the run",
        "set a cap with --memory",
        "shorten the cells with --max-length",
        "compute on another --device",
    )


def test_in_a_check(common, examples, monkeypatch):
    monkeypatch.setattr(scircuit.tracing.evaluation.quality, "cell_rows", short)
    result = CliRunner().invoke(
        cli, ["check", *common, "--dictionaries", str(examples / "dictionaries")]
    )
    refused(
        result, "free memory", "shorten the cells with --max-length", "compute on another --device"
    )


@pytest.mark.parametrize(
    ("config", "ways"), [(AblateConfig, ["compute on another --device"]), (AnnotateConfig, [])]
)
def test_in_any_verb(tmp_path, config, ways):
    command = verb_command("verb", config, short, database=False)
    refused(CliRunner().invoke(command, ["--study", str(tmp_path / "study")]), "free memory", *ways)


def test_other_errors_stay_what_they_are(tmp_path):
    def broken(*_arguments):
        raise RuntimeError("shape mismatch")

    found = CliRunner().invoke(
        verb_command("verb", AblateConfig, broken, database=False),
        ["--study", str(tmp_path / "study")],
    )
    assert type(found.exception) is RuntimeError


def test_help_loads_no_torch():
    program = (
        "import sys; from scircuit.cli.main import cli; [cli.get_command(None, v) for v in"
        f" {sorted(VERBS)}]; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

"""Every verb with bad input: one clear message with the fix, exit code 2, and nothing counted as
complete.
"""

import json
import os
import pickle
import subprocess

import pytest

from scircuit.core.errors import UserError
from tests.support.cli_process import PROGRAM
from tests.support.cli_process import scircuit as call
from tests.support.patience import HANGS_S
from tests.support.tiny_models import tiny_model

BASE = ("--no-database",)


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    """Every verb runs in an empty folder and knows of no server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEO4J_URI", "")


@pytest.fixture
def demo_inputs(examples):
    return {
        "model": examples / "model",
        "dictionaries": examples / "dictionaries",
        "cells": examples / "cells" / "celltypist_sample_559cells.h5ad",
    }


def options_of(inputs):
    return [str(part) for key, value in inputs.items() for part in (f"--{key}", value)]


def trace_with(inputs, *extra):
    return call("trace", *options_of(inputs), *BASE, *extra, "--n-cells", "4")


def refused(ended, *expected):
    assert ended.code == 2, ended.err[-2000:]
    assert "Traceback" not in ended.err
    assert "fix:" in ended.err or "Usage" in ended.err or "Error:" in ended.err
    for text in expected:
        assert text in ended.err


def test_a_shell_gets_the_message_and_the_exit_code(demo_inputs, tmp_path):
    options = options_of({**demo_inputs, "model": tmp_path / "nowhere"})
    done = subprocess.run(
        [*PROGRAM, "trace", *options], capture_output=True, text=True, check=False, timeout=HANGS_S
    )
    assert done.returncode == 2 and not done.stdout
    assert "does not exist" in done.stderr and "Traceback" not in done.stderr


def test_wrong_paths(demo_inputs, tmp_path):
    refused(
        trace_with({**demo_inputs, "model": tmp_path / "nowhere"}),
        "model folder",
        "does not exist",
    )
    refused(
        trace_with({**demo_inputs, "dictionaries": demo_inputs["cells"]}),
        "dictionaries folder",
        "is a file",
    )
    refused(trace_with({**demo_inputs, "cells": tmp_path / "none.h5ad"}), "none.h5ad")
    assert not (tmp_path / "scircuit-study" / "runs").exists()


def test_wrong_layers(demo_inputs):
    refused(
        trace_with(demo_inputs, "--source-layers", "17"),
        "source layer 17 has no dictionary",
        "0, 1, 2, 3, 4, 5",
    )
    refused(
        trace_with(demo_inputs, "--source-layers", "5"),
        "no layer after source layer 5 has a dictionary",
    )
    refused(
        trace_with(demo_inputs, "--source-layers", "3", "--target-layers", "2"),
        "do not come after source layer 3",
    )
    refused(
        trace_with(demo_inputs, "--source-layers", "3", "--target-layers", "9"),
        "target layer 9 has no dictionary",
    )
    refused(
        trace_with(demo_inputs, "--source-layers", "3", "--control-features", "0"),
        "control_features is 0",
        "--control-features 24",
    )


def test_dictionary_that_does_not_fit_the_model(demo_inputs, examples, tmp_path):
    config = json.loads((examples / "model" / "config.json").read_text())
    for layers, width, message in ((6, 64, "reads width 128"), (2, 128, "has layers 0..1")):
        model = tiny_model(
            layers=layers,
            width=width,
            heads=2,
            vocabulary=config["vocab_size"],
            positions=config["max_position_embeddings"],
            ffn=32,
        )
        folder = tmp_path / f"model-{layers}-{width}"
        model.save_pretrained(folder)
        refused(trace_with({**demo_inputs, "model": folder}), message, "trained on this model")


def test_pickles_are_never_run(demo_inputs, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path / 'ran'}",))

    bomb = tmp_path / "cells.h5ad"
    bomb.write_bytes(pickle.dumps(Bomb()))
    refused(trace_with({**demo_inputs, "cells": bomb}))
    folder = tmp_path / "dictionaries" / "layer01_x4_k32"
    folder.mkdir(parents=True)
    (folder / "sae_final.pt").write_bytes(pickle.dumps(Bomb()))
    refused(trace_with({**demo_inputs, "dictionaries": folder.parent}))
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text((demo_inputs["model"] / "config.json").read_text())
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    refused(trace_with({**demo_inputs, "model": model}))
    assert not (tmp_path / "ran").exists()


def test_filters_that_leave_nothing(demo_inputs):
    refused(trace_with(demo_inputs, "--where", "cell_line=K562"), "cell_line")


def test_cells_longer_than_the_model_takes(demo_inputs, tmp_path):
    from scircuit.workflows.check import check
    from scircuit.workflows.trace import trace
    from scircuit.workflows.train import train

    given = {
        "model": str(demo_inputs["model"]),
        "cells": demo_inputs["cells"],
        "n_cells": 4,
        "max_length": 259,
        "device": "cpu",
        "quiet": True,
    }
    with pytest.raises(UserError, match="--max-length 259 exceeds the limit of 258 tokens"):
        trace(
            study=tmp_path / "study",
            database=False,
            dictionaries=str(demo_inputs["dictionaries"]),
            **given,
        )
    with pytest.raises(UserError, match="--max-length 259 exceeds the limit of 258 tokens"):
        train(study=tmp_path / "study", out=tmp_path / "out", layers=(1,), **given)
    [line] = [line for line in check(**given).lines if not line.ok]
    assert "--max-length 259 exceeds the limit of 258 tokens" in line.found
    assert not list(tmp_path.iterdir())


def test_unknown_options_and_verbs():
    refused(call("trace", "--sourcelayer", "1"))
    refused(call("tracee"), "did you mean 'trace'?")
    refused(call("trace"), "--model")
    refused(call("annotate"), "no complete 'trace' run")
    refused(call("analyse"), "no complete 'trace' run")
    refused(call("steer"), "no complete 'trace' run")
    refused(call("report"), "no complete 'trace' run")
    refused(call("load"), "has no runs")
    refused(call("query", "top_hubz"), "top_hubz")
    refused(call("query", "--cypher", "RETURN 1", "top_hubs"), "give one of them")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        # a parameter neither allows writing nor chooses another study
        (("--cypher", "CREATE (n:X)", "-p", "write=true"), "cannot be named 'write'"),
        (("--cypher", "RETURN $study", "-p", "study=x"), "cannot be named 'study'"),
        (("top_hubs", "-p", "name=x"), "cannot be named 'name'"),
        (("top_hubs", "-p", "limit=" + "1" * 5000), "too long or too deep"),
        (("top_hubs", "-p", "limit=" + "[" * 50_000), "too long or too deep"),
        (("top_hubs", "-p", "limit=9223372036854775808"), "expected a whole number"),
        (("top_hubs", "-p", "limit"), "has no '='"),
        (("--cypher", " "), "--cypher is empty"),
    ],
)
def test_parameters_of_a_question(arguments, message, tmp_path):
    ended = call("query", *arguments)
    assert ended.code == 2 and message in ended.err and len(ended.err) < 400
    assert ended.err.count("error:") == 1 and not list(tmp_path.iterdir())


def test_half_named_server(monkeypatch):
    monkeypatch.setenv("NEO4J_URI", "bolt://127.0.0.1:1")
    monkeypatch.setenv("NEO4J_PASSWORD", "")
    refused(call("query", "--cypher", "RETURN 1"))


def test_server_away(monkeypatch):
    monkeypatch.setenv("NEO4J_URI", "bolt://127.0.0.1:1")
    monkeypatch.setenv("NEO4J_USERNAME", "neo4j")
    monkeypatch.setenv("NEO4J_PASSWORD", "not-there-1")
    refused(call("query", "--cypher", "RETURN 1"), "127.0.0.1:1")


def test_damaged_study_file(tmp_path):
    study = tmp_path / "scircuit-study"
    study.mkdir()
    (study / "study.toml").write_text("trace = [")
    refused(call("trace"), "study.toml is not valid TOML")


def test_read_only_study(demo_inputs, tmp_path):
    (tmp_path / "scircuit-study").write_text("a file where the study should be")
    refused(trace_with(demo_inputs))

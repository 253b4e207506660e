"""Every verb with bad input: one clear message with the fix, exit code 2, and nothing counted as
complete.
"""

import os
import pickle
import subprocess
import sys

import pytest

from scircuit.core.errors import UserError
from tests.support.cli_process import scircuit as call
from tests.support.tiny_models import tiny_model

BASE = ("--no-database",)


def scircuit(*arguments, cwd, env=None):
    return subprocess.run(
        [sys.executable, "-c", "from scircuit.cli.main import main; main()", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NEO4J_URI": "", **(env or {})},
        timeout=300,
    )


@pytest.fixture
def demo_inputs(examples):
    return {
        "model": examples / "model",
        "dictionaries": examples / "dictionaries",
        "cells": examples / "cells" / "celltypist_sample_559cells.h5ad",
    }


def trace_with(inputs, tmp_path, *extra):
    options = [part for key, value in inputs.items() for part in (f"--{key}", value)]
    return scircuit("trace", *options, *BASE, *extra, "--n-cells", "4", cwd=tmp_path)


def refused(result, *expected):
    assert result.returncode == 2, result.stderr[-2000:]
    assert "Traceback" not in result.stderr
    assert "fix:" in result.stderr or "Usage" in result.stderr or "Error:" in result.stderr
    for text in expected:
        assert text in result.stderr


def test_wrong_paths(demo_inputs, tmp_path):
    refused(
        trace_with({**demo_inputs, "model": tmp_path / "nowhere"}, tmp_path),
        "model folder",
        "does not exist",
    )
    refused(
        trace_with({**demo_inputs, "dictionaries": demo_inputs["cells"]}, tmp_path),
        "dictionaries folder",
        "is a file",
    )
    refused(trace_with({**demo_inputs, "cells": tmp_path / "none.h5ad"}, tmp_path), "none.h5ad")
    assert not (tmp_path / "scircuit-study" / "runs").exists()


def test_wrong_layers(demo_inputs, tmp_path):
    refused(
        trace_with(demo_inputs, tmp_path, "--source-layers", "17"),
        "source layer 17 has no dictionary",
        "0, 1, 2, 3, 4, 5",
    )
    refused(
        trace_with(demo_inputs, tmp_path, "--source-layers", "5"),
        "no layer after source layer 5 has a dictionary",
    )
    refused(
        trace_with(demo_inputs, tmp_path, "--source-layers", "3", "--target-layers", "2"),
        "do not come after source layer 3",
    )
    refused(
        trace_with(demo_inputs, tmp_path, "--source-layers", "3", "--target-layers", "9"),
        "target layer 9 has no dictionary",
    )
    refused(
        trace_with(demo_inputs, tmp_path, "--source-layers", "3", "--control-features", "0"),
        "control_features is 0",
        "--control-features 24",
    )


def test_dictionary_that_does_not_fit_the_model(demo_inputs, examples, tmp_path):
    import json

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
        refused(
            trace_with({**demo_inputs, "model": folder}, tmp_path), message, "trained on this model"
        )


def test_pickles_are_never_run(demo_inputs, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path / 'ran'}",))

    bomb = tmp_path / "cells.h5ad"
    bomb.write_bytes(pickle.dumps(Bomb()))
    refused(trace_with({**demo_inputs, "cells": bomb}, tmp_path))
    folder = tmp_path / "dictionaries" / "layer01_x4_k32"
    folder.mkdir(parents=True)
    (folder / "sae_final.pt").write_bytes(pickle.dumps(Bomb()))
    refused(trace_with({**demo_inputs, "dictionaries": folder.parent}, tmp_path))
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text((demo_inputs["model"] / "config.json").read_text())
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    refused(trace_with({**demo_inputs, "model": model}, tmp_path))
    assert not (tmp_path / "ran").exists()


def test_filters_that_leave_nothing(demo_inputs, tmp_path):
    refused(trace_with(demo_inputs, tmp_path, "--where", "cell_line=K562"), "cell_line")


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


def test_unknown_options_and_verbs(tmp_path):
    refused(scircuit("trace", "--sourcelayer", "1", cwd=tmp_path))
    refused(scircuit("tracee", cwd=tmp_path), "did you mean 'trace'?")
    refused(scircuit("trace", cwd=tmp_path), "--model")
    refused(scircuit("annotate", cwd=tmp_path), "no complete 'trace' run")
    refused(scircuit("analyse", cwd=tmp_path), "no complete 'trace' run")
    refused(scircuit("steer", cwd=tmp_path), "no complete 'trace' run")
    refused(scircuit("report", cwd=tmp_path), "no complete 'trace' run")
    refused(scircuit("load", cwd=tmp_path), "has no runs")
    refused(scircuit("query", "top_hubz", cwd=tmp_path), "top_hubz")
    refused(scircuit("query", "--cypher", "RETURN 1", "top_hubs", cwd=tmp_path), "give one of them")


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
def test_parameters_of_a_question(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = call("query", *arguments)
    assert ended.code == 2 and message in ended.err and len(ended.err) < 400
    assert ended.err.count("error:") == 1 and not list(tmp_path.iterdir())


def test_half_named_server(demo_inputs, tmp_path):
    result = scircuit(
        "query",
        "--cypher",
        "RETURN 1",
        cwd=tmp_path,
        env={"NEO4J_URI": "bolt://127.0.0.1:1", "NEO4J_PASSWORD": ""},
    )
    refused(result)


def test_server_away(tmp_path):
    env = {
        "NEO4J_URI": "bolt://127.0.0.1:1",
        "NEO4J_USERNAME": "neo4j",
        "NEO4J_PASSWORD": "not-there-1",
    }
    refused(scircuit("query", "--cypher", "RETURN 1", cwd=tmp_path, env=env), "127.0.0.1:1")


def test_damaged_study_file(demo_inputs, tmp_path):
    study = tmp_path / "scircuit-study"
    study.mkdir()
    (study / "study.toml").write_text("trace = [")
    refused(scircuit("trace", cwd=tmp_path), "study.toml is not valid TOML")


def test_read_only_study(demo_inputs, tmp_path):
    (tmp_path / "scircuit-study").write_text("a file where the study should be")
    refused(trace_with(demo_inputs, tmp_path))

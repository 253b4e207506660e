"""``scircuit check``: bare paths and options, and every fault a failed line with what was found,
expected and to do.
"""

from __future__ import annotations

import json
import shutil

import anndata
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from scipy import sparse

from scircuit.cli.main import cli
from scircuit.core.errors import UserError
from scircuit.workflows.check import check

QUICK = {"n_cells": 16, "seconds": 600.0}  # few cells and no hurry: a busy machine changes nothing


@pytest.fixture(scope="module")
def inputs(examples):
    return {
        "model": str(examples / "model"),
        "dictionaries": str(examples / "dictionaries"),
        "cells": str(examples / "cells" / "celltypist_sample_559cells.h5ad"),
    }


@pytest.fixture(scope="module")
def few(inputs, tmp_path_factory):
    """Some of the demo's dictionaries, in a folder of their own."""
    folder = tmp_path_factory.mktemp("dictionaries")
    for layer in (1, 4):
        shutil.copytree(f"{inputs['dictionaries']}/layer{layer:02d}", folder / f"layer{layer:02d}")
    return folder


def run(*arguments, cwd):
    options = [
        part
        for name, value in QUICK.items()
        for part in (f"--{name.replace('_', '-')}", str(value))
    ]
    return CliRunner().invoke(
        cli, ["check", *map(str, arguments), *options, "--study", str(cwd / "study"), "--json"]
    )


def lines_of(result):
    return {
        line["name"]: line
        for line in json.loads(result.stdout[result.stdout.index("{") :])["lines"]
    }


def failed(result):
    """Failed lines of a result; each says what to do."""
    bad = {line.name: line for line in result.lines if not line.ok}
    assert result.failed == bool(bad)
    assert all(line.found and line.expected and line.fix for line in bad.values())
    text = str(result)
    for line in bad.values():
        assert all(part.split()[0] in text for part in (line.found, line.expected, line.fix))
    return bad


def test_paths_mean_what_options_mean(inputs, few, tmp_path):
    three = run(inputs["model"], few, inputs["cells"], cwd=tmp_path)
    assert three.exit_code == 0, three.output
    named = run(
        "--cells", inputs["cells"], "--model", inputs["model"], "--dictionaries", few, cwd=tmp_path
    )
    assert named.exit_code == 0
    assert (
        set(lines_of(three))
        == set(lines_of(named))
        >= {"scale", "zero edit", "layer 1 loss recovered", "layer 4 firing rates", "enough cells"}
    )
    assert {line["section"] for line in lines_of(three).values()} == {
        "model",
        "cells",
        "model on these cells",
        "dictionaries",
    }
    two = lines_of(run(inputs["model"], inputs["cells"], cwd=tmp_path))
    assert "attention rows sum to one" in two and "zero edit" not in two
    one = lines_of(run(inputs["cells"], cwd=tmp_path))
    assert "scale" in one and "attention rows sum to one" not in one


def test_paths_are_not_mixed_with_what_was_remembered(inputs, tmp_path):
    study = tmp_path / "study"
    study.mkdir()
    run(inputs["model"], inputs["cells"], cwd=tmp_path)
    assert inputs["model"] in (study / "study.toml").read_text()
    assert "weights" in lines_of(run(cwd=tmp_path))  # the same again, remembered
    assert "weights" not in lines_of(run(inputs["cells"], cwd=tmp_path))
    assert "weights" in lines_of(run(inputs["cells"], "--model", inputs["model"], cwd=tmp_path))


def test_conflicting_and_missing_paths(inputs, tmp_path):
    twice = run(inputs["cells"], "--cells", inputs["cells"], cwd=tmp_path)
    assert twice.exit_code == 2 and "cells is given as a path and as --cells" in twice.output
    many = run("a", "b", "c", "d", cwd=tmp_path)
    assert (
        many.exit_code == 2
        and "4 paths given; expected MODEL DICTIONARIES CELLS | MODEL CELLS | CELLS" in many.output
    )
    none = run(cwd=tmp_path)
    assert none.exit_code != 0 and "'cells' is missing" in str(none.exception)


def test_dictionaries_without_a_model_are_refused(inputs, tmp_path):
    found = run("--cells", inputs["cells"], "--dictionaries", inputs["dictionaries"], cwd=tmp_path)
    assert isinstance(found.exception, UserError) and "dictionaries without a model" in str(
        found.exception
    )


def test_paths_that_do_not_exist_are_failed_lines_and_the_rest_is_checked(inputs, tmp_path):
    bad = failed(
        check(**QUICK, model=inputs["model"], dictionaries="nowhere", cells=inputs["cells"])
    )
    assert set(bad) == {"dictionaries"} and "does not exist" in bad["dictionaries"].found
    result = check(**QUICK, model=inputs["model"], cells=str(tmp_path / "none.h5ad"))
    assert set(failed(result)) == {"cells"} and any(
        line.name == "attention rows sum to one" for line in result.lines
    )


def test_nan_weights_are_a_failed_line(inputs, few, tmp_path):
    folder = tmp_path / "nan"
    shutil.copytree(few, folder)
    path = folder / "layer01" / "dictionary.safetensors"
    weights = load_file(path)
    weights["decoder"][3, 4] = torch.nan
    save_file(weights, path)
    result = check(**QUICK, model=inputs["model"], dictionaries=str(folder), cells=inputs["cells"])
    bad = failed(result)
    assert (
        set(bad) == {"dictionaries"}
        and "1 of 65,536 values of decoder are NaN" in bad["dictionaries"].found
    )
    exit_code = run(inputs["model"], folder, inputs["cells"], cwd=tmp_path).exit_code
    assert exit_code == 1


def test_dictionaries_of_another_model(inputs, few, tmp_path):
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(1)
    BertForMaskedLM(BertConfig.from_pretrained(inputs["model"])).save_pretrained(tmp_path / "other")
    bad = failed(
        check(**QUICK, model=str(tmp_path / "other"), dictionaries=str(few), cells=inputs["cells"])
    )
    assert {
        "model of the dictionaries",
        "layer 1 reconstruction",
        "layer 4 reconstruction",
        "layer 1 firing rates",
    } <= set(bad)
    wide = BertConfig.from_pretrained(inputs["model"], hidden_size=64)
    BertForMaskedLM(wide).save_pretrained(tmp_path / "wide")
    bad = failed(
        check(**QUICK, model=str(tmp_path / "wide"), dictionaries=str(few), cells=inputs["cells"])
    )
    assert "width 128" in bad["dictionaries"].found and "width 64" in bad["dictionaries"].expected


def test_scaled_cells_are_a_failed_line(inputs, few, tmp_path):
    data = anndata.read_h5ad(inputs["cells"])[:40].copy()
    dense = sparse.csr_matrix(data.X).toarray()
    data.X = ((dense - dense.mean(0)) / (dense.std(0) + 1)).astype(np.float32)
    del data.raw
    data.layers.clear()
    data.write_h5ad(tmp_path / "scaled.h5ad")
    bad = failed(
        check(
            **QUICK,
            model=inputs["model"],
            dictionaries=str(few),
            cells=str(tmp_path / "scaled.h5ad"),
        )
    )
    assert set(bad) == {"cells"} and "expected raw counts" in bad["cells"].found


def test_one_cell_is_too_few(inputs):
    bad = failed(check(**{**QUICK, "n_cells": 1}, cells=inputs["cells"]))
    assert set(bad) == {"enough cells"} and bad["enough cells"].found == "1"

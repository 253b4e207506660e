"""What ``steer`` is read by: options, marker sets, pseudotime, and cells that are not steered."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scircuit.core.config import SteerConfig, TraceConfig
from scircuit.core.errors import UserError
from scircuit.core.study import run_id
from scircuit.execution.steering_inputs.marker_sets import read_markers
from scircuit.execution.steering_inputs.probe_cohort import ProbeCohort, probe_cohort
from scircuit.execution.steering_inputs.pseudotime_source import (
    diffusion_pseudotime,
    numbers,
    require_scanpy,
)
from scircuit.execution.steering_inputs.steering_plan import (
    asked_readouts,
    check_options,
    two_states,
)
from scircuit.tracing.interventions.steering import RANDOM_DIRECTIONS, steer
from scircuit.workflows.interventions.steer import _identity


def test_marker_sets_in_every_form(tmp_path):
    wanted = (("LYZ", "CST3"), ("CD34",))
    assert read_markers("up:LYZ,CST3,LYZ down:CD34") == wanted
    for name, text in (
        ("m.gmt", "late\tx\tLYZ\tCST3\nearly\tx\tCD34\n"),
        # the names say it, whatever the order
        ("n.gmt", "set_down\tx\tCD34\nset_up\tx\tLYZ\tCST3\n"),
        ("m.tsv", "gene\tdirection\nLYZ\tup\nCST3\tUp\nCD34\tdown\n"),
        ("m.csv", "LYZ,up\nCST3,up\n\nCD34,down\n"),
    ):
        (tmp_path / name).write_text(text)
        assert read_markers(str(tmp_path / name)) == wanted
    (tmp_path / "bad").write_text("LYZ sideways\n")
    (tmp_path / "three.gmt").write_text("a\tx\tA\nb\tx\tB\nc\tx\tC\n")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    for given, message in (
        (str(tmp_path / "absent"), "cannot be read: No such file"),
        (str(tmp_path / "bad"), "has the line 'LYZ sideways'"),
        (str(tmp_path / "three.gmt"), "has 3 sets"),
        (str(tmp_path / "bytes"), "it is not text"),
        (str(tmp_path), "cannot be read"),
        ("down:CD34", "0 genes up, 1 down"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            read_markers(given)
        assert "up:GENE" in caught.value.fix


def test_two_states():
    asked = two_states("type=HSC+CMP, neutrophil")
    assert asked == ("type", ("HSC", "CMP"), ("neutrophil",)) and asked.names[0] == "HSC+CMP"
    for bad in ("type", "type=A", "type=A,B,C", "=A,B", "type=A,A", "type=A+B,B", "type=,B"):
        with pytest.raises(UserError, match="expected a column and two different states"):
            two_states(bad)


def test_readouts_follow_from_what_is_given():
    assert asked_readouts(SteerConfig()) == ()
    full = SteerConfig(pseudotime="t", state="c=A,B", types="c", markers="up:A")
    assert asked_readouts(full) == ("states", "pseudotime", "fate", "types", "markers")
    assert asked_readouts(replace(full, readouts=("genes, fate", "loss"))) == ("fate", "loss")
    for name, needs in (("pseudotime", "--pseudotime"), ("states", "--pseudotime or --state")):
        with pytest.raises(UserError, match=f"{name} needs {needs}"):
            asked_readouts(SteerConfig(readouts=(name,)))
    with pytest.raises(UserError, match="readout 'logit'"):
        asked_readouts(SteerConfig(readouts=("logit",)))


@pytest.fixture(scope="module")
def trace_config(examples):
    return TraceConfig(
        model=str(examples / "thp1" / "model"),
        dictionaries=str(examples / "thp1" / "dictionaries"),
        cells=examples / "thp1" / "cells" / "papalexi2021_thp1_crispr_20729cells.h5ad",
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"panel": "on-off"}, "needs to know early from late cells"),
        ({"panel": "on-off", "features": ("x",), "state": "rep=rep_1,rep_2"}, "both choose"),
        ({"random_directions": -1}, "--random-directions -1"),
        ({"pseudotime": "rpe"}, r"no obs column 'rpe'; they have 3 columns: rep"),
        ({"pseudotime": "rep"}, "20729 of 20729 probe cells have no number there, such as 'rep_1'"),
        ({"state": "targets=A,B"}, "no obs column 'targets'"),
        ({"types": "kind"}, "--types: the cells have no obs column 'kind'"),
        ({"state": "rep=rep_1,rep_2", "group": "donor"}, "--group: the cells have no obs column"),
        ({"markers": "down:A"}, "0 genes up"),
        (
            {"state": "rep=rep_1,rep_2", "probe_cells": 0},
            "--probe-cells 0: --state needs cells that are not steered, .*expected 20 or more",
        ),
        ({"types": "target", "probe_cells": 19}, "--probe-cells 19: --types needs"),
        ({"panel": "on-off", "pseudotime": "rep", "probe_cells": 8}, "--panel, --pseudotime needs"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_loaded(trace_config, options, message):
    with pytest.raises(UserError, match=message) as caught:
        check_options(SteerConfig(**options), trace_config)
    assert caught.value.fix


def test_dpt_without_scanpy_or_root_says_what_to_do(trace_config, monkeypatch):
    monkeypatch.setitem(sys.modules, "scanpy", None)
    with pytest.raises(UserError, match="needs scanpy") as caught:
        require_scanpy()
    assert "pip install 'scircuit[pseudotime]'" in caught.value.fix
    monkeypatch.setitem(sys.modules, "scanpy", SimpleNamespace())
    with pytest.raises(UserError, match="needs a root cell"):
        check_options(SteerConfig(pseudotime="dpt"), trace_config)


def test_dpt_is_that_of_the_root_and_in_the_order_of_the_probe_cells(monkeypatch):
    """A stand-in for scanpy that puts the distance from the root in the first count as pseudotime;
    one cell is not reached.
    """

    def dpt(data):
        first = np.asarray(data.X.todense())[:, 0]
        away = np.abs(first - first[data.uns["iroot"]])
        away[2] = np.inf
        data.obs["dpt_pseudotime"] = away

    done = []
    steps = {
        n: lambda _data, _n=n, **_more: done.append(_n) for n in ("pca", "neighbors", "diffmap")
    }
    scanpy = SimpleNamespace(
        pp=SimpleNamespace(
            normalize_total=lambda _d, target_sum: done.append(target_sum),
            log1p=lambda _d: done.append("log1p"),
            pca=steps["pca"],
            neighbors=steps["neighbors"],
        ),
        tl=SimpleNamespace(diffmap=steps["diffmap"], dpt=dpt),
    )
    monkeypatch.setitem(sys.modules, "scanpy", scanpy)
    counts = sparse.csr_matrix(np.arange(12, dtype=np.float32).reshape(6, 2))
    cells = SimpleNamespace(counts=counts, barcodes=tuple("abcdef"))
    mine = np.array([True, False, True, True, False, True])
    probe = ProbeCohort([], pd.DataFrame(index=list("acdf")), cells, mine)  # pyright: ignore
    found = diffusion_pseudotime(probe, "b", 0)
    np.testing.assert_array_equal(found, [2, np.nan, 4, 8])
    assert done == [1e4, "log1p", "pca", "neighbors", "diffmap"]
    with pytest.raises(UserError, match="--root 'x' is none of the 6"):
        diffusion_pseudotime(probe, "x", 0)


def test_numbers_of_a_column():
    found = numbers(pd.Series(["1", 2, None, np.inf, "3.5"], name="t"))
    np.testing.assert_array_equal(found, [1, 2, np.nan, np.nan, 3.5])
    assert numbers(pd.Series(pd.Categorical([1.5, 2.5]))).tolist() == [1.5, 2.5]


def test_probe_cells_are_not_those_that_are_steered(trace_config):
    from scircuit.tracing.cells.cohort import load_cohort
    from scircuit.tracing.models import load_model
    from scircuit.tracing.tokenisation.vocabulary import folder_vocabulary  # noqa: F401

    config = replace(trace_config, where=("target=STAT1,JAK2",), n_cells=15, panel=True, mixed=True)
    adapter = load_model(config.model, "cpu", "thp1")
    cohort = load_cohort(config, adapter.vocabulary, adapter.max_length)
    inputs = SimpleNamespace(cohort=cohort, adapter=adapter)
    probe = probe_cohort(inputs, config, 40)  # pyright: ignore[reportArgumentType]
    assert len(probe.tokens) == len(probe.obs) == probe.mine.sum() == 40
    assert not set(probe.obs.index) & set(cohort.barcodes)
    assert set(probe.obs["target"]) <= {"STAT1", "JAK2"} and set(probe.obs["rep"])
    stored = anndata.read_h5ad(config.cells, backed="r").obs
    pd.testing.assert_series_equal(
        probe.obs["target"].astype(str), stored.loc[probe.obs.index, "target"].astype(str)
    )
    # the tokens are those of these very cells
    i = list(probe.all_cells.barcodes).index(probe.obs.index[7])
    np.testing.assert_array_equal(probe.tokens[7], probe.all_cells.tokens[i])
    with pytest.raises(UserError, match="the trace run has all 15 cells"):
        probe_cohort(inputs, config, 0)  # pyright: ignore[reportArgumentType]


def test_cells_that_are_not_needed_may_be_few(trace_config):
    check_options(SteerConfig(markers="up:A", probe_cells=0), trace_config)


def test_a_run_with_fewer_random_directions_keeps_its_id():
    """Ids of runs from when five were the default; the number is part of every id."""
    older = run_id("steer", _identity(SteerConfig(random_directions=5), ()), {"features": ["x"]})
    assert older == "steer-a5b17e387f"
    newer = run_id("steer", _identity(SteerConfig(), ()), {"features": ["x"]})
    assert newer != older and SteerConfig().random_directions == 19
    assert steer.__kwdefaults__["random_directions"] == RANDOM_DIRECTIONS == 19


def test_options_of_later_versions_change_an_id_only_where_they_are_used():
    plain = _identity(SteerConfig(), ())
    assert set(plain) == {"features", "coefficients", "seed", "random_directions"}
    assert _identity(SteerConfig(hubs=3, device="cpu", layers=(1,), probe_cells=9), ()) | {
        "probe_cells": 0
    } == plain | {"probe_cells": 0}
    assert _identity(SteerConfig(mode="clamp"), ())["mode"] == "clamp"
    probed = _identity(SteerConfig(pseudotime="t"), ())
    assert probed["probe_cells"] == 300 and probed["pseudotime"] == "t"
    assert _identity(SteerConfig(panel="on-off", state="a=b,c", layers=(2, 1)), ())["layers"] == [
        1,
        2,
    ]

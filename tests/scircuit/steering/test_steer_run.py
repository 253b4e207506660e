"""``scircuit steer`` on real cells of the THP-1 screen: records, findings and refusals of a run."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

import scircuit
from scircuit.core.errors import UserError
from scircuit.execution.findings.finding_files import read_findings
from scircuit.ingest.shards.shard_store import ShardStore
from scircuit.workflows.interventions.steer import summarise


@pytest.fixture(scope="module")
def study(examples, tmp_path_factory):
    """A trace of a few features of layer 2."""
    folder = tmp_path_factory.mktemp("steer") / "study"
    place = examples / "thp1"
    scircuit.trace(
        model=str(place / "model"),
        dictionaries=str(place / "dictionaries"),
        cells=place / "cells" / "papalexi2021_thp1_crispr_20729cells.h5ad",
        where=("target=non-targeting,IFNGR1",),
        source_layers=(2,),
        n_cells=6,
        features=tuple(range(6)),
        control_features=1,
        null_draws=8,
        panel=True,
        mixed=True,
        device="cpu",
        study=folder,
        database=False,
    )
    return folder


STATE = {"state": "target=non-targeting,IFNGR1", "group": "rep", "probe_cells": 120}


def steer(study, **options):
    asked = {"coefficients": (0, 3), "random_directions": 2, "device": "cpu"} | options
    return scircuit.steer(study=study, database=False, quiet=True, **asked)


def test_a_panel_of_on_and_off_features(study):
    made = steer(study, panel="on-off", layers=(3,), markers="up:STAT1 down:JAK2", **STATE)
    tables = ShardStore(made.folder)
    readouts = tables.tables("Readout").to_pandas().set_index("name")
    assert set(readouts.index) == {
        "own_genes", "state_shift:target", "fate:IFNGR1", "markers",
    }  # fmt: skip
    fate = readouts.loc["fate:IFNGR1"]
    assert fate["measure"] == "AUC" and fate["accuracy"] > fate["baseline"] + 0.1
    assert fate["probe_cells"] == 120 and fate["probe_groups"] == 3
    features = tables.tables("Feature").to_pandas()
    assert set(features["steering_switch"]) <= {"on", "off"} and len(features) > 1
    assert all("/L03/" in f for f in features["id"])
    steers = tables.tables("Feature-STEERS-Readout").to_pandas()
    assert len(steers) == 4 * len(features)
    # layer 3 is the last: the probe is in closed form
    assert set(steers.loc[steers["closed_form"], "target"].str.rpartition("/")[2]) == {
        "fate:IFNGR1"
    }
    (finding,) = read_findings(made.folder)
    assert finding.name == "steering_layers" and "closed form" in finding.sentence
    assert finding.plot().get_xlabel() == "layer"
    assert made.sentences[-1] == finding.sentence and "held-out 3 groups" in " ".join(
        made.sentences
    )
    assert any(
        s.startswith("with 2 random directions p_random is at least 0.33: no feature can reach")
        for s in made.sentences
    )
    text = (made.folder / "manifest.json").read_text()
    assert "NaN" not in text and json.loads(text)["findings"]["probes"]["fate AUC"]["cells"] == 120
    again = steer(study, panel="on-off", layers=(3,), markers="up:STAT1 down:JAK2", **STATE)
    assert again.run == made.run and not again.new


def test_features_by_name_clamped(study):
    fired = ShardStore(next((study / "runs").glob("trace-*"))).tables("Feature").to_pandas()
    name = fired.loc[fired["id"].str.contains("/L02/") & (fired["cells_active"] == 6), "id"].iloc[0]
    made = steer(study, features=(name,), mode="clamp", readouts=("genes,loss",))
    nodes = ShardStore(made.folder).tables("Intervention").to_pandas()
    assert set(nodes["mode"]) == {"clamp"} and set(nodes["id"].str.rpartition("@")[2]) == {
        "clamp0",
        "clamp3",
    }
    assert (nodes["norm_ratio"] > 0).all() and not nodes["beyond_norm"].any()
    with pytest.raises(UserError, match="every condition is beyond what the model tolerates"):
        steer(study, features=(name,), coefficients=(1e5,))
    warned = steer(study, features=(name,), coefficients=(2, 1e5))
    assert any("1 of 2 conditions give states of norms" in s for s in warned.sentences)


@pytest.mark.parametrize(
    ("directions", "p", "least", "clear", "sentence"),
    [
        (0, [None, None], None, None, "no random directions were asked for, so p_random is not"),
        (1, [0.5, 1.0], 0.5, None, "with 1 random direction p_random is at least 0.5: no feature"),
        (5, [1 / 6, 1 / 6], 1 / 6, None, "5 random directions p_random is at least 0.17: no"),
        (18, [1 / 19, 1.0], 1 / 19, None, "p_random is at least 0.053: no feature can reach"),
        (19, [0.05, None], 0.05, 1, "1 of 1 steered features move the genes they fire on more"),
        (39, [0.05, 0.075], 0.025, 1, "1 of 2 steered features move the genes they fire on more"),
    ],
)
def test_it_is_said_when_random_directions_are_too_few(directions, p, least, clear, sentence):
    slopes = {k: [0.5, -0.2] for k in ("steering_slope", "steering_control", "steering_p")}
    tables = {
        "Feature": pa.table(slopes | {"steering_p_random": pa.array(p, pa.float64())}),
        "Intervention": pa.table({"beyond_norm": [False], "norm_ratio": [1.0]}),
        "Readout": pa.table({"measure": pa.array([], pa.string())}),
    }
    numbers, sentences = summarise(tables, directions)
    assert (numbers["p_random_least"], numbers["clear_random"]) == (least, clear)
    assert sentence in sentences[1]
    assert ("--random-directions 19" in sentences[1]) == (clear is None)
    assert ("by chance" in sentences[1]) == (clear is not None)


@pytest.mark.parametrize(
    ("p", "warned"), [(1 / 21, False), (0.05, False), (2 / 21, True), (None, False)]
)
def test_a_probe_like_those_of_shuffled_labels_is_warned_of(p, warned):
    names = ("steering_slope", "steering_control", "steering_p", "steering_p_random")
    readout = {"name": "fate:B", "readout": "fate", "measure": "AUC", "accuracy": 0.52}
    readout |= {"baseline": 0.5, "p": p, "probe_cells": 40, "probe_groups": 0}
    tables = {
        "Feature": pa.table({k: [0.5, 0.5] for k in names}),
        "Intervention": pa.table({"beyond_norm": [False], "norm_ratio": [1.0]}),
        "Readout": pa.Table.from_pylist([readout]),
    }
    numbers, sentences = summarise(tables, 19)
    assert numbers["probes"]["fate AUC"]["no_better"] is warned
    told = "warning: the fate probe is no better on held-out cells than probes of shuffled labels"
    assert any(s.startswith(told) for s in sentences) == warned
    assert (f"p = {p:.2g}" if p else "0.50 (40 cells)") in " ".join(sentences)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"state": "target=non-targeting,STAT1"}, "by target: non-targeting [0-9]+, STAT1 0"),
        ({"types": "target", "probe_cells": 8}, "--probe-cells 8: --types needs cells"),
        ({"panel": "on-off", "state": STATE["state"], "layers": (9,)}, "--layers 9: there are"),
    ],
)
def test_probe_cells_that_do_not_suffice_are_refused(study, options, message):
    fired = ShardStore(next((study / "runs").glob("trace-*"))).tables("Feature").to_pandas()
    name = fired.loc[fired["id"].str.contains("/L02/") & (fired["cells_active"] == 6), "id"].iloc[0]
    features = {} if options.get("panel") else {"features": (name,)}
    with pytest.raises(UserError, match=message) as caught:
        steer(study, **features, **options)
    assert caught.value.fix


def test_labelled_cells_of_one_donor_are_refused_before_any_pass(study, monkeypatch):
    """Other cells have other donors, but only labelled ones can be held out."""
    from scircuit.execution.steering_inputs import probe_cohort
    from scircuit.tracing.interventions.steering import probe_readouts

    def read(config, real=probe_cohort.read_obs):
        obs = real(config)
        labels = obs["target"].astype(str)
        obs["donor"] = labels.where(labels == "IFNGR1", "d1").where(labels != "IFNGR1", "d2")
        return obs.assign(half=[("a", "b")[i % 2] for i in range(len(obs))]).assign(
            half=lambda o: o["half"].where(o["donor"] == "d1", None)
        )

    def no_pass(*_args, **_more):
        raise AssertionError("a probe cell was read")

    monkeypatch.setattr(probe_cohort, "read_obs", read)
    monkeypatch.setattr("scircuit.execution.steering_inputs.steering_plan.read_obs", read)
    monkeypatch.setattr(probe_readouts, "read_probe_cells", no_pass)
    fired = ShardStore(next((study / "runs").glob("trace-*"))).tables("Feature").to_pandas()
    name = fired.loc[fired["id"].str.contains("/L02/") & (fired["cells_active"] == 6), "id"].iloc[0]
    with pytest.raises(UserError, match=r"value for --state are of 1 group by --group donor \(d1"):
        steer(study, features=(name,), state="half=a,b", group="donor", probe_cells=120)

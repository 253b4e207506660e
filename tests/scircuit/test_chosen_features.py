"""How features are named for `ablate`, `steer` and `export`: lists with commas, options given
twice, whole addresses and their last two parts.
"""

from __future__ import annotations

import importlib

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from scircuit.cli.verbs import ablate, steer
from scircuit.core.address import Address, listed, slug
from scircuit.core.errors import UserError
from scircuit.core.study import Manifest, Study
from scircuit.execution.chosen_features import chosen_features
from scircuit.ingest.shards.shard_store import ShardStore

RUN = "trace-0000000001"
A, B, C = (Address("m-x", "s", layer, index) for layer, index in ((3, 1), (3, 12), (4, 7)))


@pytest.fixture
def study(tmp_path):
    place = Study(tmp_path / "study")
    config = {"model": "model", "dictionaries": "dictionaries", "cells": "cells.h5ad"}
    manifest = Manifest(run=RUN, verb="trace", config=config, inputs={}, version="0")
    store = ShardStore(place.run_folder(RUN), manifest)
    ids = [*map(str, (A, B, C)), "m-x/s/L03/F0099"]
    alive = np.array([True, True, True, False])
    store.add("run-start", {"Feature": pa.table({"id": ids, "alive": alive})})
    store.finish("complete")
    return place


@pytest.mark.parametrize(
    "given",
    [
        (f"{A}", f"{B}", f"{C}"),
        (f"{A},{B},{C}",),
        (f" {A} , {B}", f"{C},"),
        ("L03/F0001,L03/F0012,L04/F0007",),
        ("L03/F0001", f"{B} L04/F0007", f"{A}"),
    ],
)
def test_features_may_be_given_in_many_ways(study, given):
    found, runs = chosen_features(study, study.latest("trace"), given, 6, least=2)
    assert found == (A, B, C) and runs == (RUN,)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("L3/F1",), "parts, expected 4"),
        (("m-x/s/L3/F0001",), "expected m-x/s/L03/F0001"),
        (("L03/F0099", "L03/F0001"), "m-x/s/L03/F0099 does not fire in run"),
        (("other/s/L03/F0001",), "whose features are m-x/s/"),
        (("L03/F0001,L03/F0001",), "features chosen: 1; expected 2 or more"),
        ((), "no analysis to take hubs from"),
        ((" , ",), "no analysis to take hubs from"),
    ],
)
def test_what_does_not_fit_is_one_sentence(study, given, message):
    with pytest.raises(UserError, match=message) as refused:
        chosen_features(study, study.latest("trace"), given, 6, least=2)
    assert refused.value.fix


@pytest.mark.parametrize(
    ("command", "opens_its_run"),
    [
        (ablate, "scircuit.execution.intervention_run"),
        (steer, "scircuit.workflows.interventions.steer"),
    ],
)
def test_the_same_features_are_the_same_run_however_they_are_written(
    study, monkeypatch, command, opens_its_run
):
    asked = []

    class Stop(Exception):
        pass

    def active_run(_place, verb, config, inputs, *, identity, **_):
        asked.append((verb, inputs, identity))
        raise Stop

    monkeypatch.setattr(importlib.import_module(opens_its_run), "active_run", active_run)
    for words in (
        ["--features", f"{A},{B}"],
        ["--features", f"{A}", "--features", f"{B}"],
        ["--features", "L03/F0001,L03/F0012"],
    ):
        result = CliRunner().invoke(command, [*words, "--no-database", "--study", str(study.root)])
        assert isinstance(result.exception, Stop), result.output
    assert asked[0] == asked[1] == asked[2]
    assert asked[0][1] == {"features": [str(A), str(B)]} == {"features": asked[0][2]["features"]}


def test_lists_of_addresses():
    assert listed(["a,b", " c ", "b", ",,"]) == ("a", "b", "c") and listed([]) == ()


@pytest.mark.parametrize("name", ["", "模型", "***", " . - _ "])
def test_a_name_of_which_nothing_is_left(name):
    with pytest.raises(UserError, match="no letter a-z and no digit"):
        slug(name)

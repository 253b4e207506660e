"""Runs made before some options were retired: their manifests are read, and the same question asked
again is the same run.
"""

from dataclasses import replace

import pytest

from scircuit.core.build_config import build, build_stored, plain
from scircuit.core.config import TraceConfig
from scircuit.core.errors import UserError
from scircuit.core.study import Manifest, run_id
from scircuit.execution.load_inputs import inputs_of_run, load_inputs
from scircuit.workflows.trace import identity_of

RETIRED = {"unit_features": 4, "batch_pairs": 8, "batch_rows": 512}


@pytest.fixture(scope="module")
def config(examples):
    return TraceConfig(
        model=str(examples / "model"),
        dictionaries=str(examples / "dictionaries"),
        cells=examples / "cells" / "celltypist_sample_559cells.h5ad",
        model_name="geneformer-demo",
        dictionary_name="immune-x4-k16",
        device="cpu",
    )


@pytest.fixture(scope="module")
def inputs(config):
    return load_inputs(config)


def test_the_id_of_a_run_changes_only_with_what_it_computes(config, inputs):
    """The id that the immune example has since its effects are compared with random directions."""
    settings = inputs.settings
    resolved = replace(config, target_layers=settings.target_layers, device=settings.device)
    identity = identity_of(resolved, settings)
    assert run_id("trace", identity, {**inputs.hashes(), "parents": ()}) == "trace-69c0133285"


def test_a_manifest_with_retired_options_is_read(config, inputs):
    manifest = Manifest(
        run="trace-0",
        verb="trace",
        config=plain(config) | RETIRED,
        inputs=inputs.hashes(),
        version="",
    )
    found, loaded = inputs_of_run(manifest, device="cpu")
    assert found == config and loaded.settings == inputs.settings
    assert build_stored(TraceConfig, manifest.config) == config


@pytest.mark.parametrize("name", ["config", "tokens"])
def test_inputs_that_changed_beside_the_weights_and_cells_are_refused(config, inputs, name):
    stated = {**inputs.hashes(), **inputs.hashes_beside()}
    assert all(stated.values())
    manifest = Manifest(
        run="trace-0", verb="trace", config=plain(config), inputs=stated | {name: "x"}, version=""
    )
    with pytest.raises(UserError, match=f"the {name} of run trace-0 have changed since it ran"):
        inputs_of_run(manifest, device="cpu")


def test_they_are_no_options_any_more():
    for name, value in RETIRED.items():
        with pytest.raises(UserError, match=f"unknown option {name}"):
            build(TraceConfig, {"model": "m", "dictionaries": "d", "cells": "c", name: value})
    with pytest.raises(UserError, match="unknown option source_layer"):
        build_stored(TraceConfig, {"model": "m", "dictionaries": "d", "source_layer": 1})


def test_settings_are_resolved_once(config, examples):
    asked = replace(
        config,
        source_layers=(3, 2, 3),
        features=(5, 1, 5),
        context="16",
        memory="2g",
        model_name="",
        dictionary_name="Immune SAE",
    )
    settings = load_inputs(asked).settings
    assert settings.source_layers == (2, 3) and settings.target_layers == (3, 4, 5)
    assert settings.layers == (2, 3, 4, 5) and settings.targets_of(3) == (4, 5)
    assert (settings.features, settings.context, settings.memory) == ((1, 5), 16, 2 * 2**30)
    assert (settings.model_name, settings.dictionary_name) == ("model", "immune-sae")
    assert (settings.unit_features, settings.batch_pairs, settings.batch_rows) == (16, 16, 8192)

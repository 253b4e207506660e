"""Number formats other than float32: computed where they belong, refused with numbers where they
are not equivalent.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from scircuit.core.config import TraceConfig
from scircuit.core.errors import UserError
from scircuit.core.study import Manifest
from scircuit.execution.load_inputs import load_inputs
from scircuit.tracing.engine.tracer import open_tracers
from scircuit.tracing.evaluation import precision_check
from scircuit.workflows.trace import trace
from tests.support.tiny_models import tiny_cohort
from tests.support.tiny_tracer import setup


@pytest.fixture
def options(examples):
    return {
        "model": str(examples / "model"),
        "dictionaries": str(examples / "dictionaries"),
        "source_layers": (3,),
        "n_cells": 8,
        "mixed": True,
        "cells": examples / "cells" / "celltypist_sample_559cells.h5ad",
        "features": tuple(range(30)),
        "control_features": 2,
        "max_length": 128,
        "device": "cpu",
        "database": False,
        "quiet": True,
    }


@pytest.mark.parametrize("context", ["exact", "frozen", "8"])
def test_bfloat16_on_the_demo_is_refused_with_what_was_measured(options, tmp_path, context):
    with pytest.raises(UserError) as refused:
        trace(study=tmp_path, context=context, numerics="bf16", **options)
    assert "bf16 against float32 on 8 sources x 8 cells" in refused.value.problem
    assert (
        "(limit 0.0001)" in refused.value.problem
        and refused.value.fix == "leave --numerics at float32"
    )
    assert not (tmp_path / "runs").exists()


def test_float32_against_itself_differs_by_nothing(options):
    config = TraceConfig(**{k: v for k, v in options.items() if k not in ("database", "quiet")})
    inputs = load_inputs(config)
    assert (
        precision_check.require_equivalence(
            inputs.adapter, inputs.dictionaries, inputs.cohort, inputs.settings
        )
        is None
    )
    found = precision_check.measure(
        inputs.adapter, inputs.dictionaries, inputs.cohort, inputs.settings
    )
    assert (found.d, found.degree, found.sources, found.cells) == (0, 0, 8, 8)
    assert found.passed and found.tests > 500
    assert not replace(found, d=2e-4).passed and not replace(found, degree=3).passed


def test_a_format_that_passes_is_used_and_recorded(options, tmp_path, monkeypatch):
    monkeypatch.setattr(precision_check, "MAX_D", 100.0)
    monkeypatch.setattr(precision_check, "MAX_DEGREE", 10**6)
    plain = trace(study=tmp_path, **options)
    fast = trace(study=tmp_path, numerics="bf16", **options)
    assert plain.run != fast.run, "the format is part of what a run is"
    measured = fast.findings["numerics"]
    assert (
        measured["numerics"] == "bf16" and measured["limit_d"] == 100.0 and 0 < measured["d"] < 100
    )
    assert "numerics" not in plain.findings
    run = Manifest.load(fast.folder)
    assert run.config["numerics"] == "bf16" and run.findings["numerics"] == measured
    ours, theirs = (r.edges().set_index(["source", "target"])["mean"] for r in (fast, plain))
    both = ours.to_frame("ours").join(theirs.rename("theirs"), how="inner")
    gap = (both["ours"] - both["theirs"]).abs().max()
    assert 1e-6 < gap < 0.5, "bfloat16 was computed with, and is not far off"
    assert np.corrcoef(both["ours"], both["theirs"])[0, 1] > 0.99


def test_only_the_model_is_computed_in_the_format(monkeypatch):
    tracer, _, dictionaries, tokens = setup()
    seen: dict[str, set[torch.dtype]] = {"project": set(), "encode": set()}

    class Watched(type(tracer.adapter)):
        def finish(self, layer: int, states: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
            seen["project"].add(
                torch.nn.functional.linear(torch.ones(1, 1), torch.ones(1, 1)).dtype
            )
            return super().finish(layer, states, context)

    adapter = tracer.adapter
    monkeypatch.setattr(adapter, "__class__", Watched)
    plain = {t: d.encode_topk for t, d in dictionaries.items()}
    for t, d in dictionaries.items():

        def encode(x: torch.Tensor, t: int = t) -> tuple[torch.Tensor, torch.Tensor]:
            seen["encode"].add(torch.nn.functional.linear(torch.ones(1, 1), torch.ones(1, 1)).dtype)
            assert x.dtype == torch.float32
            return plain[t](x)

        monkeypatch.setattr(d, "encode_topk", encode)
    (other,) = open_tracers(
        adapter, dictionaries, tiny_cohort(tokens), replace(tracer.settings, numerics="bf16"), "r"
    ).values()
    found = other.effects(other.sources)
    assert seen == {"project": {torch.bfloat16}, "encode": {torch.float32}}
    assert found.effects.dtype == np.float32 and max(other.zero_edit.values()) < 0.05
    assert adapter.numerics == "float32" and not torch.is_autocast_enabled("cpu")


def test_tf32_needs_a_gpu(options, tmp_path):
    with pytest.raises(
        UserError, match="tf32 is a format of NVIDIA GPUs; this run computes on cpu"
    ):
        trace(study=tmp_path, numerics="tf32", **options)
    with pytest.raises(UserError, match="choose one of: float32, tf32, bf16"):
        trace(study=tmp_path, numerics="fp8", **options)

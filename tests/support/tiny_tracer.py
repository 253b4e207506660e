"""A tracer of the tiny model, and its edges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scircuit.core.config import TraceConfig
from scircuit.tracing.controls.control_edges import Rule
from scircuit.tracing.engine.settings import TraceSettings, resolve_settings
from scircuit.tracing.engine.tracer import Tracer, open_tracers
from scircuit.tracing.legacy.legacy_effects import LEGACY_RULES
from scircuit.tracing.models.geneformer import Geneformer
from scircuit.tracing.statistics.q_values import q_table
from tests.support.tiny_models import TinyDictionary, tiny_cells, tiny_cohort, tiny_model

SOURCE, TARGETS = 1, (2, 3, 4)
RULE = Rule(q_table(np.array([0.05]), np.array([1])), min_effect=0)
SIZES = {"unit_features": 7, "batch_pairs": 5, "batch_rows": 8192}


def tiny_config(**options: Any) -> TraceConfig:
    """Options of a trace that stores every test."""
    needed = {"model": "m", "dictionaries": "tiny-dictionary", "cells": Path("c"), "gate_p": 1.0}
    layers = {"source_layers": (SOURCE,), "target_layers": TARGETS}
    return TraceConfig(**{**needed, **layers, **options})


def tiny_settings(
    adapter: Any, dictionaries: Mapping[int, Any], config: TraceConfig, **sizes: int
) -> TraceSettings:
    """Settings of a trace with batches and units of a few sources."""
    rules = LEGACY_RULES if config.legacy else None
    settings = resolve_settings(config, adapter, dictionaries, rules)
    return replace(settings, **{**SIZES, **sizes})


def open_tracer(
    adapter: Any,
    dictionaries: Mapping[int, Any],
    cohort: Any,
    options: TraceConfig | TraceSettings | None = None,
    run: str = "trace-test",
) -> Tracer:
    """Tracer of the first source layer, from options or from settings."""
    settings = (
        options
        if isinstance(options, TraceSettings)
        else tiny_settings(adapter, dictionaries, options or tiny_config())
    )
    return next(iter(open_tracers(adapter, dictionaries, cohort, settings, run).values()))


def setup(
    cells: int = 9,
    layers: int = 6,
    act: str = "gelu",
    dtype: torch.dtype = torch.float32,
    **options: Any,
):
    model = tiny_model(layers=layers, act=act).to(dtype)
    dictionaries = {
        t: TinyDictionary(t, 32, 48, 4, seed=t, scale=2.0).to(dtype) for t in (SOURCE, *TARGETS)
    }
    tokens = tiny_cells(cells, seed=3)
    sizes = {name: options.pop(name, size) for name, size in SIZES.items()}
    adapter = Geneformer(model, "tiny", "0" * 64)
    settings = tiny_settings(adapter, dictionaries, tiny_config(**options), **sizes)
    tracer = open_tracer(adapter, dictionaries, tiny_cohort(tokens), settings)
    return tracer, model, dictionaries, tokens


def edges_of(tracer: Tracer) -> dict[tuple[str, str], dict]:
    rows = [row for unit in tracer.units for row in tracer.run_unit(unit).edges.to_pylist()]
    return {(r["source"], r["target"]): r for r in rows}

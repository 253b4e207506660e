"""The demo model, a few of its cells, and random dictionaries for some of its layers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from scircuit.core.config import CellsConfig
from scircuit.tracing.cells.cohort import Cohort, load_cohort
from scircuit.tracing.dictionaries import Dictionary
from scircuit.tracing.models import load_model
from scircuit.tracing.models.adapter import Adapter


def demo_parts(
    examples: Path, *, cells: int, length: int, layers: Iterable[int], features: int, k: int
) -> tuple[Adapter, dict[int, Dictionary], Cohort]:
    """Model, dictionaries in the order of `layers`, and cells of up to `length` tokens."""
    adapter = load_model(examples / "model", "cpu", "geneformer-demo")
    file = examples / "cells" / "celltypist_sample_559cells.h5ad"
    config = CellsConfig(cells=file, n_cells=cells, min_tokens=10)
    cohort = load_cohort(config, adapter.vocabulary, length)
    g = torch.Generator().manual_seed(0)
    dictionaries = {
        layer: Dictionary(
            layer,
            torch.randn(features, adapter.width, generator=g),
            torch.zeros(features),
            torch.randn(features, adapter.width, generator=g),
            torch.zeros(adapter.width),
            torch.zeros(adapter.width),
            k=k,
        )
        for layer in layers
    }
    return adapter, dictionaries, cohort

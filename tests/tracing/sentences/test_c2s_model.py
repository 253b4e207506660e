"""The shipped sentence model is what its metrics say."""

from __future__ import annotations

import json

import numpy as np
import pytest

from scircuit.core.config import CellsConfig
from scircuit.core.files import sha256_file
from scircuit.tracing.cells.cohort import load_cohort
from scircuit.tracing.models import load_model
from scircuit.tracing.models.self_check import self_check
from scircuit.tracing.sentences.sentence_loss import name_nats

CELLS = "papalexi2021_thp1_crispr_20729cells.h5ad"


@pytest.fixture(scope="module")
def adapter(examples):
    return load_model(examples / "c2s" / "model", "cpu")


@pytest.fixture(scope="module")
def metrics(examples):
    return json.loads((examples / "c2s" / "model" / "metrics.json").read_text())


@pytest.fixture(scope="module")
def cohort(examples, adapter):
    """The first of the cells that the training drew."""
    path = examples / "thp1" / "cells" / CELLS
    config = CellsConfig(cells=path, n_cells=240, panel=True, min_tokens=30)
    return load_cohort(config, adapter.vocabulary, adapter.max_length)


def test_shape_and_wording(adapter, cohort, metrics):
    assert (adapter.n_layers, adapter.width, adapter.n_tokens) == (4, 128, 2000)
    assert [str(line) for line in self_check(adapter) if not line.ok] == []
    template = adapter.vocabulary.sentences.template
    assert template.sha256 == metrics["template_sha256"] and not template.is_own
    assert any("template screen" in line.found for line in cohort.report)


def test_loss_is_as_stated_and_reads_the_order(adapter, cohort, metrics, examples):
    """On the held-out cells among the first; other cells than those of the metrics in part, so the
    means agree within the spread of cells.
    """
    stated = metrics["names"]
    assert metrics["cells_sha256"] == sha256_file(examples / "thp1" / "cells" / CELLS)
    held = set(metrics["held_out"])
    test = [t for b, t in zip(cohort.barcodes, cohort.tokens, strict=True) if b in held]
    losses = np.array([name_nats(adapter, cell)[0].mean() for cell in test])
    assert len(losses) > 10
    error = losses.std() / len(losses) ** 0.5
    assert losses.mean() == pytest.approx(stated["token"], abs=4 * error)
    assert stated["gene"] + 0.2 < min(stated["unigram_gene"], stated["shuffled_gene"])


def test_size(examples):
    files = [p for p in (examples / "c2s").rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) < 4e6

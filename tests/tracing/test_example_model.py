"""The shipped model and dictionaries are what their metrics say, on cells neither has seen."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from scircuit.core.config import CellsConfig
from scircuit.core.files import sha256_file
from scircuit.tracing.cells.cohort import load_cohort
from scircuit.tracing.cells.held_out import held_out
from scircuit.tracing.dictionaries import load_dictionaries
from scircuit.tracing.evaluation.quality import evaluate
from scircuit.tracing.models import load_model
from scircuit.tracing.models.self_check import self_check
from tests.support.example_scripts import example_script


@pytest.fixture(scope="module")
def model(examples):
    return load_model(examples / "model", "cpu", "geneformer-demo")


@pytest.fixture(scope="module")
def cohort(examples, model):
    return load_cohort(
        CellsConfig(cells=examples / "cells" / "celltypist_sample_559cells.h5ad", n_cells=0),
        model.vocabulary,
        model.max_length,
    )


@pytest.fixture(scope="module")
def metrics(examples):
    return {
        name: json.loads((examples / name / "metrics.json").read_text())
        for name in ("model", "dictionaries")
    }


@pytest.fixture(scope="module")
def script(examples):
    return example_script(examples, "train_demo_model")


def held(cohort, seed):
    mask = held_out(cohort.barcodes, 0.1, seed)
    return [t for t, h in zip(cohort.tokens, mask, strict=True) if not h], [
        t for t, h in zip(cohort.tokens, mask, strict=True) if h
    ]


def test_shape(model):
    assert (model.n_layers, model.width, model.n_heads, model.max_length, model.n_tokens) == (
        6,
        128,
        4,
        258,
        20_275,
    )
    assert model.dtype == torch.float32
    assert [str(line) for line in self_check(model) if not line.ok] == []


def test_masked_loss_and_baseline_are_as_stated(model, cohort, metrics, script):
    """Recomputed through the adapter, not the training script's forward; the masks come from the
    script's seed.
    """
    stated = metrics["model"]
    train, test = held(cohort, stated["seed"])
    vocabulary, batch = model.vocabulary, stated["options"]["batch"]
    losses, targets = [], []
    for start in range(0, len(test), batch):
        tokens = script.padded(test[start : start + batch], vocabulary.pad)
        generator = torch.Generator().manual_seed(stated["seed"] + 1 + start)
        inputs, chosen = script.mask_genes(
            tokens, 0.15, vocabulary, torch.arange(4, 10), generator, corrupt=False
        )
        for row, given, mask in zip(tokens, inputs, chosen, strict=True):
            with torch.inference_mode():
                logits = model.logits(model.clean_states(given)[-1][mask])
                losses.append(
                    torch.nn.functional.cross_entropy(logits, row[mask], reduction="none")
                )
        targets.append(tokens[chosen])
    loss = float(torch.cat(losses).mean())
    assert len(torch.cat(losses)) == stated["masked_genes"] > 1500
    assert loss == pytest.approx(stated["mlm_loss"], abs=1e-4)
    baseline = script.unigram_loss(train, torch.cat(targets).numpy(), len(vocabulary))
    assert baseline == pytest.approx(stated["unigram_loss"], abs=1e-9)
    assert loss < baseline - 0.4


def test_the_model_reads_its_context(model, cohort, metrics):
    """Guesses from the cell's own genes beat guesses from the same positions of another cell."""
    _, test = held(cohort, metrics["model"]["seed"])
    own, other = [], []
    for i, tokens in enumerate(test[:16]):
        masked = np.random.default_rng(i).choice(np.arange(1, len(tokens) - 1), 30, replace=False)
        for source, losses in ((tokens, own), (test[(i + 7) % len(test)], other)):
            inputs = source.copy()
            inputs[masked] = model.vocabulary.mask
            with torch.inference_mode():
                logits = model.logits(model.clean_states(inputs)[-1][masked])
            losses.append(
                float(torch.nn.functional.cross_entropy(logits, torch.from_numpy(tokens[masked])))
            )
    assert np.mean(own) < np.mean(other) - 0.2


def test_provenance(examples, metrics, model, cohort):
    for name in ("model", "dictionaries"):
        assert (
            metrics[name]["cells_sha256"]
            == sha256_file(examples / "cells" / "celltypist_sample_559cells.h5ad")
            == cohort.sha256
        )
        assert len(metrics[name]["held_out"]) == 56
    assert metrics["model"]["held_out"] == metrics["dictionaries"]["held_out"]
    assert metrics["dictionaries"]["model_sha256"] == model.sha256


def test_dictionaries_are_as_good_as_stated(examples, model, cohort, metrics):
    dictionaries = load_dictionaries(examples / "dictionaries")
    assert list(dictionaries) == list(range(6))
    _, test = held(cohort, metrics["dictionaries"]["seed"])
    measured = evaluate(model, dictionaries, test)
    for stated in metrics["dictionaries"]["layers"]:
        layer = stated["layer"]
        dictionary = dictionaries[layer]
        assert (dictionary.n_features, dictionary.k, dictionary.decoder_norm) == (
            512,
            16,
            "columns",
        )
        # Kernels of another machine move sums of 14,336 rows in the seventh digit.
        assert measured[layer]["variance_explained"] == pytest.approx(
            stated["variance_explained"], abs=1e-4
        )
        assert measured[layer]["dead_share"] == pytest.approx(stated["dead_share"], abs=0.005)
        assert stated["variance_explained"] > stated["pca_variance_explained"] + 0.1
        assert stated["variance_explained"] > 0.6 and stated["dead_share"] < 0.1
        assert stated["rows_held_out"] == 56 * 256


def test_size(examples):
    """Small enough for a repository: 10 MB for the sentence model, 20 MB for everything else."""
    sizes = {
        p: p.stat().st_size
        for p in examples.rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    sentences = sum(size for p, size in sizes.items() if (examples / "c2s") in p.parents)
    assert 0 < sentences < 10e6
    assert sum(sizes.values()) - sentences < 20e6

"""The THP-1 model and its dictionaries are what their metrics say, and know interferon gamma."""

from __future__ import annotations

import json

import anndata
import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu

from scircuit.core.config import CellsConfig
from scircuit.core.files import sha256_file
from scircuit.tracing.cells.cohort import load_cohort
from scircuit.tracing.cells.held_out import held_out
from scircuit.tracing.clean_pass.activations import cell_rows
from scircuit.tracing.dictionaries import load_dictionaries
from scircuit.tracing.evaluation.quality import evaluate
from scircuit.tracing.models import load_model
from scircuit.tracing.models.self_check import self_check
from scircuit.tracing.tokenisation.vocabulary import geneformer_v2
from tests.support.example_scripts import example_script

CELLS = "papalexi2021_thp1_crispr_20729cells.h5ad"
LAYER = 1
PATHWAY = ("UBE2L6", "STAT1", "IFNGR2", "JAK2", "PSMB9")


@pytest.fixture(scope="module")
def thp1(examples):
    return examples / "thp1"


@pytest.fixture(scope="module")
def model(thp1):
    return load_model(thp1 / "model", "cpu", "geneformer-thp1")


@pytest.fixture(scope="module")
def dictionaries(thp1):
    return load_dictionaries(thp1 / "dictionaries")


@pytest.fixture(scope="module")
def cohort(thp1, model):
    config = CellsConfig(cells=thp1 / "cells" / CELLS, n_cells=0)
    return load_cohort(config, model.vocabulary, model.max_length)


@pytest.fixture(scope="module")
def target(thp1, cohort):
    """What each cell's guide knocks out."""
    data = anndata.read_h5ad(thp1 / "cells" / CELLS, backed="r")
    return data.obs["target"].astype(str).to_numpy()[cohort.row_ids]


@pytest.fixture(scope="module")
def metrics(thp1):
    return {
        name: json.loads((thp1 / name / "metrics.json").read_text())
        for name in ("model", "dictionaries")
    }


@pytest.fixture(scope="module")
def script(examples):
    return example_script(examples, "train_demo_model")


def test_shape_and_vocabulary(model):
    assert (model.n_layers, model.width, model.n_heads, model.n_tokens) == (4, 96, 4, 252)
    assert [str(line) for line in self_check(model) if not line.ok] == []
    known = geneformer_v2()
    assert len(model.vocabulary.median) == 248
    assert all(known.median[g] == m for g, m in model.vocabulary.median.items())


def test_the_panel_declares_itself(cohort):
    line = next(line for line in cohort.report if line.name == "panel")
    assert line.ok and "248 of the model's 248 genes measured" in line.found
    assert len(cohort.tokens) == 20_729


def test_masked_loss_is_as_stated_and_beats_what_knows_the_genes(model, cohort, metrics, script):
    """Recomputed through the adapter on every fourth batch; the masks come from the seed."""
    stated = metrics["model"]
    mask = held_out(cohort.barcodes, 0.1, stated["seed"])
    test = [t for t, h in zip(cohort.tokens, mask, strict=True) if h]
    batch, losses = stated["options"]["batch"], []
    for start in range(0, len(test), 4 * batch):
        tokens = script.padded(test[start : start + batch], model.vocabulary.pad)
        generator = torch.Generator().manual_seed(stated["seed"] + 1 + start)
        inputs, chosen = script.mask_genes(
            tokens, 0.15, model.vocabulary, torch.arange(4, 10), generator, corrupt=False
        )
        for cell, row, given, which in zip(test[start:], tokens, inputs, chosen, strict=False):
            with torch.inference_mode():
                states = model.clean_states(given[: len(cell)])[-1]
                logits = model.logits(states[which[: len(cell)]])
                losses.append(
                    torch.nn.functional.cross_entropy(logits, row[which], reduction="none")
                )
    losses = torch.cat(losses)
    error = float(losses.std() / len(losses) ** 0.5)
    assert len(losses) > 4_000
    assert float(losses.mean()) == pytest.approx(stated["mlm_loss"], abs=4 * error)
    assert stated["mlm_loss"] + 8 * error < stated["gene_gene_loss"] < stated["unigram_loss"]


def test_provenance(thp1, metrics, model, cohort):
    for name in ("model", "dictionaries"):
        assert metrics[name]["cells_sha256"] == sha256_file(thp1 / "cells" / CELLS) == cohort.sha256
    assert set(metrics["dictionaries"]["held_out"]) <= set(metrics["model"]["held_out"])
    assert metrics["dictionaries"]["model_sha256"] == model.sha256
    assert metrics["model"]["command"] == "python examples/train_thp1_model.py"


def test_dictionaries_are_as_good_as_stated(dictionaries, model, cohort, metrics):
    stated = metrics["dictionaries"]
    held = set(stated["held_out"])
    test = [t for b, t in zip(cohort.barcodes, cohort.tokens, strict=True) if b in held]
    assert list(dictionaries) == list(range(4))
    measured = evaluate(model, dictionaries, test)
    for layer in stated["layers"]:
        found, dictionary = measured[layer["layer"]], dictionaries[layer["layer"]]
        assert (dictionary.n_features, dictionary.k) == (384, 16)
        assert found["variance_explained"] == pytest.approx(layer["variance_explained"], abs=1e-4)
        assert found["dead_share"] == pytest.approx(layer["dead_share"], abs=0.005)
        assert layer["variance_explained"] > layer["pca_variance_explained"] + 0.05
        assert layer["dead_share"] < 0.1


def test_the_interferon_feature_falls_where_the_pathway_is_knocked_out(
    model, dictionaries, cohort, target
):
    """The feature is chosen by its genes in non-targeting cells. Cells without STAT1 have less of
    it even where STAT1's own token is left out of every input; cells without CD86 do not.
    """
    vocabulary, dictionary = model.vocabulary, dictionaries[LAYER]
    pathway = [vocabulary.token[vocabulary.symbol_to_ensembl[s]] for s in PATHWAY]

    def some(name, number=120):
        rows = np.flatnonzero(target == name)
        return np.random.default_rng(0).permutation(rows)[:number]

    def codes(row, without=-1):
        tokens = cohort.tokens[row][cohort.tokens[row] != without]
        with torch.inference_mode():
            z = dictionary.encode(cell_rows(model, tokens, [LAYER])[LAYER])
        return z.numpy(), tokens[1:-1]

    total = np.zeros((dictionary.n_features, model.n_tokens))
    for row in some("non-targeting"):
        z, genes = codes(row)
        np.add.at(total.T, genes, z)
    highest = np.argsort(-total, axis=1)[:, :6]
    hits = np.isin(highest, pathway).sum(axis=1)
    share = total[:, pathway].sum(axis=1) / np.maximum(total.sum(axis=1), 1e-9)
    feature = int(np.lexsort((-share, -hits))[0])
    assert hits[feature] >= 3

    def activity(name, without):
        return [codes(row, without)[0][:, feature].mean() for row in some(name)]

    own = vocabulary.token[vocabulary.symbol_to_ensembl["STAT1"]]
    control = activity("non-targeting", own)
    stat1 = mannwhitneyu(activity("STAT1", own), control)
    other = mannwhitneyu(activity("CD86", own), control)
    assert stat1.pvalue < 1e-3 and stat1.statistic / 120**2 < 0.42
    assert other.pvalue > 0.01


def test_size(thp1):
    total = sum(p.stat().st_size for p in thp1.rglob("*") if p.suffix in (".safetensors", ".json"))
    assert total < 10e6

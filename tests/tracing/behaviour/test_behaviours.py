"""What each behaviour reads, against plain formulas."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scircuit.core.errors import UserError
from scircuit.tracing.behaviour.behaviours import GeneLogits, GeneLoss, ProbeMargin
from scircuit.tracing.behaviour.probe import Probe, fit_probe, mean_states
from scircuit.tracing.models.geneformer import Geneformer
from tests.support.tiny_models import tiny_cells, tiny_model
from tests.support.toy_adapter import Toy

SET = (5, 9, 14, 22, 31, 40)


@pytest.fixture(scope="module")
def adapter():
    found = Geneformer(tiny_model(layers=2), "tiny", "0" * 64)
    found.vocabulary = SimpleNamespace(mask=1)
    return found


def read(adapter, prompt):
    last = adapter.clean_states(prompt.tokens)[-1]
    return float(prompt.read(last[prompt.rows][None])[0]), last


def test_gene_logits_are_a_contrast_between_masked_genes(adapter):
    found = 0
    for i, cell in enumerate(tiny_cells(6, low=20, high=30)):
        prompt = GeneLogits("set", SET, seed=3).prompt(adapter, cell, i)
        if prompt is None:
            assert not set(cell) & set(SET)
            continue
        found += 1
        value, last = read(adapter, prompt)
        rows = prompt.rows.tolist()
        own = [p for p in rows if cell[p] in SET]
        other = [p for p in rows if cell[p] not in SET]
        assert len(own) == len(other) >= 1 and (prompt.tokens[rows] == 1).all()
        assert (np.delete(prompt.tokens, rows) == np.delete(cell, rows)).all()
        with torch.no_grad():
            logits = adapter.logits(last)
        each = logits[:, list(SET)].mean(1) - logits[:, 4:].mean(1)
        assert value == pytest.approx(float(each[own].mean() - each[other].mean()), abs=1e-5)
    assert found > 2


@pytest.mark.parametrize("tokens", [SET, ()])
def test_gene_loss_masks_the_genes_of_the_programme(adapter, tokens):
    for i, cell in enumerate(tiny_cells(6, low=20, high=30)):
        prompt = GeneLoss("set", tokens, seed=3).prompt(adapter, cell, i)
        if prompt is None:
            assert tokens and not set(cell) & set(tokens)
            continue
        value, last = read(adapter, prompt)
        rows = prompt.rows.tolist()
        assert len(rows) <= max(1, round(0.15 * (len(cell) - 2)))
        assert not tokens or set(cell[rows]) <= set(tokens)
        assert set(rows) <= set(prompt.genes.tolist())
        with torch.no_grad():
            p = adapter.logits(last).log_softmax(-1)
        plain = np.mean([float(p[r, cell[r]]) for r in rows])
        assert value == pytest.approx(plain, abs=1e-5)


def test_a_model_without_tokens_has_no_loss():
    with pytest.raises(UserError, match="has no token head"):
        toy = Toy()
        toy.vocabulary = SimpleNamespace(mask=None)
        GeneLoss("set", SET).prompt(toy, tiny_cells(1)[0], 0)
    with pytest.raises(UserError, match="has no token head"):
        GeneLogits("set", SET).prompt(toy, tiny_cells(1)[0], 0)


def test_a_model_that_predicts_expression_is_read_at_the_genes_of_the_set():
    toy = Toy()
    toy.vocabulary = SimpleNamespace(mask=None)
    weight = torch.randn(toy.width, generator=torch.Generator().manual_seed(0))
    toy.predicted_expression = lambda rows: rows @ weight
    cell = np.r_[2, 5, 7, 9, 14, 20, 3]
    prompt = GeneLogits("set", SET).prompt(toy, cell, 0)
    value, last = read(toy, prompt)
    each = (last @ weight)[[1, 3, 4]].mean() - (last @ weight)[[2, 5]].mean()
    assert value == pytest.approx(float(each), abs=1e-5) and (prompt.tokens == cell).all()


def test_the_margin_of_a_probe_is_positive_on_the_own_side(adapter):
    cell = tiny_cells(1)[0]
    weight = np.random.default_rng(0).normal(size=32)
    margins = []
    for own in (True, False):
        behaviour = ProbeMargin("a=b", Probe(weight, 0.5, 1, 0, 0, 0), np.array([own]))
        value, last = read(adapter, behaviour.prompt(adapter, cell, 0))
        margins.append(value)
    plain = float(last[1:-1].mean(0).double() @ torch.from_numpy(weight)) + 0.5
    assert margins == pytest.approx([plain, -plain], abs=1e-4)


def test_a_probe_finds_a_class_and_states_its_accuracy_on_unseen_cells():
    rng = np.random.default_rng(0)
    own = rng.random(160) < 0.3
    states = rng.normal(size=(160, 20)) * rng.uniform(0.1, 10, 20) + 5
    states[:, 3] += np.where(own, 2.5, 0) * states[:, 3].std()
    probe = fit_probe(states, own, "a=b")
    assert probe.accuracy > 0.75 and probe.p < 0.01
    assert probe.fitted + probe.tested == 160 and probe.tested >= 50
    fresh = rng.random(4000) < 0.5
    x = rng.normal(size=(4000, 20)) * states.std(0) + states.mean(0)
    x[:, 3] = rng.normal(size=4000) + fresh * 2.5
    assert probe.weight[3] > 0


def test_a_probe_at_chance_is_refused_with_its_accuracy():
    """At most one false probe in 20: it is tested at p <= 0.05."""
    refused = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        try:
            fit_probe(rng.normal(size=(90, 10)), rng.random(90) < 0.5, "a=b", seed)
        except UserError as error:
            refused += "as permuted labels are" in str(error)
    assert refused >= 17  # binomial(20, 0.05): three or more false ones have probability 0.08


def test_a_probe_needs_cells_of_both_classes():
    with pytest.raises(UserError, match="5 cells are a=b and 45 are not"):
        fit_probe(np.zeros((50, 3)), np.arange(50) < 5, "a=b")


def test_mean_states_are_those_of_the_genes(adapter):
    cells = tiny_cells(3)
    for cell, mean in zip(cells, mean_states(adapter, cells), strict=True):
        np.testing.assert_allclose(mean, adapter.clean_states(cell)[-1][1:-1].mean(0), atol=1e-6)

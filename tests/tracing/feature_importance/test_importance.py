"""Importance of features: losses against whole forwards with hooks, arms, tests, and the published
average over active cells.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scircuit.core.address import Address
from scircuit.core.errors import UserError
from scircuit.tracing.evaluation.loss_recovered import mask_genes
from scircuit.tracing.interventions.feature_importance import (
    Arms,
    LossChanges,
    choose_arms,
    importance,
    loss_changes,
)
from scircuit.tracing.models.geneformer import Geneformer
from tests.support.plain_engine import brute_force_p
from tests.support.tiny_models import TinyDictionary, tiny_cells, tiny_model


def world():
    adapter = Geneformer(tiny_model(layers=3), "tiny", "0" * 64)
    adapter.vocabulary = SimpleNamespace(mask=1)
    dictionaries = {t: TinyDictionary(t, 32, 40, 3, seed=t, scale=2.0) for t in (0, 2)}
    return adapter, dictionaries, tiny_cells(7, low=12)


def plain_loss(adapter, cell, seed, layer=None, dictionary=None, feature=0):
    """Masked-LM loss by the library's own forward; one feature removed by a hook where a layer is
    given; whether the feature is active.
    """
    masked, at = mask_genes(adapter, cell, seed)
    genes, seen = adapter.gene_positions(cell), []

    def hook(_module, _inputs, output):
        states = output[0] if isinstance(output, tuple) else output
        z = dictionary.encode(states[0, genes])[:, feature]
        seen.append(bool((z > 0).any()))
        changed = states.clone()
        changed[0, genes] -= z[:, None] * dictionary.w_dec[:, feature]
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    block = adapter.model.bert.encoder.layer
    handle = None if layer is None else block[layer].register_forward_hook(hook)
    with torch.no_grad():
        logits = adapter.model(torch.from_numpy(masked)[None]).logits[0]
    if handle:
        handle.remove()
    p = logits[at].double().log_softmax(-1)
    loss = -np.mean([float(p[i, cell[a]]) for i, a in enumerate(at)])
    return loss, bool(seen and seen[0])


@pytest.fixture(scope="module")
def measured():
    adapter, dictionaries, cells = world()
    features = [Address("tiny", "set", layer, f) for layer in (0, 2) for f in range(0, 40, 2)]
    return (
        adapter,
        dictionaries,
        cells,
        features,
        loss_changes(adapter, dictionaries, cells, features, seed=5),
    )


def test_changes_equal_whole_forwards_with_hooks(measured):
    adapter, dictionaries, cells, features, found = measured
    for c, cell in enumerate(cells):
        baseline, _ = plain_loss(adapter, cell, 5)
        assert found.baseline[c] == pytest.approx(baseline, abs=1e-5)
        for i, f in enumerate(features):
            loss, active = plain_loss(adapter, cell, 5, f.layer, dictionaries[f.layer], f.index)
            assert found.active[i, c] == active
            assert found.change[i, c] == pytest.approx(loss - baseline, abs=1e-5)
    assert np.abs(found.change).max() > 1e-3


def test_inactive_cells_count_as_exactly_zero(measured):
    found = measured[-1]
    assert (~found.active).any() and found.active.any()
    assert (found.change[~found.active] == 0).all()


def test_a_feature_depends_on_no_other_of_the_batch(measured):
    adapter, dictionaries, cells, features, found = measured
    for i in (3, 25):
        alone = loss_changes(adapter, dictionaries, cells, [features[i]], seed=5)
        np.testing.assert_array_equal(alone.change[0], found.change[i])


def test_the_published_average_over_active_cells_measures_which_cells_these_are():
    """A feature without any effect, active where the loss is low: it would seem to help the model
    to lose it. Paired with each cell's own baseline its importance is zero.
    """
    baseline = np.array([3.0, 3.1, 3.2, 6.0, 6.1, 6.2])
    active = np.array([[True] * 3 + [False] * 3, [True] * 6])
    found = LossChanges(np.zeros((2, 6)), active, baseline, np.full(6, 10))
    assert found.as_published[0] == pytest.approx(-1.5) and found.as_published[1] == 0
    assert (found.change.mean(1) == 0).all()
    never = LossChanges(np.zeros((1, 2)), np.zeros((1, 2), bool), np.ones(2), np.ones(2, int))
    assert np.isnan(never.as_published[0])


def test_matches_are_the_nearest_in_firing_rate_of_the_same_layer():
    rng = np.random.default_rng(0)
    layer, rate = rng.integers(0, 2, 60), rng.random(60)
    rank = rng.permutation(60) + 1.0
    arms = choose_arms(layer, rate, rank, 10, seed=1)
    assert rank[arms.hubs].tolist() == sorted(rank)[:10]
    assert len(set(arms.every)) == 30  # nothing is twice in the arms
    free = set(range(60)) - set(arms.hubs)
    for hub, match in zip(arms.hubs, arms.matched, strict=True):
        same = [f for f in free if layer[f] == layer[hub]]
        best = min(abs(np.log(rate[f] / rate[hub])) for f in same)
        assert abs(np.log(rate[match] / rate[hub])) == best and match in same
        free.discard(match)
    assert set(arms.random) <= free


@pytest.mark.parametrize(("features", "hubs", "pairs"), [(9, 50, 3), (30, 4, 4)])
def test_as_many_hubs_as_can_be_matched(features, hubs, pairs):
    arms = choose_arms(
        np.zeros(features, int), np.full(features, 0.1), np.arange(1.0, features + 1), hubs
    )
    assert len(arms.hubs) == len(arms.matched) == len(arms.random) == pairs
    assert arms.asked == hubs and arms.distance == 0


def test_too_few_features():
    for layer, rank in ((np.zeros(5, int), np.arange(5.0)), (np.arange(9), np.arange(9.0))):
        with pytest.raises(UserError, match=r"hub.* can be matched with a feature"):
            choose_arms(layer, np.full(len(layer), 0.1), rank, 5)


def planted(effect, n=12, cells=40, seed=0):
    """Changes of 3 n features; hubs have `effect` more than others."""
    rng = np.random.default_rng(seed)
    means = rng.normal(0, 0.02, 3 * n)
    means[:n] += effect
    change = means[:, None] + rng.normal(0, 0.1, (3 * n, cells))
    active = rng.random(change.shape) < 0.8
    found = LossChanges(change * active, active, np.full(cells, 5.0), np.full(cells, 9))
    i = np.arange(n)
    return found, Arms(i, i + n, i + 2 * n, n, 0.0)


def test_tests_equal_plain_ones():
    changes, arms = planted(0.05, n=6, cells=9)
    degree = np.random.default_rng(3).permutation(18).astype(float)
    found = importance(changes, arms, degree, degree % 5)
    for i in (0, 7, 17):
        assert found.p[i] == pytest.approx(brute_force_p(changes.change[i]))
    pairs = changes.change.mean(1)[:6] - changes.change.mean(1)[6:12]
    assert found.matched.p == pytest.approx(brute_force_p(pairs))
    assert found.matched.value == pytest.approx(pairs.mean())
    from scipy.stats import rankdata, spearmanr

    assert found.rho.value == pytest.approx(spearmanr(degree, found.mean).statistic)
    x, y, z = (np.corrcoef(np.c_[rankdata(a), rankdata(b)].T)[0, 1] for a, b in (
        (degree, found.mean), (degree, degree % 5), (found.mean, degree % 5)))  # fmt: skip
    assert found.partial.value == pytest.approx((x - y * z) / np.sqrt((1 - y**2) * (1 - z**2)))


def test_more_important_hubs_are_found_and_equal_ones_are_not():
    """Power 20 of 20 at an effect of 2.5 standard deviations of features, false share about 5 %."""
    degree, rate = np.arange(36.0), np.random.default_rng(0).random(36)
    strong = [importance(*planted(0.05, seed=s), degree, rate, s) for s in range(20)]
    assert sum(f.matched.p <= 0.05 and f.matched.value > 0 for f in strong) == 20
    assert sum(f.random.p <= 0.05 for f in strong) == 20
    none = [importance(*planted(0, seed=100 + s), degree, rate, s) for s in range(60)]
    for test in ("matched", "random", "rho", "partial"):
        false = sum(getattr(f, test).p <= 0.05 for f in none)
        assert false <= 9  # binomial(60, 0.05) is above 9 with probability 0.001
    assert 0 <= np.mean([f.q <= 0.05 for f in none]) < 0.2


def test_degenerate_inputs_give_no_number_where_there_is_none():
    n = 4
    arms = Arms(np.arange(n), np.arange(n) + n, np.arange(0), n, 0.0)
    zero = LossChanges(
        np.zeros((2 * n, 5)), np.zeros((2 * n, 5), bool), np.ones(5), np.ones(5, int)
    )
    found = importance(zero, arms, np.ones(2 * n), np.ones(2 * n))
    assert np.isnan(found.p).all() and np.isnan(found.matched.p) and np.isnan(found.random.value)
    assert np.isnan(found.rho.value) and np.isnan(found.partial.value)


def test_models_and_cells_that_cannot_be_masked():
    adapter, dictionaries, _ = world()
    features = [Address("tiny", "set", 0, 0)]
    with pytest.raises(UserError, match="none of 1 cells has two genes"):
        loss_changes(adapter, dictionaries, [np.array([2, 5, 3])], features)
    adapter.vocabulary = SimpleNamespace(mask=None)
    with pytest.raises(UserError, match="has no token head"):
        loss_changes(adapter, dictionaries, tiny_cells(2), features)

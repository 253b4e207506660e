"""Contributions of one sweep against autograd, interventions and the sum that must come out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scircuit.core.errors import UserError
from scircuit.tracing.attribution.backward_rows import (
    EMBEDDING,
    backward_rows,
    target_batches,
)
from scircuit.tracing.attribution.completeness import LIMIT, Completeness
from scircuit.tracing.attribution.frozen_cell import freeze
from scircuit.tracing.attribution.targets import answer_target, feature_target, stream_target
from tests.support.plain_attribution import leaves_of, plain_gradient, plain_value
from tests.support.tiny_prenorm import KINDS, TinyPreNorm, tiny_cell, tiny_transcoders

LENGTH = 9


def frozen(kind, length=LENGTH, dtype=torch.float64, keep=2**20, **options):
    model = TinyPreNorm(kind, dtype=dtype)
    return freeze(model, tiny_cell(length), tiny_transcoders(model, **options), keep)


def some_targets(cell):
    """Features that fire and one that does not, directions, and a difference of answers."""
    g = torch.Generator().manual_seed(1)
    last = cell.length - 1
    found = [
        feature_target(cell, layer, int(cell.layers[layer].indices[at, 0]), at)
        for layer, at in ((3, last), (0, 2), (2, last - 1), (3, 0), (1, 4))
    ]
    silent = next(f for f in range(60) if f not in cell.layers[2].indices[5])
    found.append(feature_target(cell, 2, silent, 5))
    for layer in (0, 2, 4):
        v = torch.randn(cell.adapter.width, generator=g, dtype=torch.float64)
        found.append(stream_target(cell, layer, last - layer, v.to(cell.final.dtype)))
    table = cell.adapter.unembedding
    found.append(
        answer_target(cell, cell.adapter.final_norm, table[3] - table[8], last, 0.25, "3 or 8")
    )
    return found


@pytest.fixture(
    scope="module",
    params=[(kind, skip) for kind in KINDS for skip in (False, True)],
    ids=lambda p: f"{p[0]}{'-skip' if p[1] else ''}",
)
def cell(request):
    return frozen(request.param[0], skip=request.param[1])


def test_contributions_are_activation_times_gradient(cell):
    """One autograd backward for each target; both in float64, on numbers of the size of one."""
    targets = some_targets(cell)
    parts = {p.layer: p for p in backward_rows(cell, targets)}
    clean = leaves_of(cell)
    for b, target in enumerate(targets):
        value, slope = plain_gradient(cell, target)
        assert abs(float(value) - target.value) < 1e-12 * (1 + abs(target.value))
        for m in range(cell.n_layers):
            if m not in parts:
                assert float(slope.errors[m].abs().max()) == 0
                continue
            part = parts[m]
            torch.testing.assert_close(part.pull[b], slope.errors[m], atol=1e-12, rtol=1e-12)
            wanted = clean.codes[m] * slope.codes[m]
            found = torch.zeros_like(wanted).scatter_add(1, part.indices, part.features[b])
            torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)
            errors = (clean.errors[m] * slope.errors[m]).sum(-1)
            torch.testing.assert_close(part.errors[b], errors, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(
            parts[EMBEDDING].errors[b],
            (clean.embedding * slope.embedding).sum(-1),
            atol=1e-12,
            rtol=1e-12,
        )


def test_an_edge_is_what_the_target_loses_without_its_source(cell):
    """Each leaf is taken out in turn with all else held fixed."""
    target = some_targets(cell)[0]
    for part in backward_rows(cell, [target]):
        for s in (0, 3, target.position):
            changed = leaves_of(cell)
            if part.layer == EMBEDDING:
                changed.embedding[s] = 0
            else:
                changed.errors[part.layer][s] = 0
            lost = target.value - float(plain_value(cell, target, changed))
            assert abs(lost - float(part.errors[0, s])) < 1e-11
            if part.layer == EMBEDDING:
                continue
            for j in (0, 2):
                changed = leaves_of(cell)
                changed.codes[part.layer][s, part.indices[s, j]] -= 0.125
                lost = target.value - float(plain_value(cell, target, changed))
                edge = float(part.features[0, s, j] / part.values[s, j])
                assert abs(lost - 0.125 * edge) < 1e-11


def test_nothing_comes_from_later_positions_or_layers(cell):
    for target in some_targets(cell):
        for part in backward_rows(cell, [target]):
            assert float(part.pull[:, target.position + 1 :].abs().sum()) == 0
            if part.layer >= target.layer:
                assert float(part.features.abs().sum()) == 0


def measure(cell, targets):
    sums = Completeness(targets)
    for part in backward_rows(cell, targets):
        sums.add(part)
    return sums


def test_contributions_add_up_to_the_value(cell):
    sums = measure(cell, some_targets(cell))
    assert sums.relative.max() <= 1e-14  # two digits above the rounding of a float64
    assert sums.of_value.max() <= 1e-12  # no value of these is near 0
    assert all(np.abs(found).max() > 1e-3 for found in sums.sums.values())
    sums.require()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rule", ["topk", "jumprelu"])
def test_contributions_add_up_in_float32(kind, rule):
    cell = frozen(kind, 40, torch.float32, rule=rule, skip=True)
    sums = measure(cell, some_targets(cell))
    assert LIMIT[torch.float32] == 1e-6
    sums.require()


@pytest.mark.parametrize("kind", KINDS)
def test_layers_without_transcoders_are_leaves(kind):
    model = TinyPreNorm(kind)
    transcoders = tiny_transcoders(model)
    del transcoders[1]
    cell = freeze(model, tiny_cell(6), transcoders)
    targets = [feature_target(cell, 3, 7, 5)]
    measure(cell, targets).require()
    with pytest.raises(UserError, match="the layer has no transcoder"):
        feature_target(cell, 1, 7, 5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_target_has_the_same_bits_in_any_batch(kind, dtype):
    """More than one extent and more than one batch; patterns kept or computed again."""
    cell = frozen(kind, 130, dtype, skip=True)
    again = frozen(kind, 130, dtype, keep=0, skip=True)
    g = np.random.default_rng(0)
    targets = []
    for _ in range(53):
        layer, at = int(g.integers(4)), int(g.integers(130))
        targets.append(feature_target(cell, layer, int(g.integers(60)), at))
    batches = target_batches(cell, targets)
    assert sorted(i for b in batches for i in b) == list(range(53))
    assert len(batches) >= 2
    for batch in batches:
        assert len({cell.extent(targets[i].position) for i in batch}) == 1
        together = {p.layer: p for p in backward_rows(cell, [targets[i] for i in batch])}
        for b in (0, len(batch) // 2, len(batch) - 1):
            for one in backward_rows(again, [targets[batch[b]]]):
                many = together[one.layer]
                assert torch.equal(one.pull[0], many.pull[b])
                assert torch.equal(one.features[0], many.features[b])
                assert torch.equal(one.errors[0], many.errors[b])
                for name, bias in one.biases.items():
                    assert torch.equal(bias[0], many.biases[name][b]), name


class Largest(torch.utils._python_dispatch.TorchDispatchMode):
    """Notes the largest tensor that any operation gives."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for t in found if isinstance(found, tuple | list) else (found,):
            if isinstance(t, torch.Tensor) and t.untyped_storage().nbytes():
                held = t.untyped_storage().nbytes() // t.element_size()
                self.numbers = max(self.numbers, held)
        return found


def test_no_tensor_grows_with_the_number_of_nodes():
    """Many features at every position: every tensor stays at the size of the vectors of a batch,
    far below targets by sources, and very far below sources by sources.
    """
    model = TinyPreNorm("parallel", layers=4, dtype=torch.float32)
    cell = freeze(model, tiny_cell(96), tiny_transcoders(model, features=400, k=200), keep=0)
    nodes = 4 * 96 * 200
    targets = [feature_target(cell, 3, f, 90) for f in range(48)]
    with Largest() as largest:
        for _ in backward_rows(cell, targets):
            pass
    # one layer: contributions [B, E, k] or gathered rows [E, k, d]; 32 entries of H e a position
    assert largest.numbers <= max(48 * 96 * 200, 96 * 200 * 24, 48 * 96 * 32)
    assert largest.numbers < nodes * 48 / 3 and largest.numbers < nodes**2 / 1000


def test_refusals(cell):
    with pytest.raises(UserError, match=r"no feature 60 in layer 2; it has 60"):
        feature_target(cell, 2, 60, 1)
    with pytest.raises(UserError, match=r"layers 0 to 3 and positions 0 to 8"):
        feature_target(cell, 4, 1, 1)
    with pytest.raises(UserError, match=r"no target at layer 1, position 9"):
        stream_target(cell, 1, 9, torch.zeros(24))
    targets = some_targets(cell)
    wrong = Completeness([targets[0]._replace(value=targets[0].value + 1)])
    for part in backward_rows(cell, targets[:1]):
        wrong.add(part)
    with pytest.raises(UserError, match="contributions add up to"):
        wrong.require()

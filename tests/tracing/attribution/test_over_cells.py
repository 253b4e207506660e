"""Edges over cells against plain loops over all contributions of all cells."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from scircuit.core.errors import UserError
from scircuit.tracing.attribution.edge_sums import TargetSums
from scircuit.tracing.attribution.frozen_cell import freeze
from scircuit.tracing.attribution.over_cells import OverCells, firing_targets
from scircuit.tracing.attribution.targets import feature_target
from tests.support.plain_attribution import leaves_of, plain_gradient
from tests.support.tiny_prenorm import KINDS, TinyPreNorm, tiny_cell, tiny_transcoders


@pytest.fixture(scope="module", params=KINDS)
def cells(request):
    model = TinyPreNorm(request.param, layers=3)
    transcoders = tiny_transcoders(model, features=25, k=4, skip=True)
    return [freeze(model, tiny_cell(6 + seed, seed), transcoders) for seed in range(7)]


TARGETS = [(2, f) for f in range(0, 25, 3)] + [(1, 4)]


def plain(cells, target):
    """x_c of every source, and what else adds to the target, from one autograd a position."""
    values, rest = {}, []
    for c, cell in enumerate(cells):
        layer, feature = target
        hits = (cell.layers[layer].indices == feature) & (cell.layers[layer].values > 0)
        places = hits.any(1).nonzero()[:, 0].tolist()
        if not places:
            continue
        clean, sums = leaves_of(cell), {}
        errors = embeddings = pre = 0.0
        for t in places:
            one = feature_target(cell, layer, feature, t)
            value, slope = plain_gradient(cell, one)
            pre += float(value)
            embeddings += float((clean.embedding * slope.embedding).sum())
            for m in range(3):
                errors += float((clean.errors[m] * slope.errors[m]).sum())
                found = clean.codes[m] * slope.codes[m]
                for s, f in found.nonzero().tolist():
                    entry = sums.setdefault((m, f), [0.0, 0.0, 0])
                    entry[0] += float(found[s, f])
                    entry[1] += float(found[s, f]) if s == t else 0.0
                    entry[2] += 1
        for source, (x, own, count) in sums.items():
            values.setdefault(source, []).append((c, x / len(places), own / len(places), count))
        rest.append([x / len(places) for x in (pre, errors, embeddings)] + [len(places)])
    return values, rest


def mean_factor(cells, source, target):
    """z / sigma at the positions where the target fires, by loops: mean over the positions of a
    cell, then over the given cells.
    """
    found = []
    for cell in cells:
        own, into = cell.layers[source[0]], cell.layers[target[0]]
        z = (own.values * (own.indices == source[1])).sum(1)
        fires = ((into.values * (into.indices == target[1])).sum(1) > 0).nonzero()[:, 0].tolist()
        found.append(np.mean([float(z[t] / into.sigma_2[t]) for t in fires]))
    return np.mean(found)


def test_words_of_the_prompt_are_no_targets(cells):
    """Only gene positions count: of a cell whose first positions spell no gene, the rest."""
    cell = cells[0]
    plain = firing_targets(cell, TARGETS)
    spelled = np.zeros(len(cell.cell), [("token", "<i8"), ("gene", "<i8")])
    spelled["gene"] = np.where(np.arange(len(spelled)) < 3, -1, 7)
    cell.cell, whole = spelled, cell.cell
    try:
        found = firing_targets(cell, TARGETS)
    finally:
        cell.cell = whole
    assert any(min(places) < 3 for places in plain.values())
    assert found == {
        name: later for name, places in plain.items() if (later := [p for p in places if p >= 3])
    }


def test_equals_plain_loops(cells):
    over = OverCells(TARGETS)
    for cell in cells:
        over.add(cell)
    seen = 0
    for target in TARGETS:
        found = over.edges(target, share=1.0)
        values, rest = plain(cells, target)
        assert found.cells == len(rest) and found.fires == sum(r[3] for r in rest)
        assert {tuple(s) for s in found.source.tolist()} == set(values)
        assert found.sources == len(values)
        for i, source in enumerate(map(tuple, found.source.tolist())):
            x = np.array([v[1] for v in values[source]])
            assert found.n[i] == len(x) and found.positions[i] == sum(v[3] for v in values[source])
            assert abs(found.mean[i] - x.mean()) < 1e-12
            own = np.mean([v[2] for v in values[source]])
            assert abs(found.same_token[i] - own) < 1e-12
            where = [cells[v[0]] for v in values[source]]
            assert abs(found.factor[i] - mean_factor(where, source, target)) < 1e-12
            source_weights, into = (cells[0].transcoders[m] for m in (source[0], target[0]))
            w = cells[0].adapter.layers[target[0]].norm_2.weight * into.encoder[target[1]]
            w = w - w.mean() if cells[0].adapter.layers[0].norm_2.centred else w
            assert abs(found.weight[i] - float(source_weights.decoder[source[1]] @ w)) < 1e-12
            assert (found.n_pos[i], found.n_neg[i]) == ((x > 0).sum(), (x < 0).sum())
            if len(x) > 1:
                assert abs(found.sd[i] - x.std(ddof=1)) < 1e-12
            else:
                assert np.isnan(found.sd[i])
            flips = [
                abs(np.dot(signs, x)) >= abs(x.sum()) * (1 - 1e-6)  # p is of x_c in float32
                for signs in itertools.product((1, -1), repeat=len(x))
            ]
            assert abs(found.p[i] - np.mean(flips)) < 1e-12
            seen += 1
        sizes = np.abs(found.mean) * found.n
        assert (
            np.diff([sum(abs(v[1]) for v in values[tuple(s)]) for s in found.source]) < 1e-12
        ).all()
        if rest:
            means = np.mean(np.array(rest)[:, :3], axis=0)
            np.testing.assert_allclose(
                [found.value, found.errors, found.embeddings], means, atol=1e-12
            )
            signed = (found.mean * found.n).sum() / found.cells
            parts = signed + found.remainder + found.errors + found.embeddings + found.biases
            assert abs(parts - found.value) < 1e-11 and sizes.max() > 0
        assert found.remainder == 0 and not found.lost.any() and found.relative < 1e-13
    assert seen > 100


def test_what_is_not_kept_is_the_remainder(cells):
    over = OverCells(TARGETS[:2])
    for cell in cells:
        over.add(cell)
    for target in TARGETS[:2]:
        whole, some = over.edges(target, 1.0), over.edges(target, 0.6)
        k = len(some.source)
        assert some.sources == whole.sources
        assert 0 < k < len(whole.source) and (some.source == whole.source[:k]).all()
        values, _ = plain(cells, target)
        size = {s: sum(abs(v[1]) for v in found) for s, found in values.items()}
        ordered = [size[tuple(s)] for s in whole.source.tolist()]
        assert sum(ordered[:k]) >= 0.6 * sum(ordered) > sum(ordered[: k - 1])
        left = (whole.mean * whole.n)[k:].sum() / whole.cells
        assert abs(some.remainder - left) < 1e-12
        assert abs(some.remainder_size - sum(ordered[k:]) / whole.cells) < 1e-12


def test_memory_is_bounded_and_says_what_it_lost(cells):
    target = TARGETS[0]
    full, small = OverCells([target]), OverCells([target], capacity=5)
    for cell in cells:
        full.add(cell)
        small.add(cell)
        held = small._sums[target]
        assert len(held.keys) <= 5 and all(len(keys) <= 5 for keys, _ in held.values)
    whole, found = full.edges(target, 1.0), small.edges(target, 1.0)
    assert found.value == whole.value and found.errors == whole.errors
    sums = [(e.mean * e.n).sum() / e.cells + e.remainder for e in (whole, found)]
    assert abs(sums[0] - sums[1]) < 1e-12
    values, _ = plain(cells, target)
    held = small._sums[target]
    for i, source in enumerate(map(tuple, found.source.tolist())):
        true = sum(abs(v[1]) for v in values[source])
        kept = held.sizes[held.keys == (source[0] << 32) + source[1]][0]
        assert kept <= true + 1e-12 <= kept + found.lost[i] + 2e-12
    assert len(found.source) <= 5 and found.remainder_size > 0
    assert found.sources == whole.sources == len(values)


@pytest.mark.parametrize("batch", [1, 3])
def test_batches_change_no_bit(cells, batch):
    one, other = OverCells(TARGETS), OverCells(TARGETS, batch=batch)
    for cell in cells:
        one.add(cell)
        other.add(cell)
    for target in TARGETS:
        first, second = one.edges(target), other.edges(target)
        for a, b in zip(first[1:13], second[1:13], strict=True):
            assert np.array_equal(a, b, equal_nan=True)
        assert first[13:] == second[13:]


def test_firing_positions(cells):
    found = firing_targets(cells[0], [(1, f) for f in range(25)])
    codes = torch.zeros(cells[0].length, 25, dtype=torch.float64)
    layer = cells[0].layers[1]
    codes.scatter_add_(1, layer.indices, layer.values)
    for feature in range(25):
        assert found.get((1, feature), []) == codes[:, feature].nonzero()[:, 0].tolist()


def test_refusals(cells):
    with pytest.raises(UserError, match="2 targets, 1 of them different"):
        OverCells([(1, 2), (1, 2)])
    with pytest.raises(
        UserError, match="a target in layer 7; there are transcoders of layers 0, 1, 2"
    ):
        OverCells([(7, 2)]).add(cells[0])
    over = OverCells([(1, 2)])
    over.add(cells[0])
    model = cells[0].adapter
    other = freeze(model, tiny_cell(5), tiny_transcoders(model, features=26))
    with pytest.raises(UserError, match="other transcoders than the cells before"):
        over.add(other)
    with pytest.raises(UserError, match="no edges into"):
        OverCells([(1, 2)]).edges((1, 3))


@pytest.mark.parametrize("seed", range(5))
def test_sources_that_come_back_say_what_they_may_have_lost(seed):
    """Few places for many sources, each in some cells: what was let go is in one sum, and no
    source had more before than `lost` says.
    """
    g = np.random.default_rng(seed)
    sums, x = TargetSums(), g.standard_normal((30, 20)) * (g.random((30, 20)) < 0.3)
    for row in x:
        keys = np.flatnonzero(row)
        own = np.stack([row[keys]] * 2, 1)
        sums.add(keys, row[keys], own, np.ones(len(keys), int), capacity=8)
        assert len(sums.keys) <= 8
    true = np.abs(x).sum(0)[sums.keys]
    assert (sums.sizes <= true + 1e-12).all() and (true <= sums.sizes + sums.lost + 1e-12).all()
    assert (true > sums.sizes + 1e-3).any()  # some did lose
    assert abs((sums.mean * sums.count).sum() + sums.gone - x.sum()) < 1e-12
    assert abs(sums.sizes.sum() + sums.gone_size - np.abs(x).sum()) < 1e-12
    held = np.abs(np.concatenate([v for _, v in sums.values])).sum()
    assert abs(held - sums.sizes.sum()) < 1e-4  # of float32

"""The search for the smallest set, and the curve, on behaviours that are plain formulas."""

from __future__ import annotations

import numpy as np
import pytest

from scircuit.tracing.behaviour.circuit_curve import (
    area,
    groups_of,
    measure,
    random_orders,
    share_of_random,
)
from scircuit.tracing.behaviour.circuit_search import search, sizes_up_to

N = 60


def additive(weights):
    """F of a set is the sum of its weights."""
    return lambda sets: sets @ weights


def test_sizes():
    assert sizes_up_to(10, 3) == [0, 1, 2, 3, 4, 8, 10]
    assert sizes_up_to(1) == [0, 1] and sizes_up_to(8, 99) == [0, 1, 2, 4, 8]


def test_the_smallest_set_of_an_additive_behaviour():
    weights = np.zeros(N)
    weights[[7, 20, 31, 44, 50]] = [0.4, 0.3, 0.15, 0.1, 0.05]
    order = np.argsort(-weights, kind="stable")
    found = search(additive(weights), order, N, 0.8, 10)
    assert found.size == 3 and set(found.order[:3]) == {7, 20, 31}
    assert found.share == pytest.approx(0.85) and sorted(found.order) == list(range(N))


def test_members_that_the_scores_put_first_wrongly_are_left_out():
    """A product of three, behind two features that are worth nothing."""
    core, order = (
        [10, 11, 12],
        np.array([5, 6, 10, 11, 12, *range(5), *range(7, 10), *range(13, N)]),
    )
    found = search(lambda s: s[:, core].all(1).astype(float), order, N, 0.8, 8)
    assert found.size == 3 and set(found.order[:3]) == set(core)


def test_refused_with_what_came_closest():
    found = search(additive(np.full(N, 1 / N)), np.arange(N), N, 0.8, 3)
    assert (found.size, found.best_size, found.needed) == (0, 3, 60)
    assert found.share == pytest.approx(3 / N)
    never = search(lambda s: np.zeros(len(s)), np.arange(N), N, 0.8, 3)
    assert (never.size, never.needed) == (0, 0)


def test_areas_are_those_of_the_benchmark():
    """Trapezoids over the share of parts, in its steps: F of 0 at 0, of 0.5 at a tenth, of 1."""
    sizes, f = np.array([0, 10, 100]), np.array([0, 0.5, 1.0])
    assert area(sizes, f) == pytest.approx(0.1 * 0.25 + 0.9 * 0.75)
    assert area(sizes, np.abs(1 - f)) == pytest.approx(0.1 * 0.75 + 0.9 * 0.25)


def test_random_orders_keep_layers_and_firing_rates_and_leave_the_circuit_out():
    rng = np.random.default_rng(0)
    layer, rate = np.repeat([0, 1], 30), rng.random(N)
    group = groups_of(layer, rate)
    assert np.bincount(group).tolist() == [6] * 10
    for g in range(10):
        own, later = rate[group == g], rate[(group == g + 1) & (layer == g // 5)]
        assert not len(later) or own.max() <= later.min()
    order = rng.permutation(N)
    random = random_orders(order, group[order], 8, 50, seed=1)
    for row in random:
        assert sorted(row) == list(range(N))
        np.testing.assert_array_equal(group[row], group[order])  # at every size
    for g in np.unique(group[order[:8]]):
        own = set(order[:8]) & set(np.flatnonzero(group == g))
        if len(own) <= 3:
            assert not own & set(random[:, :8].ravel())
    assert len({tuple(r) for r in random}) == 50
    np.testing.assert_array_equal(random, random_orders(order, group[order], 8, 50, seed=1))


def test_random_orders_of_a_group_that_is_the_circuit():
    random = random_orders(np.arange(4), np.zeros(4, int), 3, 20, seed=0)
    assert (random[:, :3] == 3).any(1).all() and {tuple(sorted(r)) for r in random} == {
        (0, 1, 2, 3)
    }


def values_of(weights, cells, seed=0):
    scale = np.random.default_rng(seed).uniform(0.5, 1.5, cells)
    return lambda sets: 2 + (sets @ weights)[:, None] * scale


def test_the_curve_of_an_additive_behaviour():
    weights = np.zeros(N)
    weights[:4] = [0.5, 0.3, 0.15, 0.05]
    group = np.zeros(N, int)
    curve = measure(values_of(weights, 9), np.arange(N), group, N, 3, 40, seed=0)
    assert curve.sizes.tolist() == [0, 1, 2, 3, 4, 8, 16, 32, 60]
    sums = np.r_[0, 0.5, 0.8, 0.95, 1, 1, 1, 1, 1]
    np.testing.assert_allclose(curve.sufficiency, sums, atol=1e-12)
    np.testing.assert_allclose(curve.necessity, sums, atol=1e-12)
    np.testing.assert_allclose(curve.low, sums, atol=1e-12)  # F is the same in every cell
    assert (curve.random[:, 0] == 0).all() and (curve.random[:, -1] == 1).all()
    at = curve.at(3)
    assert (
        curve.random[:, at].max() <= 0.05 + 1e-12 and curve.random_necessity.max() <= 0.05 + 1e-12
    )
    assert share_of_random(curve.random[:, at], curve.sufficiency[at]) == pytest.approx(1 / 41)
    # a random order of features recovers a behaviour in proportion to its size
    assert curve.random_cpr.mean() == pytest.approx(0.5, abs=0.1) and curve.cpr > 0.97


def test_random_circuits_do_not_depend_on_how_many_are_computed_at_once(monkeypatch):
    from scircuit.tracing.behaviour import circuit_curve

    weights = np.random.default_rng(0).random(N) / N
    ask = (np.arange(N), np.zeros(N, int), N, 5, 23, 0)
    whole = measure(values_of(weights, 7), *ask)
    monkeypatch.setattr(circuit_curve, "_MASKS", 1)
    for a, b in zip(whole, measure(values_of(weights, 7), *ask), strict=True):
        np.testing.assert_array_equal(a, b)


def test_intervals_hold_what_they_promise():
    """Of noisy cells, the 95 % interval has the true share in 95 % of 100 worlds, about."""
    weights, hits = np.full(N, 1 / N), 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        noise = 0.3 * rng.normal(size=40)

        def values(sets, noise=noise):
            f = (sets @ weights)[:, None]
            return f + f * (1 - f) * 4 * noise

        curve = measure(values, np.arange(N), np.zeros(N, int), N, 30, 1, seed)
        at = curve.at(30)
        hits += curve.low[at] <= 0.5 <= curve.high[at]
    assert 86 <= hits <= 100  # binomial(100, 0.95) is below 86 with probability 0.0002

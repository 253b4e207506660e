"""Effects against random directions: z, p and the family as plain numpy and scipy have them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats

from scircuit.tracing.direction_null.direction_tests import (
    DECADES,
    Family,
    HeldOut,
    direction_p,
    direction_tests,
    smallest_p,
)
from scircuit.tracing.direction_null.readout import Readout
from scircuit.tracing.statistics.sign_flip import rounded_up
from tests.support.plain_engine import brute_force_p

WIDTH, SIZES, DRAWS, HELD = 24, (30, 50), 16, 4
T, D = sum(SIZES), 2 * WIDTH


def given(cells=8, seed=0, scale=1.0):
    """Changes of states of one source, its null, and encoders, all random."""
    rng = np.random.default_rng(seed)
    encoders = [rng.normal(size=(n, WIDTH)).astype(np.float32) for n in SIZES]
    dictionaries = {t: SimpleNamespace(encoder=torch.from_numpy(e)) for t, e in enumerate(encoders)}
    total, direct = (
        (0.2 * rng.normal(size=(cells, D)) + scale * rng.normal(size=D)).astype(np.float32)
        for _ in range(2)
    )
    null = rng.normal(size=(DRAWS + HELD, 2, D)).astype(np.float32)
    return Readout(dictionaries, (0, 1)), encoders, total, direct, null  # type: ignore[arg-type]


def read(encoders, changes):
    """[N, T] changes of pre-activations, in float64."""
    parts = np.split(changes.astype(np.float64), 2, -1)
    return np.concatenate(
        [x @ e.T.astype(np.float64) for x, e in zip(parts, encoders, strict=True)], -1
    )


def family_of(readout, floors=1e-6, alive=True, gate=1.0):
    return Family(readout, np.full(T, floors), np.full(T, alive), DRAWS, gate)


@pytest.mark.parametrize("cells", [6, 8, 15])
def test_z_and_p_are_those_of_a_t_test_of_one_new_value(cells):
    readout, encoders, total, direct, null = given(cells)
    factors = np.stack([np.linspace(1, 2, T), np.linspace(1.5, 1, T)])
    found = direction_tests(total, direct, null, factors, family_of(readout))
    by_cell = {"direct": read(encoders, direct), "computed": read(encoders, total - direct)}
    drawn = {"direct": null[:, 1], "computed": null[:, 0] - null[:, 1]}
    for kind, factor in zip(by_cell, factors, strict=True):
        effect = by_cell[kind].mean(0)
        own, others = np.split(read(encoders, drawn[kind]), [DRAWS])
        mean, sd = own.mean(0), own.std(0, ddof=1)
        np.testing.assert_allclose(getattr(found, kind), effect, atol=2e-5)
        z = (effect - mean) / (sd * factor)
        np.testing.assert_allclose(getattr(found, f"z_{kind}"), z, atol=1e-4)
        # a new value against DRAWS others of a normal distribution (Student)
        t = (effect - mean) / (sd * factor * np.sqrt(1 + 1 / DRAWS))
        p = 2 * stats.t(DRAWS - 1).sf(np.abs(t))
        if kind == "direct":
            np.testing.assert_allclose(found.p_direct, p, rtol=2e-3)
            assert (found.p_direct >= p * (1 - 1e-4)).all()
        else:
            flips = np.array([brute_force_p(x) for x in by_cell[kind].T]) if cells < 10 else 0
            np.testing.assert_allclose(found.p_computed, np.maximum(p, flips), rtol=2e-3)
        agree = (np.sign(by_cell["computed"]) == np.sign(by_cell["computed"].mean(0))).sum(0)
        np.testing.assert_array_equal(found.computed_cells, agree)
        held = found.held_out[list(by_cell).index(kind)]
        t = (others - mean) / (sd * np.sqrt(1 + 1 / DRAWS))
        np.testing.assert_allclose(held, 2 * stats.t(DRAWS - 1).sf(np.abs(t)), rtol=2e-3)
    if cells == 6:  # where both decide somewhere
        flips = np.array([brute_force_p(x) for x in by_cell["computed"].T])
        assert (found.p_computed > p * 1.01).any() and (found.p_computed > flips * 1.01).any()


def test_p_is_exact_for_values_of_one_distribution():
    """A new value of the same normal distribution has p below a threshold as often as that says."""
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, size=(200_000, DRAWS + 1))
    own, new = x[:, :DRAWS], x[:, DRAWS]
    p = direction_p((new - own.mean(1)) / own.std(1, ddof=1), DRAWS)
    for at in (0.5, 0.05, 0.001):
        assert (p <= at).mean() == pytest.approx(at, abs=4 * np.sqrt(at / len(p)))


def test_above_the_gate_of_directions_cells_are_not_asked():
    readout, _, total, direct, null = given(8)
    whole = direction_tests(total, direct, null, np.ones((2, T)), family_of(readout))
    gated = direction_tests(total, direct, null, np.ones((2, T)), family_of(readout, gate=0.05))
    alone = rounded_up(direction_p(whole.z_computed, DRAWS))
    far = alone > 0.0501
    assert far.any() and (~far).any()
    assert (gated.p_computed[far] == 1).all()
    np.testing.assert_array_equal(gated.p_computed[~far], whole.p_computed[~far])
    np.testing.assert_array_equal(gated.p_direct, whole.p_direct)
    for a, b in zip(gated.held_out, whole.held_out, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_family_are_targets_that_fire_and_move_in_six_cells():
    readout, encoders, total, direct, null = given(8, scale=0.0)
    by_cell = {"direct": read(encoders, direct), "computed": read(encoders, total - direct)}
    floors, rng = np.full(T, 0.3), np.random.default_rng(1)
    alive = rng.random(T) < 0.7
    family = Family(readout, floors, alive, DRAWS, 1.0)
    found = direction_tests(total, direct, null, np.ones((2, T)), family)
    for kind, p, z, held in (
        ("direct", found.p_direct, found.z_direct, found.held_out[0]),
        ("computed", found.p_computed, found.z_computed, found.held_out[1]),
    ):
        wanted = alive & ((np.abs(by_cell[kind]) > 0.3).sum(0) >= 6)
        assert 5 < wanted.sum() < alive.sum()
        np.testing.assert_array_equal(~np.isnan(p), wanted)
        # no z without a p: the q of a direct effect is looked up by its z
        np.testing.assert_array_equal(np.isnan(z), np.isnan(p))
        assert held.shape == (HELD, T)
        np.testing.assert_array_equal(~np.isnan(held), np.tile(wanted, (HELD, 1)))
    assert not np.isnan(found.direct).any() and not np.isnan(found.computed).any()
    # signs of effects up to the floor are no signs
    x = np.where(np.abs(by_cell["computed"]) > 0.3, by_cell["computed"], 0)
    agree = (np.sign(x) == np.sign(by_cell["computed"].mean(0))).sum(0)
    np.testing.assert_array_equal(found.computed_cells, agree)
    flips = np.array([brute_force_p(c) for c in x.T])
    inside = ~np.isnan(found.p_computed)
    alone = direction_p(found.z_computed, DRAWS)
    np.testing.assert_allclose(
        found.p_computed[inside], np.maximum(alone, flips)[inside], rtol=2e-3
    )


@pytest.mark.parametrize("cells", [1, 2, 5])
def test_with_fewer_than_six_cells_nothing_can_be_called(cells):
    readout, _, total, direct, null = given(cells)
    found = direction_tests(total, direct, null, np.ones((2, T)), family_of(readout))
    assert np.isnan(found.p_direct).all() and np.isnan(found.p_computed).all()
    assert np.isnan(found.held_out[0]).all() and np.isnan(found.held_out[1]).all()
    assert found.computed.any() and np.isfinite(found.computed).all()


def test_without_a_null_or_a_known_factor_nothing_can_be_called():
    readout, _, total, direct, null = given()
    found = direction_tests(total, direct, None, np.ones((2, T)), family_of(readout))
    for name in ("z_direct", "z_computed", "p_direct", "p_computed"):
        assert np.isnan(getattr(found, name)).all()
    assert found.held_out[0].shape == (0, T) and np.isfinite(found.direct).all()
    factors = np.ones((2, T))
    factors[1, :30] = np.nan
    some = direction_tests(total, direct, null, factors, family_of(readout))
    assert np.isnan(some.p_computed[:30]).all() and np.isnan(some.held_out[1][:, :30]).all()
    assert not np.isnan(some.p_computed[30:]).any() and not np.isnan(some.p_direct).any()


def test_a_target_that_random_directions_do_not_move_is_not_called():
    """Its standard deviation is rounding."""
    readout, _, total, direct, null = given()
    still = null.copy()
    still[:, :, :WIDTH] = 1e-9 * null[:, :, :WIDTH]
    found = direction_tests(total, direct, still, np.ones((2, T)), family_of(readout, floors=1e-6))
    assert np.isnan(found.p_computed[:30]).all() and np.isnan(found.z_direct[:30]).all()
    assert not np.isnan(found.p_computed[30:]).any()


def test_a_wider_null_never_lowers_p():
    readout, _, total, direct, null = given()
    narrow, wide = (
        direction_tests(total, direct, null, np.full((2, T), f), family_of(readout))
        for f in (1.0, 1.7)
    )
    assert (wide.p_computed >= narrow.p_computed).all() and (wide.p_direct > narrow.p_direct).any()
    np.testing.assert_allclose(wide.z_computed * 1.7, narrow.z_computed, rtol=1e-12)
    # directions held out come from the pooled null itself, which its own sd describes
    np.testing.assert_array_equal(wide.held_out[1], narrow.held_out[1])


def test_rounding_up_never_lowers_p_and_keeps_four_digits():
    rng = np.random.default_rng(0)
    p = np.concatenate([10 ** -rng.uniform(0, 299, 200_000), rng.random(10_000), [1.0, 0.05, 1e-5]])
    found = rounded_up(p)
    assert (found >= p * (1 - 1e-12)).all() and (found <= np.minimum(1.0, p * 1.0011)).all()
    digits = {f"{x:.3e}" for x in found[:2000]}
    np.testing.assert_allclose(found[:2000], [float(f"{x:.3e}") for x in found[:2000]], rtol=1e-12)
    assert len(digits) > 1900
    np.testing.assert_allclose(rounded_up(found), found, rtol=1e-12)
    np.testing.assert_allclose(rounded_up(np.array([0.0, 1e-320])), 1e-300, rtol=1e-12)
    assert np.isnan(rounded_up(np.array([np.nan]))).all()


def test_counts_of_directions_held_out_are_rather_too_many():
    rng = np.random.default_rng(0)
    p = 10 ** -rng.exponential(2, 20_000)
    p[:100] = np.nan
    counts = HeldOut.count(p) + HeldOut.none()
    assert counts.sum() == 19_900
    for threshold in (*10 ** -rng.uniform(0, 15.9, 300), 1.0, *p[100:200]):
        exact = (p <= threshold).sum()
        # at most those of one bin, 1/64 of a decade, more
        assert exact <= HeldOut.up_to(counts, threshold) <= (p <= threshold * 10 ** (1 / 64)).sum()
    assert HeldOut.up_to(counts, 0.0) == 0
    tiny = HeldOut.count(np.array([0.0, 1e-300, 10.0 ** -(DECADES + 3)]))
    assert HeldOut.up_to(tiny, 1e-200) == 3 and HeldOut.up_to(tiny, 10.0 ** -(DECADES - 1)) == 3
    # parts add up
    np.testing.assert_array_equal(HeldOut.count(p[:7000]) + HeldOut.count(p[7000:]), counts)


def test_the_smallest_p_is_that_of_a_direction_aimed_at_its_target():
    """No direction of a linear map has a larger z than the root of the width, on average over the
    draws.
    """
    rng, width = np.random.default_rng(0), 48
    drawn = rng.normal(size=(20_000, width))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    gradient = rng.normal(size=width)
    z = np.linalg.norm(gradient) / (drawn @ gradient).std()
    assert z == pytest.approx(np.sqrt(width), rel=0.03)
    assert smallest_p(width, 64) == pytest.approx(
        2 * stats.t(63).sf(np.sqrt(width) / np.sqrt(1 + 1 / 64)), rel=1e-9
    )
    assert smallest_p(48, 16) > smallest_p(48, 64) > smallest_p(96, 64)

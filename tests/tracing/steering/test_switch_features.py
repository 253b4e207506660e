"""ON and OFF features: the published d, chosen on one half of the cells and judged on the other."""

from __future__ import annotations

import numpy as np
import pytest

from scircuit.core.address import Address
from scircuit.core.errors import UserError
from scircuit.tracing.interventions.steering.switch_features import (
    described,
    standardised_difference,
    switch_features,
)


def cells(n=200, features=400, planted=0.0, seed=0):
    """Activations that are zero in half of the cells; the first ten features rise late, the next
    six fall.
    """
    rng = np.random.default_rng(seed)
    late = np.arange(n) % 2 == 1
    table = rng.gamma(2.0, 1.0, (n, features)) * (rng.random((n, features)) < 0.5)
    sign = np.r_[np.ones(10), -np.ones(6), np.zeros(features - 16)]
    table += planted * np.outer(np.where(late, 1, -1), sign) + abs(planted) * (sign != 0)
    return table, ~late, late


def test_d_is_cohens_d():
    table, early, late = cells(planted=0.5)
    a, b = table[early], table[late]
    pooled = np.sqrt((99 * a.var(0, ddof=1) + 99 * b.var(0, ddof=1)) / 198)
    np.testing.assert_allclose(
        standardised_difference(table, early, late), (b.mean(0) - a.mean(0)) / pooled
    )
    assert np.isnan(
        standardised_difference(np.ones((4, 2)), np.arange(4) < 2, np.arange(4) > 1)
    ).all()
    assert np.isnan(standardised_difference(table[:3], early[:3], late[:3])).all()


def test_planted_switches_are_found_and_keep_their_d():
    table, early, late = cells(planted=1.0)
    found = switch_features({3: table, 5: table[:, ::-1]}, early, late, seed=0)
    on = {s.index for s in found if s.kind == "on" and s.layer == 3}
    off = {s.index for s in found if s.kind == "off" and s.layer == 3}
    # beside the planted ones as many of luck as there is room for
    assert set(range(10)) <= on and len(on) <= 12
    assert set(range(10, 16)) <= off and len(off) <= 8
    assert {399 - s.index for s in found if s.layer == 5} >= set(range(16))
    held = np.array([s.d for s in found if s.index < 16 and s.layer == 3])
    assert (np.abs(held) > 0.7).all()


def test_the_half_that_did_not_choose_shows_luck():
    """Few cells, nothing planted: what is chosen looks like a switch only where it was chosen."""
    table, early, late = cells(n=60, seed=4)
    found = switch_features({0: table}, early, late, seed=0)
    assert len(found) == 20  # 12 ON and 8 OFF by luck alone
    sign = np.array([1 if s.kind == "on" else -1 for s in found])
    chosen, held = (sign * np.array([getattr(s, k) for s in found]) for k in ("chosen_d", "d"))
    assert chosen.min() >= 0.5 and abs(held.mean()) < 0.25


def test_nothing_that_differs_is_one_clear_sentence():
    table, early, late = cells(n=4000, features=30)
    with pytest.raises(UserError, match=r"no feature differs between 2000 early and 2000 late"):
        switch_features({0: table}, early, late, seed=0)
    rare = np.zeros_like(table)
    rare[:50] = 5.0 * late[:50, None]
    with pytest.raises(UserError, match=r"largest \|d\| of those that fire in 5% of them is 0\.00"):
        switch_features({0: rare}, early, late, seed=0)


def test_features_that_were_given_are_described():
    table, early, late = cells(planted=1.0)
    table[:, 20] = 0
    given = [Address("m", "s", 0, i) for i in (0, 12, 20, 100)]
    kinds = [(s.index, s.kind) for s in described({0: table}, early, late, given)]
    assert kinds == [(0, "on"), (12, "off"), (20, ""), (100, "")]
    assert described({0: table}, early, late, given)[2].d is None

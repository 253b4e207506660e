"""Circuits written into weights are found as computed edges, what the stream carries is carried,
and nothing else is called more often than nominal.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.stats import binom

from scircuit.core.edge_rules import MAX_Q
from tests.support.planted_circuits import STATED, WRITTEN, World
from tests.support.planted_truth import CARRIED, NULL, PLANTED, Found, find

PLAIN = World(each=(2, 2, 0, 2))
HEAD = World(each=(0, 0, 3, 0), unread=(2, 2, 20), free=12, tokens=120, cells=24)
UNWRITTEN = replace(PLAIN, unread=(4, 4, 4), free=12, cells=24)
FAMILIES = ("post-norm", "pre-norm")
# In 96 dimensions no z is above 10, and a head moves a part of every random direction too.
LEAST = STATED | {"attention": 2.0}


@cache
def found(family: str, world: World, context: str = "exact", written: bool = True) -> Found:
    return find(family, world, context, written)


def most(called: int) -> int:
    """Of so many edges, each false with the nominal probability, more are false less often than one
    time in a thousand.
    """
    return int(binom.ppf(0.999, called, MAX_Q))


def noise_called(f: Found, among: np.ndarray | bool = True) -> tuple[int, int]:
    """Pairs of noise that are computed edges, and the most that chance gives one time in a
    thousand: noise is drawn as the null is, so each is called with the p that q = 0.05 has.
    """
    noise = f.of("noise") & (f.truth == NULL) & among
    assert noise.sum() >= 200
    p = f.trace.families.computed.threshold(MAX_Q)
    return int((f.called["computed"] & noise).sum()), int(binom.ppf(0.999, noise.sum(), p))


def of_strengths(f: Found, kind: str, world: World) -> dict[float, float]:
    """Strength -> share of the planted pairs that are computed edges."""
    strengths = world.strengths[WRITTEN.index(kind)]
    return {s: f.share("computed", f.of(kind, s) & (f.truth == PLANTED)) for s in strengths}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("kind", "world"),
    [("feed-forward", PLAIN), ("late", PLAIN), ("product", PLAIN), ("attention", HEAD)],
)
def test_every_planted_edge_of_the_stated_strength_is_found(family, kind, world):
    f = found(family, world)
    shares = of_strengths(f, kind, world)
    assert all(share == 1 for s, share in shares.items() if s >= LEAST[kind]), shares
    assert len([s for s in shares if s >= LEAST[kind]]) >= 1
    planted = f.of(kind) & (f.truth == PLANTED)
    effects = f.numbers["computed"][planted & f.called["computed"]]
    assert (effects < 0).all()  # the source supports its target: without it there is less
    assert not (f.called["carried"] & planted).any()


@pytest.mark.parametrize("family", FAMILIES)
def test_weak_gates_are_missed(family):
    """Otherwise the strengths say nothing of power."""
    shares = of_strengths(found(family, PLAIN), "product", PLAIN)
    assert shares[1.0] < shares[4.0]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("world", [PLAIN, HEAD], ids=["plain", "head"])
def test_what_the_stream_carries_is_carried_and_not_computed(family, world):
    f = found(family, world)
    carried = f.of("carried") & (f.truth == CARRIED)
    assert carried.sum() == world.unread[0] * (world.layers - 1)
    assert f.share("carried", carried) == 1 and f.share("computed", carried) == 0
    # of all the others, hardly any
    others = f.called["carried"] & (f.truth != CARRIED)
    assert others.sum() <= most(int(f.called["carried"].sum()))


@pytest.mark.parametrize("family", FAMILIES)
def test_false_edges_are_no_more_than_nominal(family):
    f = found(family, PLAIN)
    false, called = f.false("computed")
    assert called > 30 and false <= most(called)
    noise, chance = noise_called(f)
    assert noise <= chance


@pytest.mark.parametrize("family", FAMILIES)
def test_total_effects_against_zero_call_what_is_not_there(family):
    """Why an edge is not "an effect that is not zero"."""
    f = found(family, PLAIN)
    false, called = f.false("calibrated")
    assert false > called / 2  # ten times nominal, although what follows from circuits is no error
    assert f.share("calibrated", f.of("noise") & (f.truth == NULL)) > 0.5


def test_without_circuits_no_pair_of_theirs_is_an_edge():
    """Cells, dictionaries and background weights are as where they are written."""
    f = found("pre-norm", UNWRITTEN, written=False)
    assert not (f.called["computed"] & (f.truth == PLANTED)).any()
    assert f.share("carried", f.truth == CARRIED) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_product_acts_in_the_cells_that_have_both_features(family):
    """The edge is a mean over all cells of the source; the per-cell effects show where it acts."""
    f = found(family, PLAIN)
    tracer, strongest = f.trace.tracer, max(PLAIN.strengths[WRITTEN.index("product")])
    firsts = [
        (source, c)
        for source, c in f.plan.circuits.items()
        if c.kind == "product" and c.strength == strongest and c.partner > source
    ]
    assert firsts
    for source, c in firsts:
        effects = tracer.effects(np.array([source]))
        active = effects.active[0]
        computed = tracer.readout.split(effects.total[0][active], effects.direct[0][active])[1]
        by_cell, partner = computed[:, c.target], f.cells.partners[active]
        assert min(partner.sum(), (~partner).sum()) >= 6
        assert by_cell[partner].mean() < 4 * by_cell[~partner].mean() < 0 or (
            abs(by_cell[~partner].mean()) < 0.25 * abs(by_cell[partner].mean())
        )
        # the edge holds the mean over all of them, and how many cells have its sign
        at = (source, c.layer - 1, c.target)
        assert f.numbers["computed"][at] == pytest.approx(by_cell.mean(), rel=1e-4)
        assert f.numbers["computed_cells"][at] == (by_cell < 0).sum()
        assert f.numbers["n"][at] == len(by_cell) > partner.sum()


def test_a_movement_between_active_positions_is_seen_in_the_frozen_context():
    """Rows that are edited together react to each other; only what other positions pass on is
    missing.
    """
    f = found("pre-norm", HEAD, "frozen")
    shares = of_strengths(f, "attention", HEAD)
    assert all(share == 1 for s, share in shares.items() if s >= LEAST["attention"]), shares


@pytest.mark.parametrize("family", FAMILIES)
def test_noise_has_no_more_edges_than_nominal_to_targets_that_a_head_writes(family):
    f = found(family, HEAD)
    noise, chance = noise_called(f, f.moved)
    assert noise <= chance, (noise, chance)

"""Joint ablation of planted networks: additive ones show the published ratios without an
interaction; redundancy and synergy are found with their sign, by planned power and error.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest

from scircuit.core.context import EXACT, FROZEN
from scircuit.tracing.interventions.ablation import ablate_sets
from scircuit.tracing.interventions.ablation import joint_ablation as module
from tests.support.planted_interactions import LAST, NOISE, planted_world, recovery

MIXED = {"additive": 120, "or2": 20, "and2": 20, "or3": 20, "and3": 20}


def ablated(world, layers=(0, 1, 2), **options):
    return ablate_sets(
        world.adapter,
        world.dictionaries,
        world.cohort,
        [world.members(layers)],
        run="r",
        targets=(LAST,),
        **options,
    )


def nodes_of(tables):
    return {
        n["id"].split("/")[-2] if n["order"] == 2 else "ABC": n
        for n in tables["Intervention"].to_pylist()
    }


@pytest.mark.parametrize("layers", [(0, 0, 0), (0, 1, 2)])
def test_additive_networks_show_the_ratios_and_uniform_p(layers, monkeypatch):
    """1 / sqrt(2) and 1 / sqrt(3) without any redundancy; all subadditive, as published."""
    world = planted_world(100, {"additive": 200})
    kept = []
    inner = module.records_of
    monkeypatch.setattr(module, "records_of", lambda t, *a: (kept.extend(t), inner(t, *a))[1])
    nodes = nodes_of(ablated(world, layers))
    for name, expected in (("AB", 0.7071), ("ABC", 0.5774)):
        node = nodes[name]
        assert node["ratio"] == pytest.approx(expected, abs=0.02)
        assert node["ratio_null"] == pytest.approx(expected, abs=0.02)
        assert node["subadditive"] == node["subadditive_null"] == 200
        assert node["higher_order"] == pytest.approx(node["higher_order_null"], rel=0.1)
        assert node["signed_ratio"] == pytest.approx(1.0, abs=0.01)
        assert node["signed_ratio_low"] <= 1.0 + 0.01 and node["signed_ratio_high"] >= 1.0 - 0.01
        assert node["significant"] <= 2 and node["significant_computed"] <= 2
    for test in kept:
        assert kstest(test.p, "uniform").pvalue > 0.01
        assert kstest(test.p_computed, "uniform").pvalue > 0.01
    assert len(kept) == 4


@pytest.mark.parametrize("context", [EXACT, FROZEN])
def test_redundancy_and_synergy_are_found_with_their_sign(context):
    world = planted_world(20, MIXED, effect=2.0)
    tables = ablated(world, context=context)
    for order in (2, 3):
        for part in ("", "_computed"):
            found = recovery(world, tables, order, part)
            assert found.power >= 0.95 and found.false <= 0.1, (order, part, found)
    rows = tables["Intervention-SHIFTED-Feature"].to_pylist()
    by = {
        (r["source"].split("/")[-2] if r["order"] == 2 else "ABC", int(r["target"][-4:])): r
        for r in rows
    }
    for i in range(len(world.kinds)):
        for name, places in (("AB", (0, 1)), ("ABC", (0, 1, 2))):
            sign = world.true(places)[i]
            if sign and (name, i) in by:
                # noise of size NOISE over 20 cells
                wanted = sign * 2 * NOISE
                assert by[name, i]["interaction"] == pytest.approx(wanted, abs=5 * NOISE / 20**0.5)
                assert by[name, i]["low"] < by[name, i]["interaction"] < by[name, i]["high"]


def test_power_and_false_share_over_worlds():
    """20 cells, planted J 1.5 times the noise, 1.06 times it for pairs: a t test of one target at
    p = 0.01 has power 0.96 and more.
    """
    found = [
        recovery(w, ablated(w), order)
        for order in (2, 3)
        for w in (planted_world(20, MIXED, effect=1.5, seed=s) for s in range(3))
    ]
    called = np.array([f.called for f in found])
    false = np.average([f.false for f in found], weights=called)
    assert min(f.power for f in found) > 0.85
    assert false <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / called.sum())

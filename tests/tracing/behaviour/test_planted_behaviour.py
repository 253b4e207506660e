"""Circuits of planted behaviours: a chain of three features is found, whatever the seed; what all
features carry alike is refused with numbers.
"""

from __future__ import annotations

import numpy as np
import pytest

from scircuit.tracing.behaviour import Search, find_circuit
from tests.support.planted_behaviour import chain, spread

SEEDS = range(5)
DRAWS = 19


def found(world, **options):
    return find_circuit(
        world.adapter,
        world.dictionaries,
        tuple(world.dictionaries),
        world.cells,
        world.behaviour,
        Search(**{"draws": DRAWS, **options}),
    )


def members(circuit):
    space = circuit.space
    return {(int(space.layer[i]), int(space.index[i])) for i in circuit.members}


def test_the_planted_chain_is_found_in_every_world():
    """Power 5 of 5, no false member; random circuits keep nothing of it."""
    for seed in SEEDS:
        world = chain(seed)
        circuit = found(world, seed=seed)
        assert members(circuit) == world.truth and circuit.found.size == 3, seed
        at = circuit.curve.at(3)
        assert circuit.curve.sufficiency[at] == pytest.approx(1, abs=1e-5)
        assert circuit.curve.necessity[at] == pytest.approx(1, abs=1e-5)
        assert np.abs(circuit.curve.random[:, at]).max() < 0.3
        assert circuit.curve.cpr > circuit.curve.random_cpr.max()
        assert circuit.curve.cmd < circuit.curve.random_cmd.min()


def test_a_distributed_behaviour_is_refused_with_numbers():
    """No false circuit in 5 worlds."""
    for seed in SEEDS:
        circuit = found(spread(seed), seed=seed)
        assert not len(circuit.members)
        assert "no set of up to 5% of the 60 features keeps 80% of the behaviour" in circuit.refusal
        assert circuit.found.share < 0.3 and circuit.curve.sufficiency[-1] == 1


def test_scores_by_single_ablations_find_the_same():
    world = chain(1)
    assert members(found(world, scoring="ablation")) == world.truth


def test_a_behaviour_without_any_feature_is_refused():
    """The readout of a direction that no dictionary explains: the states keep it by themselves."""
    world = chain(0)
    del world.dictionaries[0], world.dictionaries[1], world.dictionaries[2]
    plain = spread(0)
    world.dictionaries[0] = plain.dictionaries[0]
    rest = world.adapter.table.numpy() @ plain.dictionaries[0].w_enc.numpy().T
    world.adapter.table -= (
        plain.dictionaries[0].w_dec @ np.float32(rest).T
    ).T  # nothing of the table is in the dictionary any more
    world.behaviour.probe.weight[:] = np.random.default_rng(0).normal(size=64)
    circuit = found(world)
    assert circuit.found is None and circuit.curve is None
    assert "the features carry nothing of it that could be kept" in circuit.refusal


def test_too_few_cells():
    world = chain(0, n=10)
    with pytest.raises(ValueError, match=r"10 of 10 cells have the behaviour .* expected 12"):
        found(world)

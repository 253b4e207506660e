"""Every statistic of every edge equals the plain loop's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.support.plain_engine import cell_effects, clean_pass, reference_loop
from tests.support.tiny_models import TinyDictionary
from tests.support.tiny_tracer import SOURCE, TARGETS, edges_of, setup

STATISTICS = ("n", "n_pos", "n_neg", "mean", "sd", "d", "p", "direct", "computed")
STATISTICS += ("positions", "halves")


@pytest.fixture(
    scope="module",
    params=[("gelu", torch.float64), ("gelu", torch.float32), ("relu", torch.float64)],
    ids=str,
)
def traced(request: pytest.FixtureRequest):
    tracer, model, dictionaries, tokens = setup(act=request.param[0], dtype=request.param[1])
    floors = {t: float(tracer.floors[tracer.columns(t)][0]) for t in TARGETS}
    oracle = reference_loop(
        model, dictionaries, tokens, SOURCE, TARGETS, tracer.sources.tolist(), floors
    )
    return tracer, edges_of(tracer), oracle


def test_every_statistic_of_every_edge(traced):
    tracer, edges, oracle = traced
    compared = 0
    for (feature, t), stats in oracle.items():
        for j in np.flatnonzero(~np.isnan(stats["p"])):
            edge = edges[str(tracer.address(SOURCE, feature)), str(tracer.address(t, j))]
            for name in STATISTICS:
                limit = 1e-5
                if name == "d" and tracer.adapter.dtype == torch.float32:
                    # d = mean / sd: rounding of mean and sd (a few 1e-7 in float32) reaches d times
                    # (1 + |d|) / sd
                    limit += 1e-6 * (1 + abs(stats["d"][j])) / max(stats["sd"][j], 1e-10)
                if name == "halves" and (edge[name] is None or np.isnan(stats[name][j])):
                    assert edge[name] is None and np.isnan(stats[name][j])
                    continue
                assert abs(edge[name] - stats[name][j]) <= limit, (
                    feature,
                    t,
                    j,
                    name,
                    edge[name],
                    stats[name][j],
                )
            compared += 1
    assert compared == len(edges) > 1500


def test_cells_in_which_the_computed_effect_has_the_sign_of_its_mean(traced):
    """Between those that have it with certainty and those that could: the engine rounds the change
    of a state to float32.
    """
    tracer, edges, oracle = traced
    limit, certain, compared = 1e-5, 0, 0
    for (feature, t), stats in oracle.items():
        floors = tracer.change_floors[tracer.columns(t)]
        along = stats["computed_by_cell"] * np.sign(stats["computed"])
        low, high = ((along > floors + by).sum(0) for by in (limit, -limit))
        for j in np.flatnonzero(~np.isnan(stats["p"])):
            edge = edges[str(tracer.address(SOURCE, feature)), str(tracer.address(t, j))]
            if abs(stats["computed"][j]) > limit:
                assert low[j] <= edge["computed_cells"] <= high[j]
                certain, compared = certain + (low[j] == high[j]), compared + 1
    assert certain > 0.95 * compared > 1000


def test_some_sources_are_silent_in_some_cells(traced):
    tracer, edges, _ = traced
    assert {e["n"] for e in edges.values()} != {len(tracer.cells)}
    assert len({c.length for c in tracer.cells}) > 3


def test_float32_effects_of_single_cells_equal_the_hooked_forward():
    tracer, model, dictionaries, tokens = setup()
    feature = int(tracer.sources[-1])
    found = tracer.effects(np.array([feature]))
    assert found.direct is not None
    for c, cell in enumerate(tokens):
        clean = clean_pass(model, dictionaries, cell, (SOURCE, *TARGETS))
        wanted = cell_effects(model, dictionaries, clean, SOURCE, TARGETS, feature)
        assert (wanted is not None) == found.active[0, c]
        for t in TARGETS if wanted else ():
            assert wanted is not None
            at = tracer.columns(t)
            split = tracer.readout.split(found.total[:, c], found.direct[:, c])
            for ours, theirs in (
                (found.effects[0, c, at], wanted.effects[t]),
                (split[0][0, at], wanted.direct[t]),
                (split[1][0, at], wanted.computed[t]),
            ):
                np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_rank_one_edit_equals_the_difference_of_two_decodes():
    dictionary = TinyDictionary(0, 32, 48, 4, seed=0)
    z = dictionary.encode(torch.randn(20, 32, generator=torch.Generator().manual_seed(1)))
    without = z.clone()
    without[:, 5] = 0
    wanted = dictionary.decode(without) - dictionary.decode(z)
    ours = -z[:, 5, None] * dictionary.columns(torch.tensor([5]))
    torch.testing.assert_close(ours, wanted, atol=1e-6, rtol=0)

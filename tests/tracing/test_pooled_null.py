"""Random directions in the place of every source, from positions edited alone: as defined, however
the work is cut, and the same vector at every position of every cell.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from scircuit.core.errors import UserError
from scircuit.tracing.direction_null.pooled_null import (
    PARTS,
    held_out_draws,
    median_strength,
    null_jobs,
    null_part,
    random_direction,
    source_norms,
)
from tests.support.plain_engine import clean_pass, direct_states
from tests.support.plain_null import plain_null, strengths
from tests.support.tiny_models import tiny_cohort
from tests.support.tiny_tracer import SOURCE, TARGETS, open_tracer, setup, tiny_config
from tests.support.toy_adapter import Toy, toy_tracer

DRAWS = np.arange(5)


@pytest.fixture(scope="module")
def tracer():
    return setup(cells=7)[0]


@pytest.fixture(scope="module")
def drawn(tracer):
    return null_part(tracer, DRAWS)


@torch.inference_mode()
@pytest.mark.parametrize("context", ["exact", "frozen"])
def test_the_definition_by_loops(context):
    """In float64; in the exact context too, rows are edited alone."""
    features = tuple(range(0, 48, 5))
    tracer, model, dictionaries, tokens = setup(
        cells=4, dtype=torch.float64, context=context, features=features
    )
    assert len(tracer.sources) >= 4
    clean = [clean_pass(model, dictionaries, cell, (SOURCE, *TARGETS)) for cell in tokens]
    draws = np.array([0, 3])
    wanted = plain_null(
        tracer,
        np.stack([random_direction(tracer, int(k)) for k in draws]),
        lambda c, changed: direct_states(model, clean[c], changed, SOURCE, TARGETS[-1]),
    )
    found = null_part(tracer, draws)
    assert found.dtype == np.float32 and found.shape == wanted.shape
    # effects near 1 in float32, which are added up over positions and cells
    np.testing.assert_allclose(found, wanted, atol=2e-6)
    total, direct = np.moveaxis(wanted, 2, 0)
    assert np.abs(total - direct).max() > 0.05 and np.abs(direct).max() > 0.05


def test_parallel_blocks_by_loops_too():
    """Direct: the vector itself, at the mean strength over positions and then over cells."""
    tracer = toy_tracer(Toy(), cells=5)
    found = null_part(tracer, DRAWS[:2])[:, :, PARTS.index("direct")]
    norms = source_norms(tracer)
    for i, f in enumerate(tracer.sources.tolist()):
        cells = [strengths(tracer, c, f) for c in range(len(tracer.cells))]
        mean = np.mean([np.mean(list(z.values())) for z in cells if z])
        for k in (0, 1):
            removed = -mean * norms[i] * random_direction(tracer, k)
            np.testing.assert_allclose(found[i, k], np.tile(removed, 2), atol=5e-6)


@pytest.mark.parametrize("parts", [[[0], [1], [2], [3], [4]], [[0, 1], [2, 3, 4]]])
def test_the_partition_into_jobs_changes_no_bit(tracer, drawn, parts):
    found = [null_part(tracer, np.array(part)) for part in parts]
    np.testing.assert_array_equal(np.concatenate(found, 1), drawn)


@pytest.mark.parametrize("rows", [1, 7, 30, 100_000])
def test_the_rows_of_a_batch_change_no_bit(tracer, drawn, rows):
    plan = tracer.plan
    try:
        tracer.plan = replace(plan, rows=rows)
        np.testing.assert_array_equal(null_part(tracer, DRAWS), drawn)
    finally:
        tracer.plan = plan


@pytest.mark.parametrize("threads", [1, 3])
def test_the_number_of_threads_changes_no_bit(tracer, drawn, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        np.testing.assert_array_equal(null_part(tracer, DRAWS), drawn)
    finally:
        torch.set_num_threads(before)


def test_a_cap_on_the_memory_makes_more_jobs_of_the_same_draws(tracer, drawn):
    """Clean states on disk, small batches, sums of a few draws at a time."""
    one = (8 + 4 * 4) * 2 * len(tracer.sources) * tracer.state_values
    plan, every = tracer.plan, [null_jobs(tracer)]
    try:
        for effects in (one * 3, one, 1):
            tracer.plan = replace(plan, effects=effects)
            every.append(null_jobs(tracer))
    finally:
        tracer.plan = plan
    for jobs in every:
        assert np.concatenate(jobs).tolist() == list(range(80)) and held_out_draws(64) == 16
    assert [len(jobs) for jobs in every] == [5, 27, 80, 80]
    capped = setup(cells=7, memory="1656m")[0]
    assert capped.plan != plan
    np.testing.assert_array_equal(null_part(capped, DRAWS), drawn)


def test_few_draws_and_none(tracer):
    settings = tracer.settings
    try:
        tracer.settings = replace(settings, null_draws=4)
        assert [job.tolist() for job in null_jobs(tracer)] == [[0, 1, 2, 3, 4]]
        tracer.settings = replace(settings, null_draws=0)
        assert null_jobs(tracer) == []
    finally:
        tracer.settings = settings


def test_directions_are_unit_vectors_of_seed_layer_and_number(tracer):
    drawn = np.stack([random_direction(tracer, k) for k in range(400)])
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 1)
    cosines = (drawn @ drawn.T)[np.triu_indices(400, 1)]
    # of isotropic vectors: mean 0, variance 1/32; 79,800 pairs
    assert abs(cosines.mean()) < 4 / np.sqrt(32 * len(cosines))
    assert abs(cosines.var() * 32 - 1) < 0.03
    settings, layer = tracer.settings, tracer.layer
    try:
        np.testing.assert_array_equal(random_direction(tracer, 3), drawn[3])
        tracer.settings = replace(settings, seed=1)
        assert abs(random_direction(tracer, 3) @ drawn[3]) < 0.9
        tracer.settings, tracer.layer = settings, 2
        assert abs(random_direction(tracer, 3) @ drawn[3]) < 0.9
    finally:
        tracer.settings, tracer.layer = settings, layer


def test_the_same_seed_gives_the_same_null_and_another_another(drawn):
    np.testing.assert_array_equal(null_part(setup(cells=7)[0], DRAWS), drawn)
    other = null_part(setup(cells=7, seed=1)[0], DRAWS)
    assert other.shape == drawn.shape and np.abs(other - drawn).max() > 0.05


def test_one_vector_for_all_positions_and_cells():
    """Where blocks do nothing the change is the vector times the mean strength: were it drawn anew
    for each position or cell, no source would keep its direction, and most of its length would
    cancel.
    """
    tracer = toy_tracer(Toy(attention=0.0, feed=0.0), cells=9)
    found = null_part(tracer, DRAWS)
    for k in DRAWS:
        unit = random_direction(tracer, int(k))
        for part in range(2):
            change = found[:, k, part, :32]
            cosine = change @ unit / np.linalg.norm(change, axis=1)
            np.testing.assert_allclose(cosine, -1, atol=1e-5)
    assert (tracer.ablation.counts[tracer.sources].sum(1) >= 2).all()


def test_progress_reaches_the_last_cell(tracer):
    seen = []
    null_part(tracer, DRAWS[:1], None, lambda done, total, _: seen.append((done, total)))
    assert seen == [(4, 7), (7, 7)]


def test_sources_that_remove_nothing_are_one_message():
    """Dictionaries without their decoders: all directions are zero."""

    def empty(dictionaries):
        dictionaries[0].w_dec = torch.zeros_like(dictionaries[0].w_dec)

    tracer = toy_tracer(Toy(), change=empty)
    with pytest.raises(UserError, match="most source features of layer 0 have length zero"):
        null_part(tracer, DRAWS)

    def some(dictionaries):
        dictionaries[0].w_dec[:, :5] = 0

    tracer = toy_tracer(Toy(), change=some)
    found, dead = null_part(tracer, DRAWS), np.flatnonzero(tracer.sources < 5)
    assert median_strength(tracer) > 0 and len(dead) and not found[dead].any()
    assert np.isfinite(found).all() and np.delete(found, dead, 0).any(axis=(1, 2, 3)).all()


def test_cells_in_which_no_source_fires_add_nothing():
    """The first cells do not fire any of the sources asked for: without them it is the same."""
    counts = setup(cells=7)[0].ablation.counts
    silent = tuple(np.flatnonzero((counts[:, 0] == 0) & ((counts > 0).sum(1) >= 2)).tolist())
    tracer, *_, tokens = setup(cells=7, features=silent)
    assert len(tracer.sources) == len(silent) > 1
    fewer = open_tracer(
        tracer.adapter, tracer.dictionaries, tiny_cohort(tokens[1:]), tiny_config(features=silent)
    )
    np.testing.assert_array_equal(null_part(tracer, DRAWS), null_part(fewer, DRAWS))

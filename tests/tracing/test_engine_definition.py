"""The row set against its definition at every layer, tiles and batches of every shape, and floors
of every context.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

import scircuit.tracing.engine.frozen_context
import scircuit.tracing.engine.numeric_floor
import scircuit.tracing.engine.unit_results
import scircuit.tracing.models.attention
from scircuit.core.context import EXACT, FROZEN
from scircuit.tracing.engine.frozen_context import most_affected, row_sets
from scircuit.tracing.engine.numeric_floor import zero_edit
from scircuit.tracing.hardware.memory_plan import Plan, make_tiles
from scircuit.tracing.hardware.out_of_memory import halving
from scircuit.tracing.models.attention import plain_attention_lse
from scircuit.tracing.models.geneformer import Geneformer
from tests.support.tiny_edits import LENGTH, a_cell, changes, rowset
from tests.support.tiny_models import TinyDictionary, tiny_cells, tiny_cohort, tiny_model
from tests.support.tiny_tracer import SOURCE, TARGETS, open_tracer, setup, tiny_config

ALL = (1, 2, 3, 4)


@pytest.fixture(scope="module")
def cell():
    return a_cell(tiny_model(layers=5, spread=0.3).double())


def by_definition(adapter, states, positions, deltas, source, targets, more=()):
    """Put the recomputed rows among the clean ones, apply the whole layer, keep the rows: one edit,
    nothing clever.
    """
    rows = torch.cat([positions, torch.as_tensor(more, dtype=positions.dtype)])
    current = states[source].clone()
    current[positions] += deltas
    found = {}
    for layer in range(source + 1, max(targets) + 1):
        after = adapter.layer(layer, current[None])[0]
        current = states[layer].clone() if layer in states else after.clone()
        current[rows] = after[rows]
        if layer in targets:
            found[layer] = after[positions]
    return found


# sizes that share a padded bucket (5 and 6, 7 and 8), sets of one row, one that covers the cell,
# and one that leaves out only the ends
SIZES = (5, 1, 6, 7, LENGTH, 8, 1, LENGTH - 2)


@torch.inference_mode()
@pytest.mark.parametrize("more", [0, 3])
def test_every_layer_is_what_the_definition_gives(cell, more):
    adapter, clean = cell
    positions, deltas = changes(*SIZES, seed=5)
    found = rowset(cell, positions, deltas, more)
    sets = row_sets(positions, None, LENGTH, torch.float64)
    edited = clean.states[0][sets.position] + torch.cat(deltas)
    further = (
        most_affected(adapter, 1, clean.states[0], edited, sets, more)
        if more
        else [p[:0] for p in positions]
    )
    start = 0
    for p, d, m in zip(positions, deltas, further, strict=True):
        for t, wanted in by_definition(adapter, clean.states, p, d, 0, ALL, m).items():
            torch.testing.assert_close(found[t][start : start + len(p)], wanted, atol=1e-11, rtol=0)
        start += len(p)


@torch.inference_mode()
@pytest.mark.parametrize("more", [0, 3])
def test_blocks_of_bounded_work_give_the_same(cell, more, monkeypatch):
    edits = changes(*SIZES, seed=6)
    wanted = rowset(cell, *edits, more)
    monkeypatch.setattr(
        scircuit.tracing.engine.frozen_context, "_SCORES", 3 * LENGTH * cell[0].n_heads
    )
    monkeypatch.setattr(scircuit.tracing.engine.frozen_context, "_PAIRS", 40)
    monkeypatch.setattr(scircuit.tracing.models.attention, "_SCORES", 7 * LENGTH * cell[0].n_heads)
    for attention in (scircuit.tracing.engine.frozen_context.attention_lse, plain_attention_lse):
        monkeypatch.setattr(scircuit.tracing.engine.frozen_context, "attention_lse", attention)
        for t, states in rowset(cell, *edits, more).items():
            torch.testing.assert_close(states, wanted[t], atol=1e-11, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("span", [(0, 512), (1, 1100), (512, 1100), (0, 1099)])
def test_a_set_that_hides_whole_blocks_of_keys_from_the_fused_kernel(span):
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 2, n, 16, generator=g) for n in (6, 1100, 1100))
    mask = torch.zeros(1, 1, 6, 1100)
    mask[..., span[0] : span[1]] = -float("inf")
    found, wanted = (
        f(q, k, v, mask)
        for f in (scircuit.tracing.models.attention.attention_lse, plain_attention_lse)
    )
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=5e-6, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("context", ["frozen", "3"])
def test_effects_of_a_run_are_means_over_the_rows_of_the_definition(context):
    tracer, _, dictionaries, _ = setup(dtype=torch.float64, context=context, batch_rows=40)
    local = np.setdiff1d(tracer.sources, tracer.exact_sources)[::4]
    found, compared = tracer.effects(local), 0
    for i, feature in enumerate(local):
        column = dictionaries[SOURCE].columns(torch.tensor([int(feature)]))
        for c, clean in enumerate(tracer.cells):
            values, indices = clean.codes[SOURCE]
            strength = (values * (indices == int(feature))).sum(1)
            fires = [int(p) for p in clean.genes if strength[p] > 0]
            if not fires:
                assert not found.active[i, c] and not found.effects[i, c].any()
                continue
            at = torch.tensor(fires)
            delta = -strength[at, None] * column
            sets = row_sets([at], None, clean.length, torch.float64)
            start = clean.states[SOURCE]
            more = (
                most_affected(
                    tracer.adapter, SOURCE + 1, start, start[at] + delta, sets, tracer.context
                )[0].tolist()
                if tracer.context
                else ()
            )
            rows = by_definition(tracer.adapter, clean.states, at, delta, SOURCE, TARGETS, more)
            for t, states in rows.items():
                d = dictionaries[t]
                wanted = (d.encode(states) - d.encode(clean.states[t][at])).mean(0)
                np.testing.assert_allclose(
                    found.effects[i, c, tracer.columns(t)], wanted, atol=1e-10
                )
            compared += 1
    assert compared > 20


@pytest.mark.parametrize("context", ["frozen", "6", "exact"])
def test_zero_edits_are_at_the_floor_in_every_context(context):
    """At most as large as the floor, which the zero edit of the context itself has measured."""
    tracer = setup(context=context)[0]
    found = tracer.effects(tracer.sources, torch.zeros(len(tracer.sources), 32))
    assert found.direct is not None
    assert (np.abs(found.effects) <= tracer.floors).all()
    for change in (found.total, found.direct):
        moved = tracer.readout.of(change.reshape(-1, tracer.state_values))
        assert (np.abs(moved) <= tracer.change_floors).all()
    assert (tracer.change_floors < 2e-5).all() and (tracer.change_floors > 0).all()


@torch.inference_mode()
def test_the_floor_is_the_largest_of_zero_edit_and_rounding():
    """A zero edit that moves something lifts the floor of its layer; one that moves nothing leaves
    rounding.
    """
    tracer = setup(context="frozen")[0]
    tracer.__dict__["zero_edit"] = {2: 0.5, 3: 0.0, 4: 0.0}
    largest = {t: max(float(c.codes[t][0][c.genes].max()) for c in tracer.cells) for t in TARGETS}
    for cell in tracer.cells:
        cell.codes[4][0][0] = 1e6  # the first position holds no gene
    assert (tracer.floors[tracer.columns(2)] == 0.5).all()
    for t in (3, 4):
        np.testing.assert_allclose(tracer.floors[tracer.columns(t)], 4 * 2**-23 * largest[t])


@torch.inference_mode()
def test_the_zero_edit_is_the_largest_change_of_an_active_code_in_any_cell(monkeypatch):
    """Planted changes: small ones count, those of the last cell too; a latent that a large one
    drives out of the top k is a tie.
    """
    tracer, _, dictionaries, _ = setup(cells=3)
    last, dictionary = tracer.cells[-1], dictionaries[2]
    moved = last.states[2][last.genes].clone()
    moved[3] *= 1.01
    moved[5] = -moved[5]

    def planted(_adapter, cell, positions, *_):
        yield 2, moved if cell is last else cell.states[2][torch.cat(list(positions))]

    monkeypatch.setattr(scircuit.tracing.engine.numeric_floor, "edited_states", planted)
    found = zero_edit(tracer.adapter, dictionaries, tracer.cells, SOURCE, (2,), 4)[2]
    before, after = (dictionary.encode(x) for x in (last.states[2][last.genes], moved))
    change = (after - before).abs()[before > 0]
    small = change < before[before > 0] / 2
    assert (
        found == pytest.approx(float(change[small].max())) and float(change.max()) > 2 * found > 0
    )


@pytest.mark.parametrize("seed", range(4))
def test_tiles_hold_every_source_once_and_batches_every_active_slot(seed):
    rng = np.random.default_rng(seed)
    tracer = setup(cells=2)[0]
    for _ in range(60):  # none of the sizes fits another
        features = np.sort(rng.choice(500, rng.integers(1, 90), replace=False))
        positions = rng.integers(2, rng.choice([3, 50, 4000]), len(features))
        plan = Plan(0, *(int(rng.choice([1, 2, 7, 100, 10_000])) for _ in range(3)))
        for context in (EXACT, FROZEN, 5):
            cells, targets = int(rng.integers(2, 30)), int(rng.integers(1, 9))
            tiles = make_tiles(features, positions, cells, targets, context, plan)
            assert sorted(np.concatenate(tiles).tolist()) == features.tolist()
            assert all(0 < len(tile) <= plan.tile(cells, targets) for tile in tiles)
            assert context != EXACT or max(map(len, tiles)) <= plan.pairs
            tracer.ablation.plan = plan
            counts = rng.integers(0, 60, len(features)) * (rng.random(len(features)) < 0.7)
            batches = tracer.ablation._batches(counts, context, plan.pairs)
            assert (
                np.concatenate([np.zeros(0, int), *batches]).tolist()
                == np.flatnonzero(counts).tolist()
            )
            for batch in batches:
                assert len(batch) and (context != EXACT or len(batch) <= plan.pairs)
                assert context == EXACT or (counts[batch] + context).sum() < plan.rows + (
                    counts[batch[0]] + context
                )


def test_tiny_plans_change_effects_by_rounding_only():
    """Fewer rows than one set, one source a tile, one edit a batch."""
    for context in ("exact", "frozen", "4"):
        usual = setup(context=context)[0]
        small = setup(context=context, batch_rows=1, batch_pairs=1)[0]
        assert len(small.units) >= len(usual.units)
        np.testing.assert_allclose(
            small.effects(usual.sources).effects, usual.effects(usual.sources).effects, atol=2e-6
        )


@pytest.mark.parametrize("context", ["exact", "frozen", "4"])
def test_long_cells_beside_short_ones_give_what_each_gives_alone(context):
    """Lengths 3 to 38; some cells fire none of the sources that are asked for, some sources are
    silent in most cells.
    """
    tokens = [
        c
        for low, high in ((1, 2), (36, 37), (2, 4), (30, 36))
        for c in tiny_cells(2, seed=low, low=low, high=high)
    ]
    dictionaries = {t: TinyDictionary(t, 32, 48, 4, seed=t, scale=2.0) for t in (SOURCE, *TARGETS)}

    def tracer(cells):
        return open_tracer(
            Geneformer(tiny_model(layers=6), "tiny", ""),
            dictionaries,
            tiny_cohort(cells),
            tiny_config(context=context),
            "r",
        )

    together = tracer(tokens)
    counts = together.ablation.counts
    chosen = together.sources[counts[together.sources].argmin(1) < 8][:12]
    found = together.effects(chosen, context=together.context)
    assert (~found.active).any() and found.active.any(1).all()
    for c in range(0, len(tokens), 2):
        pair = tracer(tokens[c : c + 2])
        alone = pair.effects(chosen, context=together.context)
        np.testing.assert_allclose(found.effects[:, c : c + 2], alone.effects, atol=3e-6)
        np.testing.assert_array_equal(found.active[:, c : c + 2], alone.active)


@pytest.mark.parametrize("context", [2, 6])
def test_a_source_is_traced_exactly_where_its_rows_are_half_of_the_cells_in_which_it_fires(context):
    """Cells in which it is silent do not count, further positions do."""
    tracer = setup(context=str(context))[0]
    length = np.array([c.length for c in tracer.cells])
    exact = set(tracer.exact_sources.tolist())
    for f in tracer.sources:
        fires = np.array(
            [
                ((v > 0) & (i == int(f)))[c.genes].sum().item()
                for c in tracer.cells
                for v, i in [c.codes[SOURCE]]
            ]
        )
        share = (fires.sum() + context * (fires > 0).sum()) / length[fires > 0].sum()
        assert (int(f) in exact) == (share >= 0.5)
        assert tracer.context_of(int(f)) == ("exact" if share >= 0.5 else str(context))
    assert 0 < len(exact) < len(tracer.sources)


def test_directions_stay_with_their_features_when_contexts_are_mixed():
    tracer = setup(context="2")[0]
    assert 0 < len(tracer.exact_sources) < len(tracer.sources)
    directions = torch.randn(len(tracer.sources), 32, generator=torch.Generator().manual_seed(3))
    order = np.random.default_rng(0).permutation(len(tracer.sources))
    mixed = tracer.effects(tracer.sources[order], directions[torch.from_numpy(order)])
    assert mixed.direct is not None
    for place, i in list(enumerate(order))[::6]:
        alone = tracer.effects(tracer.sources[[i]], directions[[i]])
        assert alone.direct is not None
        np.testing.assert_allclose(mixed.effects[place], alone.effects[0], atol=2e-5)
        np.testing.assert_allclose(mixed.total[place], alone.total[0], atol=2e-5)
        np.testing.assert_allclose(mixed.direct[place], alone.direct[0], atol=2e-5)


def test_parts_of_a_tile_keep_their_own_statistics(monkeypatch):
    """Statistics in parts of one source give the edges of the whole tile: names, direct effects and
    positions of each source stay its own.
    """
    tracer = setup(context="frozen")[0]
    whole = [tracer.run_unit(u) for u in tracer.units]
    monkeypatch.setattr(scircuit.tracing.engine.unit_results, "_AT_ONCE", 1)
    for unit, wanted in zip(tracer.units, whole, strict=True):
        found = tracer.run_unit(unit)
        assert found.edges.equals(wanted.edges)
        np.testing.assert_array_equal(found.total.p, wanted.total.p)
        np.testing.assert_array_equal(found.held_out, wanted.held_out)


def test_layers_that_are_not_measured_are_passed_through_and_the_last_of_the_model_can_be_read():
    """The last layer alone gives what it gives beside all others."""
    every, _, dictionaries, tokens = setup(layers=5)
    for context in ("exact", "frozen", "3"):
        few = open_tracer(
            every.adapter,
            dictionaries,
            tiny_cohort(tokens),
            tiny_config(context=context, target_layers=(4,)),
            "r",
        )
        many = open_tracer(
            every.adapter, dictionaries, tiny_cohort(tokens), tiny_config(context=context)
        )
        a, b = few.effects(every.sources), many.effects(every.sources)
        np.testing.assert_allclose(a.effects, b.effects[:, :, many.columns(4)], atol=2e-6)
        assert a.direct is not None and b.direct is not None
        np.testing.assert_allclose(a.total, b.total[:, :, -32:], atol=2e-5)
        np.testing.assert_allclose(a.direct, b.direct[:, :, -32:], atol=2e-5)


def test_a_member_of_the_top_k_at_value_zero_counts_as_active_and_has_exactly_no_effect():
    """Legacy activity: there is nothing to remove, and legacy runs have no floor that would hide
    rounding.
    """
    base = setup()[0]
    dictionaries = {t: TinyDictionary(t, 32, 48, 4, seed=t, scale=2.0) for t in (SOURCE, *TARGETS)}
    dictionaries[SOURCE].b_enc -= 2.0
    tracer = open_tracer(
        base.adapter,
        dictionaries,
        tiny_cohort(tiny_cells(9, seed=3)),
        tiny_config(legacy=True),
        "r",
    )
    above = np.stack([c.firing[SOURCE].above() for c in tracer.cells], 1)[tracer.sources] > 0
    found = tracer.effects(tracer.sources)
    silent = found.active & ~above
    assert (
        silent.any()
        and above.any()
        and not found.effects[silent].any()
        and found.effects[above].any(1).all()
    )
    assert not tracer.floors.any()


def test_the_floor_is_measured_in_every_context_that_sources_are_traced_in(monkeypatch):
    asked: list[int] = []
    monkeypatch.setattr(
        scircuit.tracing.engine.tracer,
        "zero_edit",
        lambda *given: asked.append(given[6]) or dict.fromkeys(TARGETS, 0.1 * (given[6] + 2)),
    )
    tracer = setup(context="2")[0]
    assert len(tracer.exact_sources) and len(tracer.sources) > len(tracer.exact_sources)
    assert (tracer.floors == 0.4).all() and sorted(asked) == [EXACT, 2]


def test_a_batch_that_was_halved_gives_its_results_in_order():
    """What is tried: all, halves down to what fits; what was returned is not computed again."""
    tried, notes = [], []

    def work(items):
        tried.append(len(items))
        if len(items) > 2:
            raise MemoryError
        return items * 10

    found = halving(work, np.arange(7), notes.append)
    assert np.concatenate(found).tolist() == [0, 10, 20, 30, 40, 50, 60]
    assert tried == [7, 3, 1, 2, 4, 2, 2] and len(notes) == 3

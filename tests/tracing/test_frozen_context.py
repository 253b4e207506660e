"""The frozen context against the exact one, where the two must agree, and where they must not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scircuit.tracing.engine.frozen_context import most_affected, row_sets
from scircuit.tracing.models.attention import attention_lse, join, plain_attention_lse
from tests.support.tiny_edits import LENGTH, TARGETS, a_cell, changes, exact, rowset
from tests.support.tiny_models import tiny_model


@pytest.fixture(scope="module")
def cell():
    return a_cell(tiny_model(layers=5, spread=0.3).double())


@torch.inference_mode()
def test_equals_exact_at_the_next_layer_and_not_after(cell):
    edits = changes(3, 1, 7, 2)
    found, wanted = rowset(cell, *edits), exact(cell, *edits)
    torch.testing.assert_close(found[1], wanted[1], atol=1e-12, rtol=0)
    assert all(float((found[t] - wanted[t]).abs().max()) > 1e-4 for t in (2, 3, 4))


@torch.inference_mode()
def test_all_positions_edited_equals_exact_everywhere(cell):
    edits = changes(LENGTH, 4, LENGTH)
    found, wanted = rowset(cell, *edits), exact(cell, *edits)
    for t in TARGETS:
        torch.testing.assert_close(found[t][:LENGTH], wanted[t][:LENGTH], atol=1e-12, rtol=0)
        torch.testing.assert_close(found[t][-LENGTH:], wanted[t][-LENGTH:], atol=1e-12, rtol=0)


@torch.inference_mode()
def test_without_attention_equals_exact_everywhere():
    model = tiny_model(layers=5, spread=0.3).double()
    for layer in model.bert.encoder.layer:
        torch.nn.init.zeros_(layer.attention.output.dense.weight)
        torch.nn.init.zeros_(layer.attention.output.dense.bias)
    still = a_cell(model)
    edits = changes(3, 1, 7)
    found, wanted = rowset(still, *edits), exact(still, *edits)
    for t in TARGETS:
        torch.testing.assert_close(found[t], wanted[t], atol=1e-12, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("more", [0, 3])
def test_edits_of_a_batch_do_not_see_each_other(cell, more):
    positions, deltas = changes(5, 1, 9, 2, 2, 14)
    together = rowset(cell, positions, deltas, more)
    start = 0
    for p, d in zip(positions, deltas, strict=True):
        for t, alone in rowset(cell, [p], [d], more).items():
            torch.testing.assert_close(
                together[t][start : start + len(p)], alone, atol=1e-12, rtol=0
            )
        start += len(p)


@torch.inference_mode()
@pytest.mark.parametrize("more", [0, 3])
def test_zero_edit_gives_the_clean_states(cell, more):
    positions, deltas = changes(5, 1, 9)
    for t, states in rowset(cell, positions, [0 * d for d in deltas], more).items():
        torch.testing.assert_close(
            states,
            cell[1].states[t][torch.cat(positions)] if t in cell[1].states else states,
            atol=1e-12,
            rtol=0,
        )


@torch.inference_mode()
def test_the_dial_reaches_exact(cell):
    """The mean error falls from frozen to all other positions, where it is rounding."""
    edits = changes(3, 2, 5, seed=2)
    wanted = exact(cell, *edits)
    error = {
        m: max(float((rowset(cell, *edits, m)[t] - wanted[t]).abs().mean()) for t in TARGETS)
        for m in (0, 4, 16, LENGTH - 2, 99)
    }
    assert error[0] > error[4] > error[16] > 1e-6
    assert error[LENGTH - 2] < 1e-12 and error[99] < 1e-12


@torch.inference_mode()
def test_most_affected_are_those_that_attend_to_what_changes(cell):
    adapter, clean = cell
    positions, deltas = changes(3, 2)
    sets = row_sets(positions, None, LENGTH, torch.float64)
    edited = clean.states[0][sets.position] + torch.cat(deltas)
    query, key, value = adapter.project(1, clean.states[0], torch.arange(LENGTH))
    attention = (adapter.heads(query) @ adapter.heads(key).transpose(-1, -2) / 8**0.5).softmax(-1)
    after = adapter.project(1, edited, sets.position)[2]
    start = 0
    for p, chosen in zip(
        positions, most_affected(adapter, 1, clean.states[0], edited, sets, 4), strict=True
    ):
        score = torch.zeros(LENGTH, dtype=torch.float64)
        for i, a in enumerate(p.tolist()):
            moved = (after[start + i] - value[a]).unflatten(-1, (adapter.n_heads, -1)).norm(dim=-1)
            score += (attention[:, :, a] * moved[:, None]).sum(0)
        score[p] = -1
        assert chosen.tolist() == score.topk(4).indices.tolist()
        start += len(p)


@torch.inference_mode()
@pytest.mark.parametrize("attention", [attention_lse, plain_attention_lse])
def test_attention_over_two_sets_of_keys_joins_to_attention_over_both(attention):
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, n, 8, generator=g, dtype=torch.float64) for n in (5, 11, 11))
    first = torch.rand(2, 1, 5, 11, generator=g) > 0.5
    first[0, 0, 1], first[1, 0, 2] = True, False  # a query whose keys are all in one of the sets
    masks = [
        torch.zeros(2, 1, 5, 11, dtype=torch.float64).masked_fill_(m, -float("inf"))
        for m in (first, ~first)
    ]
    found = join(*(attention(q, k, v, m) for m in masks))
    torch.testing.assert_close(
        found, torch.nn.functional.scaled_dot_product_attention(q, k, v), atol=1e-12, rtol=0
    )


@pytest.mark.parametrize("seed", range(3))
def test_sets_of_every_size_are_in_one_bucket_each(seed):
    sizes = np.random.default_rng(seed).integers(1, 200, 60)
    sets = row_sets([torch.arange(n) for n in sizes], None, 200, torch.float32)
    covered = torch.cat([index[true] for index, true in sets.buckets])
    assert sorted(covered.tolist()) == list(range(int(sizes.sum())))
    assert sum(index.numel() for index, _ in sets.buckets) <= 1.5 * sizes.sum() + 1

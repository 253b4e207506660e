"""Rows that are edited each on its own: the frozen context on sets of one."""

from __future__ import annotations

import pytest
import torch

import scircuit.tracing.direction_null.single_rows
from scircuit.tracing.clean_pass.clean_pass import clean_cell
from scircuit.tracing.direction_null.single_rows import run_single_rows
from scircuit.tracing.engine.frozen_context import run_frozen
from scircuit.tracing.hardware.row_padding import by_row
from tests.support.tiny_edits import TARGETS, a_cell
from tests.support.tiny_models import TinyDictionary, tiny_cells, tiny_model
from tests.support.toy_adapter import Toy

MANY = 250  # more than are attended to at once


class Turning(Toy):
    """Queries and keys are shifted by their position, as rotary models turn them."""

    def project(self, layer, states, positions):
        query, key, value = super().project(layer, states, positions)
        turn = positions[..., None].to(states) / 10
        return query + turn, key - turn, value


def cell_of(kind, dtype=torch.float64):
    """Adapter, clean states of a cell from the source layer on, and its length."""
    if kind == "post-norm":
        adapter, clean = a_cell(tiny_model(layers=5, spread=0.3).to(dtype))
        return adapter, clean.states, clean.length
    adapter = Turning(layers=5, dtype=dtype)
    dictionary = TinyDictionary(0, 32, 48, 4, seed=0).to(dtype)
    clean = clean_cell(adapter, {0: dictionary}, tiny_cells(1, seed=4)[0], range(5))
    return adapter, clean.states, clean.length


def edits(length, dtype=torch.float64, size=3.0):
    """Positions in any order, most of them many times, and large changes."""
    g = torch.Generator().manual_seed(1)
    return torch.randint(length, (MANY,), generator=g), size * torch.randn(
        MANY, 32, generator=g
    ).to(dtype)


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["post-norm", "turning"])
@pytest.mark.parametrize("targets", [TARGETS, (2, 4), (1,)])
def test_the_frozen_context_on_sets_of_one(kind, targets):
    adapter, states, length = cell_of(kind)
    position, deltas = edits(length)
    found = dict(run_single_rows(adapter, states, position, deltas, 0, targets))
    sets = run_frozen(adapter, states, list(position[:, None]), list(deltas[:, None]), 0, targets)
    wanted = dict(sets)
    assert list(found) == list(wanted) == list(targets)
    for t in targets:
        torch.testing.assert_close(found[t], wanted[t], atol=1e-11, rtol=0)
        assert (found[t] - states[t][position]).abs().amax(1).min() > 1e-3


@torch.inference_mode()
def test_a_row_has_the_same_bits_whatever_other_rows_there_are():
    adapter, states, length = cell_of("post-norm", torch.float32)
    position, deltas = edits(length, torch.float32)
    whole = dict(run_single_rows(adapter, states, position, deltas, 0, TARGETS))
    for part in (slice(0, 1), slice(3, 100), slice(190, 195), slice(191, MANY)):
        alone = run_single_rows(adapter, states, position[part], deltas[part], 0, TARGETS)
        for t, found in alone:
            assert torch.equal(found, whole[t][part])


@torch.inference_mode()
def test_an_edit_of_nothing_leaves_the_clean_row():
    adapter, states, length = cell_of("post-norm")
    position = torch.arange(length)
    nothing = torch.zeros(length, 32, dtype=torch.float64)
    for t, found in run_single_rows(adapter, states, position, nothing, 0, TARGETS):
        torch.testing.assert_close(found, states[t], atol=1e-11, rtol=0)


@torch.inference_mode()
def test_a_row_sees_the_clean_keys_of_the_others_and_its_own_new_one(monkeypatch):
    """What the test above would miss if both were wrong: one position by the definition."""
    adapter, states, length = cell_of("turning")
    position, deltas = edits(length)
    wanted = []
    for p, delta in zip(position[:9].tolist(), deltas[:9], strict=True):
        current = states[0].clone()
        current[p] += delta
        for layer in (1, 2):
            after = adapter.layer(layer, current[None])[0]
            current = states[layer].clone()
            current[p] = after[p]
        wanted.append(current[p])
    found = dict(run_single_rows(adapter, states, position[:9], deltas[:9], 0, (2,)))
    torch.testing.assert_close(found[2], torch.stack(wanted), atol=1e-11, rtol=0)
    # and without the clean keys it is another result: the comparison can fail
    monkeypatch.setattr(
        scircuit.tracing.direction_null.single_rows,
        "by_row",
        lambda function, x, *others: by_row(
            function, x.flip(0) if len(x) == length else x, *others
        ),
    )
    other = dict(run_single_rows(adapter, states, position[:9], deltas[:9], 0, (2,)))
    assert (other[2] - found[2]).abs().max() > 1e-3

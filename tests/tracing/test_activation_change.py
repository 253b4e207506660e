"""Effects from states: means over rows do not depend on how they are cut, nothing adds nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import scircuit.tracing.engine.activation_change
from scircuit.tracing.engine.activation_change import code_change, mean_change, mean_rows
from tests.support.tiny_models import TinyDictionary

SIZES = np.array([5, 2, 8])


@pytest.fixture(scope="module")
def rows():
    g = torch.Generator().manual_seed(0)
    dictionary = TinyDictionary(2, 32, 48, 4, seed=2)
    clean = torch.randn(12, 32, generator=g)
    position = torch.cat([torch.randperm(12, generator=g)[:n].sort().values for n in SIZES])
    return (
        dictionary,
        clean,
        position,
        clean[position] + torch.randn(len(position), 32, generator=g),
    )


@torch.inference_mode()
@pytest.mark.parametrize("step", [1, 4, 100])
def test_mean_over_rows_in_one_piece_or_many(rows, step, monkeypatch):
    dictionary, clean, position, states = rows
    monkeypatch.setattr(scircuit.tracing.engine.activation_change, "_ROWS", step)
    found = mean_change(
        48, dictionary.encode_topk(states), dictionary.encode_topk(clean), position, SIZES
    )
    dense = dictionary.encode(states) - dictionary.encode(clean)[position]
    for got, part in zip(found, dense.split(SIZES.tolist()), strict=True):
        torch.testing.assert_close(got, part.mean(0), atol=1e-6, rtol=0)


@torch.inference_mode()
def test_rows_are_added_alike_on_every_device(rows):
    """The product that stands in for index_add_ where that adds in any order; no such device is
    needed to run it.
    """
    changes, slot = (
        torch.randn(15, 48),
        torch.repeat_interleave(torch.tensor([2, 3, 6]), torch.tensor([5, 2, 8])),
    )
    elsewhere, here = torch.zeros(9, 48), torch.zeros(9, 48).index_add_(0, slot, changes)

    class Elsewhere(torch.Tensor):
        device = torch.device("meta")

    scircuit.tracing.engine.activation_change.add_rows(
        elsewhere.as_subclass(Elsewhere), slot, changes
    )
    torch.testing.assert_close(elsewhere, here, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_unchanged_rows_add_exactly_nothing(rows):
    dictionary, clean, position, _ = rows
    codes = dictionary.encode_topk(clean)
    assert not code_change(48, codes, codes).any()
    same = (codes[0][position], codes[1][position])
    assert not mean_change(48, same, codes, position, SIZES).any()


@torch.inference_mode()
@pytest.mark.parametrize("step", [1, 4, 100])
def test_changes_of_states_are_averaged_edit_by_edit(rows, step, monkeypatch):
    """In one piece or many; rows that do not change have exactly none."""
    monkeypatch.setattr(scircuit.tracing.engine.activation_change, "_ROWS", step)
    _, clean, position, states = rows
    change = states - clean[position]
    change[SIZES[0] : SIZES[:2].sum()] = 0
    found = mean_rows(change, SIZES)
    for got, part in zip(found, change.split(SIZES.tolist()), strict=True):
        torch.testing.assert_close(got, part.mean(0), atol=1e-6, rtol=0)
    assert not found[1].any() and found[0].all() and found[2].all()

"""Scrambled models and dictionaries keep everything but what was learnt, and every seed, matrix and
layer is scrambled in its own way.
"""

from __future__ import annotations

import pytest
import torch

from scircuit.tracing.dictionaries import load_dictionaries
from scircuit.tracing.dictionaries.dictionary import Dictionary
from scircuit.tracing.evaluation.scrambled import permuted, rotated_dictionaries

SEEDS = 0, 1, 2, 2**31, 2**32, -1


def tensors():
    g = torch.Generator().manual_seed(0)
    return {
        "a.weight": torch.randn(8, 6, generator=g),
        "b.weight": torch.arange(48.0).reshape(8, 6),
        "b.bias": torch.randn(8, generator=g),
        "ids": torch.arange(12).reshape(3, 4),
    }


def dictionary(layer):
    g = torch.Generator().manual_seed(layer)
    e, w = torch.randn(10, 6, generator=g), torch.randn(10, 6, generator=g)
    return Dictionary(
        layer, e, torch.zeros(10), w, torch.zeros(6), torch.zeros(6), rule="topk", k=2
    )


def test_entries_of_matrices_are_permuted_and_nothing_else_changes():
    own, found = tensors(), permuted(tensors(), 3)
    for name in ("a.weight", "b.weight"):
        assert not torch.equal(found[name], own[name])
        assert torch.equal(found[name].flatten().sort().values, own[name].flatten().sort().values)
    for name in ("b.bias", "ids"):
        assert torch.equal(found[name], own[name])


def test_every_seed_and_every_matrix_has_its_own_permutation():
    same = {name: torch.arange(48.0).reshape(8, 6) for name in ("a", "b")}
    orders = [tuple(x.flatten().tolist()) for s in SEEDS for x in permuted(same, s).values()]
    assert len(set(orders)) == 2 * len(SEEDS)
    again = permuted(same, SEEDS[1])["b"]
    assert tuple(again.flatten().tolist()) == orders[3]


@pytest.mark.parametrize("layer", [0, 5])
def test_decoders_are_rotated_and_encoders_stay(layer, tmp_path):
    own = dictionary(layer)
    rotated_dictionaries([own], tmp_path, 1)
    found = load_dictionaries(tmp_path)[layer]
    assert torch.equal(found.tensors["encoder"], own.tensors["encoder"])
    turned, straight = found.tensors["decoder"], own.tensors["decoder"]
    assert not torch.allclose(turned, straight, atol=0.1)
    torch.testing.assert_close(turned @ turned.T, straight @ straight.T)


def test_every_seed_and_every_layer_has_its_own_rotation(tmp_path):
    found = []
    for seed in SEEDS:
        own = [dictionary(0), dictionary(1)]
        own[1].tensors["decoder"] = own[0].tensors["decoder"]
        rotated_dictionaries(own, tmp_path / str(seed), seed)
        read = load_dictionaries(tmp_path / str(seed))
        found += [tuple(read[i].tensors["decoder"].flatten().tolist()) for i in (0, 1)]
    assert len(set(found)) == 2 * len(SEEDS)

"""What heads bring, against attention as the adapter computes it and against autograd."""

from __future__ import annotations

import pytest
import torch

from scircuit.tracing.attribution.backward_rows import backward_rows
from scircuit.tracing.attribution.frozen_cell import freeze
from scircuit.tracing.attribution.head_paths import (
    features_read,
    features_through_head,
    head_paths,
    search_vector,
)
from scircuit.tracing.attribution.targets import stream_target
from tests.support.tiny_prenorm import KINDS, TinyPreNorm, tiny_cell, tiny_transcoders

LENGTH = 10


@pytest.fixture(scope="module", params=KINDS)
def cell(request):
    model = TinyPreNorm(request.param)
    return freeze(model, tiny_cell(LENGTH), tiny_transcoders(model))


def vectors(cell, count=3):
    g = torch.Generator().manual_seed(2)
    return torch.randn(count, cell.adapter.width, generator=g, dtype=torch.float64)


@pytest.mark.parametrize("layer", [0, 1, 3])
def test_heads_add_up_to_attention(cell, layer):
    model, v, at = cell.adapter, vectors(cell), torch.tensor([9, 4, 9])
    states = cell.states(layer)
    parts = model.project(layer, states, torch.arange(LENGTH))
    context = model.attend(layer, *(p[None] for p in parts))[0]
    wanted = (model.attended(layer, context)[at] * v).sum(-1)
    found = head_paths(cell, layer, v, at)
    torch.testing.assert_close(found.total, wanted, atol=1e-12, rtol=0)
    for b, t in enumerate(at.tolist()):
        assert float(found.through[b, :, t + 1 :].abs().sum()) == 0
    alone = head_paths(cell, layer, v[1:2], at[1:2])
    assert torch.equal(alone.through[0], found.through[1])


@pytest.mark.parametrize("layer", [1, 3])
def test_search_vectors_read_what_the_head_brings(cell, layer):
    found = head_paths(cell, layer, vectors(cell), torch.tensor([9, 4, 9]))
    for head in range(4):
        for s in (2, 4):
            u = search_vector(cell, found, 1, head, s)
            brought = float(u @ cell.states(layer)[s])
            assert abs(brought - float(found.through[1, head, s])) < 1e-12
            for source in range(layer):
                one = features_read(cell, source, s, u)
                many = features_through_head(cell, found, 1, head, source)[s]
                torch.testing.assert_close(one, many, atol=1e-13, rtol=0)


def test_all_heads_and_the_stream_are_the_sweep(cell):
    """One layer of attention between source and target: the sweep's contribution is that of the
    stream and of every head.
    """
    v = vectors(cell, 1)
    part = next(p for p in backward_rows(cell, [stream_target(cell, 2, 9, v[0])]) if p.layer == 0)
    paths = head_paths(cell, 1, v, torch.tensor([9]))
    through = sum(features_through_head(cell, paths, 0, h, 0) for h in range(4))
    through[9] += features_read(cell, 0, 9, v[0])
    torch.testing.assert_close(part.features[0], through, atol=1e-12, rtol=0)

"""The tail alone: batches do not leak, layers in between are edited where asked, sums do not depend
on how they are cut.
"""

from __future__ import annotations

import pytest
import torch

from scircuit.tracing.clean_pass.clean_pass import clean_cell
from scircuit.tracing.engine.exact_context import make_edits, run_exact
from scircuit.tracing.models.geneformer import Geneformer
from tests.support.tiny_models import TinyDictionary, tiny_cells, tiny_model


@pytest.fixture(scope="module")
def cell():
    adapter = Geneformer(tiny_model(layers=5), "tiny", "")
    dictionaries = {t: TinyDictionary(t, 32, 48, 4, seed=t) for t in (1, 2, 4)}
    return (
        adapter,
        dictionaries,
        clean_cell(adapter, dictionaries, tiny_cells(1, seed=1)[0], (1, 2, 4)),
    )


def changes(*sizes: int):
    g = torch.Generator().manual_seed(0)
    return [torch.randperm(12, generator=g)[:n].sort().values + 1 for n in sizes], [
        torch.randn(n, 32, generator=g) for n in sizes
    ]


@torch.inference_mode()
def test_each_edit_of_a_batch_is_as_if_alone(cell):
    adapter, _, clean = cell
    positions, deltas = changes(3, 1, 7)
    together = dict(run_exact(adapter, clean.states, make_edits(positions, deltas), 1, (2, 4)))
    start = 0
    for p, d in zip(positions, deltas, strict=True):
        for t, states in run_exact(adapter, clean.states, make_edits([p], [d]), 1, (2, 4)):
            torch.testing.assert_close(
                together[t][start : start + len(p)], states, atol=1e-5, rtol=0
            )
        start += len(p)


@torch.inference_mode()
def test_equals_layers_applied_one_after_another(cell):
    adapter, _, clean = cell
    (p,), (d,) = changes(4)
    states = clean.states[1].clone()
    states[p] += d
    wanted = {}
    for t in (2, 3, 4):
        states = adapter.layer(t, states[None])[0]
        wanted[t] = states[p]
    for t, found in run_exact(adapter, clean.states, make_edits([p], [d]), 1, (2, 3, 4)):
        torch.testing.assert_close(found, wanted[t], atol=1e-5, rtol=0)


@torch.inference_mode()
def test_further_edits_act_before_the_layer_is_read(cell):
    adapter, _, clean = cell
    positions, deltas = changes(2, 3)
    edits = make_edits(positions, deltas)
    plain = dict(run_exact(adapter, clean.states, edits, 1, (2, 3, 4)))
    moved = dict(
        run_exact(
            adapter, clean.states, edits, 1, (2, 3, 4), {3: lambda x: x + 1, 4: lambda x: 2 * x}
        )
    )
    torch.testing.assert_close(moved[2], plain[2])
    torch.testing.assert_close(moved[3], plain[3] + 1, atol=1e-5, rtol=0)
    assert float((moved[4] / 2 - plain[4]).abs().max()) > 1e-3


def test_only_later_layers_can_be_read(cell):
    adapter, _, clean = cell
    with pytest.raises(ValueError, match="not later than source layer 1"):
        next(run_exact(adapter, clean.states, make_edits(*changes(2)), 1, (1, 2)))

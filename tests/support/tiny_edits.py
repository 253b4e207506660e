"""Edits of one tiny cell, carried to later layers in the exact and in the frozen context."""

from __future__ import annotations

import torch

from scircuit.tracing.clean_pass.clean_pass import clean_cell
from scircuit.tracing.engine.exact_context import make_edits, run_exact
from scircuit.tracing.engine.frozen_context import run_frozen
from scircuit.tracing.models.geneformer import Geneformer
from tests.support.tiny_models import TinyDictionary, tiny_cells

TARGETS = (1, 2, 3, 4)
LENGTH = 26


def a_cell(model):
    adapter = Geneformer(model, "tiny", "")
    dictionary = TinyDictionary(0, 32, 48, 4, seed=0).to(torch.float64)
    return adapter, clean_cell(
        adapter, {0: dictionary}, tiny_cells(1, seed=4, low=24, high=25)[0], range(5)
    )


def changes(*sizes: int, seed: int = 0):
    g = torch.Generator().manual_seed(seed)
    positions = [torch.randperm(LENGTH, generator=g)[:n].sort().values for n in sizes]
    return positions, [torch.randn(n, 32, generator=g).double() for n in sizes]


def exact(cell, positions, deltas):
    adapter, clean = cell
    return dict(run_exact(adapter, clean.states, make_edits(positions, deltas), 0, TARGETS))


def rowset(cell, positions, deltas, more=0):
    adapter, clean = cell
    return dict(run_frozen(adapter, clean.states, positions, deltas, 0, TARGETS, more))

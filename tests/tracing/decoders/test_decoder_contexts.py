"""Edits of decoders in every context, read at layer outputs and at MLP inputs, against the
library's own forward pass with the edit put in by a hook.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from scircuit.tracing.clean_pass.clean_pass import clean_cell
from scircuit.tracing.direction_null.single_rows import run_single_rows
from scircuit.tracing.engine.direct_path import held_blocks, run_direct
from scircuit.tracing.engine.exact_context import make_edits, row_spans, run_exact
from scircuit.tracing.engine.frozen_context import run_frozen
from scircuit.tracing.models.huggingface import first
from tests.support.tiny_decoders import KINDS, decoder_cells, tiny_decoder, tiny_transcoder

SOURCE, TARGETS, SITES = 1, (2, 4), ("output", "mlp")
SAME = {"atol": 2e-4, "rtol": 2e-4}  # float32 through four layers, summed in another order


def long_cell(length: int = 250) -> np.ndarray:
    return decoder_cells(1, length)[0]


def changes(*sizes: int, length: int = 250, seed: int = 0) -> tuple[list[Tensor], list[Tensor]]:
    """Positions and deltas of edits, the first at late rows only, the last from the first on."""
    g = torch.Generator().manual_seed(seed)
    positions = []
    for i, size in enumerate(sizes):
        low = 0 if i == len(sizes) - 1 else max(0, length - 60 * (i + 1))
        drawn = low + torch.randperm(length - low, generator=g)[:size]
        positions.append(drawn.sort().values)
    positions[-1][0] = 0
    return positions, [torch.randn(n, 32, generator=g) for n in sizes]


@contextmanager
def hooked(adapter: Any, layer: int, position: Tensor, delta: Tensor) -> Iterator[dict]:
    """The library's model with an edit of a layer's output; what its layers give and their
    feed-forwards take is caught.
    """
    caught: dict = {"output": {}, "mlp": {}}

    def edit(_module: Any, _inputs: Any, output: Any) -> Any:
        state = first(output).clone()
        state[0, position] += delta
        return (state, *output[1:]) if isinstance(output, tuple) else state

    def keep(site: str, number: int) -> Any:
        def hook(_module: Any, inputs: Any, output: Any) -> None:
            caught[site][number] = first(output)[0] if site == "output" else inputs[0][0]

        return hook

    handles = [adapter.blocks[layer].register_forward_hook(edit)]
    for number, block in enumerate(adapter.blocks):
        handles.append(block.register_forward_hook(keep("output", number)))
        handles.append(block.mlp.register_forward_hook(keep("mlp", number)))
    try:
        yield caught
    finally:
        for handle in handles:
            handle.remove()


def library(adapter: Any, cell: np.ndarray, position: Tensor, delta: Tensor, site: str) -> dict:
    """Target layer -> what is read there at the edited rows, by the library."""
    with hooked(adapter, SOURCE, position, delta) as caught:
        adapter.model(input_ids=torch.from_numpy(cell)[None])
    return {t: caught[site][t][position] for t in TARGETS}


def clean(adapter: Any, cell: np.ndarray, site: str) -> Any:
    coded = {t: tiny_transcoder(t) for t in (SOURCE, *TARGETS)} if site == "mlp" else {}
    return clean_cell(adapter, coded, cell, range(SOURCE, 5))


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_exact_edits_equal_the_library(kind, site):
    adapter, cell = tiny_decoder(kind, layers=5), long_cell()
    states = clean(adapter, cell, site).states
    positions, deltas = changes(3, 1, 5)
    edits = make_edits(positions, deltas)
    assert len(row_spans(edits, len(cell))) > 1
    found = dict(run_exact(adapter, states, edits, SOURCE, TARGETS, site=site))
    start = 0
    for p, d in zip(positions, deltas, strict=True):
        wanted = library(adapter, cell, p, d, site)
        for t in TARGETS:
            torch.testing.assert_close(found[t][start : start + len(p)], wanted[t], **SAME)
        start += len(p)


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_an_edit_has_the_same_digits_alone_and_in_every_batch(kind, site):
    adapter, cell = tiny_decoder(kind, layers=5), long_cell()
    states = clean(adapter, cell, site).states
    positions, deltas = changes(3, 1, 1, 40, 5)
    runs = (
        lambda p, d: run_exact(adapter, states, make_edits(p, d), SOURCE, TARGETS, site=site),
        lambda p, d: run_frozen(adapter, states, p, d, SOURCE, TARGETS, 0, site),
        lambda p, d: run_frozen(adapter, states, p, d, SOURCE, TARGETS, 9, site),
        lambda p, d: run_single_rows(
            adapter, states, torch.cat(p), torch.cat(d), SOURCE, TARGETS, site
        ),
    )
    for run in runs:
        together = dict(run(positions, deltas))
        start = 0
        for p, d in zip(positions, deltas, strict=True):
            for t, rows in run([p], [d]):
                assert torch.equal(together[t][start : start + len(p)], rows)
            start += len(p)


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_the_row_set_of_all_positions_is_exact(kind, site):
    adapter, cell = tiny_decoder(kind, layers=5), decoder_cells(1, 60)[0]
    states = clean(adapter, cell, site).states
    positions, deltas = changes(2, 4, length=60)
    found = dict(run_frozen(adapter, states, positions, deltas, SOURCE, TARGETS, 60, site))
    exact = run_exact(adapter, states, make_edits(positions, deltas), SOURCE, TARGETS, site=site)
    for t, rows in exact:
        torch.testing.assert_close(found[t], rows, **SAME)


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_the_most_affected_positions_see_the_edit(kind):
    """All of them come after the first edited position."""
    from scircuit.tracing.engine.frozen_context import most_affected, row_sets

    adapter, cell = tiny_decoder(kind, layers=5), decoder_cells(1, 60)[0]
    states = clean(adapter, cell, "output").states
    at = torch.tensor([30, 41])
    sets = row_sets([at], None, 60, torch.float32)
    edited = states[SOURCE][at] + 1.0
    (chosen,) = most_affected(adapter, SOURCE + 1, states[SOURCE], edited, sets, 5)
    assert len(chosen) == 5
    assert int(chosen.min()) > 30
    window = adapter.sight(SOURCE + 1).window
    assert window is None or int(chosen.max()) < 41 + window


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_rows_on_their_own_equal_sets_of_one(kind, site):
    adapter, cell = tiny_decoder(kind, layers=5), decoder_cells(1, 60)[0]
    states = clean(adapter, cell, site).states
    position = torch.tensor([0, 3, 3, 17, 59])
    deltas = torch.randn(5, 32, generator=torch.Generator().manual_seed(2))
    found = dict(run_single_rows(adapter, states, position, deltas, SOURCE, TARGETS, site))
    sets = run_frozen(
        adapter, states, list(position[:, None]), list(deltas[:, None]), SOURCE, TARGETS, 0, site
    )
    for t, rows in sets:
        torch.testing.assert_close(found[t], rows, **SAME)


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_direct_path_by_sums_of_clean_blocks(kind, site):
    """The stream is a running sum, so the change arrives as it is, and the norm of the feed-forward
    sees the clean stream with it.
    """
    adapter, cell = tiny_decoder(kind, layers=5), decoder_cells(1, 60)[0]
    states = clean(adapter, cell, site).states
    (position,), (delta,) = changes(4, length=60)
    held = held_blocks(adapter, states, SOURCE, max(TARGETS), site)
    rows = states[SOURCE][position] + delta
    for t, found in run_direct(adapter, held, rows, position, SOURCE, TARGETS, site):
        if site == "output":
            wanted = states[t][position] + delta
        else:
            before = states[t - 1][None]
            parts = adapter.project(t, before, torch.arange(60)[None])
            stream = states[t - 1]
            if kind != "parallel":
                stream = stream + adapter.attended(t, adapter.attend(t, *parts)[0])
            wanted = adapter.layers[t].norm_2(stream[position] + delta)
        torch.testing.assert_close(found, wanted, **SAME)


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_an_edit_of_nothing_changes_nothing_beyond_rounding(kind, site):
    adapter, cell = tiny_decoder(kind, layers=5), long_cell()
    found = clean(adapter, cell, site)
    positions, deltas = changes(3, 1, 5)
    nothing = [torch.zeros_like(d) for d in deltas]
    at = torch.cat(positions)
    runs = (
        run_exact(
            adapter, found.states, make_edits(positions, nothing), SOURCE, TARGETS, site=site
        ),
        run_frozen(adapter, found.states, positions, nothing, SOURCE, TARGETS, 3, site),
        run_single_rows(adapter, found.states, at, torch.cat(nothing), SOURCE, TARGETS, site),
    )
    for run in runs:
        for t, rows in run:
            read = found.read[t][at]
            assert float((rows - read).abs().max()) < 2e-5 * float(read.abs().max())

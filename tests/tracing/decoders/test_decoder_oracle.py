"""Ablation of features of a decoder, SAEs at layer outputs and transcoders at MLP inputs, against a
plain loop: the library's forward pass with one feature's output taken away by a hook, one cell and
one feature at a time.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scircuit.core.context import EXACT
from scircuit.tracing.dictionaries import Dictionary
from tests.support.tiny_decoders import KINDS, decoder_cells, tiny_decoder, tiny_transcoder
from tests.support.tiny_models import tiny_cohort
from tests.support.tiny_null import traced as trace_all
from tests.support.tiny_tracer import open_tracer, tiny_config, tiny_settings
from tests.tracing.decoders.test_decoder_contexts import hooked

SOURCE, TARGETS, FEATURES = 0, (2, 3), 4
SAME = {"atol": 1e-4, "rtol": 1e-3}  # sums over positions of differences of float32 activations


def output_dictionary(layer: int) -> Dictionary:
    """The weights of a random transcoder as an SAE of the layer's output."""
    t = tiny_transcoder(layer).tensors
    return Dictionary(
        layer, t["encoder"], t["encoder_bias"], t["decoder"], t["decoder_bias"], t["mean"], k=5
    )


@pytest.fixture(scope="module", params=[(k, s) for k in KINDS for s in ("output", "mlp")], ids=str)
def traced(request: pytest.FixtureRequest):
    kind, site = request.param
    adapter = tiny_decoder(kind)
    make = output_dictionary if site == "output" else tiny_transcoder
    dictionaries = {t: make(t) for t in (SOURCE, *TARGETS)}
    cells = decoder_cells(7)
    config = tiny_config(source_layers=(SOURCE,), target_layers=TARGETS)
    settings = tiny_settings(adapter, dictionaries, config)
    tracer = open_tracer(adapter, dictionaries, tiny_cohort(cells), settings)
    return tracer, adapter, dictionaries, cells, site


def read(adapter, cell, site, position, delta) -> dict[int, torch.Tensor]:
    """What target layers' dictionaries read in the library's forward pass after an edit."""
    with torch.no_grad(), hooked(adapter, SOURCE, position, delta) as caught:
        adapter.model(input_ids=torch.from_numpy(cell)[None])
    return caught[site]


def test_total_and_direct_effects_equal_the_plain_loop(traced):
    tracer, adapter, dictionaries, cells, site = traced
    features = tracer.sources[:FEATURES]
    found = tracer.effects(features, context=EXACT)
    for c, cell in enumerate(cells):
        nowhere = torch.empty(0, dtype=torch.long)
        clean = read(adapter, cell, site, nowhere, torch.empty(0, 32))
        codes = {t: dictionaries[t].encode(clean[t]) for t in (SOURCE, *TARGETS)}
        for i, feature in enumerate(features):
            z = codes[SOURCE][:, feature]
            at = (z > 0).nonzero()[:, 0]
            assert bool(found.active[i, c]) is bool(len(at))
            if not len(at):
                continue
            delta = -z[at, None] * dictionaries[SOURCE].columns(torch.tensor([int(feature)]))
            after = read(adapter, cell, site, at, delta)
            for number, t in enumerate(TARGETS):
                change = (dictionaries[t].encode(after[t]) - codes[t])[at].mean(0)
                ours = torch.from_numpy(found.effects[i, c, tracer.columns(t)])
                torch.testing.assert_close(ours, change, **SAME)
                moved = (after[t] - clean[t])[at].mean(0)
                part = slice(number * 32, (number + 1) * 32)
                total = torch.from_numpy(found.total[i, c, part])
                torch.testing.assert_close(total, moved, **SAME)
                assert found.direct is not None
                if site == "output":
                    direct = torch.from_numpy(found.direct[i, c, part])
                    torch.testing.assert_close(direct, delta.mean(0), **SAME)


def test_a_trace_with_its_null_gives_edges_at_the_site(whole_trace):
    """Null, audit, direction tests, q: every edge names features of the layers that were asked, and
    the change that random directions make has the size that the audit sees.
    """
    found = whole_trace
    edges = found.edges.to_pylist()
    assert len(edges) > 50
    assert {e["target"].split("/")[-2] for e in edges} == {f"L{t:02d}" for t in TARGETS}
    known = [e["z_computed"] for e in edges if e["z_computed"] is not None]
    assert np.isfinite(known).all()
    assert len(known) > 500  # the rest fire in fewer cells than a test needs
    assert found.changes is not None
    assert found.changes.shape[2:] == (2, 32 * len(TARGETS))
    direct = found.changes[:, :, 1]
    assert np.abs(direct).max() > 1e-3
    assert np.abs(found.changes[:, :, 0] - direct).max() > 1e-3
    assert found.ratios


@pytest.fixture(scope="module")
def whole_trace(traced):
    return trace_all(traced[0])


def test_the_frozen_context_of_all_rows_is_the_exact_one(traced):
    tracer, *_ = traced
    features = tracer.sources[:FEATURES]
    exact = tracer.effects(features, context=EXACT)
    whole = tracer.effects(features, context=64)
    np.testing.assert_allclose(whole.effects, exact.effects, atol=2e-4)
    np.testing.assert_allclose(whole.total, exact.total, atol=2e-4)

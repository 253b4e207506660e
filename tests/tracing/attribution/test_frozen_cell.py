"""A frozen cell against the adapter's own pass."""

from __future__ import annotations

import pytest
import torch

from scircuit.core.errors import UserError
from scircuit.tracing.attribution.frozen_cell import freeze
from scircuit.tracing.attribution.transcoder_weights import TranscoderWeights
from scircuit.tracing.dictionaries.dictionary import Dictionary
from tests.support.tiny_prenorm import KINDS, TinyPreNorm, tiny_cell, tiny_transcoders
from tests.support.toy_adapter import Toy

RULES = ("topk", "jumprelu")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("skip", [False, True])
def test_parts_add_up_to_the_adapters_own_states(kind, rule, skip):
    model, tokens = TinyPreNorm(kind), tiny_cell(11)
    dictionaries = tiny_transcoders(model, skip=skip, rule=rule)
    cell = freeze(model, tokens, dictionaries)
    states = model.embed(tokens)
    for m, layer in enumerate(cell.layers):
        torch.testing.assert_close(layer.states, states, atol=1e-13, rtol=0)
        x, w = cell.mlp_input(m), cell.transcoders[m]
        codes = torch.zeros(11, w.n_features, dtype=x.dtype).scatter_add_(
            1, layer.indices, layer.values
        )
        tc = codes @ w.decoder + w.offset + (x @ w.skip.T if skip else 0)
        if m == 0 and rule == "topk":
            a = x @ w.encoder.T + w.encoder_bias
            assert torch.equal((codes > 0).sum(1), (a.topk(5).values > 0).sum(1))
        torch.testing.assert_close(tc + layer.error, model.fed(m, x), atol=1e-13, rtol=0)
        states = model.layer(m, states[None])[0]
    torch.testing.assert_close(cell.final, states, atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_patterns_give_the_adapters_attention(kind):
    model, tokens = TinyPreNorm(kind), tiny_cell(9)
    cell = freeze(model, tokens, {}, keep=0)
    kept = freeze(model, tokens, {})
    places = torch.arange(9)
    for m in range(model.n_layers):
        states = cell.states(m)
        query, key, value = model.project(m, states, places)
        wanted = model.attend(m, query[None], key[None], value[None])[0]
        patterns = torch.stack(list(cell.patterns(m)))
        assert float((patterns.sum(-1) - 1).abs().max()) < 1e-14
        assert float(patterns.triu(1).abs().max()) == 0
        found = (patterns @ model.heads(value)).transpose(0, 1).flatten(1)
        torch.testing.assert_close(found, wanted, atol=1e-13, rtol=0)
        for _ in range(2):
            assert torch.equal(torch.stack(list(kept.patterns(m))), patterns)
        rows = cell.pattern_rows(m, torch.tensor([4, 8, 4]))
        torch.testing.assert_close(rows, patterns[:, [4, 8, 4]].transpose(0, 1), atol=1e-14, rtol=0)
        alone = cell.pattern_rows(m, torch.tensor([8]))
        assert torch.equal(alone[0], rows[1])


def test_codes_in_float32_are_those_of_the_clean_pass():
    model = TinyPreNorm("parallel", dtype=torch.float32)
    dictionaries = tiny_transcoders(model)
    cell = freeze(model, tiny_cell(30), dictionaries)
    for m, layer in enumerate(cell.layers):
        values, indices = dictionaries[m].encode_topk(cell.mlp_input(m))
        assert torch.equal(values, layer.values) and torch.equal(indices, layer.indices)


def test_a_layer_without_a_transcoder_is_all_error():
    model = TinyPreNorm("sequential")
    transcoders = tiny_transcoders(model)
    del transcoders[2]
    cell = freeze(model, tiny_cell(5), transcoders)
    torch.testing.assert_close(cell.layers[2].error, model.fed(2, cell.mlp_input(2)))
    assert cell.layers[2].values.shape == (5, 0)


def test_refusals():
    model = TinyPreNorm("parallel")
    with pytest.raises(UserError, match="norms before the blocks"):
        freeze(Toy(), tiny_cell(4), {})
    with pytest.raises(UserError, match=r"layer 1 and width 24 is given for layer 0"):
        freeze(model, tiny_cell(4), {0: tiny_transcoders(model)[1]})
    other = tiny_transcoders(TinyPreNorm("parallel", width=16))
    with pytest.raises(UserError, match=r"width 16 is given .* of width 24"):
        freeze(model, tiny_cell(4), other)
    f, d = 6, model.width
    plain = (torch.randn(f, d), torch.zeros(f), torch.randn(f, d), torch.zeros(d), torch.zeros(d))
    with pytest.raises(UserError, match="reads the layer's output; attribution needs transcoders"):
        TranscoderWeights(Dictionary(0, *plain, rule="relu"), torch.float32)
    early = Dictionary(0, *plain, rule="relu", site="mlp", gain=False)
    with pytest.raises(UserError, match="before the gain of the norm"):
        TranscoderWeights(early, torch.float32)

"""Attribution in GPT-NeoX and Gemma-2 against one backward pass through the library's own modules,
with patterns, norms and MLP outputs held fixed there.
"""

from __future__ import annotations

from types import MethodType

import numpy as np
import pytest
import torch

from scircuit.core.errors import UserError
from scircuit.tracing.attribution.answers import answer_difference, token_answers
from scircuit.tracing.attribution.backward_rows import EMBEDDING, backward_rows
from scircuit.tracing.attribution.cell_graph import cell_graph
from scircuit.tracing.attribution.completeness import Completeness
from scircuit.tracing.attribution.feature_pairs import invariant_weights, token_pairs
from scircuit.tracing.attribution.frozen_cell import freeze
from scircuit.tracing.attribution.over_cells import OverCells
from scircuit.tracing.attribution.path_steps import follow, root, split
from scircuit.tracing.attribution.query_key_terms import score_terms
from scircuit.tracing.attribution.targets import answer_target, feature_target
from tests.support.tiny_decoders import KINDS, decoder_cells, tiny_decoder, tiny_transcoder
from tests.support.tiny_prenorm import TinyPreNorm, tiny_cell


@pytest.fixture(scope="module", params=KINDS)
def cell(request):
    model = tiny_decoder(request.param)
    transcoders = {m: tiny_transcoder(m, skip=m == 1) for m in range(model.n_layers)}
    return freeze(model, decoder_cells(1)[0], transcoders)


def fixed_layer_norm(norm, x):
    centred = x - x.mean(-1, keepdim=True)
    sigma = (centred.square().mean(-1, keepdim=True) + norm.eps).sqrt().detach()
    return centred / sigma * norm.weight + norm.bias


def fixed_rms_norm(norm, x):
    sigma = (x.square().mean(-1, keepdim=True) + norm.eps).sqrt().detach()
    return x / sigma * (1 + norm.weight)


def library_gradients(adapter, tokens, direction, at, monkeypatch):
    """Value of a direction behind the final norm, and its gradient by what the embedding and every
    feed-forward add, without transcoders.
    """
    softmax = torch.nn.functional.softmax
    monkeypatch.setattr(torch.nn.functional, "softmax", lambda *a, **k: softmax(*a, **k).detach())
    leaves, hooks = {}, []

    def leaf(name):
        def hook(module, given, found):
            leaves[name] = found.detach().clone().requires_grad_()
            return leaves[name]

        return hook

    gemma = hasattr(adapter.blocks[0], "post_feedforward_layernorm")
    body = adapter.model.model if gemma else adapter.model.gpt_neox
    for module in body.modules():
        if "Norm" in type(module).__name__:
            fixed = fixed_rms_norm if gemma else fixed_layer_norm
            monkeypatch.setattr(module, "forward", MethodType(fixed, module))
    for m, block in enumerate(adapter.blocks):
        end = block.post_feedforward_layernorm if gemma else block.mlp
        hooks.append(end.register_forward_hook(leaf(m)))
    table = body.embed_tokens if gemma else body.embed_in
    hooks.append(table.register_forward_hook(leaf(EMBEDDING)))
    try:
        states = body(torch.from_numpy(tokens)[None]).last_hidden_state
        value = states[0, at] @ direction
        found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
    finally:
        for hook in hooks:
            hook.remove()
    return float(value.detach()), {
        name: torch.zeros_like(at_leaf)[0] if g is None else g[0]
        for (name, at_leaf), g in zip(leaves.items(), found, strict=True)
    }


def test_an_answer_is_pulled_back_as_the_library_does(cell, monkeypatch):
    model, at = cell.adapter, cell.length - 1
    plain = freeze(model, cell.cell, {})  # a skip would read what is a leaf here
    table = model.model.get_output_embeddings().weight.detach()
    direction = table[3] - table[7]
    target = answer_target(plain, model.final_norm, direction, at)
    value, gradients = library_gradients(model, plain.cell, direction, at, monkeypatch)
    # float32 on both sides, in another order of operations
    assert abs(value - target.value) < 1e-5 * (1 + abs(value))
    for part in backward_rows(plain, [target]):
        wanted = gradients[part.layer]
        torch.testing.assert_close(part.pull[0], wanted, atol=1e-5, rtol=1e-4)


def test_sums_come_out_in_float32(cell):
    table = cell.adapter.model.get_output_embeddings().weight.detach()
    at = cell.length - 1
    targets = [
        answer_target(cell, cell.adapter.final_norm, table[3] - table.mean(0), at),
        *(feature_target(cell, 3, int(cell.layers[3].indices[s, 0]), s) for s in (5, 20, at)),
    ]
    sums = Completeness(targets)
    for part in backward_rows(cell, targets):
        sums.add(part)
    sums.require()
    for target in targets:
        parts = split(cell, root(target))
        everything = [c.value for c in (*parts.inner, *parts.ends)]
        assert abs(sum(everything) - target.value) < 1e-6 * sum(map(abs, everything))
    for head in range(4):
        assert score_terms(cell, 2, head, 20, 18).relative < 1e-6


def test_answers_are_the_most_probable_tokens(cell):
    """Centred logits before any bound; the largest first, up to the share or the number."""
    model, at = cell.adapter, cell.length - 1
    with torch.no_grad():
        raw = model.model.get_output_embeddings()(model.final_norm(cell.final[at]))
        p = model.logits(cell.final[at][None])[0].softmax(-1)
    answers, weights = token_answers(cell, at, most=4, share=1.0)
    order = p.argsort(descending=True)
    assert [a.feature for a in answers] == order[:4].tolist()
    for answer, weight in zip(answers, weights, strict=True):
        assert abs(weight - float(p[answer.feature])) < 1e-6
        assert abs(answer.value - float(raw[answer.feature] - raw.mean())) < 1e-5
    some, weights = token_answers(cell, at, most=61, share=0.5)
    assert sum(weights) >= 0.5 > sum(weights[:-1]) and len(some) < 61
    pair = answer_difference(cell, at, 5, 9)
    assert abs(pair.value - float(raw[5] - raw[9])) < 1e-5
    graph = cell_graph(cell, answers, weights[:1] * 4, features=20)
    assert np.nanmax(graph.relative) < 1e-6
    with pytest.raises(UserError, match="no token 61: the vocabulary has 61"):
        answer_difference(cell, at, 61, 9)


def test_a_model_without_a_head_gives_no_answers():
    model = TinyPreNorm("parallel")
    plain = freeze(model, tiny_cell(4), {})
    with pytest.raises(UserError, match="has no token head"):
        answer_difference(plain, 3, 1, 2)


def test_nothing_keeps_a_graph_of_gradients(cell):
    """Also where the library's weights ask for gradients."""
    model, at, tensors = cell.adapter, cell.length - 1, []
    model.model.requires_grad_(True)
    try:
        own = freeze(model, cell.cell, {m: tiny_transcoder(m) for m in range(4)})
        reader = root(answer_difference(own, at, 5, 9))
        below = follow(own, reader, split(own, reader).inner[0])
        target = feature_target(own, 3, 1, at)
        tensors += [reader.vector, below.vector, target.vector, own.final, own.layers[1].error]
        tensors += [next(invariant_weights(model, own.transcoders[0], own.transcoders[1]))[1]]
        tensors += [next(token_pairs(own, 0, 1))[1], next(own.patterns(2))]
        for part in backward_rows(own, [target]):
            tensors += [part.pull, part.features, part.errors, *part.biases.values()]
    finally:
        model.model.requires_grad_(False)
    assert not any(t.requires_grad for t in tensors)


def test_many_cells(cell):
    over = OverCells([(3, f) for f in range(0, 48, 4)])
    over.add(cell)
    found = [over.edges(t) for t in over.targets]
    assert sum(len(e.source) for e in found) > 50
    assert max(e.relative for e in found) < 1e-6

"""Terms of attention scores against the scores that attention is computed from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scircuit.core.errors import UserError
from scircuit.tracing.attribution.frozen_cell import freeze
from scircuit.tracing.attribution.query_key_terms import Held, held_parts, score_terms
from tests.support.plain_attribution import frozen_norm
from tests.support.tiny_prenorm import KINDS, TinyPreNorm, tiny_cell, tiny_transcoders


@pytest.fixture(scope="module", params=[(k, s) for k in KINDS for s in (False, True)])
def cell(request):
    model = TinyPreNorm(request.param[0])
    return freeze(model, tiny_cell(8), tiny_transcoders(model, skip=request.param[1]))


def test_parts_are_what_the_position_holds(cell):
    for layer in range(4):
        for position in (0, 5):
            names, vectors = held_parts(cell, layer, position)
            assert len(names) == len(vectors) == len(set(names))
            torch.testing.assert_close(
                vectors.sum(0), cell.states(layer)[position], atol=1e-12, rtol=0
            )
            for name, vector in zip(names, vectors, strict=True):
                if name.kind == "attention":  # found as what is left; here as it is computed
                    model, states = cell.adapter, cell.states(name.layer)
                    parts = model.project(name.layer, states, torch.arange(8))
                    context = model.attend(name.layer, *(p[None] for p in parts))[0]
                    wanted = model.attended(name.layer, context)[position]
                    torch.testing.assert_close(vector, wanted, atol=1e-12, rtol=0)


@pytest.mark.parametrize("layer", [0, 2, 3])
def test_terms_add_up_to_the_score_that_gave_the_weight(cell, layer):
    model = cell.adapter
    patterns = list(cell.patterns(layer))
    window = model.sight(layer).window or 8
    for head in range(4):
        scores = {}
        for key in range(max(0, 7 - window + 1), 8):
            found = score_terms(cell, layer, head, 7, key)
            assert found.terms.shape == (len(found.query_parts), len(found.key_parts))
            # what is accepted in float64; in layer 0 it is one term, a product whose entries cancel
            assert found.relative < 1e-12
            assert abs(found.terms.sum() - found.score) < 1e-11
            assert abs(found.weight - float(patterns[head][7, key])) < 1e-14
            scores[key] = found.score
        values = np.array(list(scores.values()))
        cap = model.sight(layer).cap
        bounded = cap * np.tanh(values / cap) if cap else values
        weights = np.exp(bounded) / np.exp(bounded).sum()
        for weight, key in zip(weights, scores, strict=True):
            assert abs(weight - float(patterns[head][7, key])) < 1e-13


def test_a_term_is_what_the_score_loses_without_its_parts(cell):
    """Inclusion and exclusion of one part on each side, sigma held fixed."""
    model, layer, head = cell.adapter, 2, 3
    w = model.layers[layer]
    found = score_terms(cell, layer, head, 7, 6)
    shared = model.n_heads // model.groups

    def score(query, key):
        q = w.query(frozen_norm(w.norm_1, query[None], cell.states(layer)[7][None]))
        k = w.key(frozen_norm(w.norm_1, key[None], cell.states(layer)[6][None]))
        q = model.rotate(q, torch.tensor([7])).unflatten(1, (-1, 8))[0, head]
        k = model.rotate(k, torch.tensor([6])).unflatten(1, (-1, 8))[0, head // shared]
        return float(q @ k) / 8**0.5

    asks, holds = (held_parts(cell, layer, p) for p in (7, 6))
    query, key = cell.states(layer)[7], cell.states(layer)[6]
    for i in (0, 2, len(asks[0]) - 1):
        for j in (0, 3):
            without, less = query - asks[1][i], key - holds[1][j]
            both = score(query, key) - score(without, key) - score(query, less)
            both += score(without, less)
            assert abs(both - found.terms[i, j]) < 1e-12
    assert found.query_parts[: len(asks[0])] == asks[0]
    first, second, value = found.strongest(1)[0]
    assert isinstance(first, Held) and isinstance(second, Held)
    assert abs(value) == np.abs(found.terms).max()


def test_refusals(cell):
    with pytest.raises(UserError, match="position 3 does not see position 5"):
        score_terms(cell, 1, 0, 3, 5)
    with pytest.raises(UserError, match=r"4 layers, 4 heads and 8 positions"):
        score_terms(cell, 1, 4, 3, 2)
    if cell.adapter.sight(1).window:
        with pytest.raises(UserError, match="inside the window"):
            score_terms(cell, 1, 0, 7, 4)

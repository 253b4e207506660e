"""A circuit with its edges alone against a plain recursion over hooked forwards of the library's
own layers, one for every member.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from scircuit.tracing.behaviour import edge_paths
from scircuit.tracing.behaviour.behaviours import GeneLoss
from scircuit.tracing.behaviour.edge_paths import edge_share, edge_values
from scircuit.tracing.behaviour.feature_space import feature_space
from scircuit.tracing.behaviour.mean_ablation import evaluate, start
from tests.support.planted_behaviour import chain
from tests.tracing.behaviour.test_mean_ablation import loss_of, prepared, world


def hooked(adapter, dictionaries, space, prompt, values, seen=None):
    """Logits, and the state of layer `seen` before its edit, when each feature in `values`, space
    position -> activation at every gene, has that and all others of its layer their means.
    """
    caught, handles = {}, []
    for layer in space.layers:

        def hook(_module, _inputs, output, layer=layer):
            states = output[0] if isinstance(output, tuple) else output
            caught[layer] = states[0, prompt.genes].clone()
            changed, part = states.clone(), space.part(layer)
            for row, p in enumerate(prompt.genes.tolist()):
                z = dictionaries[layer].encode(states[0, p][None])[0]
                wanted = torch.tensor(space.mean[part], dtype=torch.float32)
                for f, activation in values.items():
                    if part.start <= f < part.stop:
                        wanted[f - part.start] = activation[row]
                changed[0, p] += dictionaries[layer].w_dec @ (wanted - z)
            return (changed, *output[1:]) if isinstance(output, tuple) else changed

        handles.append(adapter.model.bert.encoder.layer[layer].register_forward_hook(hook))
    with torch.no_grad():
        logits = adapter.model(torch.from_numpy(prompt.tokens)[None]).logits[0]
    for handle in handles:
        handle.remove()
    return logits if seen is None else caught[seen]


def plain(adapter, dictionaries, space, prompt, members, edges, read):
    known = {}
    for t in sorted(members, key=lambda f: space.layer[f]):
        layer = int(space.layer[t])
        parents = {s: known[s] for s, target in edges if target == t}
        state = hooked(adapter, dictionaries, space, prompt, parents, layer)
        known[t] = dictionaries[layer].encode(state)[:, int(space.index[t])]
    return read(hooked(adapter, dictionaries, space, prompt, known))


def circuit_of(space, each=3):
    """The features that fire most, of every layer."""
    found = []
    for layer in space.layers:
        part = space.part(layer)
        top = np.argsort(-space.firing_rate[part], kind="stable")[:each]
        found += (part.start + top).tolist()
    return np.array(found)


def pairs(space, members):
    return [
        (int(s), int(t))
        for s, t in itertools.permutations(members, 2)
        if space.layer[s] < space.layer[t]
    ]


@pytest.mark.parametrize("layers", [(1, 3), (0, 1, 2)])
@pytest.mark.parametrize("slots", [1, 100])
def test_equals_a_plain_recursion(layers, slots, monkeypatch):
    monkeypatch.setattr(edge_paths, "make_plan", lambda *_: type("Plan", (), {"pairs": slots})())
    adapter, dictionaries, layers, tokens = world(layers, cells=2)
    space, prompts, started = prepared(adapter, dictionaries, layers, tokens, GeneLoss("all"))
    members = circuit_of(space)
    every = pairs(space, members)
    rng = np.random.default_rng(0)
    some = [e for e in every if rng.random() < 0.4]
    assert 0 < len(some) < len(every)
    answers = []
    for edges in (some, []):
        values = edge_values(adapter, space, started, members, edges)
        for cell, prompt, value in zip(tokens, prompts, values, strict=True):
            read = loss_of(cell, prompt)
            expected = plain(adapter, dictionaries, space, prompt, members, edges, read)
            assert value == pytest.approx(expected, abs=2e-5)
        answers.append(values)
    assert np.abs(answers[0] - answers[1]).max() > 1e-4  # the edges matter here


def test_all_edges_are_the_circuit_itself():
    """And what leads backwards, or within a layer, is no edge."""
    adapter, dictionaries, layers, tokens = world((0, 1, 3))
    space, _, started = prepared(adapter, dictionaries, layers, tokens, GeneLoss("all"))
    members = circuit_of(space)
    edges = pairs(space, members)
    kept = np.zeros((1, space.size), bool)
    kept[0, members] = True
    whole = evaluate(adapter, space, started, kept)[0]
    backwards = [(t, s) for s, t in edges] + [(int(members[0]), int(members[1]))]
    shuffled = np.random.default_rng(0).permutation(members)
    for own, some in ((members, edges), (shuffled, edges[::-1] + backwards)):
        values = edge_values(adapter, space, started, own, some)
        np.testing.assert_allclose(values, whole, atol=2e-5)


def chained(seed=0):
    made = chain(seed)
    prompts = [made.behaviour.prompt(made.adapter, c, i) for i, c in enumerate(made.cells)]
    space = feature_space(made.adapter, made.dictionaries, (0, 1, 2), prompts)
    found = {
        (int(t), int(i)): f for f, (t, i) in enumerate(zip(space.layer, space.index, strict=True))
    }
    a, b, c = (found[key] for key in sorted(made.truth))
    return made.adapter, space, start(made.adapter, space, prompts), (a, b, c)


def test_a_chain_needs_both_of_its_edges():
    adapter, space, started, (a, b, c) = chained()
    members = np.array([c, a, b])
    whole = edge_share(adapter, space, started, members, [(a, b), (b, c)])
    assert whole.share == pytest.approx(1, abs=1e-4) and whole.low > 0.99
    assert abs(whole.without) < 0.05
    for some in ([(a, b)], [(b, c)], [(a, c)], [(a, c), (a, b)]):
        assert abs(edge_share(adapter, space, started, members, some).share) < 0.05


def test_nothing_to_measure(monkeypatch):
    adapter, space, started, members = chained()
    assert edge_share(adapter, space, started, np.array([], int), []) is None
    monkeypatch.setattr(edge_paths, "MOST_MEMBERS", 2)
    assert edge_share(adapter, space, started, np.array(members), []) is None

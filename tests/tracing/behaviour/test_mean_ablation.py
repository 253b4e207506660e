"""The mean-ablated forward against a plain one with hooks and dense codes, and scores against
differences.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scircuit.tracing.behaviour.attribution import attribution, single_ablations
from scircuit.tracing.behaviour.behaviours import GeneLogits, GeneLoss
from scircuit.tracing.behaviour.feature_space import feature_space
from scircuit.tracing.behaviour.mean_ablation import evaluate, start
from scircuit.tracing.models.geneformer import Geneformer
from tests.support.tiny_models import TinyDictionary, tiny_cells, tiny_model

SET = (5, 9, 14, 22, 31, 40)


def world(layers=(1, 3), k=4, cells=5):
    adapter = Geneformer(tiny_model(layers=4), "tiny", "0" * 64)
    adapter.vocabulary = SimpleNamespace(mask=1)
    dictionaries = {t: TinyDictionary(t, 32, 24, k, seed=t, scale=2.0) for t in layers}
    tokens = tiny_cells(cells, low=14)
    return adapter, dictionaries, layers, tokens


def prepared(adapter, dictionaries, layers, tokens, behaviour):
    prompts = [behaviour.prompt(adapter, cell, i) for i, cell in enumerate(tokens)]
    prompts = [p for p in prompts if p is not None]
    space = feature_space(adapter, dictionaries, layers, prompts)
    return space, prompts, start(adapter, space, prompts)


def plain_value(adapter, dictionaries, layers, space, prompt, kept, read):
    """The same by the library's own layers, dense codes, and hooks."""
    model, handles = adapter.model, []
    for layer in layers:
        z_mean = torch.tensor(space.mean[space.part(layer)], dtype=torch.float32)
        gate = torch.from_numpy(kept[space.part(layer)])

        def hook(_module, _inputs, output, layer=layer, z_mean=z_mean, gate=gate):
            states = output[0] if isinstance(output, tuple) else output
            changed = states.clone()
            for p in prompt.genes.tolist():
                z = dictionaries[layer].encode(states[0, p][None])[0]
                wanted = torch.where(gate, z, z_mean)
                changed[0, p] += dictionaries[layer].w_dec @ (wanted - z)
            return (changed, *output[1:]) if isinstance(output, tuple) else changed

        handles.append(model.bert.encoder.layer[layer].register_forward_hook(hook))
    with torch.no_grad():
        logits = model(torch.from_numpy(prompt.tokens)[None]).logits[0]
    for handle in handles:
        handle.remove()
    return read(logits)


def loss_of(cell, prompt):
    truth = torch.from_numpy(cell)[prompt.rows]
    return lambda logits: float(
        logits[prompt.rows].log_softmax(-1)[torch.arange(len(truth)), truth].mean()
    )


@pytest.mark.parametrize("layers", [(1, 3), (0, 1, 2), (3,)])
def test_every_set_equals_a_plain_forward_with_hooks(layers):
    adapter, dictionaries, layers, tokens = world(layers)
    behaviour = GeneLoss("all genes")
    space, prompts, started = prepared(adapter, dictionaries, layers, tokens, behaviour)
    rng = np.random.default_rng(0)
    sets = rng.random((6, space.size)) < np.array([0, 0.1, 0.3, 0.5, 0.9, 1])[:, None]
    sets &= space.firing_rate > 0
    values = evaluate(adapter, space, started, sets)
    for c, (cell, prompt) in enumerate(zip(tokens, prompts, strict=True)):
        read = loss_of(cell, prompt)
        for kept, value in zip(sets, values[:, c], strict=True):
            plain = plain_value(adapter, dictionaries, layers, space, prompt, kept, read)
            assert value == pytest.approx(plain, abs=2e-5)
    assert np.ptp(values, axis=0).min() > 1e-3  # sets differ


def test_all_features_are_the_unedited_model_exactly():
    adapter, dictionaries, layers, tokens = world((0, 2))
    space, prompts, started = prepared(adapter, dictionaries, layers, tokens, GeneLoss("all"))
    values = evaluate(adapter, space, started, (space.firing_rate > 0)[None])[0]
    for value, prompt in zip(values, prompts, strict=True):
        # the same rows of the last layer: attention of fewer queries may round otherwise
        states, rows = adapter.clean_states(prompt.tokens)[-2], prompt.rows
        last = adapter.layer_rows(3, states[None], (torch.zeros_like(rows), rows))
        assert value == float(prompt.read(last[None])[0])


def test_a_value_depends_on_no_other_set_of_the_batch():
    adapter, dictionaries, layers, tokens = world((0, 2))
    space, _, started = prepared(adapter, dictionaries, layers, tokens, GeneLoss("all"))
    sets = np.random.default_rng(1).random((37, space.size)) < 0.5
    together = evaluate(adapter, space, started, sets)
    alone = np.concatenate([evaluate(adapter, space, started, s[None]) for s in sets])
    np.testing.assert_array_equal(together, alone)


def test_means_and_firing_are_those_of_dense_codes():
    adapter, dictionaries, layers, tokens = world()
    space, prompts, _ = prepared(adapter, dictionaries, layers, tokens, GeneLoss("all"))
    for layer in layers:
        dense = torch.cat(
            [
                dictionaries[layer].encode(adapter.clean_states(p.tokens)[layer][p.genes])
                for p in prompts
            ]
        )
        part = space.part(layer)
        np.testing.assert_allclose(space.mean[part], dense.mean(0).numpy(), atol=1e-6)
        np.testing.assert_allclose(space.firing_rate[part], (dense > 0).float().mean(0), atol=1e-6)


def test_scores_add_up_to_the_behaviour():
    """With a dictionary without a top-k choice, whose codes do not jump; layer 1 is not edited, and
    is differentiated through."""
    adapter, dictionaries, layers, tokens = world((0, 2), k=24)
    for behaviour in (GeneLoss("all"), GeneLogits("set", SET)):
        space, _, started = prepared(adapter, dictionaries, layers, tokens, behaviour)
        ends = np.zeros((2, space.size), bool)
        ends[1] = space.firing_rate > 0
        nothing, everything = evaluate(adapter, space, started, ends).mean(1)
        errors = [
            abs(attribution(adapter, space, started, steps).sum() - (everything - nothing))
            for steps in (4, 64)
        ]
        # a ReLU has kinks along the path, so the error falls about as 1 / steps
        assert errors[1] < 0.02 * abs(everything - nothing) + 1e-4, errors


def test_the_gradient_is_that_of_one_gate():
    """One step at t = 1/2 against the difference when the gate of one feature moves."""
    adapter, dictionaries, layers, tokens = world((0, 2), k=24, cells=1)
    space, _, started = prepared(adapter, dictionaries, layers, tokens, GeneLoss("all"))
    scores = attribution(adapter, space, started, 1)
    from scircuit.tracing.behaviour import mean_ablation

    def value(f, step):
        gates = torch.full((1, space.size), 0.5)
        gates[0, f] += step
        real = mean_ablation._edit

        def edit(space, layer, rows, gates):
            decoder, part = space.decoders[layer], space.part(layer)
            z = dictionaries[layer].encode(rows)
            mean = torch.as_tensor(space.mean[part], dtype=rows.dtype)
            new = rows + ((1 - gates[:, part]) * (mean - z)) @ decoder
            return new, z, z

        mean_ablation._edit = edit
        try:
            rows = mean_ablation.forward(adapter, space, started[0], gates)[0]
        finally:
            mean_ablation._edit = real
        return float(started[0].prompt.read(rows.double().float())[0].detach())

    strongest = np.argsort(-np.abs(scores))[:8]
    assert len({int(space.layer[f]) for f in strongest}) == 2
    for f in strongest:
        slope = (value(f, 0.05) - value(f, -0.05)) / 0.1
        assert scores[f] == pytest.approx(slope, rel=0.05, abs=2e-4)


def test_single_ablations_are_one_feature_each():
    adapter, dictionaries, layers, tokens = world((1,))
    space, _, started = prepared(adapter, dictionaries, layers, tokens, GeneLoss("all"))
    scores = single_ablations(adapter, space, started)
    everything = space.firing_rate > 0
    f = int(np.argmax(np.abs(scores)))
    without = everything.copy()
    without[f] = False
    values = evaluate(adapter, space, started, np.stack([everything, without])).mean(1)
    assert scores[f] == pytest.approx(values[0] - values[1]) and scores[f] != 0
    assert not scores[~everything].any()

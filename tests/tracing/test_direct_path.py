"""The direct path of every family against the same written out: what the library's own modules gave
in the clean forward is added up, norms from their weights, and nothing else reacts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from scircuit.core.errors import UserError
from scircuit.tracing import models
from scircuit.tracing.engine.direct_path import HeldBlocks
from scircuit.tracing.engine.tracer import Tracer
from scircuit.tracing.models import load_model
from scircuit.tracing.models.geneformer import Geneformer
from tests.support.plain_effects import StatesOf, hook_states
from tests.support.plain_engine import block_outputs, layer_norm
from tests.support.tiny_models import (
    TinyDictionary,
    scgpt_script,
    tiny_cells,
    tiny_cohort,
    tiny_esm,
    tiny_model,
    tiny_scgpt,
    tiny_scgpt_cell,
)
from tests.support.tiny_tracer import open_tracer, tiny_config
from tests.support.toy_adapter import Toy, toy_tracer

SOURCE, TARGETS = 0, (1, 2)


class Family(NamedTuple):
    """A tiny model, its plain forward, and one layer of its direct path written out."""

    adapter: Any
    cells: list[np.ndarray]
    states_of: StatesOf
    direct: Callable[[np.ndarray, torch.Tensor], Mapping[int, torch.Tensor]]


def added(blocks: list[torch.Tensor]) -> Callable[..., dict[int, torch.Tensor]]:
    """Direct path where blocks add to the stream: two outputs a layer."""

    def direct(start: torch.Tensor) -> dict[int, torch.Tensor]:
        found, x = {}, start
        for t in TARGETS:
            x = x + blocks[2 * t] + blocks[2 * t + 1]
            found[t] = x
        return found

    return direct


def normed(blocks: list[torch.Tensor], norms: list[tuple[Any, Any]]) -> Callable[..., Any]:
    """Direct path where each sum is followed by a norm."""

    def direct(start: torch.Tensor) -> dict[int, torch.Tensor]:
        found, x = {}, start
        for t in TARGETS:
            x = layer_norm(blocks[2 * t] + x, norms[t][0])
            x = found[t] = layer_norm(blocks[2 * t + 1] + x, norms[t][1])
        return found

    return direct


def family_of(
    adapter: Any,
    cells: list[np.ndarray],
    layers: Any,
    forward: Callable[[np.ndarray], Any],
    parts: Callable[[Any], tuple[Any, Any]],
    norms: Callable[[Any], tuple[Any, Any]] | None = None,
) -> Family:
    """From the modules of a library's model: its layers, their two blocks, and their norms."""

    @torch.no_grad()
    def direct(cell: np.ndarray, start: torch.Tensor) -> Mapping[int, torch.Tensor]:
        modules = [module for layer in layers for module in parts(layer)]
        blocks = block_outputs(modules, lambda: forward(cell))
        blocks = [x[0] if x.ndim == 3 else x for x in blocks]
        path = normed(blocks, [norms(layer) for layer in layers]) if norms else added(blocks)
        return path(start)

    def states_of(
        cell: np.ndarray, layer: int | None = None, delta: torch.Tensor | None = None
    ) -> Any:
        return hook_states(layers, lambda: forward(cell), layer, delta)

    return Family(adapter, cells, states_of, direct)


def geneformer(_examples: Path, _folder: Path) -> Family:
    model = tiny_model(layers=3).double()
    return family_of(
        Geneformer(model, "tiny", ""),
        tiny_cells(5, seed=3),
        model.bert.encoder.layer,
        lambda cell: model(input_ids=torch.from_numpy(cell)[None]),
        lambda layer: (layer.attention.output.dense, layer.output.dense),
        lambda layer: (layer.attention.output.LayerNorm, layer.output.LayerNorm),
    )


def scgpt(examples: Path, folder: Path) -> Family:
    script = scgpt_script(examples)
    from scircuit.tracing.tokenisation.vocabulary.scgpt_vocabulary import SPECIALS

    model = tiny_scgpt(script, 30, 32, 4, 48, 3)
    script.save_checkpoint(model, [*(f"GENE{i}" for i in range(27)), *SPECIALS], folder, 20)
    cells = [tiny_scgpt_cell(27, 8 + i, seed=i) for i in range(5)]

    def forward(cell: np.ndarray) -> Any:
        ids, values = (torch.from_numpy(cell[field].copy())[None] for field in ("token", "value"))
        return model(ids, values)

    return family_of(
        load_model(folder, "cpu"),
        cells,
        model.transformer_encoder.layers,
        forward,
        lambda layer: (layer.self_attn, layer.linear2),
        lambda layer: (layer.norm1, layer.norm2),
    )


def esm(examples: Path, folder: Path) -> Family:
    page = (examples.parent / "docs" / "adapters.md").read_text()
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    before, names = list(models.families()), {}
    try:
        exec(compile(code, "docs/adapters.md", "exec"), names)
    finally:
        models._families[:] = before
    model = tiny_esm(layers=3)

    def forward(cell: np.ndarray) -> Any:
        ids = torch.from_numpy(cell)[None]
        return model(input_ids=ids, attention_mask=torch.ones_like(ids))

    return family_of(
        names["Esm"](model, "tiny", "0" * 64),
        tiny_cells(5, seed=3),
        model.esm.encoder.layer,
        forward,
        lambda layer: (layer.attention.output.dense, layer.output.dense),
    )


def toy(_examples: Path, _folder: Path) -> Family:
    adapter = Toy(dtype=torch.float64)

    def states_of(
        cell: np.ndarray, layer: int | None = None, delta: torch.Tensor | None = None
    ) -> list[torch.Tensor]:
        state, found = adapter.embed(cell)[None], []
        for l in range(adapter.n_layers):  # noqa: E741
            state = adapter.layer(l, state)
            if l == layer and delta is not None:
                state = state + delta
            found.append(state[0])
        return found

    def direct(cell: np.ndarray, start: torch.Tensor) -> Mapping[int, torch.Tensor]:
        clean, blocks = states_of(cell), []
        for t in range(adapter.n_layers):
            before = clean[t - 1] if t else adapter.embed(cell)
            parts = adapter.project(t, before, torch.arange(len(before)))
            context = adapter.attend(t, *(x[None] for x in parts))[0]
            blocks += adapter.blocks(t, before, context)
        return added(blocks)(start)

    return Family(adapter, tiny_cells(5, seed=3), states_of, direct)


FAMILIES = {"post-norm": geneformer, "scGPT": scgpt, "pre-norm": esm, "parallel": toy}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, examples, tmp_path_factory) -> Family:
    return FAMILIES[request.param](examples, tmp_path_factory.mktemp("model"))


def tracer_of(family: Family, context: str) -> Tracer:
    dictionaries = {
        t: TinyDictionary(t, 32, 48, 4, seed=t, scale=2.0).to(family.adapter.dtype)
        for t in (SOURCE, *TARGETS)
    }
    config = tiny_config(source_layers=(SOURCE,), target_layers=TARGETS, context=context)
    return open_tracer(family.adapter, dictionaries, tiny_cohort(family.cells), config)


@torch.inference_mode()
@pytest.mark.parametrize("context", ["exact", "frozen", "3"])
def test_total_and_direct_changes_and_what_remains(family, context):
    """Direct as written out in every context; in the exact one total is that of the library's whole
    forward; the two parts of the effect on a pre-activation add up to it.
    """
    tracer = tracer_of(family, context)
    limit = 1e-9 if tracer.adapter.dtype == torch.float64 else 2e-5
    features = tracer.sources[::2]
    found = tracer.effects(features, context=tracer.context)
    assert found.direct is not None
    compared = 0
    for c, (cell, clean) in enumerate(zip(family.cells, tracer.cells, strict=True)):
        states = family.states_of(cell, None, None)
        for i, f in enumerate(features.tolist()):
            at, strength = clean.firing[SOURCE].rows(f)
            delta = torch.zeros_like(states[SOURCE])
            column = tracer.dictionaries[SOURCE].columns(torch.tensor([f]))
            delta[at] = -strength[:, None] * column
            if not len(at):
                assert not found.total[i, c].any() and not found.direct[i, c].any()
                continue
            carried = family.direct(cell, states[SOURCE] + delta)
            edited = family.states_of(cell, SOURCE, delta)
            for n, t in enumerate(TARGETS):
                columns = slice(32 * n, 32 * (n + 1))
                wanted = (carried[t] - states[t])[at].mean(0)
                np.testing.assert_allclose(found.direct[i, c, columns], wanted, atol=limit)
                if context == "exact":
                    wanted = (edited[t] - states[t])[at].mean(0)
                    np.testing.assert_allclose(found.total[i, c, columns], wanted, atol=limit)
            compared += 1
    assert compared > 20
    shape = (-1, tracer.state_values)
    total, direct = found.total.reshape(shape), found.direct.reshape(shape)
    carried, computed = tracer.readout.split(total, direct)
    # of sizes near 1, in float32
    np.testing.assert_allclose(carried + computed, tracer.readout.of(total), atol=2e-5)
    assert np.abs(carried).max() > 0.1 and np.abs(computed).max() > 0.1


def test_effects_on_pre_activations_are_changes_of_these(family):
    """Read off the mean change of the state: the mean, over the active positions, of the change of
    what the encoder gives before anything is selected.
    """
    tracer = tracer_of(family, "exact")
    f = int(tracer.sources[-1])
    found = tracer.effects(np.array([f]))
    for c, (cell, clean) in enumerate(zip(family.cells, tracer.cells, strict=True)):
        at, strength = clean.firing[SOURCE].rows(f)
        if not len(at):
            continue
        states = family.states_of(cell, None, None)
        delta = torch.zeros_like(states[SOURCE])
        delta[at] = -strength[:, None] * tracer.dictionaries[SOURCE].columns(torch.tensor([f]))
        edited, read = family.states_of(cell, SOURCE, delta), tracer.readout.of(found.total[:, c])
        for t in TARGETS:
            before, after = (tracer.dictionaries[t].pre_activations(x[t]) for x in (states, edited))
            wanted = (after - before)[at].mean(0)
            np.testing.assert_allclose(read[0, tracer.columns(t)], wanted, atol=3e-5)


def test_where_blocks_add_to_the_stream_the_direct_effect_is_the_edit():
    tracer = toy_tracer(Toy())
    found = tracer.effects(tracer.sources)
    assert found.direct is not None
    for i, f in enumerate(tracer.sources.tolist()):
        column = tracer.dictionaries[0].columns(torch.tensor([f]))[0].numpy()
        for c, clean in enumerate(tracer.cells):
            if found.active[i, c]:
                removed = -float(clean.firing[0].rows(f)[1].mean()) * column
                np.testing.assert_allclose(found.direct[i, c], np.tile(removed, 2), atol=2e-5)


class Unsaid(Toy):
    """A family that does not say how its residual stream goes through a layer."""

    adds_to_stream = False


def test_a_family_without_a_direct_path_is_refused_unless_total_effects_are_asked_for(monkeypatch):
    adapter = Unsaid()
    monkeypatch.setattr(adapter, "clean_states", lambda *_: pytest.fail("computed something"))
    with pytest.raises(UserError, match=r"toy \(toy\) does not say what its residual") as refused:
        toy_tracer(adapter)
    assert "--null-draws 0" in refused.value.fix and "docs/adapters.md" in refused.value.fix
    monkeypatch.undo()
    tracer, other = toy_tracer(adapter, null_draws=0), toy_tracer(Toy(), null_draws=0)
    found, known = tracer.effects(tracer.sources), other.effects(other.sources)
    assert found.direct is None
    np.testing.assert_array_equal(found.effects, known.effects)
    a, b = (t.run_unit(t.units[0]).edges.to_pylist() for t in (tracer, other))
    named = ("direct", "computed", "computed_cells", "z_direct", "z_computed", "p_computed")
    assert all(e.get(name) is None for e in a for name in named)
    assert all(e["computed"] is not None and e["p_computed"] is None for e in b)
    same = ("source", "target", "n_pos", "mean", "p")
    assert [[e[n] for n in same] for e in a] == [[e[n] for n in same] for e in b] and len(a) > 50


def test_clean_blocks_of_the_cells_used_last_are_kept_within_the_budget(monkeypatch):
    tracer, made = toy_tracer(Toy(), cells=4), []
    plain = tracer.adapter.held
    monkeypatch.setattr(
        tracer.adapter, "held", lambda layer, *x: made.append(layer) or plain(layer, *x)
    )
    wide = HeldBlocks(tracer.adapter, tracer.cells, 0, 2, 2**30)
    first = [wide.of(c) for c in (0, 1, 2, 0, 1)]
    assert first[0] is first[3] and first[1] is first[4] and len(made) == 6
    narrow = HeldBlocks(tracer.adapter, tracer.cells, 0, 2, 0)
    again = [narrow.of(c) for c in (0, 0, 1, 0)]
    assert again[0] is again[1] and again[3] is not again[0] and len(made) == 12
    for layer, parts in again[3].items():
        for a, b in zip(parts, first[0][layer], strict=True):
            assert torch.equal(a, b)

"""A state, code or loss that is NaN or infinite is said wherever it can come up; nothing passes
because a comparison with it is false.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from scircuit.core.errors import UserError
from scircuit.tracing.clean_pass.clean_pass import clean_cell
from scircuit.tracing.engine.numeric_floor import zero_edit
from scircuit.tracing.evaluation.fidelity import loss_lines, zero_edit_line
from scircuit.tracing.evaluation.loss_recovered import Recovered
from scircuit.tracing.models.geneformer import Geneformer
from scircuit.tracing.models.self_check import self_check
from tests.support.tiny_models import TinyDictionary, tiny_cells, tiny_cohort, tiny_model
from tests.support.tiny_tracer import SOURCE, open_tracer, setup


class Broken(Geneformer):
    """Layers from 2 on give NaN (or another value) at one row, or everywhere."""

    value, rows = float("nan"), slice(None)

    def finish(self, layer, states, context):
        found = super().finish(layer, states, context).clone()
        if layer >= 2:
            found[..., self.rows, :] = self.value
        return found


def adapter_of(kind=Geneformer):
    return kind(tiny_model(layers=5), "tiny", "0" * 64)


def test_an_adapter_whose_layers_give_nan_fails_its_self_check():
    failed = {line.name for line in self_check(adapter_of(Broken)) if not line.ok}
    assert failed == {line.name for line in self_check(adapter_of())} - {"weights"}


def test_weights_that_are_finite_but_give_no_finite_states_are_refused():
    model = tiny_model(layers=5)
    with torch.no_grad():
        model.bert.encoder.layer[2].output.dense.weight[3] = 3e38
    adapter = Geneformer(model, "tiny", "0" * 64)
    dictionary = TinyDictionary(1, 32, 48, 4, seed=1)
    with pytest.raises(
        UserError, match=r"states of layer 2 are NaN or infinite in a cell of \d+ tokens"
    ) as refused:
        clean_cell(adapter, {1: dictionary}, tiny_cells(1)[0], (1,))
    assert "--numerics float32" in refused.value.fix


def test_one_row_of_the_last_layer_is_enough():
    class Last(Broken):
        rows, value = slice(4, 5), float("inf")

    with pytest.raises(UserError, match="states of layer 2"):
        clean_cell(
            adapter_of(Last), {1: TinyDictionary(1, 32, 48, 4, seed=1)}, tiny_cells(1)[0], (1,)
        )


def test_no_cell_of_a_trace_is_lost_in_silence():
    _, model, dictionaries, cells = setup(cells=4)
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight[int(cells[2][3])] = 3e38  # a token of one cell
    with pytest.raises(UserError, match="NaN or infinite"):
        open_tracer(
            Geneformer(model, "tiny", "0" * 64),
            dictionaries,
            tiny_cohort(cells),
        )


class Blind(TinyDictionary):
    """Encodes clean states, and NaN where they come again."""

    calls = 0

    def encode_topk(self, x):
        values, indices = super().encode_topk(x)
        self.calls += 1
        return (values if self.calls == 1 else values * torch.nan), indices


def test_a_zero_edit_that_gives_nan_is_no_floor():
    tracer, _, dictionaries, cells = setup(cells=3)
    used = {SOURCE: dictionaries[SOURCE], 3: Blind(3, 32, 48, 4, seed=3, scale=2.0)}
    clean = [clean_cell(tracer.adapter, used, cells[0], (SOURCE, 3))]
    with pytest.raises(UserError, match="an edit of zero changes activations of layer 3 by nan"):
        zero_edit(tracer.adapter, used, clean, SOURCE, (3,), 2)
    again = {SOURCE: dictionaries[SOURCE], 3: Blind(3, 32, 48, 4, seed=3, scale=2.0)}
    assert not zero_edit_line(tracer.adapter, again, cells[:1]).ok


def test_a_nan_of_one_cell_is_not_hidden_by_the_others():
    tracer, _, _, _ = setup(cells=3)
    cells = list(tracer.cells)
    values, indices = cells[1].codes[3]
    cells[1] = replace(cells[1], codes={**cells[1].codes, 3: (values * torch.nan, indices)})
    for order in (cells, cells[::-1], cells[1:]):
        with pytest.raises(UserError, match="by nan"):
            zero_edit(tracer.adapter, tracer.dictionaries, order, SOURCE, (3,), 2)


def test_a_loss_that_is_nan_is_not_called_unmeasured(monkeypatch):
    found = Recovered()
    found.add(torch.full((4, 30), torch.nan).double())
    monkeypatch.setattr(
        "scircuit.tracing.evaluation.loss_recovered.loss_recovered", lambda *_a, **_k: {3: found}
    )
    adapter = SimpleNamespace(vocabulary=SimpleNamespace(mask=1), name="tiny", family="Geneformer")
    [line] = loss_lines(adapter, {}, [], 60, 0)
    assert not line.ok and "NaN" in line.found and line.fix

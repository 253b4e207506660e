"""A further family, added as docs/adapters.md says: its code is taken from that page."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from scircuit.core.config import TraceConfig
from scircuit.core.errors import UserError
from scircuit.tracing import models
from scircuit.tracing.models import load_model
from scircuit.tracing.models.self_check import self_check
from tests.support.plain_effects import edges_agree, hook_states, plain_effects
from tests.support.tiny_models import TinyDictionary, tiny_cells, tiny_cohort, tiny_esm
from tests.support.tiny_tracer import open_tracer

SOURCE, TARGETS = 1, (2, 3)


@pytest.fixture(scope="module")
def page(root):
    """Code of the page; families registered by it are forgotten afterwards."""
    blocks = re.findall(
        r"```python\n(.*?)```", (root / "docs" / "adapters.md").read_text(), re.DOTALL
    )
    assert len(blocks) == 2 and len(blocks[0].splitlines()) < 100
    before = models.families()
    names: dict = {}
    exec(compile(blocks[0], "docs/adapters.md", "exec"), names)
    yield names, blocks[1]
    models._families[:] = before


@pytest.fixture(scope="module")
def esm(tmp_path_factory):
    """A random ESM, saved as a model folder."""
    model = tiny_esm()
    folder = tmp_path_factory.mktemp("models") / "my-esm"
    model.save_pretrained(folder, safe_serialization=True)
    return model, folder


@pytest.fixture(scope="module")
def adapter(page, esm):
    return load_model(esm[1], "cpu")


def states_of(model):
    def forward(cell, layer=None, delta=None):
        ids = torch.from_numpy(cell)[None]
        return hook_states(
            model.esm.encoder.layer,
            lambda: model(input_ids=ids, attention_mask=torch.ones_like(ids)),
            layer,
            delta,
        )

    return forward


def test_without_the_page_the_family_is_unknown(esm, monkeypatch):
    monkeypatch.setattr(models, "_families", [f for f in models.families() if f.name != "ESM"])
    with pytest.raises(
        UserError,
        match=(
            r"type 'esm'; supported: Geneformer \(.*\); scGPT \(args.json, vocab.json and"
            r" best_model.pt\)"
        ),
    ):
        load_model(esm[1])


def test_it_equals_the_librarys_forward_and_passes_its_self_check(
    page, esm, adapter, capsys, monkeypatch
):
    model, folder = esm
    for cell in tiny_cells(3):
        for a, b in zip(adapter.clean_states(cell), states_of(model)(cell), strict=True):
            torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-5)
        with torch.no_grad():
            ids = torch.from_numpy(cell)[None]
            wanted = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
        torch.testing.assert_close(
            adapter.logits(adapter.clean_states(cell)[-1]), wanted, atol=1e-4, rtol=1e-4
        )
    monkeypatch.chdir(folder.parent)
    exec(compile(page[1], "docs/adapters.md", "exec"), dict(page[0]))
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 8 and all(": ok: " in line for line in printed), printed


def test_the_self_check_notices_positions_that_do_not_rotate(adapter, monkeypatch):
    monkeypatch.setattr(adapter, "_rotate", lambda x, positions: x)
    failed = {line.name for line in self_check(adapter) if not line.ok}
    assert {"layers equal the whole forward", "each layer called as a function"} <= failed


def test_traced_edges_equal_the_plain_loop(esm, adapter):
    model, _ = esm
    dictionaries = {t: TinyDictionary(t, 32, 48, 4, seed=t, scale=2.0) for t in (SOURCE, *TARGETS)}
    cells = tiny_cells(7, seed=3)
    config = TraceConfig(
        model="m",
        dictionaries="tiny",
        cells=Path("c"),
        source_layers=(SOURCE,),
        target_layers=TARGETS,
        gate_p=1.0,
    )
    tracer = open_tracer(adapter, dictionaries, tiny_cohort(cells), config, "trace-test")
    zero = tracer.effects(tracer.sources, torch.zeros(len(tracer.sources), 32))
    assert (np.abs(zero.effects) <= tracer.floors).all() and (tracer.floors < 2e-5).all()
    features = tracer.sources[::2].tolist()
    genes = lambda cell: np.flatnonzero(cell > 3)  # noqa: E731
    effects, active = plain_effects(
        states_of(model), genes, dictionaries, cells, SOURCE, TARGETS, features
    )
    np.testing.assert_array_equal(tracer.effects(np.array(features)).active, active)
    assert edges_agree(tracer, effects, active, features, 2e-5) > 200


def test_every_row_recomputed_equals_exact(adapter):
    """Rows computed one by one carry their positions: with all of them, the row-wise engine is the
    exact one.
    """
    dictionaries = {t: TinyDictionary(t, 32, 48, 4, seed=t, scale=2.0) for t in (SOURCE, *TARGETS)}
    cells = tiny_cells(4, seed=3)
    exact, rows = (
        open_tracer(
            adapter,
            dictionaries,
            tiny_cohort(cells),
            TraceConfig(
                model="m",
                dictionaries="tiny",
                cells=Path("c"),
                source_layers=(SOURCE,),
                target_layers=TARGETS,
                context=context,
            ),
            "trace-test",
        )
        for context in ("exact", "40")
    )
    np.testing.assert_allclose(
        rows.effects(rows.sources).effects, exact.effects(exact.sources).effects, atol=2e-5
    )


def test_what_the_interface_cannot_express_is_refused(page, esm):
    model, _ = esm
    model.config.is_decoder = True
    try:
        with pytest.raises(UserError, match="is_decoder=True"):
            page[0]["Esm"](model, "causal", "0" * 64)
    finally:
        model.config.is_decoder = False
    model.config.num_key_value_heads = 2
    try:
        with pytest.raises(UserError, match="shares keys between heads"):
            page[0]["Esm"](model, "grouped", "0" * 64)
    finally:
        del model.config.num_key_value_heads

"""scGPT from its published checkpoint folder: equal to a restatement with PyTorch's own encoder,
and traced as the plain loop does.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scircuit.core.config import CellsConfig, TraceConfig, TrainConfig
from scircuit.core.errors import UserError
from scircuit.tracing.cells.cohort import load_cohort
from scircuit.tracing.dictionaries import load_dictionaries
from scircuit.tracing.interventions import steer
from scircuit.tracing.models import load_model
from scircuit.tracing.models.scgpt import ScGPT
from scircuit.tracing.models.self_check import self_check
from scircuit.tracing.tokenisation.binning import CELL
from scircuit.tracing.tokenisation.vocabulary.scgpt_vocabulary import SPECIALS
from scircuit.tracing.training.trainer import train_dictionaries
from tests.support.plain_effects import edges_agree, hook_states, plain_effects
from tests.support.tiny_models import scgpt_script, tiny_scgpt, tiny_scgpt_cell
from tests.support.tiny_tracer import open_tracer

SOURCE, TARGETS = 1, (2, 3)


@pytest.fixture(scope="session")
def script(examples):
    return scgpt_script(examples)


def states_of(model):
    """Layer outputs of the restatement, with an edit at one layer."""

    def forward(cell, layer=None, delta=None):
        ids, values = (torch.from_numpy(cell[field].copy())[None] for field in ("token", "value"))
        return hook_states(
            model.transformer_encoder.layers, lambda: model(ids, values), layer, delta
        )

    return forward


@pytest.fixture
def small(script, tmp_path):
    """A random checkpoint of 30 tokens and 3 layers, and the model it was written from."""
    model = tiny_scgpt(script, 30, 32, 4, 48, 3)
    names = [*(f"GENE{i}" for i in range(27)), *SPECIALS]
    script.save_checkpoint(model, names, tmp_path / "small", 20)
    return model, tmp_path / "small", names


def test_the_published_shape_layer_by_layer(script, shared_data, tmp_path):
    """12 layers, d 512, 8 heads, 60,697 tokens and 1,200 positions, random weights, with the heads
    of other tasks beside them.
    """
    names = list(
        json.loads(
            gzip.decompress(
                (shared_data / "vocabulary" / "scgpt_default_census_vocab.json.gz").read_bytes()
            )
        )
    )
    model = tiny_scgpt(script, len(names) + 3, 512, 8, 512, 12)
    script.save_checkpoint(model, [*names, *SPECIALS], tmp_path, 1200)
    weights = torch.load(tmp_path / "best_model.pt", weights_only=True)
    torch.save(
        {
            **weights,
            "flag_encoder.weight": torch.ones(2, 512),
            "mvc_decoder.W.weight": torch.ones(512, 512),
        },
        tmp_path / "best_model.pt",
    )
    adapter = load_model(tmp_path, "cpu", "scGPT human")
    assert isinstance(adapter, ScGPT)
    assert (
        adapter.name,
        adapter.n_layers,
        adapter.width,
        adapter.ffn,
        adapter.n_heads,
        adapter.max_length,
        adapter.n_tokens,
    ) == ("scgpt-human", 12, 512, 512, 8, 1200, 60_697)
    cell = np.r_[np.array([(60_695, -2.0)], CELL), tiny_scgpt_cell(60_694, 1199)]
    wanted, ours = states_of(model)(cell), adapter.clean_states(cell)
    assert len(wanted) == len(ours) == 12
    for a, b in zip(ours, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
    with torch.inference_mode():
        torch.testing.assert_close(
            adapter.predicted_expression(ours[-1]), model.decoder(wanted[-1]), atol=1e-5, rtol=0
        )
    assert len(adapter.gene_positions(cell)) == 1199 and adapter.gene_positions(cell)[0] == 1
    assert adapter.gene_tokens(cell).tolist() == cell["token"][1:].tolist()
    assert [str(line) for line in self_check(adapter) if not line.ok] == []


def test_values_are_clipped_and_order_carries_nothing(small):
    model, folder, _ = small
    adapter, cell = load_model(folder, "cpu"), tiny_scgpt_cell(27, 12)
    cell["value"][3] = 900.0
    wanted = states_of(model)(cell)
    for a, b in zip(adapter.clean_states(cell), wanted, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
    turned = adapter.clean_states(cell[::-1])
    torch.testing.assert_close(turned[-1].flip(0), wanted[-1], atol=1e-5, rtol=0)


def test_both_spellings_of_the_fused_weights(small):
    _, folder, _ = small
    before = load_model(folder, "cpu").clean_states(tiny_scgpt_cell(27, 12))
    weights = torch.load(folder / "best_model.pt", weights_only=True)
    for old, new in (
        ("self_attn.Wqkv.", "self_attn._impl.Wqkv."),
        ("self_attn.Wqkv.", "self_attn.in_proj_"),
    ):
        again = {k.replace(old, new): v for k, v in weights.items()}
        if "_impl" in new:
            again = {
                k.replace("self_attn.out_proj", "self_attn._impl.out_proj"): v
                for k, v in again.items()
            }
        torch.save(again, folder / "best_model.pt")
        assert torch.equal(
            load_model(folder, "cpu").clean_states(tiny_scgpt_cell(27, 12))[-1], before[-1]
        )


def test_every_weight_is_accounted_for(small):
    _, folder, _ = small
    weights = torch.load(folder / "best_model.pt", weights_only=True)

    def refused(changed, *words):
        torch.save(changed, folder / "best_model.pt")
        with pytest.raises(UserError) as raised:
            load_model(folder, "cpu")
        assert all(word in str(raised.value) for word in words), raised.value

    refused(
        {k: v for k, v in weights.items() if "layers.1.linear2" not in k},
        "lacks 2 weights",
        "transformer_encoder.layers.1.linear2.bias",
    )
    refused({**weights, "bn.weight": torch.ones(32)}, "has unknown 1 weights", "bn.weight")
    refused(
        {k.replace("enc_norm", "norm"): v for k, v in weights.items()},
        "lacks 2 weights (encoder.enc_norm.bias",
        "has unknown 2",
    )
    refused(
        {**weights, "decoder.fc.0.weight": torch.ones(32, 31)},
        "decoder.fc.0.weight is [32, 31]; expected [32, 32]",
    )
    broken = {k: v.clone() for k, v in weights.items()}
    broken["value_encoder.linear2.weight"][3, 4:6] = float("nan")
    refused(broken, "2 values of value_encoder.linear2.weight are NaN or infinite")
    refused(
        {"model_state_dict": weights}, "a mapping with keys such as model_state_dict", "tensors"
    )


def test_files_that_are_missing_or_of_another_checkpoint(small, tmp_path):
    _, folder, names = small
    kept = {
        name: (folder / name).read_bytes() for name in ("args.json", "vocab.json", "best_model.pt")
    }

    def refused(word):
        with pytest.raises(UserError, match=word):
            load_model(folder, "cpu")
        for name, content in kept.items():
            (folder / name).write_bytes(content)

    for name in kept:
        (folder / name).unlink()
        refused(f"has no {name}")
    (folder / "vocab.json").write_text(json.dumps({n: i for i, n in enumerate([*names, "EXTRA"])}))
    refused(
        r"embedding.weight is \[30, 32\]; expected \[31, 32\]: vocab.json and the gene embedding"
        r" are of different sizes"
    )
    (folder / "vocab.json").write_text("[1, 2]")
    refused("not a JSON object")
    stated = json.loads(kept["args.json"])
    for change, word in (
        ({"nlayers": None}, "lacks nlayers"),
        ({"input_emb_style": "category"}, "only 'continuous' is supported"),
        ({"pre_norm": True}, "pre_norm=True"),
        ({"d_hid": 64}, "args.json does not fit it"),
        ({"nheads": 5}, "5 heads do not divide a width of 32"),
    ):
        (folder / "args.json").write_text(json.dumps({**stated, **change}))
        refused(word)
    torch.save({"harm": Path}, folder / "best_model.pt")
    refused("could run code")


def test_half_precision_is_cast_and_said(script, small):
    model, folder, names = small
    script.save_checkpoint(model, names, folder, 20, half=True)
    adapter = load_model(folder, "cpu")
    assert all(p.dtype == torch.float32 for p in adapter.parameters())
    line = next(line for line in self_check(adapter) if line.name == "weights")
    assert line.ok and line.found.startswith("stored as float16, computed in float32")


def test_self_check_notices_a_wrong_layer(small):
    adapter = load_model(small[1], "cpu")
    assert isinstance(adapter, ScGPT)
    adapter.layers[1] = adapter.layers[1]._replace(
        norm_1=adapter.layers[1].norm_2, up=adapter.layers[0].up
    )
    failed = {line.name for line in self_check(adapter) if not line.ok}
    assert {"layers equal the whole forward", "each layer called as a function"} <= failed
    assert "attention rows sum to one" not in failed


def test_cells_that_do_not_fit_the_model(small):
    adapter = load_model(small[1], "cpu")
    with pytest.raises(UserError, match="has 21 tokens, the model small accepts 20"):
        adapter.clean_states(tiny_scgpt_cell(27, 21))
    with pytest.raises(UserError, match="needs a value beside each token"):
        adapter.clean_states(np.arange(5))


@pytest.fixture(scope="module")
def study(script, examples, tmp_path_factory):
    """A small scGPT trained for some seconds on the demo cells, dictionaries trained on it, and ten
    cells.
    """
    folder = tmp_path_factory.mktemp("scgpt")
    metrics = script.main(
        [
            "--out",
            str(folder / "model"),
            "--width",
            "32",
            "--length",
            "96",
            "--steps",
            "140",
            "--learning-rate",
            "5e-3",
        ]
    )
    adapter = load_model(folder / "model", "cpu")
    cells = examples / "cells" / "celltypist_sample_559cells.h5ad"
    many = load_cohort(CellsConfig(cells=cells, n_cells=120, min_tokens=50), adapter.vocabulary, 64)
    train = TrainConfig(
        cells=cells,
        model="m",
        out=folder / "set",
        layers=(SOURCE, *TARGETS),
        expansion=4,
        k=4,
        epochs=3,
        batch_rows=512,
    )
    reports = train_dictionaries(adapter, many, train)
    cohort = load_cohort(
        CellsConfig(cells=cells, n_cells=8, min_tokens=50, seed=1), adapter.vocabulary, 64
    )
    dictionaries = load_dictionaries(folder / "set")
    config = TraceConfig(
        model="m", dictionaries="set", cells=cells, source_layers=(SOURCE,), gate_p=1.0
    )
    model = script.TransformerModel(len(adapter.vocabulary), 32, 4, 32, 4).eval()
    weights = torch.load(folder / "model" / "best_model.pt", weights_only=True)
    model.load_state_dict(
        {k.replace("self_attn.Wqkv.", "self_attn.in_proj_"): v for k, v in weights.items()}
    )
    return SimpleNamespace(
        metrics=metrics,
        adapter=adapter,
        reports=reports,
        cohort=cohort,
        dictionaries=dictionaries,
        model=model,
        tracer=open_tracer(adapter, dictionaries, cohort, config, "trace-test"),
    )


def test_training_learns_expression_on_held_out_cells(study):
    assert study.metrics["mse"] < 0.85 * study.metrics["mse_of_mean"]
    assert len(study.metrics["held_out"]) > 40 and study.metrics["masked"] > 500


def test_the_trained_model_equals_its_restatement(study):
    assert [str(line) for line in self_check(study.adapter) if not line.ok] == []
    for cell in study.cohort.tokens[:3]:
        assert cell[0]["token"] == study.adapter.vocabulary.cls and cell[0]["value"] == -2
        for a, b in zip(
            study.adapter.clean_states(cell), states_of(study.model)(cell), strict=True
        ):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_dictionaries_of_its_layers_explain_it(study):
    assert [r.layer for r in study.reports] == [SOURCE, *TARGETS]
    assert all(r.variance_explained > 0.4 for r in study.reports)


def test_a_zero_edit_is_at_the_floor(study):
    features = study.tracer.sources[:20]
    found = study.tracer.effects(features, torch.zeros(len(features), study.adapter.width))
    assert found.active.any() and (np.abs(found.effects) <= study.tracer.floors).all()
    assert (study.tracer.floors < 2e-5).all()


def test_edges_equal_the_plain_loop(study):
    features = study.tracer.sources[:: max(1, len(study.tracer.sources) // 10)].tolist()
    genes = lambda cell: np.flatnonzero(cell["token"] < len(study.adapter.vocabulary) - 3)  # noqa: E731
    effects, active = plain_effects(
        states_of(study.model),
        genes,
        study.dictionaries,
        study.cohort.tokens,
        SOURCE,
        TARGETS,
        features,
    )
    found = study.tracer.effects(np.array(features))
    np.testing.assert_array_equal(found.active, active)
    np.testing.assert_allclose(found.effects[active], effects[active], atol=2e-5)
    assert edges_agree(study.tracer, effects, active, features, 2e-5) > 200


def test_steering_says_that_there_are_no_gene_logits(study):
    address = study.tracer.address(SOURCE, int(study.tracer.sources[-1]))
    with pytest.raises(UserError, match="has no token head"):
        steer(study.adapter, study.dictionaries, study.cohort, [address], (0.0,), run="steer-test")

"""Every layout: files written by a plain restatement of each library are read to the same codes and
reconstructions.

Formulas restate dictionary_learning 0.1.0, SAELens 6 (and its files from before) and sparsify 1.3,
in double precision."""

from __future__ import annotations

import json
import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from scircuit.core.errors import UserError
from scircuit.tracing.dictionaries import load_dictionaries, save_dictionary

D, F, K = 10, 36, 4


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


W_ENC, B_ENC, W_DEC, B_DEC = (
    drawn(F, D, seed=1),
    drawn(F, seed=2) * 0.3,
    drawn(F, D, seed=3) * 0.4,
    drawn(D, seed=4),
)
THRESHOLD, RATE, GATE, MAGNITUDE = (
    drawn(F, seed=5).abs(),
    drawn(F, seed=6) * 0.5,
    drawn(F, seed=7),
    drawn(F, seed=8),
)
X = drawn(50, D, seed=9) + 1
NORMS = W_DEC.norm(dim=1)


def relu(a: Tensor) -> Tensor:
    return a.clamp(min=0)


def largest(a: Tensor) -> Tensor:
    """The k largest entries of each row, one by one."""
    z = torch.zeros_like(a)
    for n, row in enumerate(a):
        for f in sorted(range(F), key=lambda f: -float(row[f]))[:K]:
            z[n, f] = row[f]
    return relu(z)


def gated(x: Tensor) -> Tensor:
    u = x @ W_ENC.T
    return torch.where(u + GATE > 0, relu(RATE.exp() * u + MAGNITUDE), 0.0)


PRE = (X - B_DEC) @ W_ENC.T + B_ENC
RAW = X @ W_ENC.T + B_ENC

# class -> (state dict, configuration, codes, decoder columns [F, d], offset)
LEARNING = {
    "AutoEncoder": (
        {"encoder.weight": W_ENC, "encoder.bias": B_ENC, "decoder.weight": W_DEC.T, "bias": B_DEC},
        {},
        relu(PRE) * NORMS,
        W_DEC / NORMS[:, None],
    ),
    "AutoEncoderNew": (
        {
            "encoder.weight": W_ENC,
            "encoder.bias": B_ENC,
            "decoder.weight": W_DEC.T,
            "decoder.bias": B_DEC,
        },
        {},
        relu(RAW),
        W_DEC,
    ),
    "GatedAutoEncoder": (
        {
            "encoder.weight": W_ENC,
            "decoder.weight": W_DEC.T,
            "decoder_bias": B_DEC,
            "r_mag": RATE,
            "gate_bias": GATE,
            "mag_bias": MAGNITUDE,
        },
        {},
        gated(X - B_DEC),
        W_DEC,
    ),
    "AutoEncoderTopK": (
        {
            "encoder.weight": W_ENC,
            "encoder.bias": B_ENC,
            "decoder.weight": W_DEC.T,
            "b_dec": B_DEC,
            "k": torch.tensor(K, dtype=torch.int),
            "threshold": torch.tensor(-1.0),
        },
        {"k": K},
        largest(relu(PRE)),
        W_DEC,
    ),
    "BatchTopKSAE": (
        {
            "encoder.weight": W_ENC,
            "encoder.bias": B_ENC,
            "decoder.weight": W_DEC.T,
            "b_dec": B_DEC,
            "k": torch.tensor(K, dtype=torch.int),
            "threshold": torch.tensor(1.7),
        },
        {"k": K},
        torch.where(relu(PRE) > 1.7, relu(PRE), 0.0),
        W_DEC,
    ),
    "MatryoshkaBatchTopKSAE": (
        {
            "W_enc": W_ENC.T,
            "b_enc": B_ENC,
            "W_dec": W_DEC,
            "b_dec": B_DEC,
            "group_sizes": torch.tensor([12, 24]),
            "k": torch.tensor(K, dtype=torch.int),
            "threshold": torch.tensor(0.9),
        },
        {"k": K},
        torch.where(relu(PRE) > 0.9, relu(PRE), 0.0),
        W_DEC,
    ),
    "JumpReluAutoEncoder": (
        {"W_enc": W_ENC.T, "b_enc": B_ENC, "W_dec": W_DEC, "b_dec": B_DEC, "threshold": THRESHOLD},
        {},
        relu(RAW * (RAW > THRESHOLD)),
        W_DEC,
    ),
}
PLAIN = {"W_enc": W_ENC.T, "b_enc": B_ENC, "W_dec": W_DEC, "b_dec": B_DEC}
NOW = {
    "metadata": {
        "hook_name": "blocks.4.hook_resid_post",
        "model_name": "m",
        "dataset_path": "cells",
    },
    "normalize_activations": "none",
}
BEFORE = {
    "hook_point": "blocks.4.hook_resid_post",
    "hook_point_layer": 4,
    "normalize_activations": False,
}
RANKED = largest(PRE * NORMS)

# name -> (tensors, cfg.json, codes, decoder columns)
LENS = {
    "standard": (
        PLAIN,
        {**NOW, "architecture": "standard", "apply_b_dec_to_input": True},
        relu(PRE),
        W_DEC,
    ),
    "not centred": (
        PLAIN,
        {**NOW, "architecture": "standard", "apply_b_dec_to_input": False},
        relu(RAW),
        W_DEC,
    ),
    "topk": (PLAIN, {**NOW, "architecture": "topk", "k": K}, largest(PRE), W_DEC),
    "topk ranked by length": (
        PLAIN,
        {**NOW, "architecture": "topk", "k": K, "rescale_acts_by_decoder_norm": True},
        RANKED,
        W_DEC / NORMS[:, None],
    ),
    "jumprelu": (
        {**PLAIN, "threshold": THRESHOLD},
        {**NOW, "architecture": "jumprelu", "apply_b_dec_to_input": False},
        relu(RAW) * (RAW > THRESHOLD),
        W_DEC,
    ),
    "gated": (
        {
            "W_enc": W_ENC.T,
            "W_dec": W_DEC,
            "b_dec": B_DEC,
            "b_gate": GATE,
            "r_mag": RATE,
            "b_mag": MAGNITUDE,
        },
        {**NOW, "architecture": "gated"},
        gated(X - B_DEC),
        W_DEC,
    ),
    "batchtopk after training": (
        {**PLAIN, "threshold": torch.full((F,), 1.1)},
        {**NOW, "architecture": "jumprelu"},
        relu(PRE) * (PRE > 1.1),
        W_DEC,
    ),
    "matryoshka in training": (
        {**PLAIN, "topk_threshold": torch.tensor(1.1, dtype=torch.float64)},
        {
            **NOW,
            "architecture": "matryoshka_batchtopk",
            "k": 4.5,
            "rescale_acts_by_decoder_norm": True,
        },
        relu(PRE * NORMS) * (PRE * NORMS > 1.1),
        W_DEC / NORMS[:, None],
    ),
    "old standard": (PLAIN, {**BEFORE, "activation_fn_str": "relu"}, relu(PRE), W_DEC),
    "old topk": (
        PLAIN,
        {**BEFORE, "activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}},
        largest(PRE),
        W_DEC,
    ),
    "old fine-tuned": (
        {**PLAIN, "finetuning_scaling_factor": THRESHOLD},
        {**BEFORE, "finetuning_scaling_factor": True},
        relu(PRE),
        THRESHOLD[:, None] * W_DEC,
    ),
}


def single(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: (t.float() if t.is_floating_point() else t).contiguous() for name, t in state.items()
    }


def learning(folder, kind, state=None, **options):
    """One dictionary_learning folder as its training writes it."""
    place = folder / "resid_post_layer_4" / "trainer_0"
    place.mkdir(parents=True)
    tensors, config, *_ = LEARNING[kind]
    torch.save(single(state or tensors), place / "ae.pt")
    trainer = {
        "dict_class": kind,
        "layer": 4,
        "lm_name": "geneformer",
        "submodule_name": "resid_post_layer_4",
        **config,
        **options,
    }
    (place / "config.json").write_text(
        json.dumps({"trainer": trainer, "buffer": {"io": "out", "d_submodule": D}})
    )
    return place


def lens(folder, tensors, config):
    folder.mkdir(parents=True)
    save_file(single(tensors), folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps({"d_in": D, "d_sae": F, **config}))
    return folder


def computes(dictionary, codes, decoder, tmp_path):
    """Codes and reconstructions are those of the formula, also from sparse codes and after a round
    trip through the project's own format.
    """
    x = X.float()
    assert (codes > 0).any() and (codes == 0).any()
    torch.testing.assert_close(dictionary.encode(x).double(), codes, atol=2e-5, rtol=2e-5)
    expected = codes @ decoder + B_DEC
    torch.testing.assert_close(
        dictionary.decode(dictionary.encode(x)).double(), expected, atol=5e-5, rtol=5e-5
    )
    torch.testing.assert_close(
        dictionary.decode_topk(*dictionary.encode_topk(x)).double(), expected, atol=5e-5, rtol=5e-5
    )
    torch.testing.assert_close(
        dictionary.columns(torch.arange(F)).double(), decoder, atol=1e-6, rtol=1e-6
    )
    save_dictionary(dictionary, tmp_path / "own")
    again = load_dictionaries(tmp_path / "own")[dictionary.layer]
    assert (
        again.sha256 == dictionary.sha256
        and torch.equal(again.encode(x), dictionary.encode(x))
        and again.rule == dictionary.rule
    )


@pytest.mark.parametrize("kind", LEARNING)
def test_dictionary_learning(kind, tmp_path):
    learning(tmp_path / "set", kind)
    (dictionary,) = load_dictionaries(tmp_path / "set").values()
    assert dictionary.layer == 4
    assert dictionary.decoder_norm == ("columns" if kind == "AutoEncoder" else "none")
    _, _, codes, decoder = LEARNING[kind]
    computes(dictionary, codes, decoder, tmp_path)


@pytest.mark.parametrize("name", LENS)
def test_saelens(name, tmp_path):
    tensors, config, codes, decoder = LENS[name]
    lens(tmp_path / "set" / "some place", tensors, config)
    (dictionary,) = load_dictionaries(tmp_path / "set").values()
    assert dictionary.layer == 4
    computes(dictionary, codes, decoder, tmp_path)


def test_sparsify(tmp_path):
    place = tmp_path / "set" / "encoder.layer.4"
    place.mkdir(parents=True)
    save_file(
        single({"encoder.weight": W_ENC, "encoder.bias": B_ENC, "W_dec": W_DEC, "b_dec": B_DEC}),
        place / "sae.safetensors",
    )
    (place / "cfg.json").write_text(
        json.dumps(
            {"activation": "topk", "k": K, "d_in": D, "transcode": False, "multi_topk": False}
        )
    )
    (dictionary,) = load_dictionaries(tmp_path / "set").values()
    computes(dictionary, largest(relu(PRE)), W_DEC, tmp_path)


def test_saelens_says_where_it_reads(tmp_path):
    for place, layer in (
        ("blocks.5.hook_resid_pre", 4),
        ("encoder.layer.3", 3),
        ("model.layers.2", 2),
    ):
        lens(tmp_path / place, PLAIN, {**NOW, "metadata": {"hook_name": place}})
        assert list(load_dictionaries(tmp_path / place)) == [layer]
    for place, message in (
        ("blocks.5.hook_mlp_out", "expected the output of a layer"),
        ("blocks.0.hook_resid_pre", "the embedding"),
        ("roberta.encoder.layer.2.output.dense", "expected the output of a layer"),
        ("blocks.2.attn.hook_z", "expected the output of a layer"),
        ("hook_embed", "neither the configuration nor the name says which layer it reads"),
    ):
        lens(tmp_path / place, PLAIN, {**NOW, "metadata": {"hook_name": place}})
        with pytest.raises(UserError, match=message):
            load_dictionaries(tmp_path / place)


def test_saelens_firing_rates_are_its_catalogue(tmp_path):
    place = lens(tmp_path / "layer_4", PLAIN, NOW)
    assert load_dictionaries(place)[4].catalogue is None
    rates = torch.linspace(0, 0.5, F)
    save_file({"sparsity": torch.log10(rates + 1e-10)}, place / "sparsity.safetensors")
    catalogue = load_dictionaries(place)[4].catalogue
    assert catalogue is not None
    np.testing.assert_allclose(catalogue.activation_freq, rates.numpy(), rtol=1e-5)
    assert catalogue.is_dead.tolist() == [True] + [False] * (F - 1)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architecture": "temporal"}, "has architecture 'temporal'"),
        ({"architecture": "abstopk", "k": K}, "has architecture 'abstopk'"),
        ({"activation_fn": "tanh-relu"}, "has the activation 'tanh-relu'"),
        ({"normalize_activations": "layer_norm"}, "normalises each row by itself"),
        ({"normalize_activations": True}, "the scale is not in its weights"),
        ({"architecture": "topk", "k": "four"}, "k is 'four'; expected a whole number"),
        ({"architecture": "topk", "k": F + 1}, "k = 37 of 36 features"),
        ({"architecture": "jumprelu"}, "jumprelu without a threshold"),
        ({"architecture": "gated"}, "has no r_mag, b_gate, b_mag"),
    ],
)
def test_saelens_that_cannot_be_computed_is_refused_with_the_reason(config, message, tmp_path):
    lens(tmp_path / "layer_4", PLAIN, {**NOW, **config})
    with pytest.raises(UserError, match=message):
        load_dictionaries(tmp_path)


@pytest.mark.parametrize(
    ("kind", "state", "options", "message"),
    [
        (
            "BatchTopKSAE",
            {"threshold": torch.tensor(-1.0)},
            {},
            "BatchTopK without a stored threshold",
        ),
        ("AutoEncoderTopK", {}, {"k": 7}, "k is 4 and 7"),
        ("AutoEncoderTopK", {}, {"dict_class": "CrossCoder"}, "has dict_class 'CrossCoder'"),
        (
            "AutoEncoderTopK",
            {},
            {"submodule_name": "mlp_out_layer_4"},
            "expected the output of a layer",
        ),
        (
            "AutoEncoderTopK",
            {"b_dec": torch.zeros(D + 1)},
            {},
            r"mean has shape \(11,\); expected \(10,\)",
        ),
        (
            "AutoEncoderTopK",
            {"encoder.bias": torch.full((F,), torch.inf)},
            {},
            "36 of 36 values of encoder_bias are NaN or infinite",
        ),
    ],
)
def test_dictionary_learning_that_cannot_be_computed_is_refused_with_the_reason(
    kind, state, options, message, tmp_path
):
    learning(tmp_path, kind, {**LEARNING[kind][0], **state}, **options)
    with pytest.raises(UserError, match=message):
        load_dictionaries(tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"transcode": True}, "is a transcoder"),
        ({"activation": "groupmax"}, "has activation 'groupmax'"),
        ({"signed": True}, "has activation 'signed'"),
        ({"k": None}, "k is None; expected a whole number"),
    ],
)
def test_sparsify_that_cannot_be_computed_is_refused_with_the_reason(config, message, tmp_path):
    place = tmp_path / "layers.4"
    place.mkdir()
    save_file(
        single({"encoder.weight": W_ENC, "encoder.bias": B_ENC, "W_dec": W_DEC, "b_dec": B_DEC}),
        place / "sae.safetensors",
    )
    (place / "cfg.json").write_text(json.dumps({"activation": "topk", "k": K, **config}))
    with pytest.raises(UserError, match=message):
        load_dictionaries(tmp_path)


class _Bomb:
    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


def test_no_layout_runs_a_pickle(tmp_path):
    bomb = _Bomb(tmp_path / "ran")
    for name, write in {
        "zip": lambda path: torch.save({"k": 4, "b_dec": bomb}, path),
        "bare": lambda path: path.write_bytes(pickle.dumps(bomb, protocol=2)),
        "legacy": lambda path: torch.save({"k": bomb}, path, _use_new_zipfile_serialization=False),
    }.items():
        place = learning(tmp_path / name, "AutoEncoderTopK")
        write(place / "ae.pt")
        with pytest.raises(UserError, match="was not loaded, because a pickle can run code"):
            load_dictionaries(tmp_path / name)
    # A pickle under the name of a safe format is no file of that format.
    for file, config in (
        ("sae_weights.safetensors", "cfg.json"),
        ("sae.safetensors", "cfg.json"),
        ("dictionary.safetensors", "config.json"),
    ):
        place = tmp_path / file / "layer_4"
        place.mkdir(parents=True)
        (place / file).write_bytes(pickle.dumps(bomb))
        (place / config).write_text(json.dumps({**NOW, "k": K, "format": "scircuit-dictionary-1"}))
        with pytest.raises(UserError, match="is damaged or no safetensors file"):
            load_dictionaries(place)
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(bomb))  # the bomb does go off where it is let
    assert (tmp_path / "ran").exists()


def test_two_dictionaries_of_one_layer_are_named(tmp_path):
    learning(tmp_path, "JumpReluAutoEncoder")
    place = learning(tmp_path / "more", "JumpReluAutoEncoder")
    place.parent.rename(tmp_path / "again_layer_4")
    with pytest.raises(
        UserError,
        match=r"holds two of layer 4: again_layer_4/trainer_0 and resid_post_layer_4/trainer_0",
    ):
        load_dictionaries(tmp_path)

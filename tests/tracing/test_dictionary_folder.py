"""A dictionary folder of every format with each of its files, fields and tensors damaged; places
that are not a layer's output; half precision.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from scircuit.core.errors import UserError
from scircuit.tracing.cells.held_out import check_unseen
from scircuit.tracing.dictionaries import Dictionary, load_dictionaries, save_dictionary
from scircuit.tracing.dictionaries.training_statistics import write_own
from scircuit.tracing.engine.input_records import _dictionary as describe
from scircuit.tracing.evaluation.fidelity import identity_lines
from tests.support.damaged_files import damages, outcome, read, write

D, F, K = 6, 10, 3


def drawn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


W_ENC, B_ENC = drawn(F, D, seed=1), drawn(F, seed=2) * 0.3
W_DEC, B_DEC = drawn(F, D, seed=3) * 0.4, drawn(D, seed=4)
POSITIVE = drawn(F, seed=5).abs() + 0.1
X = drawn(20, D, seed=9) + 1


def native(folder: Path) -> None:
    own = Dictionary(
        4,
        W_ENC,
        B_ENC,
        W_DEC,
        B_DEC,
        torch.zeros(D),
        k=K,
        provenance={
            "trained_on": "cells",
            "variance_explained": 0.5,
            "held_out": ["a"],
            "trained_cells": ["b"],
            "cells": 1,
            "cells_sha256": "0" * 64,
            "model_sha256": "1" * 64,
        },
    )
    place = save_dictionary(own, folder)
    write_own(place, np.linspace(0, 0.4, F), np.linspace(0, 2, F))


def published(folder: Path) -> None:
    place = folder / "layer04_x4_k3"
    place.mkdir(parents=True)
    state = {
        "W_enc.weight": W_ENC,
        "W_enc.bias": B_ENC,
        "W_dec.weight": W_DEC.T.contiguous(),
        "W_dec.bias": B_DEC,
    }
    torch.save({"model_state_dict": state, "k": K}, place / "sae_final.pt")
    np.save(place / "activation_mean.npy", np.ones(D, np.float32))
    features = [
        {
            "feature_idx": f,
            "activation_freq": f / F,
            "is_dead": f == 0,
            "mean_activation": 1.0,
            "top_genes": [{"gene_name": "TP53"}],
        }
        for f in range(F)
    ]
    (place / "feature_catalog.json").write_text(json.dumps({"features": features}))
    terms = {"3": [{"ontology": "GO_BP", "term": "DNA repair"}]}
    (place / "feature_annotations.json").write_text(json.dumps({"feature_annotations": terms}))


def saelens(folder: Path) -> None:
    place = folder / "layer_4"
    place.mkdir(parents=True)
    save_file(
        {
            "W_enc": W_ENC.T.contiguous(),
            "b_enc": B_ENC,
            "W_dec": W_DEC,
            "b_dec": B_DEC,
            "threshold": POSITIVE,
        },
        place / "sae_weights.safetensors",
    )
    config = {
        "architecture": "jumprelu",
        "normalize_activations": "none",
        "apply_b_dec_to_input": True,
        "rescale_acts_by_decoder_norm": True,
        "metadata": {"hook_name": "blocks.4.hook_resid_post"},
    }
    (place / "cfg.json").write_text(json.dumps(config))


def gated(folder: Path) -> None:
    saelens(folder)
    place = folder / "layer_4"
    save_file(
        {
            "W_enc": W_ENC.T.contiguous(),
            "W_dec": W_DEC,
            "b_dec": B_DEC,
            "b_gate": B_ENC,
            "r_mag": B_ENC + 0.2,
            "b_mag": POSITIVE,
        },
        place / "sae_weights.safetensors",
    )
    config = json.loads((place / "cfg.json").read_text()) | {"architecture": "gated"}
    del config["rescale_acts_by_decoder_norm"]
    (place / "cfg.json").write_text(json.dumps(config))


def sparsify(folder: Path) -> None:
    place = folder / "layers.4"
    place.mkdir(parents=True)
    save_file(
        {"encoder.weight": W_ENC, "encoder.bias": B_ENC, "W_dec": W_DEC, "b_dec": B_DEC},
        place / "sae.safetensors",
    )
    (place / "cfg.json").write_text(json.dumps({"activation": "topk", "k": K, "d_in": D}))


def learning(folder: Path) -> None:
    place = folder / "resid_post_layer_4" / "trainer_0"
    place.mkdir(parents=True)
    state = {"encoder.weight": W_ENC, "encoder.bias": B_ENC, "bias": B_DEC}
    torch.save(state | {"decoder.weight": W_DEC.T.contiguous()}, place / "ae.pt")
    trainer = {"dict_class": "AutoEncoder", "layer": 4, "submodule_name": "resid_post_layer_4"}
    (place / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {"io": "out"}}))


FORMATS: dict[str, Callable[[Path], None]] = {
    "native": native,
    "published": published,
    "saelens": saelens,
    "gated": gated,
    "sparsify": sparsify,
    "learning": learning,
}
COHORT: Any = SimpleNamespace(barcodes=["a", "b"], sha256="0" * 64)
MODEL: Any = SimpleNamespace(
    name="tiny", n_layers=6, width=D, sha256="1" * 64, config_sha256="", adds_to_stream=False
)
SETTINGS: Any = SimpleNamespace(model_name="tiny", dictionary_name="set")
NESTED = ("model_state_dict", "k")


def numbers(folder: Path) -> Any:
    """What a dictionary computes, and its catalogue; and what is said of it is said."""
    ((layer, own),) = load_dictionaries(folder).items()
    check_unseen(own.provenance, COHORT)
    identity_lines(MODEL, {layer: own}, COHORT)
    describe(SimpleNamespace(dictionaries={layer: own}, settings=SETTINGS), layer)
    codes = own.encode(X)
    catalogue = own.catalogue
    rates = np.zeros(0) if catalogue is None else catalogue.activation_freq
    return np.concatenate(
        [[layer], codes.numpy().ravel(), own.decode(codes).numpy().ravel(), rates]
    )


@pytest.mark.parametrize("kind", FORMATS)
def test_a_damaged_folder_gives_the_same_numbers_or_a_sentence(kind, tmp_path):
    FORMATS[kind](tmp_path / "set")
    expected, found = numbers(tmp_path / "set"), {}
    names = NESTED if kind == "published" else ()
    for damage in damages(tmp_path / "set", names):
        try:
            found[str(damage)] = outcome(
                tmp_path / "set", tmp_path / "x", damage, numbers, expected
            )
        except Exception as error:
            found[str(damage)] = f"ended with {type(error).__name__}: {error}"
    wrong = {
        what: text
        for what, text in found.items()
        if text.startswith("ended with") or (text == "other numbers" and not optional(what))
    }
    assert not wrong, "\n".join(f"{what}: {text}" for what, text in wrong.items())
    assert sum(text not in ("same", "other numbers") for text in found.values()) > 20


def optional(what: str) -> bool:
    """Damages after which another folder is stated, not a damaged one: no catalogue, a scale that
    SAELens does without.
    """
    return what.endswith(
        (
            "catalogue.safetensors: removed",
            "feature_catalog.json: removed",
            "rescale_acts_by_decoder_norm removed",
        )
    )


PLACES = [
    "blocks.{}.ln1.hook_normalized",
    "blocks.{}.ln2",
    "blocks.{}.hook_resid_mid",
    "blocks.{}.mlp.hook_post",
    "blocks.{}.mlp.hook_pre",
    "blocks.{}.hook_mlp_in",
    "blocks.{}.hook_attn_out",
    "blocks.{}.attn.hook_result",
    "blocks.{}.attn.hook_q",
    "blocks.{}.hook_in",
    "encoder.layer.{}.query",
    "encoder.layer.{}.attention.self",
    "encoder.layer.{}.attention.output.LayerNorm",
    "encoder.layer.{}.output.LayerNorm",
    "encoder.layer.{}.intermediate",
    "transformer_encoder.layers.{}.norm1",
    "transformer_encoder.layers.{}.self_attn.out_proj",
    "transformer_encoder.layers.{}.linear2",
    "model.layers.{}.input_layernorm",
    "model.layers.{}.post_attention_layernorm",
    "model.layers.{}.post_feedforward_layernorm",
    "model.layers.{}.mlp.down_proj",
    "layers_{}_embeddings",
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["saelens", "sparsify", "learning"])
def test_places_inside_a_layer_are_refused(kind, place, tmp_path):
    name = place.format(4)
    FORMATS[kind](tmp_path / "set")
    (folder,) = (tmp_path / "set").iterdir()
    if kind == "saelens":
        configured(folder / "cfg.json", metadata={"hook_name": name})
    elif kind == "learning":
        config = json.loads((folder / "trainer_0" / "config.json").read_text())
        trainer = config["trainer"] | {"submodule_name": name}
        configured(folder / "trainer_0" / "config.json", trainer=trainer)
    else:
        folder.rename(tmp_path / "set" / name)
    with pytest.raises(UserError, match="expected the output of a layer") as error:
        load_dictionaries(tmp_path / "set")
    assert "layer outputs" in error.value.fix


def test_what_reads_one_place_and_predicts_another_is_refused(tmp_path):
    saelens(tmp_path)
    names = {"hook_name": "blocks.4.hook_resid_post", "hook_name_out": "blocks.4.hook_mlp_out"}
    configured(tmp_path / "layer_4" / "cfg.json", metadata=names)
    with pytest.raises(UserError, match="it is a transcoder"):
        load_dictionaries(tmp_path)


def test_a_feature_without_a_direction_does_not_spoil_the_others(tmp_path):
    saelens(tmp_path)
    configured(tmp_path / "layer_4" / "cfg.json", rescale_acts_by_decoder_norm=True)
    whole = load_dictionaries(tmp_path)[4]
    file = weights_of(tmp_path)
    held = read(file)
    held["W_dec"][1] = 0
    write(file, held)
    dead = load_dictionaries(tmp_path)[4]
    others = [i for i in range(whole.n_features) if i != 1]
    assert torch.equal(dead.tensors["decoder"][others], whole.tensors["decoder"][others])
    assert not dead.tensors["decoder"][1].any()


@pytest.mark.parametrize("place", ["mlp", "attn_out", "resid_mid", "LayerNorm"])
def test_published_folders_named_for_a_place_inside_a_layer_are_refused(place, tmp_path):
    published(tmp_path)
    (tmp_path / "layer04_x4_k3").rename(tmp_path / f"layer04_{place}_x4_k3")
    with pytest.raises(UserError, match="expected the output of a layer"):
        load_dictionaries(tmp_path)


@pytest.mark.parametrize(
    ("place", "layer"),
    [
        ("blocks.4.hook_resid_post", 4),
        ("blocks.4.hook_normalized_resid_post", 4),
        ("blocks.4.hook_resid_pre", 3),
        ("bert.encoder.layer.4", 4),
        ("transformer_encoder.layers.4", 4),
        ("layer_4_normal_cells", 4),
    ],
)
def test_layer_outputs_are_read_and_their_place_is_kept(place, layer, tmp_path):
    saelens(tmp_path)
    configured(tmp_path / "layer_4" / "cfg.json", metadata={"hook_name": place})
    ((found, own),) = load_dictionaries(tmp_path).items()
    assert (found, own.provenance["place"]) == (layer, place)


def configured(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hook_head_index": 0}, "hook_z"),
        ({"hook_layer": 3}, "names layer 4 .* and layer 3"),
    ],
)
def test_one_head_or_another_layer_than_the_name_says_is_refused(values, message, tmp_path):
    saelens(tmp_path)
    configured(tmp_path / "layer_4" / "cfg.json", **values)
    with pytest.raises(UserError, match=message):
        load_dictionaries(tmp_path)


def test_dictionary_learning_states_one_layer(tmp_path):
    learning(tmp_path)
    place = tmp_path / "resid_post_layer_4" / "trainer_0" / "config.json"
    configured(place, trainer=json.loads(place.read_text())["trainer"] | {"layer": 2})
    with pytest.raises(UserError, match=r"names layer 4 .* and layer 2"):
        load_dictionaries(tmp_path)


def weights_of(folder: Path) -> Path:
    names = ("*.safetensors", "*.pt")
    return next(
        p for n in names for p in sorted(folder.rglob(n)) if p.name != "catalogue.safetensors"
    )


def cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, dict):
        return {name: cast(v, dtype) for name, v in value.items()}
    return value.to(dtype) if isinstance(value, torch.Tensor) else value


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_same_values_in_another_format_give_the_same_dictionary(kind, dtype, tmp_path):
    """Norms, products and thresholds are computed after the cast, so they agree to the last bit."""
    found = []
    for name, stored in (("wide", torch.float32), ("other", dtype)):
        FORMATS[kind](tmp_path / name)
        path = weights_of(tmp_path / name)
        write(path, cast(cast(read(path), dtype), stored))
        if kind == "native":  # its configuration names the hash of the weights before the cast
            configured(path.parent / "config.json", sha256=None)
        found.append(load_dictionaries(tmp_path / name)[4])
    wide, other = found
    assert wide.sha256 == other.sha256
    assert torch.equal(wide.encode(X), other.encode(X))
    assert all(t.dtype == torch.float32 for t in other.tensors.values())


NEEDED = {
    "native": ("config.json", "dictionary.safetensors"),
    "published": ("sae_final.pt", "activation_mean.npy"),
    "saelens": ("cfg.json", "sae_weights.safetensors"),
    "sparsify": ("cfg.json", "sae.safetensors"),
    "learning": ("config.json", "ae.pt"),
}


@pytest.mark.parametrize(("kind", "file"), [(k, file) for k in NEEDED for file in NEEDED[k]])
def test_a_layer_whose_folder_lacks_a_file_is_not_passed_over(kind, file, tmp_path):
    """Beside another layer that is whole, so that the set would load without this one."""
    native(tmp_path)
    (tmp_path / "layer04").rename(tmp_path / "layer02")
    configured(tmp_path / "layer02" / "config.json", layer=2, sha256=None)
    FORMATS[kind](tmp_path)
    assert list(load_dictionaries(tmp_path)) == [2, 4]
    (path,) = (p for p in tmp_path.rglob(file) if "layer02" not in str(p))
    path.unlink()
    with pytest.raises(UserError):
        load_dictionaries(tmp_path)


def test_several_published_checkpoints_need_a_final_one(tmp_path):
    published(tmp_path)
    (place,) = tmp_path.iterdir()
    shutil.copy(place / "sae_final.pt", place / "sae_step_500.pt")
    assert load_dictionaries(tmp_path)[4].provenance["file"] == "sae_final.pt"
    (place / "sae_final.pt").rename(place / "sae_step_900.pt")
    with pytest.raises(UserError, match=r"2 checkpoints, sae_step_500\.pt, sae_step_900\.pt"):
        load_dictionaries(tmp_path)


def test_two_formats_in_one_folder_are_refused(tmp_path):
    saelens(tmp_path)
    sparsify(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "layers.4" / "sae.safetensors", tmp_path / "layer_4")
    shutil.rmtree(tmp_path / "other")
    with pytest.raises(UserError, match="two formats: saelens and sparsify"):
        load_dictionaries(tmp_path)

"""Which place a dictionary reads: names of a layer's output are read, any other is refused; and
files that contradict each other, or hold more than their format computes, are refused with both
values.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from scircuit.core.errors import UserError
from scircuit.tracing.dictionaries import load_dictionaries
from tests.support.damaged_files import read, write
from tests.tracing.test_dictionary_folder import FORMATS, D, F, X, configured, numbers, weights_of

CONFIG = {
    "native": "config.json",
    "saelens": "cfg.json",
    "gated": "cfg.json",
    "sparsify": "cfg.json",
    "learning": "config.json",
}


def config_of(folder: Path, kind: str) -> Path:
    return next(folder.rglob(CONFIG[kind]))


def stated(folder: Path, kind: str, **values: object) -> None:
    """Set fields where the format has them: in dictionary_learning, of its trainer."""
    file = config_of(folder, kind)
    if kind == "learning":
        values = {"trainer": json.loads(file.read_text())["trainer"] | values}
    configured(file, **values)


def placed(folder: Path, kind: str, place: str) -> None:
    """Let a configuration state the place, and no layer beside it."""
    if kind == "learning":
        stated(folder, kind, submodule_name=place, layer=None)
    elif kind == "sparsify":
        stated(folder, kind, hookpoint=place)
    else:
        stated(folder, kind, metadata={"hook_name": place})


def refused(folder: Path, *texts: str) -> None:
    with pytest.raises(UserError) as error:
        load_dictionaries(folder)
    for text in texts:
        assert text in error.value.problem, error.value.problem
    assert error.value.fix


INSIDE = (
    *("input", "pre", "post", "sa", "self", "conv", "mixer", "mixing", "experts", "adapter"),
    *("block_sparse_moe", "c_proj", "ln_post", "residual_delta", "resid_update", "resid_pre.x"),
    *("hook_scale", "hook_resid_mid", "hook_resid_post.hook_x", "output.dense", "0", "layer.1.X"),
    *("never_heard_of", "output_gate", "xhook_resid_post"),
)


@pytest.mark.parametrize("inside", INSIDE)
@pytest.mark.parametrize("kind", ["saelens", "sparsify", "learning"])
def test_a_place_that_is_not_known_as_an_output_is_refused_by_its_name(kind, inside, tmp_path):
    FORMATS[kind](tmp_path)
    place = f"encoder.layer.4.{inside}"
    placed(tmp_path, kind, place)
    refused(tmp_path, repr(place), f"({inside})", "expected the output of a layer")


@pytest.mark.parametrize(
    ("place", "named"),
    [
        ("mlp.layers.4", "mlp"),
        ("moe.blocks.4.hook_resid_post", "moe"),
        ("stages.2.blocks.4", "stages.2"),
        ("conv_layer_4", "conv"),
        ("ssm_layer_4", "ssm"),
        ("resid_mid_layer_4", "_mid"),
        ("layer_4_adapter", "adapter"),
        ("layer_4_block_2", "block_2"),
    ],
)
@pytest.mark.parametrize("kind", ["saelens", "sparsify", "learning"])
def test_what_stands_before_a_layer_must_be_known_too(kind, place, named, tmp_path):
    FORMATS[kind](tmp_path)
    placed(tmp_path, kind, place)
    refused(tmp_path, repr(place), f"({named}", "expected the output of a layer")


OUTPUTS = {
    "blocks.4.hook_resid_post": 4,
    "blocks.4.hook_normalized_resid_post": 4,
    "blocks.4.hook_out": 4,
    "blocks.5.hook_resid_pre": 4,
    "bert.encoder.layer.4": 4,
    "bert.encoder.layer.4.output": 4,
    "esm.encoder.layer.4.output": 4,
    "_orig_mod.model.layers.4": 4,
    "gpt_neox.layers.4": 4,
    "transformer.h.4": 4,
    "transformer.h.4.output.0": 4,
    "transformer_encoder.layers.4": 4,
    "encoder.block.4": 4,
    "layers.4.resid_post": 4,
    "resid_post_layer_4": 4,
    "resid_out_layer4": 4,
    "resid_pre_layer_5": 4,
    "layer_4_normal_cells": 4,
    "layer_4_h1_cells": 4,
}


@pytest.mark.parametrize("place", OUTPUTS)
@pytest.mark.parametrize("kind", ["saelens", "sparsify", "learning"])
def test_known_names_of_a_layers_output_are_read(kind, place, tmp_path):
    FORMATS[kind](tmp_path / "set")
    expected = numbers(tmp_path / "set")
    (folder,) = (tmp_path / "set").iterdir()
    folder.rename(folder.with_name("a name"))
    placed(tmp_path / "set", kind, place)
    assert (numbers(tmp_path / "set") == expected).all() and expected[0] == OUTPUTS[place]


@pytest.mark.parametrize("kind", ["saelens", "sparsify", "learning"])
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("layer_5", "layer 5"),
        ("resid_post_layer_2", "layer 2"),
        ("blocks.3.hook_resid_post", "layer 3"),
        ("mlp_out_layer_4", "mlp"),
        ("layer_4_attn_out", "attn"),
        ("blocks.4.hook_resid_pre", "resid_pre"),
        ("mlp_out", "mlp"),
        ("transcoders", "transcoders"),
    ],
)
def test_a_folder_that_names_another_place_is_refused(kind, name, says, tmp_path):
    FORMATS[kind](tmp_path)
    placed(tmp_path, kind, "encoder.layer.4")
    (folder,) = tmp_path.iterdir()
    folder.rename(tmp_path / name)
    refused(tmp_path, "layer 4 ('encoder.layer.4')", f"says {says};", name)


@pytest.mark.parametrize("kind", [*CONFIG, "published"])
@pytest.mark.parametrize("parent", ["mlp", "attn_out", "transcoder"])
def test_the_folder_above_names_a_place_too(kind, parent, tmp_path):
    FORMATS[kind](tmp_path / "set" / parent)
    part = parent.removesuffix("_out")
    if kind == "learning":  # its own two levels
        (folder,) = (tmp_path / "set" / parent / "resid_post_layer_4").iterdir()
        folder.rename(tmp_path / "set" / parent / "trainer_0")
    refused(tmp_path / "set", "layer 4", f"says {part};", parent)


@pytest.mark.parametrize("kind", ["saelens", "sparsify", "learning"])
@pytest.mark.parametrize(
    "name",
    [
        *("some place", "final_5000000", "attention_study", "normal_cells_h5", "pre_trained"),
        *("layer_4", "L4_24h_5_layer04", "h1_esc", "mlp_and_residual", "resid_post_layer_4_x8"),
    ],
)
def test_folders_of_any_other_name_are_read(kind, name, tmp_path):
    FORMATS[kind](tmp_path / "set")
    expected = numbers(tmp_path / "set")
    placed(tmp_path / "set", kind, "blocks.4.hook_resid_post")
    (folder,) = (tmp_path / "set").iterdir()
    folder.rename(tmp_path / "set" / name)
    assert (numbers(tmp_path / "set") == expected).all()


def test_a_folder_of_hook_resid_pre_may_be_called_by_either_number(tmp_path):
    for name in ("layer_5", "layer_4"):
        FORMATS["saelens"](tmp_path / name)
        placed(tmp_path / name, "saelens", "blocks.5.hook_resid_pre")
        (tmp_path / name / "layer_4").rename(tmp_path / name / name)
        assert list(load_dictionaries(tmp_path / name)) == [4]


def test_two_places_of_one_configuration_are_refused(tmp_path):
    FORMATS["saelens"](tmp_path)
    stated(tmp_path, "saelens", hook_point="blocks.4.hook_resid_pre")
    refused(tmp_path, "'blocks.4.hook_resid_post' and 'blocks.4.hook_resid_pre'")
    stated(tmp_path, "saelens", hook_point=None, hook_layer=4, hook_point_layer=5)
    refused(tmp_path, "hook_layer is 4 and 5")


def test_a_folder_and_a_layer_without_a_place_must_agree(tmp_path):
    FORMATS["saelens"](tmp_path)
    stated(tmp_path, "saelens", metadata={}, hook_layer=4)
    assert list(load_dictionaries(tmp_path)) == [4]
    stated(tmp_path, "saelens", hook_layer=3)
    refused(tmp_path, "names layer 4 ('layer_4') and layer 3")
    FORMATS["learning"](tmp_path / "other")
    stated(tmp_path / "other", "learning", submodule_name=None, layer=3)
    refused(tmp_path / "other", "layer 3 ('layer_3')", "says layer 4")


SIZES = {
    "native": ("width", "n_features"),
    "saelens": ("d_in", "d_sae"),
    "gated": ("d_in", "d_sae"),
    "sparsify": ("d_in", "num_latents"),
    "learning": ("activation_dim", "dict_size"),
}


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("wrong", [1, 2 * F, 10**6])
def test_sizes_that_do_not_fit_the_weights_are_refused(kind, wrong, tmp_path):
    FORMATS[kind](tmp_path)
    expected = numbers(tmp_path)
    for name, size in zip(SIZES[kind], (D, F), strict=True):
        stated(tmp_path, kind, **{name: wrong})
        refused(tmp_path, f"says {name} {wrong}; the weights have {size}")
        stated(tmp_path, kind, **{name: size})
        assert (numbers(tmp_path) == expected).all()


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", ["W_skip", "post_enc", "threshold2"])
def test_a_tensor_that_a_format_does_not_have_is_refused_by_name(kind, name, tmp_path):
    FORMATS[kind](tmp_path)
    file = weights_of(tmp_path)
    held = read(file)
    held.get("model_state_dict", held)[name] = torch.eye(D)
    write(file, held)
    refused(tmp_path, f"holds {name}, which")


def lens_topk(folder: Path, **values: object) -> None:
    FORMATS["saelens"](folder)
    held = read(weights_of(folder))
    del held["threshold"]
    write(weights_of(folder), held)
    config = {"architecture": "topk", "k": 3, "rescale_acts_by_decoder_norm": False}
    stated(folder, "saelens", **(config | values))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"k": 3, "activation_fn_kwargs": {"k": 5}}, "k is 3 and 5"),
        ({"architecture": "skip_transcoder"}, "'skip_transcoder'"),
        ({"architecture": "skip_transcoder", "activation_fn": "topk"}, "'skip_transcoder'"),
        ({"architecture": "transcoder", "activation_fn_str": "topk"}, "'transcoder'"),
        ({"architecture": "jumprelu", "activation_fn": "topk"}, "'jumprelu' and activation 'topk'"),
        ({"architecture": "gated", "activation_fn": "topk"}, "'gated' and activation 'topk'"),
    ],
)
def test_saelens_fields_that_contradict_each_other_are_refused(values, said, tmp_path):
    lens_topk(tmp_path, **values)
    refused(tmp_path, said)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"k": 3, "activation_fn_kwargs": {"k": 3}, "activation_fn": "topk"},
        {"k": None, "activation_fn_kwargs": {"k": 3}, "architecture": "standard"}
        | {"activation_fn_str": "topk"},
    ],
)
def test_saelens_topk_in_every_way_it_is_stated_is_the_same(values, tmp_path):
    lens_topk(tmp_path / "plain")
    lens_topk(tmp_path / "other", **values)
    own = load_dictionaries(tmp_path / "other")[4]
    assert (own.rule, own.k) == ("topk", 3)
    assert torch.equal(own.encode(X), load_dictionaries(tmp_path / "plain")[4].encode(X))


@pytest.mark.parametrize("architecture", ["standard", "topk"])
def test_a_threshold_that_a_rule_does_not_have_is_refused(architecture, tmp_path):
    FORMATS["saelens"](tmp_path)
    stated(tmp_path, "saelens", architecture=architecture, k=3)
    refused(tmp_path, "holds threshold, which SAELens")


def native_with(folder: Path, rule: str) -> None:
    FORMATS["native"](folder)
    held = read(next(folder.rglob("dictionary.safetensors")))
    held["threshold"] = torch.ones(F)
    write(next(folder.rglob("dictionary.safetensors")), held)
    stated(folder, "native", rule=rule, sha256=None)


@pytest.mark.parametrize(
    ("rule", "outcome"), [("topk", refused), ("relu", refused), ("jumprelu", load_dictionaries)]
)
def test_own_dictionaries_hold_a_threshold_only_for_rules_with_one(
    rule, outcome: Callable[..., object], tmp_path
):
    native_with(tmp_path, rule)
    outcome(tmp_path, *([f"rule {rule} with a threshold"] if outcome is refused else []))


def test_published_k_and_sizes_are_those_of_name_and_weights(tmp_path):
    FORMATS["published"](tmp_path)
    (folder,) = tmp_path.iterdir()
    held = read(folder / "sae_final.pt")
    for name, wrong, said in (("d_model", 7, "says d_model 7"), ("n_features", 7, "n_features 7")):
        write(folder / "sae_final.pt", held | {name: wrong})
        refused(tmp_path, said, f"the weights have {D if name == 'd_model' else F}")
    write(folder / "sae_final.pt", held | {"d_model": D, "n_features": F})
    assert load_dictionaries(tmp_path)[4].k == 3
    folder.rename(tmp_path / "layer04_x4_k32")
    refused(tmp_path, "k is 3 and 32")

"""Every published layout of transcoders: files written here as the libraries write them, and what
they compute restated with numpy in double precision.

Layouts and formulas of sparsify 1.3, SAELens 6, Gemma Scope and circuit-tracer 0.5.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from scircuit.core.errors import UserError
from scircuit.tracing.dictionaries import load_dictionaries, save_dictionary

D, F, K = 12, 40, 5
RNG = np.random.default_rng(1)
ENCODER, BIAS = RNG.normal(size=(F, D)), RNG.normal(size=F) * 0.3
DECODER, OFFSET = RNG.normal(size=(F, D)), RNG.normal(size=D)
SKIP, THRESHOLD = RNG.normal(size=(D, D)), np.abs(RNG.normal(size=F))
X = RNG.normal(size=(30, D))
A = np.einsum("nd,fd->nf", X, ENCODER) + BIAS


def largest(a: np.ndarray) -> np.ndarray:
    z = np.zeros_like(a)
    for n, row in enumerate(a):
        for f in np.argsort(-row)[:K]:
            z[n, f] = row[f]
    return z.clip(min=0)


CODES = {
    "topk": largest(A),
    "relu": A.clip(min=0),
    "jumprelu": np.where(A > THRESHOLD, A, 0).clip(min=0),
}


def single(**arrays: np.ndarray) -> dict[str, torch.Tensor]:
    return {k: torch.from_numpy(np.ascontiguousarray(v)).float() for k, v in arrays.items()}


def config(path: Path, **values: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def sparsify(folder: Path, name: str = "layers.3.mlp", skip: bool = False, **more: object) -> None:
    place = folder / name
    values = {"activation": "topk", "k": K, "d_in": D, "transcode": True, "skip_connection": skip}
    config(place / "cfg.json", **(values | more))
    weights = {"encoder.weight": ENCODER, "encoder.bias": BIAS, "W_dec": DECODER, "b_dec": OFFSET}
    save_file(single(**weights, **({"W_skip": SKIP} if skip else {})), place / "sae.safetensors")


def saelens(
    folder: Path, architecture: str = "transcoder", name: str = "a name", **more: object
) -> None:
    place = folder / name
    metadata = {"hook_name": "blocks.3.mlp.hook_in", "hook_name_out": "blocks.3.hook_mlp_out"}
    values = {"architecture": architecture, "d_in": D, "d_out": D, "d_sae": F}
    config(
        place / "cfg.json",
        **(values | {"metadata": metadata, "apply_b_dec_to_input": False} | more),
    )
    extra = {"threshold": THRESHOLD} if "jumprelu" in architecture else {}
    extra |= {"W_skip": SKIP} if "skip" in architecture else {}
    weights = {"W_enc": ENCODER.T, "b_enc": BIAS, "W_dec": DECODER, "b_dec": OFFSET, **extra}
    save_file(single(**weights), place / "sae_weights.safetensors")


def gemma(folder: Path, layer: int = 3, **more: np.ndarray) -> Path:
    place = folder / f"layer_{layer}" / "width_16k" / "average_l0_76"
    place.mkdir(parents=True)
    arrays = {
        "W_enc": ENCODER.T,
        "b_enc": BIAS,
        "W_dec": DECODER,
        "b_dec": OFFSET,
        "threshold": THRESHOLD,
    }
    np.savez(place / "params.npz", **{k: v.astype(np.float32) for k, v in (arrays | more).items()})
    return place


HEAD = {
    "model_name": "org/model",
    "model_kind": "transcoder_set",
    "feature_input_hook": "mlp.hook_in",
    "feature_output_hook": "hook_mlp_out",
    "scan": "a-scan",
}


def yaml_lines(values: dict) -> str:
    return "".join(f"{name}: {json.dumps(value)}\n" for name, value in values.items())


def tracer(folder: Path, layers=(0, 3), **more: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    extra = {name: more.pop(name) for name in ("W_skip", "threshold") if name in more}
    if "threshold" in extra:
        extra["activation_function.threshold"] = extra.pop("threshold")
    (folder / "config.yaml").write_text(yaml_lines(HEAD | more))
    for layer in layers:
        weights = {"W_enc": ENCODER, "b_enc": BIAS, "W_dec": DECODER, "b_dec": OFFSET, **extra}
        save_file(single(**weights), folder / f"layer_{layer}.safetensors")


LAYOUTS = {
    "sparsify": (sparsify, "topk", False),
    "sparsify-neox": (lambda f: sparsify(f, "gpt_neox.layers.3.mlp"), "topk", False),
    "sparsify-skip": (lambda f: sparsify(f, skip=True), "topk", True),
    "sparsify-hookpoint": (
        lambda f: sparsify(f, "a name", hookpoint="model.layers.3.mlp"),
        "topk",
        False,
    ),
    "saelens": (saelens, "relu", False),
    "saelens-skip": (lambda f: saelens(f, "skip_transcoder"), "relu", True),
    "saelens-jump": (lambda f: saelens(f, "jumprelu_transcoder"), "jumprelu", False),
    "saelens-jump-skip": (lambda f: saelens(f, "jumprelu_skip_transcoder"), "jumprelu", True),
    "saelens-named-in": (
        lambda f: saelens(
            f,
            metadata={
                "hook_name_in": "blocks.3.mlp.hook_in",
                "hook_name_out": "blocks.3.hook_mlp_out",
            },
        ),
        "relu",
        False,
    ),
    "saelens-older": (
        lambda f: saelens(
            f,
            "standard",
            metadata=None,
            hook_name="blocks.3.mlp.hook_in",
            hook_name_out="blocks.3.hook_mlp_out",
        ),
        "relu",
        False,
    ),
    "gemma": (lambda f: gemma(f / "gemma-scope-2b-pt-transcoders"), "jumprelu", False),
    "tracer": (lambda f: tracer(f, layers=(3,)), "relu", False),
    "tracer-jump": (lambda f: tracer(f, (3,), threshold=THRESHOLD), "jumprelu", False),
    "tracer-topk": (lambda f: tracer(f, (3,), activation="topk", k=K), "topk", False),
    "tracer-skip": (lambda f: tracer(f, (3,), activation="relu", W_skip=SKIP), "relu", True),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_read_to_what_its_library_computes(name, tmp_path):
    """float32 against float64 over sums of 40 terms of size 1: 1e-4."""
    write, rule, skip = LAYOUTS[name]
    write(tmp_path / "set")
    where = tmp_path / "set"
    if name == "gemma":
        where /= "gemma-scope-2b-pt-transcoders"
    (found,) = load_dictionaries(where).values()
    assert (found.layer, found.site, found.rule) == (3, "mlp", rule)
    assert found.gain is (name != "gemma")
    x = torch.from_numpy(X).float()
    np.testing.assert_allclose(found.encode(x), CODES[rule], atol=1e-5)
    expected = np.einsum("nf,fd->nd", CODES[rule], DECODER) + OFFSET
    expected = expected + (np.einsum("nd,ed->ne", X, SKIP) if skip else 0)
    np.testing.assert_allclose(found.decode(found.encode(x), x), expected, atol=1e-4)
    np.testing.assert_allclose(found.decode_topk(*found.encode_topk(x), x), expected, atol=1e-4)
    save_dictionary(found, tmp_path / "own")
    (own,) = load_dictionaries(tmp_path / "own").values()
    assert own.sha256 == found.sha256 and own.gain is found.gain


@pytest.mark.parametrize("name", ["sparsify", "saelens", "tracer", "gemma"])
def test_as_many_features_as_entries_do_not_confuse_the_orientation(name, tmp_path):
    """F = d: nothing but the layout says which way a matrix stands."""
    encoder, decoder = ENCODER[:D], DECODER[:D]
    plain = {"b_enc": BIAS[:D], "W_dec": decoder, "b_dec": OFFSET}
    place = tmp_path / "set"
    if name == "sparsify":
        sparsify(place)
        weights = {"encoder.weight": encoder, "encoder.bias": BIAS[:D]} | plain
        del weights["b_enc"]
        save_file(single(**weights), place / "layers.3.mlp" / "sae.safetensors")
    elif name == "saelens":
        saelens(place, d_sae=D)
        save_file(single(W_enc=encoder.T, **plain), place / "a name" / "sae_weights.safetensors")
    elif name == "tracer":
        tracer(place, (3,))
        save_file(single(W_enc=encoder, **plain), place / "layer_3.safetensors")
    else:
        place = place / "transcoders"
        gemma(place, W_enc=encoder.T, threshold=0 * BIAS[:D], **plain)
    (found,) = load_dictionaries(place).values()
    a = np.einsum("nd,fd->nf", X, encoder) + BIAS[:D]
    z = a.clip(min=0)
    if name == "sparsify":
        z = largest(a)
    x = torch.from_numpy(X).float()
    np.testing.assert_allclose(found.encode(x), z, atol=1e-5)
    expected = np.einsum("nf,fd->nd", z, decoder) + OFFSET
    np.testing.assert_allclose(found.decode(found.encode(x)), expected, atol=1e-4)


def test_a_set_of_circuit_tracer_has_a_transcoder_of_each_file(tmp_path):
    tracer(tmp_path, layers=(0, 1, 2, 10))
    assert list(load_dictionaries(tmp_path)) == [0, 1, 2, 10]
    assert list(load_dictionaries(tmp_path, [2, 10])) == [2, 10]
    (found,) = load_dictionaries(tmp_path, [10]).values()
    assert found.provenance["place"] == "blocks.10.mlp.hook_in"
    assert found.provenance["model"] == "org/model" and found.provenance["scan"] == "a-scan"


def test_a_set_may_list_files_of_gemma_scope(tmp_path):
    for layer in (0, 1):
        gemma(tmp_path, layer)
    names = [
        "hf://google/gemma-scope-2b-pt-transcoders/layer_0/width_16k/average_l0_76/params.npz"
        "?revision=main",
        "layer_1/width_16k/average_l0_76/params.npz",
    ]
    more = {"feature_input_hook": "ln2.hook_normalized", "transcoders": names}
    (tmp_path / "config.yaml").write_text(yaml_lines(HEAD | more))
    found = load_dictionaries(tmp_path)
    assert list(found) == [0, 1] and not found[0].gain
    more["transcoders"] = [*names, "hf://google/other/layer_2/params.npz"]
    (tmp_path / "config.yaml").write_text(yaml_lines(HEAD | more))
    refused(tmp_path, "names hf://google/other/layer_2/params.npz for layer 2", "is not there")


def test_gemma_scope_of_one_layer_and_of_two_sparsities(tmp_path):
    root = tmp_path / "gemma-scope-2b-pt-transcoders"
    place = gemma(root, 3)
    for folder in (place, place.parent, place.parent.parent):
        assert list(load_dictionaries(folder)) == [3]
    (place.parent / "average_l0_9").mkdir()
    (place.parent / "average_l0_9" / "params.npz").write_bytes((place / "params.npz").read_bytes())
    refused(root, "holds two of layer 3")


def refused(folder: Path, *texts: str) -> None:
    with pytest.raises(UserError) as error:
        load_dictionaries(folder)
    for text in texts:
        assert text in error.value.problem, error.value.problem
    assert error.value.fix


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("gemma-scope-2b-pt-res", ("says res", "Gemma Scope autoencoder")),
        ("gemma-scope-2b-pt-mlp", ("says mlp",)),
        ("gemma-scope-2b-pt-att", ("says att",)),
        ("some folder", ("may be a transcoder or an autoencoder of any place",)),
    ],
)
def test_files_of_gemma_scope_are_taken_for_what_their_folder_says(name, texts, tmp_path):
    gemma(tmp_path / "x" / "y" / "z" / name)
    refused(tmp_path / "x" / "y" / "z" / name, *texts)


@pytest.mark.parametrize(
    ("more", "texts"),
    [
        ({"name": "layers.3"}, ("is a transcoder", "'layers.3'")),
        ({"name": "layers.3.attention"}, ("reads 'layers.3.attention'", "input of an MLP")),
        ({"name": "h.3.attn"}, ("reads 'h.3.attn'",)),
        ({"name": "mlp"}, ("does not say of which layer's MLP",)),
        ({"hookpoint": "layers.4.mlp"}, ("MLP of layer 4", "says layer 3")),
        ({"hookpoint": "layers.3.mlp", "name": "layers.3.attn"}, ("says attn",)),
        ({"activation": "groupmax"}, ("has activation 'groupmax'",)),
        ({"transcode": 1}, ("transcode is 1; expected true or false",)),
        ({"transcode": False, "skip": True}, ("no transcoder and has a skip connection",)),
        ({"transcode": False}, ("expected the output of a layer",)),
        ({"d_in": D + 1}, (f"says d_in {D + 1}; the weights have {D}",)),
        ({"skip_connection": True}, ("has no W_skip",)),
        ({"skip": True, "skip_connection": False}, ("holds W_skip, which",)),
    ],
)
def test_sparsify_of_another_place_or_kind_is_refused(more, texts, tmp_path):
    sparsify(tmp_path, **more)
    refused(tmp_path, *texts)


def places(reads: str, writes: str) -> dict:
    return {"metadata": {"hook_name": reads, "hook_name_out": writes}}


@pytest.mark.parametrize(
    ("architecture", "more", "texts"),
    [
        (
            "transcoder",
            places("blocks.3.hook_resid_mid", "blocks.3.hook_mlp_out"),
            ("'blocks.3.hook_resid_mid'", "before the norm of the MLP", "it is a transcoder"),
        ),
        (
            "transcoder",
            places("blocks.3.hook_mlp_in", "blocks.3.hook_mlp_out"),
            ("before the norm of the MLP",),
        ),
        (
            "transcoder",
            places("blocks.3.hook_resid_pre", "blocks.3.hook_resid_post"),
            ("before the norm",),
        ),
        (
            "transcoder",
            places("blocks.3.mlp.hook_in", "blocks.3.hook_resid_post"),
            ("writes 'blocks.3.hook_resid_post'",),
        ),
        (
            "transcoder",
            places("blocks.3.mlp.hook_in", "blocks.3.hook_attn_out"),
            ("writes 'blocks.3.hook_attn_out'",),
        ),
        (
            "transcoder",
            places("blocks.3.mlp.hook_in", "blocks.5.hook_mlp_out"),
            ("reads layer 3", "writes layer 5", "cross-layer transcoder"),
        ),
        (
            "transcoder",
            places("model.layers.3.post_attention_layernorm", "model.layers.3.mlp"),
            ("not known as the input of an MLP",),
        ),
        ("transcoder", {"metadata": {"hook_name": "blocks.3.mlp.hook_in"}}, ("hook_name_out",)),
        ("transcoder", {"metadata": {}}, ("what it reads (hook_name)",)),
        ("transcoder", {"apply_b_dec_to_input": True}, ("with apply_b_dec_to_input",)),
        ("transcoder", {"normalize_activations": "layer_norm"}, ("normalises each row",)),
        (
            "transcoder",
            {"normalize_activations": "expected_average_only_in"},
            ("the scale is not in its weights",),
        ),
        ("transcoder", {"d_in": D + 2}, (f"says d_in {D + 2}; the weights have {D}",)),
        ("transcoder", {"d_out": D + 2}, (f"says d_out {D + 2}; the weights have {D}",)),
        ("transcoder", {"name": "layer_4"}, ("MLP of layer 3", "says layer 4")),
        ("transcoder", {"name": "layer_3_attn_out"}, ("says attn",)),
        ("crosscoder", {}, ("has architecture 'crosscoder'",)),
        ("clt", {}, ("has architecture 'clt'",)),
        ("matching_pursuit_transcoder", {}, ("has architecture 'matching_pursuit_transcoder'",)),
    ],
)
def test_saelens_of_another_place_or_kind_is_refused(architecture, more, texts, tmp_path):
    saelens(tmp_path, architecture, **more)
    refused(tmp_path, *texts)


def test_saelens_skip_transcoders_need_their_skip_and_others_have_none(tmp_path):
    saelens(tmp_path / "a", "transcoder")
    config_file = tmp_path / "a" / "a name" / "cfg.json"
    config_file.write_text(config_file.read_text().replace('"transcoder"', '"skip_transcoder"'))
    refused(tmp_path / "a", "has no W_skip")
    saelens(tmp_path / "b", "skip_transcoder")
    config_file = tmp_path / "b" / "a name" / "cfg.json"
    config_file.write_text(config_file.read_text().replace('"skip_transcoder"', '"transcoder"'))
    refused(tmp_path / "b", "holds W_skip, which SAELens transcoder does not have")


def test_an_input_of_another_width_than_the_output_is_refused(tmp_path):
    saelens(tmp_path, d_out=D - 2)
    path = tmp_path / "a name" / "sae_weights.safetensors"
    weights = {"W_enc": ENCODER.T, "b_enc": BIAS, "W_dec": DECODER[:, 2:], "b_dec": OFFSET[2:]}
    save_file(single(**weights), path)
    refused(tmp_path, "transcoder of layer 3: ", f"expected ({F}, {D})")


@pytest.mark.parametrize(
    ("more", "texts"),
    [
        ({"model_kind": "cross_layer_transcoder"}, ("is a 'cross layer transcoder'",)),
        ({"feature_input_hook": "hook_resid_mid"}, ("before the norm of the MLP",)),
        ({"feature_input_hook": "hook_mlp_in"}, ("before the norm of the MLP",)),
        ({"feature_input_hook": "attn.hook_z"}, ("not known as the input of an MLP",)),
        ({"feature_output_hook": "hook_resid_post"}, ("not known as the output of an MLP",)),
        ({"activation": "gelu"}, ("has activation 'gelu'",)),
        ({"activation": "topk"}, ("k is None; expected a whole number",)),
        ({"activation": "topk", "k": F + 1}, (f"k = {F + 1} of {F} features",)),
        ({"activation": "jumprelu"}, ("jumprelu without a threshold",)),
        (
            {"activation": "relu", "threshold": THRESHOLD},
            ("holds activation_function.threshold, which circuit-tracer relu",),
        ),
        ({"transcoders": "all"}, ("expected a list of files",)),
    ],
)
def test_circuit_tracer_of_another_place_or_kind_is_refused(more, texts, tmp_path):
    tracer(tmp_path, **more)
    refused(tmp_path, *texts)


def test_damaged_sets_of_circuit_tracer_are_refused(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.yaml").write_text(yaml_lines(HEAD))
    refused(tmp_path / "a", "no layer_N.safetensors")
    tracer(tmp_path / "b")
    (tmp_path / "b" / "config.yaml").write_text("feature_input_hook: [")
    refused(tmp_path / "b", "config.yaml is damaged")
    (tmp_path / "b" / "config.yaml").write_text("feature_input_hook: mlp.hook_in")
    refused(tmp_path / "b", "has no feature_output_hook")
    (tmp_path / "b" / "config.yaml").write_text("- feature_input_hook")
    refused(tmp_path / "b", "holds a list; expected names and values")
    ran = tmp_path / "ran"
    (tmp_path / "b" / "config.yaml").write_text(
        f"feature_input_hook: !!python/object/apply:os.mkdir ['{ran}']"
    )
    refused(tmp_path / "b", "config.yaml is damaged")
    assert not ran.exists()
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "config.yaml").write_text(yaml_lines(HEAD))
    save_file(single(W_enc_0=ENCODER), tmp_path / "c" / "W_enc_0.safetensors")
    refused(tmp_path / "c", "it is a cross-layer transcoder")


class _Bomb:
    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self):
        import os

        return os.mkdir, (self.target,)


def test_arrays_of_objects_are_not_read(tmp_path):
    root = tmp_path / "transcoders"
    place = gemma(root)
    np.savez(place / "params.npz", W_enc=np.array([_Bomb(tmp_path / "ran")], dtype=object))
    refused(root, "is not a file of plain arrays")
    (place / "params.npz").write_bytes(pickle.dumps(_Bomb(tmp_path / "ran")))
    refused(root, "params.npz")
    (place / "params.npz").write_bytes(b"PK\x03\x04 cut")
    refused(root, "params.npz")
    assert not (tmp_path / "ran").exists()
    np.savez(place / "params.npz", W_enc=np.array(["text"]))
    refused(root, "W_enc is of <U4; expected numbers")

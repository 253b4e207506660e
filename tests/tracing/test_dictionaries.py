"""Dictionaries: what they compute, in every format, and what is refused."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from scircuit.core.errors import UserError
from scircuit.tracing.dictionaries import Dictionary, load_dictionaries, save_dictionary

D, F, K = 12, 40, 5


def weights(seed=0, width=D, features=F):
    g = torch.Generator().manual_seed(seed)
    decoder = torch.nn.functional.normalize(torch.randn(features, width, generator=g), dim=1)
    return {
        "encoder": torch.randn(features, width, generator=g),
        "encoder_bias": torch.randn(features, generator=g) * 0.1,
        "decoder": decoder,
        "decoder_bias": torch.randn(width, generator=g) * 0.1,
        "mean": torch.randn(width, generator=g) * 3,
    }


def made(layer=0, seed=0, **options):
    return Dictionary(layer, *weights(seed).values(), **{"rule": "topk", "k": K, **options})


@pytest.fixture
def rows():
    return torch.randn(30, D, generator=torch.Generator().manual_seed(9)) + 3


def loop_codes(dictionary, x):
    """The published definition, entry by entry."""
    t = dictionary.tensors
    z = torch.zeros(len(x), dictionary.n_features)
    for n in range(len(x)):
        a = t["encoder"] @ (x[n] - t["mean"]) + t["encoder_bias"]
        for f in sorted(range(len(a)), key=lambda f: -float(a[f]))[:K]:
            z[n, f] = max(float(a[f]), 0.0)
    return z


def test_topk_codes_follow_the_definition(rows):
    dictionary = made()
    expected = loop_codes(dictionary, rows)
    torch.testing.assert_close(dictionary.encode(rows), expected, atol=1e-5, rtol=1e-5)
    values, indices = dictionary.encode_topk(rows)
    assert values.shape == indices.shape == (30, K) and (values >= 0).all()
    torch.testing.assert_close(values, expected.gather(1, indices), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        dictionary.decode_topk(values, indices), dictionary.decode(expected), atol=1e-4, rtol=1e-4
    )


def test_negative_entries_among_the_k_become_zero():
    dictionary = made(k=F)
    values, _ = dictionary.encode_topk(torch.randn(20, D))
    assert (values == 0).any() and (values > 0).any()


def test_ablating_a_feature_is_removing_its_column(rows):
    dictionary = made()
    z = dictionary.encode(rows)
    feature = int((z > 0).sum(0).argmax())
    without = z.clone()
    without[:, feature] = 0
    removed = dictionary.decode(z) - dictionary.decode(without)
    column = dictionary.columns(torch.tensor([feature]))
    torch.testing.assert_close(removed, z[:, [feature]] * column, atol=1e-5, rtol=1e-5)
    assert dictionary.decoder_norm == "columns"


def test_relu_and_jumprelu(rows):
    relu = made(rule="relu", k=0)
    t = relu.tensors
    a = (rows - t["mean"]) @ t["encoder"].T + t["encoder_bias"]
    torch.testing.assert_close(relu.encode(rows), a.relu(), atol=1e-5, rtol=1e-5)
    values, indices = relu.encode_topk(rows)
    assert relu.k == F and values.shape[1] == int((a > 0).sum(1).max())
    assert torch.equal(torch.zeros(30, F).scatter(1, indices, values), relu.encode(rows))
    jump = made(rule="jumprelu", k=0, threshold=torch.full((F,), 1.5))
    torch.testing.assert_close(
        jump.encode(rows), torch.where(a > 1.5, a, 0.0), atol=1e-5, rtol=1e-5
    )
    below = made(rule="jumprelu", k=0, threshold=torch.full((F,), -1.5))
    assert torch.equal(below.encode(rows), relu.encode(rows)) and (below.encode(rows) >= 0).all()
    batch = made(rule="batchtopk", k=3, threshold=torch.tensor(1.5))
    assert torch.equal(batch.encode(rows), jump.encode(rows)) and batch.rule == "batchtopk"


@pytest.mark.parametrize(
    "options",
    [
        {"rule": "topk"},
        {"rule": "relu", "k": 0},
        {"rule": "jumprelu", "k": 0, "threshold": torch.full((F,), 2.0)},
    ],
)
def test_sparse_codes_hold_every_active_entry_once_and_the_same_in_any_batch(rows, options):
    dictionary = made(**options)
    values, indices = dictionary.encode_topk(rows)
    assert all(len(set(row.tolist())) == indices.shape[1] for row in indices)
    assert torch.equal(
        torch.zeros(len(rows), F).scatter(1, indices, values), dictionary.encode(rows)
    )
    for at in (0, 17):
        alone, which = dictionary.encode_topk(rows[at : at + 1])
        assert torch.equal(
            torch.zeros(1, F).scatter(1, which, alone)[0] > 0, dictionary.encode(rows)[at] > 0
        )
    # A row in which nothing fires still has a place to say so.
    silent = made(**{**options, "rule": "jumprelu", "k": 0, "threshold": torch.full((F,), 1e9)})
    nothing, _ = silent.encode_topk(rows)
    assert nothing.shape == (30, 1) and (nothing == 0).all()


def test_saved_and_read_again(tmp_path, rows):
    for layer in (3, 11):
        save_dictionary(
            made(layer, layer, provenance={"trained_on": "here", "variance_explained": 0.5}),
            tmp_path,
        )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["layer03", "layer11"]
    found = load_dictionaries(tmp_path)
    assert list(found) == [3, 11] and found[3].provenance["variance_explained"] == 0.5
    assert (
        torch.equal(found[11].encode(rows), made(11, 11).encode(rows))
        and found[11].sha256 == made(11, 11).sha256
    )
    assert list(load_dictionaries(tmp_path, [11])) == [11]
    assert list(load_dictionaries(tmp_path / "layer03")) == [3]


def published(folder, layer=5, seed=0, **changes):
    """The published layout, decoder rows normalised over the features as its authors did."""
    w = weights(seed)
    decoder = torch.nn.functional.normalize(w["decoder"].T, dim=1)
    state = {
        "W_enc.weight": w["encoder"],
        "W_enc.bias": w["encoder_bias"],
        "W_dec.weight": decoder,
        "W_dec.bias": w["decoder_bias"],
    }
    place = folder / f"layer{layer:02d}_x4_k{K}"
    place.mkdir(parents=True)
    torch.save(
        {"model_state_dict": state, "d_model": D, "n_features": F, "k": K, **changes},
        place / "sae_final.pt",
    )
    np.save(place / "activation_mean.npy", w["mean"].numpy())
    return place, state, w["mean"]


def test_published_checkpoint(tmp_path, rows):
    _, state, mean = published(tmp_path)
    dictionary = load_dictionaries(tmp_path)[5]
    assert (dictionary.k, dictionary.n_features, dictionary.width, dictionary.decoder_norm) == (
        K,
        F,
        D,
        "rows",
    )
    a = (rows - mean) @ state["W_enc.weight"].T + state["W_enc.bias"]
    values, indices = a.topk(K)
    z = torch.zeros_like(a).scatter(1, indices, values.relu())
    torch.testing.assert_close(dictionary.encode(rows), z, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        dictionary.decode(z),
        z @ state["W_dec.weight"].T + state["W_dec.bias"] + mean,
        atol=1e-4,
        rtol=1e-4,
    )
    assert not torch.allclose(
        dictionary.columns(torch.arange(F)).norm(dim=1), torch.ones(F), atol=0.01
    )


def test_saelens_and_sparsify_layouts(tmp_path, rows):
    w = weights()
    lens = tmp_path / "lens" / "layer_4"
    lens.mkdir(parents=True)
    save_file(
        {
            "W_enc": w["encoder"].T.contiguous(),
            "b_enc": w["encoder_bias"],
            "W_dec": w["decoder"],
            "b_dec": w["mean"],
        },
        lens / "sae_weights.safetensors",
    )
    (lens / "cfg.json").write_text(
        json.dumps(
            {
                "architecture": "topk",
                "k": K,
                "hook_name": "blocks.4.hook_resid_post",
                "apply_b_dec_to_input": True,
            }
        )
    )
    sparse = tmp_path / "sparsify" / "layers.4"
    sparse.mkdir(parents=True)
    save_file(
        {
            "encoder.weight": w["encoder"],
            "encoder.bias": w["encoder_bias"],
            "W_dec": w["decoder"],
            "b_dec": w["mean"],
        },
        sparse / "sae.safetensors",
    )
    (sparse / "cfg.json").write_text(json.dumps({"activation": "topk", "k": K}))
    expected = Dictionary(
        4, w["encoder"], w["encoder_bias"], w["decoder"], torch.zeros(D), w["mean"], k=K
    )
    for folder in (lens.parent, sparse.parent):
        found = load_dictionaries(folder)[4]
        assert torch.equal(found.encode(rows), expected.encode(rows))
        assert torch.equal(found.decode(found.encode(rows)), expected.decode(expected.encode(rows)))


class _Bomb:
    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


def test_a_checkpoint_with_code_is_refused_and_does_not_run(tmp_path):
    published(tmp_path / "set", extra=_Bomb(tmp_path / "ran"))
    with pytest.raises(
        UserError, match=r"was not loaded, because a pickle can run code(.|\n)*safetensors"
    ):
        load_dictionaries(tmp_path / "set")
    assert not (tmp_path / "ran").exists()


def test_a_mean_that_is_a_pickle_is_refused(tmp_path):
    place, *_ = published(tmp_path / "set")
    np.save(
        place / "activation_mean.npy",
        np.array([_Bomb(tmp_path / "ran")], dtype=object),
        allow_pickle=True,
    )
    with pytest.raises(UserError, match="not a plain array"):
        load_dictionaries(tmp_path / "set")
    assert not (tmp_path / "ran").exists()


def test_faulty_weights_are_named():
    good = weights()
    for name, value, expected in [
        ("encoder", torch.full((F, D), torch.nan), "480 of 480 values of encoder are NaN"),
        ("decoder", torch.randn(F, D + 1), r"decoder has shape \(40, 13\); expected \(40, 12\)"),
        ("mean", torch.zeros(D - 1), r"mean has shape \(11,\)"),
    ]:
        with pytest.raises(UserError, match=f"dictionary of layer 2: {expected}"):
            Dictionary(2, *{**good, name: value}.values(), k=K)
    with pytest.raises(UserError, match="k = 41 of 40 features"):
        made(k=41)
    with pytest.raises(UserError, match="unknown sparsity rule 'gumbel'"):
        made(rule="gumbel")
    with pytest.raises(UserError, match="BatchTopK without a stored threshold"):
        made(rule="batchtopk")
    with pytest.raises(UserError, match="BatchTopK without a stored threshold"):
        made(rule="batchtopk", threshold=torch.tensor(-1.0))
    with pytest.raises(UserError, match="jumprelu without a threshold"):
        made(rule="jumprelu")


def test_faulty_folders_are_named(tmp_path):
    save_dictionary(made(0), tmp_path / "set")
    with pytest.raises(
        UserError, match=r"has no layer 4; it has 0(.|\n)*scircuit train --layers 4"
    ):
        load_dictionaries(tmp_path / "set", [0, 4])
    with pytest.raises(UserError, match="does not exist"):
        load_dictionaries(tmp_path / "other")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no dictionary of a known format; it holds nothing"):
        load_dictionaries(tmp_path / "empty")
    wide = Dictionary(1, *weights(0, width=D + 4).values(), k=K)
    save_dictionary(wide, tmp_path / "set")
    with pytest.raises(UserError, match=r"mixes widths .layer 0: 12, layer 1: 16"):
        load_dictionaries(tmp_path / "set")
    shutil.copytree(tmp_path / "set" / "layer00", tmp_path / "twice" / "a")
    shutil.copytree(tmp_path / "set" / "layer00", tmp_path / "twice" / "b")
    with pytest.raises(UserError, match="holds two of layer 0"):
        load_dictionaries(tmp_path / "twice")


def test_damaged_or_swapped_files_are_noticed(tmp_path):
    save_dictionary(made(0, 0), tmp_path / "a")
    save_dictionary(made(0, 1), tmp_path / "b")
    shutil.copy(tmp_path / "b" / "layer00" / "dictionary.safetensors", tmp_path / "a" / "layer00")
    message = "weights and config.json belong to different dictionaries"
    with pytest.raises(UserError, match=message):
        load_dictionaries(tmp_path / "a")
    path = tmp_path / "b" / "layer00" / "dictionary.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="is damaged"):
        load_dictionaries(tmp_path / "b")
    place, *_ = published(tmp_path / "p")
    (place / "activation_mean.npy").unlink()
    with pytest.raises(UserError, match=r"has no activation_mean\.npy"):
        load_dictionaries(tmp_path / "p")

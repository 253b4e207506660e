"""What a transcoder computes, and what it is not confused with."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch

from scircuit.core.errors import UserError
from scircuit.tracing.dictionaries import Dictionary, load_dictionaries, save_dictionary

D, F, K = 16, 30, 4
RNG = np.random.default_rng(0)
W, B = RNG.normal(size=(F, D)), RNG.normal(size=F) * 0.3
COLUMNS, OFFSET, MEAN = RNG.normal(size=(F, D)), RNG.normal(size=D), RNG.normal(size=D)
SKIP, THRESHOLD = RNG.normal(size=(D, D)), np.abs(RNG.normal(size=F))
X = RNG.normal(size=(17, D))


def tensor(a: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(a)).float()


def made(rule: str = "topk", **more) -> Dictionary:
    given = {
        "rule": rule,
        "k": K if rule == "topk" else 0,
        "threshold": tensor(THRESHOLD) if rule == "jumprelu" else None,
        "site": "mlp",
    }
    parts = (tensor(part) for part in (W, B, COLUMNS, OFFSET, MEAN))
    return Dictionary(3, *parts, **(given | more))


def codes(rule: str) -> np.ndarray:
    """The codes of each row, entry by entry."""
    z = np.zeros((len(X), F))
    for n, x in enumerate(X):
        a = np.array([W[f] @ (x - MEAN) + B[f] for f in range(F)])
        kept = {
            "topk": sorted(range(F), key=lambda f, a=a: -a[f])[:K],
            "relu": range(F),
            "jumprelu": [f for f in range(F) if a[f] > THRESHOLD[f]],
        }[rule]
        for f in kept:
            z[n, f] = max(a[f], 0.0)
    return z


@pytest.mark.parametrize("rule", ["topk", "relu", "jumprelu"])
@pytest.mark.parametrize("skip", [None, SKIP])
def test_it_is_the_written_formula(rule, skip):
    """float32 against float64 over sums of 30 terms of size 1: 1e-5."""
    transcoder = made(rule, skip=None if skip is None else tensor(skip))
    z = codes(rule)
    expected = np.stack(
        [
            sum(z[n, f] * COLUMNS[f] for f in range(F))
            + OFFSET
            + (0 if skip is None else np.array([row @ X[n] for row in skip]))
            for n in range(len(X))
        ]
    )
    x = tensor(X)
    np.testing.assert_allclose(transcoder.encode(x), z, atol=1e-5)
    np.testing.assert_allclose(transcoder.decode(transcoder.encode(x), x), expected, atol=2e-5)
    values = transcoder.encode_topk(x)
    np.testing.assert_allclose(transcoder.decode_topk(*values, x), expected, atol=2e-5)


def test_a_skip_needs_the_input():
    transcoder = made(skip=tensor(SKIP))
    z = transcoder.encode(tensor(X))
    with pytest.raises(
        UserError, match=r"transcoder of layer 3: its skip needs the input"
    ) as error:
        transcoder.decode(z)
    assert "rows x" in error.value.fix
    with pytest.raises(UserError, match="its skip needs the input"):
        transcoder.decode_topk(*transcoder.encode_topk(tensor(X)))
    assert torch.equal(made().decode(z), made().decode(z, tensor(X)))


def test_the_skip_of_a_row_does_not_depend_on_the_others():
    transcoder, x = made(skip=tensor(SKIP)), tensor(X)
    zero = torch.zeros(len(x), F)
    together = transcoder.decode(zero, x) - transcoder.decode(zero, x * 0)
    alone = [
        transcoder.decode(zero[:1], x[n : n + 1]) - transcoder.decode(zero[:1], 0 * x[:1])
        for n in range(len(x))
    ]
    assert torch.equal(together, torch.cat(alone))


def test_dictionaries_of_outputs_keep_their_hash_and_transcoders_have_another():
    parts = {"site": "output", "skip": None}
    output = made(**parts)
    digest = hashlib.sha256(f"3 topk {K}".encode())
    names = ("decoder", "decoder_bias", "encoder", "encoder_bias", "mean")
    for name, part in zip(names, (COLUMNS, OFFSET, W, B, MEAN), strict=True):
        digest.update(name.encode())
        digest.update(part.astype(np.float32).tobytes())
    assert output.sha256 == digest.hexdigest()
    others = [output, made(), made(skip=tensor(SKIP)), made(gain=False)]
    assert len({d.sha256 for d in others}) == 4


def test_a_transcoder_does_not_add_the_mean_of_what_it_reads():
    z = torch.zeros(1, F)
    np.testing.assert_allclose(made().decode(z)[0], OFFSET, atol=1e-6)
    np.testing.assert_allclose(made(site="output").decode(z)[0], OFFSET + MEAN, atol=1e-6)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"site": "attention"}, "unknown site 'attention'"),
        ({"site": "output", "skip": tensor(SKIP)}, "dictionary of layer 3: a skip, which only"),
        ({"site": "output", "gain": False}, "an input before the gain of a norm, which only"),
        ({"skip": torch.zeros(D, D + 1)}, r"transcoder of layer 3: skip has shape \(16, 17\)"),
        ({"skip": torch.full((D, D), torch.nan)}, "256 of 256 values of skip are NaN"),
        ({"skip": torch.zeros(D, D, dtype=torch.int32)}, "transcoder of layer 3: skip is of int32"),
    ],
)
def test_what_does_not_go_together_is_refused(more, message):
    with pytest.raises(UserError, match=message) as error:
        made(**more)
    assert error.value.fix


@pytest.mark.parametrize("rule", ["topk", "relu", "jumprelu"])
@pytest.mark.parametrize("skip", [None, tensor(SKIP)])
@pytest.mark.parametrize("gain", [True, False])
def test_it_is_read_as_it_was_saved(rule, skip, gain, tmp_path):
    saved = made(rule, skip=skip, gain=gain, provenance={"place": "layers.3.mlp"})
    save_dictionary(saved, tmp_path)
    (found,) = load_dictionaries(tmp_path).values()
    assert (found.site, found.rule, found.gain, found.layer) == ("mlp", rule, gain, 3)
    assert found.sha256 == saved.sha256 and found.provenance == saved.provenance
    x = tensor(X)
    assert torch.equal(found.decode(found.encode(x), x), saved.decode(saved.encode(x), x))
    assert "Transcoder(layer=3" in repr(found)


def test_files_of_a_dictionary_of_outputs_are_as_before(tmp_path):
    save_dictionary(made(site="output"), tmp_path)
    config = json.loads((tmp_path / "layer03" / "config.json").read_text())
    assert config["format"] == "scircuit-dictionary-1" and not {"site", "gain"} & set(config)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"site": "output"}, "has format 'scircuit-transcoder-1' and site 'output'"),
        ({"format": "scircuit-dictionary-1"}, "has format 'scircuit-dictionary-1' and site 'mlp'"),
        ({"format": "scircuit-dictionary-1", "site": "output"}, "holds skip, which"),
        ({"gain": 1}, "gain is 1; expected true or false"),
        ({"gain": False}, r"config\.json says"),
    ],
)
def test_own_files_that_contradict_each_other_are_refused(values, message, tmp_path):
    save_dictionary(made(skip=tensor(SKIP)), tmp_path)
    path = tmp_path / "layer03" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    with pytest.raises(UserError, match=message):
        load_dictionaries(tmp_path)

"""The parts of `bench/published_model.py` that need no published model: what is kept of a
checkpoint, how sequences are sampled, how edges are counted.
"""

import argparse
import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from scircuit.core.files import sha256_file
from scircuit.tracing.models import load_model
from scircuit.tracing.models.geneformer import Geneformer
from tests.support.patience import HANGS_S
from tests.support.tiny_models import tiny_model


@pytest.fixture(scope="module")
def bench(root):
    spec = importlib.util.spec_from_file_location(
        "bench_published_model", root / "bench" / "published_model.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model():
    return tiny_model(layers=5, vocabulary=25, positions=140)


def test_it_starts(root, tmp_path):
    command = [sys.executable, str(root / "bench" / "published_model.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANGS_S, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "--json" in done.stdout


def published(model, folder, **further):
    """A checkpoint like the published one: further heads, a pooler, a counter, a copy of a name."""
    folder.mkdir()
    tensors = dict(model.state_dict())
    tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"]
    tensors["bert.embeddings.position_ids"] = torch.arange(140)[None]
    for name in ("bert.pooler.dense", "cls.species", "cls.chain", "cls.graft"):
        tensors[f"{name}.weight"] = torch.ones(2, 32)
    torch.save({**tensors, **further}, folder / "pytorch_model.bin")
    config = {**model.config.to_dict(), "architectures": ["Other"], "_name_or_path": "elsewhere"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_the_encoder_and_the_token_head_are_kept(bench, model, tmp_path, monkeypatch):
    checkpoint = published(model, tmp_path / "checkpoint")
    sha256 = sha256_file(checkpoint / "pytorch_model.bin")
    monkeypatch.setattr(bench, "WEIGHTS_SHA256", sha256)
    folder = bench.plain_bert(checkpoint, tmp_path / "plain")
    adapter = load_model(folder, "cpu")
    ids = np.array([2, *range(5, 25), 3])
    with torch.inference_mode():
        expected = model(input_ids=torch.from_numpy(ids)[None]).logits[0]
    torch.testing.assert_close(adapter.whole_forward(ids).logits, expected, rtol=1e-5, atol=1e-5)
    assert "elsewhere" not in (folder / "config.json").read_text()


def test_another_checkpoint_is_refused(bench, model, tmp_path):
    with pytest.raises(SystemExit, match="SHA-256"):
        bench.plain_bert(published(model, tmp_path / "checkpoint"), tmp_path / "plain")


def test_a_decoder_of_its_own_is_refused(bench, model):
    tensors = dict(model.state_dict())
    tensors["cls.predictions.decoder.weight"] = torch.zeros(25, 32)
    with pytest.raises(ValueError, match="weights of its own"):
        bench.of_encoder(tensors)


def test_sequences_are_whole_and_chains_are_their_own(bench, model):
    adapter = Geneformer(model, "tiny", "0" * 64)
    both, second = (bench.sampled(adapter, range(*r), 2, 0) for r in ((0, 2), (1, 2)))
    assert [len(t) for t in both.tokens[2:]] == [len(t) for t in second.tokens]
    assert all((a == b).all() for a, b in zip(both.tokens[2:], second.tokens, strict=True))
    assert both.barcodes[2:] == second.barcodes and both.sha256 != second.sha256
    for tokens in both.tokens:
        assert tokens[0] == bench.BEGIN and tokens[-1] == bench.END
        assert tokens[1:-1].min() >= bench.RESIDUE and tokens.max() < 25
        assert len(adapter.gene_positions(tokens)) == len(tokens) - 2
    assert (both.tokens[0] != both.tokens[1]).any()


def test_residues_are_drawn_from_the_distribution_of_the_model(bench, model, monkeypatch):
    """With the same logits everywhere, shares of residues are their probabilities."""
    wanted = torch.arange(1.0, 21.0) / 210
    logits = torch.cat(
        [torch.full((5,), 50.0), wanted.log()]
    )  # specials are likelier, and not drawn
    monkeypatch.setattr(bench, "_logits", lambda _, ids: logits.expand(*ids.shape, -1))
    adapter = Geneformer(model, "tiny", "0" * 64)
    drawn = np.concatenate([t[1:-1] for t in bench.chain_of(adapter, 200, 0, 0)]) - 5
    shares = np.bincount(drawn, minlength=20) / len(drawn)
    # five standard errors of the share of one residue
    errors = 5 * np.sqrt(wanted.numpy() / len(drawn))
    assert (np.abs(shares - wanted.numpy()) < errors).all()


def test_identity_is_the_share_of_equal_residues(bench):
    tokens = [np.array([2, 5, 6, 7, 3]), np.array([2, 5, 6, 8, 9, 3]), np.array([2, 5, 9, 7, 3])]
    assert bench.identity(bench.Sequences(tokens, ("a", "b", "c"))) == round((2 + 2 + 1) / 9, 3)


def test_p_values_below_the_threshold(bench):
    p = np.array([0.9, 0.011, 0.0001, 0.02])
    assert bench.below(p, 4).tolist() == [0.0001, 0.011, 0.02]
    assert bench.below(p, 100).tolist() == [0.0001]
    assert bench.below(p[:1], 4).size == 0


def test_a_model_is_traced_with_dictionaries_of_its_own(bench, model, tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "TRAINING", {"expansion": 2, "k": 4, "epochs": 1, "batch_rows": 64})
    monkeypatch.setattr(bench, "DRAWS", 16)
    adapter = Geneformer(model, "tiny", "0" * 64)
    traced, seen = (bench.sampled(adapter, range(*r), 1, 0) for r in ((0, 7), (7, 13)))
    monkeypatch.setattr(bench, "load_model", lambda *_: adapter)
    given = argparse.Namespace(sources=5, seed=0, device="cpu")
    found = bench.of_model(tmp_path / "tiny", traced, seen, given, tmp_path)
    assert found["sources"] == 5 <= found["often"]
    assert 0 < found["callable_pairs"] <= 5 * 2 * 64
    assert found["computed"] == sum(found["computed_by_layer"].values())
    # a stricter rule than the directions alone, up to the rounding of its p
    assert found["computed"] <= found["specific"] + 1
    assert set(found["explained"]) == {2, 3, 4}
    low, high = 0.3, 3.0  # random directions are random directions: of the order of one
    assert all(low < r[0] < high for r in found["sigma_ratio"].values())

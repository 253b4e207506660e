"""The trainer recovers a known dictionary, holds cells out, and says what it did."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scircuit.settings import TrainConfig, UserError
from tracing.activations import stream
from tracing.dictionaries import load_dictionaries
from tracing.split import check_unseen, held_out
from tracing.trainer import evaluate, train_dictionaries

WIDTH, CAUSES, ACTIVE = 32, 48, 3


class SparseWorld:
    """States that are a few of 48 known directions, scaled: what a dictionary should find. Token ids seed the draw."""

    name, sha256, n_layers, width, max_length, device = "world", "0" * 64, 2, WIDTH, 66, torch.device("cpu")

    def __init__(self):
        g = torch.Generator().manual_seed(0)
        self.directions = torch.nn.functional.normalize(torch.randn(CAUSES, WIDTH, generator=g), dim=1)
        self.offset = torch.randn(WIDTH, generator=g) * 5

    def clean_states(self, tokens):
        states = []
        for layer in range(self.n_layers):
            g = torch.Generator().manual_seed(int(tokens[1]) * 2 + layer)
            which = torch.stack([torch.randperm(CAUSES, generator=g)[:ACTIVE] for _ in tokens])
            size = torch.rand(len(tokens), ACTIVE, generator=g) + 0.5
            states.append(10 * torch.einsum("nk,nkd->nd", size, self.directions[which]) + self.offset)
            states[-1][[0, -1]] = 1e4  # specials must not be trained on
        return states

    def gene_positions(self, tokens):
        return torch.arange(1, len(tokens) - 1)


def cohort(cells=80, length=66):
    tokens = [np.array([2, *range(i + 10, i + 8 + length), 3]) for i in range(cells)]
    return SimpleNamespace(tokens=tokens, barcodes=tuple(f"cell{i}" for i in range(cells)), file=Path("world.h5ad"), sha256="1" * 64, filters=())


def config(out, **options):
    return TrainConfig(model="", cells=Path("world.h5ad"), out=out, **{"expansion": 2, "k": ACTIVE, "epochs": 20, "batch_rows": 256, "learning_rate": 3e-3, **options})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("dictionaries")
    steps = []
    reports = train_dictionaries(SparseWorld(), cohort(), config(out), lambda done, total, note: steps.append((done, total)))
    return reports, out, steps


def test_known_directions_are_recovered(trained):
    found = load_dictionaries(trained[1])
    world = SparseWorld()
    for dictionary in found.values():
        nearest = (world.directions @ dictionary.columns(torch.arange(dictionary.n_features)).T).max(dim=1).values
        random = torch.nn.functional.normalize(torch.randn(dictionary.n_features, WIDTH, generator=torch.Generator().manual_seed(1)), dim=1)
        assert (nearest > 0.95).float().mean() > 0.85
        assert ((world.directions @ random.T).max(dim=1).values < 0.95).all()


def test_held_out_quality_beats_a_pca_of_equal_size(trained):
    for report in trained[0]:
        assert report.variance_explained > 0.9 > 0.5 > report.pca_variance_explained > 0.1
        # 64 latents for 48 directions: a quarter has nothing to do.
        assert report.dead_share <= 0.25 and report.l0 <= ACTIVE
        assert report.rows == 72 * 64 and report.rows_held_out == 8 * 64


def test_reported_numbers_are_those_of_the_saved_files(trained):
    reports, out, _ = trained
    held = held_out(cohort().barcodes, 0.1, 0)
    cells = [t for t, h in zip(cohort().tokens, held, strict=True) if h]
    measured = evaluate(SparseWorld(), load_dictionaries(out), cells)
    metrics = json.loads((out / "metrics.json").read_text())
    for report, written in zip(reports, metrics["layers"], strict=True):
        assert measured[report.layer]["variance_explained"] == pytest.approx(report.variance_explained, abs=1e-6)
        assert written["variance_explained"] == report.variance_explained
    assert metrics["held_out"] == [b for b, h in zip(cohort().barcodes, held, strict=True) if h]


def test_columns_have_unit_norm_and_provenance_is_kept(trained):
    for dictionary in load_dictionaries(trained[1]).values():
        assert dictionary.decoder_norm == "columns"
        assert {"cells_sha256", "model_sha256", "seed", "held_out", "trained_on", "variance_explained", "dead_share"} <= set(dictionary.provenance)
        assert "72 cells of world.h5ad, 4608 positions" in dictionary.provenance["trained_on"]


def test_progress_counts_every_step(trained):
    assert trained[2][-1] == (20 * 18, 20 * 18) and len(trained[2]) == 20 * 18


def test_the_same_seed_gives_the_same_weights(tmp_path):
    for name in ("a", "b"):
        train_dictionaries(SparseWorld(), cohort(20), config(tmp_path / name, epochs=2, layers=(1,)))
    a, b = (load_dictionaries(tmp_path / n)[1] for n in ("a", "b"))
    assert a.sha256 == b.sha256


def test_stream_gives_every_gene_row_once(monkeypatch):
    monkeypatch.setattr("tracing.activations.BUFFER_ROWS", 500)
    world, cells = SparseWorld(), cohort(30).tokens
    batches = list(stream(world, cells, (0, 1), 100, torch.Generator().manual_seed(0)))
    assert [len(b[0]) for b in batches] == [100] * 19 + [20]
    everything = torch.cat([world.clean_states(t)[1][1:-1] for t in cells])
    streamed = torch.cat([b[1] for b in batches])
    assert torch.equal(everything.sort(dim=0).values, streamed.sort(dim=0).values)
    assert not torch.equal(everything[:100], streamed[:100])


def test_the_split_is_by_barcode():
    names = tuple(f"c{i}" for i in range(200))
    mask = held_out(names, 0.1, 0)
    shuffled = tuple(reversed(names))
    assert {n for n, h in zip(names, mask, strict=True) if h} == {n for n, h in zip(shuffled, held_out(shuffled, 0.1, 0), strict=True) if h}
    assert mask.sum() == 20 and not np.array_equal(mask, held_out(names, 0.1, 1))
    with pytest.raises(UserError, match=r"held-out share 0.1 of 3 cells leaves 3 to train on and 0"):
        held_out(names[:3], 0.1, 0)


def test_impossible_settings_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"layers .7. do not exist: the model has layers 0 to 1"):
        train_dictionaries(SparseWorld(), cohort(), config(tmp_path, layers=(7,)))
    with pytest.raises(UserError, match="k = 65 of 64 latents"):
        train_dictionaries(SparseWorld(), cohort(), config(tmp_path, k=65))
    with pytest.raises(UserError, match=r"\d+ gene positions in 9 cells for 3,200 latents"):
        train_dictionaries(SparseWorld(), cohort(10), config(tmp_path, expansion=100))


def test_cells_seen_in_training_are_counted(trained):
    provenance = load_dictionaries(trained[1])[0].provenance
    assert check_unseen(provenance, cohort()).found == "72 of 80"
    few = SimpleNamespace(sha256="1" * 64, barcodes=tuple(provenance["held_out"][:5]))
    assert check_unseen(provenance, few).found == "0 of 5"
    assert "another file (world.h5ad)" in check_unseen(provenance, SimpleNamespace(sha256="2" * 64, barcodes=())).found
    assert "does not say" in check_unseen({}, cohort()).found

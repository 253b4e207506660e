"""The trainer recovers a known dictionary, holds cells out, and says what it did."""

from __future__ import annotations

import gc
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scircuit.core.errors import UserError
from scircuit.tracing.cells.held_out import check_unseen, held_out, unseen
from scircuit.tracing.clean_pass.activations import RowStream, cell_rows
from scircuit.tracing.dictionaries import load_dictionaries
from scircuit.tracing.evaluation.quality import evaluate
from scircuit.tracing.training import trainer
from scircuit.tracing.training.trainer import train_dictionaries
from tests.support.sparse_world import ACTIVE, WIDTH, SparseWorld, cohort, config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("dictionaries")
    steps = []
    reports = train_dictionaries(
        SparseWorld(), cohort(), config(out), lambda *call: steps.append(call)
    )
    return reports, out, steps


def test_known_directions_are_recovered(trained):
    found = load_dictionaries(trained[1])
    world = SparseWorld()
    for dictionary in found.values():
        nearest = (
            (world.directions @ dictionary.columns(torch.arange(dictionary.n_features)).T)
            .max(dim=1)
            .values
        )
        random = torch.nn.functional.normalize(
            torch.randn(dictionary.n_features, WIDTH, generator=torch.Generator().manual_seed(1)),
            dim=1,
        )
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
        assert measured[report.layer]["variance_explained"] == pytest.approx(
            report.variance_explained, abs=1e-6
        )
        assert written["variance_explained"] == report.variance_explained
    assert metrics["held_out"] == [b for b, h in zip(cohort().barcodes, held, strict=True) if h]


def test_a_layer_trained_later_joins_those_of_the_folder(tmp_path):
    first = train_dictionaries(SparseWorld(), cohort(), config(tmp_path, layers=(1,), epochs=1))
    second = train_dictionaries(SparseWorld(), cohort(), config(tmp_path, layers=(0,), epochs=2))
    layers = json.loads((tmp_path / "metrics.json").read_text())["layers"]
    assert [entry["layer"] for entry in layers] == [0, 1]
    assert [entry["variance_explained"] for entry in layers] == [
        second[0].variance_explained,
        first[0].variance_explained,
    ]
    assert [entry["training"] for entry in layers] == [
        load_dictionaries(tmp_path)[layer].provenance["training"] for layer in (0, 1)
    ]
    assert layers[0]["training"] != layers[1]["training"]
    shutil.rmtree(tmp_path / "layer01")
    train_dictionaries(SparseWorld(), cohort(), config(tmp_path, layers=(0,), epochs=2))
    assert [
        entry["layer"] for entry in json.loads((tmp_path / "metrics.json").read_text())["layers"]
    ] == [0], "what is gone is not listed"


def test_columns_have_unit_norm_and_provenance_is_kept(trained):
    for dictionary in load_dictionaries(trained[1]).values():
        assert dictionary.decoder_norm == "columns"
        assert {
            "cells_sha256",
            "model_sha256",
            "seed",
            "held_out",
            "trained_on",
            "variance_explained",
            "dead_share",
        } <= set(dictionary.provenance)
        assert "72 cells of world.h5ad, 4608 positions" in dictionary.provenance["trained_on"]


def test_progress_counts_every_step(trained):
    steps = [step for step in trained[2] if "survey" not in step[2]]
    assert steps == [(n, 21 * 18, "layers 0..1") for n in range(19, 21 * 18 + 1)]
    survey = [step for step in trained[2] if "survey" in step[2]]
    assert survey[-1] == (17, 21 * 18, "survey of layers 0..1: cell 72 of 72")


def test_the_same_seed_gives_the_same_weights(tmp_path):
    for name in ("a", "b"):
        train_dictionaries(
            SparseWorld(), cohort(20), config(tmp_path / name, epochs=2, layers=(1,))
        )
    a, b = (load_dictionaries(tmp_path / n)[1] for n in ("a", "b"))
    assert a.sha256 == b.sha256


def test_stream_gives_every_gene_row_once(monkeypatch):
    monkeypatch.setattr("scircuit.tracing.clean_pass.activations.BUFFER_ROWS", 500)
    world, cells = SparseWorld(), cohort(30).tokens
    batches = list(RowStream(world, cells, (0, 1), 100, 0).batches(1))
    assert [len(b[0]) for b in batches] == [100] * 19 + [20]
    everything = torch.cat([cell_rows(world, t, (1,))[1] for t in cells])
    streamed = torch.cat([b[1] for b in batches])
    assert torch.equal(everything.sort(dim=0).values, streamed.sort(dim=0).values)
    assert not torch.equal(everything[:100], streamed[:100])


@pytest.mark.parametrize("kept", [0, 20_000, 2**30])
def test_kept_rows_change_nothing_and_stay_within_their_bytes(kept):
    world, cells = SparseWorld(), cohort(30).tokens
    plain = [b[1] for b in RowStream(world, cells, (0, 1), 100, 0, 0).batches(3)]
    stream = RowStream(world, cells, (0, 1), 100, 0, kept)
    for ours, theirs in zip(stream.batches(3), plain, strict=True):
        assert torch.equal(ours[1], theirs)
    held = [stream.computed.of(i)[1] for i in range(30)]
    again = [stream.computed.of(i)[1] for i in range(30)]
    same = [a is b for a, b in zip(held, again, strict=True)]
    used = sum(2 * x.numel() * x.element_size() for x, s in zip(held, same, strict=True) if s)
    assert used <= kept
    assert sum(same) == {0: 0, 2**30: 30}.get(kept, sum(same))
    assert kept != 20_000 or 0 < sum(same) < 30


def held_rows():
    """Rows in all tensors [N, d] that are alive."""
    return sum(
        len(t)
        for t in gc.get_objects()
        if type(t) in (torch.Tensor, torch.nn.Parameter) and t.ndim == 2 and t.shape[1] == WIDTH
    )


def test_the_rows_held_are_those_of_the_buffer_however_many_the_cells(tmp_path, monkeypatch):
    monkeypatch.setattr("scircuit.tracing.clean_pass.activations.BUFFER_ROWS", 600)
    monkeypatch.setattr("scircuit.tracing.clean_pass.activations.KEPT_BYTES", 0)
    peak = {}
    for cells in (40, 160):
        before = held_rows()
        most = []

        def look(done, _total, _note, before=before, most=most):
            if done % 8 == 1:
                most.append(held_rows() - before)

        train_dictionaries(
            SparseWorld(),
            cohort(cells),
            config(tmp_path / str(cells), epochs=1, layers=(1,), batch_rows=64),
            look,
        )
        peak[cells] = max(most)
    # Buffer, one cell and one batch; a batch in work; weights, gradients and Adam's averages of 64
    # latents, moments and the like.
    assert peak[160] < 600 + 64 + 64 + 64 + 10 * 64 + 200 < 144 * 64 / 5
    assert abs(peak[160] - peak[40]) < 100


def test_layers_give_the_same_weights_alone_and_together(tmp_path):
    calls = []
    train_dictionaries(SparseWorld(), cohort(20), config(tmp_path / "together", epochs=1))
    train_dictionaries(
        SparseWorld(),
        cohort(20),
        config(tmp_path / "apart", epochs=1, memory="1k"),
        lambda *call: calls.append(call),
    )
    together, apart = (load_dictionaries(tmp_path / name) for name in ("together", "apart"))
    assert [d.sha256 for d in together.values()] == [d.sha256 for d in apart.values()]
    assert {note for _, _, note in calls if "survey" not in note} == {"layer 0", "layer 1"}
    assert max(done for done, _, _ in calls) == calls[-1][1]


def test_a_finished_training_is_not_done_again_and_another_is_not_overwritten(tmp_path):
    first = train_dictionaries(SparseWorld(), cohort(20), config(tmp_path, epochs=1, layers=(1,)))
    calls = []
    again = train_dictionaries(
        SparseWorld(), cohort(20), config(tmp_path, epochs=1), lambda *call: calls.append(call)
    )
    assert again[1] == first[0] and {note for _, _, note in calls if "survey" not in note} == {
        "layer 0"
    }
    with pytest.raises(
        UserError, match=r"layer00 holds a dictionary of another training .18 cells of world"
    ):
        train_dictionaries(SparseWorld(), cohort(20), config(tmp_path, epochs=2))


def test_firing_rates_on_held_out_cells_are_kept(trained):
    reports, out, _ = trained
    world = SparseWorld()
    held = held_out(cohort().barcodes, 0.1, 0)
    for layer, dictionary in load_dictionaries(out).items():
        z = dictionary.encode(
            torch.cat(
                [
                    cell_rows(world, t, (layer,))[layer]
                    for t, h in zip(cohort().tokens, held, strict=True)
                    if h
                ]
            )
        )
        catalogue = dictionary.catalogue
        assert catalogue is not None
        np.testing.assert_allclose(
            catalogue.activation_freq, (z > 0).double().mean(0).numpy(), atol=1e-12
        )
        np.testing.assert_allclose(catalogue.mean_activation, z.double().mean(0).numpy(), rtol=1e-5)
        assert catalogue.is_dead.mean() == reports[layer].dead_share


def test_a_training_that_diverges_says_so_and_leaves_no_checkpoint(tmp_path):
    with pytest.raises(UserError, match=r"training of layer 0 diverged(.|\n)*--learning-rate"):
        train_dictionaries(
            SparseWorld(), cohort(20), config(tmp_path, epochs=2, learning_rate=1e30)
        )
    assert not (tmp_path / ".training").exists()


def test_the_split_is_by_barcode():
    names = tuple(f"c{i}" for i in range(200))
    mask = held_out(names, 0.1, 0)
    shuffled = tuple(reversed(names))
    assert {n for n, h in zip(names, mask, strict=True) if h} == {
        n for n, h in zip(shuffled, held_out(shuffled, 0.1, 0), strict=True) if h
    }
    assert mask.sum() == 20 and not np.array_equal(mask, held_out(names, 0.1, 1))
    with pytest.raises(
        UserError, match=r"held-out share 0.1 of 3 cells leaves 3 to train on and 0"
    ):
        held_out(names[:3], 0.1, 0)


def test_impossible_settings_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"layers .7. do not exist: the model has layers 0 to 1"):
        train_dictionaries(SparseWorld(), cohort(), config(tmp_path, layers=(7,)))
    with pytest.raises(UserError, match="k = 65 of 64 latents"):
        train_dictionaries(SparseWorld(), cohort(), config(tmp_path, k=65))
    with pytest.raises(UserError, match=r"0 epochs, 256 rows per batch, learning rate 0\.003"):
        train_dictionaries(SparseWorld(), cohort(), config(tmp_path, epochs=0))
    with pytest.raises(UserError, match=r"\d+ gene positions in 9 cells for 3,200 latents"):
        train_dictionaries(SparseWorld(), cohort(10), config(tmp_path, expansion=100))


def test_cells_seen_in_training_are_counted(trained):
    provenance = load_dictionaries(trained[1])[0].provenance
    assert check_unseen(provenance, cohort()).found == "72 of 80"
    assert provenance["trained_cells"] == [
        b for b in cohort().barcodes if b not in provenance["held_out"]
    ]
    few = SimpleNamespace(sha256="1" * 64, barcodes=tuple(provenance["held_out"][:5]))
    assert check_unseen(provenance, few).found == "0 of 5"
    other = SimpleNamespace(sha256="2" * 64, barcodes=("a", "b"))
    assert (
        check_unseen(provenance, other).found == "none: it was trained on another file (world.h5ad)"
    )
    part = SimpleNamespace(
        sha256="2" * 64,
        barcodes=(*provenance["trained_cells"][:2], *provenance["held_out"][:2], "a"),
    )
    assert (
        check_unseen(provenance, part).found
        == "2 of 5 have the name of one: it was trained on another file (world.h5ad)"
    )
    assert "does not say" in check_unseen({}, cohort()).found


def test_a_training_on_some_cells_of_a_file_saw_only_those(tmp_path):
    some = cohort(40)  # of 80 in the file
    train_dictionaries(SparseWorld(), some, config(tmp_path, layers=(0,), epochs=1))
    provenance = load_dictionaries(tmp_path)[0].provenance
    rest = cohort(80)
    assert check_unseen(provenance, rest).found == "36 of 80"
    disjoint = SimpleNamespace(sha256="1" * 64, barcodes=rest.barcodes[40:])
    assert check_unseen(provenance, disjoint).found == "0 of 40" and unseen(
        provenance, disjoint
    ) == set(disjoint.barcodes)
    older = {
        k: v for k, v in provenance.items() if k != "trained_cells"
    }  # as earlier trainings left it
    assert (
        check_unseen(older, rest).found == "at most 36 of 80"
        and check_unseen(older, disjoint).found == "at most 36 of 40"
    )
    assert unseen(older, rest) == set(provenance["held_out"])
    elsewhere = SimpleNamespace(sha256="2" * 64, barcodes=rest.barcodes)
    assert (
        check_unseen(older, elsewhere).found
        == "not known: it was trained on another file (world.h5ad), and does not list its cells"
    )
    assert unseen(older, elsewhere) == set() and unseen({}, rest) == set()


def test_the_configuration_of_the_model_is_part_of_a_training(tmp_path):
    world = SparseWorld()
    world.config_sha256 = "c" * 64
    train_dictionaries(world, cohort(), config(tmp_path, layers=(1,), epochs=1))
    assert load_dictionaries(tmp_path)[1].provenance["model_config_sha256"] == "c" * 64
    world.config_sha256 = "d" * 64
    with pytest.raises(UserError, match="a dictionary of another training"):
        train_dictionaries(world, cohort(), config(tmp_path, layers=(1,), epochs=1))


def test_a_training_from_before_configurations_were_recorded_is_not_done_again(
    tmp_path, monkeypatch
):
    real = trainer._hash

    def earlier(value):
        if isinstance(value, dict):
            value = {k: v for k, v in value.items() if k != "model_config"}
        return real(value)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "_hash", earlier)
        first = train_dictionaries(SparseWorld(), cohort(), config(tmp_path, layers=(1,), epochs=1))
    assert first == train_dictionaries(
        SparseWorld(), cohort(), config(tmp_path, layers=(1,), epochs=1)
    )

"""The trainer finds a planted MLP, holds cells out, goes on where it was stopped, and reports what
it measured.
"""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scircuit.core.errors import UserError
from scircuit.tracing.cells.held_out import held_out
from scircuit.tracing.clean_pass.activations import Moments, RowStream, cell_rows, halves
from scircuit.tracing.dictionaries import load_dictionaries
from scircuit.tracing.training.trainer import train_dictionaries
from scircuit.workflows.train import TrainResult, train
from tests.support.planted_mlp import (
    ACTIVE,
    CAUSES,
    PlantedMlp,
    hooked_loss,
    hooked_mlp,
    transcoder_config,
)
from tests.support.sparse_world import SparseWorld, cohort, config
from tests.support.tiny_decoders import decoder_cells, tiny_decoder

LINEAR = 3.0


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """By rule and skip, on 40 cells of which 4 are held out."""
    found = {}

    def get(rule="topk", skip=False):
        if (rule, skip) not in found:
            out = tmp_path_factory.mktemp("transcoders")
            world = PlantedMlp(LINEAR if skip else 0.0)
            epochs = 80 if rule == "relu" else 30  # the coefficient of its penalty is found first
            options = transcoder_config(out, rule=rule, skip=skip, layers=(1,), epochs=epochs)
            found[rule, skip] = world, out, train_dictionaries(world, cohort(40), options)
        return found[rule, skip]

    return get


@pytest.mark.parametrize("rule", ["topk", "relu", "jumprelu"])
def test_planted_features_are_recovered(rule, trained):
    """A planted feature is found where a latent reads it (its encoder row fires on it) and writes
    its column, cosine above 0.95; none of as many random directions is that near. Of 32, topk and
    jumprelu find 31 and relu, whose penalty shrinks codes, 26.
    """
    world, out, _ = trained(rule)
    (found,) = load_dictionaries(out).values()
    assert (found.site, found.rule, found.skip) == ("mlp", rule, None)
    columns = found.columns(torch.arange(found.n_features))
    near = (world.written @ columns.T).max(dim=1)
    recovered = near.values > 0.95
    assert int(recovered.sum()) >= (0.7 if rule == "relu" else 0.85) * CAUSES
    drawn = torch.randn(len(columns), world.width, generator=torch.Generator().manual_seed(1))
    drawn = torch.nn.functional.normalize(drawn, dim=1)
    assert ((world.written @ drawn.T) < 0.95).all()
    alone = found.pre_activations(2 * world.read + world.offset_in)
    on = alone[torch.arange(CAUSES), near.indices] > 0
    assert (on | ~recovered).float().mean() > 0.9


@pytest.mark.parametrize("rule", ["topk", "relu", "jumprelu"])
def test_quality_on_held_out_cells(rule, trained):
    _, _, (report,) = trained(rule)
    assert report.fvu == 1 - report.variance_explained
    assert (
        report.fvu
        < (0.3 if rule == "relu" else 0.12)
        < 0.5
        < 1 - report.linear_variance_explained
        < 1
    )
    # 48 latents for 32 features
    assert report.dead_share <= 0.4
    assert report.l0 <= ACTIVE if rule == "topk" else report.l0 == pytest.approx(ACTIVE, rel=0.5)
    assert report.rows == 36 * 65 and report.rows_held_out == 4 * 65
    assert report.loss_clean is None and report.recovered(report.loss_zero) is None


def test_reported_numbers_are_a_plain_computation(trained):
    """From the saved files, in float64, with the linear map by numpy's least squares."""
    world, out, (report,) = trained()
    test = held_out(cohort(40).barcodes, 0.1, 0)
    rows = {True: [], False: []}
    for cell, held in zip(cohort(40).tokens, test, strict=True):
        x, y = world.clean_mlp(cell)[1]
        rows[bool(held)].append(torch.cat([x, y], 1)[:-1].double().numpy())
    d = world.width
    (x, y), (x_train, y_train) = (
        (part[:, :d], part[:, d:]) for part in (np.concatenate(rows[h]) for h in (True, False))
    )
    (found,) = load_dictionaries(out).values()
    z = found.encode(torch.from_numpy(x).float()).double().numpy()
    made = z @ found.tensors["decoder"].double().numpy() + found.tensors["decoder_bias"].numpy()
    variance = ((y - y.mean(0)) ** 2).sum()
    assert report.fvu == pytest.approx(((y - made) ** 2).sum() / variance, rel=1e-4)
    assert report.l0 == pytest.approx((z > 0).sum(1).mean())
    assert report.dead_share == pytest.approx(((z > 0).sum(0) == 0).mean())
    full = np.linalg.lstsq(x_train - x_train.mean(0), y_train - y_train.mean(0), rcond=None)[0]
    fitted = (x_train - x_train.mean(0)) @ full
    _, _, directions = np.linalg.svd(fitted, full_matrices=False)
    directions = directions[:ACTIVE]
    guess = (x - x_train.mean(0)) @ full @ directions.T @ directions + y_train.mean(0)
    assert report.linear_variance_explained == pytest.approx(
        1 - ((y - guess) ** 2).sum() / variance, rel=1e-3
    )
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["site"] == "mlp" and metrics["layers"][0]["fvu"] == report.fvu
    catalogue = found.catalogue
    assert catalogue is not None
    np.testing.assert_allclose(catalogue.activation_freq, (z > 0).mean(0), atol=1e-12)


def test_a_skip_takes_what_is_linear(trained, tmp_path):
    """What it learns beside the planted map: a latent may take some of either, so not the same."""
    world, out, (report,) = trained(skip=True)
    (found,) = load_dictionaries(out).values()
    assert found.skip is not None
    options = transcoder_config(tmp_path, layers=(1,), epochs=30)
    (without,) = train_dictionaries(world, cohort(40), options)
    assert without.fvu > 1.5 * report.fvu
    planted, learned = world.linear.flatten(), found.skip.flatten()
    assert float(torch.corrcoef(torch.stack([planted, learned]))[0, 1]) > 0.8


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    ("rule", "skip", "steps"),
    [
        ("topk", False, (1,)),
        ("topk", True, (4, 13)),
        ("relu", True, (4, 13)),
        ("jumprelu", False, (4, 13)),
    ],
)
def test_a_killed_training_goes_on_to_the_same_weights(rule, skip, steps, tmp_path, monkeypatch):
    monkeypatch.setattr("scircuit.tracing.clean_pass.activations.BUFFER_ROWS", 500)
    monkeypatch.setattr("scircuit.tracing.training.trainer.CHECKPOINT_SECONDS", 0.0)
    world = PlantedMlp(LINEAR if skip else 0.0)
    options = {"rule": rule, "skip": skip, "epochs": 2, "batch_rows": 150}
    whole = transcoder_config(tmp_path / "whole", **options)
    train_dictionaries(world, cohort(20), whole)
    survey = -(-18 * 65 // 150)
    for step in steps:

        def progress(done, _total, note, step=step):
            if done == survey + step and "survey" not in note:
                raise Killed

        with pytest.raises(Killed):
            train_dictionaries(
                world, cohort(20), transcoder_config(tmp_path / "cut", **options), progress
            )
    reached = []
    train_dictionaries(
        world,
        cohort(20),
        transcoder_config(tmp_path / "cut", **options),
        lambda done, *_: reached.append(done),
    )
    assert min(reached) >= survey + steps[-1]
    first, second = (load_dictionaries(tmp_path / name) for name in ("whole", "cut"))
    assert list(first) == [0, 1]
    assert [d.sha256 for d in first.values()] == [d.sha256 for d in second.values()]
    assert first[0].provenance == second[0].provenance
    assert not (tmp_path / "cut" / ".training").exists()


def test_layers_give_the_same_weights_alone_and_together_and_are_not_trained_again(tmp_path):
    world = PlantedMlp()
    for name, memory in (("together", "4g"), ("apart", "1k")):
        options = transcoder_config(tmp_path / name, epochs=1, memory=memory)
        first = train_dictionaries(world, cohort(20), options)
        assert train_dictionaries(world, cohort(20), options) == first
    together, apart = (load_dictionaries(tmp_path / name) for name in ("together", "apart"))
    assert [d.sha256 for d in together.values()] == [d.sha256 for d in apart.values()]


def test_each_option_of_transcoders_is_another_training(tmp_path):
    ids = set()
    for number, more in enumerate(
        ({}, {"rule": "relu"}, {"rule": "jumprelu"}, {"skip": True}, {"skip": True, "rule": "relu"})
    ):
        options = transcoder_config(tmp_path / str(number), epochs=1, layers=(0,), **more)
        train_dictionaries(PlantedMlp(), cohort(20), options)
        provenance = load_dictionaries(tmp_path / str(number))[0].provenance
        assert provenance["site"] == "mlp"
        ids.add(provenance["training"])
    assert len(ids) == 5
    train_dictionaries(SparseWorld(), cohort(20), config(tmp_path / "output", epochs=1))
    assert not {"site", "rule", "skip"} & set(load_dictionaries(tmp_path / "output")[0].provenance)
    with pytest.raises(UserError, match="holds a dictionary of another training"):
        train_dictionaries(
            PlantedMlp(),
            cohort(20),
            transcoder_config(tmp_path / "0", epochs=1, layers=(0,), rule="relu"),
        )


def test_impossible_options_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"--site mlp with world .*does not say where its MLP"):
        world = SparseWorld()
        world.family = "world"
        train_dictionaries(world, cohort(20), transcoder_config(tmp_path))
    for more, option in (({"skip": True}, "--skip"), ({"rule": "relu"}, "--rule relu")):
        with pytest.raises(UserError, match=f"{option} with --site output") as error:
            train_dictionaries(SparseWorld(), cohort(20), config(tmp_path, **more))
        assert "--site mlp" in error.value.fix
    with pytest.raises(UserError, match="2,340 positions in 36 cells for 2,400 latents"):
        train_dictionaries(PlantedMlp(), cohort(40), transcoder_config(tmp_path, expansion=100))


def test_the_command_refuses_what_cannot_be_trained_before_it_reads_cells(examples, tmp_path):
    options = {"model": str(examples / "model"), "cells": tmp_path / "none.h5ad", "out": tmp_path}
    with pytest.raises(UserError, match=r"--site mlp with model \(geneformer\)"):
        train(site="mlp", device="cpu", quiet=True, **options)
    with pytest.raises(UserError, match="--skip with --site output"):
        train(**(options | {"model": "none"}), skip=True, quiet=True)


def test_a_decoder_is_trained_measured_and_reported(tmp_path):
    """From the cells of a tiny GPT-NeoX: losses are reported, and the saved transcoder gives them
    again by the library's own modules.
    """
    adapter = tiny_decoder("parallel", layers=2)
    cells = decoder_cells(12, length=60)
    some = SimpleNamespace(
        tokens=cells,
        barcodes=tuple(f"c{i}" for i in range(12)),
        file=tmp_path / "cells.h5ad",
        sha256="1" * 64,
        filters=(),
    )
    options = transcoder_config(
        tmp_path / "out", expansion=1, k=6, epochs=3, batch_rows=64, layers=(1,)
    )
    (report,) = train_dictionaries(adapter, some, options)
    test = [c for c, h in zip(cells, held_out(some.barcodes, 0.1, 0), strict=True) if h]
    assert report.rows == sum(map(len, cells)) - sum(map(len, test)), "every position"
    (found,) = load_dictionaries(tmp_path / "out").values()
    total = {"clean": 0.0, "rebuilt": 0.0, "zero": 0.0}
    for cell in test:
        x, y = hooked_mlp(adapter, cell)[1]
        made = {"clean": y, "rebuilt": found.decode(found.encode(x), x), "zero": 0 * y}
        for name, out in made.items():
            total[name] += (len(cell) - 1) * float(hooked_loss(adapter, cell, 1, out))
    tokens = sum(len(cell) - 1 for cell in test)
    for name, loss in total.items():
        # float32 through two layers
        assert getattr(report, f"loss_{name}") == pytest.approx(loss / tokens, abs=1e-4)
    text = str(TrainResult(tmp_path / "out", 6, (report,)))
    assert "transcoders in" in text and f"{report.fvu:.3f}" in text and "rank 6" in text
    json.dumps(TrainResult(tmp_path / "out", 6, (report,)).to_json())


def test_rows_are_input_and_output_side_by_side_at_the_training_positions():
    world, (cell, *_) = PlantedMlp(), cohort(2).tokens
    rows = cell_rows(world, cell, (0, 1), "mlp")
    for layer, (x, y) in enumerate(world.clean_mlp(cell)):
        assert torch.equal(rows[layer], torch.cat([x[:-1], y[:-1]], 1))
        read, written = halves(rows[layer], "mlp")
        assert torch.equal(read, x[:-1]) and torch.equal(written, y[:-1])
    world.training_positions = world.gene_positions
    assert len(cell_rows(world, cell, (0,), "mlp")[0]) == len(cell) - 2
    stream = RowStream(PlantedMlp(), cohort(8).tokens, (0, 1), 100, 0, site="mlp")
    assert stream.rows == 8 * 65
    batches = list(stream.batches(1))
    assert sum(len(batch[0]) for batch in batches) == stream.rows
    everything = torch.cat([cell_rows(PlantedMlp(), c, (1,), "mlp")[1] for c in cohort(8).tokens])
    streamed = torch.cat([batch[1] for batch in batches])
    assert torch.equal(everything[everything[:, 0].argsort()], streamed[streamed[:, 0].argsort()])


def test_the_linear_map_of_full_rank_is_least_squares():
    """Where one entry of the input is constant too."""
    g = torch.Generator().manual_seed(0)
    x, noise = torch.randn(200, 6, generator=g), torch.randn(200, 6, generator=g)
    x[:, 2] = 3.0
    y = x @ torch.randn(6, 6, generator=g) + 0.1 * noise + 2
    moments = Moments(12)
    moments.add(torch.cat([x, y], 1))
    mean_in, mean_out, linear = moments.linear_map(6)
    design = np.hstack([x.numpy(), np.ones((200, 1))])
    expected = design @ np.linalg.lstsq(design, y.numpy(), rcond=None)[0]
    np.testing.assert_allclose((x - mean_in) @ linear + mean_out, expected, atol=1e-4)

"""A training that was interrupted goes on to the same weights."""

from __future__ import annotations

import os
import signal
from itertools import islice

import pytest
import torch

from scircuit.core.errors import UserError
from scircuit.tracing.clean_pass.activations import RowStream
from scircuit.tracing.dictionaries import load_dictionaries
from scircuit.tracing.training import checkpoint
from scircuit.tracing.training.trainer import train_dictionaries
from tests.support.sparse_world import SparseWorld, cohort, config


@pytest.mark.parametrize("stop", [0, 1, 7, 19, 20, 33, 39])
def test_a_stream_goes_on_from_where_it_stood(stop, monkeypatch):
    monkeypatch.setattr("scircuit.tracing.clean_pass.activations.BUFFER_ROWS", 500)
    world, cells = SparseWorld(), cohort(30).tokens
    whole = [b[1] for b in RowStream(world, cells, (1,), 100, 0).batches(2)]
    first = RowStream(world, cells, (1,), 100, 0)
    taken = [b[1] for b in islice(first.batches(2), stop)]
    tensors, place = first.state()
    second = RowStream(world, cells, (1,), 100, 0)
    second.restore({name: t.clone() for name, t in tensors.items()}, place)
    taken += [b[1] for b in second.batches(2)]
    assert len(whole) == len(taken) == 40
    assert all(torch.equal(a, b) for a, b in zip(whole, taken, strict=True))


class Killed(Exception):
    pass


def killed_at(step, epoch=12):
    """Stop after a step; the survey before counts as many steps as an epoch."""

    def progress(done, _total, note):
        if done == epoch + step and "survey" not in note:
            raise Killed

    return progress


@pytest.mark.parametrize("steps", [(1,), (5,), (6, 7, 20), (35,), (36,)])
def test_a_killed_training_goes_on_to_the_same_weights(tmp_path, monkeypatch, steps):
    monkeypatch.setattr("scircuit.tracing.clean_pass.activations.BUFFER_ROWS", 500)
    monkeypatch.setattr(
        "scircuit.tracing.training.trainer.CHECKPOINT_SECONDS", 0.0
    )  # a checkpoint at each pause
    options = {"epochs": 3, "batch_rows": 100}
    train_dictionaries(SparseWorld(), cohort(20), config(tmp_path / "whole", **options))
    reached = []
    for step in steps:
        with pytest.raises(Killed):
            train_dictionaries(
                SparseWorld(), cohort(20), config(tmp_path / "cut", **options), killed_at(step)
            )
        assert (
            list((tmp_path / "cut").glob("layer*")) == []
            and len(list((tmp_path / "cut" / ".training").iterdir())) == 1
        )
    train_dictionaries(
        SparseWorld(),
        cohort(20),
        config(tmp_path / "cut", **options),
        lambda done, _total, _note: reached.append(done),
    )
    assert min(reached) >= 12 + steps[-1]  # it went on; it did not begin anew
    whole, cut = (load_dictionaries(tmp_path / name) for name in ("whole", "cut"))
    assert [d.sha256 for d in whole.values()] == [d.sha256 for d in cut.values()]
    assert whole[0].provenance == cut[0].provenance
    assert not (tmp_path / "cut" / ".training").exists()


def test_other_memory_leaves_no_checkpoint_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("scircuit.tracing.training.trainer.CHECKPOINT_SECONDS", 0.0)
    options = {"epochs": 3, "batch_rows": 100}
    for number, layers in enumerate(
        [(), (0,)]
    ):  # both in one group; and another training in the same folder
        more = {"layers": layers, "seed": number}
        with pytest.raises(Killed):
            train_dictionaries(
                SparseWorld(), cohort(20), config(tmp_path / "cut", **options, **more), killed_at(5)
            )
    assert len(list((tmp_path / "cut" / ".training").iterdir())) == 2
    train_dictionaries(SparseWorld(), cohort(20), config(tmp_path / "cut", **options, memory="1k"))
    [other] = (tmp_path / "cut" / ".training").iterdir()
    assert checkpoint.facts_of(other / "checkpoint.safetensors")["layers"] == [0], (
        "that of the other training stays"
    )
    assert checkpoint.facts_of(tmp_path / "none") == {}


def test_a_survey_that_is_killed_goes_on_too(tmp_path, monkeypatch):
    monkeypatch.setattr("scircuit.tracing.training.trainer.CHECKPOINT_SECONDS", 0.0)
    seen = []

    def progress(_done, _total, note):
        seen.append(note)
        if note.endswith("cell 7 of 18") and seen.count(note) == 1:
            raise Killed

    with pytest.raises(Killed):
        train_dictionaries(SparseWorld(), cohort(20), config(tmp_path / "cut", epochs=1), progress)
    train_dictionaries(SparseWorld(), cohort(20), config(tmp_path / "cut", epochs=1), progress)
    train_dictionaries(SparseWorld(), cohort(20), config(tmp_path / "whole", epochs=1))
    assert (
        sum(note.endswith("cell 3 of 18") for note in seen) == 1
        and sum(note.endswith("cell 7 of 18") for note in seen) == 2
    )
    assert (
        load_dictionaries(tmp_path / "cut")[1].sha256
        == load_dictionaries(tmp_path / "whole")[1].sha256
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_checkpoint(tmp_path, number):
    options = {"epochs": 3, "batch_rows": 100}

    def progress(done, _total, _note):
        if done == 12 + 11:
            os.kill(os.getpid(), number)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        train_dictionaries(SparseWorld(), cohort(20), config(tmp_path / "cut", **options), progress)
    assert signal.getsignal(signal.SIGTERM) is before
    reached = []
    train_dictionaries(
        SparseWorld(),
        cohort(20),
        config(tmp_path / "cut", **options),
        lambda done, _total, _note: reached.append(done),
    )
    assert reached[0] == 12 + 12
    train_dictionaries(SparseWorld(), cohort(20), config(tmp_path / "whole", **options))
    assert (
        load_dictionaries(tmp_path / "cut")[1].sha256
        == load_dictionaries(tmp_path / "whole")[1].sha256
    )


def test_a_damaged_checkpoint_is_named(tmp_path):
    with pytest.raises(Killed):
        train_dictionaries(SparseWorld(), cohort(20), config(tmp_path), killed_at(3, epoch=5))
    path = tmp_path / ".training" / "x.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match=r"x\.safetensors is damaged(.|\n)*starts again"):
        checkpoint.load(path)

"""Where the memory is short a batch is halved, the result stays, and it is said; where halving
cannot help, one message.
"""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from scircuit.core.context import EXACT, FROZEN
from scircuit.core.errors import UserError
from scircuit.tracing.engine.tracer import Tracer
from scircuit.tracing.hardware import row_padding
from scircuit.tracing.hardware.out_of_memory import halving, memory_suffices, out_of_memory
from scircuit.tracing.models.adapter import Adapter
from scircuit.workflows.trace import trace
from tests.support.tiny_tracer import setup

SHORT = "CUDA out of memory. Tried to allocate 2.00 GiB"


def short_of_memory(
    monkeypatch: pytest.MonkeyPatch, method: str, most: int, sizes: list[int]
) -> None:
    """Let a method of the adapters fail as CUDA does for more than `most` edits or rows."""
    plain = getattr(Adapter, method)

    def limited(self: Adapter, layer: int, *states: torch.Tensor) -> torch.Tensor:
        sizes.append(len(states[0]))
        if len(states[0]) > most:
            raise torch.OutOfMemoryError(SHORT)
        return plain(self, layer, *states)

    monkeypatch.setattr(Adapter, method, limited)


@pytest.fixture
def tracer() -> Tracer:
    return setup(batch_pairs=16)[0]


def test_exact_batches_are_halved_until_they_fit(tracer, monkeypatch):
    expected = tracer.effects(tracer.sources, context=EXACT)
    assert not tracer.notes
    sizes: list[int] = []
    short_of_memory(monkeypatch, "layer", 4, sizes)
    found = tracer.effects(tracer.sources, context=EXACT)
    np.testing.assert_allclose(found.effects, expected.effects, atol=2e-6)
    assert found.direct is not None and expected.direct is not None
    np.testing.assert_allclose(found.total, expected.total, atol=2e-6)
    np.testing.assert_allclose(found.direct, expected.direct, atol=2e-6)
    assert (
        max(sizes) > 4 and "out of memory: retrying with half the batch of 16 pairs" in tracer.notes
    )


def test_rows_of_the_frozen_context_are_halved_until_they_fit(tracer, monkeypatch):
    expected = tracer.effects(tracer.sources, context=FROZEN)
    plain = tracer.adapter.finish
    # padded to a multiple of 8 only, so that a batch of this small model is above the limit
    monkeypatch.setattr(row_padding, "padded_length", lambda rows: -(-rows // 8) * 8)

    def limited(layer: int, states: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        if len(states) > 20:
            raise torch.OutOfMemoryError(SHORT)
        return plain(layer, states, context)

    monkeypatch.setattr(tracer.adapter, "finish", limited)
    found = tracer.effects(tracer.sources, context=FROZEN)
    np.testing.assert_allclose(found.effects, expected.effects, atol=2e-6)
    assert tracer.notes


def test_one_pair_that_does_not_fit_is_one_message(tracer, monkeypatch):
    short_of_memory(monkeypatch, "layer", 0, [])
    with pytest.raises(UserError, match="not even a single"):
        tracer.effects(tracer.sources, context=EXACT)


def test_what_was_computed_is_not_computed_twice_and_other_errors_pass():
    seen: list[int] = []

    def work(items: np.ndarray) -> int:
        if len(items) > 2:
            raise MemoryError
        seen.extend(items.tolist())
        return int(items.sum())

    notes: list[str] = []
    assert (
        sum(halving(work, np.arange(7), notes.append)) == 21
        and seen == list(range(7))
        and len(notes) == 3
    )

    def broken(_items: np.ndarray) -> int:
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        halving(broken, np.arange(7), notes.append)
    assert not out_of_memory(RuntimeError("shape mismatch"))


def test_a_run_says_on_the_terminal_and_in_its_findings_that_it_halved(
    examples, tmp_path, monkeypatch, capsys
):
    options = {
        "model": str(examples / "model"),
        "dictionaries": str(examples / "dictionaries"),
        "source_layers": (3,),
        "n_cells": 4,
        "mixed": True,
        "cells": examples / "cells" / "celltypist_sample_559cells.h5ad",
        "features": tuple(range(12)),
        "control_features": 2,
        "max_length": 128,
        "device": "cpu",
        "database": False,
        "quiet": True,
    }
    plain = trace(study=tmp_path / "plain", **options)
    short_of_memory(monkeypatch, "layer_rows", 3, [])
    halved = trace(study=tmp_path / "halved", **options)
    note = "out of memory: retrying with half the batch of 6 pairs"
    assert note in halved.findings["notes"] and not any(
        "memory" in n for n in plain.findings["notes"]
    )
    assert capsys.readouterr().err.count(note) == 1
    ours, theirs = (r.edges().set_index(["source", "target"]).sort_index() for r in (halved, plain))
    assert len(ours) > 300
    np.testing.assert_allclose(
        ours["mean"].reindex(theirs.index).fillna(0), theirs["mean"], atol=2e-6
    )
    # outside the batches
    short_of_memory(monkeypatch, "layer", 0, [])
    with pytest.raises(UserError, match="out of memory: CUDA out of memory"):
        trace(study=tmp_path / "clean", **options)
    with pytest.raises(RuntimeError, match="other"), memory_suffices(None):
        raise RuntimeError("other")


LIMITED = """
import json, resource, sys
import numpy as np, torch
from tests.support.tiny_tracer import open_tracer, tiny_config, tiny_settings
torch.set_num_threads(1)
from tests.support.tiny_models import TinyDictionary, tiny_cohort, tiny_model
from scircuit.core.context import EXACT
from scircuit.tracing.models.geneformer import Geneformer
model = tiny_model(layers=4, width=128, heads=4, vocabulary=1000, positions=512, ffn=1024)
adapter = Geneformer(model, "m", "")
adapter.model.set_attn_implementation("sdpa")
dictionaries = {t: TinyDictionary(t, 128, 256, 8, seed=t) for t in (1, 2, 3)}
rng = np.random.default_rng(0)
cells = [rng.integers(4, 1000, 512) for _ in range(2)]
config = tiny_config(target_layers=())
settings = tiny_settings(adapter, dictionaries, config, batch_pairs=32)
tracer = open_tracer(adapter, dictionaries, tiny_cohort(cells), settings)
features = tracer.sources[-32:]
free = tracer.effects(features, context=EXACT)
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 40 * 2**20, resource.RLIM_INFINITY))
short = tracer.effects(features, context=EXACT)
gap, size = (float(np.abs(x).max()) for x in (short.effects - free.effects, free.effects))
print(json.dumps({"notes": sorted(set(tracer.notes)), "gap": gap, "size": size}))
"""


def test_a_real_limit_of_the_address_space(root):
    found = subprocess.run(
        [sys.executable, "-c", LIMITED],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr[-2000:]
    result = json.loads(found.stdout)
    assert "out of memory: retrying with half the batch of 32 pairs" in result["notes"]
    assert result["gap"] < 2e-6 < 1e-3 < result["size"]

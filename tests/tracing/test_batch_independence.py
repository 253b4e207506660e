"""The effects of a source, the behaviour with a set of features, and what steering reads have the
same bits whatever else shares their batch.
"""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scircuit.core.context import EXACT, FROZEN
from scircuit.tracing.behaviour.behaviours import GeneLogits, GeneLoss, ProbeMargin
from scircuit.tracing.behaviour.feature_space import feature_space
from scircuit.tracing.behaviour.mean_ablation import evaluate, start
from scircuit.tracing.behaviour.probe import Probe
from scircuit.tracing.clean_pass.clean_pass import clean_cell
from scircuit.tracing.hardware.row_padding import ROWS, by_row, padded_widths
from scircuit.tracing.interventions.steering import steered_states
from tests.support.tiny_tracer import setup
from tests.tracing.test_interventions import frequent, parts

# what other processors compute with, as far as this one can be told to; elsewhere without effect
KERNELS = ["", "MKL_ENABLE_INSTRUCTIONS=AVX2", "MKL_ENABLE_INSTRUCTIONS=SSE4_2"]
KERNELS += ["MKL_CBWR=COMPATIBLE", "ATEN_CPU_CAPABILITY=default"]


def differing_bits(context: int) -> int:
    """Effects, total and direct changes that differ between one batch, batches of three, and single
    ones.
    """
    tracer = setup(cells=4)[0]
    features = tracer.sources[:: max(1, len(tracer.sources) // 9)]
    whole = tracer.effects(features, context=context)
    assert whole.direct is not None and np.count_nonzero(whole.effects) > 500
    found = 0
    for step in (1, 3):
        for i in range(0, len(features), step):
            of = slice(i, i + step)
            part = tracer.effects(features[of], context=context)
            found += np.count_nonzero(part.effects != whole.effects[of])
            found += np.count_nonzero(part.total != whole.total[of])
            found += np.count_nonzero(part.direct != whole.direct[of])
    return int(found)


def differing_behaviours() -> int:
    """Values of behaviours that differ between sets evaluated together and alone."""
    adapter, dictionaries, cohort = parts(cells=5)
    adapter.vocabulary.mask = 1
    layers, rng = tuple(sorted(dictionaries)), np.random.default_rng(1)
    probe = Probe(rng.normal(size=adapter.width), 0.5, 1, 0, 0, 0)
    found = 0
    for behaviour in (
        GeneLoss("all"),
        GeneLogits("half", tuple(range(4, 60, 2))),
        ProbeMargin("a=b", probe, np.ones(5, bool)),
    ):
        prompts = [behaviour.prompt(adapter, cell, i) for i, cell in enumerate(cohort.tokens)]
        prompts = [p for p in prompts if p is not None]
        space = feature_space(adapter, dictionaries, layers, prompts)
        started = start(adapter, space, prompts)
        sets = rng.random((37, space.size)) < 0.5
        together = evaluate(adapter, space, started, sets)
        alone = np.concatenate([evaluate(adapter, space, started, one[None]) for one in sets])
        assert together.size > 100 and np.ptp(together, axis=0).min() > 0
        found += np.count_nonzero(together != alone)
    return int(found)


def differing_readouts() -> int:
    """Logits and states after steering that differ between one batch of edits and small ones."""
    adapter, dictionaries, cohort = parts(cells=3)
    feature, found = frequent(adapter, dictionaries, cohort, 1)[0], 0
    along = steered_states.directions(dictionaries[feature.layer], feature, None, 2, 0)
    doses = np.array([0.0, 0.5, 2.0, 4.0])
    for tokens in cohort.tokens:
        cell = clean_cell(adapter, dictionaries, tokens, (feature.layer,))
        edit = steered_states.strengths(cell, feature, doses, "clamp-all", 1.0)
        assert edit is not None
        reads = []
        for pairs in (64, 3, 1):
            with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
                plan = SimpleNamespace(pairs=pairs)
                patch.setattr(steered_states, "make_plan", lambda *_, p=plan: p)
                reads.append(steered_states.read_passes(adapter, cell, feature.layer, edit, along))
        for other in reads[1:]:
            found += int((other.logits != reads[0].logits).sum())
            found += int((other.state != reads[0].state).sum())
    return found


@pytest.mark.parametrize("kernels", KERNELS)
def test_results_do_not_depend_on_the_batch(kernels, root):
    name, _, value = kernels.partition("=")
    environment = os.environ | ({name: value} if name else {})
    contexts = (EXACT, FROZEN, 3)
    program = (
        "from tests.tracing import test_batch_independence as test\n"
        f"print([test.differing_bits(context) for context in {contexts}],"
        " test.differing_behaviours(), test.differing_readouts())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=root, capture_output=True, text=True
    )
    assert done.stdout.strip() == f"{[0] * len(contexts)} 0 0", done.stdout + done.stderr


def test_by_row_keeps_shapes_and_pads():
    seen = []

    def function(x: torch.Tensor, at: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(len(x))
        return x + at[:, None], x.sum(1)

    x, at = torch.randn(5, 41, 3), torch.arange(205).reshape(5, 41)
    moved, total = by_row(function, x, at)
    torch.testing.assert_close(moved, x + at[..., None])
    torch.testing.assert_close(total, x.sum(-1))
    assert seen == [3 * ROWS]
    assert by_row(lambda rows: rows, x[:0]).shape == (0, 41, 3)


def test_widths_hold_their_sizes_and_are_few():
    sizes = np.arange(1, 3000)
    widths = padded_widths(sizes)
    assert (widths >= sizes).all() and (widths <= 1.25 * sizes).all()
    assert len(np.unique(widths)) < 50

"""The effects of a source have the same bits whatever other sources share its batch."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from scircuit.core.context import EXACT, FROZEN
from scircuit.tracing.hardware.row_padding import ROWS, by_row, padded_widths
from tests.support.tiny_tracer import setup

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


@pytest.mark.parametrize("kernels", KERNELS)
def test_effects_do_not_depend_on_the_batch(kernels, root):
    name, _, value = kernels.partition("=")
    environment = os.environ | ({name: value} if name else {})
    contexts = (EXACT, FROZEN, 3)
    program = (
        "from tests.tracing.test_batch_independence import differing_bits\n"
        f"print([differing_bits(context) for context in {contexts}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=root, capture_output=True, text=True
    )
    assert done.stdout.strip() == str([0] * len(contexts)), done.stdout + done.stderr


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

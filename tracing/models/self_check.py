"""Does an adapter give the same states as its model: one check for every family, in seconds.

On a made-up cell, with h_l the adapter's states and w_l those of the model's own forward pass
(`Adapter.whole_forward`): ``h_l = w_l``; ``layer(l, w_{l-1}) = w_l``; chosen rows equal all rows;
an edit of nothing changes nothing beyond rounding; attention rows sum to one; and an edit of one
row reaches that row and the others. Differences are relative to the largest state.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from scircuit.core.preflight import CheckLine

if TYPE_CHECKING:
    from scircuit.tracing.models.adapter import Adapter

LENGTH = 48
SAME = 1e-4  # float32 through tens of layers; a wrong activation or norm gives errors of order 1
ROUNDING = 2e-5  # the same numbers in one layer, summed in another order
_FIX = "use a version of the library this adapter was tested with, and report the model"


@torch.inference_mode()
def self_check(adapter: Adapter) -> list[CheckLine]:
    """Lines of the preflight; the numbers are in the lines."""
    cell = adapter.sample_cell(LENGTH)
    ours, whole = adapter.clean_states(cell), adapter.whole_forward(cell)
    scale = max(1.0, _largest([float(h.abs().max()) for h in whole.layers]))
    later = range(1, adapter.n_layers)
    lines = [_weights(adapter)]

    def compare(
        name: str, pairs: Iterable[tuple[Tensor, Tensor]], limit: float, unit: float = scale
    ) -> None:
        error = _largest([float((a - b).abs().max()) for a, b in pairs]) / unit
        lines.append(
            CheckLine(
                name,
                error <= limit,
                f"largest difference {error:.1e}",
                f"at most {limit:.0e}",
                _FIX,
            )
        )

    compare("layers equal the whole forward", zip(ours, whole.layers, strict=True), SAME)
    if whole.logits is not None:
        compare(
            "logits equal the whole forward",
            [(adapter.logits(ours[-1]), whole.logits)],
            SAME,
            max(1.0, float(whole.logits.abs().max())),
        )
    compare(
        "each layer called as a function",
        ((adapter.layer(i, whole.layers[i - 1][None])[0], whole.layers[i]) for i in later),
        SAME,
    )
    chosen = torch.tensor([1, len(cell) // 2], device=adapter.device)
    rows = (torch.zeros_like(chosen), chosen)
    compare(
        "chosen rows equal all rows",
        ((adapter.layer_rows(i, ours[i - 1][None], rows), ours[i][chosen]) for i in later),
        ROUNDING,
    )
    nothing = (rows[0][:1], chosen[:1])
    compare(
        "zero edit changes nothing",
        (
            (adapter.layer_edited(i, ours[i - 1], ours[i - 1][None], nothing)[0], ours[i])
            for i in later
        ),
        ROUNDING,
    )
    compare("attention rows sum to one", _row_sums(adapter, ours), SAME, 1.0)
    return [*lines, _reach(adapter, ours, int(chosen[1]))]


def _largest(values: list[float]) -> float:
    """Largest of the values, 0 without any; NaN where one is, which `max` may pass over."""
    return float(np.max(values, initial=0.0))


def files_line(adapter: Adapter) -> list[CheckLine]:
    """What else lies beside the weights that are used; nothing where nothing does."""
    if not adapter.notes:
        return []
    return [CheckLine("files of the model", True, "; ".join(adapter.notes), "one checkpoint")]


def _weights(adapter: Adapter) -> CheckLine:
    used = str(adapter.dtype).removeprefix("torch.")
    cast = (
        ""
        if adapter.stored == used
        else f", computed in {used}; precision lost in storage is not recovered"
    )
    found = "; ".join([f"stored as {adapter.stored}{cast}", *adapter.notes])
    return CheckLine("weights", True, found, "finite numbers")


def _row_sums(adapter: Adapter, states: list[Tensor]) -> Iterable[tuple[Tensor, Tensor]]:
    """Attention of values that are all one, beside one: every entry is the sum of its attention
    row.
    """
    for i in range(1, adapter.n_layers):
        before = states[i - 1][None]
        query, key, value = adapter.project(
            i, before, torch.arange(before.shape[1], device=before.device)
        )
        sums = adapter.attend(i, query, key, torch.ones_like(value))
        yield sums, torch.ones_like(sums)


def _reach(adapter: Adapter, states: list[Tensor], row: int) -> CheckLine:
    """Smallest change, over layers, of the edited row and of the most changed other row, when a row
    is replaced by a random one.
    """
    own: list[float] = []
    others: list[float] = []
    for i in range(1, adapter.n_layers):
        edited = states[i - 1].clone()
        edited[row] = (
            torch.randn(adapter.width, generator=torch.Generator().manual_seed(i)).to(edited)
            * edited[row].std()
        )
        change = (adapter.layer(i, edited[None])[0] - states[i]).abs().amax(1)
        own.append(float(change[row]))
        change[row] = 0
        others.append(float(change.max()))
    if not own:
        return CheckLine(
            "editing a layer changes the next",
            True,
            "there is only one layer",
            "more than 1e-03 and 1e-06",
            _FIX,
        )
    least_own, least_other = float(np.min(own)), float(np.min(others))
    found = (
        f"changes of at least {least_own:.1e} in the edited row and {least_other:.1e} in another"
    )
    ok = least_own > 1e-3 and least_other > 1e-6
    return CheckLine(
        "editing a layer changes the next", ok, found, "more than 1e-03 and 1e-06", _FIX
    )

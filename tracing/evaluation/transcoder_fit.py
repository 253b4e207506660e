"""Does a transcoder stand for the MLP of its layer in this model, on these cells: lines of the
preflight.

    FVU = sum |y - TC(x)|^2 / sum |y - mean y|^2

with x the MLP input and y the MLP output. Above 1 the mean of y is nearer than TC(x): the
transcoder was trained on another place (before the norm, say), on the input of another norm, or on
another model.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from scircuit.core.errors import UserError
from scircuit.core.preflight import CheckLine
from scircuit.tracing.engine.layers import ranges
from scircuit.tracing.evaluation.fidelity import CELLS, NOT_MEASURED, firing_line
from scircuit.tracing.evaluation.layer_match import STATED, stated_explained
from scircuit.tracing.evaluation.mlp_loss import mlp_losses
from scircuit.tracing.evaluation.quality import Quality, evaluate

if TYPE_CHECKING:
    from scircuit.tracing.dictionaries.dictionary import Dictionary
    from scircuit.tracing.models.adapter import Adapter

_FIX = (
    "give transcoders of this model that read its MLP input after the norm, and write its MLP"
    " output: another place, another norm (a gain that was folded in) or another model gives such"
    " numbers"
)


def fit_lines(
    adapter: Adapter,
    transcoders: Mapping[int, Dictionary],
    cells: Sequence[np.ndarray],
    *,
    strict: bool = False,
) -> list[CheckLine]:
    """One line a layer: whether its transcoder is nearer to the MLP output than the mean of that
    is, and about as good as it says of itself; failed otherwise.

    Raises
    ------
    UserError
        If `strict`, and a transcoder is further from the MLP output than its mean.
    """
    found = evaluate(adapter, transcoders, cells)
    fvu = {layer: 1 - quality["variance_explained"] for layer, quality in found.items()}
    bad = {layer: share for layer, share in sorted(fvu.items()) if not share <= 1}
    if strict and bad:
        raise UserError(
            f"the transcoders of layers {ranges(bad)} leave"
            f" {', '.join(f'{share:.3f}' for share in bad.values())} of the variance of the MLP"
            " output unexplained (FVU): its mean is nearer",
            f"{_FIX}; to trace random transcoders knowingly, declare them with --untrained",
        )
    return [
        _fit_line(layer, transcoders[layer], quality, len(cells))
        for layer, quality in sorted(found.items())
    ]


def _fit_line(layer: int, transcoder: Dictionary, found: Quality, cells: int) -> CheckLine:
    stated = stated_explained(transcoder)
    most = 1.0 if stated is None else min(1.0, 1 - STATED * stated)
    beside = "" if stated is None else f", {1 - stated:.3f} where it was trained"
    fvu = 1 - found["variance_explained"]
    return CheckLine(
        f"transcoder fits the MLP of layer {layer}",
        bool(fvu <= most),
        f"FVU {fvu:.3f} of the MLP output on {found['rows_held_out']:,} rows of {cells}"
        f" cell{'s' * (cells != 1)}{beside}, {found['l0']:.1f} active features a row,"
        f" {found['dead_share']:.0%} of features silent",
        f"at most {most:.3f} (1: as far as the mean MLP output)",
        _FIX,
    )


@torch.inference_mode()
def transcoder_lines(
    adapter: Adapter,
    transcoders: Mapping[int, Dictionary],
    cells: Sequence[np.ndarray],
    seconds: float,
    seed: int = 0,
) -> Iterator[CheckLine]:
    """Fit of every layer, firing rates beside those of its catalogue, and loss recovered.

    Parameters
    ----------
    adapter, transcoders, cells
        Model, transcoders that fit it, and cells; up to `CELLS` of them, drawn with the seed, are
        used.
    seconds
        About how long it may take, a half each for fit and loss.
    seed
        Seed of the choice of cells.
    """
    end = time.monotonic() + seconds / 2
    used: list[np.ndarray] = []

    def timely() -> Iterator[np.ndarray]:
        for number in np.random.default_rng(seed).permutation(len(cells))[:CELLS]:
            if used and time.monotonic() > end:
                return
            used.append(cells[number])
            yield cells[number]

    quality = evaluate(adapter, transcoders, timely())
    for layer, found in sorted(quality.items()):
        yield _fit_line(layer, transcoders[layer], found, len(used))
    for layer, found in sorted(quality.items()):
        line = firing_line(layer, transcoders[layer], found)
        if line is not None:
            yield line
    yield from _loss_lines(adapter, transcoders, used, quality, seconds / 2)


def _loss_lines(
    adapter: Adapter,
    transcoders: Mapping[int, Dictionary],
    cells: Sequence[np.ndarray],
    quality: Mapping[int, Quality],
    seconds: float,
) -> Iterator[CheckLine]:
    expected = "nearer to the model's own loss than without the MLP"
    means = {layer: torch.from_numpy(found["mean"]) for layer, found in quality.items()}
    losses = mlp_losses(adapter, transcoders, cells, means, seconds)
    if not losses:
        yield CheckLine(
            "loss recovered",
            True,
            f"{NOT_MEASURED}: {adapter.name} ({adapter.family}) does not predict the next token",
            expected,
        )
    for layer, r in sorted(losses.items()):
        parts = (
            f"loss {r.clean:.2f} clean, {r.rebuilt:.2f} by the transcoder, {r.zero:.2f} without"
            f" the MLP, {r.mean:.2f} with its mean output ({r.tokens:,} tokens)"
        )
        least = min(r.zero, r.mean)
        costs = least > r.clean
        yield CheckLine(
            f"layer {layer} loss recovered",
            not costs or r.rebuilt < max(r.zero, r.mean),
            f"{r.recovered(r.zero):.0%} of zero and {r.recovered(r.mean):.0%} of mean ablation:"
            f" {parts}"
            if costs
            else f"{NOT_MEASURED}: ablating the MLP does not raise the model's loss: {parts}",
            expected,
            _FIX,
        )

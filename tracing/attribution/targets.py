"""What is explained: one number that is linear in the residual stream of one position.

    value = v . stream_l(t) + sum of its own constants

For a feature, its pre-activation ``f_enc . N_2(r_l(t)) + b_enc``: with sigma held fixed
``v = P(gamma * f_enc) / sigma`` at the stream that the feed-forward of layer l reads, and the
constants are b_enc and ``beta . f_enc``. For an answer, a direction of the unembedding, such as the
difference of two answers, read behind the final norm; where the model bounds its logits, they are
explained before the bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from scircuit.core.errors import UserError
from scircuit.tracing.attribution.frozen_cell import FrozenCell
from scircuit.tracing.models.decoders.prenorm import Norm

NO_FEATURE = -1


class Target(NamedTuple):
    """One number to explain."""

    layer: int  # 0-based; L, the number of layers, for the last layer's output
    position: int
    vector: Tensor  # [d], at the stream
    at_mlp: bool  # the stream that the layer's feed-forward reads, not the layer's input
    constants: Mapping[str, float]  # what of the value comes from no position of no layer below
    value: float  # in the clean pass
    feature: int = NO_FEATURE
    name: str = ""


def feature_target(cell: FrozenCell, layer: int, feature: int, position: int) -> Target:
    """A feature's pre-activation at one position, whether or not it fires there.

    Raises
    ------
    UserError
        If there is no such feature or position.
    """
    return feature_targets(cell, layer, feature, [position])[0]


def feature_targets(
    cell: FrozenCell, layer: int, feature: int, positions: Sequence[int]
) -> list[Target]:
    """A feature's pre-activation at some positions.

    Raises
    ------
    UserError
        If there is no such feature or position.
    """
    for position in positions:
        _check(cell, layer, position, cell.n_layers - 1)
    w = cell.transcoders.get(layer)
    if w is None or not 0 <= feature < w.n_features:
        raise UserError(
            f"no feature {feature} in layer {layer}; "
            + (f"it has {w.n_features}" if w else "the layer has no transcoder"),
            "choose a feature of a transcoder that was given",
        )
    norm, frozen = cell.adapter.layers[layer].norm_2, cell.layers[layer]
    row, at = w.encoder[feature], torch.tensor(positions, device=w.encoder.device)
    with torch.no_grad():
        x = cell.mlp_input(layer, at).cpu().double()
        values = (x * row.cpu().double()).sum(1).tolist()
        vectors = norm.pull_back(row, frozen.sigma_2[at])
        constants = {
            "encoder bias": float(w.encoder_bias[feature]),
            "norm 2 bias": _bias(norm, row),
        }
    return [
        Target(
            layer,
            position,
            vector,
            True,
            constants,
            value + constants["encoder bias"],
            feature,
            f"layer {layer} feature {feature} at {position}",
        )
        for position, vector, value in zip(positions, vectors, values, strict=True)
    ]


def stream_target(
    cell: FrozenCell,
    layer: int,
    position: int,
    vector: Tensor,
    constants: Mapping[str, float] | None = None,
    name: str = "",
) -> Target:
    """A direction [d] of a layer's input; with L, of the last layer's output."""
    _check(cell, layer, position, cell.n_layers)
    constants = dict(constants or {})
    value = _dot(vector, cell.states(layer)[position]) + sum(constants.values())
    return Target(layer, position, vector, False, constants, value, name=name)


@torch.no_grad()
def answer_target(
    cell: FrozenCell,
    norm: Norm,
    direction: Tensor,
    position: int,
    bias: float = 0.0,
    name: str = "",
) -> Target:
    """A logit, or a difference of logits, before any bound.

    Parameters
    ----------
    cell
        The cell.
    norm
        The model's final norm.
    direction
        [d] row of the unembedding less the mean row, or difference of two rows.
    position
        Where it is read: the last position of a prompt.
    bias
        The same of the unembedding's bias.
    name
        What it is called.
    """
    state = cell.final[position]
    sigma = norm.sigma(state)
    constants = {"final norm bias": _bias(norm, direction), "unembedding bias": bias}
    found = stream_target(
        cell, cell.n_layers, position, norm.pull_back(direction, sigma), constants, name
    )
    return found._replace(value=_dot(direction, norm(state[None])[0]) + bias)


def _check(cell: FrozenCell, layer: int, position: int, last: int) -> None:
    if not 0 <= layer <= last or not 0 <= position < cell.length:
        raise UserError(
            f"no target at layer {layer}, position {position}: the cell has layers 0 to {last} and"
            f" positions 0 to {cell.length - 1}",
            "both count from 0",
        )


def _bias(norm: Norm, row: Tensor) -> float:
    return 0.0 if norm.bias is None else _dot(norm.bias, row)


def _dot(first: Tensor, second: Tensor) -> float:
    """In double precision, on the CPU: not every device has it."""
    return float(first.detach().cpu().double() @ second.detach().cpu().double())

"""Does every dictionary belong to its layer: how well each explains the states of its own layer,
and those of the others.

    E[l, m] = variance of the states of layer l that the dictionary of layer m explains

Neighbours read much the same, and a good dictionary may explain a layer better than that layer's
own, poorer one: then a row of E has its largest entry elsewhere, which is worth a line and no more.
But how good a dictionary is cancels in a sum over an order of all of them: where another order than
the one given explains more of all layers together, dictionaries appear to be swapped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from scircuit.core.errors import UserError
from scircuit.core.preflight import CheckLine
from scircuit.tracing.clean_pass.activations import cell_rows
from scircuit.tracing.engine.layers import ranges
from scircuit.tracing.evaluation.loss_on_cells import WARNING
from scircuit.tracing.evaluation.rotated_null import explained

if TYPE_CHECKING:
    from scircuit.tracing.dictionaries.dictionary import Dictionary
    from scircuit.tracing.models.adapter import Adapter

CELLS, ROWS = 2, 256  # for a check
# for a trace, of one cell: the table is to cost next to nothing, and two neighbours of the demo
# swapped lose .024 to .033 each on so few
FEW_ROWS = 96
# how much more of a layer another dictionary may explain: neighbours read much the same, so this is
# small
MARGIN = 0.01
# How much more of the layer before or after its own a dictionary may explain before that is said:
# those of the demos explain at most .001 more, one with a number that is off by one .4
ELSEWHERE = 0.1
# What a dictionary explains of these cells beside what it says of those it was trained on. On cells
# of another tissue good ones lose a fifth; on states before the last norm of a layer, nearly all.
STATED = 0.5
NOT_OF_THESE = (
    "use dictionaries of this model, of the outputs of its layers (after the last norm), and of"
    " cells like these"
)
_FIX = "folders or layer numbers may be mixed up: check them"


def sample_rows(
    adapter: Adapter, layers: Sequence[int], cells: Sequence[np.ndarray], rows: int = ROWS
) -> dict[int, Tensor]:
    """About so many rows of each layer, [rows, d], evenly spaced over the gene positions of the
    first cells.
    """
    parts = [cell_rows(adapter, cell, layers) for cell in cells[:CELLS]]
    whole = {layer: torch.cat([part[layer] for part in parts]) for layer in layers}
    return {layer: x[:: max(1, len(x) // rows)] for layer, x in whole.items()}


@torch.inference_mode()
def explained_table(
    dictionaries: Mapping[int, Dictionary], rows: Mapping[int, Tensor]
) -> np.ndarray:
    """E, [layers of the rows, dictionaries], both ascending."""
    of = [dictionaries[layer] for layer in sorted(dictionaries)]
    return np.array(
        [[explained(x, d.decode(d.encode(x))) for d in of] for _, x in sorted(rows.items())]
    )


@torch.inference_mode()
def own_explained(
    dictionaries: Mapping[int, Dictionary], rows: Mapping[int, Tensor]
) -> dict[int, float]:
    """The diagonal of E, by layer."""
    return {
        layer: explained(x, dictionaries[layer].decode(dictionaries[layer].encode(x)))
        for layer, x in sorted(rows.items())
    }


def explained_lines(
    dictionaries: Mapping[int, Dictionary], rows: Mapping[int, Tensor]
) -> list[CheckLine]:
    """Variance of these states that each dictionary explains: failed below 0, where the mean state
    is nearer, and below `STATED` of what the dictionary says of itself.
    """
    lines = []
    for layer, own in own_explained(dictionaries, rows).items():
        stated = stated_explained(dictionaries[layer])
        least = 0.0 if stated is None else max(0.0, STATED * stated)
        beside = "" if stated is None else f", {stated:.0%} where it was trained"
        lines.append(
            CheckLine(
                f"layer {layer} explained",
                own > least,
                f"{own:.1%} of the variance of {len(rows[layer])} rows of these cells{beside}",
                f"more than {least:.0%}",
                NOT_OF_THESE,
            )
        )
    return lines


def with_neighbours(layers: Iterable[int], n_layers: int) -> tuple[int, ...]:
    """Layers, and those before and after them."""
    near = {near for layer in layers for near in (layer - 1, layer, layer + 1)}
    return tuple(sorted(layer for layer in near if 0 <= layer < n_layers))


@torch.inference_mode()
def off_by_one_lines(
    dictionaries: Mapping[int, Dictionary], rows: Mapping[int, Tensor]
) -> list[CheckLine]:
    """A warning where a dictionary explains the layer before or after its own far better, also one
    that has no dictionary: then its number may be counted from 1, or from the embedding.

    Parameters
    ----------
    dictionaries, rows
        Dictionaries by layer; rows of their layers and of the neighbours (`with_neighbours`).
    """
    found = []
    for layer, dictionary in sorted(dictionaries.items()):
        share = {
            near: explained(rows[near], dictionary.decode(dictionary.encode(rows[near])))
            for near in (layer - 1, layer, layer + 1)
            if near in rows
        }
        best = max(share, key=share.__getitem__)
        if share[best] > share[layer] + ELSEWHERE:
            found.append(
                f"that of layer {layer} explains {share[layer]:.1%} of its layer and"
                f" {share[best]:.1%} of layer {best}"
            )
    if not found:
        return []
    return [
        CheckLine(
            "layer numbers",
            True,
            f"{WARNING}dictionaries fit another layer better: {'; '.join(found)}",
            "layers counted from 0, the output of the first layer",
            _FIX,
        )
    ]


def stated_explained(dictionary: Dictionary) -> float | None:
    """Variance explained where a dictionary was trained, as it says; None where it does not."""
    stated = dictionary.provenance.get("variance_explained")
    return float(stated) if isinstance(stated, int | float) and np.isfinite(stated) else None


def require_explained(dictionaries: Mapping[int, Dictionary], rows: Mapping[int, Tensor]) -> None:
    """Refuse dictionaries that are further from the states of their layer than the mean state is.

    Raises
    ------
    UserError
        The layers and what their dictionaries explain.
    """
    own = own_explained(dictionaries, rows)
    bad = {layer: share for layer, share in own.items() if not share > 0}
    if bad:
        raise UserError(
            f"the dictionaries of layers {ranges(bad)} explain"
            f" {', '.join(f'{share:.1%}' for share in bad.values())} of the variance of these"
            " layers: their mean state is nearer",
            f"{NOT_OF_THESE}; to trace random or scrambled dictionaries knowingly, declare them"
            " with --untrained",
        )


def layer_match_line(
    dictionaries: Mapping[int, Dictionary], rows: Mapping[int, Tensor]
) -> CheckLine:
    """Whether each layer is explained best by its own dictionary."""
    layers, table = sorted(dictionaries), explained_table(dictionaries, rows)
    own, best = np.diag(table), table.argmax(1)
    lost = np.flatnonzero(table.max(1) > own + MARGIN)
    if len(lost):
        worst = max(lost, key=lambda i: table[i].max() - own[i])
        found = (
            f"layers {ranges(layers[i] for i in lost)} are explained better by another's; layer"
            f" {layers[worst]}: {own[worst]:.1%} by its own, {table[worst].max():.1%} by that of"
            f" layer {layers[best[worst]]}"
        )
    else:
        found = "no layer is explained better by another's dictionary"
    return CheckLine(
        "layer match",
        not len(lost),
        found,
        f"none explained better by another's, by more than {MARGIN:.0%}",
        _FIX,
    )


def require_layer_match(dictionaries: Mapping[int, Dictionary], rows: Mapping[int, Tensor]) -> None:
    """Refuse dictionaries when another order of them explains more; a negative share counts as 0.

    Raises
    ------
    UserError
        If some appear to be swapped between layers.
    """
    from scipy.optimize import linear_sum_assignment

    layers, table = sorted(dictionaries), np.nan_to_num(explained_table(dictionaries, rows)).clip(0)
    order = linear_sum_assignment(-table)[1]
    moved = np.flatnonzero(order != np.arange(len(layers)))
    given, other = np.diag(table)[moved], table[moved, order[moved]]
    if other.sum() - given.sum() > MARGIN * len(moved):
        raise UserError(
            f"the dictionaries of layers {ranges(layers[i] for i in moved)} appear to be swapped"
            f" between layers: as given they explain {', '.join(f'{x:.1%}' for x in given)} of"
            f" these layers, in another order {', '.join(f'{x:.1%}' for x in other)}",
            _FIX,
        )

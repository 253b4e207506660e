"""From states to effects: the mean, over the rows an edit is read at, of the change of each
target's activation.

    effect(f, t) = 1/|A| sum over p in A of [ z'_t(p) - z_t(p) ]

Changes are taken row by row before they are summed, so that a target that does not move at a row
adds exactly nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from scircuit.tracing.dictionaries.dictionary import Dictionary

# rows whose change is dense at once: 19 MB at 4,608 features, which stays near the cache
_ROWS = 1024


def code_change(
    n_features: int, after: tuple[Tensor, Tensor], before: tuple[Tensor, Tensor]
) -> Tensor:
    """Change from sparse codes (values, indices) [N, k] to others: dense [N, F]."""
    values, indices = after
    change = torch.zeros(len(values), n_features, dtype=values.dtype, device=values.device)
    # added, not set: entries beyond the active ones may repeat an index at value 0
    change.scatter_add_(1, indices, values)
    return change.scatter_add_(1, before[1], -before[0])


def mean_change(
    n_features: int,
    after: tuple[Tensor, Tensor],
    codes: tuple[Tensor, Tensor],
    position: Tensor,
    sizes: np.ndarray,
) -> Tensor:
    """Per-edit effect.

    Parameters
    ----------
    n_features
        Features F of the dictionary read.
    after
        Values and indices [N, k] at the rows that are read; those of one edit lie together.
    codes
        Clean values and indices [S, k] of the cell.
    position
        [N] position of each row.
    sizes
        [B] rows of each edit, in order.

    Returns
    -------
    Tensor
        [B, F], in dictionary units.
    """
    values, device = after[0], after[0].device
    slot = torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)).to(device)
    result = torch.zeros(len(sizes), n_features, dtype=values.dtype, device=device)
    for start in range(0, len(slot), _ROWS):
        part = slice(start, start + _ROWS)
        at = position[part]
        change = code_change(
            n_features, (values[part], after[1][part]), (codes[0][at], codes[1][at])
        )
        add_rows(result, slot[part], change)
    return result / torch.from_numpy(sizes).to(result)[:, None]


def add_rows(result: Tensor, slot: Tensor, rows: Tensor) -> None:
    """Add rows [N, F] to ``result[slot]`` in a fixed order; `slot` ascends."""
    if result.device.type == "cpu":
        result.index_add_(0, slot, rows)
        return
    # on other devices index_add_ adds in any order, a product does not
    low = int(slot[0])
    which = functional.one_hot(slot - low).to(rows.dtype)
    result[low : low + which.shape[1]] += which.T @ rows


def pass_through(
    dictionary: Dictionary,
    clean: Tensor,
    directions: Tensor,
    position: Tensor,
    slot: Tensor,
    strength: Tensor,
) -> tuple[Tensor, Tensor]:
    """Codes of edited but otherwise clean rows: ``encode(h_t(p) + strength(p) W)`` with one
    direction W an edit.

    Pre-activations are affine in the row: those of the clean row plus ``strength(p) W_enc W``. So
    each clean position and each direction is multiplied with the encoder once, however many rows
    there are.

    Parameters
    ----------
    dictionary
        Dictionary of the layer read.
    clean
        Clean states [S, d] of that layer.
    directions
        [B, d].
    position, slot, strength
        Position, edit and factor of each row, [N].

    Returns
    -------
    Values and indices, [N, k].
    """
    read, row = position.unique(return_inverse=True)
    nothing = torch.zeros_like(directions[:1])
    before, with_bias, bias = dictionary.pre_activations(
        torch.cat([clean[read], directions, nothing])
    ).split([len(read), len(directions), 1])
    echo = with_bias - bias  # [B, F]
    parts = []
    for start in range(0, len(position), _ROWS):
        part = slice(start, start + _ROWS)
        parts.append(
            dictionary.select(before[row[part]].addcmul_(echo[slot[part]], strength[part, None]))
        )
    # rules without a k return as many entries as a part needs
    widest = max(v.shape[1] for v, _ in parts)
    values, indices = (
        torch.cat([functional.pad(x, (0, widest - x.shape[1])) for x in xs])
        for xs in zip(*parts, strict=True)
    )
    return values, indices

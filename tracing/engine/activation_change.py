"""From states to effects: the mean, over the rows an edit is read at, of the change of each
target's activation.

    effect(f, t) = 1/|A| sum over p in A of [ z'_t(p) - z_t(p) ]

Changes are taken row by row before they are summed, so that a target that does not move at a row
adds exactly nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

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
    values, indices = after

    def change(part: slice) -> Tensor:
        at = position[part]
        return code_change(n_features, (values[part], indices[part]), (codes[0][at], codes[1][at]))

    return _mean_of_edits(change, n_features, values, sizes)


def mean_rows(rows: Tensor, sizes: np.ndarray) -> Tensor:
    """Mean over the rows [N, d] of each edit, which lie together: [B, d].

    Parameters
    ----------
    rows
        Changes of states.
    sizes
        [B] rows of each edit, in order.
    """
    return _mean_of_edits(lambda part: rows[part], rows.shape[1], rows, sizes)


def _mean_of_edits(
    change: Callable[[slice], Tensor], width: int, like: Tensor, sizes: np.ndarray
) -> Tensor:
    """Mean over the rows of each edit [B, width], of `like`'s kind; `change` gives some rows."""
    slot = torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)).to(like.device)
    result = torch.zeros(len(sizes), width, dtype=like.dtype, device=like.device)
    for start in range(0, len(slot), _ROWS):
        part = slice(start, start + _ROWS)
        add_rows(result, slot[part], change(part))
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

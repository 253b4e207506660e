"""What is computed at once: tiles of sources, and how the memory is shared out.

A tile is a fixed list of source features. All that is batched is batched inside a tile, cell by
cell, so the result of a source depends on its tile at most, and not on work units (whole tiles),
interruptions, or where it was computed; on a CPU it does not depend on the tile either
(`scircuit.tracing.hardware.row_padding`). Exact tiles hold sources of similar frequency, so
that few rows are padded; tiles of the other contexts hold rare and frequent ones alike, so that
each fills its batches.

The memory that a run holds is shared among: clean states (beyond their share they lie in a
temporary file), one batch for each job at a time, and the effects of one tile. None of the three
grows with the number of features.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from scircuit.core.context import EXACT
from scircuit.core.errors import UserError

BATCH_PAIRS = 16  # (feature, cell) pairs of an exact batch
BATCH_ROWS = 8192  # rows of a batch of the other contexts

_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
# Bytes of clean states, of one batch of pairs, of one batch of rows, of the effects of a tile,
# where no cap is given. Fixed, and not what happens to be free or how many cores there are: batches
# are part of the arithmetic.
_DEFAULT = {
    "cpu": (3 * 2**29, 2**28, 2**30, 2**30),
    "mps": (4 * 2**30, 2**31, 2**31, 2**30),
    "cuda": (8 * 2**30, 2**33, 2**33, 2**32),
}
# interpreter, libraries, input file: 1.0 to 1.25 GB measured with a CUDA build of PyTorch, no
# database. 0.6 to 0.9 GB of it are pages of libraries, and how many of them a system maps differs.
_RUNTIME = 3 * 2**29


class Sized(Protocol):
    """What is read of a model to say how much memory it takes."""

    device: torch.device
    dtype: torch.dtype
    width: int
    ffn: int

    def parameters(self) -> Iterable[torch.Tensor]:
        """All weights."""
        ...


@dataclass(frozen=True)
class Plan:
    """Sizes of a run.

    Attributes
    ----------
    states
        Bytes of clean states that stay in memory.
    pairs
        Edits of one exact batch.
    rows
        Rows of one batch of the other contexts.
    effects
        Bytes of effects held at once.
    jobs
        Batches computed at the same time (on a CPU; 0: one per core).
    """

    states: int
    pairs: int
    rows: int
    effects: int
    jobs: int = 0

    def tile(self, n_cells: int, values: int) -> int:
        """Maximum of sources whose effects are held at once, of each so many float32 values in
        every cell.
        """
        return max(1, self.effects // (4 * values * n_cells))


def parse_bytes(text: str) -> int:
    """Bytes of a size such as ``8g`` or ``512m``; 0 for an empty text.

    Raises
    ------
    UserError
        If it is not a size.
    """
    found = (
        re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?\s*", str(text).lower())
        if text
        else None
    )
    if text and not found:
        raise UserError(f"memory {text!r} is not a size", "write it like 8g or 512m")
    return int(float(found[1]) * _UNITS[found[2]]) if found else 0


def make_plan(
    adapter: Sized,
    length: int,
    *,
    held: int = 0,
    memory: int | None = None,
    pairs: int = BATCH_PAIRS,
    rows: int = BATCH_ROWS,
) -> Plan:
    """Sizes for cells of up to `length` positions, below the cap where one is given.

    Parameters
    ----------
    adapter
        The model.
    length
        Longest cell.
    held
        Bytes that stay in memory beside the model: dictionaries, codes and index of the clean
        cells.
    memory
        Cap on what the process holds, in bytes; without one the device's default sizes.
    pairs, rows
        Wanted sizes of batches.

    Raises
    ------
    UserError
        If the cap is below what one pair needs.
    """
    item = torch.finfo(adapter.dtype).bits // 8
    pair = length * (8 * adapter.width + 2 * adapter.ffn) * item
    row = (10 * adapter.width + 2 * adapter.ffn + length) * item
    states, paired, rowed, effects = _DEFAULT.get(adapter.device.type, _DEFAULT["cpu"])
    jobs = 0
    if memory:
        weights = sum(p.numel() * p.element_size() for p in adapter.parameters())
        free = memory - weights - held - _RUNTIME
        if free < 8 * pair:
            raise UserError(
                f"memory {memory / 2**30:.2f} GB leaves {max(free, 0) / 2**30:.2f} GB beside the"
                f" model ({weights / 2**30:.2f} GB), dictionaries and codes"
                f" ({held / 2**30:.2f} GB) and the runtime; one pair of {length} positions needs"
                f" {8 * pair / 2**30:.2f} GB",
                "raise --memory, or shorten the cells with --max-length",
            )
        # states are held once and a half: beside them the clean blocks of some cells
        states, effects, share = free // 5, free // 5, free // 2
        paired, rowed = min(paired, share), min(rowed, share)
        jobs = max(1, share // max(paired, rowed))
    return Plan(
        states, max(1, min(pairs, paired // pair)), max(1, min(rows, rowed // row)), effects, jobs
    )


def make_tiles(
    features: Sequence[int] | np.ndarray,
    positions: np.ndarray,
    n_cells: int,
    values: int,
    context: int,
    plan: Plan,
) -> list[np.ndarray]:
    """Tiles of `features` in a context.

    Parameters
    ----------
    features
        [M] source features.
    positions
        [M] positions of each, summed over the cells.
    n_cells, values
        Cells, and numbers held for one source in each of them.
    context
        `scircuit.core.context`.
    plan
        Sizes.
    """
    features = np.asarray(features, np.int64)
    order = features[np.lexsort((features, positions))]
    largest = plan.tile(n_cells, values)
    if context == EXACT:
        step = min(plan.pairs, largest)
        return [order[i : i + step] for i in range(0, len(order), step)]
    rows = positions.sum() / n_cells + context * len(features)
    count = min(len(order), max(-(-len(order) // largest), -(-int(rows) // plan.rows)))
    return [order[i::count] for i in range(count)]

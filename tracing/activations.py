"""Rows of activations for training and evaluating dictionaries: streamed cell by cell, every layer from one forward pass.

Only gene positions count. Rows of many cells are shuffled together in a buffer, so that one step of the optimiser does not see one
cell alone; memory is the buffer, whatever the number of cells.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

BUFFER_ROWS = 32_768


def cell_rows(adapter: Any, tokens: np.ndarray, layers: Sequence[int]) -> dict[int, Tensor]:
    """Outputs of the layers at the gene positions of one cell, [genes, d] each."""
    states = adapter.clean_states(tokens)
    genes = adapter.gene_positions(tokens)
    return {layer: states[layer][genes].clone() for layer in layers}


def stream(
    adapter: Any, cells: Sequence[np.ndarray], layers: Sequence[int], batch_rows: int, generator: torch.Generator
) -> Iterator[dict[int, Tensor]]:
    """Shuffled batches of rows for one epoch; every layer's batch has the same (cell, position) pairs. The last, short batch is kept."""
    held: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    rows, rest = 0, None
    order = torch.randperm(len(cells), generator=generator).tolist()
    for i, cell in enumerate(order):
        for layer, states in cell_rows(adapter, cells[cell], layers).items():
            held[layer].append(states)
        rows += len(held[layers[0]][-1])
        last = i + 1 == len(order)
        if rows < BUFFER_ROWS and not last:
            continue
        buffer = {layer: torch.cat([*([rest[layer]] if rest else []), *parts]) for layer, parts in held.items()}
        held, rows = {layer: [] for layer in layers}, 0
        size = len(buffer[layers[0]])
        shuffled = torch.randperm(size, generator=generator)
        whole = size if last else size - size % batch_rows
        for start in range(0, whole, batch_rows):
            chosen = shuffled[start : min(start + batch_rows, whole)].to(buffer[layers[0]].device)
            yield {layer: buffer[layer][chosen] for layer in layers}
        left = shuffled[whole:].to(buffer[layers[0]].device)
        rest = {layer: buffer[layer][left] for layer in layers} if len(left) else None


class Moments:
    """Mean and covariance of rows seen so far, in double precision."""

    def __init__(self, width: int) -> None:
        self.rows = 0
        self.sum = torch.zeros(width, dtype=torch.float64)
        self.product = torch.zeros(width, width, dtype=torch.float64)

    def add(self, x: Tensor) -> None:
        """Take rows [N, d] in."""
        y = x.double().cpu()
        self.rows += len(y)
        self.sum += y.sum(0)
        self.product += y.T @ y

    @property
    def mean(self) -> Tensor:
        """Mean of the rows, [d]."""
        return self.sum / self.rows

    @property
    def covariance(self) -> Tensor:
        """Covariance of the rows, [d, d]."""
        return self.product / self.rows - torch.outer(self.mean, self.mean)

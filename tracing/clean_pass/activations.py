"""Rows of activations for training and evaluating dictionaries: streamed cell by cell, all chosen
layers from one forward pass.

Only gene positions count. Rows of many cells are shuffled together in a buffer, so that one step of
the optimiser does not see one cell alone. At most `BUFFER_ROWS` rows, one cell and one batch are
held for each layer, whatever the number of cells; beside them, up to `KEPT_BYTES`, the rows of the
first cells, which are then not computed again in every epoch. The stream knows its position and can
resume from there: the same batches come, whether it was interrupted or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from scircuit.tracing.models.adapter import Adapter

BUFFER_ROWS = 32_768
KEPT_BYTES = 2**29


@torch.no_grad()
def cell_rows(adapter: Adapter, cell: np.ndarray, layers: Sequence[int]) -> dict[int, Tensor]:
    """Outputs of the layers at the gene positions of one cell, [genes, d] each; nothing after the
    last of them is computed.
    """
    genes, state, rows = adapter.gene_positions(cell), adapter.embed(cell)[None], {}
    for layer in range(max(layers) + 1):
        state = adapter.layer(layer, state)
        if layer in layers:
            rows[layer] = state[0, genes]
    return rows


class CellRows:
    """Rows of numbered cells, computed when they are asked for and kept while memory is left.

    Parameters
    ----------
    adapter, cells, layers
        Model, its cells, and the layers whose outputs are wanted.
    kept
        Bytes of rows that may be kept.
    """

    def __init__(
        self,
        adapter: Adapter,
        cells: Sequence[np.ndarray],
        layers: Sequence[int],
        kept: int,
    ) -> None:
        self.adapter, self.cells, self.layers = adapter, cells, tuple(layers)
        self._kept: dict[int, dict[int, Tensor]] = {}
        self._left = kept

    def of(self, number: int) -> dict[int, Tensor]:
        """Outputs of the layers at the gene positions of one cell, [genes, d] each."""
        if (rows := self._kept.get(number)) is not None:
            return rows
        rows = cell_rows(self.adapter, self.cells[number], self.layers)
        size = sum(x.numel() * x.element_size() for x in rows.values())
        if size <= self._left:
            self._left -= size
            self._kept[number] = rows
        return rows


class RowStream:
    """Shuffled batches of rows, epoch after epoch; every layer's batch has the same (cell,
    position) pairs.

    Parameters
    ----------
    adapter, cells, layers
        Model, its cells, and the layers whose outputs are wanted.
    batch_rows
        Rows of a batch; the last batch of an epoch is shorter and kept.
    seed
        Seed of the order of cells and rows.
    kept
        Bytes of rows that are kept and not computed in every epoch.
    """

    def __init__(
        self,
        adapter: Adapter,
        cells: Sequence[np.ndarray],
        layers: Sequence[int],
        batch_rows: int,
        seed: int,
        kept: int = KEPT_BYTES,
    ) -> None:
        self.adapter, self.cells, self.layers, self.batch_rows = (
            adapter,
            cells,
            tuple(layers),
            batch_rows,
        )
        self.computed = CellRows(adapter, cells, layers, kept)
        self.genes = [len(adapter.gene_positions(cell)) for cell in cells]
        self.rows = sum(self.genes)
        self._generator = torch.Generator().manual_seed(seed)
        # Its position: the epoch, the first cell of the present buffer, and the batches taken from
        # it.
        self.epoch, self._cell, self._batch = 0, 0, 0
        self._at_epoch = self._at_buffer = self._generator.get_state()
        self._rest: dict[int, Tensor] = {}
        self._buffer: dict[int, Tensor] = {}

    @property
    def capacity(self) -> int:
        """Maximum of rows held for a layer."""
        return min(self.rows, BUFFER_ROWS + max(self.genes) + self.batch_rows)

    def batches(
        self, epochs: int, pause: Callable[[], None] = lambda: None
    ) -> Iterator[dict[int, Tensor]]:
        """Batches [rows, d] by layer up to the end of the last epoch; `pause` is called between
        cells.
        """
        while self.epoch < epochs:
            self._generator.set_state(self._at_epoch)
            order = torch.randperm(len(self.cells), generator=self._generator).tolist()
            if self._cell == 0:
                self._at_buffer = self._generator.get_state()
            self._generator.set_state(self._at_buffer)
            while self._cell < len(order):
                size, after = self._fill(order, pause)
                shuffled = torch.randperm(size, generator=self._generator).to(self.adapter.device)
                whole = size if after == len(order) else size - size % self.batch_rows
                for number in range(self._batch, -(-whole // self.batch_rows)):
                    self._batch = number + 1
                    yield self._take(
                        shuffled[
                            number * self.batch_rows : min((number + 1) * self.batch_rows, whole)
                        ]
                    )
                self._rest = self._take(shuffled[whole:]) if whole < size else {}
                self._cell, self._batch, self._at_buffer = after, 0, self._generator.get_state()
            self.epoch, self._cell, self._at_epoch = self.epoch + 1, 0, self._generator.get_state()

    def _take(self, chosen: Tensor) -> dict[int, Tensor]:
        return {layer: self._buffer[layer][chosen] for layer in self.layers}

    def _fill(self, order: Sequence[int], pause: Callable[[], None]) -> tuple[int, int]:
        """Fill the buffer from the present cell on; gives the rows in it and the next cell."""
        if not self._buffer:
            shape, device = (self.capacity, self.adapter.width), self.adapter.device
            self._buffer = {
                layer: torch.empty(shape, dtype=torch.float32, device=device)
                for layer in self.layers
            }
        size = len(next(iter(self._rest.values()))) if self._rest else 0
        for layer, rows in self._rest.items():
            self._buffer[layer][:size] = rows
        fresh, at = 0, self._cell
        while at < len(order) and fresh < BUFFER_ROWS:
            pause()
            for layer, rows in self.computed.of(order[at]).items():
                self._buffer[layer][size : size + len(rows)] = rows
            size, fresh, at = size + self.genes[order[at]], fresh + self.genes[order[at]], at + 1
        return size, at

    def state(self) -> tuple[dict[str, Tensor], dict[str, int]]:
        """Position of the stream after the last batch taken: tensors and numbers."""
        tensors = {f"stream.rest.{layer}": rows for layer, rows in self._rest.items()}
        tensors |= {
            "stream.at_epoch": self._at_epoch.clone(),
            "stream.at_buffer": self._at_buffer.clone(),
        }
        return tensors, {"epoch": self.epoch, "cell": self._cell, "batch": self._batch}

    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, int]) -> None:
        """Continue from where `state` was taken."""
        self.epoch, self._cell, self._batch = numbers["epoch"], numbers["cell"], numbers["batch"]
        self._at_epoch, self._at_buffer = (
            tensors["stream.at_epoch"].cpu(),
            tensors["stream.at_buffer"].cpu(),
        )
        rest = {layer: tensors.get(f"stream.rest.{layer}") for layer in self.layers}
        self._rest = {
            layer: rows.to(self.adapter.device) for layer, rows in rest.items() if rows is not None
        }


class Moments:
    """Mean and covariance of rows seen so far, in double precision."""

    def __init__(self, width: int) -> None:
        self.rows = 0
        self.sum = torch.zeros(width, dtype=torch.float64)
        self.product = torch.zeros(width, width, dtype=torch.float64)

    def add(self, x: Tensor) -> None:
        """Add rows [N, d]."""
        y = x.cpu().double()
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

    def components(self, k: int) -> tuple[Tensor, Tensor]:
        """Mean [d] and the k leading directions of variance, [k, d]."""
        _, vectors = torch.linalg.eigh(self.covariance)
        return self.mean.float(), vectors[:, -k:].T.float()

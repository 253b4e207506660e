"""Rows of activations for training and evaluating dictionaries: streamed cell by cell, all chosen
layers from one forward pass.

Rows of the site ``output`` are layer outputs at the gene positions. Rows of the site ``mlp``, which
train transcoders, are the MLP input and the MLP output side by side, ``[x, y]`` of width 2 d, at
the positions that the family trains on: a prompt's words are needed where a gene is not.

Rows of many cells are shuffled together in a buffer, so that one step of the optimiser does not see
one cell alone. At most `BUFFER_ROWS` rows, one cell and one batch are held for each layer, whatever
the number of cells; beside them, up to `KEPT_BYTES`, the rows of the first cells, which are then
not computed again in every epoch. The stream knows its position and can resume from there: the same
batches come, whether it was interrupted or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from scircuit.tracing.dictionaries.dictionary import Site
    from scircuit.tracing.models.adapter import Adapter

BUFFER_ROWS = 32_768
KEPT_BYTES = 2**29


class WithMlpSite(Protocol):
    """What an adapter with an MLP site offers here."""

    def clean_mlp(self, cell: np.ndarray) -> Sequence[tuple[Tensor, Tensor]]:
        """MLP input and MLP output of every layer for one cell, [S, d] each."""
        ...


def training_positions(adapter: Adapter, cell: np.ndarray, site: Site = "output") -> Tensor:
    """Positions of a cell whose rows dictionaries of a site are trained and measured on."""
    if site == "output":
        return adapter.gene_positions(cell)
    # a family that reads more than genes says so
    return getattr(adapter, "training_positions", adapter.gene_positions)(cell)


@torch.no_grad()
def cell_rows(
    adapter: Adapter, cell: np.ndarray, layers: Sequence[int], site: Site = "output"
) -> dict[int, Tensor]:
    """Rows of one cell at the layers, [rows, d] each: outputs at the gene positions, of which
    nothing after the last layer is computed; or of the site ``mlp`` inputs and outputs of the MLP,
    [rows, 2 d].
    """
    if site == "mlp":
        chosen = training_positions(adapter, cell, site)
        pairs = cast(WithMlpSite, adapter).clean_mlp(cell)
        return {layer: torch.cat([part[chosen] for part in pairs[layer]], 1) for layer in layers}
    genes, state, rows = adapter.gene_positions(cell), adapter.embed(cell)[None], {}
    for layer in range(max(layers) + 1):
        state = adapter.layer(layer, state)
        if layer in layers:
            rows[layer] = state[0, genes]
    return rows


def halves(rows: Tensor, site: Site) -> tuple[Tensor, Tensor]:
    """What is read and what is to be written of rows as `cell_rows` gives them, [rows, d] each; of
    layer outputs the same.
    """
    if site == "output":
        return rows, rows
    half = rows.shape[1] // 2
    return rows[:, :half], rows[:, half:]


class CellRows:
    """Rows of numbered cells, computed when they are asked for and kept while memory is left.

    Parameters
    ----------
    adapter, cells, layers
        Model, its cells, and the layers whose outputs are wanted.
    kept
        Bytes of rows that may be kept.
    site
        What the rows are of.
    """

    def __init__(
        self,
        adapter: Adapter,
        cells: Sequence[np.ndarray],
        layers: Sequence[int],
        kept: int,
        site: Site = "output",
    ) -> None:
        self.adapter, self.cells, self.layers = adapter, cells, tuple(layers)
        self.site: Site = site
        self._kept: dict[int, dict[int, Tensor]] = {}
        self._left = kept

    def of(self, number: int) -> dict[int, Tensor]:
        """Rows of one cell, as `cell_rows` gives them."""
        if (rows := self._kept.get(number)) is not None:
            return rows
        rows = cell_rows(self.adapter, self.cells[number], self.layers, self.site)
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
    site
        What the rows are of.
    """

    def __init__(
        self,
        adapter: Adapter,
        cells: Sequence[np.ndarray],
        layers: Sequence[int],
        batch_rows: int,
        seed: int,
        kept: int = KEPT_BYTES,
        site: Site = "output",
    ) -> None:
        self.adapter, self.cells, self.layers, self.batch_rows = (
            adapter,
            cells,
            tuple(layers),
            batch_rows,
        )
        self.computed = CellRows(adapter, cells, layers, kept, site)
        self.width = adapter.width * (2 if site == "mlp" else 1)
        self.each = [len(training_positions(adapter, cell, site)) for cell in cells]
        self.rows = sum(self.each)
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
        return min(self.rows, BUFFER_ROWS + max(self.each) + self.batch_rows)

    def batches(
        self, epochs: int, pause: Callable[[], None] = lambda: None
    ) -> Iterator[dict[int, Tensor]]:
        """Batches [rows, width] by layer up to the end of the last epoch; `pause` is called between
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
            shape, device = (self.capacity, self.width), self.adapter.device
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
            size, fresh, at = size + self.each[order[at]], fresh + self.each[order[at]], at + 1
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

    def linear_map(self, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Of rows ``[x, y]``: the linear map of rank k from x to y with the least squared error.

        With ``B = C_xx^-1 C_xy``, it is ``B V V^T`` for the k leading eigenvectors V of ``B^T C_xx
        B`` (reduced-rank regression; Izenman, 1975).

        Returns
        -------
        Means of x and of y, [d] each, and the map [d, d]: ``y ~ (x - m_x) M + m_y``.
        """
        half = len(self.sum) // 2
        covariance = self.covariance
        within, between = covariance[:half, :half], covariance[:half, half:]
        # entries of x that are constant, or fewer rows than entries, leave it singular
        ridge = 1e-9 * within.trace() / half * torch.eye(half, dtype=within.dtype)
        full = torch.linalg.solve(within + ridge, between)
        _, vectors = torch.linalg.eigh(full.T @ within @ full)
        leading = vectors[:, -k:]
        mean = self.mean.float()
        return mean[:half], mean[half:], (full @ leading @ leading.T).float()

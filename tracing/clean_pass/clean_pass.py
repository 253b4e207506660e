"""The clean pass, once per cell and shared by all source layers: states, sparse codes, and an
inverted index feature -> (positions, values).

For layer l with dictionary D_l: ``(values, indices) = D_l.encode_topk(h_l)``; a transcoder encodes
the MLP input of the layer instead of its output. A feature is active
at a gene position when its value there is above zero; in legacy runs also when it is among the k
largest with value zero. Codes stay sparse: k values of 4 bytes and k indices of 8 a row, and as
much again in the index, which at k = 32 of 4,608 is 24 times less memory than dense ones. States
beyond their share of the memory lie in a temporary folder.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, overload

import numpy as np
import torch
from torch import Tensor

from scircuit.core.errors import UserError
from scircuit.tracing.dictionaries.mlp_site import site_of
from scircuit.tracing.hardware.parallel import run_jobs
from scircuit.tracing.hardware.precision import numeric_format

if TYPE_CHECKING:
    from scircuit.tracing.dictionaries.dictionary import Dictionary, Site
    from scircuit.tracing.models.adapter import Adapter


class Firing(NamedTuple):
    """Inverted index of one layer in one cell: feature f fires at ``positions[start[f]:start[f +
    1]]``, ascending.
    """

    start: np.ndarray  # [F + 1]
    positions: Tensor  # [N]
    values: Tensor  # [N]

    def rows(self, feature: int) -> tuple[Tensor, Tensor]:
        """Active positions of a feature and its values there."""
        part = slice(self.start[feature], self.start[feature + 1])
        return self.positions[part], self.values[part]

    def above(self) -> np.ndarray:
        """Number of positions where each feature is above zero, [F]."""
        size = np.diff(self.start)
        return np.bincount(
            np.repeat(np.arange(len(size)), size)[self.values.cpu().numpy() > 0],
            minlength=len(size),
        )


@dataclass(frozen=True)
class CleanCell:
    """Clean pass of one cell at the layers of interest."""

    length: int
    genes: Tensor  # positions that hold genes
    states: Mapping[int, Tensor]  # layer -> [S, d]
    codes: Mapping[int, tuple[Tensor, Tensor]]  # layer -> values, indices [S, k]
    firing: Mapping[int, Firing]
    site: Site = "output"  # what the dictionaries read
    inputs: Mapping[int, Tensor] = field(default_factory=dict)  # layer -> MLP inputs [S, d]

    @property
    def read(self) -> Mapping[int, Tensor]:
        """Layer -> what its dictionary reads, [S, d]."""
        return self.states if self.site == "output" else self.inputs


class LayerSummary(NamedTuple):
    """How the features of one layer fire over a cohort: arrays over features."""

    positions: np.ndarray
    cells: np.ndarray
    mean_activation: np.ndarray
    firing_rate: np.ndarray


class StoredStates(Mapping[int, Tensor]):
    """Clean states of one cell on disk; a layer is read when it is asked for."""

    def __init__(self, states: Mapping[int, Tensor], folder: Path, device: torch.device) -> None:
        self._folder, self._layers, self._device = folder, tuple(states), device
        try:
            folder.mkdir()
            for layer, state in states.items():
                # np.save does not notice when the last block of a file finds no room
                content = io.BytesIO()
                np.save(content, state.cpu().numpy())
                (folder / f"{layer}.npy").write_bytes(content.getbuffer())
        except OSError as error:
            raise UserError(
                f"clean states cannot be written into {folder.parent}: {error.strerror or error}",
                "free space there, set TMPDIR to a folder with room, or let more of them stay in"
                " memory with --memory",
            ) from error

    def __getitem__(self, layer: int) -> Tensor:
        if layer not in self._layers:
            raise KeyError(layer)
        return torch.from_numpy(np.load(self._folder / f"{layer}.npy")).to(self._device)

    def __iter__(self) -> Iterator[int]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)


class CleanCells(Sequence[CleanCell]):
    """Clean passes of a cohort.

    Parameters
    ----------
    adapter, dictionaries
        The model; layer -> dictionary, for every layer that is coded.
    cells
        Token ids of each cell.
    kept
        Layers whose states are kept.
    budget
        Bytes of states that stay in memory; the rest is written to a temporary folder, which goes
        with this object.
    members
        Count a feature as active wherever it is among the k largest, even with value zero (legacy).
    jobs
        Maximum of cells at a time; 0: as many as there are cores.
    """

    def __init__(
        self,
        adapter: Adapter,
        dictionaries: Mapping[int, Dictionary],
        cells: Sequence[np.ndarray],
        kept: Iterable[int],
        budget: int,
        members: bool = False,
        jobs: int = 0,
    ) -> None:
        kept = tuple(kept)
        held = len(kept) + (len(dictionaries) if site_of(dictionaries) == "mlp" else 0)
        size = (
            np.cumsum([len(tokens) for tokens in cells])
            * held
            * adapter.width
            * torch.finfo(adapter.dtype).bits
            // 8
        )
        self._folder = (
            tempfile.TemporaryDirectory(prefix="scircuit-states-")
            if (size > budget).any()
            else None
        )

        def job(i: int) -> CleanCell:
            cell = clean_cell(adapter, dictionaries, cells[i], kept, members)
            if self._folder is None or size[i] <= budget:
                return cell
            place = Path(self._folder.name) / str(i)
            stored = replace(cell, states=StoredStates(cell.states, place, adapter.device))
            if not cell.inputs:
                return stored
            place = place.with_name(f"{i}-inputs")
            return replace(stored, inputs=StoredStates(cell.inputs, place, adapter.device))

        self._cells = list(
            run_jobs([partial(job, i) for i in range(len(cells))], adapter.device, jobs)
        )

    @property
    def on_disk(self) -> int:
        """Cells whose states are on disk."""
        return sum(isinstance(c.states, StoredStates) for c in self._cells)

    def __len__(self) -> int:
        return len(self._cells)

    @overload
    def __getitem__(self, index: int) -> CleanCell: ...

    @overload
    def __getitem__(self, index: slice) -> list[CleanCell]: ...

    def __getitem__(self, index: int | slice) -> CleanCell | list[CleanCell]:
        return self._cells[index]


@torch.inference_mode()
def clean_cell(
    adapter: Adapter,
    dictionaries: Mapping[int, Dictionary],
    tokens: np.ndarray,
    kept: Iterable[int],
    members: bool = False,
) -> CleanCell:
    """Clean pass of one cell, with codes at the layers of `dictionaries` and states at the layers
    `kept`.

    Raises
    ------
    UserError
        If a state is not finite: no feature would be above zero there, and the cell would count as
        one without any.
    """
    with numeric_format(adapter):
        states = [state.to(adapter.dtype) for state in adapter.clean_states(tokens)]
    broken = next(
        (layer for layer, state in enumerate(states) if not bool(torch.isfinite(state).all())), None
    )
    if broken is not None:
        raise UserError(
            f"the states of layer {broken} are NaN or infinite in a cell of {len(tokens)} tokens,"
            " although all weights are finite",
            "compare the model's files with their source (a weight may be damaged and yet a"
            " number), or try --device cpu and --numerics float32",
        )
    genes, site, inputs = adapter.gene_positions(tokens), site_of(dictionaries), {}
    if site == "mlp":
        inputs = _mlp_inputs(adapter, tokens, states, dictionaries)
    read = states if site == "output" else inputs
    codes: dict[int, tuple[Tensor, Tensor]] = {
        layer: dictionary.encode_topk(read[layer]) for layer, dictionary in dictionaries.items()
    }
    firing = {
        layer: _invert(*codes[layer], genes, dictionary.n_features, members)
        for layer, dictionary in dictionaries.items()
    }
    return CleanCell(
        len(tokens),
        genes,
        {layer: states[layer] for layer in kept},
        codes,
        firing,
        site,
        inputs,
    )


def _mlp_inputs(
    adapter: Adapter, tokens: np.ndarray, states: Sequence[Tensor], layers: Iterable[int]
) -> dict[int, Tensor]:
    """MLP inputs [S, d] of some layers, from the outputs of all."""
    with numeric_format(adapter):
        before = [adapter.embed(tokens).to(adapter.dtype), *states]
        return {
            layer: adapter.mlp_inputs(layer, before[layer][None])[0].to(adapter.dtype)
            for layer in layers
        }


@torch.inference_mode()
def clean_read(
    adapter: Adapter, dictionaries: Mapping[int, Dictionary], tokens: np.ndarray
) -> Mapping[int, Tensor]:
    """What the dictionaries read in a clean cell: layer -> [S, d]."""
    states = adapter.clean_states(tokens)
    if site_of(dictionaries) == "mlp":
        return _mlp_inputs(adapter, tokens, states, dictionaries)
    return dict(enumerate(states))


def summarise(cells: Sequence[CleanCell], layer: int) -> LayerSummary:
    """Firing of each feature of a layer over all gene positions of the cells."""
    counts = np.stack([np.diff(c.firing[layer].start) for c in cells])
    total = np.zeros(counts.shape[1])
    for cell, n in zip(cells, counts, strict=True):
        feature = np.repeat(np.arange(len(n)), n)
        total += np.bincount(
            feature,
            weights=cell.firing[layer].values.cpu().numpy().astype(np.float64),
            minlength=len(n),
        )
    positions = counts.sum(0)
    genes = sum(len(c.genes) for c in cells)
    return LayerSummary(
        positions, (counts > 0).sum(0), total / np.maximum(positions, 1), positions / max(genes, 1)
    )


def _invert(
    values: Tensor, indices: Tensor, genes: Tensor, n_features: int, members: bool
) -> Firing:
    v, i = values[genes], indices[genes]
    row, column = (torch.ones_like(v, dtype=torch.bool) if members else v > 0).nonzero(
        as_tuple=True
    )
    # rows ascend, so positions ascend within a feature
    feature, order = torch.sort(i[row, column], stable=True)
    counts = torch.bincount(feature, minlength=n_features).cpu().numpy()
    return Firing(
        np.concatenate([[0], np.cumsum(counts)]), genes[row[order]], v[row[order], column[order]]
    )

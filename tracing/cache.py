"""The clean pass, once per cell: states, sparse codes, and an inverted index feature -> (positions, values).

For layer l with dictionary D_l: ``(values, indices) = D_l.encode_topk(h_l)``. A feature is active at a gene position when its value
there is above zero. Codes stay sparse (k values a row): at k = 32 of 4,608 that is 72 times less memory than dense ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tracing.parallel import run_jobs

if TYPE_CHECKING:
    from tracing.models.base import Adapter


class Firing(NamedTuple):
    """Inverted index of one layer in one cell: feature f fires at ``positions[start[f]:start[f + 1]]``, ascending."""

    start: np.ndarray  # [F + 1]
    positions: Tensor  # [N]
    values: Tensor  # [N]

    def rows(self, feature: int) -> tuple[Tensor, Tensor]:
        """Active positions of a feature and its values there."""
        part = slice(self.start[feature], self.start[feature + 1])
        return self.positions[part], self.values[part]


@dataclass(frozen=True)
class CleanCell:
    """Clean pass of one cell at the layers of interest."""

    length: int
    genes: Tensor  # positions that hold genes
    states: Mapping[int, Tensor]  # layer -> [S, d]
    codes: Mapping[int, tuple[Tensor, Tensor]]  # layer -> values, indices [S, k]
    firing: Mapping[int, Firing]


class LayerSummary(NamedTuple):
    """How the features of one layer fire over a cohort: arrays over features."""

    positions: np.ndarray
    cells: np.ndarray
    mean_activation: np.ndarray
    firing_rate: np.ndarray


@torch.inference_mode()
def clean_cell(adapter: Adapter, dictionaries: Mapping[int, Any], tokens: np.ndarray, layers: Iterable[int]) -> CleanCell:
    """Clean pass of one cell (token ids [S]), kept at `layers`."""
    states = adapter.clean_states(tokens)
    genes = adapter.gene_positions(tokens)
    kept, codes, firing = {}, {}, {}
    for l in layers:  # noqa: E741
        kept[l] = states[l]
        codes[l] = dictionaries[l].encode_topk(states[l])
        values, indices = codes[l]
        firing[l] = _invert(values, indices, genes, dictionaries[l].n_features)
    return CleanCell(len(tokens), genes, kept, codes, firing)


def clean_cells(adapter: Adapter, dictionaries: Mapping[int, Any], cells: Sequence[np.ndarray], layers: Iterable[int]) -> list[CleanCell]:
    """Clean pass of every cell."""
    layers = tuple(layers)
    return list(run_jobs([partial(clean_cell, adapter, dictionaries, tokens, layers) for tokens in cells], adapter.device))


def summarise(cells: Sequence[CleanCell], layer: int) -> LayerSummary:
    """Firing of each feature of a layer over all gene positions of the cells."""
    counts = np.stack([np.diff(c.firing[layer].start) for c in cells])
    total = np.zeros(counts.shape[1])
    for cell, n in zip(cells, counts, strict=True):
        feature = np.repeat(np.arange(len(n)), n)
        total += np.bincount(feature, weights=cell.firing[layer].values.cpu().numpy().astype(np.float64), minlength=len(n))
    positions = counts.sum(0)
    genes = sum(len(c.genes) for c in cells)
    return LayerSummary(positions, (counts > 0).sum(0), total / np.maximum(positions, 1), positions / max(genes, 1))


def _invert(values: Tensor, indices: Tensor, genes: Tensor, n_features: int) -> Firing:
    v, i = values[genes], indices[genes]
    row, column = (v > 0).nonzero(as_tuple=True)
    feature, order = torch.sort(i[row, column], stable=True)  # rows ascend, so positions ascend within a feature
    counts = torch.bincount(feature, minlength=n_features).cpu().numpy()
    return Firing(np.concatenate([[0], np.cumsum(counts)]), genes[row[order]], v[row[order], column[order]])

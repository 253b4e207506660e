"""Attribution between two features at the same token, along the residual stream: a weight that no
input changes, times a factor of the input.

    z^{l,i}(t) * ( f_dec^{l,i} . v^{l',i'}(t) ) = w_{i,i'} * z^{l,i}(t) / sigma_{l'}(t) ,
    w_{i,i'} = f_dec^{l,i} . P(gamma * f_enc^{l',i'}) ,    l < l' ,

with gamma and sigma of the norm before the feed-forward of l' (Dunefsky, Chlenski and Nanda 2024).
w is one matrix product for each pair of layers. What goes through attention, or through the skips
of transcoders between, is not in it: `scircuit.tracing.attribution.backward_rows` has all paths.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from scircuit.core.errors import UserError
from scircuit.tracing.attribution.frozen_cell import FrozenCell
from scircuit.tracing.attribution.transcoder_weights import TranscoderWeights
from scircuit.tracing.hardware.row_padding import by_row
from scircuit.tracing.models.decoders.prenorm import Norm, PreNorm

_AT_ONCE = 2**24  # numbers of a table, or of gathered rows, held at once


class PairMeans(NamedTuple):
    """Pairs of features of two layers that fire together in a cell, by target and then source."""

    source: np.ndarray  # [N]
    target: np.ndarray  # [N]
    total: np.ndarray  # [N] attribution summed over the positions where both fire
    positions: np.ndarray  # [N] how many these are
    fires: np.ndarray  # [N] positions where the target fires

    @property
    def mean(self) -> np.ndarray:
        """Attribution averaged over the positions where the target fires, [N]."""
        return self.total / self.fires


def read_vectors(norm: Norm, encoder: Tensor) -> Tensor:
    """``P(gamma * f_enc)`` of encoder rows [M, d]: what they read of the stream, times sigma."""
    return norm.pull_back(encoder, encoder.new_ones(())).detach()


def invariant_weights(
    adapter: PreNorm,
    source: TranscoderWeights,
    target: TranscoderWeights,
    sources: Tensor | None = None,
    targets: Tensor | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The table of w, a block of sources at a time.

    Parameters
    ----------
    adapter
        The model, whose norm lies before the target.
    source, target
        Transcoders of a lower and a higher layer.
    sources, targets
        [M], [N] features; all of them when not given.

    Yields
    ------
    sources, weights
        Some of the sources [m], and [m, N].

    Raises
    ------
    UserError
        If the source is not below the target.
    """
    _require_below(source.layer, target.layer)
    rows = target.encoder if targets is None else target.encoder[targets]
    read = read_vectors(adapter.layers[target.layer].norm_2, rows)
    if sources is None:
        sources = torch.arange(source.n_features, device=read.device)
    for part in sources.split(max(1, _AT_ONCE // max(len(read), source.width))):
        yield part, by_row(lambda rows: rows @ read.T, source.decoder[part])


def pair_weights(
    adapter: PreNorm,
    source: TranscoderWeights,
    target: TranscoderWeights,
    sources: Tensor,
    targets: Tensor,
) -> Tensor:
    """The w of single pairs: of source and target features [N], [N]."""
    _require_below(source.layer, target.layer)
    norm = adapter.layers[target.layer].norm_2
    step = max(1, _AT_ONCE // source.width)
    parts = [
        (source.decoder[s] * read_vectors(norm, target.encoder[t])).sum(-1)
        for s, t in zip(sources.split(step), targets.split(step), strict=True)
    ]
    return torch.cat(parts)


def input_factors(cell: FrozenCell, source_layer: int, target_layer: int) -> Tensor:
    """``z / sigma`` of the source layer's codes for readers in the target layer, [S, k]."""
    _require_below(source_layer, target_layer)
    return cell.layers[source_layer].values / cell.layers[target_layer].sigma_2


def token_pairs(
    cell: FrozenCell, source_layer: int, target_layer: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Attribution of every pair of codes at the same position, a block of positions at a time.

    Yields
    ------
    positions, attribution
        Positions [c], and [c, k, k'] over the source and target codes there, in their order in the
        cell; 0 where the source does not fire, and to be left out where the target does not.
    """
    source, target = cell.transcoders[source_layer], cell.transcoders[target_layer]
    factors = input_factors(cell, source_layer, target_layer)
    norm = cell.adapter.layers[target_layer].norm_2
    sources, targets = cell.layers[source_layer].indices, cell.layers[target_layer].indices
    widest = max(sources.shape[1], targets.shape[1])
    places = torch.arange(cell.length, device=factors.device)
    for part in places.split(max(1, _AT_ONCE // max(1, widest * source.width))):
        read = read_vectors(norm, target.encoder[targets[part]])
        weights = source.decoder[sources[part]] @ read.transpose(1, 2)
        yield part, weights * factors[part, :, None]


def pair_means(cell: FrozenCell, source_layer: int, target_layer: int) -> PairMeans:
    """Attribution of one cell's pairs, summed over positions.

    A pair is there if both fire at one position at least.
    """
    n = cell.transcoders[source_layer].n_features
    pairs, totals, counts = np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64)
    source, target = cell.layers[source_layer], cell.layers[target_layer]
    for part, found in token_pairs(cell, source_layer, target_layer):
        both = (source.values[part, :, None] > 0) & (target.values[part, None, :] > 0)
        keys = target.indices[part, None, :] * n + source.indices[part, :, None]
        keys = np.append(pairs, keys[both].cpu().numpy())
        values = np.append(totals, found[both].cpu().double().numpy())
        times = np.append(counts, np.ones(len(keys) - len(pairs), np.int64))
        pairs, inverse = np.unique(keys, return_inverse=True)
        totals = np.bincount(inverse, values, len(pairs))
        counts = np.bincount(inverse, times, len(pairs)).astype(np.int64)
    fired = target.indices[target.values > 0].cpu().numpy()
    fires = np.bincount(fired, minlength=cell.transcoders[target_layer].n_features)
    return PairMeans(pairs % n, pairs // n, totals, counts, fires[pairs // n])


def _require_below(source_layer: int, target_layer: int) -> None:
    if not source_layer < target_layer:
        raise UserError(
            f"layer {source_layer} adds nothing to what the feed-forward of layer"
            f" {target_layer} reads",
            "give a source in a lower layer than the target",
        )

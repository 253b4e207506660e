"""One clean pass of one cell with all that attribution holds fixed.

For a decoder with norms before its blocks (`scircuit.tracing.models.decoders.prenorm`), with
transcoders TC_l of its feed-forwards, the residual stream is

    h_{l+1} = h_l + A_l(h_l) + TC_l(x_l) + error_l ,    error_l = F_l(x_l) - TC_l(x_l) .

Held fixed are: what every norm divides by (sigma, at every position), the attention patterns, which
features fire and the errors. With these A_l is linear in h_l, so every pre-activation is a sum over
features, errors, token embeddings and biases (Dunefsky, Chlenski and Nanda 2024, arXiv 2406.11944;
the frozen parts as Ameisen and others 2025, Circuit Tracing).

Patterns take S x S numbers a head; they are computed again from the states wherever they are asked
for, one head at a time, unless all of them fit into `keep` bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from scircuit.core.errors import UserError
from scircuit.tracing.attribution.transcoder_weights import TranscoderWeights
from scircuit.tracing.dictionaries.dictionary import Dictionary
from scircuit.tracing.hardware.row_padding import ROWS, by_row, padded_length
from scircuit.tracing.models.adapter import Adapter
from scircuit.tracing.models.decoders.prenorm import PreNorm

KEEP_BYTES = 2**29
"""Bytes of attention patterns that stay in memory unless another size is given."""


class FrozenLayer(NamedTuple):
    """What is held fixed of one layer, and what it adds."""

    states: Tensor  # [S, d] input of the layer
    stream: Tensor  # [S, d] what the feed-forward reads, before its norm; `states` where parallel
    sigma_1: Tensor  # [S, 1]
    sigma_attended: Tensor | None  # [S, 1], of the norm behind attention
    sigma_2: Tensor  # [S, 1]
    values: Tensor  # [S, k] codes; k = 0 without a transcoder
    indices: Tensor  # [S, k]
    error: Tensor  # [S, d] MLP output less the transcoder's; all of it without one


class FrozenCell:
    """A cell's clean pass.

    Use `freeze` to make one.

    Attributes
    ----------
    adapter
        The model.
    cell
        Its tokens, [S].
    transcoders
        Weights by layer.
    layers
        What is held fixed, layer by layer.
    final
        [S, d] output of the last layer, before the final norm.
    """

    def __init__(
        self,
        adapter: PreNorm,
        cell: np.ndarray,
        transcoders: Mapping[int, TranscoderWeights],
        layers: list[FrozenLayer],
        final: Tensor,
        keep: int,
    ) -> None:
        self.adapter, self.cell, self.transcoders = adapter, cell, transcoders
        self.layers, self.final = layers, final
        heads = adapter.n_layers * adapter.n_heads
        self._keeps = heads * len(final) ** 2 * final.element_size() <= keep
        self._kept: dict[int, list[Tensor]] = {}
        self._keys: dict[int, Tensor] = {}  # [G, S, e] a layer, as much as its states

    @property
    def length(self) -> int:
        """Positions S."""
        return len(self.final)

    @property
    def n_layers(self) -> int:
        """Layers L."""
        return len(self.layers)

    def states(self, layer: int) -> Tensor:
        """Input of a layer [S, d]; with L, the last layer's output."""
        return self.final if layer == self.n_layers else self.layers[layer].states

    def extent(self, position: int) -> int:
        """How many positions are looked at for targets at `position`: those that it sees, rounded
        up, so that few sizes occur.

        Where the model is causal, no later position contributes.
        """
        causal = all(self.adapter.sight(l).causal for l in range(self.n_layers))  # noqa: E741
        return min(self.length, padded_length(position + 1, ROWS)) if causal else self.length

    @torch.no_grad()
    def mlp_input(self, layer: int, positions: Tensor | slice = slice(None)) -> Tensor:
        """What the transcoder of a layer reads, [..., d]."""
        return self.adapter.mlp_norm(layer, self.layers[layer].stream[positions])

    @torch.no_grad()
    def patterns(self, layer: int) -> Iterator[Tensor]:
        """Attention patterns of a layer, head by head: [S, S], a row for each query."""
        if layer in self._kept:
            yield from self._kept[layer]
            return
        kept = []
        places = torch.arange(self.length, device=self.final.device)
        query, key, _ = by_row(
            partial(self.adapter.project, layer), self.layers[layer].states, places
        )
        mask = self.adapter.sight(layer).mask(places, places, query.dtype)
        shared = query.shape[-1] // key.shape[-1]
        size = self.adapter.head_size
        for h in range(self.adapter.n_heads):
            q = query[:, h * size : (h + 1) * size]
            k = key[:, h // shared * size : (h // shared + 1) * size]
            pattern = self._softmax(layer, q @ k.T, mask)
            if self._keeps:
                kept.append(pattern)
            yield pattern
        if self._keeps:
            self._kept[layer] = kept

    @torch.no_grad()
    def pattern_rows(self, layer: int, positions: Tensor) -> Tensor:
        """Rows of a layer's patterns at query `positions` [B]: [B, H, S]."""
        places = torch.arange(self.length, device=self.final.device)
        states = self.layers[layer].states
        query = by_row(
            partial(self.adapter.project_query, layer), states[positions], positions
        ).unflatten(-1, (self.adapter.n_heads, -1))
        if layer not in self._keys:
            key, _ = by_row(partial(self.adapter.project_key_value, layer), states, places)
            self._keys[layer] = key.unflatten(-1, (-1, self.adapter.head_size)).transpose(0, 1)
        keys = self._keys[layer]
        shared = self.adapter.n_heads // len(keys)
        mask = self.adapter.sight(layer).mask(positions, places, query.dtype)
        rows = [
            self._softmax(layer, by_row(lambda q, h=h: q @ keys[h // shared].T, query[:, h]), mask)
            for h in range(self.adapter.n_heads)
        ]
        return torch.stack(rows, 1)

    def _softmax(self, layer: int, scores: Tensor, mask: Tensor | None) -> Tensor:
        scores = self.adapter.sight(layer).bound(scores * self.adapter.head_size**-0.5)
        return (scores if mask is None else scores + mask).softmax(-1)


def require_prenorm(adapter: Adapter) -> PreNorm:
    """Check that the model's residual stream is a running sum that norms do not touch.

    Raises
    ------
    UserError
        If it is not: attribution through frozen norms needs norms before the blocks.
    """
    if not isinstance(adapter, PreNorm):
        raise UserError(
            f"{adapter.name} ({adapter.family}) has norms after its blocks, or does not state its"
            " weights; transcoder attribution needs norms before the blocks",
            "use a decoder such as GPT-NeoX or Gemma-2; or trace this model by ablation",
        )
    return adapter


@torch.no_grad()
def freeze(
    adapter: Adapter,
    cell: np.ndarray,
    transcoders: Mapping[int, Dictionary | TranscoderWeights],
    keep: int = KEEP_BYTES,
) -> FrozenCell:
    """Run a cell and hold fixed what attribution needs.

    Parameters
    ----------
    adapter
        A decoder with norms before its blocks.
    cell
        Its tokens, [S].
    transcoders
        Transcoders by layer. What a layer without one adds is all error.
    keep
        Bytes of attention patterns that stay in memory; computed again when they take more.

    Raises
    ------
    UserError
        If the model has norms after its blocks, or a transcoder does not fit it.
    """
    model = require_prenorm(adapter)
    weights = {layer: _weights(model, layer, t) for layer, t in transcoders.items()}
    state = model.embed(cell)
    places = torch.arange(len(state), device=state.device)
    layers = []
    for l in range(model.n_layers):  # noqa: E741
        w = model.layers[l]
        parts = by_row(partial(model.project, l), state, places)
        context = model.attend(l, *(part[None] for part in parts))[0]
        stream = by_row(partial(model.mlp_stream, l), state, context)
        x = by_row(partial(model.mlp_norm, l), stream)
        fed = by_row(partial(model.fed, l), x)
        values, indices, error = _codes(weights.get(l), x, fed)
        layers.append(
            FrozenLayer(
                state,
                stream,
                w.norm_1.sigma(state),
                None if w.norm_attended is None else w.norm_attended.sigma(by_row(w.out, context)),
                w.norm_2.sigma(stream),
                values,
                indices,
                error,
            )
        )
        state = by_row(partial(model.finish, l), state, context)
    return FrozenCell(model, cell, weights, layers, state, keep)


def _weights(
    model: PreNorm, layer: int, transcoder: Dictionary | TranscoderWeights
) -> TranscoderWeights:
    if not isinstance(transcoder, TranscoderWeights):
        transcoder = TranscoderWeights(transcoder, model.dtype)
    if (
        transcoder.layer != layer
        or not 0 <= layer < model.n_layers
        or transcoder.width != model.width
    ):
        raise UserError(
            f"a transcoder of layer {transcoder.layer} and width {transcoder.width} is given for"
            f" layer {layer} of {model.name}, which has layers 0 to {model.n_layers - 1} of width"
            f" {model.width}",
            "give the transcoders of this model, each for its own layer",
        )
    return transcoder


def _codes(
    transcoder: TranscoderWeights | None, x: Tensor, fed: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    if transcoder is None:
        return fed.new_zeros(len(fed), 0), torch.zeros_like(fed[:, :0], dtype=torch.int64), fed
    values, indices = transcoder.encode(x)
    return values, indices, fed - transcoder.decode(values, indices, x)

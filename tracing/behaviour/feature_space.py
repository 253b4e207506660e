"""The features that a circuit is chosen from: those of all considered layers in one row, with the
mean activation and the firing rate of each over the gene positions of the prompts.

Feature f of the i-th layer has position ``offset[i] + f``. Features that fire in none of the
prompts belong to no circuit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from scircuit.tracing.hardware.parallel import run_jobs

if TYPE_CHECKING:
    from scircuit.tracing.behaviour.behaviours import Prompt
    from scircuit.tracing.dictionaries.dictionary import Dictionary
    from scircuit.tracing.models.adapter import Adapter


class FeatureSpace(NamedTuple):
    """Considered layers, ascending, and their features."""

    layers: tuple[int, ...]
    dictionaries: Mapping[int, Dictionary]
    decoders: Mapping[int, Tensor]  # [F, d]
    offset: Mapping[int, int]
    size: int  # features of all layers
    mean: np.ndarray  # [size] mean activation over gene positions, zeros included
    firing_rate: np.ndarray  # [size] share of gene positions where it is active
    layer: np.ndarray  # [size]
    index: np.ndarray  # [size] in its dictionary

    @property
    def alive(self) -> np.ndarray:
        """Positions of the features that fire in a prompt, ascending."""
        return np.flatnonzero(self.firing_rate > 0)

    def part(self, layer: int) -> slice:
        """Positions of a layer's features."""
        start = self.offset[layer]
        return slice(start, start + self.dictionaries[layer].n_features)


def feature_space(
    adapter: Adapter,
    dictionaries: Mapping[int, Dictionary],
    layers: Sequence[int],
    prompts: Sequence[Prompt],
) -> FeatureSpace:
    """Features of the layers, and how they fire in the unedited model on the prompts."""
    order = tuple(sorted(set(layers)))
    used = {layer: dictionaries[layer].to(adapter.device) for layer in order}
    sizes = [used[layer].n_features for layer in order]
    starts = np.concatenate([[0], np.cumsum(sizes)]).tolist()
    offset = dict(zip(order, starts[:-1], strict=True))
    total = starts[-1]
    sums, counts, positions = np.zeros(total), np.zeros(total), 0
    for values, fires, rows in run_jobs(
        [partial(_firing, adapter, used, offset, total, p) for p in prompts], adapter.device
    ):
        sums, counts, positions = sums + values, counts + fires, positions + rows
    every = {
        layer: used[layer].columns(torch.arange(used[layer].n_features, device=adapter.device))
        for layer in order
    }
    return FeatureSpace(
        order,
        used,
        {layer: decoder.contiguous() for layer, decoder in every.items()},
        offset,
        total,
        sums / max(positions, 1),
        counts / max(positions, 1),
        np.repeat(order, sizes),
        np.concatenate([np.arange(n) for n in sizes]),
    )


def _firing(
    adapter: Adapter,
    dictionaries: Mapping[int, Dictionary],
    offset: Mapping[int, int],
    total: int,
    prompt: Prompt,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Sum of activations and number of active positions of every feature in one prompt."""
    sums, counts = np.zeros(total), np.zeros(total)
    states = adapter.clean_states(prompt.tokens)
    for layer, dictionary in dictionaries.items():
        values, indices = dictionary.encode_topk(states[layer][prompt.genes])
        values, at = values.cpu().double().numpy().ravel(), indices.cpu().numpy().ravel()
        part = slice(offset[layer], offset[layer] + dictionary.n_features)
        sums[part] = np.bincount(at, values, minlength=dictionary.n_features)
        counts[part] = np.bincount(at, values > 0, minlength=dictionary.n_features)
    return sums, counts, len(prompt.genes)

"""Loss recovered by transcoders: what a model loses when the MLP of one layer gives something else.

With y = MLP(x) of one layer replaced at every position, and next-token loss L over all positions,

    loss recovered = (L_ablated - L_rebuilt) / (L_ablated - L_clean)

for y = TC(x) (rebuilt) beside y = 0 and y = mean (ablated). A model whose MLP does nothing for the
loss has no loss to recover.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from scircuit.core.errors import UserError
from scircuit.tracing.clean_pass.activations import WithMlpSite
from scircuit.tracing.evaluation.loss_recovered import cross_entropy_of_rows

if TYPE_CHECKING:
    from scircuit.tracing.dictionaries.dictionary import Dictionary
    from scircuit.tracing.models.adapter import Adapter


class MlpLoss(NamedTuple):
    """Next-token losses with the MLP output of one layer replaced, in nats a token."""

    clean: float
    rebuilt: float
    zero: float
    mean: float
    tokens: int  # predicted

    def recovered(self, ablated: float) -> float:
        """Loss recovered beside an ablation; not a number where that costs nothing."""
        cost = ablated - self.clean
        return (ablated - self.rebuilt) / cost if cost > 0 else float("nan")


class WithReplacedMlp(WithMlpSite, Protocol):
    """What an adapter offers whose MLP output can be replaced."""

    def layer_with_mlp(self, layer: int, states: Tensor, mlp_out: Tensor) -> Tensor:
        """Output of a layer for states [B, S, d] when its MLP gives `mlp_out` [B, S, d]."""
        ...


@torch.inference_mode()
def mlp_losses(
    adapter: Adapter,
    transcoders: Mapping[int, Dictionary],
    cells: Sequence[np.ndarray],
    means: Mapping[int, Tensor],
    seconds: float = float("inf"),
) -> dict[int, MlpLoss]:
    """Losses of each layer.

    Parameters
    ----------
    adapter
        Model that predicts the next token and offers `clean_mlp` and `layer_with_mlp`.
    transcoders
        By layer, on the model's device.
    cells
        Token ids of each.
    means
        Mean MLP output of each layer, [d].
    seconds
        No cell is begun after this time; the first always is.

    Returns
    -------
    By layer; empty where the model does not predict the next token.
    """
    if not hasattr(adapter, "layer_with_mlp"):
        return {}
    sums = {layer: torch.zeros(4, dtype=torch.float64) for layer in transcoders}
    tokens, end = 0, time.monotonic() + seconds
    for cell in cells:
        if tokens and time.monotonic() > end:
            break
        truth = adapter.token_ids(cell)[1:]
        if not len(truth):
            continue
        before = [adapter.embed(cell), *adapter.clean_states(cell)]
        try:
            clean = _loss(adapter, before[-1], truth)
        except UserError:  # no token head
            return {}
        pairs = cast(WithReplacedMlp, adapter).clean_mlp(cell)
        for layer, transcoder in transcoders.items():
            x, y = pairs[layer]
            made = transcoder.decode_topk(*transcoder.encode_topk(x), x)
            instead = (made, torch.zeros_like(y), means[layer].to(y).expand_as(y))
            losses = [_replaced(adapter, before[layer], layer, out, truth) for out in instead]
            sums[layer] += torch.tensor([clean, *losses], dtype=torch.float64)
        tokens += len(truth)
    if not tokens:
        return {}
    return {
        layer: MlpLoss(*(total / tokens).tolist(), tokens=tokens) for layer, total in sums.items()
    }


def _replaced(
    adapter: Adapter, states: Tensor, layer: int, mlp_out: Tensor, truth: Tensor
) -> float:
    """Summed loss when the MLP of a layer, of input `states` [S, d], gives `mlp_out` [S, d]."""
    found = cast(WithReplacedMlp, adapter).layer_with_mlp(layer, states[None], mlp_out[None])
    for later in range(layer + 1, adapter.n_layers):
        found = adapter.layer(later, found)
    return _loss(adapter, found[0], truth)


def _loss(adapter: Adapter, states: Tensor, truth: Tensor) -> float:
    return float(cross_entropy_of_rows(adapter, states[:-1], truth).sum())

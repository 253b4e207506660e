"""Which tokens a model answers with at a position, as targets of attribution.

A token's target is its logit less the mean logit of the vocabulary, before any bound,

    (w_j - mean w) . N_f(h_L(t)) + b_j - mean b ,

for what moves all logits together moves no probability. Answers are the most probable tokens up to
a share of the probability (at most 10, up to 0.95, as circuit-tracer); the difference of two tokens
is one target.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scircuit.core.errors import UserError
from scircuit.tracing.attribution.frozen_cell import FrozenCell
from scircuit.tracing.attribution.targets import Target, answer_target

MOST, PROBABILITY = 10, 0.95
"""Tokens at most, and their probability together, unless others are given."""


def token_answers(
    cell: FrozenCell, position: int, most: int = MOST, share: float = PROBABILITY
) -> tuple[list[Target], list[float]]:
    """The most probable next tokens at a position, and their probabilities.

    The token is the ``feature`` of each target.
    """
    with torch.no_grad():
        logits = cell.adapter.logits(cell.final[position][None])[0]
        p = logits.cpu().double().softmax(-1)
    order = torch.argsort(p, descending=True, stable=True)
    before = p[order].cumsum(0) - p[order]
    chosen = order[: max(1, min(most, int((before < share).sum())))].tolist()
    weight, bias = _unembedding(cell)
    mean, middle = weight.mean(0), 0.0 if bias is None else float(bias.mean())
    found = [
        _named(
            cell,
            weight[j] - mean,
            position,
            (0.0 if bias is None else float(bias[j])) - middle,
            j,
            f"token {j}",
        )
        for j in chosen
    ]
    return found, p[chosen].tolist()


def answer_difference(cell: FrozenCell, position: int, token: int, other: int) -> Target:
    """The logit of one token less that of another."""
    weight, bias = _unembedding(cell)
    for j in (token, other):
        if not 0 <= j < len(weight):
            raise UserError(
                f"no token {j}: the vocabulary has {len(weight)}", "tokens count from 0"
            )
    apart = 0.0 if bias is None else float(bias[token] - bias[other])
    name = f"token {token} over {other}"
    return _named(cell, weight[token] - weight[other], position, apart, token, name)


def _named(
    cell: FrozenCell, direction: Tensor, position: int, bias: float, token: int, name: str
) -> Target:
    norm = getattr(cell.adapter, "final_norm")  # noqa: B009  (of families that predict tokens)
    found = answer_target(cell, norm, direction, position, bias, name)
    return found._replace(feature=token)


def _unembedding(cell: FrozenCell) -> tuple[Tensor, Tensor | None]:
    """Rows [V, d] and bias [V] of the projection to logits.

    Raises
    ------
    UserError
        If the model has none.
    """
    find: Any = getattr(cell.adapter.model, "get_output_embeddings", None)
    head: Any = find() if find is not None else None
    if head is None or not hasattr(cell.adapter, "final_norm"):
        cell.adapter.no_token_head()
    bias = getattr(head, "bias", None)
    return head.weight.detach(), None if bias is None else bias.detach()

"""Softmax attention together with its log-sum-exp, so that attention over disjoint sets of keys can
be joined exactly.

With ``out_i = softmax(s_i) V_i`` and ``l_i = log sum exp(s_i)`` over two disjoint sets of keys,
attention over both is

    out = out_1 exp(l_1 - l) + out_2 exp(l_2 - l),      l = log(exp(l_1) + exp(l_2)).
"""

from __future__ import annotations

import torch
from torch import Tensor

_SCORES = 2**26  # most scores held at once where no fused kernel gives the log-sum-exp


def attention_lse(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Attention and log-sum-exp of its scores.

    Parameters
    ----------
    query
        [B, H, R, e].
    key, value
        [B, H, S, e].
    mask
        Added to the scores, broadcastable to [B, 1, R, S]; minus infinity leaves a key out.

    Returns
    -------
    out, lse
        [B, H, R, e] and [B, H, R], in float32 or more; 0 and minus infinity for a query whose keys
        are all left out.
    """
    if query.device.type == "cpu":
        wide = None if mask is None else mask.expand(len(query), 1, query.shape[2], key.shape[2])
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, attn_mask=wide
        )
        if mask is not None:  # the kernel leaves the sum of a query without keys undefined
            lse = lse.masked_fill(mask.amax(-1) == float("-inf"), float("-inf"))
        return out.to(lse.dtype), lse
    return plain_attention_lse(query, key, value, mask)


def plain_attention_lse(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """What `attention_lse` computes, by matrix products alone, a block of queries at a time."""
    scale = query.shape[-1] ** -0.5
    step = max(1, _SCORES // max(1, len(query) * query.shape[1] * key.shape[2]))
    outs, sums = [], []
    for start in range(0, query.shape[2], step):
        scores = query[:, :, start : start + step] @ key.transpose(-1, -2)
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32)) * scale
        if mask is not None:
            scores += mask if mask.shape[-2] == 1 else mask[..., start : start + step, :]
        lse = scores.logsumexp(-1)
        finite = lse.masked_fill(
            lse == float("-inf"), 0.0
        )  # a query without keys: exp(-inf - 0) = 0
        outs.append(((scores - finite[..., None]).exp_() @ value).to(lse.dtype))
        sums.append(lse)
    return torch.cat(outs, 2), torch.cat(sums, 2)


def join(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    """Attention over two disjoint sets of keys from (out [..., e], lse [...]) of each."""
    both = torch.logaddexp(first[1], second[1])
    return (
        first[0] * (first[1] - both).exp_()[..., None]
        + second[0] * (second[1] - both).exp_()[..., None]
    )

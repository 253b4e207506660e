"""Softmax attention together with its log-sum-exp, so that attention over disjoint sets of keys can
be joined exactly.

With ``out_i = softmax(s_i) V_i`` and ``l_i = log sum exp(s_i)`` over two disjoint sets of keys,
attention over both is

    out = out_1 exp(l_1 - l) + out_2 exp(l_2 - l),      l = log(exp(l_1) + exp(l_2)).
"""

from __future__ import annotations

import torch
from torch import Tensor

from scircuit.tracing.hardware.row_padding import pad_rows

_QUERIES = 192  # three blocks of the CPU kernel, and a multiple of what matrix kernels take at once
_SCORES = 2**26  # maximum of scores held at once where no fused kernel gives the log-sum-exp


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


def attention_lse_in_blocks(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """What `attention_lse` computes for queries [1, H, N, e] of many edits, each with a row of the
    mask [1, 1, N, S].

    The kernel of the CPU takes queries in blocks, and the last rows of a block may take another
    path than the first; so it gets the same number of queries at every call.
    """
    if query.device.type != "cpu":
        return attention_lse(query, key, value, mask)
    rows, parts = query[0].transpose(0, 1), []
    for start in range(0, len(rows), _QUERIES):
        part = pad_rows(rows[start : start + _QUERIES], _QUERIES)
        hidden = pad_rows(mask[0, 0, start : start + _QUERIES], _QUERIES)
        parts.append(attention_lse(part.transpose(0, 1)[None], key, value, hidden[None, None]))
    out, lse = (torch.cat(found, 2)[:, :, : len(rows)] for found in zip(*parts, strict=True))
    return out, lse


def plain_attention_lse(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The result of `attention_lse` by matrix products alone, a block of queries at a time."""
    scale = query.shape[-1] ** -0.5
    step = max(1, _SCORES // max(1, len(query) * query.shape[1] * key.shape[2]))
    outs, sums = [], []
    for start in range(0, query.shape[2], step):
        scores = query[:, :, start : start + step] @ key.transpose(-1, -2)
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32)) * scale
        if mask is not None:
            scores += mask if mask.shape[-2] == 1 else mask[..., start : start + step, :]
        lse = scores.logsumexp(-1)
        # a query without keys: exp(-inf - 0) = 0
        finite = lse.masked_fill(lse == float("-inf"), 0.0)
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

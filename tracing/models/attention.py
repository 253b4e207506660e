"""Softmax attention: which keys a query sees, how its scores are bounded, and its log-sum-exp, so
that attention over disjoint sets of keys can be joined exactly.

With ``s = q . k / sqrt(e)``, bounded to ``cap tanh(s / cap)`` where a model does that, and minus
infinity at keys that a query does not see. With ``out_i = softmax(s_i) V_i`` and ``l_i = log sum
exp(s_i)`` over two disjoint sets of keys, attention over both is

    out = out_1 exp(l_1 - l) + out_2 exp(l_2 - l),      l = log(exp(l_1) + exp(l_2)).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from scircuit.tracing.hardware.row_padding import pad_rows

_QUERIES = 192  # three blocks of the CPU kernel, and a multiple of what matrix kernels take at once
_SCORES = 2**26  # maximum of scores held at once where no fused kernel gives the log-sum-exp


class Sight(NamedTuple):
    """What the queries of a layer see; the default is every key, with scores as they are."""

    causal: bool = False  # no key after the query
    window: int | None = None  # and, counting back from the query itself, no more than so many
    cap: float | None = None  # scores lie within plus and minus this

    def visible(self, query: Tensor, key: Tensor) -> Tensor | None:
        """Which keys at positions [..., S] queries at positions [..., R] see: [..., R, S]; None
        where that is all of them.
        """
        if not self.causal:
            return None
        back = query[..., :, None] - key[..., None, :]
        seen = back >= 0
        return seen if self.window is None else seen & (back < self.window)

    def mask(self, query: Tensor, key: Tensor, dtype: torch.dtype) -> Tensor | None:
        """What is added to the scores, [..., R, S]: 0, or minus infinity where a key is hidden."""
        seen = self.visible(query, key)
        if seen is None:
            return None
        return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(
            ~seen, float("-inf")
        )

    def bound(self, scores: Tensor) -> Tensor:
        """Scores as the softmax takes them, before any key is hidden."""
        return scores if self.cap is None else self.cap * (scores / self.cap).tanh()


def attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, cap: float | None
) -> Tensor:
    """Attention [B, H, R, e] of queries [B, H, R, e] over keys and values [B, H, S, e]; the mask
    [B or 1, 1, R, S] is added to the scores.
    """
    if cap is None:
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return plain_attention_lse(query, key, value, mask, cap)[0].to(query.dtype)


def attention_lse(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    cap: float | None = None,
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
    cap
        Bound of the scores (`Sight.cap`).

    Returns
    -------
    out, lse
        [B, H, R, e] and [B, H, R], in float32 or more; 0 and minus infinity for a query whose keys
        are all left out.
    """
    if query.device.type == "cpu" and cap is None:
        wide = None if mask is None else mask.expand(len(query), 1, query.shape[2], key.shape[2])
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, attn_mask=wide
        )
        if mask is not None:  # the kernel leaves the sum of a query without keys undefined
            lse = lse.masked_fill(mask.amax(-1) == float("-inf"), float("-inf"))
        return out.to(lse.dtype), lse
    return plain_attention_lse(query, key, value, mask, cap)


def attention_lse_in_blocks(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor, cap: float | None = None
) -> tuple[Tensor, Tensor]:
    """What `attention_lse` computes for queries [1, H, N, e] of many edits, each with a row of the
    mask [1, 1, N, S].

    The kernel of the CPU takes queries in blocks, and the last rows of a block may take another
    path than the first; so it gets the same number of queries at every call.
    """
    if query.device.type != "cpu":
        return attention_lse(query, key, value, mask, cap)
    rows, parts = query[0].transpose(0, 1), []
    for start in range(0, len(rows), _QUERIES):
        part = pad_rows(rows[start : start + _QUERIES], _QUERIES)
        hidden = pad_rows(mask[0, 0, start : start + _QUERIES], _QUERIES)
        parts.append(attention_lse(part.transpose(0, 1)[None], key, value, hidden[None, None], cap))
    out, lse = (torch.cat(found, 2)[:, :, : len(rows)] for found in zip(*parts, strict=True))
    return out, lse


def plain_attention_lse(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    cap: float | None = None,
) -> tuple[Tensor, Tensor]:
    """The result of `attention_lse` by matrix products alone, a block of queries at a time."""
    scale, sight = query.shape[-1] ** -0.5, Sight(cap=cap)
    # On a CPU a block has the same number of queries whatever shares the batch: what a matrix
    # product gives a row may depend on how many there are.
    fixed = query.device.type == "cpu"
    fit = max(1, _SCORES // max(1, len(query) * query.shape[1] * key.shape[2]))
    step = _QUERIES if fixed else fit
    outs, sums = [], []
    for start in range(0, query.shape[2], step):
        asked = query[:, :, start : start + step]
        count, missing = asked.shape[2], step - asked.shape[2]
        if fixed and start and missing:
            asked = functional.pad(asked, (0, 0, 0, missing))
        scores = asked @ key.transpose(-1, -2)
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32)) * scale
        scores = sight.bound(scores)
        if mask is not None:
            hidden = mask if mask.shape[-2] == 1 else mask[..., start : start + step, :]
            scores[:, :, :count] += hidden
        lse = scores.logsumexp(-1)
        # a query without keys: exp(-inf - 0) = 0
        finite = lse.masked_fill(lse == float("-inf"), 0.0)
        found = ((scores - finite[..., None]).exp_() @ value).to(lse.dtype)
        outs.append(found[:, :, :count])
        sums.append(lse[:, :, :count])
    return torch.cat(outs, 2), torch.cat(sums, 2)


def join(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    """Attention over two disjoint sets of keys from (out [..., e], lse [...]) of each."""
    both = torch.logaddexp(first[1], second[1])
    return (
        first[0] * (first[1] - both).exp_()[..., None]
        + second[0] * (second[1] - both).exp_()[..., None]
    )

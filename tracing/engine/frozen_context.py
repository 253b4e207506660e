"""A recomputed row set per edit: those rows react to each other, every other row keeps its clean
keys and values.

For one cell and a batch of edits, edit f with its set S_f of rows (the edited rows A_f, and m more
when the context is m), layer by layer:

    q, k, v = projections of the rows of all sets, in one batch
    context = softmax([q . K_clean(positions not in S_f), q . k(rows of S_f)] / sqrt(e))
              . [V_clean, v]
    rows    = the rest of the layer on these rows

S_f = A_f is the frozen context: exact at the first layer after the edit, from the second on without
what other positions pass on. S_f = all positions is the exact effect. In between, the m positions
outside A_f whose clean attention to A_f, weighted by how much the values there change, is largest
at the first layer join the set. A query sees what its layer lets it see (`Adapter.sight`), among
clean keys and its set's alike. Clean keys take part through one fused attention with the set's own
columns masked; rows of the same set through small attentions batched by size; the two are joined by
their log-sum-exp (`scircuit.tracing.models.attention`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from scircuit.tracing.engine.activation_change import add_rows
from scircuit.tracing.hardware.row_padding import ROWS, by_row, padded_length, padded_widths
from scircuit.tracing.models.attention import attention_lse, attention_lse_in_blocks, join

if TYPE_CHECKING:
    from scircuit.tracing.dictionaries.dictionary import Site
    from scircuit.tracing.models.adapter import Adapter

_INFINITY = float("inf")
_PAIRS = 2**22  # most (row, row) pairs of one batch of small attentions, per head
_SCORES = 2**25  # most scores held at once while the most affected positions are looked for
SCORES_BYTES = 2 * 4 * _SCORES  # and what that takes, in float32


class RowSets(NamedTuple):
    """Rows of B sets of one cell, set after set, the edited rows of each first."""

    sizes: np.ndarray  # [B] rows of each set
    edited: np.ndarray  # [B] how many of them are edited, and read
    position: Tensor  # [N]
    read: Tensor  # indices of the edited rows among all rows, in order
    mask: Tensor  # [1, 1, N, S] 0, and minus infinity at the set's own positions
    # sets of similar size: row indices [b, g], padded; which of them are not padding [b, g]
    buckets: list[tuple[Tensor, Tensor]]


def row_sets(
    positions: Sequence[Tensor], more: Sequence[Tensor] | None, length: int, dtype: torch.dtype
) -> RowSets:
    """Sets of the given edited positions, each with further positions where `more` is given."""
    device = positions[0].device
    edited = np.array([len(p) for p in positions])
    sizes = edited + (0 if more is None else np.array([len(p) for p in more]))
    together = (
        positions
        if more is None
        else [p for pair in zip(positions, more, strict=True) for p in pair]
    )
    position = torch.cat(list(together))
    start = np.cumsum(sizes) - sizes
    slot = torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)).to(device)
    own = torch.zeros(len(sizes), length, dtype=dtype, device=device)
    own[slot, position] = -_INFINITY
    read = torch.from_numpy(
        np.concatenate([np.arange(s, s + n) for s, n in zip(start, edited, strict=True)])
    ).to(device)
    return RowSets(
        sizes, edited, position, read, own[slot][None, None], _buckets(start, sizes, device)
    )


def _buckets(
    start: np.ndarray, sizes: np.ndarray, device: torch.device
) -> list[tuple[Tensor, Tensor]]:
    """Sets of similar size together: padded to a width that depends on their own size alone, in
    batches of bounded work.
    """
    widths, found = padded_widths(sizes), []
    for width in np.unique(widths):
        members = np.flatnonzero(widths == width)
        step = max(1, _PAIRS // int(width) ** 2)
        for chosen in (members[i : i + step] for i in range(0, len(members), step)):
            place = np.arange(width)[None, :]
            true = place < sizes[chosen, None]
            index = np.where(true, start[chosen, None] + place, start[chosen, None])
            found.append((torch.from_numpy(index).to(device), torch.from_numpy(true).to(device)))
    return found


def run_frozen(
    adapter: Adapter,
    states: Mapping[int, Tensor],
    positions: Sequence[Tensor],
    deltas: Sequence[Tensor],
    source_layer: int,
    targets: Sequence[int],
    more: int = 0,
    site: Site = "output",
) -> Iterator[tuple[int, Tensor]]:
    """Yield, layer by layer, the states of the edited rows.

    Parameters
    ----------
    adapter
        The model.
    states
        Clean outputs [S, d] of every layer from `source_layer` to the one before the last target.
    positions, deltas
        For each edit the positions [n_i] it edits and reads, and the change [n_i, d] of the source
        layer's output there.
    source_layer, targets
        0-based layers: edited, and read.
    more
        Further positions recomputed with each edit (m).
    site
        What is read of a target layer: its output, or its MLP input.

    Yields
    ------
    layer, states
        Target layer and what is read there [sum n_i, d] at the edited rows, edit after edit.
    """
    source, wanted = states[source_layer], set(targets)
    sets = row_sets(positions, None, len(source), adapter.dtype)
    rows = source[sets.position] + torch.cat(list(deltas))
    if more:
        chosen = most_affected(adapter, source_layer + 1, source, rows, sets, more)
        sets = row_sets(positions, chosen, len(source), adapter.dtype)
        edited, rows = rows, source[sets.position]
        rows[sets.read] = edited
    places = torch.arange(len(source), device=source.device)
    part = adapter.read_part(site)
    for l in range(source_layer + 1, max(targets) + 1):  # noqa: E741
        clean = by_row(partial(adapter.project_key_value, l), states[l - 1], places)
        own = by_row(partial(adapter.project, l), rows, sets.position)
        context = _attend(adapter, l, own, clean, sets)
        after = by_row(partial(adapter.finish, l), rows, context)
        if l in wanted:
            read = after if part is None else by_row(partial(part, l), rows, context)
            yield l, read[sets.read] if more else read
        rows = after


def _attend(
    adapter: Adapter,
    layer: int,
    own: tuple[Tensor, Tensor, Tensor],
    clean: tuple[Tensor, Tensor],
    sets: RowSets,
) -> Tensor:
    """Attention [N, d] of the rows over clean keys outside their set and the recomputed keys of
    their set.
    """
    query, (key, value) = own[0], (adapter.heads(x)[None] for x in clean)
    sight = adapter.sight(layer)
    places = torch.arange(key.shape[2], device=key.device)
    hidden = sight.mask(sets.position, places, sets.mask.dtype)
    outside, outside_lse = attention_lse_in_blocks(
        adapter.heads(query)[None],
        key,
        value,
        sets.mask if hidden is None else sets.mask + hidden,
        sight.cap,
    )
    within = torch.empty(
        len(query),
        adapter.n_heads,
        adapter.head_size,
        dtype=adapter.dtype,
        device=query.device,
    )
    within_lse = torch.empty(len(query), adapter.n_heads, dtype=adapter.dtype, device=query.device)
    for index, true in sets.buckets:
        mask = torch.zeros_like(true, dtype=query.dtype).masked_fill_(~true, -_INFINITY)[:, None]
        hidden = sight.mask(sets.position[index], sets.position[index], mask.dtype)
        q, k, v = (adapter.heads(x[index]) for x in own)
        out, lse = attention_lse(
            q, k, v, (mask if hidden is None else mask + hidden)[:, None], sight.cap
        )
        at = index[true]
        within[at], within_lse[at] = out.transpose(1, 2)[true], lse.transpose(1, 2)[true]
    return join(
        (outside[0].transpose(0, 1), outside_lse[0].transpose(0, 1)), (within, within_lse)
    ).flatten(1)


def most_affected(
    adapter: Adapter, layer: int, clean: Tensor, edited: Tensor, sets: RowSets, more: int
) -> list[Tensor]:
    """For each set the `more` positions p outside it with the largest ``sum over heads and a in A
    of attention(p, a) |v'(a) - v(a)|``.

    Attention is the clean one of `layer`, which reads `clean` [S, d]; `edited` [N, d] are the
    edited rows it reads.
    """
    places, sight = torch.arange(len(clean), device=clean.device), adapter.sight(layer)
    query, key, value = by_row(partial(adapter.project, layer), clean, places)
    hidden = sight.mask(places, places, clean.dtype)
    lse = attention_lse(
        adapter.heads(query)[None],
        adapter.heads(key)[None],
        adapter.heads(value)[None],
        None if hidden is None else hidden[None, None],
        sight.cap,
    )[1][0]  # [H, S]
    changed = by_row(partial(adapter.project_key_value, layer), edited, sets.position)[1]
    change = adapter.heads(changed - value[sets.position]).norm(dim=-1)  # [H, N]
    query, keys = adapter.heads(query), key[sets.position]

    def attended(rows: Tensor) -> Tensor:
        return (adapter.heads(rows) @ query.transpose(-1, -2)).transpose(0, 1)

    slot = torch.from_numpy(np.repeat(np.arange(len(sets.sizes)), sets.sizes)).to(clean.device)
    score = torch.zeros(len(sets.sizes), len(clean), dtype=clean.dtype, device=clean.device)
    step = padded_length(max(1, _SCORES // (adapter.n_heads * len(clean)) - ROWS))
    for start in range(0, len(slot), step):
        part = slice(start, start + step)
        attention = by_row(attended, keys[part])  # [n, H, S]
        attention = (sight.bound(attention * query.shape[-1] ** -0.5) - lse).exp_()
        seen = sight.visible(places, sets.position[part])
        if seen is not None:
            attention *= seen.T[:, None]
        weighted = torch.zeros(len(attention), len(clean), dtype=clean.dtype, device=clean.device)
        for head, moved in enumerate(change[:, part]):
            weighted.addcmul_(attention[:, head], moved[:, None])
        add_rows(score, slot[part], weighted)
    score[slot, sets.position] = -1.0
    best, where = score.topk(min(more, len(clean)), dim=1)
    return [w[b >= 0] for b, w in zip(best, where, strict=True)]

"""Edited states of many conditions of one cell, each layer once for every distinct prefix.

Exact: every position is computed again. A feature is removed wherever it is active in the state
that the earlier removals made: ``h_l(p) -= z_f(h_l(p)) W_dec[:, f]`` at all gene positions, with
the clean activation where nothing was removed before. So states do not depend on where they are
read, and a condition that several sets share is run once.

Frozen: the positions P of a set are computed again in all its conditions, all others keep their
clean keys and values; features are removed at P. The same P for every condition, or a linear model
would show an interaction. Sets do not share conditions here; the conditions of a set share their
prefixes.

At the last layer all queries are attended and only rows that are read go through the feed-forward:
what attention gives a row may depend on how many queries there are, and a result must not depend on
which sets share it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from scircuit.tracing.engine.frozen_context import run_frozen
from scircuit.tracing.hardware.out_of_memory import halving
from scircuit.tracing.hardware.row_padding import by_row, repeat_rows
from scircuit.tracing.interventions.ablation.conditions import Condition, prefix

if TYPE_CHECKING:
    from scircuit.tracing.clean_pass.clean_pass import CleanCell
    from scircuit.tracing.dictionaries.dictionary import Dictionary
    from scircuit.tracing.models.adapter import Adapter


class Removal(NamedTuple):
    """What was removed at one layer: at each position, in all."""

    layer: int
    position: Tensor  # [n], ascending
    delta: Tensor  # [n, d]


class Work(NamedTuple):
    """Model, dictionaries, layers to read, edits of a batch; what is counted and noted."""

    adapter: Adapter
    dictionaries: Mapping[int, Dictionary]
    targets: tuple[int, ...]
    pairs: int
    rows: int
    passed: Callable[[int], None]  # called with the number of layer passes
    note: Callable[[str], None]

    @property
    def last(self) -> int:
        """The last layer read."""
        return self.targets[-1]

    def removal(
        self, members: Sequence[tuple[int, int]], position: Tensor, strength: Tensor
    ) -> Removal:
        """Removal of some features of one layer with their strengths [n, features]."""
        layer = members[0][0]
        index = torch.tensor([i for _, i in members], device=position.device)
        delta = torch.zeros(
            len(position), self.adapter.width, dtype=strength.dtype, device=position.device
        )
        for f, column in enumerate(self.dictionaries[layer].columns(index)):
            delta -= strength[:, f, None] * column
        return Removal(layer, position, delta)

    def strengths(self, members: Sequence[tuple[int, int]], states: Tensor) -> Tensor:
        """Activations [n, features] of some features of one layer in states [n, d]."""
        values, indices = self.dictionaries[members[0][0]].encode_topk(states)
        return torch.stack([(values * (indices == i)).sum(1) for _, i in members], 1)


def clean_removal(
    work: Work, cell: CleanCell, members: Sequence[tuple[int, int]], within: Tensor | None = None
) -> Removal:
    """Removal of features of one layer from the clean state, at the positions where any is active;
    or, where given, at the positions `within`.
    """
    rows = [cell.firing[layer].rows(index) for layer, index in members]
    position = torch.unique(torch.cat([p for p, _ in rows])) if within is None else within
    strength = torch.zeros(
        len(position), len(members), dtype=cell.states[members[0][0]].dtype, device=position.device
    )
    for f, (at, values) in enumerate(rows):
        strength[torch.searchsorted(position, at), f] = values
    return work.removal(members, position, strength)


def exact_runs(
    work: Work, cell: CleanCell, reads: Mapping[Condition, Tensor]
) -> Iterator[tuple[int, dict[Condition, Tensor], dict[Condition, list[Removal]]]]:
    """Yield every layer to read, with the states of each condition at its rows and what was removed
    on the way.

    Parameters
    ----------
    work
        See there.
    cell
        Clean cell, with the states of all layers from the first member to the last read.
    reads
        Conditions, each with the positions [n] it is read at.
    """
    live: dict[Condition, Tensor] = {}
    made: dict[Condition, list[Removal]] = {(): []}
    for l in range(min(c[0][0] for c in reads), work.last + 1):  # noqa: E741
        if live:
            work.passed(len(live))
            if l == work.last:
                yield l, _last_layer(work, l, live, reads), {c: made[c] for c in reads}
                return
            live = _advance(work, l, cell, live, made)
        if any(f[0] == l for c in reads for f in c):
            live = _branch(work, l, cell, live, made, list(reads))
        if l in work.targets:
            yield l, {c: live[c][reads[c]] for c in reads}, {c: made[c] for c in reads}


def _batches(work: Work, names: list[Condition]) -> Iterator[list[Condition]]:
    for start in range(0, len(names), work.pairs):
        yield names[start : start + work.pairs]


def _advance(
    work: Work,
    layer: int,
    cell: CleanCell,
    live: Mapping[Condition, Tensor],
    made: Mapping[Condition, list[Removal]],
) -> dict[Condition, Tensor]:
    """States after a layer; where they were clean but for the last removal, the queries, keys and
    values of other rows are those of the clean cell.
    """
    fresh = [c for c in live if c[0][0] == layer - 1]
    deep = [c for c in live if c[0][0] < layer - 1]
    found: dict[Condition, Tensor] = {}

    def edited(names: list[Condition]) -> Tensor:
        states = torch.stack([live[c] for c in names])
        removed = [made[c][-1].position for c in names]
        slot = torch.repeat_interleave(
            torch.arange(len(names), device=states.device),
            torch.tensor([len(p) for p in removed], device=states.device),
        )
        clean = cell.states[layer - 1]
        return work.adapter.layer_edited(layer, clean, states, (slot, torch.cat(removed)))

    def whole(names: list[Condition]) -> Tensor:
        return work.adapter.layer(layer, torch.stack([live[c] for c in names]))

    for names, run in ((fresh, edited), (deep, whole)):
        for batch in _batches(work, names):
            parts = halving(
                lambda at, b=batch, r=run: r([b[i] for i in at]), np.arange(len(batch)), work.note
            )
            found.update(zip(batch, torch.cat(parts), strict=True))
    return {c: found[c] for c in live}


def _last_layer(
    work: Work, layer: int, live: Mapping[Condition, Tensor], reads: Mapping[Condition, Tensor]
) -> dict[Condition, Tensor]:
    """States of the last layer at the rows that are read."""
    adapter, found = work.adapter, {}

    def run(names: list[Condition]) -> list[Tensor]:
        states = repeat_rows(live[names[0]], len(names))
        for i, c in enumerate(names[1:], 1):
            states[i] = live[c]
        places = torch.arange(states.shape[1], device=states.device).expand(states.shape[:-1])
        context = adapter.attend(layer, *by_row(partial(adapter.project, layer), states, places))
        at = [reads[c] for c in names]
        rows, given = (torch.cat([x[i, p] for i, p in enumerate(at)]) for x in (states, context))
        done = by_row(partial(adapter.finish, layer), rows, given)
        return list(done.split([len(p) for p in at]))

    for batch in _batches(work, list(live)):
        parts = halving(
            lambda at, b=batch: run([b[i] for i in at]), np.arange(len(batch)), work.note
        )
        found.update(zip(batch, [rows for part in parts for rows in part], strict=True))
    return found


def _branch(
    work: Work,
    layer: int,
    cell: CleanCell,
    live: Mapping[Condition, Tensor],
    made: dict[Condition, list[Removal]],
    conditions: Sequence[Condition],
) -> dict[Condition, Tensor]:
    """States after the removals at a layer, one for each distinct prefix that is needed on."""
    found: dict[Condition, Tensor] = {}
    asked = sorted({f for c in conditions for f in c if f[0] == layer})
    place = {f: i for i, f in enumerate(asked)}
    strengths: dict[Condition, Tensor] = {}
    for c in conditions:
        before, now = prefix(c, layer), prefix(c, layer + 1)
        if now in found or not now:
            continue
        if now == before:
            found[now] = live[before]
            continue
        members = now[len(before) :]
        if not before:
            removal = clean_removal(work, cell, members)
            state = cell.states[layer].clone()
        else:
            if before not in strengths:
                strengths[before] = work.strengths(asked, live[before][cell.genes])
            own = strengths[before][:, [place[f] for f in members]]
            removal = work.removal(members, cell.genes, own)
            state = live[before].clone()
        state[removal.position] += removal.delta
        found[now] = state
        made[now] = [*made[before], removal]
    return found


def frozen_runs(
    work: Work, cell: CleanCell, reads: Sequence[tuple[Tensor, Sequence[Condition]]]
) -> Iterator[tuple[int, list[dict[Condition, Tensor]], list[dict[Condition, list[Removal]]]]]:
    """What `exact_runs` yields, in the frozen context: for each set its own states and removals.

    Parameters
    ----------
    work, cell
        As there.
    reads
        For each set the positions [n] that are computed again and read, and its conditions. All
        sets have members at the same layers.
    """
    edited = sorted({f[0] for _, conditions in reads for c in conditions for f in c})
    made: list[dict[Condition, list[Removal]]] = [{(): []} for _ in reads]
    moved: dict[tuple[int, Condition], Tensor] = {}  # change of the state at the set's positions
    for l, following in zip(edited, [*edited[1:], work.last], strict=True):  # noqa: E741
        new: dict[tuple[int, Condition], Tensor] = {}
        for i, (where, conditions) in enumerate(reads):
            for c in conditions:
                before, now = prefix(c, l), prefix(c, l + 1)
                if not now or (i, now) in new:
                    continue
                if now == before:
                    new[i, now] = moved[i, before]
                    continue
                members = now[len(before) :]
                if before:
                    own = work.strengths(members, cell.states[l][where] + moved[i, before])
                    removal = work.removal(members, where, own)
                    new[i, now] = moved[i, before] + removal.delta
                else:
                    removal = clean_removal(work, cell, members, where)
                    new[i, now] = removal.delta
                made[i][now] = [*made[i][before], removal]
        targets = (following,) if l != edited[-1] else work.targets
        for t, rows in _frozen_segment(work, cell, reads, new, l, targets):
            if l != edited[-1]:
                moved = {(i, c): x - cell.states[t][reads[i][0]] for (i, c), x in rows.items()}
            else:
                yield (
                    t,
                    [{c: rows[i, c] for c in asked} for i, (_, asked) in enumerate(reads)],
                    [{c: made[i][c] for c in asked} for i, (_, asked) in enumerate(reads)],
                )


def _frozen_segment(
    work: Work,
    cell: CleanCell,
    reads: Sequence[tuple[Tensor, Sequence[Condition]]],
    changed: Mapping[tuple[int, Condition], Tensor],
    source: int,
    targets: Sequence[int],
) -> Iterator[tuple[int, dict[tuple[int, Condition], Tensor]]]:
    """States at some layers of changes made at one, all sets in one batch."""
    names = list(changed)
    positions = [reads[i][0] for i, _ in names]
    work.passed(len(names) * (max(targets) - source))
    steps = run_frozen(
        work.adapter, cell.states, positions, [changed[n] for n in names], source, targets
    )
    for t, rows in steps:
        yield t, dict(zip(names, rows.split([len(p) for p in positions]), strict=True))

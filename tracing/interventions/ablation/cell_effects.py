"""Effects of all conditions of some sets in one cell, each set read at its own positions.

With P the union of the positions where a member of the set is active in the clean pass, condition T
has

    effect_T(t) = 1/|P| sum over p in P of [ z'_t(p) - z_t(p) ]        on the activation,
    total_T     = 1/|P| sum over p in P of [ h'(p) - h(p) ]             on the state,
    direct_T    = the part of it that the residual stream carries with every block's output held at
                  its clean value, for the removals that were made on the way.

Pre-activations are linear in the state, so their effects, total and direct, are read off the last
two. A condition none of whose members is active in the cell changes nothing and is zero.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from scircuit.tracing.engine.activation_change import mean_change, mean_rows
from scircuit.tracing.engine.direct_path import Held, held_blocks
from scircuit.tracing.interventions.ablation.condition_runs import (
    Removal,
    Work,
    exact_runs,
    frozen_runs,
)
from scircuit.tracing.interventions.ablation.conditions import (
    Condition,
    conditions_of,
    without_absent,
)

if TYPE_CHECKING:
    from scircuit.tracing.clean_pass.clean_pass import CleanCell
    from scircuit.tracing.interventions.ablation.feature_sets import FeatureSet


class CellEffects(NamedTuple):
    """Effects in one cell, by layer read: arrays [sets, conditions, ...]."""

    active: np.ndarray  # [sets] whether any member is active
    together: np.ndarray  # [sets] whether all members are
    effects: dict[int, np.ndarray]  # [sets, conditions, F]
    total: dict[int, np.ndarray]  # [sets, conditions, d]
    direct: dict[int, np.ndarray]  # [sets, conditions, d]; empty: not known


class _Reading(NamedTuple):
    """One set in one cell: where it is read, and its conditions with their places."""

    place: int
    where: Tensor
    conditions: dict[int, Condition]


def effects_in_cell(
    work: Work, cell: CleanCell, sets: Sequence[FeatureSet], frozen: bool
) -> CellEffects:
    """Effects of every condition of some sets of one order in one cell."""
    k = len(sets[0].members)
    found = CellEffects(
        np.zeros(len(sets), bool),
        np.zeros(len(sets), bool),
        *(
            {t: np.zeros((len(sets), 2**k - 1, n(t)), np.float32) for t in work.targets}
            for n in (
                lambda t: work.dictionaries[t].n_features,
                *[lambda _t: work.adapter.width] * 2,
            )
        ),
    )
    if not work.adapter.has_direct_path:
        found = found._replace(direct={})
    readings = []
    for i, one in enumerate(sets):
        rows = {(f.layer, f.index): cell.firing[f.layer].rows(f.index)[0] for f in one.members}
        active = {f for f, p in rows.items() if len(p)}
        found.active[i], found.together[i] = bool(active), len(active) == k
        if active:
            kept = {
                m: c
                for m, full in enumerate(conditions_of(one))
                if (c := without_absent(full, active))
            }
            readings.append(_Reading(i, torch.unique(torch.cat(list(rows.values()))), kept))
    if not readings:
        return found
    first = min(c[0][0] for r in readings for c in r.conditions.values())
    held: Held = {}
    if found.direct:
        held = held_blocks(work.adapter, cell.states, first, work.last)
    for batch in _frozen(work, cell, readings) if frozen else [_exact(work, cell, readings)]:
        for t, rows in batch:
            _read(work, cell, t, rows, held, found)
    return found


class _Rows(NamedTuple):
    """One condition of one set: its place, where it is read, states there, what was removed."""

    place: tuple[int, int]
    where: Tensor
    states: Tensor
    removed: list[Removal]


def _exact(
    work: Work, cell: CleanCell, readings: Sequence[_Reading]
) -> Iterator[tuple[int, list[_Rows]]]:
    users: dict[Condition, list[Tensor]] = defaultdict(list)
    for r in readings:
        for c in dict.fromkeys(r.conditions.values()):
            users[c].append(r.where)
    reads = {c: torch.unique(torch.cat(users[c])) for c in sorted(users)}
    for t, states, removed in exact_runs(work, cell, reads):
        yield (
            t,
            [
                _Rows(
                    (r.place, m),
                    r.where,
                    states[c][torch.searchsorted(reads[c], r.where)],
                    removed[c],
                )
                for r in readings
                for m, c in r.conditions.items()
            ],
        )


def _frozen(
    work: Work, cell: CleanCell, readings: Sequence[_Reading]
) -> Iterator[Iterator[tuple[int, list[_Rows]]]]:
    """One batch after the other: sets that are changed at the same layers, of bounded rows."""
    alike: dict[tuple[int, ...], list[_Reading]] = defaultdict(list)
    for r in readings:
        alike[tuple(sorted({f[0] for c in r.conditions.values() for f in c}))].append(r)

    def one(chosen: Sequence[_Reading]) -> Iterator[tuple[int, list[_Rows]]]:
        reads = [(r.where, sorted(set(r.conditions.values()))) for r in chosen]
        for t, states, removed in frozen_runs(work, cell, reads):
            yield (
                t,
                [
                    _Rows((r.place, m), r.where, states[i][c], removed[i][c])
                    for i, r in enumerate(chosen)
                    for m, c in r.conditions.items()
                ],
            )

    for _, group in sorted(alike.items()):
        sizes = np.cumsum([len(r.where) * len(set(r.conditions.values())) for r in group])
        cuts = np.flatnonzero(np.diff(sizes // max(1, work.rows))) + 1
        for part in np.split(np.arange(len(group)), cuts):
            yield one([group[i] for i in part])


def _read(
    work: Work,
    cell: CleanCell,
    layer: int,
    rows: Sequence[_Rows],
    held: Held,
    found: CellEffects,
) -> None:
    """Write the effects of some conditions on one layer."""
    dictionary = work.dictionaries[layer]
    for some in _groups(rows, work.rows):
        sizes = np.array([len(r.where) for r in some])
        position = torch.cat([r.where for r in some])
        states = torch.cat([r.states for r in some])
        at = tuple(np.array([r.place for r in some]).T)
        found.effects[layer][at] = (
            mean_change(
                dictionary.n_features,
                dictionary.encode_topk(states),
                cell.codes[layer],
                position,
                sizes,
            )
            .cpu()
            .numpy()
        )
        clean = cell.states[layer][position]
        found.total[layer][at] = mean_rows(states - clean, sizes).cpu().numpy()
        if found.direct:
            direct = _direct(work, cell, layer, some, held)
            found.direct[layer][at] = mean_rows(direct - clean, sizes).cpu().numpy()


def _groups(rows: Sequence[_Rows], most: int) -> Iterator[list[_Rows]]:
    """Parts of bounded rows."""
    sizes = np.cumsum([len(r.where) for r in rows])
    for part in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(sizes // most)) + 1):
        yield [rows[i] for i in part]


def _direct(
    work: Work, cell: CleanCell, target: int, rows: Sequence[_Rows], held: Mapping[int, tuple]
) -> Tensor:
    """States [N, d] of a layer at the rows, by the residual stream alone."""
    result: list[Tensor | None] = [None] * len(rows)
    first = np.array([r.removed[0].layer for r in rows])
    for start in np.unique(first):
        chosen = np.flatnonzero(first == start)
        own = [rows[i] for i in chosen.tolist()]
        sizes = [len(r.where) for r in own]
        position = torch.cat([r.where for r in own])
        state = cell.states[int(start)][position]
        for l in range(int(start), target + 1):  # noqa: E741
            if l > start:
                parts = tuple(x[position] for x in held[l])
                state = work.adapter.carry(l, state, parts).to(work.adapter.dtype)
            slots = [(i, x) for i, r in enumerate(own) for x in r.removed if x.layer == l]
            if slots:
                ends = np.cumsum(sizes)
                for i, removal in slots:
                    part = slice(int(ends[i]) - sizes[i], int(ends[i]))
                    state[part] += _at(removal, own[i].where)
        for i, x in zip(chosen, state.split(sizes), strict=True):
            result[i] = x
    return torch.cat([x for x in result if x is not None])


def _at(removal: Removal, where: Tensor) -> Tensor:
    """What was removed at some positions [n]: [n, d]."""
    found = torch.zeros(
        len(where), removal.delta.shape[1], dtype=removal.delta.dtype, device=where.device
    )
    place = torch.searchsorted(removal.position, where)
    place = place.clamp_(max=len(removal.position) - 1)
    there = removal.position[place] == where
    found[there] = removal.delta[place[there]]
    return found

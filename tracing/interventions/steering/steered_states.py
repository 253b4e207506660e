r"""Edits that steer a feature, and the model's last states after them.

With the clean activation z(p) of the feature at position p, c the coefficient and m the feature's
mean active value (over all positions of the cohort where it fires), the state of its layer changes
by ``s(p) w`` with w its decoder column and

    amplify     s(p) = (c - 1) z(p)    at the positions where it fires
    clamp       s(p) = c m - z(p)      at the positions where it fires
    clamp-all   s(p) = c m - z(p)      at all gene positions

Controls put another direction of equal norm in the place of w: random ones, fixed over cells and
positions, and the column of the feature of the same layer that fires at the most similar number of
positions.

The dose of a condition is ``c - 1`` when amplifying. When clamping it differs between cells: the
mean of s(p) over the edited positions, in units of m.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from scircuit.tracing.engine.exact_context import make_edits, run_exact
from scircuit.tracing.hardware.memory_plan import make_plan

if TYPE_CHECKING:
    from scircuit.core.address import Address
    from scircuit.tracing.clean_pass.clean_pass import CleanCell
    from scircuit.tracing.dictionaries.dictionary import Dictionary
    from scircuit.tracing.models.adapter import Adapter

MODES = ("amplify", "clamp", "clamp-all")


class Strengths(NamedTuple):
    """Where a feature is edited in one cell, and how strongly."""

    positions: Tensor  # [P] ascending
    strength: Tensor  # [doses, P], the factor s(p) on the direction
    dose: np.ndarray  # [doses]
    active: Tensor  # positions where the feature fires


def strengths(
    cell: CleanCell, feature: Address, coefficients: np.ndarray, mode: str, mean_active: float
) -> Strengths | None:
    """Edits of a feature in a cell; None where there is no position to edit."""
    active, values = cell.firing[feature.layer].rows(feature.index)
    if mode == "amplify":
        if len(active) == 0:
            return None
        scaled = torch.stack([float(c - 1) * values for c in coefficients])
        return Strengths(active, scaled, coefficients - 1, active)
    positions, clean = active, values
    if mode == "clamp-all":
        positions = cell.genes
        clean = torch.zeros(len(positions), dtype=values.dtype, device=values.device)
        clean[torch.searchsorted(positions, active)] = values
    if len(positions) == 0 or not mean_active > 0:
        return None
    scaled = torch.stack([float(c * mean_active) - clean for c in coefficients])
    dose = scaled.double().mean(1).cpu().numpy() / mean_active
    return Strengths(positions, scaled, dose, active)


def column_of(dictionary: Dictionary, index: int, device: torch.device) -> Tensor:
    """Decoder column of one feature, [d]."""
    return dictionary.columns(torch.tensor([index], device=device))[0]


def directions(
    dictionary: Dictionary, feature: Address, matched: int | None, random: int, seed: int
) -> Tensor:
    """The feature's own direction, `random` random ones of equal norm, and that of the matched
    feature (where there is one): [1 + random (+ 1), d].
    """
    own = column_of(dictionary, feature.index, dictionary.columns(torch.tensor([0])).device)
    parts = [own]
    for i in range(random):
        # the first is the direction that runs with a single one always had
        key = [seed, feature.layer, feature.index, *([i] if i else [])]
        drawn = np.random.default_rng(key).normal(size=len(own))
        other = torch.as_tensor(drawn, dtype=own.dtype, device=own.device)
        parts.append(other * (own.norm() / other.norm()))
    if matched is not None:
        other = column_of(dictionary, matched, own.device)
        parts.append(other * (own.norm() / other.norm()))
    return torch.stack(parts)


def last_states(
    adapter: Adapter,
    cell: CleanCell,
    layer: int,
    read: Tensor,
    positions: Tensor,
    deltas: Iterator[Tensor] | list[Tensor],
) -> Iterator[Tensor]:
    """Last-layer states at the rows `read` after each edit, [B, R, d] a batch.

    Parameters
    ----------
    adapter, cell
        Model, and clean pass of the cell with the states of `layer`.
    layer
        Layer whose output is edited.
    read
        Positions that are read, ascending; the edited ones are among them.
    positions, deltas
        Edited positions, and for each edit the change [P, d] there.
    """
    size, last = make_plan(adapter, cell.length).pairs, adapter.n_layers - 1
    at, changes = torch.searchsorted(read, positions), []
    clean = cell.states[layer]

    def run() -> Tensor:
        edits = make_edits([read] * len(changes), changes)
        if layer == last:
            states = clean[edits.position] + edits.delta
        else:
            states = next(iter(run_exact(adapter, cell.states, edits, layer, (last,))))[1]
        return states.unflatten(0, (len(changes), -1))

    for delta in deltas:
        whole = torch.zeros(len(read), adapter.width, dtype=delta.dtype, device=delta.device)
        whole[at] = delta
        changes.append(whole)
        if len(changes) == size:
            yield run()
            changes = []
    if changes:
        yield run()


class LastRead(NamedTuple):
    """What readouts see of a pass: [B, V] logits and [B, d] states of the last layer, both averaged
    over gene positions.
    """

    logits: Tensor
    state: Tensor


def read_passes(
    adapter: Adapter,
    cell: CleanCell,
    layer: int,
    edit: Strengths,
    along: Tensor,
) -> LastRead:
    """Reads of the clean pass (first) and of every edit: the doses of each direction of `along`
    [D, d] in turn.
    """
    edits = [s[:, None] * direction for direction in along for s in edit.strength]
    everything = [torch.zeros_like(edits[0]), *edits]
    logits, means = [], []
    for states in last_states(adapter, cell, layer, cell.genes, edit.positions, everything):
        logits.append(adapter.mean_logits(states))
        means.append(states.mean(1))
    return LastRead(torch.cat(logits), torch.cat(means))


def matched_features(
    positions: Mapping[int, np.ndarray], norms: Mapping[int, np.ndarray], features: list[Address]
) -> dict[Address, int | None]:
    """For each feature the one of its layer that fires at the most similar number of positions (on
    a log scale), itself left out; None where no other fires. Ties go to the lower index.
    """
    found: dict[Address, int | None] = {}
    for f in features:
        count = positions[f.layer]
        others = np.flatnonzero((count > 0) & (norms[f.layer] > 0))
        others = others[others != f.index]
        if not len(others):
            found[f] = None
            continue
        distance = np.abs(np.log(count[others]) - np.log(max(count[f.index], 1)))
        found[f] = int(others[np.argmin(distance)])
    return found

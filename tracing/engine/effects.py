"""Ablate features of one layer in clean cells, and read their effect on every target: per-cell
effects, before any statistics.

Removing feature f from a cell changes the source state by ``-z_f(p) W_dec[:, f]`` at the positions
A where f is active. All positions or a row set (`scircuit.tracing.engine.exact_context`,
`scircuit.tracing.engine.frozen_context`) gives the edited states, and the effect on target t is
``mean over A of z'_t(p) - z_t(p)``.

Beside it the change of what the dictionaries read is kept, averaged over A (the states themselves,
or for transcoders the MLP inputs): the total change of every measured layer, and the part of it
that the residual stream alone carries there (`scircuit.tracing.engine.direct_path`). Pre-
activations are linear in the states, so the effect on those of every target can be read off these
(`scircuit.tracing.direction_null.readout`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from scircuit.core.context import EXACT
from scircuit.tracing.engine.activation_change import mean_change, mean_rows
from scircuit.tracing.engine.direct_path import HeldBlocks, run_direct
from scircuit.tracing.engine.exact_context import make_edits, run_exact
from scircuit.tracing.engine.frozen_context import run_frozen
from scircuit.tracing.hardware.out_of_memory import halving
from scircuit.tracing.hardware.parallel import run_jobs
from scircuit.tracing.hardware.precision import steps_in_format
from scircuit.tracing.hardware.row_padding import ROWS

if TYPE_CHECKING:
    from scircuit.tracing.clean_pass.clean_pass import CleanCell
    from scircuit.tracing.dictionaries.dictionary import Dictionary, Site
    from scircuit.tracing.hardware.memory_plan import Plan
    from scircuit.tracing.models.adapter import Adapter

Progress = Callable[[int, int, int], None]


class Effects(NamedTuple):
    """Per-cell effects of some sources on the targets of all measured layers."""

    effects: np.ndarray  # [sources, cells, targets]
    active: np.ndarray  # [sources, cells]
    positions: np.ndarray  # [sources], summed over cells
    # [sources, cells, measured layers x width] mean change of the state at the active positions
    total: np.ndarray
    direct: np.ndarray | None  # the same through the residual stream alone; None: not known


def joined_effects(parts: Sequence[tuple[np.ndarray, Effects]]) -> Effects:
    """Effects of all sources from those of some at a time, each with their places in the order."""
    if len(parts) == 1:
        return parts[0][1]
    order = np.argsort(np.concatenate([at for at, _ in parts]))
    found = [effects for _, effects in parts]
    direct = [f.direct for f in found if f.direct is not None]
    return Effects(
        np.concatenate([f.effects for f in found])[order],
        np.concatenate([f.active for f in found])[order],
        np.concatenate([f.positions for f in found])[order],
        np.concatenate([f.total for f in found])[order],
        np.concatenate(direct)[order] if direct else None,
    )


def edited_states(
    adapter: Adapter,
    cell: CleanCell,
    positions: Sequence[Tensor],
    deltas: Sequence[Tensor],
    layer: int,
    targets: Sequence[int],
    context: int,
) -> Iterator[tuple[int, Tensor]]:
    """Target layers and what their dictionaries read [N, d] at the edited rows, edit after edit, in
    a context.
    """
    if context == EXACT:
        edits = make_edits(positions, deltas)
        steps = run_exact(adapter, cell.states, edits, layer, targets, site=cell.site)
    else:
        steps = run_frozen(
            adapter, cell.states, positions, deltas, layer, targets, context, cell.site
        )
    return steps_in_format(adapter, steps)


class Ablation:
    """Ablations at one source layer.

    Parameters
    ----------
    adapter, dictionaries
        The model; layer -> dictionary of the source and of every target.
    cells
        Clean cells (`scircuit.tracing.clean_pass.clean_pass.CleanCells`).
    layer, targets
        0-based source layer and measured layers.
    plan
        Sizes of batches.
    note
        Called with a sentence when a batch ran out of memory and was halved.
    """

    def __init__(
        self,
        adapter: Adapter,
        dictionaries: Mapping[int, Dictionary],
        cells: Sequence[CleanCell],
        layer: int,
        targets: Sequence[int],
        plan: Plan,
        note: Callable[[str], None],
    ) -> None:
        self.adapter, self.dictionaries, self.cells = adapter, dictionaries, cells
        self.layer, self.targets, self.plan, self.note = layer, tuple(targets), plan, note
        sizes = [dictionaries[t].n_features for t in self.targets]
        self.offsets = dict(zip(self.targets, np.cumsum([0, *sizes[:-1]]).tolist(), strict=True))
        self.n_targets = sum(sizes)
        self.site: Site = dictionaries[layer].site
        self.held = HeldBlocks(
            adapter, cells, layer, max(self.targets), plan.states // 2, self.site
        )
        self.counts = np.stack(
            [np.diff(c.firing[layer].start) for c in cells], 1
        )  # [F, cells] active positions
        self._above = np.stack(
            [c.firing[layer].above() > 0 for c in cells], 1
        )  # else active by rank alone: nothing to remove

    def columns(self, target: int) -> slice:
        """Where a measured layer's targets are among all targets."""
        start = self.offsets[target]
        return slice(start, start + self.dictionaries[target].n_features)

    @property
    def values(self) -> int:
        """Numbers held for one source in one cell: its effects and both changes of the states."""
        return self.n_targets + 2 * len(self.targets) * self.adapter.width

    def effects(
        self,
        features: np.ndarray,
        context: int,
        directions: Tensor | None = None,
        progress: Progress | None = None,
        pairs: int = 0,
    ) -> Effects:
        """Effects of removing ``z_f`` along each feature's direction.

        Parameters
        ----------
        features
            [M] indices at the source layer: they say where and how strongly to edit.
        context
            `scircuit.core.context`.
        directions
            [M, d] directions to remove; the features' own decoder columns when None.
        progress
            Called with (pairs done, pairs, 0) after each batch.
        pairs
            Edits of one exact batch; the plan's when 0.
        """
        device, dtype = self.adapter.device, self.adapter.dtype
        features = np.asarray(features)
        removed = (
            self.dictionaries[self.layer].columns(torch.as_tensor(features, device=device))
            if directions is None
            else directions
        )
        shape, width = (len(features), len(self.cells)), len(self.targets) * self.adapter.width
        effect, total, direct = (
            torch.zeros(*shape, size, dtype=dtype, device=device)
            for size in (self.n_targets, width, width)
        )
        found = (effect, total, direct)
        counts = self.counts[features]
        jobs, sizes = [], []
        for c in range(len(self.cells)):
            for chosen in self._batches(
                counts[:, c] * self._above[features, c],
                context,
                pairs or self.plan.pairs,
                self._spans(c, features),
            ):
                jobs.append(partial(self._batch, c, features, chosen, removed, context, found))
                sizes.append(len(chosen))
        done, pairs_in_all = 0, int((counts > 0).sum())
        for size, _ in zip(sizes, run_jobs(jobs, device, self.plan.jobs), strict=True):
            done += size
            if progress:
                progress(done, pairs_in_all, 0)
        return Effects(
            effect.cpu().numpy(),
            counts > 0,
            counts.sum(1),
            total.cpu().numpy(),
            direct.cpu().numpy() if self.adapter.has_direct_path else None,
        )

    def _batches(
        self, counts: np.ndarray, context: int, pairs: int, spans: np.ndarray | None = None
    ) -> list[np.ndarray]:
        """Slots that are computed together in one cell, given the active positions of each and the
        spans of rows [2, slots] that they touch, where these matter.
        """
        active = np.flatnonzero(counts)
        if context == EXACT:
            if spans is not None:
                active = active[np.lexsort(spans[:, active])]
            return [active[i : i + pairs] for i in range(0, len(active), pairs)]
        # cut where the running sum passes a multiple of the rows of a batch: a batch exceeds them
        # by less than its first edit
        batch = np.cumsum(counts[active] + context) // self.plan.rows
        return np.split(active, np.flatnonzero(np.diff(batch)) + 1) if len(active) else []

    def _spans(self, c: int, features: np.ndarray) -> np.ndarray | None:
        """First and last block of rows [2, M] that each feature's edits touch in a cell, by which
        they are computed together; None where every row sees every other. Silent features have
        any.
        """
        if not self.adapter.sight(self.layer + 1).causal:
            return None
        firing = self.cells[c].firing[self.layer]
        at = np.r_[firing.positions.cpu().numpy(), 0]
        return np.stack([at[firing.start[features]], at[firing.start[features + 1] - 1]]) // ROWS

    def _batch(
        self,
        c: int,
        features: np.ndarray,
        slots: np.ndarray,
        directions: Tensor,
        context: int,
        found: tuple[Tensor, Tensor, Tensor],
    ) -> None:
        """Write effect, total and direct change of one batch into ``found[...][slots, c]``."""
        cell, (effect, total, direct) = self.cells[c], found
        firing, width = cell.firing[self.layer], self.adapter.width
        layers = {t: slice(i * width, (i + 1) * width) for i, t in enumerate(self.targets)}

        def work(part: np.ndarray) -> Tensor:
            rows = [firing.rows(int(features[i])) for i in part]
            at = torch.as_tensor(part, device=effect.device)
            sizes = np.array([len(positions) for positions, _ in rows])
            position, strength = torch.cat([p for p, _ in rows]), -torch.cat([v for _, v in rows])
            slot = torch.as_tensor(np.repeat(np.arange(len(part)), sizes), device=effect.device)
            delta = strength[:, None] * directions[at][slot]
            for t, states in edited_states(
                self.adapter,
                cell,
                [p for p, _ in rows],
                delta.split(sizes.tolist()),
                self.layer,
                self.targets,
                context,
            ):
                dictionary = self.dictionaries[t]
                effect[at, c, self.columns(t)] = mean_change(
                    dictionary.n_features,
                    dictionary.encode_topk(states),
                    cell.codes[t],
                    position,
                    sizes,
                )
                total[at, c, layers[t]] = mean_rows(states - cell.read[t][position], sizes)
            if self.adapter.has_direct_path:
                edited = cell.states[self.layer][position] + delta
                for t, states in run_direct(
                    self.adapter,
                    self.held.of(c),
                    edited,
                    position,
                    self.layer,
                    self.targets,
                    self.site,
                ):
                    direct[at, c, layers[t]] = mean_rows(states - cell.read[t][position], sizes)
            return at

        halving(work, slots, self.note)

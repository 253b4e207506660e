"""Attribution of many cells as one graph between features, cell by cell, in bounded memory.

In one cell the value of an edge is the sum over the source's positions of its contributions to the
target, averaged over the P gene positions where the target fires (the words of a prompt are the
same in every cell, so what is found there is no evidence of many cells):

    x_c(source, target) = 1/P  sum over t where target fires, s of  contribution(source at s -> t) .

Over cells an edge has n, the cells where the target fires and x_c is not 0; mean and sd of x_c over
them; n_pos and n_neg, the cells of each sign; and the two-sided sign-flip p of these cells
(`scircuit.tracing.statistics.sign_flip`). Contributions are exact but for what is held fixed, and
say what the target's pre-activation is made of in a cell; they are not effects of an ablation.

Kept are, for each target, the strongest sources by mean ``|x_c|`` over the cells where it fires, up
to `share` of all of it; the rest is one number, `remainder`, beside the errors, the embeddings and
the biases, so the parts of a target add up to its mean pre-activation. While cells come in, a
target holds at most `capacity` sources: beyond, its weakest go, their mass into the remainder, and
an edge that comes back says what it may have lost (`lost`; 0 almost always). Beside that and one
batch of a sweep, memory holds one batch of targets with their sources in one cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from scircuit.core.errors import UserError
from scircuit.tracing.attribution.backward_rows import (
    EMBEDDING,
    TARGETS,
    backward_rows,
    target_batches,
)
from scircuit.tracing.attribution.completeness import Completeness
from scircuit.tracing.attribution.edge_sums import CellSums, TargetSums, gather, sign_flips
from scircuit.tracing.attribution.feature_pairs import pair_weights
from scircuit.tracing.attribution.frozen_cell import FrozenCell
from scircuit.tracing.attribution.targets import Target, feature_targets
from scircuit.tracing.attribution.transcoder_weights import TranscoderWeights
from scircuit.tracing.models.decoders.prenorm import PreNorm

SHARE, CAPACITY = 0.95, 4096
"""Share of a target's mean absolute contribution that its kept sources have, and sources held for
one target while cells come in.
"""

Feature = tuple[int, int]
"""Layer and index."""


class EdgeStatistics(NamedTuple):
    """Kept edges into one target, strongest first."""

    target: Feature
    source: np.ndarray  # [N, 2] layer and index
    n: np.ndarray  # [N] cells where the target fires and the source contributes
    positions: np.ndarray  # [N] pairs of positions of these, source and target
    mean: np.ndarray  # [N]
    sd: np.ndarray  # [N] with n - 1; NaN of a single cell
    n_pos: np.ndarray  # [N]
    n_neg: np.ndarray  # [N]
    p: np.ndarray  # [N] two-sided sign-flip p
    same_token: np.ndarray  # [N] part of the mean from the target's own position, by all paths
    factor: np.ndarray  # [N] mean over cells of z / sigma at that position, 0 where it is silent
    weight: np.ndarray  # [N] what no input changes of it (`feature_pairs`); NaN without a cell
    lost: np.ndarray  # [N] bound of |x_c| summed over cells that is in the remainder instead
    sources: int  # all that contribute in at least one cell, kept or not
    cells: int  # cells where the target fires
    fires: int  # positions where it does
    value: float  # mean pre-activation there, over cells
    remainder: float  # mean over these cells of all sources that are not kept
    remainder_size: float  # mean of their |x_c|
    errors: float  # means of the same
    embeddings: float
    biases: float
    relative: float  # worst relative difference of a sum and its value


class OverCells:
    """Edges into chosen features, over the cells given to `add`.

    Parameters
    ----------
    targets
        (layer, index) of the features to explain.
    capacity
        Sources held for one target.
    batch
        Targets of one sweep; no number depends on it.

    Raises
    ------
    UserError
        If there are no targets, one is given twice, or the capacity is below 1.
    """

    def __init__(
        self, targets: Sequence[Feature], capacity: int = CAPACITY, batch: int = TARGETS
    ) -> None:
        if not targets or len(set(targets)) < len(targets) or capacity < 1:
            raise UserError(
                f"{len(targets)} targets, {len(set(targets))} of them different, and a capacity of"
                f" {capacity}; expected different targets and a capacity of at least 1",
                "give each target once",
            )
        self.targets, self.capacity, self.batch = list(targets), capacity, batch
        self._sums = {target: TargetSums() for target in self.targets}
        self._first: tuple[PreNorm, Mapping[int, TranscoderWeights]] | None = None

    def add(self, cell: FrozenCell) -> None:
        """Sweep one cell's positions where a target fires.

        Raises
        ------
        UserError
            If its transcoders are not those of the cells before, or lack a target.
        """
        self._require_same(cell)
        names, targets = [], []
        for name, places in firing_targets(cell, self.targets).items():
            names += [name] * len(places)
            targets += feature_targets(cell, *name, places)
            if len(targets) >= self.batch:  # features together, so that batches are full
                self._sweep(cell, names, targets)
                names, targets = [], []
        if targets:
            self._sweep(cell, names, targets)

    def _require_same(self, cell: FrozenCell) -> None:
        if self._first is None:
            self._first = cell.adapter, cell.transcoders
        first, own = (
            {layer: w.dictionary.sha256 for layer, w in transcoders.items()}
            for transcoders in (self._first[1], cell.transcoders)
        )
        if first != own:
            raise UserError(
                "a cell was frozen with other transcoders than the cells before it",
                "give cells of one model and one set of transcoders",
            )

    def _sweep(self, cell: FrozenCell, names: list[Feature], targets: list[Target]) -> None:
        """All positions of some features in one cell."""
        gathered = {name: CellSums() for name in names}
        ends, relative = np.zeros((len(targets), 4)), np.zeros(len(targets))
        for chosen in target_batches(cell, targets, self.batch):
            some = [targets[i] for i in chosen]
            complete = Completeness(some)
            sigmas = [float(cell.layers[t.layer].sigma_2[t.position]) for t in some]
            for part in backward_rows(cell, some):
                complete.add(part)
                if part.layer != EMBEDDING and part.features.shape[-1]:
                    gather(part, some, sigmas, [gathered[names[i]] for i in chosen])
            relative[chosen] = complete.relative
            ends[chosen, 0] = complete.value
            for e, kind in enumerate(("errors", "embeddings", "biases")):
                ends[chosen, e + 1] = complete.sums[kind]
        for name, found in gathered.items():
            own = [i for i, other in enumerate(names) if other == name]
            keys, total, same, factor, positions = found.joined()
            live, share = total != 0, 1 / len(own)
            sums = self._sums[name]
            sums.add(
                keys[live],
                share * total[live],
                share * np.stack([same, factor], 1)[live],
                positions[live],
                self.capacity,
            )
            sums.cells += 1
            sums.fires += len(own)
            sums.ends += share * ends[own].sum(0)
            sums.relative = max(sums.relative, float(relative[own].max()))

    def edges(self, target: Feature, share: float = SHARE) -> EdgeStatistics:
        """Kept edges into one target.

        Raises
        ------
        UserError
            If it is not one of the targets, or the share is not one.
        """
        if target not in self._sums or not 0 <= share <= 1:
            raise UserError(
                f"no edges into {target} with a share of {share}; expected one of the"
                f" {len(self.targets)} targets and a share of 0 to 1",
                "give (layer, index) as to OverCells",
            )
        sums = self._sums[target]
        order = np.argsort(-sums.sizes, kind="stable")
        reached = np.cumsum(sums.sizes[order])
        whole = (reached[-1] if len(reached) else 0.0) + sums.gone_size
        kept = order[: int(np.searchsorted(reached, share * whole)) + 1]
        rest = order[len(kept) :]
        source = np.stack([sums.keys[kept] >> 32, sums.keys[kept] & 0xFFFFFFFF], 1)
        n, cells = sums.count[kept], max(sums.cells, 1)
        total = sums.mean * sums.count
        with np.errstate(invalid="ignore", divide="ignore"):
            sd = np.sqrt(np.where(n > 1, sums.square[kept] / (n - 1), np.nan))
        value, errors, embeddings, biases = (sums.ends / cells).tolist()
        return EdgeStatistics(
            target,
            source,
            n,
            sums.positions[kept],
            sums.mean[kept],
            sd,
            sums.signs[kept, 0],
            sums.signs[kept, 1],
            sign_flips(sums, kept),
            sums.own[kept, 0] / np.maximum(n, 1),
            sums.own[kept, 1] / np.maximum(n, 1),
            self._weights(target, source),
            sums.lost[kept],
            len(sums.keys) + len(sums.gone_keys - set(sums.keys.tolist())),
            sums.cells,
            sums.fires,
            value,
            (float(total[rest].sum()) + sums.gone) / cells,
            (float(sums.sizes[rest].sum()) + sums.gone_size) / cells,
            errors,
            embeddings,
            biases,
            sums.relative,
        )

    def _weights(self, target: Feature, source: np.ndarray) -> np.ndarray:
        """Input-invariant weights of edges, [N]."""
        found = np.full(len(source), np.nan)
        if self._first is None:
            return found
        adapter, transcoders = self._first
        into = transcoders[target[0]]
        for layer in np.unique(source[:, 0]).tolist():
            rows = np.flatnonzero(source[:, 0] == layer)
            features = torch.from_numpy(source[rows, 1]).to(into.encoder.device)
            to = torch.full_like(features, target[1])
            weights = pair_weights(adapter, transcoders[layer], into, features, to)
            found[rows] = weights.cpu().double().numpy()
        return found


def firing_targets(cell: FrozenCell, features: Sequence[Feature]) -> dict[Feature, list[int]]:
    """Gene positions where features fire in a cell, ascending; features that do not are left out.

    Raises
    ------
    UserError
        If there is no such layer.
    """
    wanted: dict[int, set[int]] = {}
    for layer, feature in features:
        if layer not in cell.transcoders:
            raise UserError(
                f"a target in layer {layer}; there are transcoders of layers"
                f" {', '.join(map(str, sorted(cell.transcoders)))}",
                "give (layer, index), both from 0",
            )
        wanted.setdefault(layer, set()).add(feature)
    found: dict[Feature, list[int]] = {}
    genes = cell.adapter.gene_positions(cell.cell).cpu().numpy()
    for layer in sorted(wanted):
        frozen = cell.layers[layer]
        indices, active = frozen.indices.cpu().numpy(), (frozen.values > 0).cpu().numpy()
        chosen = active & np.isin(indices, list(wanted[layer]))
        rows, columns = np.nonzero(chosen & np.isin(np.arange(len(chosen)), genes)[:, None])
        for row, feature in zip(rows.tolist(), indices[rows, columns].tolist(), strict=True):
            found.setdefault((layer, feature), []).append(row)
    return found

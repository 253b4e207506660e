"""Sums of what sources contribute to one target: over the positions of one cell, and over cells in
bounded memory.

Mean and sum of squares are updated cell by cell (Welford 1962),

    mean += (x - mean) / n ,      square += (x - mean_before) (x - mean_after) ,

for a source in the cells where it contributes. Beyond a capacity the sources with the least sum of
``|x|`` are let go. Their sums are kept as one number, and the largest of them bounds what a source
that comes in later may have had before.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scircuit.tracing.attribution.backward_rows import LayerPart
from scircuit.tracing.attribution.targets import Target
from scircuit.tracing.statistics.sign_flip import sign_flip_p

_COLUMNS = ("sizes", "count", "mean", "square", "signs", "positions", "own", "lost")


Sums = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


class CellSums:
    """Contributions to all positions of one target in one cell, summed by source feature: keys,
    sums, those from the target's own position, z / sigma there, and counts.
    """

    def __init__(self) -> None:
        self._layers: dict[int, Sums] = {}

    def add(self, layer: int, found: Sums) -> None:
        """Add one position, behind those that were added: the order decides the last bits."""
        held = self._layers.get(layer)
        self._layers[layer] = found if held is None else _summed(held, found)

    def joined(self) -> Sums:
        """All layers, keys ascending."""
        none = np.zeros(0)
        empty = (none.astype(np.int64), none, none, none, none.astype(np.int64))
        parts = [self._layers[layer] for layer in sorted(self._layers)] or [empty]
        keys, total, same, factor, counts = (np.concatenate(c) for c in zip(*parts, strict=True))
        return keys, total, same, factor, counts


def _summed(first: Sums, second: Sums) -> Sums:
    keys, inverse = np.unique(np.concatenate([first[0], second[0]]), return_inverse=True)
    total, same, factor, counts = (
        np.bincount(inverse, np.concatenate([a, b]), len(keys))
        for a, b in zip(first[1:], second[1:], strict=True)
    )
    return keys, total, same, factor, counts.astype(np.int64)


def gather(
    part: LayerPart,
    targets: Sequence[Target],
    sigmas: Sequence[float],
    gathered: Sequence[CellSums],
) -> None:
    """Add one layer's contributions to each target, whatever else is in its batch; `sigmas` are
    those of the norm before each target.
    """
    values = part.values.cpu().double().numpy()
    features = part.features.cpu().double().numpy()
    indices = part.indices.cpu().numpy()
    unique, inverse = np.unique(indices, return_inverse=True)
    inverse, size = inverse.reshape(indices.shape), len(unique)
    keys = (part.layer << 32) + unique.astype(np.int64)
    for b, (target, sigma, own) in enumerate(zip(targets, sigmas, gathered, strict=True)):
        seen = slice(0, target.position + 1)
        found, place = features[b, seen], inverse[seen].ravel()
        total = np.bincount(place, found.ravel(), size)
        counts = np.bincount(place, (found != 0).ravel(), size).astype(np.int64)
        same = np.bincount(inverse[target.position], found[-1], size)
        factor = np.bincount(inverse[target.position], values[target.position] / sigma, size)
        live = counts > 0
        own.add(part.layer, (keys[live], total[live], same[live], factor[live], counts[live]))


class TargetSums:
    """What one target holds while cells come in; one row for each source.

    Attributes
    ----------
    keys
        [N] held sources, ascending.
    sizes, count, mean, square
        [N] sum of ``|x_c|``, cells, mean, and sum of squared differences from it (Welford).
    signs
        [N, 2] cells with x_c above and below 0.
    positions, own
        [N] pairs of positions; [N, 2] the part of the sum of x_c from the target's own position,
        and the sum of z / sigma there.
    lost
        [N] bound of the ``|x_c|`` that an earlier row of the same source had when it was let go.
    values
        Of each cell the held keys and their x_c, for the sign-flip test.
    cells, fires, ends
        Cells and positions where the target fires; sums of what is no feature.
    gone, gone_size, gone_keys
        Sums of x_c and ``|x_c|`` of sources that were let go, and which these were.
    relative
        Worst relative difference of a sum and its value.
    """

    def __init__(self) -> None:
        self.keys = np.zeros(0, np.int64)  # ascending
        self.sizes = np.zeros(0)  # sum of |x_c|
        self.count = np.zeros(0, np.int64)
        self.mean, self.square = np.zeros(0), np.zeros(0)
        self.signs = np.zeros((0, 2), np.int64)
        self.positions = np.zeros(0, np.int64)
        self.own = np.zeros((0, 2))
        self.lost = np.zeros(0)
        self.values: list[tuple[np.ndarray, np.ndarray]] = []  # of each cell: keys, x_c
        self.cells = self.fires = 0
        self.ends = np.zeros(4)  # value, errors, embeddings, biases
        self.gone, self.gone_size, self.bound = 0.0, 0.0, 0.0
        self.gone_keys: set[int] = set()
        self.relative = 0.0

    def add(
        self,
        keys: np.ndarray,
        x: np.ndarray,
        own: np.ndarray,
        positions: np.ndarray,
        capacity: int,
    ) -> None:
        """Count one cell: distinct ascending keys, and their x_c, none 0."""
        union = np.union1d(self.keys, keys)
        old, new = np.searchsorted(union, self.keys), np.searchsorted(union, keys)
        for name in _COLUMNS:
            held = getattr(self, name)
            wide = np.zeros((len(union), *held.shape[1:]), held.dtype)
            if name == "lost":
                wide[:] = self.bound  # a source that was not held may have been let go
            wide[old] = held
            setattr(self, name, wide)
        self.keys = union
        self.sizes[new] += np.abs(x)
        self.count[new] += 1
        step = x - self.mean[new]
        self.mean[new] += step / self.count[new]
        self.square[new] += step * (x - self.mean[new])
        self.signs[new] += np.stack([x > 0, x < 0], 1)
        self.positions[new] += positions
        self.own[new] += own
        self.values.append((keys, x.astype(np.float32)))
        if len(union) > capacity:
            self._let_go(capacity)

    def _let_go(self, capacity: int) -> None:
        order = np.argsort(-self.sizes, kind="stable")
        gone, kept = order[capacity:], np.sort(order[:capacity])
        self.gone += float((self.mean * self.count)[gone].sum())
        self.gone_size += float(self.sizes[gone].sum())
        self.gone_keys.update(self.keys[gone].tolist())
        self.bound = max(self.bound, float((self.sizes + self.lost)[gone].max()))
        for name in _COLUMNS:
            setattr(self, name, getattr(self, name)[kept])
        self.keys = self.keys[kept]
        self.values = [
            (keys[held], x[held]) for keys, x in self.values for held in (np.isin(keys, self.keys),)
        ]


def sign_flips(sums: TargetSums, kept: np.ndarray) -> np.ndarray:
    """Two-sided sign-flip p of the rows `kept` of a target's sources."""
    if not len(kept):
        return np.zeros(0)
    order = np.argsort(sums.keys[kept])
    keys = sums.keys[kept][order]
    table = np.zeros((len(kept), max(len(sums.values), 1)))
    for c, (own, x) in enumerate(sums.values):
        at = np.searchsorted(keys, own)
        inside = at < len(keys)
        inside[inside] &= keys[at[inside]] == own[inside]
        table[order[at[inside]], c] = x[inside]
    return sign_flip_p(table)

r"""A property of pairs of features, over edges: how many edges have it, and how many would if the
targets were others.

The property is a table of yes and no over sources and targets, up to eight at once, one bit each.
Two nulls:

- *Resampled targets*. Within a stratum (`scircuit.analysis.coherence.strata`: same layer, about as
  many terms, about the same firing rate) features take each other's place as targets. The edges
  stay where they are, so that a target with many edges is one random feature with many edges and
  not many random ones. With k(s, b) features of stratum b, of size N(b), that have the property
  with source s, the expected number is exact arithmetic,

      E = sum over edges (s, t) of  k(s, b(t)) / N(b(t)) .

- *Rewired edges*. Within each pair of layers every source keeps its number of targets and every
  target its number of sources, and who meets whom is random
  (`scircuit.analysis.structure.rewiring`: sources trade the targets that they do not share).

Draws are numbered; draw i of a pair of layers uses the same places of targets as draw i of any
other pair with the same target layer.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from scircuit.analysis.structure.layered_edges import LayeredEdges
from scircuit.analysis.structure.rewiring import MIXING, trade_loop

Properties = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(sources, targets) -> uint8 (sources, targets): bit b is property b of the pair."""

_TRADED = 400_000_000  # edges dealt in all rounds together above which draws are one round apart
_ROUNDS = 5
_THREADS = 2


@dataclass(frozen=True)
class PairNulls:
    """Edges that have each property, by pair of layers, and the same under both nulls.

    Parameters
    ----------
    layers
        (source layer, target layer) of each group of edges.
    edges
        Edges of each group, (groups,).
    observed
        Edges with the property, int64 (groups, bits).
    expected
        Exact mean under resampled targets, (groups, bits).
    resampled, rewired
        Draws, int64 (draws, groups, bits).
    by_source
        Observed and expected edges with the property of every source, (2, features, bits).
    movable
        Edges whose target has another feature in its stratum.
    """

    layers: tuple[tuple[int, int], ...]
    edges: np.ndarray
    observed: np.ndarray
    expected: np.ndarray
    resampled: np.ndarray
    rewired: np.ndarray
    by_source: np.ndarray
    movable: int

    def total(self, bit: int) -> tuple[int, float, np.ndarray, np.ndarray]:
        """Observed, expected, and draws of both nulls, over all pairs of layers."""
        return (
            int(self.observed[:, bit].sum()),
            float(self.expected[:, bit].sum()),
            self.resampled[:, :, bit].sum(1),
            self.rewired[:, :, bit].sum(1),
        )


def pair_nulls(
    edges: LayeredEdges,
    stratum: np.ndarray,
    properties: Properties,
    *,
    bits: int = 1,
    draws: int = 1000,
    seed: int = 0,
) -> PairNulls:
    """Count a property over edges, and over edges with other targets.

    Parameters
    ----------
    edges
        Edges whose targets all have a stratum.
    stratum
        Of every feature, -1: it cannot be a target, int (features,).
    properties
        The table; asked once for each pair of layers.
    bits
        Number of properties.
    draws
        Of each null.
    seed
        Of both.
    """
    rounds = _ROUNDS if edges.size * draws * _ROUNDS <= _TRADED else 1
    compiled_trades()  # compiled once, before there are threads
    with ThreadPoolExecutor(_THREADS) as pool:
        parts = list(
            pool.map(
                lambda at: _group(edges, at, stratum, properties, (bits, draws, rounds, seed)),
                itertools.pairwise(edges.start.tolist()),
            )
        )
    if not parts:
        none = np.zeros((0, bits))
        draw = np.zeros((draws, 0, bits), np.int64)
        by_source = np.zeros((2, edges.features, bits))
        return PairNulls((), np.zeros(0, np.int64), none, none, draw, draw, by_source, 0)
    by_source = np.zeros((2, edges.features, bits))
    for part in parts:  # in their order, so that sums do not depend on the threads
        by_source[:, part.rows] += part.by_source
    return PairNulls(
        tuple(part.layers for part in parts),
        np.diff(edges.start),
        np.array([part.observed for part in parts]),
        np.array([part.expected for part in parts]),
        np.stack([part.resampled for part in parts], axis=1),
        np.stack([part.rewired for part in parts], axis=1),
        by_source,
        sum(part.movable for part in parts),
    )


class _Group(NamedTuple):
    """`PairNulls` of one pair of layers; `rows` are its sources."""

    layers: tuple[int, int]
    observed: np.ndarray
    expected: np.ndarray
    resampled: np.ndarray
    rewired: np.ndarray
    rows: np.ndarray
    by_source: np.ndarray
    movable: int


def _group(
    edges: LayeredEdges,
    at: tuple[int, int],
    stratum: np.ndarray,
    properties: Properties,
    options: tuple[int, int, int, int],
) -> _Group:
    """Observed and drawn numbers of the edges `at` (first, last) of one pair of layers."""
    bits, draws, rounds, seed = options
    source, target = edges.source[slice(*at)], edges.target[slice(*at)]
    layers = int(edges.layer[source[0]]), int(edges.layer[target[0]])
    columns = np.flatnonzero((stratum >= 0) & (edges.layer == layers[1]))
    columns = columns[np.lexsort((columns, stratum[columns]))]
    place = np.empty(edges.features, np.int64)
    place[columns] = np.arange(columns.size)
    rows, row = np.unique(source, return_inverse=True)
    table = np.ascontiguousarray(properties(rows, columns), dtype=np.uint8)
    column = place[target]
    starts = np.flatnonzero(np.diff(stratum[columns], prepend=-1))
    sizes = np.diff(np.append(starts, columns.size))
    of_column = np.repeat(np.arange(starts.size), sizes)
    block = of_column[column]
    cells, flat = row * columns.size, table.ravel()
    now = flat[cells + column]
    observed, expected = np.zeros(bits, np.int64), np.zeros(bits)
    by_source = np.zeros((2, rows.size, bits))
    for bit in range(bits):
        has = (table >> bit) & 1
        chance = (np.add.reduceat(has, starts, axis=1, dtype=np.int64) / sizes)[row, block]
        yes = (now >> bit) & 1
        observed[bit], expected[bit] = np.count_nonzero(yes), chance.sum()
        for kind, value in enumerate((yes, chance)):
            by_source[kind, :, bit] = np.bincount(row, value, rows.size)
    resampled, rewired = np.zeros((2, draws, bits), np.int64)
    rng = np.random.default_rng([seed, 11, layers[1]])
    for d in range(draws):
        other = np.argsort(of_column + rng.random(columns.size))
        _count(flat.take(cells + other[column]), resampled[d])
    chain = Trades(row, column, np.random.default_rng([seed, 13, *layers]), columns.size)
    for d in range(draws):
        _count(flat.take(cells + chain.draw(rounds)), rewired[d])
    movable = int(np.count_nonzero(sizes[block] > 1))
    return _Group(layers, observed, expected, resampled, rewired, rows, by_source, movable)


def _count(found: np.ndarray, into: np.ndarray) -> None:
    """Number of pairs with each property."""
    for bit in range(into.size):
        into[bit] = np.count_nonzero(found & np.uint8(1 << bit))


def compiled_trades() -> Callable[..., None]:
    """The loop of the rounds of trades; compiled at the first call."""
    from scircuit.core.machine_code import machine_code

    return machine_code(
        trade_loop,
        "void(i8[::1], i8[::1], i8[:, :, ::1], f8[:, ::1], u1[::1], i8[::1], i8[::1])",
    )


class Trades:
    """A chain of rewired targets of the edges of one pair of layers, ordered by source.

    Parameters
    ----------
    row, column
        Source and target of every edge; edges of one source are together, (edges,).
    rng
        Of the trades.
    columns
        Number of targets.
    """

    def __init__(
        self, row: np.ndarray, column: np.ndarray, rng: np.random.Generator, columns: int
    ) -> None:
        self._start = np.append(np.flatnonzero(np.diff(row, prepend=-1)), row.size).astype(np.int64)
        self._target, self._rng, self._begun = column.astype(np.int64), rng, False
        self._mark = np.zeros(columns, np.uint8)
        self._pool, self._slot = np.zeros((2, row.size), np.int64)
        self._loop = compiled_trades()

    def draw(self, rounds: int) -> np.ndarray:
        """Targets after so many further rounds of trades; not to be kept beyond the next call."""
        sources = self._start.size - 1
        for _ in range((rounds if self._begun else MIXING) if sources > 1 else 0):
            order = self._rng.permutation(sources)[: sources // 2 * 2].reshape(1, -1, 2)
            luck = self._rng.random((1, self._target.size))
            self._loop(self._target, self._start, order, luck, self._mark, self._pool, self._slot)
        self._begun = True
        return self._target


def kept(edges: LayeredEdges, keep: np.ndarray) -> LayeredEdges:
    """The edges where `keep` is true, bool (edges,)."""
    from scircuit.analysis.structure.layered_edges import layered_edges

    return layered_edges(edges.source[keep], edges.target[keep], edges.effect[keep], edges.layer)

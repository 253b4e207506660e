r"""Random graphs with the degrees of a circuit, pair of layers by pair of layers.

Within a pair of layers the sources are paired at random, and the two of a pair trade: what is a
target of both stays, and all other targets of the two are dealt again at random, as many to each as
before,

    a -> {c, d, e},  b -> {c, f}     becomes, say,     a -> {c, e, f},  b -> {c, d} .

Every feature keeps its number of edges to, and from, every layer; no edge is there twice, and none
skips a layer or turns round. A round of trades is as likely as its reverse, and in the long run all
such graphs are equally likely (Strona et al., Nature Communications 5:4114, 2014; Carstens et al.,
ESA 2018). A trade is a batch of exchanges of two edges (Maslov and Sneppen, Science 296:910, 2002).
"""

from __future__ import annotations

import numpy as np

from scircuit.analysis.structure.layered_edges import LayeredEdges
from scircuit.core.machine_code import machine_code

MIXING = 50
"""Rounds of trades before the first graph."""

BETWEEN = 10
"""Rounds of trades between one graph and the next."""

_NUMBERS = 5_000_000  # random numbers in memory at a time


def trade_loop(
    target: np.ndarray,
    start: np.ndarray,
    pairs: np.ndarray,
    luck: np.ndarray,
    mark: np.ndarray,
    pool: np.ndarray,
    slot: np.ndarray,
) -> None:
    """Rounds of trades, changing `target`.

    Parameters
    ----------
    target
        Targets, those of one source in one layer together, int64 (edges,).
    start
        First edge of every such list, and the number of edges, int64 (lists + 1,).
    pairs
        The lists that trade, in every round none twice, int64 (rounds, pairs, 2).
    luck
        Uniform numbers in [0, 1), (rounds, edges).
    mark
        Scratch of zeros for every feature, uint8; zeros again afterwards.
    pool, slot
        Scratch, int64 (edges,).
    """
    for turn in range(pairs.shape[0]):
        used = 0
        for pair in range(pairs.shape[1]):
            a, b = pairs[turn, pair, 0], pairs[turn, pair, 1]
            for i in range(start[a], start[a + 1]):
                mark[target[i]] = 1
            for i in range(start[b], start[b + 1]):
                mark[target[i]] += 2
            many = 0
            for i in range(start[a], start[a + 1]):
                if mark[target[i]] == 1:
                    pool[many], slot[many] = target[i], i
                    many += 1
            for i in range(start[b], start[b + 1]):
                if mark[target[i]] == 2:
                    pool[many], slot[many] = target[i], i
                    many += 1
            for i in range(start[a], start[a + 1]):
                mark[target[i]] = 0
            for i in range(start[b], start[b + 1]):
                mark[target[i]] = 0
            for i in range(many - 1, 0, -1):
                j = int(luck[turn, used] * (i + 1))
                used += 1
                pool[i], pool[j] = pool[j], pool[i]
            for i in range(many):
                target[slot[i]] = pool[i]


class Rewiring:
    """A chain of rewired graphs.

    Parameters
    ----------
    edges
        The circuit; its own order is kept, so that edge i keeps its source and its effect.
    rng
        Of the trades.
    between
        Rounds of trades between one graph and the next.
    """

    def __init__(
        self, edges: LayeredEdges, rng: np.random.Generator, between: int = BETWEEN
    ) -> None:
        self._target, self._rng, self._started = edges.target.copy(), rng, False
        self._between = between
        reached = edges.layer[edges.target]
        new = (np.diff(edges.source, prepend=-1) != 0) | (np.diff(reached, prepend=-1) != 0)
        first = np.flatnonzero(new)
        self._start = np.append(first, edges.size)
        # lists of one pair of layers are neighbours, and so are those of a pair of lists: the first
        # of each, counted from the first list of its pair of layers
        self._group = np.searchsorted(edges.start, first, side="right")
        begin = np.searchsorted(self._group, self._group)
        at = np.arange(first.size)
        self._even = np.flatnonzero(
            ((at - begin) % 2 == 0) & (np.append(self._group[1:], -1)[: at.size] == self._group)
        )
        self._mark = np.zeros(edges.features, np.uint8)
        self._pool, self._slot = np.zeros((2, edges.size), np.int64)

    def draw(self) -> np.ndarray:
        """The next graph's targets, (edges,); not to be changed, nor kept beyond the next call."""
        rounds = self._between if self._started else MIXING
        self._started = True
        loop = machine_code(
            trade_loop,
            "void(i8[::1], i8[::1], i8[:, :, ::1], f8[:, ::1], u1[::1], i8[::1], i8[::1])",
        )
        most = max(1, _NUMBERS // max(self._target.size, 1))
        while self._even.size and rounds:
            some = min(rounds, most)
            rounds -= some
            order = np.argsort(self._group + self._rng.random((some, self._group.size)), axis=1)
            pairs = np.stack([order[:, self._even], order[:, self._even + 1]], axis=2)
            luck = self._rng.random((some, self._target.size))
            loop(
                self._target, self._start, np.ascontiguousarray(pairs), luck,
                self._mark, self._pool, self._slot,
            )  # fmt: skip
        return self._target

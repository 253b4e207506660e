r"""The curve of recovered behaviour against circuit size, beside random circuits.

With m(C) the mean over cells when all features but those of C are at their means, F as in
`scircuit.tracing.behaviour.circuit_search`, and C' all features but C,

    sufficiency(C) = F(C)            necessity(C) = 1 - F(C')

for the first 0, 1, 2, 4, ..., n of an order of features. The areas are those of the public circuit
benchmark MIB (Mueller and others 2025, arXiv 2504.13151; trapezoids over the share k of the parts
kept, as its evaluation code has it), with features in the place of the edges of the model:

    CPR = integral of F(k) dk          larger is better, 0.5 for a behaviour spread evenly
    CMD = integral of |1 - F(k)| dk    smaller is better, 0 is a model recovered by nothing

In a random circuit every feature is replaced by one of the same layer and of the same fifth of its
firing rates: the order is permuted within these groups, so that circuits of every size have the
same composition. None of the circuit's own features is in a random one of its size, as long as
its group has others. p is the share of random circuits that do as well, ``(1 + hits) / (1 +
draws)``. Intervals are percentiles of `RESAMPLES` bootstraps over cells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from scircuit.tracing.behaviour.circuit_search import sizes_up_to

RESAMPLES = 1999
BINS = 5
_MASKS = 2**26  # bytes of the sets of one evaluation

Values = Callable[[np.ndarray], np.ndarray]
"""[M, size] bool sets of features kept -> behaviour of every cell, [M, cells]."""


class Curve(NamedTuple):
    """F at every size, measured on cells that did not choose the circuit.

    Attributes
    ----------
    sizes
        Features kept, ascending, 0 to all.
    sufficiency, low, high
        F with its 95 % interval over cells; [sizes].
    necessity, necessity_low, necessity_high
        1 - F of the rest, with its interval; [sizes].
    random, random_necessity
        The same of random circuits, [draws, sizes] and, at the circuit's size alone, [draws].
    """

    sizes: np.ndarray
    sufficiency: np.ndarray
    low: np.ndarray
    high: np.ndarray
    necessity: np.ndarray
    necessity_low: np.ndarray
    necessity_high: np.ndarray
    random: np.ndarray
    random_necessity: np.ndarray

    @property
    def cpr(self) -> float:
        """Area under the curve."""
        return float(area(self.sizes, self.sufficiency))

    @property
    def cmd(self) -> float:
        """Area between the curve and 1."""
        return float(area(self.sizes, np.abs(1 - self.sufficiency)))

    @property
    def random_cpr(self) -> np.ndarray:
        """CPR of each random order, [draws]."""
        return area(self.sizes, self.random)

    @property
    def random_cmd(self) -> np.ndarray:
        """CMD of each random order, [draws]."""
        return area(self.sizes, np.abs(1 - self.random))

    def at(self, size: int) -> int:
        """Place of a size in the curve."""
        return int(np.flatnonzero(self.sizes == size)[0])


def area(sizes: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Area by trapezoids over the share of features, along the last axis."""
    width = np.diff(np.asarray(sizes, float) / sizes[-1])
    return ((heights[..., 1:] + heights[..., :-1]) / 2 * width).sum(-1)


def share_of_random(null: np.ndarray, found: float) -> float:
    """Give p of random circuits that do at least as well: ``(1 + hits) / (1 + draws)``."""
    return (1 + int((null >= found - 1e-12).sum())) / (1 + len(null))


def groups_of(layer: np.ndarray, firing_rate: np.ndarray) -> np.ndarray:
    """Group of each feature: its layer, and which fifth of the layer's firing rates it is in."""
    group = np.zeros(len(layer), np.int64)
    for at in np.unique(layer):
        own = np.flatnonzero(layer == at)
        rank = np.empty(len(own), np.int64)
        rank[np.argsort(firing_rate[own], kind="stable")] = np.arange(len(own))
        group[own] = at * BINS + rank * BINS // len(own)
    return group


def random_orders(
    order: np.ndarray, group: np.ndarray, size: int, draws: int, seed: int
) -> np.ndarray:
    """Orders with the features permuted within groups, [draws, n].

    Parameters
    ----------
    order
        [n] features, those of the circuit first.
    group
        [n] group of each of them, in that order.
    size
        Of the circuit: its own features come after all others of their group.
    draws, seed
        Orders, and the seed.
    """
    rng = np.random.default_rng(seed)
    found = np.repeat(order[None], draws, axis=0)
    places = [np.flatnonzero(group == g) for g in np.unique(group)]
    for row in found:
        for at in places:
            own = int((at < size).sum())
            others = rng.permutation(at[own:])
            first = np.concatenate([others[:own], rng.permutation(at[:own])])
            rest = np.concatenate([first[own:], others[own:]])
            row[at] = order[np.concatenate([first[:own], rng.permutation(rest)])]
    return found


def measure(
    values: Values,
    order: np.ndarray,
    group: np.ndarray,
    space_size: int,
    size: int,
    draws: int,
    seed: int,
) -> Curve:
    """Measure the curve of an order and of random ones.

    Parameters
    ----------
    values
        Behaviour of the cells that are measured.
    order, group
        All features, best first, and the group of each.
    space_size
        Length of a mask.
    size
        Of the circuit: a further point of the curve.
    draws
        Random circuits.
    seed
        Of the random circuits and the bootstrap.
    """
    n = len(order)
    sizes = sizes_up_to(n, size)
    random = random_orders(order, group, size, draws, seed)

    def kept(of: np.ndarray, some: Sequence[int], rest: bool) -> np.ndarray:
        sets = np.zeros((len(some), space_size), bool)
        for row, s in zip(sets, some, strict=True):
            row[of[s:] if rest else of[:s]] = True
        return sets

    inside, outside = (values(kept(order, sizes, rest)) for rest in (False, True))
    nothing, everything = inside[0], inside[-1]
    between, gap = sizes[1:-1], everything.mean() - nothing.mean()
    drawn = np.tile([nothing.mean(), everything.mean()], (draws, 1))
    drawn = np.insert(drawn, [1] * len(between), 0.0, axis=1)
    dropped, block = np.zeros(draws), max(1, _MASKS // (space_size * len(sizes)))
    for first in range(0, draws, block):
        some = random[first : first + block]
        sets = [np.concatenate([kept(o, between, False), kept(o, [size], True)]) for o in some]
        means = values(np.concatenate(sets)).mean(1).reshape(len(some), -1)
        drawn[first : first + block, 1:-1] = means[:, :-1]
        dropped[first : first + block] = means[:, -1]
    low, high = interval(inside, nothing, everything, seed)
    rest_low, rest_high = interval(outside, nothing, everything, seed)
    return Curve(
        np.array(sizes),
        (inside.mean(1) - nothing.mean()) / gap,
        low,
        high,
        (everything.mean() - outside.mean(1)) / gap,
        1 - rest_high,
        1 - rest_low,
        (drawn - nothing.mean()) / gap,
        (everything.mean() - dropped) / gap,
    )


def interval(
    values: np.ndarray, nothing: np.ndarray, everything: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval of F over cells, [M] each.

    Parameters
    ----------
    values
        [M, cells] behaviour with sets of features.
    nothing, everything
        [cells] behaviour without features, and with all.
    seed
        Of the bootstrap.
    """
    low, high = bootstrap_quantiles(values, nothing, everything, [0.025, 0.975], seed)
    return low, high


def bootstrap_quantiles(
    values: np.ndarray,
    nothing: np.ndarray,
    everything: np.ndarray,
    at: Sequence[float],
    seed: int,
) -> np.ndarray:
    """Quantiles of F over resampled cells, [len(at), M]."""
    cells = values.shape[1]
    weights = np.random.default_rng(seed).multinomial(cells, np.full(cells, 1 / cells), RESAMPLES)
    gap = weights @ (everything - nothing)
    usable = np.abs(gap) > 1e-12 * max(1.0, float(np.abs(gap).max()))
    shares = (weights[usable] @ (values - nothing).T) / gap[usable, None]
    return np.quantile(shares, list(at), axis=0)

r"""At which resolution modules are stable, and whether they are more than degrees give.

The curve: at every resolution, agreement of the communities found with different seeds, and of
those found in two disjoint random halves of the edges, which share no edge and so agree through the
structure alone. The resolution whose halves agree best is chosen, among those with two modules or
more of three features or more, none with more than nine tenths of the features.

The test: modularity at that resolution beside that of rewired graphs
(`scircuit.analysis.structure.rewiring`), and the agreement of halves beside theirs. Very many edges
are represented by those into a random part of the targets, in circuit and null alike.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scircuit.analysis.structure.layered_edges import LayeredEdges
from scircuit.analysis.structure.leiden import Communities, UndirectedGraph
from scircuit.analysis.structure.partition_agreement import Agreement, agreement
from scircuit.analysis.structure.rewiring import Rewiring

RESOLUTIONS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
SEEDS, SPLITS = 4, 2
LARGE = 3
"""Features of a community that counts as a module."""

SCANNED = 100_000
"""Edges, at most, from which the resolution is chosen, and which the test uses."""

_WHOLE = 0.9
_MOST_DRAWS, _FEWEST_DRAWS, _EDGES_DRAWN = 99, 39, 6_000_000
_NULL_HALVES = 15  # rewired graphs whose halves are compared


class Stability(NamedTuple):
    """Communities at one resolution.

    `seed_rand` and `half_rand` are mean adjusted Rand indices, `seed_information` and
    `half_information` mean variations of information.
    """

    resolution: float
    modules: int
    largest_share: float
    modularity: float
    seed_rand: float
    seed_information: float
    half_rand: float
    half_information: float

    @property
    def trivial(self) -> bool:
        """Is there nothing to tell apart."""
        return self.modules < 2 or self.largest_share > _WHOLE


class ModuleTest(NamedTuple):
    """Modularity of the chosen resolution and that of rewired graphs, and agreement of halves."""

    modularity: float
    null_modularity: np.ndarray
    half_rand: float
    null_half_rand: np.ndarray
    edges: int


def stability_curve(edges: LayeredEdges, seed: int) -> list[Stability]:
    """Stability at every resolution, of edges few enough to be scanned."""
    graph = UndirectedGraph(edges.source, edges.target)
    rng = np.random.default_rng([seed, 40])
    pairs = [_halves(edges, rng) for _ in range(SPLITS)]
    curve = []
    for resolution in RESOLUTIONS:
        found = [graph.communities(resolution, s) for s in range(SEEDS)]
        best = max(found, key=lambda c: c.modularity)
        seeds = [agreement(found[0].group, other.group) for other in found[1:]]
        halves = [_agree(one, two, resolution, edges.features) for one, two in pairs]
        sizes = np.bincount(best.group)
        curve.append(
            Stability(
                resolution,
                int((sizes >= LARGE).sum()),
                float(sizes.max() / best.group.size),
                best.modularity,
                *(float(v) for v in np.mean(seeds, axis=0)),
                *(float(v) for v in np.mean(halves, axis=0)),
            )
        )
    return curve


def chosen(curve: list[Stability]) -> Stability | None:
    """The most stable resolution that is not trivial, the lower of two; None: there is none."""
    usable = [s for s in curve if not s.trivial]
    return max(usable, key=lambda s: (s.half_rand, -s.resolution)) if usable else None


def compare_modules(edges: LayeredEdges, at: Stability, seed: int) -> ModuleTest:
    """Compare the chosen resolution with rewired graphs, of edges few enough to be scanned."""
    draws = int(np.clip(_EDGES_DRAWN // max(edges.size, 1), _FEWEST_DRAWS, _MOST_DRAWS))
    rng = np.random.default_rng([seed, 41])
    chain = Rewiring(edges, rng)
    modularity, halves = [], []
    for i in range(draws):
        drawn = edges._replace(target=chain.draw())
        graph = UndirectedGraph(drawn.source, drawn.target)
        modularity.append(graph.communities(at.resolution, 0).modularity)
        if i < _NULL_HALVES:
            pair = _halves(drawn, rng)
            halves.append(_agree(*pair, at.resolution, edges.features).rand)
    own = UndirectedGraph(edges.source, edges.target).communities(at.resolution, 0)
    return ModuleTest(
        own.modularity, np.array(modularity), at.half_rand, np.array(halves), edges.size
    )


def final_communities(edges: LayeredEdges, resolution: float) -> Communities:
    """Communities of all edges at the chosen resolution: the best of the seeds."""
    graph = UndirectedGraph(edges.source, edges.target)
    seeds = range(SEEDS if edges.size <= SCANNED else 1)
    found = [graph.communities(resolution, s) for s in seeds]
    return max(found, key=lambda c: c.modularity)


def _halves(
    edges: LayeredEdges, rng: np.random.Generator
) -> tuple[UndirectedGraph, UndirectedGraph]:
    first = np.zeros(edges.size, bool)
    first[rng.permutation(edges.size)[: edges.size // 2]] = True
    one, two = (UndirectedGraph(edges.source[half], edges.target[half]) for half in (first, ~first))
    return one, two


def _agree(
    one: UndirectedGraph, two: UndirectedGraph, resolution: float, features: int
) -> Agreement:
    """Agreement on the features that have an edge in either half."""
    a, b = (graph.communities(resolution, 0).over(features) for graph in (one, two))
    both = (a >= 0) & (b >= 0)
    return agreement(a[both], b[both])

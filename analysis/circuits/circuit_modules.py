r"""Whether the edges of a circuit fall into modules: communities of features with more edges among
themselves than their degrees give.

Edges are taken without direction. Communities are found by Leiden (Traag, Waltman and van Eck 2019,
From Louvain to Leiden) for the modularity of Newman and Girvan,

    Q = sum over communities of  m_in / m - (degree / 2 m)^2 .

Any graph of few edges has a high Q, a random one too. So Q stands beside that of the same edges
rewired: two edges of one pair of layers exchange their targets where neither new edge is there
already, very often (Maslov and Sneppen 2002). The out-degree of every source and the in-degree of
every target stay, and what is connected with what is random.
"""

from __future__ import annotations

import random
from typing import NamedTuple

import numpy as np

from scircuit.analysis.circuits.degree import EdgeArrays, FeatureArrays

DRAWS = 10  # rewired graphs
FEW_DRAWS, _MANY = 3, 200_000  # where edges are very many, as modularity varies little there
_ROUNDS = 10  # of exchanges between one draw and the next
_LARGE = 3  # features of a community that is counted
_FEWEST = 10  # edges from which communities are looked for


class CircuitModules(NamedTuple):
    """Communities of the edges of one rule, beside those of rewired edges.

    `modularity` is NaN with fewer than ten edges, `null` then empty; `modules` counts communities
    of at least three features.
    """

    rule: str
    edges: int
    modules: int
    modularity: float
    null: tuple[float, ...]

    @property
    def null_mean(self) -> float:
        """Mean modularity of rewired edges; NaN where there is none."""
        return float(np.mean(self.null)) if self.null else float("nan")

    @property
    def claim(self) -> str:
        """What was found."""
        if not self.null:
            return f"modules were not looked for in {self.edges} {self.rule} edges"
        return (
            f"the {self.rule} edges fall into {self.modules} modules of at least {_LARGE} features,"
            f" modularity {self.modularity:.3f}"
        )

    @property
    def control(self) -> str:
        """What it is compared with."""
        if not self.null:
            return f"at least {_FEWEST} are needed"
        return (
            f"with edges rewired within each pair of layers {self.null_mean:.3f}"
            f" ({min(self.null):.3f} to {max(self.null):.3f} in {len(self.null)} draws)"
        )

    @property
    def sentence(self) -> str:
        """Claim and control."""
        return f"{self.claim}; {self.control}"


def circuit_modules(
    features: FeatureArrays, edges: EdgeArrays, rule: str, seed: int = 0
) -> CircuitModules:
    """Find modules.

    Parameters
    ----------
    features
        Of one trace run.
    edges
        Those that pass the rule.
    rule
        Its name, for the sentence.
    seed
        Of the rewiring and of Leiden.
    """
    number = int(edges.source.size)
    if number < _FEWEST:
        return CircuitModules(rule, number, 0, float("nan"), ())
    edges = edges.keep(np.lexsort((edges.target, edges.source)))  # whatever order they came in
    members, modularity = _leiden(edges.source, edges.target, seed)
    _, sizes = np.unique(members, return_counts=True)
    layers = np.stack([features.layer[edges.source], features.layer[edges.target]])
    _, pair = np.unique(layers, axis=1, return_inverse=True)
    rng = np.random.default_rng([seed, 7])
    target, null = edges.target, []
    for _ in range(DRAWS if number <= _MANY else FEW_DRAWS):
        target = rewired(edges.source, target, pair.ravel(), rng)
        null.append(_leiden(edges.source, target, seed)[1])
    return CircuitModules(rule, number, int((sizes >= _LARGE).sum()), modularity, tuple(null))


def rewired(
    source: np.ndarray, target: np.ndarray, group: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Targets after many exchanges within each group; no edge is there twice if none was.

    All edges of a group are paired at random, `_ROUNDS` times. The exchanges of a round are made at
    once, those that would make an edge that is there, or that another exchange makes, are not.
    """
    target, width = target.copy(), int(target.max()) + 1
    for _ in range(_ROUNDS):
        order = np.lexsort((rng.random(target.size), group))
        together = np.flatnonzero(group[order[:-1]] == group[order[1:]])
        together = together[together % 2 == 0]  # each edge in one pair at most
        a, b = order[together], order[together + 1]
        made = np.stack([source[a] * width + target[b], source[b] * width + target[a]])
        codes, place, times = np.unique(made, return_inverse=True, return_counts=True)
        fresh = (times == 1) & ~np.isin(codes, source * width + target)
        swap = fresh[place.reshape(made.shape)].all(0)
        a, b = a[swap], b[swap]
        target[a], target[b] = target[b], target[a]
    return target


def _leiden(source: np.ndarray, target: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
    """Community of every feature with an edge, and the modularity."""
    import igraph

    ends, at = np.unique(np.stack([source, target]), return_inverse=True)
    graph = igraph.Graph(n=ends.size, edges=at.reshape(2, -1).T.tolist())
    igraph.set_random_number_generator(random.Random(seed))
    try:
        found = graph.community_leiden(objective_function="modularity", n_iterations=10)
    finally:
        igraph.set_random_number_generator(random)
    return np.array(found.membership), float(graph.modularity(found.membership))

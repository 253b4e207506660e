"""Communities of edges taken without direction, by Leiden for modularity (Traag, Waltman and van
Eck, Scientific Reports 9:5233, 2019), from igraph.

With a resolution g,  Q_g = sum over communities of  m_in / m - g (degree / 2 m)^2 .
"""

from __future__ import annotations

import importlib.util
import random
from typing import NamedTuple

import numpy as np

HOW_TO_INSTALL = "install it with: pip install igraph"


class Communities(NamedTuple):
    """Features with an edge, the community of each, and the modularity at the resolution."""

    feature: np.ndarray
    group: np.ndarray
    modularity: float

    def over(self, features: int) -> np.ndarray:
        """Community of every feature, -1 without an edge, (features,)."""
        found = np.full(features, -1)
        found[self.feature] = self.group
        return found


def available() -> bool:
    """Is igraph installed."""
    return importlib.util.find_spec("igraph") is not None


class UndirectedGraph:
    """The graph of some edges, built once.

    Parameters
    ----------
    source, target
        Positions of the features, (edges,); their order does not matter to the result.
    """

    def __init__(self, source: np.ndarray, target: np.ndarray) -> None:
        import igraph

        order = np.lexsort((target, source))
        self._ends, at = np.unique(np.stack([source[order], target[order]]), return_inverse=True)
        pairs = np.ascontiguousarray(at.reshape(2, -1).T)
        self._graph = igraph.Graph(n=self._ends.size, edges=pairs)

    def communities(self, resolution: float, seed: int, iterations: int = 2) -> Communities:
        """Communities at a resolution."""
        import igraph

        igraph.set_random_number_generator(random.Random(seed))
        try:
            found = self._graph.community_leiden(
                objective_function="modularity", resolution=resolution, n_iterations=iterations
            )
        finally:
            igraph.set_random_number_generator(random)
        value = self._graph.modularity(
            found.membership,
            resolution=resolution,  # pyright: ignore[reportArgumentType]
        )
        return Communities(self._ends, np.array(found.membership), float(value))

"""Edges of a circuit in a fixed order, grouped by their pair of layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from scircuit.analysis.circuit_inputs import CircuitInputs


class LayeredEdges(NamedTuple):
    """Edges without repetition, ordered by source layer, target layer, source and target.

    Parameters
    ----------
    source, target
        Positions of the features, int64 (edges,).
    effect
        Signed effect of each edge, (edges,).
    start
        First edge of each pair of layers, and the number of edges, (pairs + 1,).
    layer
        Layer of every feature, (features,).
    """

    source: np.ndarray
    target: np.ndarray
    effect: np.ndarray
    start: np.ndarray
    layer: np.ndarray

    @property
    def size(self) -> int:
        """Number of edges."""
        return int(self.source.size)

    @property
    def features(self) -> int:
        """Number of features, with and without edges."""
        return int(self.layer.size)

    @property
    def out_degree(self) -> np.ndarray:
        """Edges out of every feature, (features,)."""
        return np.bincount(self.source, minlength=self.features)

    @property
    def in_degree(self) -> np.ndarray:
        """Edges into every feature, (features,)."""
        return np.bincount(self.target, minlength=self.features)

    def into_some(self, number: int, rng: np.random.Generator) -> LayeredEdges:
        """All edges into random features, as many features as give at most about this number of
        edges; all edges where there are no more. Edges of these features are as dense as in the
        whole, which those of a random subset of edges are not.
        """
        if number >= self.size:
            return self
        ends = rng.permutation(np.unique(self.target))
        many = int(np.searchsorted(self.in_degree[ends].cumsum(), number, side="right"))
        at = np.flatnonzero(np.isin(self.target, ends[: max(many, 1)]))
        return layered_edges(self.source[at], self.target[at], self.effect[at], self.layer)


def layered_edges(
    source: np.ndarray, target: np.ndarray, effect: np.ndarray, layer: np.ndarray
) -> LayeredEdges:
    """Order edges, whatever order they come in.

    Parameters
    ----------
    source, target
        Positions of the features, (edges,).
    effect
        Signed effect of each edge, (edges,).
    layer
        Layer of every feature, (features,).
    """
    source, target = np.asarray(source, np.int64), np.asarray(target, np.int64)
    order = np.lexsort((target, source, layer[target], layer[source]))
    source, target = source[order], target[order]
    fresh = np.ones(source.size, bool)
    fresh[1:] = (source[1:] != source[:-1]) | (target[1:] != target[:-1])
    order, source, target = order[fresh], source[fresh], target[fresh]
    pair = np.stack([layer[source], layer[target]])
    new = np.flatnonzero((pair[:, 1:] != pair[:, :-1]).any(0)) + 1
    start = np.concatenate([[0], new, [source.size]]) if source.size else np.zeros(1, np.int64)
    return LayeredEdges(source, target, np.asarray(effect, float)[order], start, layer)


def circuit_edges(inputs: CircuitInputs) -> LayeredEdges:
    """The edges of a circuit by its rule."""
    edges = inputs.circuit
    return layered_edges(edges.source, edges.target, inputs.effect, inputs.nodes.layer)

"""An attribution graph of one input as arrays: its feature nodes and the effects between them.

A node is a feature at one position. The graph database has features only, so the effects of two
features are summed over all pairs of positions, and the pairs are counted. Reconstruction errors,
token embeddings and logits are not features and become no nodes: their number, and their share of
the effect on features, are stored as findings, because they limit what the features explain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from scircuit.core.errors import UserError

NODE_TYPES = ("feature", "error", "embedding", "logit")


@dataclass(frozen=True)
class AttributionGraph:
    """One graph, read and checked.

    Attributes
    ----------
    title
        Name of the graph.
    model, dictionary
        Names from the file in the form of addresses; empty where it gives none.
    layer, index, position, part
        Of each feature node, int64; `part` is 0 for the main dictionary and 1 for attention
        features, which have their own numbering.
    source, target, weight
        Links between feature nodes: indices into the arrays above, and direct effects.
    labels
        Feature node -> label in the file.
    nodes
        Type of node -> number of nodes; of `NODE_TYPES`.
    incoming
        Type of node -> sum of |weight| of its links into features.
    rule
        How the graph was pruned.
    cut
        Whether it was pruned.
    notes, findings
        As in `scircuit.ingest.importers.source.Source`.
    """

    title: str
    model: str
    dictionary: str
    layer: np.ndarray
    index: np.ndarray
    position: np.ndarray
    part: np.ndarray
    source: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    nodes: Mapping[str, int]
    incoming: Mapping[str, float]
    rule: str
    cut: bool
    labels: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    findings: Mapping[str, object] = field(default_factory=dict)


def check_graph(graph: AttributionGraph, where: str) -> None:
    """Refuse a graph without features or links, with duplicate features, or with links that lead to
    earlier layers or are not finite.

    Raises
    ------
    UserError
        Naming the first node or link that does not fit.
    """
    if not len(graph.layer):
        raise UserError(f"{where} has no feature node", "check that it is the right file")
    if not len(graph.weight):
        raise UserError(
            f"{where} has no link between two features",
            "prune the graph less, or check that it is the right file",
        )
    low = (graph.layer < 0) | (graph.index < 0)
    if low.any():
        at = int(np.flatnonzero(low)[0])
        raise UserError(
            f"{where}: layer {graph.layer[at]}, feature {graph.index[at]} is not a valid address",
            "check that it is the right file",
        )
    keys = np.stack([graph.part, graph.layer, graph.index, graph.position])
    unique, counts = np.unique(keys, axis=1, return_counts=True)
    if (counts > 1).any():
        _, layer, index, position = unique[:, counts > 1][:, 0]
        raise UserError(
            f"{where}: feature {index} of layer {layer} is listed twice at position {position}"
            f" ({int((counts > 1).sum())} duplicates)",
            "export the graph again",
        )
    bad = ~np.isfinite(graph.weight)
    if bad.any():
        raise UserError(
            f"{where}: {int(bad.sum()):,} of {len(bad):,} weights are not finite",
            "compute the graph again",
        )
    first, second = graph.layer[graph.source], graph.layer[graph.target]
    # attention and MLP features of one layer can follow each other
    mixed = graph.part[graph.source] != graph.part[graph.target]
    backwards = (second < first) | ((second == first) & ~mixed)
    if backwards.any():
        at = int(np.flatnonzero(backwards)[0])
        example = (
            f"L{first[at]} F{graph.index[graph.source[at]]} -> L{second[at]}"
            f" F{graph.index[graph.target[at]]}"
        )
        raise UserError(
            f"{where}: {int(backwards.sum()):,} of {len(backwards):,} links do not lead to a later"
            f" layer, the first is {example}",
            "source and target may be swapped",
        )
    pairs, counts = np.unique(np.stack([graph.source, graph.target]), axis=1, return_counts=True)
    if pairs.shape[1] != len(graph.weight):
        raise UserError(
            f"{where}: {int((counts > 1).sum()):,} links are listed more than once",
            "export the graph again",
        )


def sum_over_positions(
    graph: AttributionGraph,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Distinct features [3, k] (part, layer, index), and per linked pair: source, target, summed
    weight, number of pairs of positions.
    """
    features, at = np.unique(
        np.stack([graph.part, graph.layer, graph.index]), axis=1, return_inverse=True
    )
    at = at.ravel()
    pairs, of = np.unique(
        np.stack([at[graph.source], at[graph.target]]), axis=1, return_inverse=True
    )
    weight = np.bincount(of.ravel(), weights=graph.weight, minlength=pairs.shape[1])
    return features, pairs[0], pairs[1], weight, np.bincount(of.ravel(), minlength=pairs.shape[1])

"""Which nodes and edges of an attribution graph carry its influence on the answers.

With the absolute contributions into every node scaled to add up to one, A, and the weights p of the
answers, the influence of a node is what reaches the answers from it over paths of any length,

    influence = p (A + A^2 + ...) ,

a sum that ends because a node gets nothing from its own layer or above. Kept are the strongest
nodes up to a share of all influence, then the strongest edges between them, an edge's influence
being its share of its target times the target's own; then nodes are dropped that nothing kept
reads, or that read nothing kept, until none is left. The rules and the shares (0.8, 0.98) are those
of circuit-tracer (`prune_graph`; Ameisen and others 2025); matrices are sparse here, so the memory
is that of the edges and not nodes by nodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scircuit.core.errors import UserError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

NODE_SHARE, EDGE_SHARE = 0.8, 0.98
"""Shares of the influence that kept nodes and kept edges have."""

_NOTHING = 1e-10  # contributions that add up to less are none


class Pruned(NamedTuple):
    """What is kept of a graph."""

    nodes: np.ndarray  # [N] bool
    edges: np.ndarray  # [E] bool, in the order of the edges given
    influence: np.ndarray  # [N] influence of each node on the answers
    cumulative: np.ndarray  # [N] influence of this and all stronger nodes, as a share of all


def prune(
    n_nodes: int,
    source: np.ndarray,
    target: np.ndarray,
    contribution: np.ndarray,
    answers: np.ndarray,
    kept: np.ndarray,
    needs_input: np.ndarray,
    node_share: float = NODE_SHARE,
    edge_share: float = EDGE_SHARE,
) -> Pruned:
    """Prune a graph by influence.

    Parameters
    ----------
    n_nodes
        Nodes N, answers included.
    source, target, contribution
        [E] edges, each pair once: what the source contributes to the target.
    answers
        [N] weight of each node as an answer, such as its probability; 0 of all others.
    kept
        [N] nodes that always stay: answers and tokens.
    needs_input
        [N] nodes that go when nothing kept contributes to them: features.
    node_share, edge_share
        Shares of the influence that nodes and edges keep.

    Raises
    ------
    UserError
        If a share is not one, an edge is given twice or not finite, no answer has weight, or the
        graph has a cycle.
    """
    _check(n_nodes, source, target, contribution, answers, node_share, edge_share)
    influence = influence_of(n_nodes, source, target, np.abs(contribution), answers)
    nodes = (influence >= _threshold(influence, node_share)) | kept
    inside = nodes[source] & nodes[target]
    among = _shares(n_nodes, target, np.where(inside, np.abs(contribution), 0.0))
    reach = _influence(n_nodes, source, target, among, answers) + answers
    scores = among * reach[target]
    edges = (scores >= _threshold(scores, edge_share)) & inside
    while True:
        read = np.zeros(n_nodes, bool)
        read[source[edges]] = True
        fed = np.zeros(n_nodes, bool)
        fed[target[edges]] = True
        left = nodes & (read | kept) & (fed | ~needs_input | kept)
        if (left == nodes).all():
            break
        nodes = left
        edges = edges & nodes[source] & nodes[target]
    order = np.argsort(-influence, kind="stable")
    cumulative = np.empty(n_nodes)
    cumulative[order] = np.cumsum(influence[order]) / max(influence.sum(), 1e-300)
    return Pruned(nodes, edges, influence, cumulative)


def influence_of(
    n_nodes: int,
    source: np.ndarray,
    target: np.ndarray,
    sizes: np.ndarray,
    answers: np.ndarray,
    whole: np.ndarray | None = None,
) -> np.ndarray:
    """Influence of every node on the answers, [N].

    Parameters
    ----------
    n_nodes, source, target, answers
        As for `prune`.
    sizes
        [E] absolute contributions.
    whole
        [N] absolute sum of all that a target gets, where the edges are not all of it.

    Raises
    ------
    UserError
        If the graph has a cycle.
    """
    shares = _shares(n_nodes, target, sizes, whole)
    return _influence(n_nodes, source, target, shares, answers)


def _shares(
    n: int, target: np.ndarray, sizes: np.ndarray, whole: np.ndarray | None = None
) -> np.ndarray:
    """Each edge as a share of all that its target gets."""
    if whole is None:
        whole = np.bincount(target, sizes, n)
    return sizes / np.maximum(whole, _NOTHING)[target]


def _influence(
    n: int, source: np.ndarray, target: np.ndarray, shares: np.ndarray, answers: np.ndarray
) -> np.ndarray:
    """``p (A + A^2 + ...)`` by power iteration, [N]."""
    step = _matrix(n, source, target, shares)
    current = step @ answers
    total = np.zeros(n)
    for _ in range(n + 1):
        if not current.any():
            return total
        total += current
        current = step @ current
    raise UserError(
        "the graph has a cycle, so influence goes round without end",
        "give edges from lower layers to higher ones alone",
    )


def _matrix(n: int, source: np.ndarray, target: np.ndarray, shares: np.ndarray) -> csr_array:
    """A transposed, so that it moves influence from targets to sources."""
    from scipy.sparse import csr_array

    some = shares > 0
    return csr_array((shares[some], (source[some], target[some])), shape=(n, n))


def _threshold(scores: np.ndarray, share: float) -> float:
    """Score of the last one that is needed for a share of the sum of all."""
    ordered = -np.sort(-scores[scores > 0])
    if not len(ordered):
        return np.inf
    reached = np.cumsum(ordered) / ordered.sum()
    return float(ordered[min(int(np.searchsorted(reached, share)), len(ordered) - 1)])


def _check(
    n: int,
    source: np.ndarray,
    target: np.ndarray,
    contribution: np.ndarray,
    answers: np.ndarray,
    node_share: float,
    edge_share: float,
) -> None:
    for name, share in (("nodes", node_share), ("edges", edge_share)):
        if not 0 <= share <= 1:
            raise UserError(
                f"a share of {share} of the influence of {name}; expected 0 to 1", "such as 0.8"
            )
    pairs = np.asarray(target, np.int64) * n + source
    if len(np.unique(pairs)) < len(pairs):
        raise UserError("an edge is given twice", "give each pair once, with the sum of its paths")
    if not np.isfinite(contribution).all():
        raise UserError("a contribution is NaN or infinite", "check the cell for NaN")
    if not (answers >= 0).all() or not answers.any():
        raise UserError(
            "no node has a weight as an answer, or one has a weight below 0",
            "give the answers' probabilities",
        )

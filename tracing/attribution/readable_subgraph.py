"""A small graph of the strongest paths to one target, with everything that was left out in nodes of
its own.

    frontier = [target]
    repeat: split every reader of the frontier; the frontier becomes the `width` strongest children

strongest by absolute contribution, so that what inhibits is kept as well (the search of Dunefsky,
Chlenski and Nanda 2024, which takes signed values). Each reader that was split keeps its own sum:

    value = kept children + embedding + errors + bias + remainder ,

the remainder being the sum of the children that were not kept. An edge is the sum over all paths
that take it, so edges are in units of the target. With `cap`, children are ranked by their
contribution or the smallest activation of a feature on the path, whichever is less: no path can
take away more than that by setting features to zero. The contributions themselves are not capped.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import torch

from scircuit.tracing.attribution.frozen_cell import FrozenCell
from scircuit.tracing.attribution.path_steps import Child, Node, Reader, follow, root, split
from scircuit.tracing.attribution.targets import Target

STEPS, WIDTH = 2, 5
"""Steps back from the target, and children kept at each, unless others are given."""


class Edge(NamedTuple):
    """What one node gives another, in units of the target."""

    child: Node
    parent: Node
    contribution: float
    paths: int  # how many paths take it


class Subgraph(NamedTuple):
    """The strongest paths to a target.

    `error` and `remainder` are sums over all readers that were split; `difference` is the largest
    difference of a reader's value and what its children add up to, and `relative` the same over the
    sum of their absolute values.
    """

    root: Node
    value: float
    edges: list[Edge]
    error: float
    remainder: float
    difference: float
    relative: float

    @property
    def nodes(self) -> list[Node]:
        """All nodes, the target first."""
        return list(dict.fromkeys([self.root, *(e.child for e in self.edges)]))


def readable_subgraph(
    cell: FrozenCell,
    target: Target,
    steps: int = STEPS,
    width: int = WIDTH,
    cap: bool = False,
) -> Subgraph:
    """Search the strongest paths to a target.

    Parameters
    ----------
    cell, target
        The cell, and one number of it.
    steps
        How many steps back.
    width
        Children kept at each step, over all readers together.
    cap
        Whether the smallest activation on a path bounds its rank.
    """
    with torch.no_grad():
        return _search(cell, root(target), steps, width, cap)


def _search(cell: FrozenCell, start: Reader, steps: int, width: int, cap: bool) -> Subgraph:
    total: dict[tuple[Node, Node], list[float]] = defaultdict(lambda: [0.0, 0])
    frontier, difference, relative = [start], 0.0, 0.0
    for _ in range(steps):
        found = [(reader, split(cell, reader)) for reader in frontier]
        ranked = [
            (size, i, j)
            for i, (_, parts) in enumerate(found)
            for j, size in enumerate(_rank(parts.inner, cap))
        ]
        # equal sizes in the order of the search, so that the same graph comes out every time
        kept = sorted(ranked, key=lambda c: (-c[0], c[1], c[2]))[:width]
        chosen = {(i, j) for _, i, j in kept}
        for i, (reader, parts) in enumerate(found):
            children = [c for j, c in enumerate(parts.inner) if (i, j) in chosen]
            rest = sum(c.value for j, c in enumerate(parts.inner) if (i, j) not in chosen)
            remainder = Child(Node("remainder", reader.layer, reader.position), rest, 0.0)
            ends = [*_joined(parts.ends, reader), remainder]
            for child in (*children, *ends):
                edge = total[child.node, reader.node]
                edge[0] += child.value
                edge[1] += 1
            everything = [c.value for c in (*parts.inner, *parts.ends)]
            off = abs(sum(everything) - reader.value)
            difference = max(difference, off)
            relative = max(relative, off / max(sum(map(abs, everything)), 1e-300))
        frontier = [follow(cell, found[i][0], found[i][1].inner[j]) for _, i, j in kept]
    edges = [Edge(child, parent, c, int(n)) for (child, parent), (c, n) in total.items()]
    return Subgraph(
        start.node,
        start.value,
        edges,
        sum(e.contribution for e in edges if e.child.kind == "error"),
        sum(e.contribution for e in edges if e.child.kind == "remainder"),
        difference,
        relative,
    )


def _rank(children: list[Child], cap: bool) -> list[float]:
    return [min(abs(c.value), c.smallest) if cap else abs(c.value) for c in children]


def _joined(ends: list[Child], reader: Reader) -> list[Child]:
    """Ends of a reader with the errors of all layers as one node."""
    error = sum(c.value for c in ends if c.node.kind == "error")
    kept = [c for c in ends if c.node.kind != "error"]
    return [*kept, Child(Node("error", reader.layer, reader.position), error, 0.0)]

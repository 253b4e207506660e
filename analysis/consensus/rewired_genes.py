r"""Gene edges that follow from feature edges, when the feature edges are rewired.

A feature edge f -> g makes a block of gene edges at once: of every regulator among the top genes of
f with every target among those of g. Features that list the same genes make the same block again.
Gene edges are therefore not independent of each other, and a null that deals them one by one is
too narrow. Here the feature edges are dealt: within every pair of layers each feature keeps its
number of edges (`scircuit.analysis.structure.rewiring`), and what follows from them between genes
is counted anew in every draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scircuit.analysis.structure.layered_edges import layered_edges
from scircuit.analysis.structure.rewiring import Rewiring
from scircuit.core.machine_code import machine_code

if TYPE_CHECKING:
    from scipy import sparse

    from scircuit.analysis.structure.layered_edges import LayeredEdges

ROUNDS = 4
"""Rounds of trades between one draw and the next."""

KNOWN = 128
"""Bit of a pair that is in the regulons; bit i of the seven below it: run i has the pair."""


def mark_loop(
    source: np.ndarray,
    target: np.ndarray,
    first: np.ndarray,
    regulator: np.ndarray,
    second: np.ndarray,
    gene: np.ndarray,
    width: int,
    bit: int,
    mark: np.ndarray,
) -> None:
    """Set `bit` of every pair of genes that follows from an edge.

    Parameters
    ----------
    source, target
        Feature edges, int64 (edges,).
    first, regulator
        Regulators of feature f: ``regulator[first[f]:first[f + 1]]``, int64.
    second, gene
        Its targets, likewise.
    width
        Number of targets.
    bit
        What is set.
    mark
        uint8 (regulators * targets,).
    """
    for edge in range(source.size):
        f, g = source[edge], target[edge]
        for i in range(first[f], first[f + 1]):
            row = regulator[i] * width
            for j in range(second[g], second[g + 1]):
                mark[row + gene[j]] |= bit


def count_loop(mark: np.ndarray, full: int, found: np.ndarray) -> None:
    """Count marked pairs, and take the marks away; those of the regulons stay.

    Parameters
    ----------
    mark
        uint8 (pairs,).
    full
        The bits of all runs together.
    found
        Written: gene edges and known gene edges, of each run and in the last row of all runs,
        int64 (runs + 1, 2).
    """
    found[:] = 0
    last = found.shape[0] - 1
    for pair in range(mark.size):
        bits = mark[pair] & 127
        if bits == 0:
            continue
        known = mark[pair] >> 7
        for run in range(last):
            if (bits >> run) & 1:
                found[run, 0] += 1
                found[run, 1] += known
        if bits == full:
            found[last, 0] += 1
            found[last, 1] += known
        mark[pair] = known << 7


class GeneLists(NamedTuple):
    """Feature edges of a run and the genes of its features, by number."""

    edges: LayeredEdges
    regulators: sparse.csr_matrix
    """Regulators that each feature lists, (features, regulators)."""
    targets: sparse.csr_matrix
    """Targets that it lists, (features, targets)."""

    def useful(self) -> LayeredEdges:
        """Edges that can make gene edges: the source lists a regulator, the target a target."""
        edges = self.edges
        lists = np.diff(self.regulators.indptr) > 0, np.diff(self.targets.indptr) > 0
        keep = lists[0][edges.source] & lists[1][edges.target]
        return layered_edges(
            edges.source[keep], edges.target[keep], edges.effect[keep], edges.layer
        )


def rewired_genes(
    runs: Sequence[GeneLists], known: np.ndarray, *, draws: int, seed: int = 0
) -> np.ndarray:
    """Gene edges and known gene edges of each run, and of all runs at once, when the feature edges
    of every run are rewired.

    Parameters
    ----------
    runs
        At most seven.
    known
        Regulated pairs, bool (regulators, targets).
    draws, seed
        Of the rewiring; every run has a chain of its own.

    Returns
    -------
    np.ndarray
        int64 (1 + draws, runs + 1, 2); the first as the edges are.
    """
    mark_pairs = machine_code(
        mark_loop,
        "void(i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], i8, u1, u1[::1])",
    )
    count_pairs = machine_code(count_loop, "void(u1[::1], i8, i8[:, ::1])")
    mark = known.ravel().astype(np.uint8) * np.uint8(KNOWN)
    found = np.zeros((1 + draws, len(runs) + 1, 2), np.int64)
    chains = []
    for i, run in enumerate(runs):
        edges = run.useful()
        lists = [
            a.astype(np.int64) for m in (run.regulators, run.targets) for a in (m.indptr, m.indices)
        ]
        rng = np.random.default_rng([seed, 31, i])
        chains.append((edges, lists, Rewiring(edges, rng, ROUNDS)))
    full = (1 << len(runs)) - 1
    for draw in range(1 + draws):
        for i, (edges, lists, chain) in enumerate(chains):
            target = chain.draw() if draw else edges.target
            mark_pairs(edges.source, target, *lists, known.shape[1], np.uint8(1 << i), mark)
        count_pairs(mark, full, found[draw])
    return found

"""Paths of one target: every step exact, all paths together exact, and the search by definition."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from scircuit.tracing.attribution.backward_rows import backward_rows
from scircuit.tracing.attribution.completeness import Completeness
from scircuit.tracing.attribution.frozen_cell import freeze
from scircuit.tracing.attribution.path_steps import follow, root, split
from scircuit.tracing.attribution.readable_subgraph import readable_subgraph
from scircuit.tracing.attribution.targets import answer_target, feature_target
from tests.support.tiny_prenorm import KINDS, TinyPreNorm, tiny_cell, tiny_transcoders


def frozen(kind, layers=3, length=5, k=3, skip=False):
    model = TinyPreNorm(kind, layers=layers)
    return freeze(model, tiny_cell(length), tiny_transcoders(model, k=k, skip=skip))


def firing(cell, layer, position):
    return feature_target(cell, layer, int(cell.layers[layer].indices[position, 0]), position)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("skip", [False, True])
def test_children_add_up_at_every_step(kind, skip):
    """Down to the embedding along the strongest child; 1e-12 of numbers of the size of ten."""
    cell = frozen(kind, layers=4, length=7, skip=skip)
    table = cell.adapter.unembedding
    answer = answer_target(cell, cell.adapter.final_norm, table[1] - table[2], 6)
    kinds = Counter()
    for target in (firing(cell, 3, 6), answer):
        reader = root(target)
        while True:
            parts = split(cell, reader)
            everything = [c.value for c in (*parts.inner, *parts.ends)]
            assert abs(sum(everything) - reader.value) < 1e-12 * (1 + sum(map(abs, everything)))
            if not parts.inner:
                break
            some = parts.inner[:: max(1, len(parts.inner) // 9)]
            for child in some + [c for c in parts.inner if c.node.kind == "skip"]:
                below = follow(cell, reader, child)
                stream = (
                    cell.layers[below.layer].stream if below.at_mlp else cell.states(below.layer)
                )
                value = float(below.vector @ stream[below.position]) + below.constant
                assert abs(value - child.value) < 1e-12 * (1 + abs(child.value))
                kinds[child.node.kind] += 1
            reader = follow(cell, reader, max(parts.inner, key=lambda c: abs(c.value)))
    assert set(kinds) == {"feature", "head"} | ({"skip"} if skip else set())


def ends_of(cell, reader, sums):
    parts = split(cell, reader)
    for end in parts.ends:
        sums[end.node.kind] += end.value
    return 1 + sum(ends_of(cell, follow(cell, reader, c), sums) for c in parts.inner)


@pytest.mark.parametrize("kind", KINDS)
def test_all_paths_add_up(kind):
    """Exhaustive recursion through features and heads ends in embeddings, errors and biases alone:
    nothing is left.
    """
    layers = 3 if kind == "parallel" else 2  # behind its own attention a feature has more paths
    cell = frozen(kind, layers=layers, length=3, k=2)
    target, sums = firing(cell, layers - 1, 2), Counter()
    expanded = ends_of(cell, root(target), sums)
    assert set(sums) == {"embedding", "error", "bias"} and expanded > 100
    assert abs(sum(sums.values()) - target.value) < 1e-12 * (1 + abs(target.value))


@pytest.mark.parametrize("kind", KINDS)
def test_all_paths_without_features_are_the_sweep(kind):
    """Through heads alone, each feature gets what one sweep gives it."""
    layers = 3 if kind == "parallel" else 2
    cell = frozen(kind, layers=layers, length=4, skip=True)
    target, found = firing(cell, layers - 1, 3), Counter()

    def collect(reader):
        parts = split(cell, reader)
        for child in (*parts.ends, *parts.inner):
            if child.node.kind in ("feature", "error", "embedding"):
                found[child.node] += child.value
            elif child.node.kind in ("head", "skip"):
                collect(follow(cell, reader, child))
            else:
                found["bias"] += child.value

    collect(root(target))
    sums, seen = Completeness([target]), 0
    for part in backward_rows(cell, [target]):
        sums.add(part)
        for s in range(part.indices.shape[0]):
            for j, f in enumerate(part.indices[s].tolist()):
                wanted = float(part.features[0, s, j])
                node = ("feature", part.layer, s, f, -1)
                assert abs(found[node] - wanted) < 1e-12
                seen += wanted != 0
    assert seen > 5
    assert abs(found["bias"] - sums.sums["biases"][0]) < 1e-12


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cap", [False, True])
def test_search_by_definition(kind, cap):
    cell = frozen(kind, length=6)
    target = firing(cell, 2, 5)
    graph = readable_subgraph(cell, target, steps=3, width=4, cap=cap)
    assert graph.relative < 1e-13 and graph.value == target.value

    frontier, edges, paths = [root(target)], Counter(), Counter()
    for _ in range(3):
        candidates = []
        for reader in frontier:
            candidates += [(reader, c) for c in split(cell, reader).inner]
        candidates.sort(key=lambda rc: -min(abs(rc[1].value), rc[1].smallest if cap else 1e9))
        for reader, child in candidates[:4]:
            edges[child.node, reader.node] += child.value
            paths[child.node, reader.node] += 1
        frontier = [follow(cell, r, c) for r, c in candidates[:4]]
    kept = {(e.child, e.parent): e for e in graph.edges if e.child.kind in ("feature", "head")}
    assert set(kept) == set(edges)
    for key, edge in kept.items():
        assert abs(edge.contribution - edges[key]) < 1e-12 and edge.paths == paths[key]
    assert (
        min(e.contribution for e in kept.values()) < 0 < max(e.contribution for e in kept.values())
    )
    into_root = sum(e.contribution for e in graph.edges if e.parent == graph.root)
    assert abs(into_root - target.value) < 1e-12
    kinds = {e.child.kind for e in graph.edges if e.parent == graph.root}
    assert {"error", "bias", "remainder", "embedding"} <= kinds
    assert graph.nodes[0] == graph.root and len(set(graph.nodes)) == len(graph.nodes)


def test_the_cap_is_the_smallest_activation_on_the_path():
    cell = frozen("parallel", length=6)
    reader = root(firing(cell, 2, 5))
    path = []
    while True:
        inner = [c for c in split(cell, reader).inner if c.node.kind == "feature"]
        if not inner:
            break
        child = max(inner, key=lambda c: abs(c.value))
        layer = cell.layers[child.node.layer]
        at = child.node.position
        path.append(float(layer.values[at][layer.indices[at] == child.node.index]))
        assert child.smallest == min(path)
        reader = follow(cell, reader, child)
    assert len(path) == 2 and torch.isfinite(torch.tensor(path)).all()

"""The graph of one cell against autograd on all its nodes."""

from __future__ import annotations

import numpy as np
import pytest

from scircuit.core.errors import UserError
from scircuit.tracing.attribution.cell_graph import (
    ANSWER,
    ERROR,
    FEATURE,
    TOKEN,
    cell_graph,
    graph_scores,
    prune_graph,
)
from scircuit.tracing.attribution.frozen_cell import freeze
from scircuit.tracing.attribution.targets import answer_target, feature_target
from tests.support.plain_attribution import leaves_of, plain_gradient
from tests.support.tiny_prenorm import KINDS, TinyPreNorm, tiny_cell, tiny_transcoders

LENGTH, WEIGHTS = 5, (0.7, 0.3)


@pytest.fixture(scope="module", params=KINDS)
def case(request):
    model = TinyPreNorm(request.param, layers=3)
    cell = freeze(model, tiny_cell(LENGTH), tiny_transcoders(model, features=30, k=4, skip=True))
    table = model.unembedding - model.unembedding.mean(0)
    answers = [answer_target(cell, model.final_norm, table[i], LENGTH - 1) for i in (3, 8)]
    return cell, answers


def node_names(graph):
    columns = (graph.kind, graph.layer, graph.position, graph.index)
    return list(zip(*(c.tolist() for c in columns), strict=True))


def plain_row(cell, target):
    """Every source of a target that is not 0, by name."""
    clean, found = leaves_of(cell), {}
    _, slope = plain_gradient(cell, target)
    for m in range(cell.n_layers):
        x = clean.codes[m] * slope.codes[m]
        for s, f in x.nonzero().tolist():
            found[FEATURE, m, s, f] = float(x[s, f])
        for s, e in enumerate((clean.errors[m] * slope.errors[m]).sum(1).tolist()):
            found[ERROR, m, s, -1] = e
    for s, e in enumerate((clean.embedding * slope.embedding).sum(1).tolist()):
        found[TOKEN, -1, s, -1] = e
    return {name: x for name, x in found.items() if x != 0}


def test_all_rows_of_all_features(case):
    cell, answers = case
    graph = cell_graph(cell, answers, WEIGHTS, strongest=10**9, share=1.0)
    names = node_names(graph)
    assert len(set(names)) == len(names) and (np.diff(graph.kind) >= 0).all()
    rows = {}
    for s, t, x in zip(graph.source, graph.target, graph.contribution, strict=True):
        rows.setdefault(names[t], {})[names[s]] = x
    reached, todo = set(), [(ANSWER, 3, 0, 0), (ANSWER, 3, 0, 1)]
    while todo:  # from the answers down
        name = todo.pop()
        if name in reached:
            continue
        reached.add(name)
        kind, layer, position, index = name
        target = answers[index] if kind == ANSWER else feature_target(cell, layer, index, position)
        wanted = plain_row(cell, target)
        i = names.index(name)
        assert abs(graph.value[i] - target.value) < 1e-12
        assert set(rows.get(name, {})) == set(wanted)
        for source, x in wanted.items():
            assert abs(rows[name][source] - x) < 1e-12
        if kind == FEATURE and target.value > 0:
            assert abs(graph.activation[i] - target.value) < 1e-12
        todo += [s for s in wanted if s[0] == FEATURE]
    explored = [n for n, v in zip(names, graph.value, strict=True) if not np.isnan(v)]
    assert set(explored) == reached and len(reached) > 30
    assert np.abs(graph.remainder).max() < 1e-12 and graph.remainder_size.max() < 1e-12
    assert np.nanmax(graph.relative) < 1e-13


@pytest.mark.parametrize(
    ("features", "strongest", "share"), [(7, 9, 1.0), (20, 99, 0.8), (0, 5, 1)]
)
def test_every_row_adds_up_whatever_is_kept(case, features, strongest, share):
    cell, answers = case
    graph = cell_graph(cell, answers, WEIGHTS, features, strongest, share)
    n = len(graph.kind)
    assert (graph.kind == FEATURE).sum() <= features
    got = np.bincount(graph.target, graph.contribution, n) + graph.biases + graph.remainder
    own = ~np.isnan(graph.value)
    assert own.sum() == (graph.kind == FEATURE).sum() + 2
    np.testing.assert_allclose(got[own], graph.value[own], atol=1e-12)
    assert np.bincount(graph.target, minlength=n).max() <= strongest
    assert graph.weight[graph.kind == ANSWER].tolist() == list(WEIGHTS)
    sizes = np.bincount(graph.target, np.abs(graph.contribution), n) + graph.remainder_size
    names = node_names(graph)
    for i in np.flatnonzero(own)[-3:]:
        kind, layer, position, index = names[i]
        target = answers[index] if kind == ANSWER else feature_target(cell, layer, index, position)
        assert abs(sizes[i] - sum(map(abs, plain_row(cell, target).values()))) < 1e-11


def test_the_most_influential_features_come_first(case):
    """With one row at a time, of the features that reach the answers most."""
    cell, answers = case
    first = cell_graph(cell, answers, WEIGHTS, features=1, strongest=10**9, share=1.0)
    rows = [plain_row(cell, a) for a in answers]
    reach = {}
    for weight, row in zip(WEIGHTS, rows, strict=True):
        whole = sum(map(abs, row.values()))
        for name, x in row.items():
            if name[0] == FEATURE:
                reach[name] = reach.get(name, 0) + weight * abs(x) / whole
    assert node_names(first)[0] == max(reach, key=reach.get)


def test_batches_change_no_bit(case):
    cell, answers = case
    one, other = (cell_graph(cell, answers, WEIGHTS, 25, batch=b) for b in (48, 5))
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one, other, strict=True))


def test_pruned_graphs_and_scores(case):
    """Scores by paths: the share of random walks against the edges that end in an embedding."""
    cell, answers = case
    graph = cell_graph(cell, answers, WEIGHTS, strongest=10**9, share=1.0)
    found = prune_graph(graph)
    assert found.nodes[(graph.kind == TOKEN) | (graph.kind == ANSWER)].all()
    assert 0 < found.nodes[graph.kind == FEATURE].sum() < (graph.kind == FEATURE).sum()
    assert found.edges.sum() < len(found.edges)
    n = len(graph.kind)
    dense = np.zeros((n, n))
    dense[graph.target, graph.source] = np.abs(graph.contribution)
    dense /= np.maximum(dense.sum(1, keepdims=True), 1e-10)
    ends = np.linalg.solve(np.eye(n) - dense.T, graph.weight)
    replacement, completeness = graph_scores(graph)
    ended = [ends[graph.kind == kind].sum() for kind in (TOKEN, ERROR)]
    assert abs(replacement - ended[0] / sum(ended)) < 1e-12
    clean = 1 - dense[:, graph.kind == ERROR].sum(1)
    assert abs(completeness - (clean * ends).sum() / ends.sum()) < 1e-12
    assert 0 < replacement < completeness < 1


def test_refusals(case):
    cell, answers = case
    with pytest.raises(UserError, match=r"2 answers with weights \[1.0\]"):
        cell_graph(cell, answers, [1.0])
    with pytest.raises(UserError, match="none below 0 and some above"):
        cell_graph(cell, answers, [1.0, -1.0])

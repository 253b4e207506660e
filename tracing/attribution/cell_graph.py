"""The attribution graph of one cell: answers, the features that bring them about, errors and token
embeddings, with an edge for every contribution that is kept.

Rows are swept (`scircuit.tracing.attribution.backward_rows`) for the answers first and then for the
features that reach them most, by influence over the rows there are
(`scircuit.tracing.attribution.influence_pruning`), which is asked again after every `UPDATE` rows
(as circuit-tracer does). Of each row the strongest sources stay, up to `share` of its absolute sum
and at most `strongest` of them. So memory is rows by `strongest`, not nodes by nodes, and each row
still adds up:

    value = kept contributions + biases + remainder ,

the remainder being the sources that are not kept and features that got no row of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from scircuit.core.errors import UserError
from scircuit.tracing.attribution.backward_rows import (
    EMBEDDING,
    TARGETS,
    LayerPart,
    backward_rows,
    target_batches,
)
from scircuit.tracing.attribution.completeness import Completeness
from scircuit.tracing.attribution.frozen_cell import FrozenCell
from scircuit.tracing.attribution.influence_pruning import (
    EDGE_SHARE,
    NODE_SHARE,
    Pruned,
    influence_of,
    prune,
)
from scircuit.tracing.attribution.targets import Target, feature_target

FEATURES, STRONGEST, ROW_SHARE = 2048, 4096, 0.99
"""Features with rows of their own, sources of a row, and their share of it, unless others are
given.
"""

UPDATE = 4 * TARGETS
"""Rows after which the most influential features are chosen again."""

KINDS = ("feature", "error", "embedding", "answer")
FEATURE, ERROR, TOKEN, ANSWER = range(4)


class CellGraph(NamedTuple):
    """Nodes in the order features, errors, embeddings, answers; edges from source to target."""

    kind: np.ndarray  # [N] place in `KINDS`
    layer: np.ndarray  # [N]; -1 of embeddings, L of answers
    position: np.ndarray  # [N]
    index: np.ndarray  # [N] feature, or which answer; -1 of the others
    activation: np.ndarray  # [N] of features; 0 of the others
    value: np.ndarray  # [N] pre-activation or answer; NaN of nodes without a row
    biases: np.ndarray  # [N] of nodes with a row
    remainder: np.ndarray  # [N] of nodes with a row
    remainder_size: np.ndarray  # [N] sum of its absolute values
    relative: np.ndarray  # [N] relative difference of a row's sum and its value
    weight: np.ndarray  # [N] of answers; 0 of the others
    source: np.ndarray  # [E] nodes
    target: np.ndarray  # [E]
    contribution: np.ndarray  # [E]


class _Row(NamedTuple):
    keys: np.ndarray
    contributions: np.ndarray
    total: float  # of all features, errors and embeddings
    gross: float
    value: float
    biases: float
    relative: float


def cell_graph(
    cell: FrozenCell,
    answers: Sequence[Target],
    weights: Sequence[float],
    features: int = FEATURES,
    strongest: int = STRONGEST,
    share: float = ROW_SHARE,
    batch: int = TARGETS,
) -> CellGraph:
    """Build the graph of some answers.

    Parameters
    ----------
    cell
        The cell.
    answers
        What is explained (`scircuit.tracing.attribution.targets`).
    weights
        Weight of each, such as its probability.
    features
        Most features that get rows.
    strongest, share
        Most sources kept of a row, and up to which share of its absolute sum.
    batch
        Targets of one sweep; no number depends on it.

    Raises
    ------
    UserError
        If answers and weights do not match.
    """
    if not answers or len(weights) != len(answers) or min(weights) < 0 or not sum(weights):
        raise UserError(
            f"{len(answers)} answers with weights {list(weights)}; expected one for each, none"
            " below 0 and some above",
            "give the answers' probabilities",
        )
    codes = _Codes(cell)
    names = [codes.key(ANSWER, cell.n_layers, 0, i) for i in range(len(answers))]
    rows = _rows(cell, codes, answers, strongest, share, batch)
    p = np.zeros(len(names))
    p[:] = weights
    while len(names) - len(answers) < features:
        missing = features + len(answers) - len(names)
        chosen = _most_influential(codes, names, rows, p, min(UPDATE, missing))
        if not len(chosen):
            break
        _, layers, positions, indices = codes.parts(chosen)
        targets = [
            feature_target(cell, *at)
            for at in zip(layers.tolist(), indices.tolist(), positions.tolist(), strict=True)
        ]
        names += chosen.tolist()
        rows += _rows(cell, codes, targets, strongest, share, batch)
    return _graph(cell, codes, np.array(names), rows, p)


class _Codes:
    """Numbers for sources, ascending by kind, layer, position and index."""

    def __init__(self, cell: FrozenCell) -> None:
        self.length = cell.length
        widest = max([0, *(w.n_features for w in cell.transcoders.values())])
        self.sizes = (cell.n_layers + 2, cell.length, max(widest, 2**16) + 1)

    def key(self, kind: int, layer: int, position: int, index: int) -> int:
        layers, positions, indices = self.sizes
        return ((kind * layers + layer + 1) * positions + position) * indices + index + 1

    def keys(self, kind: int, layer: int, positions: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return self.key(kind, layer, 0, 0) + positions * self.sizes[2] + indices

    def parts(self, keys: np.ndarray) -> tuple[np.ndarray, ...]:
        """Kind, layer, position and index."""
        layers, positions, indices = self.sizes
        rest, index = np.divmod(keys, indices)
        rest, position = np.divmod(rest, positions)
        kind, layer = np.divmod(rest, layers)
        return kind, layer - 1, position, index - 1


def _rows(
    cell: FrozenCell,
    codes: _Codes,
    targets: Sequence[Target],
    strongest: int,
    share: float,
    batch: int,
) -> list[_Row]:
    """One row for each target, in their order."""
    found: dict[int, _Row] = {}
    for chosen in target_batches(cell, targets, batch):
        some = [targets[i] for i in chosen]
        complete, open_rows = Completeness(some), [_OpenRow(strongest) for _ in some]
        for part in backward_rows(cell, some):
            complete.add(part)
            _take(codes, part, open_rows)
        for b, i in enumerate(chosen):
            own = open_rows[b]
            keys, x = (np.concatenate(c) for c in zip(*own.parts, strict=True))
            order = np.argsort(-np.abs(x), kind="stable")
            reached = np.cumsum(np.abs(x)[order])
            count = min(int(np.searchsorted(reached, share * own.gross)) + 1, strongest, len(order))
            kept = np.sort(order[:count])
            found[i] = _Row(
                keys[kept],
                x[kept],
                own.total,
                own.gross,
                float(complete.value[b]),
                float(complete.sums["biases"][b]),
                float(complete.relative[b]),
            )
    return [found[i] for i in range(len(targets))]


class _OpenRow:
    """One target's sources while a sweep goes down: of each layer as many as a row can keep."""

    def __init__(self, strongest: int) -> None:
        self.strongest = strongest
        self.parts: list[tuple[np.ndarray, np.ndarray]] = []
        self.total = self.gross = 0.0

    def take(self, keys: np.ndarray, x: np.ndarray) -> None:
        """Add contributions."""
        sizes = np.abs(x)
        self.total += float(x.sum())
        self.gross += float(sizes.sum())
        live = np.flatnonzero(sizes > 0)
        if len(live) > self.strongest:
            live = live[np.argpartition(-sizes[live], self.strongest - 1)[: self.strongest]]
        self.parts.append((keys[live], x[live]))


def _take(codes: _Codes, part: LayerPart, rows: Sequence[_OpenRow]) -> None:
    """Contributions of one layer to each target."""
    kind = TOKEN if part.layer == EMBEDDING else ERROR
    positions, indices = np.arange(part.errors.shape[1]), part.indices.cpu().numpy()
    features = codes.keys(FEATURE, part.layer, positions[:, None], indices).ravel()
    others = codes.keys(kind, part.layer, positions, np.full(len(positions), -1))
    found, errors = (t.cpu().double().numpy() for t in (part.features, part.errors))
    for b, row in enumerate(rows):
        row.take(features, found[b].ravel())
        row.take(others, errors[b])


def _edges(
    names: np.ndarray, rows: Sequence[_Row]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Distinct keys, and edges between them: source, target, contribution."""
    source = np.concatenate([r.keys for r in rows])
    target = np.repeat(names, [len(r.keys) for r in rows])
    keys, both = np.unique(np.concatenate([source, target, names]), return_inverse=True)
    n = len(source)
    return keys, both[:n], both[n : 2 * n], np.concatenate([r.contributions for r in rows])


def _most_influential(
    codes: _Codes, names: Sequence[int], rows: Sequence[_Row], p: np.ndarray, count: int
) -> np.ndarray:
    """Features without rows that reach the answers most, by keys."""
    known = np.array(names)
    keys, source, target, x = _edges(known, rows)
    answers, gross = np.zeros(len(keys)), np.zeros(len(keys))
    answers[np.searchsorted(keys, known[: len(p)])] = p
    gross[np.searchsorted(keys, known)] = [r.gross for r in rows]
    found = influence_of(len(keys), source, target, np.abs(x), answers, gross)
    kind = codes.parts(keys)[0]
    open_ = np.flatnonzero((kind == FEATURE) & (found > 0) & ~np.isin(keys, known))
    return keys[open_[np.argsort(-found[open_], kind="stable")][:count]]


def _graph(
    cell: FrozenCell, codes: _Codes, names: np.ndarray, rows: Sequence[_Row], p: np.ndarray
) -> CellGraph:
    keys, source, target, x = _edges(names, rows)
    kind, layer, position, index = codes.parts(keys)
    own = np.searchsorted(keys, names)
    stays = (kind != FEATURE) | np.isin(keys, names)
    inside = stays[source]
    place = np.cumsum(stays) - 1
    source, target, x = place[source[inside]], place[target[inside]], x[inside]
    n, own = int(stays.sum()), place[own]
    columns = {name: np.full(n, np.nan) for name in ("value", "relative")}
    columns |= {name: np.zeros(n) for name in ("biases", "whole", "gross", "weight")}
    for name, of in (("value", 4), ("biases", 5), ("relative", 6), ("whole", 2), ("gross", 3)):
        columns[name][own] = [row[of] for row in rows]
    columns["weight"][own[: len(p)]] = p
    remainder = columns["whole"] - np.bincount(target, x, n)
    size = np.maximum(columns["gross"] - np.bincount(target, np.abs(x), n), 0.0)
    activation = np.zeros(n)
    features = np.flatnonzero(kind[stays] == FEATURE)
    for i in features.tolist():
        frozen = cell.layers[int(layer[stays][i])]
        at = int(position[stays][i])
        hit = frozen.indices[at] == int(index[stays][i])
        activation[i] = float((frozen.values[at] * hit).sum())
    return CellGraph(
        kind[stays],
        layer[stays],
        position[stays],
        index[stays],
        activation,
        columns["value"],
        columns["biases"],
        remainder,
        size,
        columns["relative"],
        columns["weight"],
        source,
        target,
        x,
    )


def prune_graph(
    graph: CellGraph, node_share: float = NODE_SHARE, edge_share: float = EDGE_SHARE
) -> Pruned:
    """Prune a graph by influence: embeddings and answers always stay."""
    stay = (graph.kind == TOKEN) | (graph.kind == ANSWER)
    return prune(
        len(graph.kind),
        graph.source,
        graph.target,
        graph.contribution,
        graph.weight,
        stay,
        graph.kind == FEATURE,
        node_share,
        edge_share,
    )


def graph_scores(graph: CellGraph) -> tuple[float, float]:
    """Replacement and completeness of a graph, as circuit-tracer defines them.

    Returns
    -------
    replacement
        Share of the influence that ends in embeddings rather than errors.
    completeness
        Share of what nodes get, weighted by their influence, that does not come from errors.
    """
    n, sizes = len(graph.kind), np.abs(graph.contribution)
    found = influence_of(n, graph.source, graph.target, sizes, graph.weight)
    tokens, errors = (float(found[graph.kind == kind].sum()) for kind in (TOKEN, ERROR))
    whole = np.maximum(np.bincount(graph.target, sizes, n), 1e-10)
    wrong = np.bincount(graph.target, np.where(graph.kind[graph.source] == ERROR, sizes, 0), n)
    reach = found + graph.weight
    return (
        tokens / max(tokens + errors, 1e-300),
        float(((1 - wrong / whole) * reach).sum() / reach.sum()),
    )

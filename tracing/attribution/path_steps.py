"""One step back along a path: a vector somewhere in the stream, split exactly into what it reads.

A reader is a vector v at a layer and a position with what it has to explain,

    value = v . stream(t) + constant .

Its children are the features and errors of all lower layers at t, the token embedding, every head
of a lower layer (of the layer itself where its feed-forward reads behind its attention) with every
position that the head looks at, the skips of transcoders, and one bias. A child that can be split
further is a reader itself, with the same value:

    feature   v' = P(gamma * f_enc) / sigma * (f_dec . v) ,
                                           constant (b_enc + beta . f_enc) (f_dec . v)
    head      v' = A(t, s) u / sigma_1(s) ,                  constant A(t, s) const_h
    skip      v' = P(gamma * W_skip^T v) / sigma ,           constant beta . W_skip^T v

so the children of any reader add up to its value (a feature's because it fires:
``z = f_enc . x + b_enc`` there).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from scircuit.tracing.attribution.frozen_cell import FrozenCell
from scircuit.tracing.attribution.head_paths import features_read, head_paths, search_vector
from scircuit.tracing.attribution.targets import Target
from scircuit.tracing.models.decoders.prenorm import Norm


class Node(NamedTuple):
    """A place in a graph of one cell."""

    kind: str  # target, feature, head, skip, embedding, error, bias, remainder
    layer: int  # of the embedding -1
    position: int  # of a head: where it looks
    index: int = -1  # feature, or head
    reads: int = -1  # of a head: the position that looks


class Reader(NamedTuple):
    """A vector in the stream, and what it has to explain."""

    node: Node
    layer: int
    position: int
    at_mlp: bool
    vector: Tensor  # [d]
    value: float
    constant: float
    smallest: float  # smallest activation of a feature on the path so far


class Child(NamedTuple):
    """Something that a reader reads, and how much of its value that is."""

    node: Node
    value: float
    smallest: float  # smallest activation of a feature on the path, this one included


class Split(NamedTuple):
    """Children of one reader; `value` of all of them adds up to the reader's."""

    inner: list[Child]  # features, heads, skips: can be split further
    ends: list[Child]  # embedding, errors and bias


def root(target: Target) -> Reader:
    """The reader that a path starts from."""
    node = Node("target", target.layer, target.position, target.feature)
    return Reader(
        node,
        target.layer,
        target.position,
        target.at_mlp,
        target.vector,
        target.value,
        sum(target.constants.values()),
        float("inf"),
    )


@torch.no_grad()
def split(cell: FrozenCell, reader: Reader) -> Split:
    """All children of a reader, zeros left out."""
    v, t, model = reader.vector, reader.position, cell.adapter
    inner: list[Child] = []
    bias = reader.constant
    ends = [Child(Node("embedding", -1, t), _dot(cell.states(0)[t], v), reader.smallest)]
    for l in range(reader.layer):  # noqa: E741
        frozen, weights = cell.layers[l], cell.transcoders.get(l)
        ends.append(Child(Node("error", l, t), _dot(frozen.error[t], v), reader.smallest))
        if weights is None:
            continue
        bias += _dot(weights.offset, v)
        found = features_read(cell, l, t, v).tolist()
        for c, z, f in zip(
            found, frozen.values[t].tolist(), frozen.indices[t].tolist(), strict=True
        ):
            inner.append(Child(Node("feature", l, t, f), c, min(reader.smallest, z)))
        if weights.skip is not None:
            along = _dot(weights.skipped(cell.mlp_input(l, slice(t, t + 1)))[0], v)
            inner.append(Child(Node("skip", l, t), along, reader.smallest))
    for m in range(_attention_layers(cell, reader)):
        paths = head_paths(cell, m, v[None], torch.tensor([t], device=v.device))
        bias += float(paths.output_bias[0]) + float(paths.attended_bias[0])
        found = (paths.through + paths.constants)[0, :, : t + 1].tolist()
        inner += [
            Child(Node("head", m, s, h, t), c, reader.smallest)
            for h in range(model.n_heads)
            for s, c in enumerate(found[h])
        ]
    ends.append(Child(Node("bias", reader.layer, t), bias, reader.smallest))
    return Split([c for c in inner if c.value != 0], [c for c in ends if c.value != 0])


@torch.no_grad()
def follow(cell: FrozenCell, reader: Reader, child: Child) -> Reader:
    """The child of a reader as a reader."""
    node, v = child.node, reader.vector
    if node.kind == "head":
        at = torch.tensor([reader.position], device=v.device)
        paths = head_paths(cell, node.layer, v[None], at)
        constant = float(paths.constants[0, node.index, node.position])
        vector = search_vector(cell, paths, 0, node.index, node.position)
        return _reader(child, False, vector, constant)
    weights = cell.transcoders[node.layer]
    norm = cell.adapter.layers[node.layer].norm_2
    sigma = cell.layers[node.layer].sigma_2[node.position]
    if node.kind == "skip" and weights.skip is not None:
        row, own = v @ weights.skip, 0.0
    else:
        along = weights.decoder[node.index] @ v
        row, own = weights.encoder[node.index] * along, float(weights.encoder_bias[node.index])
        own *= float(along)
    return _reader(child, True, norm.pull_back(row, sigma), own + _bias(norm, row))


def _reader(child: Child, at_mlp: bool, vector: Tensor, constant: float) -> Reader:
    node = child.node
    return Reader(
        node, node.layer, node.position, at_mlp, vector, child.value, constant, child.smallest
    )


def _attention_layers(cell: FrozenCell, reader: Reader) -> int:
    """How many layers' attention the reader's stream holds."""
    if not reader.at_mlp or reader.layer == cell.n_layers:
        return reader.layer
    return reader.layer + (not cell.adapter.layers[reader.layer].parallel)


def _bias(norm: Norm, row: Tensor) -> float:
    return 0.0 if norm.bias is None else _dot(norm.bias, row)


def _dot(first: Tensor, second: Tensor) -> float:
    return float(first.cpu().double() @ second.cpu().double())

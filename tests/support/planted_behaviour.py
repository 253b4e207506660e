"""Toy models with a behaviour whose circuit is known.

The chain: tokens of one class of cells carry feature A of layer 0; the feed-forward block of layer
1 writes B where A is, that of layer 2 writes C where B is, and the behaviour reads C. Each layer
has a dictionary with its own feature of the chain and distractors that fire as often, which are in
the state and that nothing reads. So the circuit is {A of layer 0, B of layer 1, C of layer 2}.

Distributed: as many tokens of either class carry many features of layer 0, and the behaviour reads
the sum of them all.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch

from scircuit.tracing.behaviour.behaviours import ProbeMargin
from scircuit.tracing.behaviour.probe import Probe
from tests.support.tiny_models import TinyDictionary
from tests.support.toy_adapter import Toy

WIDTH, FEATURES, LENGTH, TOKENS = 64, 20, 8, 56
SPECIAL = 4


class Planted(NamedTuple):
    """A model, its dictionaries, cells with their class, and what the circuit is."""

    adapter: Any
    dictionaries: dict[int, Any]
    cells: list[np.ndarray]
    behaviour: ProbeMargin
    truth: set[tuple[int, int]]  # (layer, feature)


def dictionary(layer: int, directions: np.ndarray) -> Any:
    """A ReLU dictionary (k = all) with orthonormal directions."""
    n = len(directions)
    made = TinyDictionary(layer, WIDTH, n, n, seed=0)
    made.w_enc = torch.from_numpy(directions.copy()).float()
    made.w_dec = made.w_enc.T.contiguous()
    for name, size in (("b_enc", n), ("b_dec", WIDTH), ("mean", WIDTH)):
        setattr(made, name, torch.zeros(size))
    return made


def _model(table: np.ndarray) -> Any:
    adapter = Toy(layers=3, width=WIDTH, act=torch.relu)
    adapter.n_tokens, adapter.max_length = SPECIAL + TOKENS, LENGTH + 2
    for weights in adapter.weights:
        for name in ("out", "down", "bias"):
            weights[name].data.zero_()
    adapter.table = torch.from_numpy(table).float()
    adapter.vocabulary = SimpleNamespace(mask=1)
    return adapter


def _cells(rng: np.random.Generator, n: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Cells of two classes: half of their tokens are of the class's own half of the vocabulary."""
    own = np.arange(n) % 2 == 0
    cells = []
    for first in own:
        mine = rng.choice(TOKENS // 2, LENGTH // 2, replace=False) + (0 if first else TOKENS // 2)
        free = rng.choice(np.setdiff1d(np.arange(TOKENS), mine), LENGTH // 2, replace=False)
        tokens = rng.permutation(np.concatenate([mine, free]))
        cells.append(np.r_[2, SPECIAL + tokens, 3].astype(np.int64))
    return cells, own


def _carried(rng: np.random.Generator, features: int, each: int) -> np.ndarray:
    """Strength of every feature in every token, [tokens, features]: `each` features a token."""
    carries = np.zeros((TOKENS, features))
    for row in carries:
        row[rng.choice(features, each, replace=False)] = rng.uniform(0.7, 1.3, each)
    return carries


def chain(seed: int, n: int = 24) -> Planted:
    """The chain of three features."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0].T
    a, b, c = basis[:3]
    others = basis[3 : 3 + 3 * (FEATURES - 1)].reshape(3, FEATURES - 1, WIDTH)
    carries = sum(_carried(rng, FEATURES - 1, 4) @ part for part in others)
    table = np.zeros((SPECIAL + TOKENS, WIDTH))
    table[SPECIAL:] = carries
    table[SPECIAL : SPECIAL + TOKENS // 2] += rng.uniform(0.7, 1.3, (TOKENS // 2, 1)) * a
    adapter = _model(table)
    for layer, reads, writes in ((1, a, b), (2, b, c)):
        adapter.weights[layer]["up"].data[0] = torch.from_numpy(reads).float()
        adapter.weights[layer]["up"].data[1:] = 0
        adapter.weights[layer]["down"].data[:, 0] = torch.from_numpy(writes).float()
    places = rng.integers(0, FEATURES, 3)
    dictionaries, truth = {}, set()
    for layer, (own, rest, place) in enumerate(zip((a, b, c), others, places, strict=True)):
        dictionaries[layer] = dictionary(layer, np.insert(rest, place, own, axis=0))
        truth.add((layer, int(place)))
    cells, own_class = _cells(rng, n)
    return Planted(adapter, dictionaries, cells, _margin(adapter, cells, own_class, c), truth)


def spread(seed: int, n: int = 24, features: int = 60) -> Planted:
    """The behaviour that all features carry alike."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0].T[:features]
    table = np.zeros((SPECIAL + TOKENS, WIDTH))
    first = _carried(rng, features, 20)
    first[TOKENS // 2 :] *= 0.3  # the other class has less of each
    table[SPECIAL:] = first @ basis
    adapter = _model(table)
    cells, own = _cells(rng, n)
    behaviour = _margin(adapter, cells, own, basis.sum(0))
    return Planted(adapter, {0: dictionary(0, basis)}, cells, behaviour, set())


def _margin(adapter: Any, cells: list[np.ndarray], own: np.ndarray, weight: np.ndarray) -> Any:
    means = np.array([(adapter.clean_states(c)[-1][1:-1].numpy() @ weight).mean() for c in cells])
    bias = -(means[own].mean() + means[~own].mean()) / 2
    return ProbeMargin("type", Probe(weight, float(bias), 1.0, 0.001, 0, 0), own)

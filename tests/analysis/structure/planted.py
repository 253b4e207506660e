"""Small circuits with a structure that is known, for the tests of this folder."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from scircuit.analysis.circuit_inputs import CircuitInputs
from scircuit.analysis.circuits.degree import EdgeArrays, FeatureArrays
from scircuit.core.address import Address
from scircuit.core.edge_rules import CALIBRATED

CONFIG: Any = SimpleNamespace(q=0.05, min_support=6, min_effect=0.0, hubs=10, seed=0)


def features(layer, firing_rate=None, traced=None) -> FeatureArrays:
    layer = np.asarray(layer)
    rate = np.full(layer.size, 0.1) if firing_rate is None else np.asarray(firing_rate, float)
    source = np.ones(layer.size, bool) if traced is None else np.asarray(traced, bool)
    ids = np.array([str(Address("m", "d", int(a), i)) for i, a in enumerate(layer)], object)
    return FeatureArrays(ids, layer, rate, source, np.zeros(layer.size))


def inputs(nodes: FeatureArrays, source, target, **columns) -> CircuitInputs:
    """A circuit in which every given effect is an edge, unless its q says otherwise."""
    source, target = np.asarray(source, np.int64), np.asarray(target, np.int64)
    full = {name: np.full(source.size, np.nan) for name in EdgeArrays._fields}
    full |= {
        "source": source,
        "target": target,
        "n": np.full(source.size, 20.0),
        "n_pos": np.zeros(source.size),
        "n_neg": np.full(source.size, 20.0),
        "mean": np.full(source.size, -1.0),
        "d": np.full(source.size, -2.0),
        "q": np.zeros(source.size),
        "scale": np.zeros(source.size),
    }
    edges = EdgeArrays(**full | {k: np.asarray(v, float) for k, v in columns.items()})
    thresholds = {"q": 0.05, "min_support": 6, "min_effect": 0.0}
    called = CALIBRATED.holds(edges._asdict(), thresholds)
    return CircuitInputs("run", nodes, edges, called, CALIBRATED)


def random_edges(layer, number, rng, sources=None):
    """Distinct edges to later layers, uniformly."""
    layer = np.asarray(layer)
    a, b = rng.integers(0, layer.size, (2, 8 * number))
    ok = layer[b] > layer[a]
    if sources is not None:
        ok &= np.isin(layer[a], sources)
    pairs = np.unique(np.stack([a[ok], b[ok]]), axis=1)
    keep = rng.permutation(pairs.shape[1])[:number]
    return pairs[:, np.sort(keep)]


def module_edges(inside, rng, number=1200):
    """Edges of 40 features of layer 0 to 40 of layer 1 and of layer 2, in four blocks of ten each;
    with probability `inside` within the block.
    """
    source = rng.integers(0, 40, number)
    same = 10 * (source // 10) + rng.integers(0, 10, number)
    other = rng.integers(0, 40, number)
    target = np.where(rng.random(number) < inside, same, other) + 40 * rng.integers(1, 3, number)
    return np.unique(np.stack([source, target]), axis=1)


MODULE_LAYERS = np.repeat([0, 1, 2], 40)
BLOCKS = np.tile(np.repeat(np.arange(4), 10), 3)

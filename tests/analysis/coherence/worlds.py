"""Planted circuits: features of two or three layers with terms, firing rates and edges."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from scircuit.analysis.circuit_inputs import CircuitInputs
from scircuit.analysis.circuits.degree import EdgeArrays, FeatureArrays
from scircuit.core.edge_rules import COMPUTED


class World(NamedTuple):
    """Features of layers 0, 1, 2; each has one of the terms, most also others."""

    nodes: FeatureArrays
    terms: pd.DataFrame
    main: np.ndarray


def world(
    rng: np.random.Generator, per_layer: int = 120, terms: int = 20, model: str = "toy"
) -> World:
    layer = np.repeat([0, 1, 2], per_layer)
    n = layer.size
    ids = np.array(
        [f"{model}/k/L{a:02d}/F{i % per_layer:04d}" for i, a in enumerate(layer)], object
    )
    rate = rng.lognormal(-4, 1, n)
    nodes = FeatureArrays(ids, layer, rate, layer < 2, np.ones(n))
    main = rng.integers(0, terms, n)
    extra = rng.random(n) < 0.5
    rows = [(i, f"lib:{t}") for i, t in enumerate(main)]
    rows += [(i, f"lib:{rng.integers(0, terms)}") for i in np.flatnonzero(extra)]
    frame = pd.DataFrame(rows, columns=["feature", "term"]).drop_duplicates(ignore_index=True)
    frame["name"] = frame["term"].str.replace("lib:", "process ")
    frame["library"], frame["q"] = "lib", 0.01
    return World(nodes, frame, main)


def wire(
    w: World, rng: np.random.Generator, edges: int = 1500, planted: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Edges to later layers, targets chosen by firing rate (which makes hubs); a share `planted` of
    them goes to a target with the same main term.
    """
    sources = np.flatnonzero(w.nodes.traced)
    source = rng.choice(sources, edges, p=_weights(w.nodes.firing_rate[sources]))
    target = np.empty(edges, np.int64)
    for i, s in enumerate(source):
        later = np.flatnonzero(w.nodes.layer > w.nodes.layer[s])
        if rng.random() < planted:
            same = later[w.main[later] == w.main[s]]
            later = same if same.size else later
        target[i] = rng.choice(later, p=_weights(w.nodes.firing_rate[later]))
    pairs = np.unique(np.stack([source, target]), axis=1)
    return pairs[0], pairs[1]


def _weights(rate: np.ndarray) -> np.ndarray:
    return rate / rate.sum()


def arrays(source: np.ndarray, target: np.ndarray, **columns: np.ndarray) -> EdgeArrays:
    given: dict[str, Any] = {name: np.full(source.size, 1.0) for name in EdgeArrays._fields}
    return EdgeArrays(**given | {"source": source, "target": target} | columns)


def inputs(w: World, pairs: tuple[np.ndarray, np.ndarray], **more: Any) -> CircuitInputs:
    edges = arrays(*pairs)
    called = np.ones(pairs[0].size, bool)
    annotation = pd.DataFrame(
        {"id": w.nodes.id, "annotated": True, "label": [f"process {t}" for t in w.main]}
    )
    given = {"annotation": annotation, "terms": w.terms} | more
    return CircuitInputs("trace-a", w.nodes, edges, called, COMPUTED, **given)

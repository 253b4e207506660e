"""Attributions of the small graph: two runs, whose edges and targets partly are the same."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tests.queries.small_names import ATTRIBUTE, CELLS, REATTRIBUTE, address

PARTS = ("edges", "remainder", "errors", "embeddings", "biases")
LAYERS = ((ATTRIBUTE, 1, 2), (ATTRIBUTE, 1, 3), (REATTRIBUTE, 1, 2), (REATTRIBUTE, 2, 3))
"""Run, and layers of source and target."""
TARGETS, SOURCES = 4, 6


def edges(rng: np.random.Generator, sizes: dict[int, int]) -> pd.DataFrame:
    """From some features of a layer to the first few of another, of either sign."""
    pairs = [
        (address(layer, i), address(target, j), run)
        for run, layer, target in LAYERS
        for j in range(min(TARGETS, sizes[target]))
        for i in rng.permutation(sizes[layer])[:SOURCES].tolist()
    ]
    many = len(pairs)
    n = rng.integers(1, CELLS + 1, many)
    n_pos = rng.integers(0, n + 1)
    weight = rng.normal(0, 1, many)
    same_token = weight * rng.uniform(0, 1, many)
    # the factor is not known where the invariant is 0
    invariant = np.where(rng.random(many) < 0.2, 0.0, rng.normal(0, 0.5, many))
    with np.errstate(divide="ignore"):
        factor = np.where(invariant == 0, np.nan, same_token / invariant)
    return pd.DataFrame(pairs, columns=["source", "target", "run"]).assign(
        weight=weight,
        sd=np.where(n > 1, rng.uniform(0.1, 1, many), np.nan),
        n=n,
        n_pos=n_pos,
        n_neg=n - n_pos,
        p=rng.uniform(0, 0.05, many),
        q=rng.uniform(0, 0.1, many),
        same_token=same_token,
        invariant=invariant,
        factor=factor,
        count=n * 3,
    )


def parts(features: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """What the targets of the study's own features are made of, in the rows of `features`; empty
    for the others.
    """
    target = ((features["layer"] > 1) & (features["index"] < TARGETS)).to_numpy()
    values = pd.DataFrame(rng.normal(0, 1, (len(features), len(PARTS))), columns=[*PARTS])
    frame = values.add_prefix("attribution_")
    frame["attributed"] = values.sum(axis=1)
    frame["attribution_gap"] = rng.uniform(0, 1e-6, len(features))
    frame = frame.where(pd.Series(target), axis=0)
    by = np.where(features.layer == 2, ATTRIBUTE, REATTRIBUTE)
    frame["attribution_run"] = np.where(target, by, None)
    return frame.set_index(features.index)

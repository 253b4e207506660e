"""How the published revision turned a sign-flip null into a false discovery rate and a number of
calibrated edges.

    FDR = sum of expected null edges / sum of observed edges       (share of true nulls: 1)
    calibrated edges of all features = sum over features of degree * r(degree)

with r the share of edges that survive Benjamini-Hochberg in one of ten equal chunks of the tested
features, sorted by degree. As published, r is that of the chunk whose [smallest, largest] degree
contains a feature's; a degree between two chunks, or below the first, gets the *last* chunk's
ratio, which is the largest (a fault, which `extrapolate` mends on demand). Source: the public code
of the revision (p1b_null_fdr_thresholds.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Chunk(NamedTuple):
    """Tested features of similar degree, and the share of their edges that survived."""

    features: int
    smallest: int
    largest: int
    ratio: float


def false_discovery_rate(observed: np.ndarray, expected: np.ndarray) -> float:
    """Expected null edges over observed edges, both summed over features; NaN without edges."""
    total = float(np.sum(observed))
    return float(np.sum(expected)) / total if total else float("nan")


def surviving_chunks(degrees: np.ndarray, surviving: np.ndarray, chunks: int = 10) -> list[Chunk]:
    """Share of surviving edges in equal chunks of features, ascending by degree; features of equal
    degree stay in their order.
    """
    parts = np.array_split(np.argsort(degrees, kind="stable"), chunks)
    share = [float(surviving[p].sum() / max(degrees[p].sum(), 1)) for p in parts]
    return [
        Chunk(len(p), int(degrees[p].min()), int(degrees[p].max()), r)
        for p, r in zip(parts, share, strict=True)
        if len(p)
    ]


def extrapolate(degrees: np.ndarray, chunks: Sequence[Chunk], mended: bool = False) -> float:
    """Calibrated edges of all features from their degrees.

    Parameters
    ----------
    degrees
        Edges of every feature.
    chunks
        From `surviving_chunks`, ascending.
    mended
        Give a degree in no chunk the ratio of the next lower chunk (below all: the first), not that
        of the last.
    """
    smallest, largest = (
        np.array([getattr(c, name) for c in chunks]) for name in ("smallest", "largest")
    )
    ratio = np.array([c.ratio for c in chunks])
    # The published code takes the first chunk that contains a degree; neighbouring chunks can share
    # one.
    at = np.minimum(np.searchsorted(largest, degrees), len(chunks) - 1)
    within = (smallest[at] <= degrees) & (degrees <= largest[at])
    lower = np.maximum(np.searchsorted(smallest, degrees, side="right") - 1, 0)
    at = np.where(within, at, lower if mended else len(chunks) - 1)
    return float((degrees * ratio[at]).sum())

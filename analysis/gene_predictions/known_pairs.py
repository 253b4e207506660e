"""Which predicted pairs of genes a library of regulons states, and how many would be by chance.

A pair (g, t) is known if g is a factor of t in the library. By chance: the same source genes and
the same target genes combined anew, ``p = (1 + #{known pairs of a draw >= observed}) / (1 +
draws)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from scircuit.analysis.genesets.regulons import Regulons


class KnownPairs(NamedTuple):
    """Mode of each pair ("" where not known), how many are known, how many by chance, and p."""

    mode: list[str]
    known: int
    expected: float
    p: float


def known_pairs(
    source: Sequence[str],
    target: Sequence[str],
    regulons: Regulons | None,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> KnownPairs:
    """Look pairs up in a library of regulons, beside the same genes combined anew.

    Parameters
    ----------
    source, target
        Symbols of each pair.
    regulons
        TRRUST, or another library; None knows nothing.
    """
    if regulons is None or not len(source):
        return KnownPairs([""] * len(source), 0, 0.0, 1.0)
    modes = {(p.tf.upper(), p.target.upper()): p.mode for p in regulons.pairs}
    one, other = [g.upper() for g in source], [g.upper() for g in target]
    mode = [modes.get(pair, "") for pair in zip(one, other, strict=True)]
    genes = {g: i for i, g in enumerate(dict.fromkeys([*one, *other]))}
    key = np.unique(
        [genes[a] * len(genes) + genes[b] for a, b in modes if a in genes and b in genes]
    ).astype(np.int64)
    first, second = (np.array([genes[g] for g in side], dtype=np.int64) for side in (one, other))
    rng = np.random.default_rng(seed)
    by_chance = np.array(
        [np.isin(first * len(genes) + rng.permutation(second), key).sum() for _ in range(draws)]
    )
    known = sum(bool(m) for m in mode)
    p = (1 + int((by_chance >= known).sum())) / (1 + draws)
    return KnownPairs(mode, known, float(by_chance.mean()), p)

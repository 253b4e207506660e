"""The one rule that names a feature: the term with the smallest calibrated q, and how many others
are as good.

Calibrated q never falls as p rises within a feature, so the smallest p has the smallest calibrated
q and settles its ties. After p come the larger overlap, the smaller term (it says more) and the
order of the libraries and of the terms in their files. Only tested terms are asked: pairs of genes
that happen to be in an interaction list are no term.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Choice(NamedTuple):
    """For every feature with a term: its row, the position of its best term among those given, and
    terms that only the file order puts behind.
    """

    feature: np.ndarray
    best: np.ndarray
    ties: np.ndarray


def choose(
    feature: np.ndarray, p: np.ndarray, overlap: np.ndarray, size: np.ndarray, order: np.ndarray
) -> Choice:
    """Best term of every feature.

    Parameters
    ----------
    feature
        Row of the feature of each tested pair; any order.
    p, overlap, size
        p of the pair, shared genes, genes of the term within the background.
    order
        Place of the term in the libraries as they were given.
    """
    ranked = np.lexsort((order, size, -overlap, p, feature))
    rows, first = np.unique(feature[ranked], return_index=True)
    of = np.repeat(ranked[first], np.diff(np.append(first, ranked.size)))
    same = (p[ranked] == p[of]) & (overlap[ranked] == overlap[of]) & (size[ranked] == size[of])
    ties = (
        np.add.reduceat(same.astype(np.int64), first) - 1
        if first.size
        else np.zeros(0, dtype=np.int64)
    )
    return Choice(rows, ranked[first], ties)

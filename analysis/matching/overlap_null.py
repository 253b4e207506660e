"""The null of overlaps: p of an overlap, and the best overlap of every feature with random lists.

Pairs of lists are put in strata by the sizes of both. In a stratum, with N pairs of random lists
from all dictionaries compared between two models,

    p(S) = (1 + #{random pairs with an overlap of S or more}) / (1 + N).

A pair of short lists reaches a high overlap by one shared gene, which is why it is compared
with short random lists only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from scircuit.analysis.matching.weighted_lists import MIN_GENES, UNITS, ByGene, GeneLists, overlaps

_RATIO = 1.5
_MAX_DRAWS = 200
_WIDTH = UNITS + 1


def size_class(sizes: np.ndarray) -> np.ndarray:
    """Class of a list's size: sizes of a class differ by less than a factor of 1.5 (3 to 4, 5 to 6,
    7 to 10, 11 to 15, 16 to 22, ...).
    """
    return np.floor(
        np.log(np.maximum(sizes, MIN_GENES) / MIN_GENES) / np.log(_RATIO) + 1e-9
    ).astype(np.int64)


def draws_needed(sizes: Sequence[tuple[int, int]], min_draws: int, alpha: float) -> int:
    """Draws that let p become as small as Benjamini-Hochberg asks for where one feature in twenty
    has a counterpart; at most 200.

    With n and m lists in each comparison, BH at `alpha` asks for p of about ``alpha sum(min(n, m))
    / (20 sum(n m))``, and the smallest p of a stratum with a quarter of the pairs is ``4 /
    (draws sum(n m))``.
    """
    smaller = sum(min(pair) for pair in sizes)
    return int(max(min_draws, min(_MAX_DRAWS, np.ceil(80 / (alpha * max(smaller, 1))))))


class Strata(NamedTuple):
    """Class of every list of two dictionaries; a cell is a stratum and an overlap, so that a
    histogram over cells has all strata.
    """

    left: np.ndarray
    right: np.ndarray
    classes: int

    def cells(self, i: np.ndarray, j: np.ndarray, s: np.ndarray) -> np.ndarray:
        """Cell of every pair."""
        return (self.left[i] * self.classes + self.right[j]) * _WIDTH + s

    def pairs(self) -> np.ndarray:
        """Pairs of lists in every stratum."""
        return np.outer(
            np.bincount(self.left, minlength=self.classes),
            np.bincount(self.right, minlength=self.classes),
        ).ravel()


class Random(NamedTuple):
    """Overlaps of one dictionary's lists with random lists of another.

    Attributes
    ----------
    strata
        Classes of the lists.
    cell, count
        Cells that random pairs fall in, and how many pairs, all draws together.
    best_left, best_right
        Largest overlap of every list with the other side's lists of each class; int16, shape
        (draws, lists, classes). On the right they are random.
    """

    strata: Strata
    cell: np.ndarray
    count: np.ndarray
    best_left: np.ndarray
    best_right: np.ndarray

    @property
    def draws(self) -> int:
        """Random lists per feature."""
        return len(self.best_left)


def against_random(
    left: GeneLists, right: GeneLists, drawn: Sequence[ByGene], classes: int
) -> Random:
    """Compare the lists of `left` with every draw of random lists of `right`."""
    strata = Strata(size_class(left.sizes), size_class(right.sizes), classes)
    histogram = np.zeros(classes * classes * _WIDTH, dtype=np.int64)
    n, m = left.features.size, right.features.size
    best_left, best_right = (
        np.zeros((len(drawn), n * classes), np.int16),
        np.zeros((len(drawn), m * classes), np.int16),
    )
    for d, lists in enumerate(drawn):
        parts = list(overlaps(left, lists))
        i, j, s = (np.concatenate(x) for x in zip(*parts, strict=True))
        histogram += np.bincount(strata.cells(i, j, s), minlength=histogram.size)
        np.maximum.at(best_left[d], i * classes + strata.right[j], s.astype(np.int16))
        np.maximum.at(best_right[d], j * classes + strata.left[i], s.astype(np.int16))
    cell = np.flatnonzero(histogram)
    shape = (len(drawn), -1, classes)
    return Random(
        strata, cell, histogram[cell], best_left.reshape(shape), best_right.reshape(shape)
    )


class PTable(NamedTuple):
    """p of every cell."""

    p: np.ndarray
    classes: int

    @classmethod
    def of(cls, found: Sequence[Random]) -> PTable:
        """Pool the random pairs of all comparisons."""
        classes = found[0].strata.classes
        histogram = np.zeros(classes * classes * _WIDTH, dtype=np.int64)
        total = np.zeros(classes * classes, dtype=np.int64)
        for r in found:
            histogram[r.cell] += r.count
            total += r.draws * r.strata.pairs()
        at_least = np.cumsum(histogram.reshape(-1, _WIDTH)[:, ::-1], axis=1)[:, ::-1]
        at_least[:, 0] = total  # pairs without a shared gene were not counted
        return cls(((1 + at_least) / (1 + total[:, None])).ravel(), classes)

    def share(self, r: Random, limit: float) -> tuple[np.ndarray, np.ndarray]:
        """Which lists have a partner with p at most `limit` among random ones: of the left lists,
        and of the random ones; bool, shape (draws, lists).
        """
        table = self.p.reshape(self.classes, self.classes, _WIDTH)
        others = np.arange(self.classes)
        left = table[r.strata.left[:, None], others, r.best_left].min(axis=2)
        right = table[others, r.strata.right[:, None], r.best_right].min(axis=2)
        return np.less_equal(left, limit), np.less_equal(right, limit)

    def passing(self, r: Random, limit: float) -> float:
        """Random pairs with p at most `limit`, mean over draws."""
        return float(r.count[self.p[r.cell] <= limit].sum() / r.draws)

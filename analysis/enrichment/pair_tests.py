"""All list x term tests of one block of lists, in one pass that keeps only what can matter.

The p of a pair depends on overlap, term size and list size, so a pass counts how often each
distinct (k, m, n) occurs; Benjamini-Hochberg over every pair needs no more
(`scircuit.analysis.enrichment.fdr.PTally`). Beside the counts it keeps the smallest p of every
list, and the pairs with an overlap of two or more whose p is small enough to be reported: one gene
is no enrichment, however rare the term.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from scircuit.analysis.enrichment.fdr import PTally
from scircuit.analysis.enrichment.gene_term_matrix import Incidence, row_count
from scircuit.analysis.enrichment.hypergeometric import TailTable
from scircuit.analysis.enrichment.overrepresentation import Hits, collect

MIN_OVERLAP = 2
_CHUNK = 2048
_THREADS = 2


@dataclass(frozen=True)
class Tested:
    """Outcome of one pass.

    Attributes
    ----------
    lists
        Lists that were tested.
    libraries
        Libraries in order. A *scope* is 0 for all of them, i for the i-th one.
    terms
        Terms of every scope.
    tally
        p of every pair with an overlap, by scope.
    tally_two
        p of every pair with an overlap of two or more, by scope.
    best
        Smallest p of every list over the terms of each library with an overlap of two or more (1:
        none); lists x libraries.
    hits
        Pairs with an overlap of two or more and p <= `keep`, sorted by row, then column.
    """

    lists: int
    libraries: tuple[str, ...]
    terms: tuple[int, ...]
    tally: tuple[PTally, ...]
    tally_two: tuple[PTally, ...]
    best: np.ndarray
    hits: Hits


def library_codes(incidence: Incidence) -> tuple[tuple[str, ...], np.ndarray]:
    """Libraries in order, and the number of each term's library."""
    names = tuple(dict.fromkeys(t.library for t in incidence.terms))
    number = {name: i for i, name in enumerate(names)}
    return names, np.array([number[t.library] for t in incidence.terms], dtype=np.int64)


def _scopes(incidence: Incidence) -> tuple[tuple[str, ...], np.ndarray, tuple[int, ...]]:
    libraries, code = library_codes(incidence)
    return libraries, code, (code.size, *np.bincount(code, minlength=len(libraries)).tolist())


def _by_scope(values: np.ndarray, counts: np.ndarray, libraries: int) -> tuple[PTally, ...]:
    """Tallies of counts by library and place."""
    each = counts.reshape(libraries, values.size)
    return (PTally.of(values, each.sum(axis=0)), *(PTally.of(values, c) for c in each))


class _Pairs:
    """Places in the tail table of all pairs of a block of rows."""

    def __init__(
        self, rows: sparse.csr_matrix, incidence: Incidence, table: TailTable | None
    ) -> None:
        self.rows, self.incidence = rows, incidence
        sizes = np.diff(rows.indptr)
        self.table = table or TailTable(sizes, incidence.sizes, len(incidence.genes))
        self.start, self.width = self.table.starts(sizes)
        self.rank = self.table.ranks(incidence.sizes)
        self.matrix = incidence.matrix.astype(np.int32)

    def block(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Row (from `first`), column, overlap and place of every pair with an overlap."""
        product = sparse.csr_matrix(self.rows[first:last] @ self.matrix)
        count = np.diff(product.indptr)
        width = self.width[first:last]
        column, overlap = product.indices, product.data
        if width.size and (width == width[0]).all():
            place = self.rank[column] * width[0] + overlap
        else:
            place = self.rank[column] * np.repeat(width, count) + overlap
        place += np.repeat(self.start[first:last], count)
        return np.repeat(np.arange(count.size), count), column, overlap, place


def _spans(count: int) -> Iterator[tuple[int, int]]:
    for first in range(0, count, _CHUNK):
        yield first, min(first + _CHUNK, count)


def test_lists(
    rows: sparse.csr_matrix,
    incidence: Incidence,
    table: TailTable | None = None,
    *,
    keep: float = 1.0,
) -> Tested:
    """Test every list against every term.

    Parameters
    ----------
    rows
        0/1 matrix, lists x background genes.
    incidence
        Gene sets cut to the background.
    table
        Tail table that covers the list sizes (default: built here).
    keep
        Largest p of the pairs that are kept; it changes no count and no q.
    """
    pairs = _Pairs(rows, incidence, table)
    libraries, code, terms = _scopes(incidence)
    values, n = pairs.table.values, row_count(rows)
    size = values.size * len(libraries)
    shift = code * values.size
    best = np.ones((n, len(libraries)))

    def one(span: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, Hits]:
        row, column, overlap, place = pairs.block(*span)
        every = np.bincount(shift[column] + place, minlength=size)
        two = np.flatnonzero(overlap >= MIN_OVERLAP)
        row, column, overlap, place = row[two], column[two], overlap[two], place[two]
        p = values[place]
        np.minimum.at(best, (row + span[0], code[column]), p)
        kept = np.flatnonzero(p <= keep)
        kept = kept[np.lexsort((column[kept], row[kept]))]
        hits = Hits(
            row[kept] + span[0],
            column[kept].astype(np.int64),
            overlap[kept].astype(np.int64),
            p[kept],
        )
        return every, np.bincount(shift[column] + place, minlength=size), hits

    every, two = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
    parts = []
    # rows of `best` belong to one block only, so blocks may run side by side
    with ThreadPoolExecutor(_THREADS) as pool:
        for counted, counted_two, hits in pool.map(one, _spans(n)):
            every += counted
            two += counted_two
            parts.append(hits)
    return Tested(
        n,
        libraries,
        terms,
        _by_scope(values, every, len(libraries)),
        _by_scope(values, two, len(libraries)),
        best,
        collect(iter(parts)),
    )


test_lists.__test__ = False  # type: ignore[attr-defined]


def tested_from(hits: Hits, lists: int, incidence: Incidence) -> Tested:
    """`Tested` of pairs that another engine has tested (overlap of one and more)."""
    libraries, code, terms = _scopes(incidence)
    two = hits.overlap >= MIN_OVERLAP
    best = np.ones((lists, len(libraries)))
    np.minimum.at(best, (hits.row[two], code[hits.column[two]]), hits.p[two])

    def tallies(use: np.ndarray) -> tuple[PTally, ...]:
        of = code[hits.column]
        masks = [use, *(use & (of == i) for i in range(len(libraries)))]
        return tuple(
            PTally.of(hits.p[mask], np.ones(int(mask.sum()), dtype=np.int64)) for mask in masks
        )

    return Tested(
        lists,
        libraries,
        terms,
        tallies(two | ~two),
        tallies(two),
        best,
        Hits(*(x[two] for x in hits)),
    )


def best_of_random(
    rows: sparse.csr_matrix, incidence: Incidence, table: TailTable, alpha: float
) -> tuple[np.ndarray, np.ndarray]:
    """What a random draw needs: smallest p of every list for each library, and which lists pass
    their own Benjamini-Hochberg.

    Returns
    -------
    best
        As in `Tested`; lists x libraries.
    passed
        bool, lists x (1 + libraries): a term at BH `alpha` over all terms of the list, then over
        those of each library.
    """
    pairs = _Pairs(rows, incidence, table)
    libraries, code, terms = _scopes(incidence)
    values, n = table.values, row_count(rows)
    best = np.ones((n, len(libraries)))
    passed = np.zeros((n, 1 + len(libraries)), dtype=bool)

    def one(span: tuple[int, int]) -> None:
        row, column, overlap, place = pairs.block(*span)
        p = values[place]
        two = np.flatnonzero(overlap >= MIN_OVERLAP)
        np.minimum.at(best, (row[two] + span[0], code[column[two]]), p[two])
        own = slice(span[0], span[1])
        passed[own, 0] = passes_alone(row, p, span[1] - span[0], terms[0], alpha)
        small = np.flatnonzero(p <= alpha)
        row, library, p = row[small], code[column[small]], p[small]
        for i in range(len(libraries)):
            of = library == i
            passed[own, 1 + i] = passes_alone(
                row[of], p[of], span[1] - span[0], terms[1 + i], alpha
            )

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(one, _spans(n)))
    return best, passed


def passes_alone(
    row: np.ndarray, p: np.ndarray, lists: int, terms: int, alpha: float
) -> np.ndarray:
    """Whether each list has a term at BH `alpha` in a family of its own `terms` tests; bool, shape
    (lists,).

    A list with J pairs passes only by pairs with ``p <= alpha J / terms``; pairs above that for the
    longest J go, until none goes.
    """
    found = np.zeros(lists, dtype=bool)
    while p.size:
        most = int(np.bincount(row).max())
        small = np.flatnonzero(p * terms <= alpha * most)
        if small.size == p.size:
            break
        row, p = row[small], p[small]
    order = np.lexsort((p, row))
    row, p = row[order], p[order]
    rank = np.arange(p.size) - np.searchsorted(row, row, side="left") + 1
    found[row[p * terms <= alpha * rank]] = True
    return found

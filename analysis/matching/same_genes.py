"""Features of different dictionaries that fire on the same genes: weighted overlap of top genes,
against random lists.

Every list of one dictionary is compared with every list of another
(`scircuit.analysis.matching.weighted_lists`: the overlap S and the random lists;
`scircuit.analysis.matching.overlap_null`: p of S). Then, for each pair of models (a model and
itself included),

    q = Benjamini-Hochberg over all pairs of lists of all dictionaries compared between the two
    models,

pairs without a shared gene included (p = 1). Each pair of models is a family of its own: layers of
one model have many more counterparts than two models, and in one family they would set a threshold
at which a tenth of the pairs between models are due to chance.

The random lists are pooled over features and layers, so the error rate is that of all pairs between
two models, not of each pair; the share of a layer's features with a partner among random lists is
reported beside the share among the real ones. The relation is symmetric and stored once: the
feature with the lower model, set, layer and index comes first.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy import sparse

from scircuit.analysis.enrichment.fdr import benjamini_hochberg
from scircuit.analysis.matching.overlap_null import (
    PTable,
    Random,
    against_random,
    draws_needed,
    size_class,
)
from scircuit.analysis.matching.weighted_lists import (
    UNITS,
    ByGene,
    GeneLists,
    by_gene,
    overlaps,
    shuffled,
)


class Compared(NamedTuple):
    """Result of comparing two dictionaries.

    Shares are those of lists with a partner in the other dictionary; `null_*` the same where the
    lists of the second are random ones, mean over draws. `null_pairs` is the mean number of pairs
    that pass there.
    """

    first: str
    second: str
    pairs: int
    passing: int
    null_pairs: float
    share_first: float
    share_second: float
    null_share_first: float
    null_share_second: float


class Family(NamedTuple):
    """The tests between two models: pairs compared and passing, pairs passing among random lists,
    and the largest p that passes (-1: none does).

    `share_first` is the share of the first model's features with a partner in any dictionary of the
    second, and so on; within one model, in any other dictionary of it.
    """

    first: str
    second: str
    pairs: int
    passing: int
    null_pairs: float
    p_threshold: float
    draws: int
    share_first: float
    share_second: float
    null_share_first: float
    null_share_second: float


class Pairs(NamedTuple):
    """Pairs that pass, at most `best` a feature and other dictionary.

    `first` and `second` number the dictionaries; the features are indices of latents; `overlap` is
    the weighted Jaccard overlap.
    """

    first: np.ndarray
    second: np.ndarray
    first_feature: np.ndarray
    second_feature: np.ndarray
    overlap: np.ndarray
    shared: np.ndarray
    p: np.ndarray
    q: np.ndarray


@dataclass(frozen=True)
class Matches:
    """Pairs that match, and the tests behind them."""

    dictionaries: tuple[str, ...]
    pairs: Pairs
    families: tuple[Family, ...]
    compared: tuple[Compared, ...]


class _Candidates(NamedTuple):
    """Pairs of two dictionaries with p at most the q threshold: no other can pass."""

    left: np.ndarray
    right: np.ndarray
    s: np.ndarray
    p: np.ndarray


def match(
    lists: Sequence[GeneLists],
    *,
    alpha: float = 0.01,
    best: int = 5,
    draws: int = 5,
    within_model: bool = True,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Matches:
    """Compare the dictionaries pairwise.

    Parameters
    ----------
    lists
        One entry a dictionary, in the order of model, set and layer.
    alpha
        q threshold.
    best
        Maximum number of partners of each feature in each other dictionary: a pair is kept if it is
        among the `best` of both its features.
    draws
        Minimum number of random lists per feature; see `draws_needed`.
    within_model
        Compare dictionaries of one model with each other, too.
    seed
        Seed of the random lists; those of a dictionary do not depend on what it is compared with.
    progress
        Called with (comparisons done, comparisons).

    Raises
    ------
    ValueError
        If there are no two dictionaries to compare.
    """
    families: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for a, b in combinations(range(len(lists)), 2):
        if (
            (within_model or lists[a].model != lists[b].model)
            and lists[a].features.size
            and lists[b].features.size
        ):
            families.setdefault((lists[a].model, lists[b].model), []).append((a, b))
    if not families:
        raise ValueError(f"there are {len(lists)} dictionaries, and no two that can be compared")
    maker = _RandomLists(lists, seed)
    total, done = sum(map(len, families.values())), 0
    columns, tested, compared = [], [], []
    for (first, second), todo in families.items():
        needed = draws_needed(
            [(lists[a].features.size, lists[b].features.size) for a, b in todo], draws, alpha
        )
        random = []
        for a, b in todo:
            random.append(against_random(lists[a], lists[b], maker.draws(b, needed), maker.classes))
            done += 1
            if progress:
                progress(done, total)
        table = PTable.of(random)
        found = [
            _candidates(lists[a], maker.real(b), r, table, alpha)
            for (a, b), r in zip(todo, random, strict=True)
        ]
        size = sum(lists[a].features.size * lists[b].features.size for a, b in todo)
        q = benjamini_hochberg(np.concatenate([c.p for c in found]), size)
        limit = float(
            max(
                (
                    c.p[x <= alpha].max(initial=-1.0)
                    for c, x in zip(found, _split(q, found), strict=True)
                ),
                default=-1.0,
            )
        )
        for pair, c, x in zip(todo, found, _split(q, found), strict=True):
            columns.append(_kept(lists, pair, c, x, alpha, best, maker.genes))
        counts = [
            _compared(lists, pair, c, r, table, limit)
            for pair, c, r in zip(todo, found, random, strict=True)
        ]
        compared += counts
        shares = _shares(lists, (first, second), todo, found, random, table, limit)
        tested.append(
            Family(
                first,
                second,
                size,
                sum(c.passing for c in counts),
                sum(c.null_pairs for c in counts),
                limit,
                needed,
                *shares,
            )
        )
    pairs = Pairs(*(np.concatenate(c) for c in zip(*columns, strict=True)))
    return Matches(tuple(x.dictionary for x in lists), pairs, tuple(tested), tuple(compared))


class _RandomLists:
    """Real and random lists of every dictionary by gene, made once."""

    def __init__(self, lists: Sequence[GeneLists], seed: int) -> None:
        self.genes = 1 + max(int(x.genes.max(initial=0)) for x in lists)
        self.classes = 1 + max(int(size_class(x.sizes).max(initial=0)) for x in lists)
        self._lists, self._seed = lists, seed
        self._drawn: dict[int, list[ByGene]] = {}

    def real(self, number: int) -> ByGene:
        """Lists of a dictionary."""
        return by_gene(self._lists[number], self.genes)

    def draws(self, number: int, draws: int) -> list[ByGene]:
        """The first `draws` draws of a dictionary's random lists."""
        drawn = self._drawn.setdefault(number, [])
        of = self._lists[number]
        for d in range(len(drawn), draws):
            rng = np.random.default_rng([self._seed, zlib.crc32(of.dictionary.encode()), d])
            drawn.append(by_gene(shuffled(of, rng), self.genes))
        return drawn[:draws]


def _candidates(
    left: GeneLists, right: ByGene, random: Random, table: PTable, alpha: float
) -> _Candidates:
    parts = []
    for i, j, s in overlaps(left, right):
        p = table.p[random.strata.cells(i, j, s)]
        use = p <= alpha
        parts.append(
            (i[use].astype(np.int32), j[use].astype(np.int32), s[use].astype(np.int32), p[use])
        )
    return _Candidates(*(np.concatenate(x) for x in zip(*parts, strict=True)))


def _split(values: np.ndarray, found: Sequence[_Candidates]) -> list[np.ndarray]:
    return np.split(values, np.cumsum([c.p.size for c in found])[:-1])


def _kept(
    lists: Sequence[GeneLists],
    pair: tuple[int, int],
    c: _Candidates,
    q: np.ndarray,
    alpha: float,
    best: int,
    genes: int,
) -> tuple[np.ndarray, ...]:
    """Columns of `Pairs` for those that pass and are among the best of both their features."""
    a, b = pair
    use = np.flatnonzero(q <= alpha)
    i, j, s, p = (x[use] for x in c)
    near = (_rank_in_row(i, j, p, s) < best) & (_rank_in_row(j, i, p, s) < best)
    use, i, j, s, p = use[near], i[near], j[near], s[near], p[near]
    shared = np.asarray(
        _incidence(lists[a], genes)[i].multiply(_incidence(lists[b], genes)[j]).sum(axis=1),
        dtype=np.int64,
    ).ravel()
    return (
        np.full(use.size, a),
        np.full(use.size, b),
        lists[a].features[i],
        lists[b].features[j],
        s / (2 * UNITS - s),
        shared,
        p,
        q[use],
    )


def _rank_in_row(rows: np.ndarray, others: np.ndarray, p: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Rank of every pair among those of its row, from 0: by p, then by overlap, then by the
    other's number.
    """
    order = np.lexsort((others, -s, p, rows))
    ordered = rows[order]
    rank = np.empty(rows.size, dtype=np.int64)
    rank[order] = np.arange(rows.size) - np.searchsorted(ordered, ordered)
    return rank


def _incidence(lists: GeneLists, genes: int) -> sparse.csr_matrix:
    return sparse.csr_matrix(
        (np.ones(lists.genes.size, dtype=np.int32), lists.genes, lists.indptr),
        shape=(lists.features.size, genes),
    )


def _with_partner(rows: np.ndarray, p: np.ndarray, limit: float, n: int) -> np.ndarray:
    found = np.zeros(n, dtype=bool)
    found[rows[p <= limit]] = True
    return found


def _compared(
    lists: Sequence[GeneLists],
    pair: tuple[int, int],
    c: _Candidates,
    random: Random,
    table: PTable,
    limit: float,
) -> Compared:
    a, b = (lists[k] for k in pair)
    null_first, null_second = table.share(random, limit)
    return Compared(
        a.dictionary,
        b.dictionary,
        a.features.size * b.features.size,
        int((c.p <= limit).sum()),
        table.passing(random, limit),
        float(_with_partner(c.left, c.p, limit, a.features.size).mean()),
        float(_with_partner(c.right, c.p, limit, b.features.size).mean()),
        float(null_first.mean()),
        float(null_second.mean()),
    )


def _shares(
    lists: Sequence[GeneLists],
    models: tuple[str, str],
    todo: Sequence[tuple[int, int]],
    found: Sequence[_Candidates],
    random: Sequence[Random],
    table: PTable,
    limit: float,
) -> Iterator[float]:
    """Share of each model's features with a partner in any dictionary compared, then the same for
    random lists.
    """
    draws = random[0].draws
    real = {k: np.zeros(lists[k].features.size, dtype=bool) for pair in todo for k in pair}
    null = {k: np.zeros((draws, lists[k].features.size), dtype=bool) for k in real}
    for (a, b), c, r in zip(todo, found, random, strict=True):
        real[a] |= _with_partner(c.left, c.p, limit, real[a].size)
        real[b] |= _with_partner(c.right, c.p, limit, real[b].size)
        left, right = table.share(r, limit)
        null[a] |= left
        null[b] |= right
    for masks in (real, null):
        for model in models:
            mine = [mask for k, mask in masks.items() if lists[k].model == model]
            yield float(sum(m.sum() for m in mine) / sum(m.size for m in mine))

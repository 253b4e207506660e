"""Annotation rates beside their null, and the calibrated q of every feature and term
(`scircuit.analysis.enrichment.matched_null` has the method).

Features come in blocks, one a layer; blocks may share a background, as in an own run, or have one
each, as in a published atlas. The families are pooled over the blocks. Features that could not be
listed but could have been annotated count in every family, as tests that found nothing.

The interval of an excess takes features as independent between clusters only: those whose lists
share half of their genes (`scircuit.analysis.enrichment.list_clusters`), in any layer, are one
concept found again. With d_f what is averaged over n features (1 for an annotated one, less the
share of its matched lists) and C clusters c,

    var(mean d) = C / (C - 1) x sum_c (sum_{f in c} (d_f - mean d))^2 / n^2 .
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy import sparse

from scircuit.analysis.enrichment.fdr import PTally, benjamini_hochberg
from scircuit.analysis.enrichment.gene_term_matrix import Incidence, row_count
from scircuit.analysis.enrichment.hypergeometric import TailTable
from scircuit.analysis.enrichment.list_clusters import list_clusters
from scircuit.analysis.enrichment.matched_null import RULES, Rate, detection_bins, draw_matched
from scircuit.analysis.enrichment.pair_tests import Tested, best_of_random
from scircuit.analysis.enrichment.profile_null import ProfileNull, profiles

# p of one test from two engines differ in the last digits; a random list that ties must count as
# good as the feature
_SLACK = 1 + 1e-9


@dataclass(frozen=True)
class ListBlock:
    """Lists of one layer.

    Attributes
    ----------
    layer
        0-based layer.
    rows
        0/1 matrix, lists x background genes; every row with at least one gene. A layer may have no
        list.
    incidence
        Gene sets cut to the background.
    detection
        Detection rate of every background gene, shape (genes,).
    untested
        Features of the layer without a list, counted as not annotated.
    """

    layer: int
    rows: sparse.csr_matrix
    incidence: Incidence
    detection: np.ndarray
    untested: int = 0

    @property
    def features(self) -> int:
        """Features, those without a list included."""
        return row_count(self.rows) + self.untested


@dataclass(frozen=True)
class Calibration:
    """What matched random lists say of every feature; features in the order of the blocks.

    Attributes
    ----------
    libraries
        In order; scope 0 is all of them, scope i the i-th.
    smallest, p, q
        Smallest p of a feature over its terms, the share of its matched random lists that do as
        well, and the q of that; features x scopes.
    threshold
        Largest `p` that has q <= alpha, by scope (-1: none).
    rates
        By library (``all`` first) and rule.
    layer_rates
        Rule and layer -> rate, over all libraries.
    draws
        Random lists of each feature.
    """

    libraries: tuple[str, ...]
    smallest: np.ndarray
    p: np.ndarray
    q: np.ndarray
    threshold: np.ndarray
    rates: tuple[Rate, ...]
    layer_rates: dict[tuple[str, int], Rate]
    draws: int
    _features: int
    _null: np.ndarray
    _nulls: tuple[tuple[int, ProfileNull, np.ndarray], ...]

    def scope(self, library: str) -> int:
        """Scope of a library."""
        return 1 + self.libraries.index(library)

    def found(self, scope: int = 0) -> np.ndarray:
        """Which features have a term at the threshold; bool."""
        return self.p[:, scope] <= self.threshold[scope]

    def term_p(self, feature: np.ndarray, p: np.ndarray) -> np.ndarray:
        """What `p` would be of each feature if its best term had this p.

        Parameters
        ----------
        feature
            Row of `Calibration.p`, rising.
        p
            p of a term in that feature.
        """
        out = np.empty(p.size)
        for first, null, profile in self._nulls:
            inside = np.flatnonzero((feature >= first) & (feature < first + len(profile)))
            if not inside.size:
                continue
            for f, at in _groups(feature[inside]):
                which = inside[at]
                expected = None
                better = np.searchsorted(
                    np.sort(self._null[: self.draws, f, 0]), p[which] * _SLACK, side="right"
                )
                out[which] = (1 + better) / (1 + self.draws)
                if (better == 0).any():
                    expected = null.expected(profile[f - first])
                    free = which[better == 0]
                    out[free] = np.minimum(out[free], expected.at(p[free] * _SLACK))
        return out

    def q_of(self, p: np.ndarray, scope: int = 0) -> np.ndarray:
        """Q that a feature-level p has in the family of all features: the least share of false ones
        of any threshold that lets it through.
        """
        ordered = np.sort(self.p[:, scope])
        q = benjamini_hochberg(ordered, self._features)
        passed = np.searchsorted(ordered, p, side="right")
        own = p * self._features / np.maximum(passed, 1)
        later = np.append(q, 1.0)[passed]
        return np.minimum(np.minimum(own, later), 1.0)


def _groups(sorted_values: np.ndarray) -> list[tuple[int, slice]]:
    """Value and place of every run of equal values."""
    edges = np.flatnonzero(np.diff(sorted_values)) + 1
    bounds = [0, *edges.tolist(), sorted_values.size]
    return [(int(sorted_values[a]), slice(a, b)) for a, b in pairwise(bounds) if b > a]


class _Shared(NamedTuple):
    """What blocks with one background have in common."""

    bins: np.ndarray
    table: TailTable
    null: ProfileNull
    scopes: np.ndarray


def calibrate(
    blocks: Sequence[ListBlock],
    tested: Sequence[Tested],
    *,
    alpha: float = 0.05,
    draws: int = 20,
    seed: int = 0,
    bins: int = 20,
    sample: int = 1000,
    progress: Callable[[int, int], None] | None = None,
) -> Calibration:
    """Run every rule on the lists and on `draws` matched random lists of each.

    Parameters
    ----------
    blocks, tested
        Lists, and their tests in the same order.
    alpha
        Threshold of all rules.
    draws, seed, bins
        Random lists per list, their seed, and the number of detection bins.
    sample
        Most features whose random lists are judged by the calibrated rule: that takes some
        milliseconds each.
    progress
        Called with (draws done, draws).

    Raises
    ------
    ValueError
        If there is no draw or no list.
    """
    n = sum(row_count(b.rows) for b in blocks)
    if draws < 1 or n < 1:
        raise ValueError(
            f"calibration needs at least one list and one draw; found {n} lists and {draws} draws"
        )
    libraries = tuple(dict.fromkeys(name for t in tested for name in t.libraries))
    firsts = np.concatenate([[0], np.cumsum([t.lists for t in tested])]).astype(np.int64)
    shared = _shared(blocks, tested, libraries, bins)
    features = sum(b.features for b in blocks)
    scopes = 1 + len(libraries)
    smallest = np.ones((n, scopes))
    for t, s, first in zip(tested, shared, firsts[:-1], strict=True):
        smallest[first : first + t.lists, s.scopes] = t.best
    smallest[:, 0] = smallest[:, 1:].min(axis=1)
    # one list more than the feature is compared with, so that each of them can be compared with as
    # many others
    null, null_alone = _draw(
        blocks, shared, firsts, scopes, alpha, draws + 1, np.random.default_rng(seed), progress
    )
    profile = [profiles(b.rows, s.bins) for b, s in zip(blocks, shared, strict=True)]
    chosen = np.sort(np.random.default_rng([seed, 1]).permutation(n)[:sample])
    p, null_p = _empirical(
        smallest,
        null,
        [s.null for s in shared],
        [s.scopes for s in shared],
        profile,
        firsts,
        chosen,
    )
    q = np.stack([benjamini_hochberg(p[:, i], features) for i in range(scopes)], axis=1)
    good = (q <= alpha) & (smallest < 1)
    threshold = np.array(
        [p[good[:, i], i].max() if good[:, i].any() else -1.0 for i in range(scopes)]
    )
    layer = np.repeat([b.layer for b in blocks], [t.lists for t in tested])
    untested = {b.layer: b.untested for b in blocks}
    cluster = _clusters(blocks)
    names = ("all", *libraries)
    alone = np.zeros((n, scopes), dtype=bool)
    for b, s, first in zip(blocks, shared, firsts[:-1], strict=True):
        passed = best_of_random(b.rows, b.incidence, s.table, alpha)[1]
        alone[first : first + row_count(b.rows), 0] = passed[:, 0]
        alone[first : first + row_count(b.rows), s.scopes] = passed[:, 1:]
    rates, layer_rates = [], {}
    for i, name in enumerate(names):
        limits = {
            "pooled": _limit(
                [t.tally for t in tested],
                shared,
                i,
                sum(
                    b.features * _terms(t, s, i)
                    for b, t, s in zip(blocks, tested, shared, strict=True)
                ),
                alpha,
            ),
            "overlap2": _limit([t.tally_two for t in tested], shared, i, 0, alpha),
        }
        outcomes = {
            "calibrated": (p[:, i] <= threshold[i], null_p[:, :, i] <= threshold[i], chosen),
            **{
                rule: (smallest[:, i] <= limit, null[:, :, i] <= limit, np.arange(n))
                for rule, limit in limits.items()
            },
            "feature": (alone[:, i], null_alone[:, :, i], np.arange(n)),
        }
        for rule in RULES:
            found, random, of = outcomes[rule]
            rates.append(_rate(name, rule, found, random, of, cluster, sum(untested.values())))
            if i == 0:
                for at in sorted(untested):
                    own, picked = np.flatnonzero(layer == at), layer[of] == at
                    layer_rates[rule, at] = _rate(
                        name,
                        rule,
                        found[own],
                        random[:, picked],
                        np.searchsorted(own, of[picked]),
                        cluster[own],
                        untested[at],
                    )
    nulls = tuple(
        (int(first), s.null, pr) for first, s, pr in zip(firsts[:-1], shared, profile, strict=True)
    )
    return Calibration(
        libraries,
        smallest,
        p,
        q,
        threshold,
        tuple(rates),
        layer_rates,
        draws,
        features,
        null,
        nulls,
    )


def _shared(
    blocks: Sequence[ListBlock], tested: Sequence[Tested], libraries: tuple[str, ...], bins: int
) -> list[_Shared]:
    """Parts of every block, made once for blocks of one background."""
    known: dict[int, _Shared] = {}
    for block, t in zip(blocks, tested, strict=True):
        if id(block.incidence) not in known:
            sizes = np.concatenate(
                [np.diff(b.rows.indptr) for b in blocks if b.incidence is block.incidence]
            )
            gene_bins = detection_bins(block.detection, bins)
            table = TailTable(sizes, block.incidence.sizes, len(block.incidence.genes))
            scopes = np.array([1 + libraries.index(name) for name in t.libraries], dtype=np.int64)
            known[id(block.incidence)] = _Shared(
                gene_bins, table, ProfileNull(block.incidence, gene_bins, table), scopes
            )
    return [known[id(b.incidence)] for b in blocks]


def _terms(tested: Tested, shared: _Shared, scope: int) -> int:
    """Terms of a scope in one block."""
    if scope == 0:
        return tested.terms[0]
    at = np.flatnonzero(shared.scopes == scope)
    return tested.terms[1 + int(at[0])] if at.size else 0


def _limit(
    tallies: list[tuple[PTally, ...]],
    shared: Sequence[_Shared],
    scope: int,
    family: int,
    alpha: float,
) -> float:
    """P threshold of one family over all blocks (`family` 0: the tests that are counted)."""
    parts = (
        [t[0] for t in tallies]
        if scope == 0
        else [
            t[1 + int(a[0])]
            for t, s in zip(tallies, shared, strict=True)
            if (a := np.flatnonzero(s.scopes == scope)).size
        ]
    )
    joined = PTally.join(parts)
    return joined.threshold(family or joined.tests, alpha)


def _draw(
    blocks: Sequence[ListBlock],
    shared: Sequence[_Shared],
    firsts: np.ndarray,
    scopes: int,
    alpha: float,
    draws: int,
    rng: np.random.Generator,
    progress: Callable[[int, int], None] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Smallest p of every random list, and whether it passes alone; both draws x features x scopes."""
    null = np.ones((draws, int(firsts[-1]), scopes))
    alone = np.zeros(null.shape, dtype=bool)
    for d in range(draws):
        for block, s, first in zip(blocks, shared, firsts[:-1], strict=True):
            best, passed = best_of_random(
                draw_matched(block.rows, s.bins, rng), block.incidence, s.table, alpha
            )
            own = slice(first, first + best.shape[0])
            null[d, own, s.scopes] = best.T
            alone[d, own, 0] = passed[:, 0]
            alone[d, own, s.scopes] = passed[:, 1:].T
        if progress:
            progress(d + 1, draws)
    null[:, :, 0] = null[:, :, 1:].min(axis=2)
    return null, alone


def _empirical(
    smallest: np.ndarray,
    null: np.ndarray,
    nulls: Sequence[ProfileNull],
    of_block: Sequence[np.ndarray],
    profile: Sequence[np.ndarray],
    firsts: np.ndarray,
    chosen: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Empirical p of every feature (features x scopes), and of the random lists of the chosen
    features (random lists x chosen x scopes).
    """
    lists, n, scopes = null.shape
    better = (null[:-1] <= smallest[None] * _SLACK).sum(axis=0)
    p = (1 + better) / lists
    some = null[:, chosen]
    order = np.sort(some, axis=0)
    rank = np.empty(some.shape)
    for c in range(chosen.size):
        for i in range(scopes):
            rank[:, c, i] = np.searchsorted(order[:, c, i], some[:, c, i] * _SLACK, side="right")
    null_p = rank / lists
    place = np.full(n, -1, dtype=np.int64)
    place[chosen] = np.arange(chosen.size)
    needed = ((better == 0) & (smallest < 1)).any(axis=1) | (place >= 0)
    for b, (distribution, in_scope) in enumerate(zip(nulls, of_block, strict=True)):
        rows = np.flatnonzero(needed[firsts[b] : firsts[b + 1]])
        kinds, inverse = np.unique(profile[b][rows], axis=0, return_inverse=True)
        by_kind = np.argsort(inverse, kind="stable")
        for kind, at in _groups(inverse[by_kind]):
            expected = distribution.expected(kinds[kind])
            for f in (rows[by_kind[at]] + firsts[b]).tolist():
                for own, i in enumerate([0, *in_scope.tolist()]):
                    if better[f, i] == 0:
                        p[f, i] = min(p[f, i], expected.at(smallest[f, i] * _SLACK, own))
                    if place[f] >= 0 and rank[:, place[f], i].min() == 1:
                        d = int(rank[:, place[f], i].argmin())
                        null_p[d, place[f], i] = min(
                            null_p[d, place[f], i], expected.at(null[d, f, i] * _SLACK, own)
                        )
    return p, null_p


def _clusters(blocks: Sequence[ListBlock]) -> np.ndarray:
    """Cluster of every list, over all blocks; genes of different backgrounds are the same by name."""
    genes: dict[str, int] = {}
    column = {
        id(b.incidence): np.array(
            [genes.setdefault(g.upper(), len(genes)) for g in b.incidence.genes], dtype=np.int64
        )
        for b in blocks
    }
    indices = np.concatenate([column[id(b.incidence)][b.rows.indices] for b in blocks])
    indptr = np.concatenate(
        [[0], np.cumsum(np.concatenate([np.diff(b.rows.indptr) for b in blocks]))]
    )
    return list_clusters(
        sparse.csr_matrix(
            (np.ones(indices.size, dtype=np.int32), indices, indptr),
            shape=(indptr.size - 1, len(genes)),
        )
    )


def _variance_of_mean(x: np.ndarray, cluster: np.ndarray) -> float:
    """Variance of the mean of values that are independent between clusters; NaN with one cluster."""
    deviation = np.bincount(np.unique(cluster, return_inverse=True)[1], weights=x - x.mean())
    return (
        float((deviation**2).sum() / x.size**2 * deviation.size / (deviation.size - 1))
        if deviation.size > 1
        else float("nan")
    )


def _rate(
    library: str,
    rule: str,
    found: np.ndarray,
    null: np.ndarray,
    of: np.ndarray,
    cluster: np.ndarray,
    untested: int,
) -> Rate:
    """`found` bool and `cluster` (features,); `null` bool (random lists of each, features), the
    latter `of` the former; features without a list are clusters of their own.
    """
    n, listed = found.size + untested, found.size
    count = int(found.sum())
    if listed and not null.size:
        return Rate(library, rule, n, count, count / n, *[float("nan")] * 6)
    # random lists stand for the features with a list; the others have none and cannot be annotated
    # by chance
    by_draw, by_list = (
        (listed / n * null.mean(axis=1), null.mean(axis=0))
        if listed
        else (np.zeros(1), np.zeros(0))
    )
    rate, null_rate = count / n, float(by_draw.mean())
    excess = rate - null_rate
    everyone = np.concatenate([cluster, cluster.max(initial=-1) + 1 + np.arange(untested)])
    every = np.zeros(n)
    every[:listed] = found
    if of.size == listed:
        every[of] -= by_list
        variance = _variance_of_mean(every, everyone)
    else:
        variance = _variance_of_mean(every, everyone) + (listed / n) ** 2 * _variance_of_mean(
            by_list, cluster[of]
        )
    # none found of m clusters is no certainty: at least the variance of a share with two more found
    # and two more not (Agresti and Coull)
    m, hits, misses = (
        np.unique(x).size
        for x in (everyone, cluster[found], np.concatenate([cluster[~found], everyone[listed:]]))
    )
    if min(hits, misses) < 5:
        share = (hits + 2) / (m + 4)
        variance = np.fmax(variance, share * (1 - share) / m)
    half = float(1.96 * np.sqrt(variance))
    return Rate(
        library,
        rule,
        n,
        count,
        rate,
        null_rate,
        float(by_draw.min()),
        float(by_draw.max()),
        excess,
        excess - half,
        excess + half,
    )

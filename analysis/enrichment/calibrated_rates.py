"""Annotation rates of every rule beside their null, and the calibrated q of every feature
(`scircuit.analysis.enrichment.matched_null` has the method).

Features come in blocks, one per layer; blocks may share a background, as in your own run, or have
one each, as in a published atlas. The families are pooled over the blocks. Features that could not
be listed but could have been annotated count in every family, as tests that found nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from scircuit.analysis.enrichment.annotation_rate import annotation_rate
from scircuit.analysis.enrichment.calibration import Calibration
from scircuit.analysis.enrichment.empirical_p import empirical_p
from scircuit.analysis.enrichment.fdr import PTally, benjamini_hochberg
from scircuit.analysis.enrichment.gene_term_matrix import row_count
from scircuit.analysis.enrichment.hypergeometric import TailTable
from scircuit.analysis.enrichment.list_blocks import ListBlock, cluster_lists
from scircuit.analysis.enrichment.matched_null import RULES, Rate, detection_bins, draw_matched
from scircuit.analysis.enrichment.pair_tests import Tested, best_of_random
from scircuit.analysis.enrichment.profile_null import ProfileNull, profiles


class _BackgroundNull(NamedTuple):
    """Of one background: detection bin of every gene, tails of the test, overlaps of matched random
    lists, and the scope of each library.
    """

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
        Maximum number of features whose random lists are judged by the calibrated rule; each takes
        some milliseconds.
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
    nulls = _background_nulls(blocks, tested, libraries, bins)
    features = sum(b.features for b in blocks)
    scopes = 1 + len(libraries)
    smallest = np.ones((n, scopes))
    for t, s, first in zip(tested, nulls, firsts[:-1], strict=True):
        smallest[first : first + t.lists, s.scopes] = t.best
    smallest[:, 0] = smallest[:, 1:].min(axis=1)
    # one list more than the feature is compared with, so that each of them can be compared with as
    # many others
    null, null_alone = _draw(
        blocks, nulls, firsts, scopes, alpha, draws + 1, np.random.default_rng(seed), progress
    )
    profile = [profiles(b.rows, s.bins) for b, s in zip(blocks, nulls, strict=True)]
    chosen = np.sort(np.random.default_rng([seed, 1]).permutation(n)[:sample])
    p, null_p = empirical_p(
        smallest,
        null,
        [s.null for s in nulls],
        [s.scopes for s in nulls],
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
    cluster = cluster_lists(blocks)
    names = ("all", *libraries)
    alone = _pass_alone(blocks, nulls, firsts, scopes, alpha)
    rates: list[Rate] = []
    layer_rates: dict[tuple[str, int], Rate] = {}
    for i, name in enumerate(names):
        thresholds = {
            "pooled": _p_threshold(
                [t.tally for t in tested],
                nulls,
                i,
                sum(
                    b.features * _terms(t, s, i)
                    for b, t, s in zip(blocks, tested, nulls, strict=True)
                ),
                alpha,
            ),
            "overlap2": _p_threshold([t.tally_two for t in tested], nulls, i, 0, alpha),
        }
        outcomes = {
            "calibrated": (p[:, i] <= threshold[i], null_p[:, :, i] <= threshold[i], chosen),
            **{
                rule: (smallest[:, i] <= limit, null[:, :, i] <= limit, np.arange(n))
                for rule, limit in thresholds.items()
            },
            "feature": (alone[:, i], null_alone[:, :, i], np.arange(n)),
        }
        for rule in RULES:
            found, random, of = outcomes[rule]
            rates.append(
                annotation_rate(name, rule, found, random, of, cluster, sum(untested.values()))
            )
            if i == 0:
                for at in sorted(untested):
                    own, picked = np.flatnonzero(layer == at), layer[of] == at
                    layer_rates[rule, at] = annotation_rate(
                        name,
                        rule,
                        found[own],
                        random[:, picked],
                        np.searchsorted(own, of[picked]),
                        cluster[own],
                        untested[at],
                    )
    by_block = tuple(
        (int(first), s.null, pr) for first, s, pr in zip(firsts[:-1], nulls, profile, strict=True)
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
        by_block,
    )


def _pass_alone(
    blocks: Sequence[ListBlock],
    nulls: Sequence[_BackgroundNull],
    firsts: np.ndarray,
    scopes: int,
    alpha: float,
) -> np.ndarray:
    """Whether each list has a term in a family of its own terms; bool, features x scopes."""
    alone = np.zeros((int(firsts[-1]), scopes), dtype=bool)
    for b, s, first in zip(blocks, nulls, firsts[:-1], strict=True):
        passed = best_of_random(b.rows, b.incidence, s.table, alpha)[1]
        alone[first : first + row_count(b.rows), 0] = passed[:, 0]
        alone[first : first + row_count(b.rows), s.scopes] = passed[:, 1:]
    return alone


def _background_nulls(
    blocks: Sequence[ListBlock], tested: Sequence[Tested], libraries: tuple[str, ...], bins: int
) -> list[_BackgroundNull]:
    """The null of every block, made once for blocks with one background."""
    known: dict[int, _BackgroundNull] = {}
    for block, t in zip(blocks, tested, strict=True):
        if id(block.incidence) not in known:
            sizes = np.concatenate(
                [np.diff(b.rows.indptr) for b in blocks if b.incidence is block.incidence]
            )
            gene_bins = detection_bins(block.detection, bins)
            table = TailTable(sizes, block.incidence.sizes, len(block.incidence.genes))
            scopes = np.array([1 + libraries.index(name) for name in t.libraries], dtype=np.int64)
            known[id(block.incidence)] = _BackgroundNull(
                gene_bins, table, ProfileNull(block.incidence, gene_bins, table), scopes
            )
    return [known[id(b.incidence)] for b in blocks]


def _terms(tested: Tested, nulls: _BackgroundNull, scope: int) -> int:
    """Terms of a scope in one block."""
    if scope == 0:
        return tested.terms[0]
    at = np.flatnonzero(nulls.scopes == scope)
    return tested.terms[1 + int(at[0])] if at.size else 0


def _p_threshold(
    tallies: list[tuple[PTally, ...]],
    nulls: Sequence[_BackgroundNull],
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
            for t, s in zip(tallies, nulls, strict=True)
            if (a := np.flatnonzero(s.scopes == scope)).size
        ]
    )
    joined = PTally.join(parts)
    return joined.threshold(family or joined.tests, alpha)


def _draw(
    blocks: Sequence[ListBlock],
    nulls: Sequence[_BackgroundNull],
    firsts: np.ndarray,
    scopes: int,
    alpha: float,
    draws: int,
    rng: np.random.Generator,
    progress: Callable[[int, int], None] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Smallest p of every random list, and whether it passes alone; draws x features x scopes."""
    null = np.ones((draws, int(firsts[-1]), scopes))
    alone = np.zeros(null.shape, dtype=bool)
    for d in range(draws):
        for block, s, first in zip(blocks, nulls, firsts[:-1], strict=True):
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

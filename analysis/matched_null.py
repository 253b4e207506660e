"""Matched random gene lists, and q values calibrated on them.

Genes are binned by detection rate (share of cells). For each list, random lists are drawn with the same number of genes from each bin, without
replacement, so that size and detection profile are those of the list and only the biology is random. With ``s`` the smallest p of a list over
all terms (overlap of two or more), and N random lists in all,

    p_emp(s) = (1 + #{random lists with smallest p <= s}) / (1 + N),    q = Benjamini-Hochberg of p_emp over the lists.

The calibration needs no independence of terms and no uniform p: whatever the libraries' overlap and discreteness do, they do to the random
lists as well. Terms overlap, so a random list that hits one term hits several: BH over all pairs controls the share of false pairs, not the
share of falsely annotated features, and its threshold annotates more random lists. The random lists are pooled over features, so the error
rate is controlled for the collection, not feature by feature.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import sparse

from analysis.enrichment import Hits, collect, overlaps
from analysis.fdr import benjamini_hochberg
from analysis.hypergeometric import TailTable
from analysis.incidence import Incidence, row_count

RULES: dict[str, str] = {
    "calibrated": "smallest p of the list against the smallest p of matched random lists, then BH over lists",
    "pooled": "BH over every list x every term",
    "feature": "BH over every term, list by list",
    "overlap2": "BH over tests with an overlap of 2 or more only (a published rule)",
}


def detection_bins(rates: np.ndarray, bins: int = 20) -> np.ndarray:
    """Bin of every gene: equally filled bins of the detection rate, ties kept together; int64, 0 is the rarest."""
    rates = np.asarray(rates, dtype=float)
    edges = np.unique(np.quantile(rates, np.linspace(0, 1, bins + 1)[1:-1])) if rates.size else np.zeros(0)
    return np.searchsorted(edges, rates, side="right").astype(np.int64)


def _distinct(rng: np.random.Generator, lists: int, count: int, size: int) -> np.ndarray:
    """`lists` x `count` distinct integers below `size`, every subset equally likely (Floyd's algorithm, all lists at once)."""
    chosen = np.empty((lists, count), dtype=np.int64)
    for step, top in enumerate(range(size - count, size)):
        candidate = rng.integers(0, top + 1, size=lists)
        taken = (chosen[:, :step] == candidate[:, None]).any(axis=1)
        chosen[:, step] = np.where(taken, top, candidate)
    return chosen


def draw_matched(lists: sparse.csr_matrix, bins: np.ndarray, rng: np.random.Generator) -> sparse.csr_matrix:
    """One matched random list for every list.

    Parameters
    ----------
    lists
        0/1 matrix, lists x background genes.
    bins
        Bin of every gene, shape (genes,).
    rng
        Seeded generator.

    Returns
    -------
    csr_matrix
        Same shape and row sums; the same number of genes in every bin, row by row.
    """
    n_bins, n = int(bins.max(initial=-1)) + 1, row_count(lists)
    members = [np.flatnonzero(bins == b) for b in range(n_bins)]
    row = np.repeat(np.arange(n), np.diff(lists.indptr))
    counts = np.zeros((n, n_bins), dtype=np.int64)
    np.add.at(counts, (row, bins[lists.indices]), 1)
    rows_out, genes_out = [], []
    for b in range(n_bins):
        for count in np.unique(counts[:, b]):
            if count == 0:
                continue
            at = np.flatnonzero(counts[:, b] == count)
            genes_out.append(members[b][_distinct(rng, at.size, int(count), members[b].size)].ravel())
            rows_out.append(np.repeat(at, count))
    if not rows_out:
        return sparse.csr_matrix(lists.shape, dtype=np.int32)
    data = np.ones(sum(r.size for r in rows_out), dtype=np.int32)
    drawn = sparse.csr_matrix((data, (np.concatenate(rows_out), np.concatenate(genes_out))), shape=lists.shape)
    drawn.sort_indices()
    return drawn


def smallest_p(hits: Hits, lists: int, keep: np.ndarray | None = None, min_overlap: int = 2) -> np.ndarray:
    """Smallest p of every list over terms with enough overlap (`keep`: mask of terms); 1 where there is none."""
    use = hits.overlap >= min_overlap
    if keep is not None:
        use &= keep[hits.column]
    best = np.ones(lists)
    np.minimum.at(best, hits.row[use], hits.p[use])
    return best


def p_threshold(hits: Hits, lists: int, terms: int, rule: str, alpha: float, keep: np.ndarray | None = None) -> float:
    """Largest p that has BH q <= `alpha` in the one family of rule ``pooled`` or ``overlap2`` (-1: none)."""
    use = np.ones(hits.p.size, dtype=bool) if keep is None else keep[hits.column]
    if rule == "overlap2":
        use &= hits.overlap >= 2
    family = int(use.sum()) if rule == "overlap2" else lists * terms
    p = np.sort(hits.p[use & (hits.p <= alpha)])
    good = np.flatnonzero(p * family <= alpha * np.arange(1, p.size + 1))
    return float(p[good[-1]]) if good.size else -1.0


def passes(
    hits: Hits, lists: int, terms: int, rule: str, alpha: float, keep: np.ndarray | None = None, threshold: float | None = None
) -> np.ndarray:
    """Whether each list has a term at BH `alpha` under a rule of `RULES` (not ``calibrated``); bool, shape (lists,).

    Parameters
    ----------
    hits, lists, terms
        Tests with an overlap, and the size of the table they come from.
    rule, alpha
        The rule.
    keep
        Mask of the terms that take part.
    threshold
        p threshold of the pooled rules (default: found in these lists). Rule ``feature`` has one family a list and finds its own.
    """
    found = np.zeros(lists, dtype=bool)
    if rule in ("pooled", "overlap2"):
        limit = p_threshold(hits, lists, terms, rule, alpha, keep) if threshold is None else threshold
        use = hits.p <= limit
    elif rule == "feature":
        use = hits.p <= alpha
    else:
        raise ValueError(f"unknown rule {rule!r}; expected pooled, feature or overlap2")
    if keep is not None:
        use &= keep[hits.column]
    if rule == "overlap2":
        use &= hits.overlap >= 2
    p, row = hits.p[use], hits.row[use]
    if rule == "feature":
        order = np.lexsort((p, row))
        p, row = p[order], row[order]
        first = np.searchsorted(row, row, side="left")
        row = row[p * terms <= alpha * (np.arange(p.size) - first + 1)]
    found[row] = True
    return found


class Rate(NamedTuple):
    """Share of lists annotated by a rule, beside matched random lists at the same p threshold.

    Rules with one family for all lists set a p threshold; the random lists are held to that one, since a family of random lists only would
    set a stricter threshold and hide how many of the features are annotated by chance. Rule ``feature`` is applied to each random list.
    ``null_low`` and ``null_high`` are the smallest and largest rate of a draw; the excess has a 95 % normal interval over lists, each list
    paired with its own random lists.
    """

    library: str
    rule: str
    lists: int
    annotated: int
    rate: float
    null_rate: float
    null_low: float
    null_high: float
    excess: float
    excess_low: float
    excess_high: float


@dataclass(frozen=True)
class Calibration:
    """Calibrated q of every list, one column a scope (``all`` and each library).

    ``threshold[scope]`` is the largest smallest-p that still has q <= alpha (-1: none): a term at or below it is reported.
    """

    smallest: dict[str, np.ndarray]
    null: dict[str, np.ndarray]
    q: dict[str, np.ndarray]
    threshold: dict[str, float]
    rates: tuple[Rate, ...]
    draws: int


def empirical_p(observed: np.ndarray, null: np.ndarray) -> np.ndarray:
    """``(1 + #{null <= observed}) / (1 + null.size)``, the null pooled over lists and draws."""
    ordered = np.sort(null, axis=None)
    return (1 + np.searchsorted(ordered, observed, side="right")) / (1 + ordered.size)


def _rate(library: str, rule: str, found: np.ndarray, null: np.ndarray) -> Rate:
    """`found` bool (lists,), `null` bool (draws, lists)."""
    n = found.size
    difference = found - null.mean(axis=0)
    by_draw = null.mean(axis=1)
    excess = float(difference.mean())
    half = float(1.96 * difference.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    return Rate(
        library, rule, n, int(found.sum()), float(found.mean()), float(null.mean()), float(by_draw.min()), float(by_draw.max()),
        excess, excess - half, excess + half,
    )  # fmt: skip


def calibrate(
    lists: sparse.csr_matrix,
    observed: Hits,
    incidence: Incidence,
    detection: np.ndarray,
    *,
    alpha: float = 0.05,
    draws: int = 20,
    seed: int = 0,
    bins: int = 20,
    progress: Callable[[int, int], None] | None = None,
) -> Calibration:
    """Run every rule on the lists and on `draws` matched random lists of each.

    Parameters
    ----------
    lists
        0/1 matrix, lists x background genes; every row with at least one gene.
    observed
        Hits of the lists.
    incidence
        Gene sets cut to the background.
    detection
        Detection rate of every background gene, shape (genes,).
    alpha
        Threshold of all rules.
    draws, seed, bins
        Random lists per list, their seed, and the number of detection bins.
    progress
        Called with (draws done, draws).

    Raises
    ------
    ValueError
        If there is no draw or no list.
    """
    n = row_count(lists)
    if draws < 1 or n < 1:
        raise ValueError(f"calibration needs at least one list and one draw; found {n} lists and {draws} draws")
    rng = np.random.default_rng(seed)
    gene_bins = detection_bins(detection, bins)
    table = TailTable(np.diff(lists.indptr), incidence.sizes, len(incidence.genes))
    libraries = list(dict.fromkeys(t.library for t in incidence.terms))
    of_term = np.array([t.library for t in incidence.terms])
    masks: dict[str, np.ndarray | None] = {"all": None, **{lib: of_term == lib for lib in libraries}}
    terms = {scope: len(of_term) if mask is None else int(mask.sum()) for scope, mask in masks.items()}
    rules = [r for r in RULES if r != "calibrated"]
    null = {scope: np.ones((draws, n)) for scope in masks}
    limits = {
        (scope, rule): None if rule == "feature" else p_threshold(observed, n, terms[scope], rule, alpha, mask)
        for scope, mask in masks.items() for rule in rules
    }  # fmt: skip
    null_found = {(scope, rule): np.zeros((draws, n), dtype=bool) for scope in masks for rule in rules}
    for d in range(draws):
        hits = collect(overlaps(draw_matched(lists, gene_bins, rng), incidence, table))
        for scope, mask in masks.items():
            null[scope][d] = smallest_p(hits, n, mask)
            for rule in rules:
                null_found[scope, rule][d] = passes(hits, n, terms[scope], rule, alpha, mask, limits[scope, rule])
        if progress:
            progress(d + 1, draws)
    smallest, q, threshold, rates = {}, {}, {}, []
    for scope, mask in masks.items():
        smallest[scope] = smallest_p(observed, n, mask)
        q[scope] = benjamini_hochberg(empirical_p(smallest[scope], null[scope]))
        found = (q[scope] <= alpha) & (smallest[scope] < 1)
        threshold[scope] = float(smallest[scope][found].max()) if found.any() else -1.0
        rates.append(_rate(scope, "calibrated", found, null[scope] <= threshold[scope]))
        for rule in rules:
            rates.append(_rate(scope, rule, passes(observed, n, terms[scope], rule, alpha, mask), null_found[scope, rule]))
    return Calibration(smallest, null, q, threshold, tuple(rates), draws)

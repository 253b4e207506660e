"""Expected number of terms that a random list with a given detection profile reaches by chance,
exactly and without sampling.

A profile is the number of genes that a list has in each detection bin. A matched random list draws
those numbers bin by bin, so its overlap with a term is a sum of independent hypergeometric counts,

    K_t = sum_b Hypergeometric(N_b, m_tb, n_b),

with N_b genes in bin b, m_tb of them in the term and n_b drawn. The expected number of terms whose
test gives p <= s is

    E_f(s) = sum_t P(K_t >= 2 and p(K_t) <= s),

and by the union bound the smallest p S of a matched random list has ``P(S <= s) <= E_f(s)``. The
bound is what makes q values feature by feature possible: random lists alone cannot show a p below 1
/ draws. On real lists and libraries it lies within a factor of two of the truth where it matters
(below 0.05), and the sums have positive terms only, so no digit is lost.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.stats import hypergeom

from scircuit.analysis.enrichment.gene_term_matrix import Incidence, row_count
from scircuit.analysis.enrichment.hypergeometric import TailTable
from scircuit.analysis.enrichment.pair_tests import MIN_OVERLAP, library_codes


def profiles(lists: sparse.csr_matrix, bins: np.ndarray) -> np.ndarray:
    """Genes of every list in every detection bin; int64, lists x bins."""
    n_bins = int(bins.max(initial=-1)) + 1
    row = np.repeat(np.arange(row_count(lists)), np.diff(lists.indptr))
    place = row * n_bins + bins[lists.indices]
    return np.bincount(place, minlength=row_count(lists) * n_bins).reshape(-1, n_bins)


class ExpectedTerms:
    """E_f(s) of one profile, for the terms of every library together and of each library alone."""

    def __init__(self, p: np.ndarray, expected: np.ndarray) -> None:
        self._p, self._expected = p, expected

    def at(self, s: np.ndarray | float, scope: int = 0) -> np.ndarray:
        """Expected number of terms with p <= s; `scope` 0 is every library, i the i-th one."""
        place = np.searchsorted(self._p, np.asarray(s, dtype=float), side="right")
        return self._expected[scope, place]


class ProfileNull:
    """`ExpectedTerms` of any profile over one set of terms.

    Parameters
    ----------
    incidence
        Gene sets cut to the background.
    bins
        Detection bin of every background gene, shape (genes,).
    table
        Tail table that covers the list sizes: it gives the p that a test would report.
    """

    def __init__(self, incidence: Incidence, bins: np.ndarray, table: TailTable) -> None:
        n_bins = int(bins.max(initial=-1)) + 1
        of_bin = sparse.csr_matrix(
            (np.ones(bins.size, dtype=np.int64), (bins, np.arange(bins.size))),
            shape=(n_bins, bins.size),
        )
        members = sparse.csr_matrix(of_bin @ incidence.matrix)
        self._members = members.toarray().astype(np.int64)  # bins x terms
        self._genes = np.bincount(bins, minlength=n_bins)
        self._table = table
        self._rank = table.ranks(incidence.sizes)
        libraries, self._code = library_codes(incidence)
        self._libraries = len(libraries)
        self._pmf: dict[tuple[int, int], np.ndarray] = {}
        self._order: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def overlap_distribution(self, profile: np.ndarray) -> np.ndarray:
        """P(K_t = k); shape (list size + 1, terms)."""
        found = np.ones((1, self._members.shape[1]))
        for b in np.flatnonzero(profile):
            drawn = int(profile[b])
            each = self._of_bin(int(b), drawn)[:, self._members[b]]
            longer = np.zeros((found.shape[0] + drawn, found.shape[1]))
            for j in range(drawn + 1):
                longer[j : j + found.shape[0]] += found * each[j]
            found = longer
        return found

    def expected(self, profile: np.ndarray) -> ExpectedTerms:
        """E_f of a profile (genes of a list in each bin)."""
        size = int(profile.sum())
        chance = self.overlap_distribution(profile)
        p, order = self._tails(size)
        ranks = self._table.term_sizes.size
        width = p.size // ranks + MIN_OVERLAP if ranks else 0
        kept = chance[MIN_OVERLAP:width]
        total = np.zeros((1 + self._libraries, p.size + 1))
        for i in range(self._libraries):
            of = np.flatnonzero(self._code == i)
            place = self._rank[of] * (width - MIN_OVERLAP) + np.arange(kept.shape[0])[:, None]
            mass = np.bincount(place.ravel(), weights=kept[:, of].ravel(), minlength=p.size)
            total[1 + i, 1:] = np.cumsum(mass[order])
        total[0] = total[1:].sum(axis=0)
        return ExpectedTerms(p, total)

    def _of_bin(self, b: int, drawn: int) -> np.ndarray:
        """P(j members among `drawn` genes of the bin), for every number of members; (drawn + 1) x
        members.
        """
        if (b, drawn) not in self._pmf:
            members = np.arange(int(self._members[b].max(initial=0)) + 1)
            self._pmf[b, drawn] = hypergeom.pmf(
                np.arange(drawn + 1)[:, None], int(self._genes[b]), members[None, :], drawn
            )
        return self._pmf[b, drawn]

    def _tails(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Reported p of every (term size, overlap of two or more) for this list size, rising, and
        the order that sorts them.
        """
        if size not in self._order:
            flat = self._table.of_list_size(size)[:, MIN_OVERLAP:].ravel()
            order = np.argsort(flat, kind="stable")
            self._order[size] = flat[order], order
        return self._order[size]

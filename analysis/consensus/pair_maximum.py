r"""Which single domain pairs stand out, with a p over all of them.

Of a pair (label x, label y) the statistic is the number c of features with label y that have an
edge from a feature with label x. Under resampled targets
(`scircuit.analysis.consensus.domain_pairs`) c is a sum of hypergeometric numbers, with the exact
mean

    m = sum over strata k of  #{targets in k of features with label x} * share of label y in k ,

and its size is told as  t = -log P(Poisson(m) >= c). Every draw of the null has a largest t over
all pairs that the other run has; the family-wise p of a pair is

    (1 + draws whose largest t is at least the pair's t) / (1 + draws) .

(Westfall and Young, Resampling-Based Multiple Testing, 1993.) Poisson is used to set pairs of
different m on one scale and not to test, so p holds however c is distributed. The p of one pair
alone cannot fall below 1 / (1 + draws), and Benjamini-Hochberg over 50,000 of them calls none.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_TABLE, _CHUNK, _SMALLEST = 8, 20_000, 1e-300


class Reached(NamedTuple):
    """Pairs of labels and what is known about each, all (pairs,): `count` features with the target
    label reached, its mean under the null, and the size t.
    """

    count: np.ndarray
    expected: np.ndarray
    size: np.ndarray


class PairMaximum:
    """The statistic of all pairs of a family.

    Parameters
    ----------
    family
        Pairs that are looked at, ``source label * labels + target label``, ascending.
    labels
        Number of labels.
    source_label, stratum
        Of every (label of the source, target feature) that edges join, one of each, (joined,).
    member_label, member_stratum
        Of every feature that can be a target, (members,).
    """

    def __init__(
        self,
        family: np.ndarray,
        labels: int,
        source_label: np.ndarray,
        stratum: np.ndarray,
        member_label: np.ndarray,
        member_stratum: np.ndarray,
    ) -> None:
        self._family = family
        self._expected = _expected(
            family, labels, source_label, stratum, member_label, member_stratum
        )
        counts = np.arange(1, _TABLE + 1)[:, None]
        self._table = _size(counts, self._expected[None, :])

    def _counts(self, code: np.ndarray) -> np.ndarray:
        if not self._family.size:
            return np.zeros(0, np.int64)
        at = np.searchsorted(self._family, code)
        at[at == self._family.size] = 0
        return np.bincount(at[self._family[at] == code], minlength=self._family.size)

    def largest(self, code: np.ndarray) -> float:
        """The largest t of the family, 0 where none of its pairs is there.

        Parameters
        ----------
        code
            Pair of every (label of the source, target feature).
        """
        counts = self._counts(code)
        at = np.flatnonzero(counts)
        return float(self._sizes(at, counts[at]).max(initial=0.0))

    def _sizes(self, at: np.ndarray, counts: np.ndarray) -> np.ndarray:
        found = self._table[np.minimum(counts, _TABLE) - 1, at]
        more = np.flatnonzero(counts > _TABLE)
        found[more] = _size(counts[more], self._expected[at[more]])
        return found

    def reached(self, code: np.ndarray, pairs: np.ndarray) -> Reached:
        """What `pairs` of the family have where the pairs of edges are `code`; they are there."""
        at = np.searchsorted(self._family, pairs)
        counts = self._counts(code)[at]
        return Reached(counts, self._expected[at], self._sizes(at, counts))


def family_p(size: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """(1 + draws whose largest t is at least `size`) / (1 + draws)."""
    ordered = np.sort(largest)
    hits = ordered.size - np.searchsorted(ordered, size, side="left")
    return (1 + hits) / (1 + ordered.size)


def _size(count: np.ndarray, mean: np.ndarray) -> np.ndarray:
    from scipy.special import pdtrc

    return -np.log(np.maximum(pdtrc(count - 1.0, mean), _SMALLEST))


def _expected(
    family: np.ndarray,
    labels: int,
    source_label: np.ndarray,
    stratum: np.ndarray,
    member_label: np.ndarray,
    member_stratum: np.ndarray,
) -> np.ndarray:
    """Mean of c for every pair of the family."""
    from scipy import sparse

    strata = int(member_stratum.max(initial=-1)) + 1
    shape = (labels, strata)
    joined = sparse.csr_matrix((np.ones(stratum.size), (source_label, stratum)), shape=shape)
    size = np.bincount(member_stratum, minlength=strata)
    weight = 1.0 / size[member_stratum]
    share = sparse.csr_matrix((weight, (member_label, member_stratum)), shape=shape)
    found = np.zeros(family.size)
    for first in range(0, family.size, _CHUNK):
        some = family[first : first + _CHUNK]
        product = joined[some // labels].multiply(share[some % labels])
        found[first : first + _CHUNK] = np.asarray(product.sum(axis=1)).ravel()
    return found

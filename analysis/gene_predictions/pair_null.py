"""How large the score of a pair of genes would be if gene lists said nothing about effects.

The lists of the targets are permuted among features of one stratum: a layer and a class of
in-degree (same power of two). Edges, effects and the lists of the sources stay. With ``C(g, f)``
the summed weighted effects of gene g's features on feature f, ``B(f, t)`` the weight of gene t in
the list of f, and ``pi`` a permutation within strata k of n_k features,

    S(g, t) = sum_f C(g, f) B(pi(f), t)
    E S     = sum_k C_k(g) B_k(t) / n_k
    Var S   = sum_k SC_k(g) SB_k(t) / (n_k - 1)

where ``C_k``, ``B_k`` are sums and ``SC_k``, ``SB_k`` sums of squares about the mean over the
features of a stratum (Hoeffding 1951). ``z = (S - E S) / sd S`` has no known tail, because lists
are short; so permutations are drawn, and q is their number of pairs with a |z| as large, per draw,
over the number observed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

_STEP, _BINS = 0.02, 50_000  # |z| up to 1000 in steps of 0.02


def strata_of(layer: np.ndarray, in_degree: np.ndarray, listed: np.ndarray) -> np.ndarray:
    """Stratum of every feature, int64; -1 for features without a list.

    Parameters
    ----------
    layer, in_degree, listed
        Of every feature, [features].
    """
    degree = np.where(in_degree > 0, np.floor(np.log2(np.maximum(in_degree, 1))) + 1, 0)
    pairs = np.stack([layer.astype(np.int64), degree.astype(np.int64)])
    stratum = np.full(layer.size, -1, dtype=np.int64)
    if listed.any():
        stratum[listed] = np.unique(pairs[:, listed], axis=1, return_inverse=True)[1].ravel()
    return stratum


class ListMoments:
    """Sums over the features of each stratum of the targets' lists `weights`."""

    def __init__(self, weights: sparse.csr_matrix, stratum: np.ndarray) -> None:
        self.size = np.bincount(stratum[stratum >= 0])
        rows = np.flatnonzero(stratum >= 0)
        self.member = sparse.csr_matrix(
            (np.ones(rows.size), (stratum[rows], rows)), shape=(self.size.size, stratum.size)
        )
        total = sparse.csr_matrix(self.member @ weights).toarray()
        square = sparse.csr_matrix(self.member @ weights.multiply(weights)).toarray()
        n = np.maximum(self.size, 1)[:, None]
        self.mean = total / n
        self.spread = np.maximum(square - total**2 / n, 0.0) / np.maximum(n - 1, 1)

    def mean_and_sd(self, effects: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
        """Mean and sd of the scores under permutation, [rows, genes].

        Parameters
        ----------
        effects
            C of some genes, [rows, features].
        """
        by_stratum = np.asarray((effects @ self.member.T).todense())
        square = np.asarray((effects.multiply(effects) @ self.member.T).todense())
        spread = np.maximum(square - by_stratum**2 / np.maximum(self.size, 1), 0.0)
        return by_stratum @ self.mean, np.sqrt(spread @ self.spread)


def permuted_rows(stratum: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For every feature the one whose list it takes, within its stratum."""
    taken = np.arange(stratum.size)
    order = np.argsort(stratum, kind="stable")
    mixed = order[np.lexsort((rng.random(order.size), stratum[order]))]
    taken[order] = mixed
    return taken


@dataclass
class ZCounts:
    """How many pairs have each |z|: those observed, and those of all draws of the null. `draws` is
    a fraction where the null was drawn for some of the source genes.
    """

    observed: np.ndarray = field(default_factory=lambda: np.zeros(_BINS + 1, dtype=np.int64))
    null: np.ndarray = field(default_factory=lambda: np.zeros(_BINS + 1, dtype=np.int64))
    draws: float = 0.0

    def q(self, z: np.ndarray) -> np.ndarray:
        """Q of pairs with this z: (1 + null pairs) / draws, over the observed pairs, as large.

        Pairs in the same step of |z| count as ties; q falls with |z|, and is at most 1.
        """
        observed = np.cumsum(self.observed[::-1])[::-1]
        null = np.cumsum(self.null[::-1])[::-1]
        share = (1 + null) / (self.draws or 1) / np.maximum(observed, 1)
        return np.minimum(np.minimum.accumulate(share), 1.0)[step_of(z)]

    def beyond(self, q: float) -> tuple[int, float]:
        """Pairs with at most this q, and how many of them a draw of the null has."""
        good = np.flatnonzero(self.q(np.arange(_BINS + 1) * _STEP) <= q)
        if not good.size or not self.observed[good[0] :].sum():
            return 0, 0.0
        first = int(good[0])
        return int(self.observed[first:].sum()), float(self.null[first:].sum() / (self.draws or 1))


def step_of(z: np.ndarray) -> np.ndarray:
    """Step of |z| that a pair is counted in."""
    return np.minimum((np.abs(z) / _STEP + 1e-9).astype(np.int64), _BINS)


def count_steps(z: np.ndarray) -> np.ndarray:
    """Pairs in each step of |z|."""
    return np.bincount(step_of(z), minlength=_BINS + 1)

r"""Whether circuit edges agree in sign with TRRUST, where their features' genes are a transcription
factor and its target.

For an edge s -> t with G(.) the top genes of a feature, the evidence is

    e(s, t) = #{(a, b) : a in G(s), b in G(t), a activates b} - #{(a, b) : a represses b} ,

over distinct genes a and b and pairs of stated, single mode (Unknown and Both say nothing). An edge
with e != 0 is decided. Expected is: activation makes an edge of support, because removing a feature
of the activator lowers its target's (mean effect < 0); repression an edge of suppression (mean >
0).

    agreement = share of the decided edges with sign(-mean) = sign(e)

Most edges of a circuit support and most of TRRUST activates, so one half is not expected by
chance. There are two nulls: the gene lists of the sources are permuted, or those of the targets,
within a layer and a class of degree (same power of two); edges and signs stay. The first keeps
everything that targets have in common, such as one concept found in layer after layer; the second
everything that sources have in common. Lists that share half of their genes
(`scircuit.analysis.enrichment.list_clusters`) move together, with as many others. With x(u, v) the
agreeing decided edges of unit u if it had the lists of unit v, a draw of either null is the sum of
x(u, pi(u)) over a random pi. p is one-sided, ``(1 + #{null >= observed}) / (1 + draws)``, and the
larger of the two counts; mean and middle 95 % are those of that null.

Two genes that are only expressed together would make features agree as well. That has no direction,
so the same is computed with every pair reversed (gene b of the source, its factor a in the target;
pairs stated in both directions left out): an agreement that is found there too is no sign of
regulation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse

from scircuit.analysis.enrichment.list_clusters import list_clusters
from scircuit.analysis.genesets.regulons import Regulons
from scircuit.core.address import parse
from scircuit.core.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

_SIGN = {"Activation": 1, "Repression": -1}
_MIN_DECIDED = 10  # decided edges, minimum for a share


@dataclass(frozen=True)
class _Agreement:
    """Agreement with one table of pairs; null values are of the null with the larger p."""

    decided: int
    agree: int
    share: float
    null_mean: float
    null_low: float
    null_high: float
    p: float
    p_sources: float
    p_targets: float
    decided_p: float


@dataclass(frozen=True)
class TrrustAgreement(_Agreement):
    """Agreement of circuit edges with TRRUST.

    Parameters
    ----------
    frame
        One row for each edge with evidence: source, target, mean, activation and repression (pairs
        of genes), expected (support, suppress, or "" where they balance), observed, agrees (None
        where they balance).
    edges, covered, decided, agree
        Edges given, with evidence, with evidence that does not balance, and of these with the
        expected sign.
    share, null_mean, null_low, null_high, p
        Agreement, its mean and middle 95 % under the null with the larger p, and that one-sided p;
        NaN with too few decided edges.
    p_sources, p_targets
        p where the lists of the sources are permuted, and where those of the targets are.
    decided_p
        p of at least as many decided edges as observed, the larger of the two.
    turned_decided, turned_share, turned_p
        Decided edges, agreement and p with every pair of TRRUST reversed.
    draws, seed
        Of the null.
    """

    frame: pd.DataFrame
    edges: int
    covered: int
    turned_decided: int
    turned_share: float
    turned_p: float
    draws: int
    seed: int

    @property
    def claim(self) -> str:
        """What was found."""
        if self.decided < _MIN_DECIDED:
            return (
                f"{self.decided} of {self.edges:,} edges link a feature with a transcription factor"
                " to a feature with one of its TRRUST targets: too few to say whether signs agree"
            )
        return (
            f"{100 * self.share:.1f} % of the {self.decided:,} edges (of {self.edges:,}) that link"
            " a feature with a transcription factor to a feature with one of its targets have the"
            " sign that TRRUST gives"
        )

    @property
    def control(self) -> str:
        """What it is compared with; empty with too few decided edges."""
        if self.decided < _MIN_DECIDED:
            return ""
        verdict = "more than" if self.p <= 0.05 else "not more than"
        comparison = (
            f"{verdict} expected by chance ({100 * self.null_mean:.1f} %, 95 % of draws from"
            f" {100 * self.null_low:.1f} % to {100 * self.null_high:.1f} %, p = {self.p:.2g})"
        )
        if self.turned_decided < _MIN_DECIDED:
            return (
                f"{comparison}; with TRRUST reversed there are {self.turned_decided} such edges,"
                " too few to compare"
            )
        reversed_ = (
            f"{comparison}; with TRRUST reversed, from target to factor,"
            f" {100 * self.turned_share:.1f} % of {self.turned_decided:,} edges agree (p ="
            f" {self.turned_p:.2g})"
        )
        return (
            f"{reversed_}, so co-expression would explain the agreement as well"
            if self.p <= 0.05 and self.turned_p <= 0.05
            else reversed_
        )

    @property
    def sentence(self) -> str:
        """Both in one line for a reader."""
        return f"{self.claim}, {self.control}" if self.control else self.claim

    def findings(self) -> dict[str, object]:
        """Numbers for the manifest."""
        return {k: getattr(self, k) for k in self.__dataclass_fields__ if k != "frame"}


def trrust_agreement(
    edges: pd.DataFrame,
    top_genes: Mapping[str, Sequence[str]],
    regulons: Regulons,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> TrrustAgreement:
    """Compare the signs of circuit edges with TRRUST.

    Parameters
    ----------
    edges
        Columns source, target (addresses) and mean (effect of ablating the source; negative:
        support). One row an edge.
    top_genes
        Address -> symbols of the feature's top genes; edges of features without any are not
        covered.
    regulons
        TRRUST, or another table with modes.
    draws
        Draws of the null.
    seed
        Seed of the null.

    Raises
    ------
    UserError
        If a column is missing or a mean is not finite.
    """
    if missing := [c for c in ("source", "target", "mean") if c not in edges.columns]:
        raise UserError(
            f"the edges have no columns {', '.join(missing)}; they have"
            f" {', '.join(map(str, edges.columns))}",
            "give an edge table of a trace run",
        )
    means = edges["mean"].to_numpy(dtype=float)
    if not np.isfinite(means).all():
        raise UserError(
            f"{int((~np.isfinite(means)).sum())} of {means.size} edges have a mean effect that is"
            " not finite",
            "trace again",
        )
    circuit = _Circuit.of(edges, means, top_genes)
    stated = {
        (p.tf.upper(), p.target.upper()): _SIGN[p.mode]
        for p in regulons.pairs
        if p.mode in _SIGN and p.tf.upper() != p.target.upper()
    }
    counts, found = circuit.agreement(stated, draws, np.random.default_rng(seed))
    either = {(p.tf.upper(), p.target.upper()) for p in regulons.pairs}
    _, turned = circuit.agreement(
        {(b, a): sign for (a, b), sign in stated.items() if (b, a) not in either},
        draws,
        np.random.default_rng([seed, 1]),
    )
    frame = _frame(edges, means, counts)
    return TrrustAgreement(
        **vars(found),
        frame=frame,
        edges=len(edges),
        covered=len(frame),
        turned_decided=turned.decided,
        turned_share=turned.share,
        turned_p=turned.p,
        draws=draws,
        seed=seed,
    )


class _Side(NamedTuple):
    """The sources or the targets: their gene lists, and the groups of units within which these are
    permuted, each an array [units, features of a unit].
    """

    lists: sparse.csr_matrix
    groups: list[np.ndarray]


def _side(
    features: Sequence[str],
    degree: np.ndarray,
    top_genes: Mapping[str, Sequence[str]],
    index: Mapping[str, int],
) -> _Side:
    indptr, indices = [0], []
    for feature in features:
        indices.extend(sorted({index[g.upper()] for g in top_genes.get(feature, ())}))
        indptr.append(len(indices))
    lists = sparse.csr_matrix(
        (
            np.ones(len(indices), dtype=np.int32),
            np.array(indices, dtype=np.int64),
            np.array(indptr),
        ),
        shape=(len(features), len(index)),
    )
    cluster, layer = (
        list_clusters(lists),
        np.array([parse(f).layer for f in features], dtype=np.int64),
    )
    alike: dict[tuple[int, ...], list[np.ndarray]] = {}
    order = np.lexsort((layer, cluster))
    for unit in (
        np.split(order, np.flatnonzero(np.diff(cluster[order])) + 1) if len(features) else []
    ):
        alike.setdefault(
            (len(unit), int(layer[unit[0]]), int(np.log2(degree[unit].mean()))), []
        ).append(unit)
    return _Side(lists, [np.stack(units) for units in alike.values()])


class _Circuit(NamedTuple):
    """Edges as numbers: +1 for support and -1 for suppression, [sources, targets]."""

    sign: sparse.csr_matrix
    row: np.ndarray
    column: np.ndarray
    genes: dict[str, int]
    sources: _Side
    targets: _Side

    @classmethod
    def of(
        cls, edges: pd.DataFrame, means: np.ndarray, top_genes: Mapping[str, Sequence[str]]
    ) -> _Circuit:
        import pandas as pd

        row, sources = pd.factorize(edges["source"])
        column, targets = pd.factorize(edges["target"])
        ends = [str(f) for f in (*sources, *targets)]
        genes = {
            g: i
            for i, g in enumerate(
                dict.fromkeys(g.upper() for f in ends for g in top_genes.get(f, ()))
            )
        }
        sides = [
            _side([str(f) for f in own], np.bincount(code, minlength=len(own)), top_genes, genes)
            for own, code in ((sources, row), (targets, column))
        ]
        sign = sparse.csr_matrix(
            (-np.sign(means).astype(np.int32), (row, column)), shape=(len(sources), len(targets))
        )
        return cls(sign, row, column, genes, *sides)

    def agreement(
        self, stated: Mapping[tuple[str, str], int], draws: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, _Agreement]:
        """Pairs of activation and of repression [edges, 2], and the agreement, for pairs (factor,
        target) -> +1 or -1.
        """
        indexed = [
            (self.genes[a], self.genes[b], sign)
            for (a, b), sign in stated.items()
            if a in self.genes and b in self.genes
        ]
        place = np.array(indexed, dtype=np.int64).reshape(-1, 3)
        parts = []
        for sign in (1, -1):
            own = place[place[:, 2] == sign]
            regulates = sparse.csr_matrix(
                (np.ones(len(own), dtype=np.int32), (own[:, 0], own[:, 1])),
                shape=(len(self.genes),) * 2,
            )
            parts.append((self.sources.lists @ regulates @ self.targets.lists.T).tocsr())
        counts = (
            np.stack([np.asarray(part[self.row, self.column]).ravel() for part in parts], axis=1)
            if self.row.size
            else np.zeros((0, 2), dtype=np.int64)
        )
        evidence = (parts[0] - parts[1]).sign().astype(np.int32)
        product = self.sign.multiply(evidence).tocsr().data
        decided, agree = int((product != 0).sum()), int((product > 0).sum())
        nulls = [
            _permute_lists(self.sign, evidence, self.sources.groups, draws, rng),
            _permute_lists(
                self.sign.T.tocsr(), evidence.T.tocsr(), self.targets.groups, draws, rng
            ),
        ]
        decided_p = max(float((1 + (null[:, 1] >= decided).sum()) / (1 + draws)) for null in nulls)
        shares = [null[null[:, 1] > 0, 0] / null[null[:, 1] > 0, 1] for null in nulls]
        if decided < _MIN_DECIDED or not all(x.size for x in shares):
            return counts, _Agreement(
                decided, agree, *(np.nan for _ in range(7)), decided_p=decided_p
            )
        share = agree / decided
        p = [float((1 + (x >= share - 1e-12).sum()) / (1 + x.size)) for x in shares]
        null = shares[int(np.argmax(p))]
        low, high = (float(x) for x in np.quantile(null, [0.025, 0.975]))
        return counts, _Agreement(
            decided, agree, share, float(null.mean()), low, high, max(p), p[0], p[1], decided_p
        )


def _permute_lists(
    sign: sparse.csr_matrix,
    evidence: sparse.csr_matrix,
    groups: Sequence[np.ndarray],
    draws: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Agreeing and decided edges where the lists behind the rows of `evidence` are permuted within
    every group of units; [draws, 2].
    """
    found = np.zeros((draws, 2), dtype=np.int64)
    for units in groups:
        balance = np.zeros(
            (len(units), len(units)), dtype=np.int32
        )  # unit x unit that lends the list: agreeing less disagreeing edges
        decided = np.zeros_like(balance)
        for member in units.T:
            own, lent = sign[member], evidence[member].T
            balance += sparse.csr_matrix(own @ lent).toarray()
            decided += sparse.csr_matrix(abs(own) @ abs(lent)).toarray()
        at = np.arange(len(units))
        for draw in found:
            lender = rng.permutation(at)
            draw += int(balance[at, lender].sum()), int(decided[at, lender].sum())
    found[:, 0] = (found[:, 0] + found[:, 1]) // 2
    return found


def _frame(edges: pd.DataFrame, means: np.ndarray, counts: np.ndarray) -> pd.DataFrame:
    import pandas as pd

    rows = np.flatnonzero(counts.sum(axis=1) > 0)
    balance = np.sign(counts[rows, 0] - counts[rows, 1])
    observed = -np.sign(means[rows])
    words = {1: "support", -1: "suppress", 0: ""}
    return pd.DataFrame(
        {
            "source": edges["source"].to_numpy()[rows],
            "target": edges["target"].to_numpy()[rows],
            "mean": means[rows],
            "activation": counts[rows, 0],
            "repression": counts[rows, 1],
            "expected": [words[int(b)] for b in balance],
            "observed": [words[int(o)] for o in observed],
            "agrees": [
                bool(b == o) if b and o else None for b, o in zip(balance, observed, strict=True)
            ],
        }
    )

r"""Whether circuit edges agree in sign with TRRUST, where their features' genes are a transcription factor and its target.

For an edge s -> t with G(.) the top genes of a feature, the evidence is

    e(s, t) = #{(a, b) : a in G(s), b in G(t), a activates b} - #{(a, b) : a represses b} ,

over distinct genes a and b and pairs of stated, single mode (Unknown and Both say nothing). An edge with e != 0 is decided. Expected is: activation makes an edge of
support, because removing a feature of the activator lowers its target's (mean effect < 0); repression an edge of suppression (mean > 0).

    agreement = share of the decided edges with sign(-mean) = sign(e)

Most edges of a circuit support and most of TRRUST activates, so half is not what chance gives. Under the null the target features of one layer and similar in-degree
(same power of two) exchange their gene lists: the edges with their signs, the sources with their genes and the overlaps among the lists stay. p is one-sided, ``(1 +
#{null >= observed}) / (1 + draws)``; the interval holds the middle 95 % of the null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import sparse

from analysis.regulons import Regulons
from scircuit.address import parse
from scircuit.settings import UserError

if TYPE_CHECKING:
    import pandas as pd

_SIGN = {"Activation": 1, "Repression": -1}
_LEAST = 10  # decided edges, below which no share is stated


@dataclass(frozen=True)
class TrrustAgreement:
    """Agreement of circuit edges with TRRUST.

    Parameters
    ----------
    frame
        One row for each edge with evidence: source, target, mean, activation and repression (pairs of genes), expected (support, suppress, or "" where they
        balance), observed, agrees (None where they balance).
    edges, covered, decided, agree
        Edges given, with evidence, with evidence that does not balance, and of these with the expected sign.
    share, null_mean, null_low, null_high, p
        Agreement, its mean and middle 95 % under the null, and one-sided p; NaN with too few decided edges.
    decided_null_mean, decided_p
        Decided edges expected under the null, and p of at least as many as observed.
    draws, seed
        Of the null.
    """

    frame: pd.DataFrame
    edges: int
    covered: int
    decided: int
    agree: int
    share: float
    null_mean: float
    null_low: float
    null_high: float
    p: float
    decided_null_mean: float
    decided_p: float
    draws: int
    seed: int

    @property
    def claim(self) -> str:
        """What was found."""
        if self.decided < _LEAST:
            return f"{self.decided} of {self.edges:,} edges join a transcription factor's feature to one of its targets' in TRRUST: too few to say whether signs agree"
        return (
            f"{100 * self.share:.1f} % of the {self.decided:,} edges (of {self.edges:,}) that join a transcription factor's feature to one of its targets' have the sign that "
            "TRRUST states"
        )

    @property
    def control(self) -> str:
        """What it was held against; empty with too few decided edges."""
        if self.decided < _LEAST:
            return ""
        verdict = "more than chance gives" if self.p <= 0.05 else "no more than chance gives"
        return f"{verdict} ({100 * self.null_mean:.1f} %, 95 % of draws from {100 * self.null_low:.1f} % to {100 * self.null_high:.1f} %, p = {self.p:.2g})"

    @property
    def sentence(self) -> str:
        """Both in one line for a reader."""
        return f"{self.claim}, {self.control}" if self.control else self.claim

    def findings(self) -> dict[str, Any]:
        """Numbers for the manifest."""
        return {k: getattr(self, k) for k in self.__dataclass_fields__ if k != "frame"}


class _Block(NamedTuple):
    """The edges into one layer: evidence of every source x every target's list, and how targets may exchange lists."""

    evidence: np.ndarray  # [sources, targets], int32
    row: np.ndarray
    column: np.ndarray
    support: np.ndarray  # +1 support, -1 suppress
    degree_class: np.ndarray


def trrust_agreement(
    edges: pd.DataFrame, top_genes: Mapping[str, Sequence[str]], regulons: Regulons, *, draws: int = 1000, seed: int = 0
) -> TrrustAgreement:
    """Compare the signs of circuit edges with TRRUST.

    Parameters
    ----------
    edges
        Columns source, target (addresses) and mean (effect of ablating the source; negative: support). One row an edge.
    top_genes
        Address -> symbols of the feature's top genes; edges of features without any are not covered.
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
        raise UserError(f"the edges lack the columns {', '.join(missing)}; they have {', '.join(map(str, edges.columns))}", "give an edge table of a trace run")
    means = edges["mean"].to_numpy(dtype=float)
    if not np.isfinite(means).all():
        raise UserError(f"{int((~np.isfinite(means)).sum())} of {means.size} edges have a mean effect that is not finite", "trace again")
    blocks, rows = _blocks(edges, means, top_genes, regulons)
    rng = np.random.default_rng(seed)
    agree, decided = _count(blocks)
    null = np.array([_count(blocks, rng) for _ in range(draws)], dtype=float).reshape(draws, 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = null[:, 0] / null[:, 1]
    shares = shares[np.isfinite(shares)]
    enough = decided >= _LEAST and shares.size > 0
    share = agree / decided if enough else np.nan
    low, high = np.quantile(shares, [0.025, 0.975]) if enough else (np.nan, np.nan)
    frame = _frame(edges, means, rows)
    return TrrustAgreement(
        frame, len(edges), len(frame), decided, agree, float(share), float(shares.mean()) if enough else np.nan, float(low), float(high),
        float((1 + (shares >= share - 1e-12).sum()) / (1 + shares.size)) if enough else np.nan,
        float(null[:, 1].mean()) if draws else np.nan, float((1 + (null[:, 1] >= decided).sum()) / (1 + draws)), draws, seed,
    )  # fmt: skip


def _matrix(features: Sequence[str], top_genes: Mapping[str, Sequence[str]], index: Mapping[str, int]) -> sparse.csr_matrix:
    """Which gene of `index` is a top gene of which feature, 0/1."""
    indptr, indices = [0], []
    for feature in features:
        indices.extend(sorted({index[g.upper()] for g in top_genes.get(feature, ()) if g.upper() in index}))
        indptr.append(len(indices))
    return sparse.csr_matrix((np.ones(len(indices), dtype=np.int32), np.array(indices, dtype=np.int64), np.array(indptr)), shape=(len(features), len(index)))


def _blocks(edges: pd.DataFrame, means: np.ndarray, top_genes: Mapping[str, Sequence[str]], regulons: Regulons) -> tuple[list[_Block], Any]:
    """One block for each layer of targets, and for every edge its pairs of activation and of repression."""
    import pandas as pd

    stated = [(p.tf.upper(), p.target.upper(), _SIGN[p.mode]) for p in regulons.pairs if p.mode in _SIGN and p.tf.upper() != p.target.upper()]
    genes = {g: i for i, g in enumerate(dict.fromkeys(g for tf, target, _ in stated for g in (tf, target)))}
    sign = np.array([s for _, _, s in stated], dtype=np.int32)
    at = (np.array([genes[tf] for tf, _, _ in stated], dtype=np.int64), np.array([genes[t] for _, t, _ in stated], dtype=np.int64))
    source_code, sources = pd.factorize(edges["source"])
    target_code, targets = pd.factorize(edges["target"])
    layer = np.array([parse(str(t)).layer for t in targets], dtype=np.int64)
    factors = _matrix(list(sources), top_genes, genes)
    regulated = [factors @ sparse.csr_matrix((np.where(sign == s, 1, 0).astype(np.int32), at), shape=(len(genes), len(genes))) for s in (1, -1)]
    lists = _matrix(list(targets), top_genes, genes)
    degree = np.bincount(target_code, minlength=len(targets))
    counts = np.zeros((len(edges), 2), dtype=np.int64)
    blocks = []
    for la in np.unique(layer):
        columns = np.flatnonzero(layer == la)
        place = np.full(len(targets), -1)
        place[columns] = np.arange(columns.size)
        here = np.flatnonzero(place[target_code] >= 0)
        row, column = source_code[here], place[target_code[here]]
        evidence = np.zeros((len(sources), columns.size), dtype=np.int32)
        for i, matrix in enumerate(regulated):
            product: Any = matrix @ lists[columns].T
            dense = product.toarray()
            counts[here, i] = dense[row, column]
            evidence += dense if i == 0 else -dense
        support = -np.sign(means[here]).astype(np.int32)
        blocks.append(_Block(np.sign(evidence).astype(np.int8), row, column, support.astype(np.int8), np.log2(degree[columns]).astype(np.int64)))
    return blocks, counts


def _count(blocks: Sequence[_Block], rng: np.random.Generator | None = None) -> tuple[int, int]:
    """Agreeing and decided edges, as they are or with the lists of the targets exchanged."""
    agree = decided = 0
    for block in blocks:
        column = block.column
        if rng is not None:
            list_of = np.arange(block.degree_class.size)
            for value in np.unique(block.degree_class):
                members = np.flatnonzero(block.degree_class == value)
                list_of[members] = rng.permutation(members)
            column = list_of[column]
        product = block.evidence[block.row, column] * block.support
        agree += int((product > 0).sum())
        decided += int((product != 0).sum())
    return agree, decided


def _frame(edges: pd.DataFrame, means: np.ndarray, counts: np.ndarray) -> pd.DataFrame:
    import pandas as pd

    rows = np.flatnonzero(counts.sum(axis=1) > 0)
    balance = np.sign(counts[rows, 0] - counts[rows, 1])
    observed = -np.sign(means[rows])
    words = {1: "support", -1: "suppress", 0: ""}
    return pd.DataFrame({
        "source": edges["source"].to_numpy()[rows], "target": edges["target"].to_numpy()[rows], "mean": means[rows],
        "activation": counts[rows, 0], "repression": counts[rows, 1], "expected": [words[int(b)] for b in balance], "observed": [words[int(o)] for o in observed],
        "agrees": [bool(b == o) if b and o else None for b, o in zip(balance, observed, strict=True)],
    })  # fmt: skip

"""What is wrong with the published choice and tokenisation of cells, measured on the given cells.

Each line is ok where the choice does no harm to these cells; the expectation is what `scircuit
trace` does without ``legacy``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from scircuit.core.preflight import CheckLine
from scircuit.tracing.cells import filters
from scircuit.tracing.cells.identifiers import merge
from scircuit.tracing.cells.scale import Scale
from scircuit.tracing.legacy.cell_choice import DRAWN, SEED, Choice
from scircuit.tracing.legacy.fault_line import fault
from scircuit.tracing.legacy.legacy_tokens import Columns, legacy_order
from scircuit.tracing.tokenisation.rank import tokenise_matrix
from scircuit.tracing.tokenisation.vocabulary import Vocabulary

_TOP = 200
_LINEAR = ("raw counts", "normalised counts (no logarithm)", "expected counts (not whole numbers)")
_LOGARITHMS = {
    "log1p of normalised counts": np.expm1,
    "log2(x + 1) of normalised counts": lambda x: np.exp2(x) - 1,
    "log1p taken twice": lambda x: np.expm1(np.expm1(x)),
}


def faults_of_choice(choice: Choice) -> list[CheckLine]:
    """Population and place in the file of the cells that were taken."""
    lines = [_population(choice), _draw(choice)]
    if choice.missing:
        found = (
            f"{choice.missing:,} cells without a value of obs/gene were read as its last category"
        )
        lines.append(fault("labels", False, "such cells left out", found))
    return lines


def _population(choice: Choice) -> CheckLine:
    controls = choice.obs.iloc[choice.controls]
    traced, all_of_them = (
        filters.composition(choice.obs.iloc[choice.rows], ()),
        filters.composition(controls, ()),
    )
    found = [f"obs/gene alone chose {len(choice.controls):,} controls of {choice.total:,} cells;"]
    for column in list(all_of_them)[:3]:
        found.append(f"{column} of the {len(choice.rows):,} traced: {_counts(traced[column])},")
        found.append(f"of all controls: {_counts(all_of_them[column])};")
    if not all_of_them:
        found.append("obs has no column of cell lines, so a mixture cannot be detected")
    found[-1] = found[-1].rstrip(";")
    one = filters.check_mixed(controls, (), False).ok
    return fault(
        "population", one, "one population by explicit filters, or a declared mixture", *found
    )


def _draw(choice: Choice) -> CheckLine:
    n, first, last = len(choice.rows), int(choice.rows[0]), int(choice.rows[-1])
    drawn = f"all {len(choice.drawn):,} controls"
    if len(choice.controls) > DRAWN:
        drawn = f"{len(choice.drawn):,} of {len(choice.controls):,} controls drawn with seed {SEED}"
    if n == len(choice.drawn):
        return fault("draw", True, "every cell, or cells drawn at random", f"{drawn}, all traced")
    share = f"the first {(last + 1) / choice.total:.2%} of the file"
    found = (
        f"{drawn}, sorted, the first {n:,} traced: rows {first:,} to {last:,} of {choice.total:,},"
        f" {share}"
    )
    return fault("draw", False, "cells drawn at random", found)


def faults_of_tokens(
    values: np.ndarray,
    v: np.ndarray,
    known: Columns,
    scale: Scale,
    tokens: Sequence[np.ndarray],
    vocabulary: Vocabulary,
    length: int,
) -> list[CheckLine]:
    """How the order of genes depends on logarithms, equal values and repeated genes.

    Parameters
    ----------
    values, v
        Values as stored [cells, genes of the file] and rank values [cells, known columns].
    known, scale
        The known columns, and on which scale the values were found to be.
    tokens
        Token ids of each cell.
    vocabulary, length
        Of the model; longest input in tokens.
    """
    mapped = values[:, known.column].astype(np.float64)
    linear = mapped if scale.name in _LINEAR else _LOGARITHMS.get(scale.name, np.expm1)(mapped)
    ties, repeated = [_ties(cell) for cell in v], [len(t) - len(np.unique(t)) for t in tokens]
    n, cut = (
        np.array([len(t) - 2 for t in tokens]),
        sum((cell >= 0).sum() > length - 2 for cell in v),
    )
    again = len(known.token) - len(np.unique(known.token))
    return [
        _logarithms(linear, v, known, scale, tokens, vocabulary, length),
        fault(
            "ties",
            not any(ties),
            "equal values in the order of token ids",
            f"{sum(ties):,} gene tokens of {int(n.sum()):,} share their value with the one before,"
            f" in {np.count_nonzero(ties)} of {len(n)} cells;",
            "this platform's sort decided their order",
        ),
        fault(
            "duplicates",
            not any(repeated),
            "columns of the same gene summed",
            f"{again:,} columns repeat a gene, {sum(repeated):,} tokens repeat one in their cell",
        ),
        fault(
            "tokens",
            True,
            "any number",
            f"{n.min():,} / {np.median(n):,.0f} / {n.max():,} gene tokens per cell (minimum /"
            f" median / maximum), {cut:,} cells truncated",
        ),
    ]


def _logarithms(
    linear: np.ndarray,
    v: np.ndarray,
    known: Columns,
    scale: Scale,
    tokens: Sequence[np.ndarray],
    vocabulary: Vocabulary,
    length: int,
) -> CheckLine:
    from scipy.stats import spearmanr

    counts, genes = merge(sparse.csr_matrix(linear), known.genes)
    official = tokenise_matrix(counts, genes, vocabulary, length)
    other = sum(not np.array_equal(a, b) for a, b in zip(tokens, official, strict=True))
    rho, overlap = [], []
    for cell, ours in zip(linear / known.median, v, strict=True):
        order = legacy_order(ours)
        if len(order) > 2:
            rho.append(float(np.asarray(spearmanr(cell[order], ours[order]))[0]))
            top = min(_TOP, len(order) // 2)
            overlap.append(
                len(
                    np.intersect1d(
                        order[:top], order[np.argsort(-cell[order], kind="stable")[:top]]
                    )
                )
                / top
            )
    again = "" if scale.name in _LINEAR else "again "
    taken = (
        ", taken as log1p of normalised counts" if again and scale.name not in _LOGARITHMS else ""
    )
    found = [f"X is {scale.name}{taken}, and is logged {again}before the division by the median:"]
    found.append(
        f"{other:,} of {len(tokens):,} cells get other tokens or another order than officially"
    )
    if rho:
        shared = (
            f"{min(overlap):.0%} to {max(overlap):.0%} of the first {_TOP} genes (or half) shared"
        )
        found.append(f"(Spearman {min(rho):.3f} to {max(rho):.3f}, {shared})")
    return fault("scale", not other, "CP10k of counts / median, no logarithm", *found)


def _ties(v: np.ndarray) -> int:
    found = v[legacy_order(v)]
    return int((found[1:] == found[:-1]).sum())


def _counts(counts: dict[str, int]) -> str:
    listed = list(counts.items())
    return ", ".join(f"{value} {n:,}" for value, n in listed[:6]) + (
        ", ..." if len(listed) > 6 else ""
    )

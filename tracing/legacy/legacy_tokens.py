"""How the published layer-5 map tokenised a cell with stored values x.

    y = log1p(x / sum(x) * 1e4)      float32; sum over all genes of the file; x as stored, which is
                                     log1p already in the published file
    v = y / median of the gene       for y > 0 and genes whose symbol has a token; medians are of
                                     CP10k without a logarithm
    tokens = 2, those of the genes by falling v, at most L - 2 of them, 3

The order is that of numpy's default sort, which is not stable: which of two equal v comes first
depends on the platform. Columns of the same gene give a token each.
`scircuit.tracing.tokenisation.rank` is the official rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from scircuit.tracing.tokenisation.vocabulary import Vocabulary


class Columns(NamedTuple):
    """The columns of a file whose symbol has a token, in file order."""

    column: np.ndarray
    genes: tuple[str, ...]  # Ensembl ids, repeated where symbols repeat
    token: np.ndarray
    median: np.ndarray


def known_columns(symbols: Sequence[str], vocabulary: Vocabulary) -> Columns:
    """Look symbols up: symbol -> Ensembl id -> token; nothing but an exact match counts."""
    found = [
        (i, vocabulary.symbol_to_ensembl[s])
        for i, s in enumerate(symbols)
        if s in vocabulary.symbol_to_ensembl
    ]
    genes = tuple(gene for _, gene in found)
    return Columns(
        np.array([i for i, _ in found], dtype=np.int64),
        genes,
        np.array([vocabulary.token[g] for g in genes], dtype=np.int64),
        np.array([vocabulary.median.get(g, 1.0) for g in genes], dtype=np.float64),
    )


def rank_values(values: np.ndarray, known: Columns) -> np.ndarray:
    """Rank value v [cells, known columns] of stored values [cells, genes of the file] float32; -1
    where a gene is not expressed.
    """
    total = values.sum(axis=1, keepdims=True)
    total[total == 0] = 1
    y = np.log1p(values / total * 1e4)[:, known.column]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(y > 0, np.nan_to_num(y / known.median, nan=0.0, posinf=0.0), -1.0)


def legacy_order(v: np.ndarray) -> np.ndarray:
    """Expressed columns of one cell, by falling v."""
    there = np.flatnonzero(v >= 0)
    return there[np.argsort(-v[there])]


def legacy_tokens(v: np.ndarray, known: Columns, length: int) -> np.ndarray:
    """Token ids of one cell, ``<cls>`` and ``<eos>`` included, at most `length`."""
    return np.concatenate([[2], known.token[legacy_order(v)][: length - 2], [3]]).astype(np.int64)

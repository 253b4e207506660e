"""Cells to token sequences, as Geneformer does it officially;
`scircuit.tracing.tokenisation.binning` has scGPT's way,
`scircuit.tracing.sentences.sentence_tokens` that of Cell2Sentence.

For a cell with counts x over all genes of the file, gene g ranks by

    v_g = x_g / sum(x) * 10,000 / median_g

with no logarithm. Genes outside the vocabulary and genes with x_g = 0 are dropped, the rest is
ordered by falling v, cut to ``max_length - 2`` and put between ``<cls>`` and ``<eos>`` (V1 models
have neither: cut to ``max_length``). Equal v are ordered by token id, so the sequence does not
depend on the sort routine; the official tokeniser leaves them to an unstable sort. The total
cancels in the order within a cell: a file that holds a subset of the genes gives the same order
over those genes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scircuit.core.errors import UserError
from scircuit.tracing.sentences.sentence_tokens import tokenise_sentences
from scircuit.tracing.tokenisation.binning import binned_cell

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from scircuit.tracing.tokenisation.vocabulary import Vocabulary

TARGET_SUM = 10_000.0


@dataclass(frozen=True)
class GeneIndex:
    """Token and median of each column of a count matrix; columns outside the vocabulary have token
    -1.
    """

    token: np.ndarray
    median: np.ndarray

    @classmethod
    def of(cls, genes: Sequence[str], vocabulary: Vocabulary) -> GeneIndex:
        """Look the genes up.

        Raises
        ------
        UserError
            If two columns are the same gene: tokens would repeat.
        """
        token = np.array([vocabulary.token.get(gene, -1) for gene in genes], dtype=np.int64)
        known = token[token >= 0]
        if len(np.unique(known)) != len(known):
            values, counts = np.unique(known, return_counts=True)
            again = [str(vocabulary.gene_of_token[t]) for t in values[counts > 1][:5].tolist()]
            raise UserError(
                f"{(counts > 1).sum()} genes are in more than one column, such as"
                f" {', '.join(again)}; expected each gene once",
                "sum the columns of the same Ensembl id before tokenising (load_cohort does)",
            )
        return cls(token, np.array([vocabulary.median.get(gene, np.nan) for gene in genes]))


def rank(
    columns: np.ndarray,
    counts: np.ndarray,
    index: GeneIndex,
    total: float,
    vocabulary: Vocabulary,
    max_length: int,
) -> np.ndarray:
    """Token sequence of one cell given its non-zero columns.

    Parameters
    ----------
    columns
        Columns with a count, [nnz].
    counts
        Their counts, [nnz].
    index
        Token and median of every column.
    total
        Sum of the cell's counts over all genes of the file.
    vocabulary
        Special tokens.
    max_length
        Longest sequence, specials included.

    Returns
    -------
    Token ids, int64, ``<cls>`` first and ``<eos>`` last where the model has them.
    """
    keep = (index.token[columns] >= 0) & (counts > 0)
    columns = columns[keep]
    value = counts[keep].astype(np.float64) / total * TARGET_SUM / index.median[columns]
    token = index.token[columns]
    order = np.lexsort((token, -value))[: max_length - vocabulary.framing]
    before, after = ([t] if t is not None else [] for t in (vocabulary.cls, vocabulary.eos))
    return np.concatenate((before, token[order], after)).astype(np.int64)


def tokenise(
    counts_row: np.ndarray, genes: Sequence[str], vocabulary: Vocabulary, max_length: int
) -> np.ndarray:
    """Token sequence of one cell.

    Parameters
    ----------
    counts_row
        Raw counts of the cell over all genes of the file, [genes].
    genes
        Ensembl id of each column.
    vocabulary
        Tokens and medians.
    max_length
        Longest sequence in tokens, specials included.

    Returns
    -------
    Token ids, int64. A cell without a known gene gives ``<cls> <eos>``.
    """
    row = np.asarray(counts_row).ravel()
    columns = np.flatnonzero(row)
    return rank(
        columns,
        row[columns],
        GeneIndex.of(genes, vocabulary),
        float(row.sum(dtype=np.float64)),
        vocabulary,
        max_length,
    )


def tokenise_matrix(
    counts: csr_matrix,
    genes: Sequence[str],
    vocabulary: Vocabulary,
    max_length: int,
    totals: np.ndarray | None = None,
    rows: np.ndarray | None = None,
    seed: int = 0,
) -> list[np.ndarray]:
    """Every row of a sparse count matrix as the model reads it.

    Parameters
    ----------
    counts
        Counts, [cells, genes].
    genes
        Gene of each column.
    vocabulary
        Tokens, and whether cells are ranked, binned or written as sentences.
    max_length
        Longest sequence, specials included.
    totals
        Sum of each cell, when columns outside the vocabulary were dropped, [cells]; ranking alone
        needs them.
    rows, seed
        Row of each cell in its file, [cells], and seed of the study: they fix the random draws of
        binning, and the order of genes with the same count in a sentence.
    """
    index = GeneIndex.of(genes, vocabulary)
    if vocabulary.sentences:
        return tokenise_sentences(counts, index.token, vocabulary.sentences, max_length, rows, seed)
    totals = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel() if totals is None else totals
    sequences = []
    for i in range(len(counts.indptr) - 1):
        span = slice(counts.indptr[i], counts.indptr[i + 1])
        columns, values = counts.indices[span], counts.data[span]
        if vocabulary.bins:
            keep = (index.token[columns] >= 0) & (values > 0)
            key = (seed, i if rows is None else int(rows[i]))
            sequences.append(
                binned_cell(
                    index.token[columns][keep],
                    values[keep].astype(np.float64),
                    vocabulary,
                    max_length,
                    key,
                )
            )
        else:
            sequences.append(rank(columns, values, index, totals[i], vocabulary, max_length))
    return sequences

"""Cells to the tokens of their sentences in a prompt, each with its gene.

A cell is read as `CELL`: every token of the prompt, and beside it the number of the gene whose name
it is part of, -1 for the tokens of none. A gene of k tokens is k positions.

Of a cell whose prompt is longer than the model accepts, the lowest ranks are left out until the
prompt with its ending fits, as if the sentence had been asked for with fewer genes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from scircuit.core.errors import UserError
from scircuit.tracing.sentences.cell_sentence import falling
from scircuit.tracing.sentences.prompt_templates import GENERATION, Template
from scircuit.tracing.sentences.sentence_tokeniser import SentenceTokeniser

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scipy.sparse import csr_matrix

CELL = np.dtype([("token", "<i8"), ("gene", "<i8")])
LEAST = 10  # genes that must fit where a cell is cut: fewer are no order worth tracing


@dataclass(frozen=True)
class Sentences:
    """How a model reads a cell as a sentence.

    Attributes
    ----------
    template, tokeniser
        Wording around the sentence, and what makes tokens of it.
    names
        Name of each gene number as the model reads it, in upper case.
    """

    template: Template
    tokeniser: SentenceTokeniser
    names: Sequence[str] = field(repr=False)

    @property
    def top_n(self) -> int:
        """Longest sentence, in genes."""
        return self.template.top_n

    def whole(self, genes: np.ndarray) -> np.ndarray:
        """The prompt of a sentence of these genes, [n] gene numbers, however long: `CELL` [S].

        Raises
        ------
        UserError
            If a token covers two genes, or a gene is not covered.
        """
        sentence, spans = self._sentence(genes)
        text, start = self.template.prompt(sentence, len(genes))
        ids, gene, _ = self.tokeniser.encode(text, spans + start)
        return _cell(ids, gene, genes)

    def read(self, genes: np.ndarray, max_length: int) -> np.ndarray:
        """The prompt of the first of these genes, as many as fit.

        Parameters
        ----------
        genes
            Gene numbers by falling expression, [n].
        max_length
            Longest input of the model in tokens.

        Returns
        -------
        `CELL` array, [at most max_length].

        Raises
        ------
        UserError
            If fewer than `LEAST` genes fit, a token covers two genes, or a gene is not covered.
        """
        number = min(len(genes), self.top_n)
        cell = self.whole(genes[:number])
        if len(cell) <= max_length:
            return cell
        # the last token of each gene, and what comes after the last gene
        ends = np.flatnonzero((np.diff(cell["gene"], append=-1) != 0) & (cell["gene"] >= 0))
        after = len(cell) - 1 - ends[-1] if len(ends) else len(cell)
        fits = int((ends + after < max_length).sum())
        # a shorter sentence has a number of its own, which may take other tokens
        while fits > 0 and len(self.whole(genes[:fits])) > max_length:
            fits -= 1
        while fits + 1 < number and len(self.whole(genes[: fits + 1])) <= max_length:
            fits += 1
        if fits < min(LEAST, number) or not number:
            raise UserError(
                f"of {number} genes of a cell, {fits} fit into {max_length} tokens with prompt"
                f" template {self.template.name}; expected {LEAST} or more",
                "raise --max-length, or give a shorter template",
            )
        return self.whole(genes[:fits])

    def answered(self, genes: np.ndarray, cell_type: str) -> tuple[np.ndarray, int]:
        """The prompt of these genes with its answer, and where the answer begins.

        Parameters
        ----------
        genes
            Gene numbers by falling expression, [n].
        cell_type
            The answer.

        Returns
        -------
        `CELL` array [S], and the position of the answer's first token.

        Raises
        ------
        UserError
            As `whole`, or if a token covers the end of the prompt and the answer's beginning.
        """
        sentence, spans = self._sentence(genes)
        text, start = self.template.prompt(sentence, len(genes))
        both = self.template.answered(sentence, len(genes), cell_type)
        ids, gene, offsets = self.tokeniser.encode(both, spans + start)
        at = int(np.argmax(offsets[:, 1] > len(text)))
        if offsets[at, 0] < len(text) or not np.array_equal(ids[:at], self.whole(genes)["token"]):
            raise UserError(
                f"{self.tokeniser.name} reads the prompt {text[-20:]!r} otherwise when"
                f" {cell_type!r} follows; expected tokens that end where the prompt ends",
                "end the template's text with a mark such as ':'",
            )
        return _cell(ids, gene, genes), at

    def answer_position(self, cell: np.ndarray) -> int:
        """Position whose logits are for the first token of the answer: the last of the prompt, or
        the one before the first gene where the sentence is the answer.
        """
        named = cell["gene"] >= 0
        if self.template.kind == GENERATION and named.any():
            return int(np.argmax(named)) - 1
        return len(cell) - 1

    def _sentence(self, genes: np.ndarray) -> tuple[str, np.ndarray]:
        """Names joined by one space, and the span of each, [n, 2]."""
        names = [self.names[int(g)] for g in genes]
        ends = np.cumsum([len(n) + 1 for n in names], dtype=np.int64) - 1
        spans = np.stack([np.r_[0, ends[:-1] + 1][: len(ends)], ends], axis=1)
        return " ".join(names), spans


def _cell(ids: np.ndarray, index: np.ndarray, genes: np.ndarray) -> np.ndarray:
    cell = np.empty(len(ids), CELL)
    cell["token"], cell["gene"] = ids, np.r_[genes, -1][index]  # index -1 is the last: none
    return cell


def tokenise_sentences(
    counts: csr_matrix,
    genes: np.ndarray,
    sentences: Sentences,
    max_length: int,
    rows: np.ndarray | None = None,
    seed: int = 0,
) -> list[np.ndarray]:
    """Every row of a sparse count matrix as the model reads it.

    Parameters
    ----------
    counts
        Counts, [cells, columns].
    genes
        Gene number of each column, -1 for those outside the vocabulary, [columns].
    sentences
        Template, tokeniser and names.
    max_length
        Longest input of the model in tokens.
    rows, seed
        Row of each cell in its file, [cells], and seed of the study: they fix the order of ties.

    Returns
    -------
    `CELL` arrays, one for each cell. A cell without a known gene gives the prompt around nothing.

    Raises
    ------
    UserError
        As `Sentences.read`.
    """
    cells = []
    for i in range(len(counts.indptr) - 1):
        span = slice(counts.indptr[i], counts.indptr[i + 1])
        known = genes[counts.indices[span]]
        kept = known >= 0
        order = falling(counts.data[span][kept], (seed, i if rows is None else int(rows[i])))
        cells.append(sentences.read(known[kept][order], max_length))
    return cells


def genes_of(cell: np.ndarray) -> np.ndarray:
    """Gene numbers of a `CELL` in the order of its sentence, each once."""
    gene = cell["gene"][cell["gene"] >= 0]
    return gene[np.flatnonzero(np.diff(gene, prepend=-1))]

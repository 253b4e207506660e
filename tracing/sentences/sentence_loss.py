"""Does a model know cell sentences: its loss on the names of genes, and on the answer, beside
baselines.

A causal model's logits at position p are for the token at p + 1. In nats,

    token      mean of -ln p(token | all before it) over the tokens of gene names
    gene       the same summed over the tokens of each name, mean over genes
    unigram    -ln of the smoothed frequency in the training cells: of tokens, and of whole genes
    shuffled   the model's own loss on the same genes in a random order
    answer     -ln p summed over the tokens of the answer, mean over cells; its unigram is the
               frequency of cell types in the training cells

A model that reads no more than how common genes are is at the unigram; one to which their order
says nothing is at its shuffled loss. Smoothing is the one that suits the measured cells best, which
favours the baseline (`scircuit.tracing.evaluation.unigram`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from scircuit.core.errors import UserError
from scircuit.tracing.evaluation.loss_recovered import cross_entropy_of_rows
from scircuit.tracing.evaluation.unigram import unigram
from scircuit.tracing.sentences.sentence_tokens import genes_of

if TYPE_CHECKING:
    from scircuit.tracing.models.adapter import Adapter
    from scircuit.tracing.sentences.sentence_tokens import Sentences

_ROWS = 96  # of logits at once: vocabularies have 50,000 to 256,000 tokens


class SentenceLoss(NamedTuple):
    """Losses on the names of genes in nats; baselines as the module states."""

    token: float
    gene: float
    unigram_token: float
    unigram_gene: float
    shuffled_token: float
    shuffled_gene: float
    cells: int
    genes: int
    tokens: int


class AnswerLoss(NamedTuple):
    """Losses on the answer in nats a cell."""

    answer: float
    unigram: float
    shuffled: float
    cells: int


@torch.inference_mode()
def token_nats(adapter: Adapter, cell: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """-ln p of the tokens at some positions given all before them.

    Parameters
    ----------
    adapter
        A causal model.
    cell
        `scircuit.tracing.sentences.sentence_tokens.CELL` [S].
    positions
        1 or higher, [n].

    Returns
    -------
    Nats, float64 [n].
    """
    last = adapter.clean_states(cell)[-1]
    at = torch.from_numpy(positions).to(last.device)
    truth = torch.from_numpy(cell["token"][positions]).to(last.device)
    found = []
    for start in range(0, len(positions), _ROWS):
        span = slice(start, start + _ROWS)
        losses = cross_entropy_of_rows(adapter, last[at[span] - 1], truth[span])
        found.append(losses.numpy())
    return np.concatenate(found) if found else np.zeros(0)


def name_nats(adapter: Adapter, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """-ln p of each token of the names of a cell's genes, and the positions of these tokens. Names
    that begin the text have nothing before them, and are left out.
    """
    named = np.flatnonzero((cell["gene"] >= 0) & (cell["gene"] != cell["gene"][0]))
    return token_nats(adapter, cell, named), named


def sentence_loss(
    adapter: Adapter,
    cells: Sequence[np.ndarray],
    training: Sequence[np.ndarray],
    seed: int = 0,
) -> SentenceLoss:
    """Loss on the names of the genes of cells, with its baselines.

    Parameters
    ----------
    adapter
        A causal model that reads sentences.
    cells, training
        `scircuit.tracing.sentences.sentence_tokens.CELL` arrays: those that are measured, and those
        whose frequencies are the unigram.
    seed
        Of the shuffled order.

    Raises
    ------
    UserError
        If the model reads no sentences, or there is no gene to measure.
    """
    sentences = _sentences(adapter)
    losses, tokens, genes, shuffled, shuffled_genes = [], [], [], [], 0
    for i, cell in enumerate(cells):
        nats, at = name_nats(adapter, cell)
        losses.append(nats)
        tokens.append(cell["token"][at])
        genes.append(np.unique(cell["gene"][at]))
        order = np.random.default_rng((seed, i)).permutation(genes_of(cell))
        other = sentences.read(order, adapter.max_length)
        nats, at = name_nats(adapter, other)
        shuffled.append(nats)
        shuffled_genes += len(np.unique(other["gene"][at]))
    n_genes = sum(map(len, genes))
    if not n_genes:
        raise UserError(f"no gene names in {len(cells)} cells to measure", "give cells with genes")
    nats, mixed = np.concatenate(losses), np.concatenate(shuffled)
    seen_tokens = np.concatenate([c["token"][c["gene"] >= 0] for c in training] or [[]])
    seen_genes = np.concatenate([genes_of(c) for c in training] or [[]])
    return SentenceLoss(
        token=float(nats.mean()),
        gene=float(nats.sum() / n_genes),
        unigram_token=_unigram(seen_tokens, np.concatenate(tokens), adapter.n_tokens),
        unigram_gene=_unigram(seen_genes, np.concatenate(genes), len(sentences.names)),
        shuffled_token=float(mixed.mean()),
        shuffled_gene=float(mixed.sum() / shuffled_genes),
        cells=len(cells),
        genes=n_genes,
        tokens=len(nats),
    )


def answer_nats(adapter: Adapter, genes: np.ndarray, cell_type: str) -> float:
    """-ln p of a cell type as the answer to the prompt of these genes, [n] gene numbers. The lowest
    ranks are left out where prompt and answer are longer than the model accepts.

    Raises
    ------
    UserError
        If the model reads no sentences, or its template asks for no cell type.
    """
    sentences = _sentences(adapter)
    if "{cell_type}" not in sentences.template.response:
        raise UserError(
            f"prompt template {sentences.template.name} asks for no cell type",
            "give a template whose response is {cell_type}",
        )
    cell, at = sentences.answered(genes, cell_type)
    while len(cell) > adapter.max_length and len(genes):
        genes = genes[:-1]
        cell, at = sentences.answered(genes, cell_type)
    return float(token_nats(adapter, cell, np.arange(at, len(cell))).sum())


def answer_loss(
    adapter: Adapter,
    cells: Sequence[np.ndarray],
    cell_types: Sequence[str],
    training_types: Sequence[str],
    seed: int = 0,
) -> AnswerLoss:
    """Loss on the cell types of cells, with its baselines.

    Parameters
    ----------
    adapter
        A causal model that reads sentences, with a template that asks for the cell type.
    cells, cell_types
        Cells that are measured, and the type of each.
    training_types
        Types of the training cells, whose frequencies are the unigram.
    seed
        Of the shuffled order.

    Raises
    ------
    UserError
        As `answer_nats`.
    """
    found, mixed = [], []
    for i, (cell, cell_type) in enumerate(zip(cells, cell_types, strict=True)):
        genes = genes_of(cell)
        found.append(answer_nats(adapter, genes, cell_type))
        order = np.random.default_rng((seed, i)).permutation(genes)
        mixed.append(answer_nats(adapter, order, cell_type))
    number = {t: n for n, t in enumerate(dict.fromkeys((*training_types, *cell_types)))}
    return AnswerLoss(
        float(np.mean(found)),
        _unigram(
            np.array([number[t] for t in training_types]),
            np.array([number[t] for t in cell_types]),
            len(number),
        ),
        float(np.mean(mixed)),
        len(cells),
    )


def _sentences(adapter: Adapter) -> Sentences:
    found = adapter.vocabulary.sentences
    if found is None:
        raise UserError(
            f"{adapter.name} ({adapter.family}) reads no cell sentences",
            "give a model that does, such as Cell2Sentence",
        )
    return found


def _unigram(training: np.ndarray, measured: np.ndarray, size: int) -> float:
    counts = np.bincount(training.astype(np.int64), minlength=size)
    return float(unigram(counts, measured.astype(np.int64), size).mean(axis=1).min())

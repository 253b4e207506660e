"""Is the model better than guessing on these very cells: its masked-token loss beside baselines.

A fixed share of the genes of some of the run's cells is masked, as for the loss recovered. In nats
a masked gene,

    loss       mean of -ln p(gene) of the model's head, over its whole vocabulary
    uniform    ln V, with V the genes of the vocabulary: guessing without any knowledge
    unigram    mean of -ln p(gene), p(g) = (c(g) + a) / (N + a V), with the counts c of the genes in
               the other cells of the run, the cell that is guessed left out, N their sum, and the
               smoothing a that suits the masked genes best

A model that reads cell sentences predicts the next token instead; in the place of masked genes are
the tokens of gene names.

A model at or above uniform knows less than nothing of these cells, whatever its loss was where it
was trained: circuits in it are those of another world. One at or above unigram does not use the
other genes of a cell. The unigram of few cells is a weak baseline, since most genes of a cell are
in none of the others.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from scircuit.core.errors import UserError
from scircuit.core.preflight import CheckLine
from scircuit.tracing.evaluation.loss_recovered import cross_entropy, masked_input
from scircuit.tracing.evaluation.unigram import unigram
from scircuit.tracing.sentences.sentence_loss import name_nats

if TYPE_CHECKING:
    from scircuit.tracing.models.adapter import Adapter

CELLS = 20
NEAR = 0.95  # of uniform: an untrained model of a panel is within a fiftieth of it by chance
WARNING = "warning: "  # start of a finding that passes and should be read
NAME = "model on these cells"
_EXPECTED = "a loss on masked genes below that of guessing, better below that of unigrams"


class LossOnCells(NamedTuple):
    """Loss of a model on masked genes and its baselines, in nats a masked gene."""

    loss: float
    unigram: float | None  # None of a single cell, which has no others
    uniform: float
    cells: int
    genes: int  # masked; of a model that reads sentences, tokens of gene names
    what: str = "masked genes"

    @property
    def worse_than_guessing(self) -> bool:
        """At or above uniform guessing, or no number."""
        return not self.loss < self.uniform

    def record(self) -> dict[str, float | int | None]:
        """Plain values; losses to four decimals, since sums differ in their last digits between
        machines.
        """
        return {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in self._asdict().items()
            if name != "what" or value != "masked genes"
        }

    def of_run(self) -> dict[str, float | int | None]:
        """Properties of the run's record."""
        known = self.record()
        return {
            "mlm_loss": known["loss"],
            "unigram_loss": known["unigram"],
            "uniform_loss": known["uniform"],
            "masked_genes": known["genes"],
        }

    def __str__(self) -> str:
        unigram = "" if self.unigram is None else f"{self.unigram:.2f} for unigrams and "
        cells = f"{self.cells} cell{'s' * (self.cells != 1)}"
        return (
            f"loss {self.loss:.2f} nats on {self.genes:,} {self.what} of {cells}, against"
            f" {unigram}{self.uniform:.2f} for uniform guessing"
        )


def has_token_head(adapter: Adapter) -> bool:
    """Whether a model predicts masked tokens."""
    mask = adapter.vocabulary.mask
    return mask is not None and mask >= 0


@torch.inference_mode()
def loss_on_cells(
    adapter: Adapter,
    cells: Sequence[np.ndarray],
    seed: int = 0,
    seconds: float = float("inf"),
) -> LossOnCells | None:
    """Loss on masked genes of up to `CELLS` of the cells, drawn with the seed.

    Parameters
    ----------
    adapter
        Model.
    cells
        Token ids of each cell of the run; all count for the unigram.
    seed
        Seed of the choice of cells and of the masks.
    seconds
        No cell is begun after this time; the first always is.

    Returns
    -------
    LossOnCells or None
        None where the model has no token head, or no cell has two genes.
    """
    if not adapter.tokens_are_genes:
        return _on_names(adapter, cells, seed, seconds)
    if not has_token_head(adapter):
        return None
    fit = [cell for cell in cells if len(adapter.gene_tokens(cell)) > 1]
    chosen = [fit[i] for i in np.random.default_rng(seed).permutation(len(fit))[:CELLS]]
    counts = np.zeros(adapter.n_tokens, dtype=np.int64)
    for cell in fit:
        counts += _counts(adapter, cell)
    losses: list[np.ndarray] = []
    unigrams: list[np.ndarray] = []
    genes = adapter.n_tokens - len(adapter.special)
    end = time.monotonic() + seconds
    for cell in chosen:
        if losses and time.monotonic() > end:
            break
        masked, at, truth = masked_input(adapter, cell, seed)
        last = adapter.clean_states(masked)[-1]
        losses.append(cross_entropy(adapter, last, at, truth).numpy())
        others = counts - _counts(adapter, cell)
        unigrams.append(unigram(others, truth.cpu().numpy(), genes))
    if not losses:
        return None
    return LossOnCells(
        loss=float(np.concatenate(losses).mean()),
        unigram=float(np.concatenate(unigrams, axis=1).mean(1).min()) if len(fit) > 1 else None,
        uniform=float(np.log(genes)),
        cells=len(losses),
        genes=sum(len(part) for part in losses),
    )


def _on_names(
    adapter: Adapter, cells: Sequence[np.ndarray], seed: int, seconds: float
) -> LossOnCells | None:
    """The same for a model that reads sentences: loss of the next token, at the tokens of gene
    names, over its whole vocabulary; the unigram is that of such tokens in the other cells.
    """
    named = [np.bincount(c["token"][c["gene"] >= 0], minlength=adapter.n_tokens) for c in cells]
    fit = [i for i, counts in enumerate(named) if counts.sum() > 1]
    counts = np.sum([named[i] for i in fit], axis=0)
    losses: list[np.ndarray] = []
    unigrams: list[np.ndarray] = []
    end = time.monotonic() + seconds
    for i in np.random.default_rng(seed).permutation(np.array(fit, np.int64))[:CELLS]:
        if losses and time.monotonic() > end:
            break
        nats, at = name_nats(adapter, cells[i])
        losses.append(nats)
        unigrams.append(unigram(counts - named[i], cells[i]["token"][at], adapter.n_tokens))
    if not losses:
        return None
    return LossOnCells(
        loss=float(np.concatenate(losses).mean()),
        unigram=float(np.concatenate(unigrams, axis=1).mean(1).min()) if len(fit) > 1 else None,
        uniform=float(np.log(adapter.n_tokens)),
        cells=len(losses),
        genes=sum(len(part) for part in losses),
        what="tokens of gene names",
    )


def _counts(adapter: Adapter, cell: np.ndarray) -> np.ndarray:
    return np.bincount(adapter.gene_tokens(cell), minlength=adapter.n_tokens)


def loss_line(adapter: Adapter, found: LossOnCells | None) -> CheckLine:
    """The loss as a line of the preflight: failed at or above uniform, a warning at or above
    unigram, or near uniform.
    """
    if found is None:
        return CheckLine(
            NAME,
            True,
            f"not measured: {adapter.name} ({adapter.family}) masks no tokens",
            "a masked-token head",
        )
    warning = ""
    if found.unigram is not None and found.loss >= found.unigram:
        warning = f"{WARNING}no better than unigrams: "
    elif found.loss > NEAR * found.uniform:
        warning = f"{WARNING}hardly better than guessing: "
    if found.worse_than_guessing:
        warning = ""
    return CheckLine(
        NAME,
        not found.worse_than_guessing,
        f"{warning}{found}",
        _EXPECTED,
        "use cells like those the model was trained on, or a model that was trained on such cells",
    )


def require_better_than_guessing(adapter: Adapter, found: LossOnCells | None) -> None:
    """Refuse a model that is worse than guessing on the cells of a run.

    Raises
    ------
    UserError
        With the loss and its baselines.
    """
    if found is not None and found.worse_than_guessing:
        raise UserError(
            f"{adapter.name} is no better than uniform guessing on these cells: {found}; what is"
            " traced in it would say nothing of them",
            f"{loss_line(adapter, found).fix}; to trace an untrained or scrambled model knowingly,"
            " declare it with --untrained",
        )

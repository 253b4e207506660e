r"""Behaviours: one number per cell, read off the states of the last layer.

    genes       mean logit of a gene set, less that of all genes: at masked genes of the set, minus
                at as many other masked genes
    mlm         mean of ln p(gene) over the masked genes of a programme: minus its masked-LM loss
    celltype    margin of a linear probe on the mean state of the cell's genes, positive on the
                side of the cell's own class

15 % of the genes of a cell are masked (`masked_input`, by the seed); for ``genes`` and ``mlm`` the
genes of the set, at most that many in all. A model that predicts expression instead of tokens
(scGPT) masks nothing, and ``genes`` is its mean prediction at the genes of the set, minus that at
the cell's other genes. Every read is differentiable.

Each is a contrast within the cell or with its truth. The mean of a plain logit over cells would
hardly change when all features are at their means, which are the means of these very cells: there
would be nothing to recover.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from scircuit.tracing.evaluation.loss_on_cells import has_token_head
from scircuit.tracing.evaluation.loss_recovered import (
    MASKED_SHARE,
    mask_positions,
    masked_input,
)
from scircuit.tracing.hardware.row_padding import by_row

if TYPE_CHECKING:
    from scircuit.tracing.behaviour.probe import Probe
    from scircuit.tracing.models.adapter import Adapter

Read = Callable[[Tensor], Tensor]
"""Last-layer states [B, R, d] at the positions that are read -> behaviour [B]."""


class Prompt(NamedTuple):
    """A cell as it is given to the model, and how its behaviour is read."""

    tokens: np.ndarray
    genes: Tensor  # positions of genes, masked ones included: where features are ablated
    rows: Tensor  # positions that are read, all of them among `genes`
    read: Read


class Behaviour(Protocol):
    """Something the model does with a cell."""

    @property
    def text(self) -> str:
        """What it is, in words."""
        ...

    def prompt(self, adapter: Adapter, cell: np.ndarray, index: int) -> Prompt | None:
        """Prepare one cell, the `index`-th of the cohort; None where it has no such behaviour.

        Raises
        ------
        UserError
            If the model cannot show this behaviour.
        """
        ...


@dataclass(frozen=True)
class GeneLogits:
    """Prediction of a gene set (``genes``)."""

    name: str
    tokens: tuple[int, ...]
    seed: int = 0

    @property
    def text(self) -> str:
        """What it is, in words."""
        return f"prediction of {len(self.tokens)} genes ({self.name})"

    def prompt(self, adapter: Adapter, cell: np.ndarray, index: int) -> Prompt | None:  # noqa: ARG002
        """Mask a cell, or take it as it is; None where it has no such behaviour."""
        if not has_token_head(adapter):
            return self._expression(adapter, cell)
        ids, genes = adapter.gene_tokens(cell), adapter.gene_positions(cell)
        most = max(1, round(MASKED_SHARE * len(ids)) // 2)
        inside = np.isin(ids, self.tokens)
        own = _some(genes.cpu().numpy()[inside], most, ids, self.seed)
        others = _some(genes.cpu().numpy()[~inside], len(own), ids, self.seed)
        if not len(own) or len(others) < len(own):
            return None
        masked = mask_positions(adapter, cell, np.concatenate([own, others]))
        known = [t for t in range(adapter.n_tokens) if t not in adapter.special]
        every, listed = (torch.tensor(t).to(adapter.device) for t in (known, sorted(self.tokens)))
        side = len(own)

        def read(rows: Tensor) -> Tensor:
            contrast = [
                logits.index_select(1, listed).mean(1) - logits.index_select(1, every).mean(1)
                for part in (rows[:, :side], rows[:, side:])
                for logits in [adapter.mean_logits(part).float()]
            ]
            return contrast[0] - contrast[1]

        rows = torch.from_numpy(np.concatenate([own, others])).to(adapter.device)
        return Prompt(masked, genes, rows, read)

    def _expression(self, adapter: Adapter, cell: np.ndarray) -> Prompt | None:
        """The same of a model that predicts the expression of the gene at each position."""
        predicted = getattr(adapter, "predicted_expression", None)
        if predicted is None:
            adapter.no_token_head()
        inside = np.isin(adapter.gene_tokens(cell), self.tokens)
        if not inside.any() or inside.all():
            return None
        here, others = (
            torch.from_numpy(np.flatnonzero(of)).to(adapter.device) for of in (inside, ~inside)
        )
        genes = adapter.gene_positions(cell)

        def read(rows: Tensor) -> Tensor:
            value = by_row(predicted, rows).float()
            return value.index_select(1, here).mean(1) - value.index_select(1, others).mean(1)

        return Prompt(cell, genes, genes, read)


@dataclass(frozen=True)
class GeneLoss:
    """Masked-LM loss of a programme (``mlm``); of all genes where `tokens` is empty."""

    name: str
    tokens: tuple[int, ...] = ()
    seed: int = 0

    @property
    def text(self) -> str:
        """What it is, in words."""
        if not self.tokens:
            return "masked-LM loss"
        return f"masked-LM loss of {len(self.tokens)} genes ({self.name})"

    def prompt(self, adapter: Adapter, cell: np.ndarray, index: int) -> Prompt | None:  # noqa: ARG002
        """Mask a cell, or take it as it is; None where it has no such behaviour."""
        if not has_token_head(adapter):
            adapter.no_token_head()
        ids = adapter.gene_tokens(cell)
        if len(ids) < 2:
            return None
        genes, chosen = adapter.gene_positions(cell), None
        if self.tokens:
            own = genes.cpu().numpy()[np.isin(ids, self.tokens)]
            chosen = _some(own, max(1, round(MASKED_SHARE * len(ids))), ids, self.seed)
            if not len(chosen):
                return None
        masked, rows, truth = masked_input(adapter, cell, self.seed, chosen)

        def read(states: Tensor) -> Tensor:
            found = adapter.logits(states).float().log_softmax(-1)
            return found.gather(2, truth.expand(len(states), -1)[..., None])[..., 0].mean(1)

        return Prompt(masked, genes, rows, read)


@dataclass(frozen=True)
class ProbeMargin:
    """Margin of a cell-type probe (``celltype``); `own` says which cells are of the type."""

    name: str
    probe: Probe
    own: np.ndarray  # [cells] bool

    @property
    def text(self) -> str:
        """What it is, in words."""
        return f"cell-type probe for {self.name}"

    def prompt(self, adapter: Adapter, cell: np.ndarray, index: int) -> Prompt | None:
        """Mask a cell, or take it as it is; None where it has no such behaviour."""
        genes = adapter.gene_positions(cell)
        if not len(genes):
            return None
        weight = torch.as_tensor(self.probe.weight, dtype=torch.float32, device=adapter.device)
        side = 1.0 if self.own[index] else -1.0

        def read(rows: Tensor) -> Tensor:
            # not a matrix product: its sum for one set would depend on the number of sets
            return side * ((rows.float().mean(1) * weight).sum(1) + self.probe.bias)

        return Prompt(cell, genes, genes, read)


def _some(positions: np.ndarray, most: int, ids: np.ndarray, seed: int) -> np.ndarray:
    """At most so many of the positions, ascending, drawn by the seed and the cell's genes."""
    if len(positions) <= most:
        return positions
    rng = np.random.default_rng([seed, len(ids), *ids[:8].tolist()])
    return np.sort(rng.choice(positions, most, replace=False))

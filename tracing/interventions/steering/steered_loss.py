"""Masked-token loss of steered cells: mask, edit where the feature fires in the masked cell, and
compare the cross-entropy of the masked genes with that of the clean masked cell.

The mask is that of the loss on cells (15 % of the genes, fixed by cell and seed). Only unmasked
gene positions are edited.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from scircuit.core.errors import UserError
from scircuit.tracing.clean_pass.clean_pass import CleanCell, clean_cell
from scircuit.tracing.evaluation.loss_on_cells import has_token_head
from scircuit.tracing.evaluation.loss_recovered import cross_entropy, masked_input
from scircuit.tracing.interventions.steering.steered_states import Strengths, last_states

if TYPE_CHECKING:
    from torch import Tensor

    from scircuit.tracing.dictionaries.dictionary import Dictionary
    from scircuit.tracing.models.adapter import Adapter


class MaskedCell:
    """A cell with masked genes and its clean pass."""

    def __init__(
        self,
        adapter: Adapter,
        dictionaries: Mapping[int, Dictionary],
        tokens: np.ndarray,
        layers: list[int],
        seed: int,
    ) -> None:
        masked, self.masked, self.truth = masked_input(adapter, tokens, seed)
        self.adapter = adapter
        self.cell: CleanCell = clean_cell(adapter, dictionaries, masked, layers)

    def changes(self, edit: Strengths, layer: int, along: Tensor) -> np.ndarray:
        """Change of the mean loss a masked gene at every edit, [edits] in nats."""
        edits = [s[:, None] * direction for direction in along for s in edit.strength]
        edits.insert(0, torch.zeros_like(edits[0]))
        read = torch.unique(torch.cat([edit.positions, self.masked]))
        at = torch.searchsorted(read, self.masked)
        losses = [
            float(cross_entropy(self.adapter, states, at, self.truth).mean())
            for batch in last_states(self.adapter, self.cell, layer, read, edit.positions, edits)
            for states in batch
        ]
        return np.array(losses[1:]) - losses[0]


def require_masks(adapter: Adapter) -> None:
    """Refuse models that mask no tokens.

    Raises
    ------
    UserError
        If it does not.
    """
    if not has_token_head(adapter):
        raise UserError(
            f"{adapter.name} ({adapter.family}) masks no tokens, so there is no masked-token loss",
            "leave the readout loss out",
        )

"""Loss recovered: how much of a layer's contribution to the model's own task its dictionary keeps.

A fixed share of the genes of a cell is masked, and the state of one layer is replaced at every gene
position, masked ones included:

    loss recovered = (CE_mean - CE_dictionary) / (CE_mean - CE_clean)

with the cross-entropy of the masked genes for the clean state, for its reconstruction, and for the
mean state everywhere. 1 is a perfect dictionary, 0 one as good as none; beside it stands that of
the dictionary's null (`scircuit.tracing.evaluation.rotated_null`), for any k directions recover
something. States of masked positions are not what dictionaries are trained on, so this is a strict
measure. Only functions of the adapter are used: embed, layer, logits.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scircuit.tracing.evaluation.rotated_null import RotatedDictionary, rebuilt

if TYPE_CHECKING:
    from scircuit.tracing.models.adapter import Adapter

MASKED_SHARE = 0.15
MIN_CELLS = 4  # needed for a standard error


class MaskedInput(NamedTuple):
    """A cell with a share of its genes masked, and what is to be predicted."""

    tokens: np.ndarray
    at: Tensor  # [M] positions of the masked genes, ascending
    truth: Tensor  # [M] token ids there


class Recovered:
    """Cross-entropies of one layer, gathered cell by cell; in nats a masked gene."""

    def __init__(self) -> None:
        self.cells = 0
        self._parts: list[Tensor] = []

    def add(self, losses: Tensor) -> None:
        """Add the losses of the masked genes of one cell: clean, rebuilt, rebuilt by the null,
        mean state; [4, M].
        """
        self._parts.append(losses)
        self.cells += 1

    @property
    def losses(self) -> Tensor:
        """All losses so far, [4, masked genes]."""
        return torch.cat(self._parts, dim=1)

    @property
    def tokens(self) -> int:
        """Masked genes."""
        return self.losses.shape[1]

    @property
    def clean(self) -> float:
        """Mean loss with the clean state."""
        return float(self.losses[0].mean())

    @property
    def rebuilt(self) -> float:
        """Mean loss with the reconstruction."""
        return float(self.losses[1].mean())

    @property
    def ablated(self) -> float:
        """Mean loss with the mean state."""
        return float(self.losses[3].mean())

    @property
    def share(self) -> float:
        """Loss recovered."""
        return (self.ablated - self.rebuilt) / (self.ablated - self.clean)

    @property
    def null_share(self) -> float:
        """Loss recovered by the null."""
        return (self.ablated - float(self.losses[2].mean())) / (self.ablated - self.clean)

    def margin(self, least: float) -> tuple[float, float]:
        """How far the loss lies below the most that is allowed, and the standard error of that; in
        nats a masked gene.

        A dictionary must gain the share `least` of what its null leaves, CE_dictionary <= CE_null -
        least (CE_null - CE_clean), with the mean state for the null where that is better. The cell
        is the unit, since the genes of a cell are lost together; below `MIN_CELLS` the error is
        infinite.
        """
        other = 2 if self.losses[2].mean() < self.losses[3].mean() else 3
        spare = torch.stack(
            [
                (part[other] - least * (part[other] - part[0]) - part[1]).mean()
                for part in self._parts
            ]
        )
        return float(spare.mean()), (
            float(spare.std()) / self.cells**0.5 if self.cells >= MIN_CELLS else float("inf")
        )

    @property
    def measurable(self) -> bool:
        """Whether the mean state costs anything: its mean cost is above three standard errors."""
        cost = self.losses[3] - self.losses[0]
        return self.tokens > 1 and bool(cost.mean() > 3 * cost.std() / self.tokens**0.5)


def mask_genes(adapter: Adapter, cell: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A cell with a share of its genes masked, and their positions, ascending; the same for the
    same cell and seed.
    """
    genes = adapter.gene_positions(cell).cpu().numpy()
    number = max(1, round(MASKED_SHARE * len(genes)))
    chosen = np.sort(
        np.random.default_rng([seed, len(cell), *adapter.gene_tokens(cell)[:8]]).choice(
            genes, number, replace=False
        )
    )
    return mask_positions(adapter, cell, chosen), chosen


def mask_positions(adapter: Adapter, cell: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """A copy of a cell with the tokens at the positions masked."""
    masked = cell.copy()
    masked[positions] = adapter.vocabulary.mask
    return masked


def masked_input(
    adapter: Adapter, cell: np.ndarray, seed: int, positions: np.ndarray | None = None
) -> MaskedInput:
    """`mask_genes`, or the given positions masked, with these on the model's device and the tokens
    that stood there.
    """
    masked, chosen = (
        mask_genes(adapter, cell, seed)
        if positions is None
        else (mask_positions(adapter, cell, positions), positions)
    )
    at = torch.from_numpy(chosen).to(adapter.device)
    return MaskedInput(masked, at, adapter.token_ids(cell)[at])


@torch.inference_mode()
def loss_recovered(
    adapter: Adapter,
    nulls: Mapping[int, RotatedDictionary],
    cells: Sequence[np.ndarray],
    *,
    seed: int = 0,
    seconds: float = float("inf"),
) -> dict[int, Recovered]:
    """Loss recovered of each layer.

    Parameters
    ----------
    adapter
        Model with a token head.
    nulls
        By layer the null of its dictionary, which holds the dictionary and the mean state at gene
        positions.
    cells
        Cells, token ids each.
    seed
        Seed of the masks.
    seconds
        No (cell, layer) is begun after this time; layers never begun are absent.
    """
    end, order = time.monotonic() + seconds, _spread(sorted(nulls))
    found: dict[int, Recovered] = {}
    for cell in cells:
        masked, at, truth = masked_input(adapter, cell, seed)
        genes, states = adapter.gene_positions(cell), adapter.clean_states(masked)
        clean = cross_entropy(adapter, states[-1], at, truth)
        for layer in order:
            if found and time.monotonic() > end:
                return dict(sorted(found.items()))
            rows, null = states[layer][genes], nulls[layer]
            instead = torch.stack(
                [
                    rebuilt(null.dictionary, rows),
                    null.rebuilt(rows),
                    null.centre.to(rows).expand_as(rows),
                ]
            )
            losses = [
                cross_entropy(adapter, last, at, truth)
                for last in _replaced(adapter, states[layer], genes, instead, layer)
            ]
            found.setdefault(layer, Recovered()).add(torch.stack([clean, *losses]))
    return dict(sorted(found.items()))


def _replaced(
    adapter: Adapter, state: Tensor, genes: Tensor, instead: Tensor, layer: int
) -> Tensor:
    """Last states [B, S, d] when the rows `genes` of a layer's state [S, d] are those of `instead`
    [B, G, d].
    """
    states = state.expand(len(instead), -1, -1).clone()
    states[:, genes] = instead
    for l in range(layer + 1, adapter.n_layers):  # noqa: E741
        states = adapter.layer(l, states)
    return states


def cross_entropy(adapter: Adapter, state: Tensor, at: Tensor, truth: Tensor) -> Tensor:
    """-ln p of the tokens `truth` [M] by the head, at the positions `at` [M] of last-layer states
    [S, d]; float64 on the CPU.
    """
    return cross_entropy_of_rows(adapter, state[at], truth)


def cross_entropy_of_rows(adapter: Adapter, rows: Tensor, truth: Tensor) -> Tensor:
    """-ln p of the tokens `truth` [M] by the head at last-layer rows [M, d]; float64 on the CPU."""
    losses = functional.cross_entropy(adapter.logits(rows).float(), truth, reduction="none")
    return losses.cpu().double()


def _spread(layers: Sequence[int]) -> list[int]:
    """Layers in an order in which any beginning is spread over them: last, first, middle, quarters
    ...
    """
    order, step = [layers[-1]], len(layers)
    while len(order) < len(layers):
        order += [layer for layer in layers[::step] if layer not in order]
        step = max(step // 2, 1)
    return order

r"""Change of the masked-LM loss when a feature is ablated, cell by cell.

A fixed share of the genes of a cell is masked (`masked_input`: 15 %, by the seed), and the feature
is ablated on this masked input, at every gene position where it is active there, masked ones
included:

    change(f, c) = mean over masked genes of [ -ln p'(gene) + ln p(gene) ]

Every cell is compared with itself, and a cell in which the feature is not active counts as exactly
zero. (A published comparison averaged the loss over active cells only, and subtracted the mean
loss of all cells: that measures which cells the feature is active in. `as_published` restates it.)
Layers after the source are computed again, the last one for the rows that are read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from scircuit.core.address import Address
from scircuit.core.errors import UserError
from scircuit.tracing.engine.exact_context import make_edits, run_exact
from scircuit.tracing.evaluation.loss_on_cells import has_token_head
from scircuit.tracing.evaluation.loss_recovered import cross_entropy_of_rows, masked_input
from scircuit.tracing.hardware.memory_plan import make_plan
from scircuit.tracing.hardware.parallel import run_jobs

if TYPE_CHECKING:
    from scircuit.tracing.dictionaries.dictionary import Dictionary
    from scircuit.tracing.models.adapter import Adapter


class LossChanges(NamedTuple):
    """Losses in nats a masked gene."""

    change: np.ndarray  # [features, cells]; exactly 0 where the feature is not active
    active: np.ndarray  # [features, cells]
    baseline: np.ndarray  # [cells] loss of the unedited model
    masked: np.ndarray  # [cells] masked genes

    @property
    def as_published(self) -> np.ndarray:
        """The published difference: mean loss over the cells where the feature is active, minus
        the mean baseline over all cells; NaN of a feature that is active in none. [features].
        """
        with np.errstate(invalid="ignore"):
            mean = ((self.baseline + self.change) * self.active).sum(1) / self.active.sum(1)
        return mean - self.baseline.mean()


def loss_changes(
    adapter: Adapter,
    dictionaries: Mapping[int, Dictionary],
    cells: Sequence[np.ndarray],
    features: Sequence[Address],
    *,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> LossChanges:
    """Ablate each feature on the masked cells.

    Parameters
    ----------
    adapter, dictionaries
        Model with a token head; layer -> dictionary.
    cells
        Cells as the model reads them.
    features
        Features to ablate.
    seed
        Of the masks.
    progress
        Called with the cells done.

    Raises
    ------
    UserError
        If the model does not predict masked tokens, or no cell has two genes.
    """
    if not has_token_head(adapter):
        adapter.no_token_head()
    fit = [cell for cell in cells if len(adapter.gene_tokens(cell)) > 1]
    if not fit:
        raise UserError(
            f"none of {len(cells)} cells has two genes: nothing can be masked and predicted",
            "choose other cells",
        )
    layers = sorted({f.layer for f in features})
    used = {layer: dictionaries[layer].to(adapter.device) for layer in layers}
    jobs = [partial(_cell, adapter, used, cell, features, seed) for cell in fit]
    change, active = (np.zeros((len(features), len(fit)), t) for t in (np.float64, bool))
    baseline, masked = np.zeros(len(fit)), np.zeros(len(fit), np.int64)
    for c, found in enumerate(run_jobs(jobs, adapter.device)):
        change[:, c], active[:, c], baseline[c], masked[c] = found
        if progress:
            progress(c + 1)
    return LossChanges(change, active, baseline, masked)


def _cell(
    adapter: Adapter,
    dictionaries: Mapping[int, Dictionary],
    cell: np.ndarray,
    features: Sequence[Address],
    seed: int,
) -> tuple[np.ndarray, np.ndarray, float, int]:
    """Change and activity of every feature in one cell, its baseline loss, its masked genes."""
    inputs, at, truth = masked_input(adapter, cell, seed)
    genes, states = adapter.gene_positions(cell), adapter.clean_states(inputs)
    change, active = np.zeros(len(features)), np.zeros(len(features), bool)
    baseline = float(_losses(adapter, states[-1][at], truth)[0])
    for layer, dictionary in dictionaries.items():
        own = [i for i, f in enumerate(features) if f.layer == layer]
        index = torch.tensor([features[i].index for i in own], device=adapter.device)
        codes = dictionary.encode(states[layer][genes])[:, index]
        firing = [int(i) for i in torch.nonzero((codes > 0).any(0))[:, 0]]
        active[[own[i] for i in firing]] = True
        columns = dictionary.columns(index)
        edits = [_edit(genes, at, codes[:, i], columns[i]) for i in firing]
        change[[own[i] for i in firing]] = _changes(adapter, states[layer], layer, edits, at, truth)
    return change, active, baseline, len(at)


def _edit(genes: Tensor, read: Tensor, codes: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
    """Positions where the feature is active or that are read, ascending, and the change there."""
    fires = codes > 0
    where = torch.unique(torch.cat([genes[fires], read]))
    delta = torch.zeros(len(where), len(column), dtype=column.dtype, device=column.device)
    delta[torch.searchsorted(where, genes[fires])] = -codes[fires, None] * column
    return where, delta


def _changes(
    adapter: Adapter,
    clean: Tensor,
    layer: int,
    edits: list[tuple[Tensor, Tensor]],
    read: Tensor,
    truth: Tensor,
) -> np.ndarray:
    """Change of the mean loss after each edit of one layer; an edit of zero in every batch is what
    the others are compared with.
    """
    last, size = adapter.n_layers - 1, max(1, make_plan(adapter, len(clean)).pairs - 1)
    nothing = (read, torch.zeros(len(read), clean.shape[1], dtype=clean.dtype, device=clean.device))
    found = []
    for start in range(0, len(edits), size):
        batch = [nothing, *edits[start : start + size]]
        made = make_edits([p for p, _ in batch], [d for _, d in batch])
        if layer == last:
            rows = clean[made.position] + made.delta
        else:
            rows = next(iter(run_exact(adapter, {layer: clean}, made, layer, (last,))))[1]
        losses = _losses(adapter, rows[torch.isin(made.position, read)], truth)
        found.append(losses[1:] - losses[0])
    return np.concatenate(found) if found else np.zeros(0)


def _losses(adapter: Adapter, rows: Tensor, truth: Tensor) -> np.ndarray:
    """Mean of -ln p of the tokens `truth` [M] for each group of M last-layer rows [B x M, d]."""
    times = len(rows) // len(truth)
    each = cross_entropy_of_rows(adapter, rows, truth.repeat(times))
    return each.unflatten(0, (times, len(truth))).mean(1).numpy()

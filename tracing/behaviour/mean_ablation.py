r"""The behaviour when every feature outside a set is replaced by its mean.

At each considered layer, at the gene positions, with the codes z of the state as it is after all
earlier edits and the gate g_f of each feature (1: kept, 0: replaced by its mean),

    h'(p) = h(p) + sum over f of (1 - g_f) (mean_f - z_f(p)) W_f .

What the dictionary does not explain of the present state is kept. So the set of all features is the
unedited model, exactly, and the empty set is the model with every feature at its mean. Features
that fire in no prompt always have gate 0 and mean 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scircuit.tracing.behaviour.behaviours import Prompt
from scircuit.tracing.behaviour.feature_space import FeatureSpace
from scircuit.tracing.hardware.memory_plan import make_plan
from scircuit.tracing.hardware.parallel import run_jobs
from scircuit.tracing.hardware.row_padding import by_row

if TYPE_CHECKING:
    from scircuit.tracing.models.adapter import Adapter


class Started(NamedTuple):
    """A prompt with the clean state [S, d] of the first considered layer: no edit precedes it."""

    prompt: Prompt
    state: Tensor


def start(adapter: Adapter, space: FeatureSpace, prompts: Sequence[Prompt]) -> list[Started]:
    """Clean states that every evaluation begins from."""
    jobs = [
        lambda p=p: Started(p, adapter.clean_states(p.tokens)[space.layers[0]]) for p in prompts
    ]
    return list(run_jobs(jobs, adapter.device))


def evaluate(
    adapter: Adapter, space: FeatureSpace, cells: Sequence[Started], sets: np.ndarray
) -> np.ndarray:
    """Behaviour of every cell with each set of features kept.

    Parameters
    ----------
    adapter, space, cells
        Model, features, and prompts of `start`.
    sets
        [M, size] bool: which features are kept.

    Returns
    -------
    numpy.ndarray
        [M, cells] float64.
    """
    jobs = [partial(_one_cell, adapter, space, cell, sets) for cell in cells]
    return np.stack(list(run_jobs(jobs, adapter.device)), axis=1)


def _one_cell(adapter: Adapter, space: FeatureSpace, cell: Started, sets: np.ndarray) -> np.ndarray:
    size = make_plan(adapter, len(cell.state)).pairs
    found = []
    for first in range(0, len(sets), size):
        gates = torch.from_numpy(sets[first : first + size]).to(adapter.device)
        rows = forward(adapter, space, cell, gates)[0]
        found.append(cell.prompt.read(rows).double().cpu().numpy())
    return np.concatenate(found)


def forward(
    adapter: Adapter,
    space: FeatureSpace,
    cell: Started,
    gates: Tensor,
    patch: Callable[[int, Tensor], Tensor] | None = None,
    upto: int | None = None,
) -> tuple[Tensor, dict[int, tuple[Tensor, Tensor, Tensor]]]:
    """Last states of the rows that are read, for each of B sets of gates.

    Parameters
    ----------
    gates
        [B, size] bool, or [B, 1] float: the same gate for all features of a slot.
    patch
        Layer and its edited rows -> rows that take their place.
    upto
        Layer whose rows are returned as they are before its edit; None: the last, after it.

    Returns
    -------
    rows
        [B, R, d]; [B, G, d] of an earlier layer `upto`.
    edited
        Layer -> edited rows [B x G, d] (of the last layer the rows that are read), their code
        values and indices [B x G, k].
    """
    times, first, last = len(gates), space.layers[0], adapter.n_layers - 1
    genes, read = cell.prompt.genes, cell.prompt.rows
    states = cell.state.expand(times, -1, -1)
    edited: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def edit(layer: int, rows: Tensor) -> Tensor:
        new, values, indices = _edit(space, layer, rows, gates)
        new = new if patch is None else patch(layer, new)
        edited[layer] = new, values, indices
        return new

    for layer in range(first, last + 1):
        if layer < last:
            states = states if layer == first else adapter.layer(layer, states)
            if layer == upto:
                return states[:, genes], edited
            if layer in space.layers:
                new = edit(layer, states[:, genes].flatten(0, 1))
                states = states.clone()
                states[:, genes] = new.unflatten(0, (times, -1))
            continue
        if layer == first:
            rows = states[:, read].flatten(0, 1)
        else:
            slot = torch.arange(times, device=read.device).repeat_interleave(len(read))
            rows = adapter.layer_rows(layer, states, (slot, read.repeat(times)))
        if layer in space.layers and layer != upto:
            rows = edit(layer, rows)
        return rows.unflatten(0, (times, -1)), edited
    raise AssertionError("a model has at least one layer")


def _edit(
    space: FeatureSpace, layer: int, rows: Tensor, gates: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Rows [B x R, d] after the replacement, and their codes."""
    decoder, part = space.decoders[layer], space.part(layer)
    if torch.is_grad_enabled() and not rows.requires_grad:
        rows = rows.clone()
    values, indices = space.dictionaries[layer].encode_topk(rows)
    each = len(rows) // len(gates)
    mean = torch.as_tensor(space.mean[part], dtype=rows.dtype, device=rows.device)
    if gates.dtype == torch.bool:
        own = gates[:, part]
        left_out = (~own).to(rows.dtype)
        slot = torch.arange(len(gates), device=rows.device).repeat_interleave(each)
        removed = values * (~own[slot[:, None], indices]).to(values.dtype)
    else:
        left_out = (1 - gates).to(rows.dtype).expand(-1, len(mean))
        removed = values * (1 - gates).to(values.dtype).repeat_interleave(each, dim=0)
    means = by_row(lambda x: x @ decoder, left_out * mean)
    gone = functional.embedding_bag(indices, decoder, per_sample_weights=removed, mode="sum")
    new = rows + (means.repeat_interleave(each, dim=0) - gone)
    if torch.is_grad_enabled() and not new.requires_grad:
        new.requires_grad_()
    return new, values, indices

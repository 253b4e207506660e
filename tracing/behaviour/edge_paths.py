r"""The behaviour that a circuit keeps when its members reach each other through its edges alone.

`scircuit.tracing.behaviour.mean_ablation` keeps every member whatever drives it. Here a member is
what it is when, of the circuit, only the features with an edge to it are kept. With the members C,
their edges E, and layer by layer

    a_t(p) = z_t(p) in a run with a_s in the place of every s with an edge s -> t, and all other
             features at their means

the behaviour is read in a run with a_t in the place of every member t and all other features at
their means. The parents of a member are in earlier layers, so this is well defined, and exact: no
effects are added up. What dictionaries do not explain is kept, as ever. With edges between all
members of different layers it is F(C); without any it is what the members keep that none drives
(path patching of a whole graph: Goldowsky-Dill and others 2023, arXiv 2304.05969).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from scircuit.tracing.behaviour.circuit_curve import interval
from scircuit.tracing.behaviour.feature_space import FeatureSpace
from scircuit.tracing.behaviour.mean_ablation import Started, evaluate, forward
from scircuit.tracing.hardware.memory_plan import make_plan
from scircuit.tracing.hardware.parallel import run_jobs
from scircuit.tracing.hardware.row_padding import by_row

if TYPE_CHECKING:
    from scircuit.tracing.models.adapter import Adapter

MOST_MEMBERS = 512
"""Of more, each with parents of its own, the runs would take longer than the rest."""


class EdgeShare(NamedTuple):
    """F with the edges alone and its 95 % interval over cells, and F without any edge."""

    share: float
    low: float
    high: float
    without: float


def edge_share(
    adapter: Adapter,
    space: FeatureSpace,
    cells: Sequence[Started],
    members: np.ndarray,
    edges: Sequence[tuple[int, int]],
    seed: int = 0,
) -> EdgeShare | None:
    """Share of the behaviour that the members keep through the edges alone.

    Parameters
    ----------
    adapter, space, cells
        Model, features, and prompts of the cells that judge.
    members
        Positions in `space` of the circuit's features.
    edges
        Source and target of each edge, as positions in `space`.
    seed
        Of the bootstrap.

    Returns
    -------
    EdgeShare or None
        None of an empty circuit, or one of more than `MOST_MEMBERS` features.
    """
    if not 0 < len(members) <= MOST_MEMBERS:
        return None
    ends = np.zeros((2, space.size), bool)
    ends[1, space.alive] = True
    nothing, everything = evaluate(adapter, space, cells, ends)
    apart = edge_values(adapter, space, cells, members, ())
    joined = edge_values(adapter, space, cells, members, edges) if edges else apart
    values = np.stack([joined, apart])
    shares = (values.mean(1) - nothing.mean()) / (everything.mean() - nothing.mean())
    low, high = interval(values[:1], nothing, everything, seed)
    return EdgeShare(float(shares[0]), float(low[0]), float(high[0]), float(shares[1]))


def edge_values(
    adapter: Adapter,
    space: FeatureSpace,
    cells: Sequence[Started],
    members: np.ndarray,
    edges: Sequence[tuple[int, int]],
) -> np.ndarray:
    """Behaviour of every cell with the members driven through the edges alone, [cells] float64."""
    place = {int(f): i for i, f in enumerate(members)}
    parents = np.zeros((len(members), len(members)), bool)
    for source, target in edges:
        if space.layer[source] < space.layer[target]:
            parents[place[target], place[source]] = True
    jobs = [partial(_one_cell, adapter, space, cell, members, parents) for cell in cells]
    return np.array(list(run_jobs(jobs, adapter.device)))


def _one_cell(
    adapter: Adapter, space: FeatureSpace, cell: Started, members: np.ndarray, parents: np.ndarray
) -> float:
    own = {
        layer: np.flatnonzero(space.layer[members] == layer)
        for layer in space.layers
        if (space.layer[members] == layer).any()
    }
    moved: dict[int, Tensor] = {}  # layer -> a - mean of its members, [rows, members of it]

    def run(keep: np.ndarray, upto: int | None) -> Tensor:
        """Rows of runs with the members of each row of `keep` [B, members] kept."""
        gates = torch.zeros((len(keep), space.size), dtype=torch.bool, device=adapter.device)

        def patch(layer: int, rows: Tensor) -> Tensor:
            if layer not in own:
                return rows
            kept = torch.from_numpy(keep[:, own[layer]]).to(rows)
            weights = (kept[:, None] * moved[layer].to(rows.dtype)[None]).flatten(0, 1)
            features = torch.from_numpy(space.index[members[own[layer]]]).to(rows.device)
            decoder = space.decoders[layer][features]
            return rows + by_row(lambda x: x @ decoder, weights)

        return forward(adapter, space, cell, gates, patch, upto)[0]

    size = make_plan(adapter, len(cell.state)).pairs
    for layer, at in own.items():
        sets, which = np.unique(parents[at], axis=0, return_inverse=True)
        found: list[Tensor] = []
        for first in range(0, len(sets), size):
            slots = run(sets[first : first + size], layer)
            for i, rows in enumerate(slots, first):
                values, indices = space.dictionaries[layer].encode_topk(rows)
                for place in np.flatnonzero(which.ravel() == i):
                    fires = indices == int(space.index[members[at[place]]])
                    found.append((values * fires).sum(-1))
        order = np.concatenate([np.flatnonzero(which.ravel() == i) for i in range(len(sets))])
        codes = torch.stack(found, -1)[:, torch.from_numpy(np.argsort(order)).to(adapter.device)]
        mean = torch.as_tensor(space.mean[members[at]], dtype=codes.dtype, device=codes.device)
        moved[layer] = codes - mean
    every = np.ones((1, len(members)), bool)
    return float(cell.prompt.read(run(every, None)).double()[0])

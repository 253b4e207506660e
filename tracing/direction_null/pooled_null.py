r"""Random directions in the place of every source, at the price of a few frozen passes.

A pseudo-feature removes ``z_f(p) ||W_f|| u_k`` at the active positions of source f, with one random
unit vector u_k that is the same at all positions and in all cells. In the frozen context edited
rows hardly react to each other, and for edits of this size later states are close to linear in
them. So at every position p alone ``s u_k`` is removed, s being the median strength, and the change
``H_t[p, k]`` of the state of every measured layer t is kept for a moment; then

    change_k(f, t) = 1/n sum over cells of 1/|A| sum over p in A of z_f(p) ||W_f|| / s  H_t[p, k]

is a product of a sparse matrix (sources x positions) with a dense one, over the n cells in which f
is active. The same is done for the direct path. Changes of states are kept, not those of targets:
pre-activations are linear in them (`scircuit.tracing.direction_null.readout`).

How far this is from removing the directions themselves is measured in every run
(`scircuit.tracing.direction_null.null_audit`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from scircuit.core.errors import UserError
from scircuit.tracing.direction_null.single_rows import run_single_rows
from scircuit.tracing.engine.direct_path import run_direct
from scircuit.tracing.hardware.parallel import run_jobs
from scircuit.tracing.hardware.precision import steps_in_format

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from scircuit.tracing.clean_pass.clean_pass import CleanCell
    from scircuit.tracing.engine.tracer import Tracer

PARTS = ("total", "direct")
HELD_OUT = 4  # one further draw for every so many is held out of mean and sd, and counted
_MOST = 16  # draws of one job
_CELLS = 4  # cells whose results are held at once


def held_out_draws(draws: int) -> int:
    """Further directions that are not used for mean and standard deviation."""
    return draws // HELD_OUT


def random_direction(tracer: Tracer, draw: int) -> np.ndarray:
    """Unit vector [d] of one draw, fixed by seed, layer and number."""
    rng = np.random.default_rng([tracer.settings.seed, 4, tracer.layer, draw])
    drawn = rng.normal(size=tracer.adapter.width)
    return drawn / np.linalg.norm(drawn)


def null_jobs(tracer: Tracer) -> list[np.ndarray]:
    """Numbers of the draws, in parts that are a job each and fit the plan's share of the memory."""
    draws = tracer.settings.null_draws
    if not draws:
        return []
    every = np.arange(draws + held_out_draws(draws))
    # the sums in float64, and the float32 shares of some cells at a time
    one = (8 + 4 * _CELLS) * len(PARTS) * len(tracer.sources) * tracer.state_values
    size = max(1, min(_MOST, tracer.plan.effects // one))
    return [every[i : i + size] for i in range(0, len(every), size)]


@torch.inference_mode()
def null_part(
    tracer: Tracer,
    draws: np.ndarray,
    _rule: None = None,
    progress: Callable[[int, int, int], None] | None = None,
) -> np.ndarray:
    """Mean changes of the states when random directions take the place of each source.

    Parameters
    ----------
    tracer
        The run.
    draws
        Numbers of the draws.
    progress
        Called with (cells done, cells, 0).

    Returns
    -------
    numpy.ndarray
        [sources, draws, total and direct, measured layers x width] float32, the sources in the
        order of ``tracer.sources``.
    """
    device, dtype = tracer.adapter.device, tracer.adapter.dtype
    directions = torch.as_tensor(
        np.stack([random_direction(tracer, int(k)) for k in draws]), dtype=dtype, device=device
    )
    norms, strength = source_norms(tracer), median_strength(tracer)
    deltas, weights = -strength * directions, norms / (strength * tracer.cells_of_sources)
    result = np.zeros((len(tracer.sources), len(draws), len(PARTS), tracer.state_values))
    for first in range(0, len(tracer.cells), _CELLS):
        cells = range(first, min(first + _CELLS, len(tracer.cells)))
        jobs = [partial(_of_cell, tracer, c, deltas, weights) for c in cells]
        for found in run_jobs(jobs, device, tracer.plan.jobs):
            result += found
        if progress:
            progress(cells.stop, len(tracer.cells), 0)
    return result.astype(np.float32)


def _of_cell(tracer: Tracer, c: int, deltas: Tensor, weights: np.ndarray) -> np.ndarray:
    """What one cell adds to the result of `null_part`."""
    cell, width = tracer.cells[c], tracer.adapter.width
    shape = (len(tracer.sources), len(deltas), len(PARTS), tracer.state_values)
    result, position = np.zeros(shape, np.float32), _positions(tracer, cell)
    if len(position):
        share = _shares(tracer, cell, position, weights)
        for part, i, draw, change in _changes(tracer, c, position, deltas):
            columns = slice(i * width, (i + 1) * width)
            result[:, draw, PARTS.index(part), columns] = share @ change.cpu().numpy()
    return result


def source_norms(tracer: Tracer) -> np.ndarray:
    """Length ||W_f|| of the direction of every source, [sources]."""
    own = tracer.dictionaries[tracer.layer].columns(
        torch.as_tensor(tracer.sources, device=tracer.adapter.device)
    )
    return own.double().norm(dim=1).cpu().numpy()


def median_strength(tracer: Tracer) -> float:
    """Median of ``z_f(p) ||W_f||`` over all places where a source fires.

    Raises
    ------
    UserError
        If it is zero: most of what the sources remove has no length.
    """
    norms = np.full(tracer.dictionaries[tracer.layer].n_features, np.nan)
    norms[tracer.sources] = source_norms(tracer)
    found = []
    for cell in tracer.cells:
        firing = cell.firing[tracer.layer]
        removed = firing.values.double().cpu().numpy() * np.repeat(norms, np.diff(firing.start))
        found.append(removed[~np.isnan(removed)])
    strength = float(np.median(np.concatenate(found)))
    if not strength > 0:
        raise UserError(
            f"the directions of most source features of layer {tracer.layer} have length zero, so"
            " nothing is removed and there is nothing to compare with random directions",
            "give dictionaries with their decoders, or trace with --null-draws 0",
        )
    return strength


def _positions(tracer: Tracer, cell: CleanCell) -> Tensor:
    """Positions of a cell where a source fires, ascending."""
    firing = cell.firing[tracer.layer]
    fires = np.zeros(cell.length, bool)
    at = firing.positions.cpu().numpy()
    for f in tracer.sources:
        fires[at[firing.start[f] : firing.start[f + 1]]] = True
    return torch.from_numpy(np.flatnonzero(fires)).to(tracer.adapter.device)


def _shares(tracer: Tracer, cell: CleanCell, position: Tensor, weights: np.ndarray) -> csr_matrix:
    """``weight_f z_f(p) / |A|`` of one cell: [sources, positions], float32."""
    from scipy.sparse import csr_matrix

    firing = cell.firing[tracer.layer]
    place = np.zeros(cell.length, np.int64)
    place[position.cpu().numpy()] = np.arange(len(position))
    at, values = firing.positions.cpu().numpy(), firing.values.double().cpu().numpy()
    start, stop = firing.start[tracer.sources], firing.start[tracer.sources + 1]
    rows = [np.arange(a, b) for a, b in zip(start, stop, strict=True)]
    chosen = np.concatenate(rows)
    share = np.repeat(weights / np.maximum(stop - start, 1), stop - start)
    return csr_matrix(
        (
            (share * values[chosen]).astype(np.float32),
            place[at[chosen]],
            np.concatenate([[0], np.cumsum(stop - start)]),
        ),
        shape=(len(tracer.sources), len(position)),
    )


def _changes(
    tracer: Tracer, c: int, position: Tensor, deltas: Tensor
) -> Iterator[tuple[str, int, int, Tensor]]:
    """Part, number of the measured layer, number of the draw, and the change [P, d] of what is
    read there when `deltas` [draws, d] are added at each position alone.
    """
    cell, targets = tracer.cells[c], tracer.targets
    site = cell.site
    at_once = max(1, tracer.plan.rows // len(position))
    clean = {t: cell.read[t][position] for t in targets}
    source = cell.states[tracer.layer][position]
    for first in range(0, len(deltas), at_once):
        added = deltas[first : first + at_once]
        edits = added.repeat_interleave(len(position), 0)
        places = position.repeat(len(added))
        frozen = steps_in_format(
            tracer.adapter,
            run_single_rows(
                tracer.adapter, cell.states, places, edits, tracer.layer, targets, site
            ),
        )
        edited = source.repeat(len(added), 1) + edits
        direct = run_direct(
            tracer.adapter, tracer.ablation.held.of(c), edited, places, tracer.layer, targets, site
        )
        for part, steps in (("total", frozen), ("direct", direct)):
            for t, states in steps:
                for k, own in enumerate(states.split(len(position))):
                    yield part, targets.index(t), first + k, own - clean[t]

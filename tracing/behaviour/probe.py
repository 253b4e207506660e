r"""A linear probe of two classes on the mean last-layer state of a cell, with its accuracy on cells
that it has not seen.

Ridge regression of y = +1, -1 (classes weighted alike) on standardised states, with the strength
of the ridge chosen among `RIDGES` by the leave-one-out error of the fitted cells,

    margin(x) = w . x + b ,    e_i = (y_i - margin(x_i)) / (1 - h_ii) .

Two of three cells are fitted; balanced accuracy is that of the third. Its p is that of permuted
labels of these cells, ``(1 + as good) / (1 + draws)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scircuit.core.errors import UserError
from scircuit.tracing.hardware.parallel import run_jobs

if TYPE_CHECKING:
    from scircuit.tracing.models.adapter import Adapter

RIDGES = tuple(10.0**e for e in range(-2, 5))
MIN_CELLS = 12  # of either class: eight to fit and four to test
DRAWS = 999
MAX_P = 0.05


class Probe(NamedTuple):
    """``margin = weight . state + bias``, and how good it is on unseen cells."""

    weight: np.ndarray  # [d]
    bias: float
    accuracy: float  # balanced, of unseen cells
    p: float
    fitted: int
    tested: int


def mean_states(adapter: Adapter, cells: Sequence[np.ndarray]) -> np.ndarray:
    """Mean last-layer state over the genes of each cell, [cells, d] float64."""

    def one(cell: np.ndarray) -> np.ndarray:
        rows = adapter.clean_states(cell)[-1][adapter.gene_positions(cell)]
        return rows.double().mean(0).cpu().numpy()

    return np.stack(list(run_jobs([partial(one, cell) for cell in cells], adapter.device)))


def fit_probe(states: np.ndarray, own: np.ndarray, name: str, seed: int = 0) -> Probe:
    """Fit a probe and measure it.

    Parameters
    ----------
    states
        [cells, d] of cells that the circuit is not measured on.
    own
        [cells] whether each is of the type.
    name
        Of the type, for messages.
    seed
        Which cells are fitted; permutations.

    Raises
    ------
    UserError
        If a class has fewer than `MIN_CELLS` cells, or the probe is no better than chance.
    """
    counts = int(own.sum()), int((~own).sum())
    if min(counts) < MIN_CELLS:
        raise UserError(
            f"{counts[0]} cells are {name} and {counts[1]} are not, beside those of the circuit;"
            f" expected {MIN_CELLS} or more of both to fit a probe and to test it",
            "give --probe-cells more, or another cell type",
        )
    rng = np.random.default_rng(seed)
    test = np.zeros(len(own), bool)
    for side in (own, ~own):
        at = rng.permutation(np.flatnonzero(side))
        test[at[: len(at) // 3]] = True
    weight, bias = _ridge(states[~test], own[~test])
    called, truth = states[test] @ weight + bias > 0, own[test]
    accuracy = _balanced(called, truth)
    drawn = [_balanced(called, rng.permutation(truth)) for _ in range(DRAWS)]
    p = (1 + sum(d >= accuracy - 1e-12 for d in drawn)) / (1 + DRAWS)
    if p > MAX_P:
        raise UserError(
            f"a linear probe for {name} is right in {accuracy:.0%} of {int(test.sum())} unseen"
            f" cells (balanced), as permuted labels are (p = {p:.2g}): the model's last states do"
            " not tell this class, so there is no behaviour to keep",
            "choose another cell type or column, or give --probe-cells more",
        )
    return Probe(weight, bias, accuracy, p, int((~test).sum()), int(test.sum()))


def _ridge(states: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights and bias on unscaled states."""
    y = np.where(own, 1.0, -1.0)
    share = np.where(own, 0.5 / own.sum(), 0.5 / (~own).sum())
    centre = share @ states
    scale = np.sqrt(share @ (states - centre) ** 2)
    scale[scale < 1e-12] = 1.0
    root = np.sqrt(share)[:, None]
    u, s, vt = np.linalg.svd(root * (states - centre) / scale, full_matrices=False)
    target = root[:, 0] * y  # the weighted mean of y is 0
    projected, best = u.T @ target, (np.inf, np.zeros(len(scale)))
    for ridge in RIDGES:
        kept = s**2 / (s**2 + ridge / len(y))
        # the bias, the weighted mean, has its own share of every cell's leverage
        leverage = (u**2) @ kept + share
        left_out = ((target - u @ (kept * projected)) / np.maximum(1 - leverage, 1e-9)) ** 2
        if left_out.sum() < best[0]:
            best = float(left_out.sum()), vt.T @ (s / (s**2 + ridge / len(y)) * projected)
    weight = best[1] / scale
    return weight, float(-centre @ weight)


def _balanced(called: np.ndarray, truth: np.ndarray) -> float:
    return float((called[truth].mean() + (~called[~truth]).mean()) / 2)

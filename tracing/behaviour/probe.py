r"""A linear probe of two classes on the mean last-layer state of a cell, with its accuracy on cells
that it has not seen.

Ridge regression of y = +1, -1 with classes of equal weight
(`scircuit.tracing.interventions.steering.linear_probes`),  margin(x) = w . x + b .

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
from scircuit.tracing.interventions.steering.linear_probes import fit_ridge

if TYPE_CHECKING:
    from scircuit.tracing.models.adapter import Adapter

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
    fitted = own[~test]
    share = np.where(fitted, 0.5 / fitted.sum(), 0.5 / (~fitted).sum())
    margin = fit_ridge(states[~test], np.where(fitted, 1.0, -1.0), share)
    called, truth = margin(states[test])[:, 0] > 0, own[test]
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
    weight, bias = margin.weights[0], float(margin.bias[0])
    return Probe(weight, bias, accuracy, p, fitted.size, int(test.sum()))


def _balanced(called: np.ndarray, truth: np.ndarray) -> float:
    return float((called[truth].mean() + (~called[~truth]).mean()) / 2)

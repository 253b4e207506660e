"""What predicts the sign of a response without any circuit: rules that a circuit has to beat.

Each knock-out is held out in turn, and the rules learn from the other ones (`training`):

- majority: the more frequent sign of all their responses;
- target direction: the usual sign of this gene among their responses; where it did not respond, the
  sign of its mean change over them;
- perturbed mean: the sign of its change in all their cells taken together;
- co-expression: of control cells alone, a gene that goes with the knocked-out one falls.

The target direction needs no knowledge of which gene is knocked out; a circuit that only knows
which genes respond easily cannot beat it.
"""

from __future__ import annotations

import numpy as np

from scircuit.analysis.gene_predictions.screen_changes import ScreenChanges

BASELINES = {
    "majority": "the more frequent sign of all responses",
    "target_direction": "the gene's usual direction",
    "perturbed_mean": "the mean of all knock-outs",
    "co_expression": "co-expression in control cells",
}


def baseline_signs(changes: ScreenChanges, responding: np.ndarray) -> dict[str, np.ndarray]:
    """Predicted sign of every pair by every rule, each [knock-outs, genes]; 0 where a rule says
    nothing.

    Parameters
    ----------
    changes
        Observed changes.
    responding
        Pairs whose change is told from zero, [knock-outs, genes] bool.
    """
    sign = np.where(responding, np.sign(changes.change), 0.0)
    # the knocked-out gene's own loss is not a response, and teaches no rule
    own = np.array([[k == g for g in changes.genes] for k in changes.knocked]).reshape(sign.shape)
    change = np.where(own, 0.0, changes.change)
    others = sign.sum(axis=0) - sign
    usual = np.sign(others)
    mean = np.sign(change.sum(axis=0) - change)
    majority = np.sign(others.sum(axis=1))[:, None]
    weight = np.where(own, 0, changes.cells[:, None].astype(float))
    total = (weight * changes.mean).sum(axis=0) - weight * changes.mean
    cells = weight.sum(axis=0) - weight
    pooled = np.divide(total, cells, out=np.zeros_like(total), where=cells > 0)
    together = np.nan_to_num(changes.together)
    return {
        "majority": np.broadcast_to(majority, sign.shape),
        "target_direction": np.where(usual != 0, usual, mean),
        "perturbed_mean": np.where(cells > 0, np.sign(pooled - changes.control_mean), 0.0),
        "co_expression": -np.sign(together),
    }

r"""How much each feature contributes to a behaviour: integrated gradients over the gates.

All gates g are moved together from 0 (every feature at its mean) to 1 (the unedited model). With
the behaviour m and the edited state h' of the feature's layer,

    score(f) = integral over t in 0..1 of  dm / dg_f  at g = t
             = mean over t of sum over p of  (z_f(p) - mean_f)  W_f . dm/dh'(p)

by the midpoint rule. Scores add up to m(1) - m(0) but for the error of the rule and the jumps of a
top-k choice (Sundararajan, Taly and Yan 2017; for features of dictionaries Marks and others,
arXiv 2403.19647, who move one layer at a time).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from scircuit.tracing.behaviour.feature_space import FeatureSpace
from scircuit.tracing.behaviour.mean_ablation import Started, evaluate, forward
from scircuit.tracing.hardware.parallel import run_jobs

if TYPE_CHECKING:
    from scircuit.tracing.models.adapter import Adapter


def attribution(
    adapter: Adapter, space: FeatureSpace, cells: Sequence[Started], steps: int
) -> np.ndarray:
    """Integrated gradients of the mean behaviour of the cells, [size] float64."""
    jobs = [partial(_one_cell, adapter, space, cell, steps) for cell in cells]
    return sum(run_jobs(jobs, adapter.device), np.zeros(space.size)) / len(cells)


def _one_cell(adapter: Adapter, space: FeatureSpace, cell: Started, steps: int) -> np.ndarray:
    scores = np.zeros(space.size)
    # states of a clean pass are made in inference mode, and cannot be differentiated
    with torch.inference_mode(False), torch.enable_grad():
        prompt = cell.prompt._replace(
            genes=cell.prompt.genes.clone(), rows=cell.prompt.rows.clone()
        )
        own = Started(prompt, cell.state.clone())
        for i in range(steps):
            gates = torch.full((1, 1), (i + 0.5) / steps, device=own.state.device)
            rows, edited = forward(adapter, space, own, gates)
            value = prompt.read(rows).sum()
            layers = list(edited)
            gradients = torch.autograd.grad(value, [edited[t][0] for t in layers])
            for layer, gradient in zip(layers, gradients, strict=True):
                _, values, indices = edited[layer]
                along = gradient @ space.decoders[layer].T
                part, n = space.part(layer), space.dictionaries[layer].n_features
                moved = (values.detach() * along.gather(1, indices)).double().cpu().numpy()
                fired = np.bincount(indices.cpu().numpy().ravel(), moved.ravel(), minlength=n)
                scores[part] += fired - space.mean[part] * along.double().sum(0).cpu().numpy()
    return scores / steps


def single_ablations(adapter: Adapter, space: FeatureSpace, cells: Sequence[Started]) -> np.ndarray:
    """Loss of mean behaviour when each feature alone is replaced by its mean, [size]; 0 for
    features that never fire.
    """
    scores = np.zeros(space.size)
    block = max(1, 2**26 // max(space.size, 1))  # masks of one call, at most 64 MB
    full = evaluate(adapter, space, cells, _all(space)[None])[0].mean()
    for first in range(0, len(space.alive), block):
        some = space.alive[first : first + block]
        sets = np.repeat(_all(space)[None], len(some), axis=0)
        sets[np.arange(len(some)), some] = False
        scores[some] = full - evaluate(adapter, space, cells, sets).mean(1)
    return scores


def _all(space: FeatureSpace) -> np.ndarray:
    kept = np.zeros(space.size, bool)
    kept[space.alive] = True
    return kept

"""Directions that are removed instead of a source's own, where and as strongly as the source fires.

random_direction  one random unit vector per source, fixed across cells and positions, times the
                  norm of the source's direction
feature_swap      the direction of another alive feature of the layer, rescaled to the norm of the
                  source's direction
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor

    from scircuit.tracing.engine.tracer import Tracer


def random_directions(tracer: Tracer, features: np.ndarray, own: Tensor) -> Tensor:
    """One random direction per source with its own norm, fixed by seed, layer and feature."""
    drawn = [
        np.random.default_rng([tracer.settings.seed, 1, tracer.layer, int(f)]).normal(
            size=own.shape[1]
        )
        for f in features
    ]
    return _of_norm(torch.as_tensor(np.stack(drawn), dtype=own.dtype, device=own.device), own)


def swapped_directions(tracer: Tracer, features: np.ndarray, own: Tensor) -> Tensor:
    """For each source the direction of another alive feature of its layer, rescaled to the source's
    norm.
    """
    alive = np.flatnonzero(tracer.summaries[tracer.layer].positions > 0)
    chosen = []
    for f in features:
        others = alive[alive != f]
        pool = others if len(others) else np.array([f])
        chosen.append(
            np.random.default_rng([tracer.settings.seed, 2, tracer.layer, int(f)]).choice(pool)
        )
    columns = tracer.dictionaries[tracer.layer].columns(
        torch.as_tensor(np.array(chosen), device=own.device)
    )
    return _of_norm(columns, own)


def _of_norm(directions: Tensor, own: Tensor) -> Tensor:
    return directions * (
        own.norm(dim=1, keepdim=True) / directions.norm(dim=1, keepdim=True).clamp_min(1e-30)
    )

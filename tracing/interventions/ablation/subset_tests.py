"""All tests of one set at one layer: every subset of two and more members."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scircuit.core.address import Address
from scircuit.tracing.hardware.row_padding import by_row
from scircuit.tracing.interventions.ablation.feature_sets import FeatureSet
from scircuit.tracing.interventions.ablation.interaction_contrasts import (
    Contrast,
    contrast,
    contrast_of,
    subsets_of,
    tested,
)
from scircuit.tracing.interventions.ablation.published_ratios import (
    SignedRatio,
    additivity_counts,
    published,
    signed_ratio,
)

STORE_P = 0.1  # contrasts up to this p are stored, all are counted


class LayerInputs(NamedTuple):
    """What the tests at one layer share."""

    layer: int
    floor: float  # of an effect on an activation
    computed_floor: float  # of a computed effect on a pre-activation
    encoder: Tensor  # [F, d]
    alive: np.ndarray  # [F] whether the target fires in these cells


class SubsetTest(NamedTuple):
    """Tests of one subset of a set at one layer."""

    one: FeatureSet
    subset: int
    layer: int
    cells: int  # where any member of the set is active
    together: int  # where all are
    p: np.ndarray  # [F] of effects on activations; NaN: no cell has a contrast above the floor
    p_computed: np.ndarray  # [F] of the computed part; NaN also where the target is silent
    stored: np.ndarray  # targets whose numbers are kept
    columns: dict[str, np.ndarray]  # numbers of these targets
    ratio: np.ndarray  # published ratio of the targets that pass the published rule
    ratio_null: np.ndarray
    higher_order: float  # median published I; NaN: no target
    higher_order_null: float
    marginal: float  # median published M; NaN: no target
    marginal_null: float
    counts: tuple[int, int, int]  # subadditive, additive, superadditive
    counts_null: tuple[int, int, int]
    signed: SignedRatio

    @property
    def members(self) -> tuple[Address, ...]:
        """Features of the subset."""
        return tuple(f for i, f in enumerate(self.one.members) if self.subset >> i & 1)

    @property
    def order(self) -> int:
        """Features of the subset."""
        return self.subset.bit_count()

    @property
    def whole(self) -> bool:
        """Whether the subset is the set itself."""
        return self.order == len(self.one.members)


@torch.inference_mode()
def set_tests(
    one: FeatureSet,
    together: int,
    effects: np.ndarray,
    computed: np.ndarray | None,
    inputs: LayerInputs,
) -> list[SubsetTest]:
    """Test every subset of a set.

    Parameters
    ----------
    one
        The set.
    together
        Cells in which all its members are active.
    effects
        [conditions, cells, F] effects on activations.
    computed
        [conditions, cells, d] change of the state less the direct part; None: not known.
    inputs
        See there.
    """
    found = []
    for subset in subsets_of(len(one.members)):
        total = contrast(effects, subset, inputs.floor)
        part = _computed(computed, subset, inputs)
        p_computed = np.full(len(total.p), np.nan) if part is None else part.p
        stored = np.flatnonzero((total.p <= STORE_P) | (p_computed <= STORE_P))
        joint = effects[subset - 1]
        joint = np.where(np.abs(joint) > inputs.floor, joint, 0).astype(np.float64).mean(0)
        columns = {"effect": joint, "interaction": total.mean, "low": total.low, "high": total.high}
        if part is not None:
            columns |= {
                "computed": part.mean,
                "computed_low": part.low,
                "computed_high": part.high,
            }
        old = published(effects, subset, inputs.floor)
        found.append(
            SubsetTest(
                one,
                subset,
                inputs.layer,
                effects.shape[1],
                together,
                total.p,
                p_computed,
                stored,
                {name: values[stored] for name, values in columns.items()},
                old.ratio[np.isfinite(old.ratio)],
                old.ratio_null[np.isfinite(old.ratio_null)],
                median(old.interaction),
                median(old.interaction_null),
                median(old.marginal),
                median(old.marginal_null),
                additivity_counts(old.ratio),
                additivity_counts(old.ratio_null),
                signed_ratio(effects, subset, inputs.floor),
            )
        )
    return found


def _computed(computed: np.ndarray | None, subset: int, inputs: LayerInputs) -> Contrast | None:
    """Test the contrast of the computed part of effects on pre-activations."""
    if computed is None:
        return None
    encoder = inputs.encoder
    states = torch.from_numpy(contrast_of(computed, subset)).to(encoder.device, encoder.dtype)
    by_cell = by_row(lambda rows: functional.linear(rows, encoder), states).cpu().numpy()
    floor = (2 ** subset.bit_count() - 1) * inputs.computed_floor
    return tested(np.where(inputs.alive, by_cell, 0.0).astype(np.float64), floor)


def median(x: np.ndarray) -> float:
    """Median without NaN; NaN of nothing."""
    x = x[~np.isnan(x)]
    return float(np.median(x)) if len(x) else float("nan")

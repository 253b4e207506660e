"""Joint ablation of k features at any layers, with interaction contrasts of every order.

`ablate_sets` runs all conditions of all sets (`joint_ablation`); `sample_classes` draws classes of
sets (`set_samplers`).
"""

from __future__ import annotations

from scircuit.tracing.interventions.ablation.feature_sets import FeatureSet
from scircuit.tracing.interventions.ablation.joint_ablation import ablate_pairs, ablate_sets
from scircuit.tracing.interventions.ablation.set_samplers import (
    Candidate,
    SampledSets,
    sample_classes,
)

__all__ = [
    "Candidate",
    "FeatureSet",
    "SampledSets",
    "ablate_pairs",
    "ablate_sets",
    "sample_classes",
]

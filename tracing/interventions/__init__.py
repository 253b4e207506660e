"""Interventions beyond single ablations: joint ablation of pairs, and steering. Both give tables of
declared kinds.

`ablate_sets` and `ablate_pairs` ask whether features act together otherwise than apart
(`scircuit.tracing.interventions.ablation`); `steer` multiplies a feature's activation and
reads gene logits (`scircuit.tracing.interventions.steering`).
"""

from __future__ import annotations

from scircuit.tracing.interventions.ablation import ablate_pairs, ablate_sets
from scircuit.tracing.interventions.steering import steer

__all__ = ["ablate_pairs", "ablate_sets", "steer"]

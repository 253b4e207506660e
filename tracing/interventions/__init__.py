"""Interventions beyond single ablations: joint ablation of pairs, and steering. Both give tables of
declared kinds.

`ablate_pairs` asks whether two features act together otherwise than apart
(`scircuit.tracing.interventions.joint_ablation`); `steer` multiplies a feature's activation and
reads gene logits (`scircuit.tracing.interventions.steering`).
"""

from __future__ import annotations

from scircuit.tracing.interventions.joint_ablation import ablate_pairs
from scircuit.tracing.interventions.steering import steer

__all__ = ["ablate_pairs", "steer"]

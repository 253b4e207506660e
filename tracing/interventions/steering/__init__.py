"""Steering: features amplified or clamped, several readouts of each cell, and their controls."""

from __future__ import annotations

from scircuit.tracing.interventions.steering.slope_statistics import slopes
from scircuit.tracing.interventions.steering.steer_features import RANDOM_DIRECTIONS, steer

__all__ = ["RANDOM_DIRECTIONS", "slopes", "steer"]

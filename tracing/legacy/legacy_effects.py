"""The published rules as the engine takes them: sources, activity, floor and stored tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scircuit.tracing.engine.effect_rules import EffectRules
from scircuit.tracing.legacy.activity_rule import legacy_sources, near_edges

if TYPE_CHECKING:
    import numpy as np

    from scircuit.tracing.statistics.effect_statistics import Tests


def _near_tests(tests: Tests) -> np.ndarray:
    return near_edges(tests.d)


LEGACY_RULES = EffectRules(
    candidates=legacy_sources,
    rank_is_active=True,
    numeric_floor=False,
    always_stored=_near_tests,
)

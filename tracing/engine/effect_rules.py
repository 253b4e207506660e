"""The rules of a run that another study could set otherwise.

They say which features may be sources, when a feature counts as active, whether small effects count
as zero, and which tests are stored whatever their p. Every run uses `EffectRules()`; the
replication of the published study brings its own (`scircuit.tracing.legacy.legacy_effects`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scircuit.core import edge_rules

if TYPE_CHECKING:
    from scircuit.tracing.dictionaries.dictionary import Dictionary
    from scircuit.tracing.statistics.effect_statistics import Tests


def every_feature(dictionary: Dictionary) -> np.ndarray:
    """All features of a dictionary."""
    return np.arange(dictionary.n_features)


def published_edges(tests: Tests) -> np.ndarray:
    """Mask of the tests that are edges by the published rule."""
    return edge_rules.legacy_edges(tests.d, tests.n, tests.n_pos)


@dataclass(frozen=True)
class EffectRules:
    """Rules of a run; the defaults are the project's own.

    Attributes
    ----------
    candidates
        Features of the source dictionary that may be ablated.
    rank_is_active
        Whether a feature among the k largest is active even where its value is zero.
    numeric_floor
        Whether effects up to the numeric floor count as zero.
    always_stored
        Mask of the tests that are stored whatever their p.
    """

    candidates: Callable[[Dictionary], np.ndarray] = every_feature
    rank_is_active: bool = False
    numeric_floor: bool = True
    always_stored: Callable[[Tests], np.ndarray] = published_edges

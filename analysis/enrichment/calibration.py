"""What matched random lists say of every feature, and the calibrated q of a term."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scircuit.analysis.enrichment.empirical_p import SLACK, equal_runs
from scircuit.analysis.enrichment.fdr import benjamini_hochberg
from scircuit.analysis.enrichment.matched_null import Rate
from scircuit.analysis.enrichment.profile_null import ProfileNull


@dataclass(frozen=True)
class Calibration:
    """What matched random lists say of every feature; features in the order of the blocks.

    Attributes
    ----------
    libraries
        In order; scope 0 is all of them, scope i the i-th.
    smallest, p, q
        Smallest p of a feature over its terms, the share of its matched random lists that do as
        well, and the q of that; features x scopes.
    threshold
        Largest `p` that has q <= alpha, by scope (-1: none).
    rates
        By library (``all`` first) and rule.
    layer_rates
        Rule and layer -> rate, over all libraries.
    draws
        Random lists of each feature.
    """

    libraries: tuple[str, ...]
    smallest: np.ndarray
    p: np.ndarray
    q: np.ndarray
    threshold: np.ndarray
    rates: tuple[Rate, ...]
    layer_rates: dict[tuple[str, int], Rate]
    draws: int
    _features: int
    _null: np.ndarray
    _nulls: tuple[tuple[int, ProfileNull, np.ndarray], ...]

    def scope(self, library: str) -> int:
        """Scope of a library."""
        return 1 + self.libraries.index(library)

    def found(self, scope: int = 0) -> np.ndarray:
        """Which features have a term at the threshold; bool."""
        return self.p[:, scope] <= self.threshold[scope]

    def term_p(self, feature: np.ndarray, p: np.ndarray) -> np.ndarray:
        """What `p` would be of each feature if its best term had this p.

        Parameters
        ----------
        feature
            Row of `Calibration.p`, rising.
        p
            p of a term in that feature.
        """
        out = np.empty(p.size)
        for first, null, profile in self._nulls:
            inside = np.flatnonzero((feature >= first) & (feature < first + len(profile)))
            if not inside.size:
                continue
            for f, at in equal_runs(feature[inside]):
                which = inside[at]
                expected = None
                better = np.searchsorted(
                    np.sort(self._null[: self.draws, f, 0]), p[which] * SLACK, side="right"
                )
                out[which] = (1 + better) / (1 + self.draws)
                if (better == 0).any():
                    expected = null.expected(profile[f - first])
                    free = which[better == 0]
                    out[free] = np.minimum(out[free], expected.at(p[free] * SLACK))
        return out

    def q_of(self, p: np.ndarray, scope: int = 0) -> np.ndarray:
        """Get q of a feature-level p in the family of all features.

        It is the smallest expected share of false discoveries over the thresholds that p passes.
        """
        ordered = np.sort(self.p[:, scope])
        q = benjamini_hochberg(ordered, self._features)
        passed = np.searchsorted(ordered, p, side="right")
        own = p * self._features / np.maximum(passed, 1)
        later = np.append(q, 1.0)[passed]
        return np.minimum(np.minimum(own, later), 1.0)

"""What becomes of the degree distribution, of hubs and of their annotation when another rule says
what an edge is: the same numbers by each rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scircuit.analysis.circuits.degree import (
    RULES,
    EdgeArrays,
    FeatureArrays,
    edges_by,
    legacy,
)
from scircuit.analysis.circuits.heavy_tail import tail_exponent
from scircuit.analysis.circuits.hubs import fit_hubs

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RuleComparison:
    """One row a rule.

    Parameters
    ----------
    findings
        Rule, edges, mean and largest out-degree, exponent of the tail (None: no fit), rank
        correlation of out-degree and firing rate, and share of the hubs (highest degree) without
        annotation (None: not annotated).
    hubs
        Number of hubs.
    """

    findings: list[dict[str, object]]
    hubs: int

    @property
    def frame(self) -> pd.DataFrame:
        """The findings as a frame."""
        import pandas as pd

        return pd.DataFrame(self.findings)

    def hubs_without_annotation(self, rule: str) -> object:
        """Share of the hubs of one rule without annotation; None where it is not known."""
        return next(
            (f["hubs_without_annotation"] for f in self.findings if f["rule"] == rule), None
        )

    @property
    def sentences(self) -> tuple[str, ...]:
        """Computed edges beside all effects that are not zero; nothing where these were not told
        apart.
        """
        rows = {f["rule"]: f for f in self.findings}
        if "computed" not in rows:
            return ()
        told = [_told(rows[name]) for name in ("computed", "calibrated")]
        return (f"by computed edges {told[0]}; by all effects that are not zero {told[1]}",)


def compare_rules(
    features: FeatureArrays,
    edges: EdgeArrays,
    annotated: np.ndarray | None,
    thresholds: tuple[float, int, float],
    hubs: int,
) -> RuleComparison:
    """Count and describe the edges by every rule that the run can tell.

    Parameters
    ----------
    features, edges
        Of one trace run.
    annotated
        [features] whether each is annotated; None: not known.
    thresholds
        Largest q, smallest support and smallest effect.
    hubs
        Sources with the highest degree that count as hubs.
    """
    at, size = features.sources, features.id.size
    masks = {
        "legacy": legacy(edges),
        "calibrated": edges_by(edges, RULES["calibrated"], *thresholds),
    }
    if np.isfinite(edges.q_computed).any() or np.isfinite(edges.q_direct).any():
        masks |= {
            name: edges_by(edges, RULES[name], *thresholds)
            for name in ("generic", "carried", "computed")
        }
    found = []
    for rule, mask in reversed(masks.items()):
        out = np.bincount(edges.source[mask], minlength=size)[at]
        fit = fit_hubs(out, features.firing_rate[at])
        top = np.argsort(fit.degree_rank)[:hubs]
        bare = None if annotated is None else float((~annotated[at][top]).mean())
        found.append(
            {
                "rule": rule,
                "edges": int(mask.sum()),
                "mean_degree": float(out.mean()) if out.size else None,
                "max_degree": int(out.max(initial=0)),
                "sources_without_edge": int((out == 0).sum()),
                "tail_alpha": tail_exponent(out),
                "degree_rate_spearman": float(fit.rho) if np.isfinite(fit.rho) else None,
                "hubs_without_annotation": bare if out.any() else None,
            }
        )
    return RuleComparison(found, hubs)


def _told(row: dict[str, object]) -> str:
    """One rule in words."""
    parts = [f"a source has {row['mean_degree']:.3g} on average and {row['max_degree']:,} at most"]
    if isinstance(alpha := row["tail_alpha"], float):
        parts.append(f"the tail has exponent {alpha:.2f}")
    if isinstance(rho := row["degree_rate_spearman"], float):
        parts.append(f"degree and firing rate have rank correlation {rho:.2f}")
    if isinstance(bare := row["hubs_without_annotation"], float):
        parts.append(f"{bare:.0%} of the hubs are without annotation")
    return ", ".join(parts)

"""Options of ``scircuit compare``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scircuit.core.config.option import option


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """``scircuit compare RUN RUN...``: what the circuits of runs agree on, beside random ones."""

    runs: tuple[str, ...] = option(
        (),
        "trace runs, or imported edges; two or more (default: the newest two trace runs)",
        once=True,
    )
    rule: str = option(
        "",
        "which effects are edges: computed, carried, generic or calibrated (default: computed, and"
        " calibrated where a run has no random directions; imported edges: the published rule)",
        ("", "computed", "carried", "generic", "calibrated"),
    )
    q: float = option(0.05, "maximum q of an edge")
    min_support: int = option(6, "minimum number of cells with the effect")
    min_effect: float = option(
        0.001, "minimum mean effect relative to the target's mean activation where it fires"
    )
    regulons: Path | None = option(
        None,
        "table of transcription factor and target, such as CollecTRI (not shipped), against which"
        " gene edges are scored (default: TRRUST)",
    )
    top_genes: int = option(5, "genes of each feature in gene edges")
    draws: int = option(1000, "draws of each null")
    seed: int = option(0, "seed of the nulls")

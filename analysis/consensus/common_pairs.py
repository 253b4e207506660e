"""The single domain pairs that two runs have in common, as a finding of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from scircuit.analysis.finding import Finding

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

NAME, TITLE = "consensus_pairs", "Domain pairs in both runs"
_SHOWN = 12


def common_pairs(pairs: pd.DataFrame, null: str) -> Finding:
    """The pairs of `scircuit.analysis.consensus.domain_pairs`, clearest first.

    Parameters
    ----------
    pairs
        One row a pair.
    null
        How their null was drawn.
    """
    text = "; ".join(
        f"{r['source_label']} to {r['target_label']} (family-wise p = {r['p_family']:.2g})"
        for r in pairs.head(3).to_dict("records")
    )
    return Finding(
        NAME,
        TITLE,
        f"the clearest of {len(pairs):,} common domain pairs: {text}"
        if len(pairs)
        else "no domain pair is in both runs, or they were not compared",
        null,
        pairs,
        {"pairs": len(pairs)},
        draw=draw,
    )


def draw(frame: pd.DataFrame, numbers: Mapping[str, object], ax: Axes) -> None:  # noqa: ARG001 - one signature for all
    """Features with the target label that are reached, in both runs, beside what resampled targets
    reach: the twelve clearest pairs.
    """
    from scircuit.analysis.plot_style import BLUE, ORANGE

    rows = frame.head(_SHOWN)
    at = np.arange(len(rows))[::-1]
    for run, filled in (("first", BLUE), ("second", "none")):
        targets, expected = (rows[f"{c}_{run}"].astype(float) for c in ("targets", "expected"))
        ax.plot(targets, at, "o", mfc=filled, mec=BLUE, color=BLUE, label=f"{run} run")
        shown = "targets resampled" if run == "first" else "_"
        ax.plot(expected, at, "|", color=ORANGE, ms=10, label=shown)
    ends = zip(rows["source_label"], rows["target_label"], strict=True)
    ax.set_yticks(at, [f"{_short(s)} to\n{_short(t)}" for s, t in ends], fontsize=7)
    ax.set_xlabel("features with the target label that are reached")
    ax.legend()


def _short(label: object, most: int = 32) -> str:
    text = str(label)
    return text if len(text) <= most else f"{text[: most - 1]}…"

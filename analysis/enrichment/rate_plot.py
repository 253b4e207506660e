"""Figure of annotation rates beside their null."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from scircuit.analysis.enrichment.matched_null import Rate
from scircuit.analysis.plot_style import BLUE, ORANGE, axes_or_new, no_data

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_rates(rates: Sequence[Rate], ax: Axes | None = None) -> Axes:
    """Annotation rate per library by the calibrated rule, beside matched random lists."""
    ax = axes_or_new(ax)
    calibrated = [r for r in rates if r.rule == "calibrated"]
    if not calibrated:
        return no_data(ax, "nothing was annotated")
    y = np.arange(len(calibrated))[::-1]
    ax.barh(y + 0.19, [100 * r.rate for r in calibrated], 0.36, color=BLUE, label="features")
    ax.barh(
        y - 0.19,
        [100 * r.null_rate for r in calibrated],
        0.36,
        color=ORANGE,
        label="matched random gene lists",
    )
    for yi, r in zip(y, calibrated, strict=True):
        ax.text(100 * r.rate, yi + 0.19, f"  {100 * r.rate:.1f} %", va="center", fontsize=9)
        ax.text(
            100 * r.null_rate,
            yi - 0.19,
            f"  {100 * r.null_rate:.2f} %",
            va="center",
            fontsize=9,
            color="#52606d",
        )
    ax.set_yticks(y, ["any library" if r.library == "all" else r.library for r in calibrated])
    ax.set_xlabel("annotated (%)")
    ax.set_xlim(0, max(100 * max(r.rate for r in calibrated), 1.0) * 1.2)
    ax.legend(loc="lower right", fontsize=9)
    return ax

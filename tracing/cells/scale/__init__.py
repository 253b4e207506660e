"""On which scale expression values are, cell by cell, with proof, and the counts behind them."""

from scircuit.tracing.cells.scale.matrix_scale import (
    FIX,
    Judged,
    Scale,
    detect,
    families,
    judge,
    misfits,
    to_counts,
    usable_family,
)

__all__ = [
    "FIX",
    "Judged",
    "Scale",
    "detect",
    "families",
    "judge",
    "misfits",
    "to_counts",
    "usable_family",
]

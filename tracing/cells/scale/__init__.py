"""On which scale expression values are, cell by cell, with proof, and the counts behind them."""

from scircuit.tracing.cells.scale.cell_kinds import EMPTY
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
    "EMPTY",
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

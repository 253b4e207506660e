"""What an expression file offers, whatever its kind: annotations of cells and matrices read by
rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from scircuit.core.errors import UserError


@dataclass(frozen=True)
class Matrix:
    """A cells x genes matrix of a file; `rows` reads the given rows, ascending, as CSR float64."""

    name: str
    shape: tuple[int, int]
    var: pd.DataFrame
    rows: Callable[[np.ndarray], sparse.csr_matrix]


@dataclass(frozen=True)
class Expression:
    """What an expression file offers: cell annotations and matrices (``X``, ``raw/X``,
    ``layers/NAME``).

    Attributes
    ----------
    path, format
        The file, and its kind in words.
    obs
        One row per cell; ``obs.attrs["unreadable"]`` holds columns that cannot be read and why.
    matrices
        Matrices that can be read.
    genome
        Genome of the genes, where the file names it.
    organism
        Species, where `uns` names it.
    notes
        What was mended or left out, one sentence each.
    unreadable
        Matrices that cannot be read and why.
    cells
        Rows that belong to the chosen genome, ascending; None where all do.
    """

    path: Path
    format: str
    obs: pd.DataFrame
    matrices: Mapping[str, Matrix] = field(repr=False)
    genome: str = ""
    organism: str = ""
    notes: tuple[str, ...] = ()
    unreadable: Mapping[str, str] = field(default_factory=dict)
    cells: np.ndarray | None = field(default=None, repr=False)

    def usable(self, rows: np.ndarray) -> np.ndarray:
        """Those of the given rows, ascending, that belong to the chosen genome.

        Raises
        ------
        UserError
            If none does.
        """
        if self.cells is None:
            return rows
        kept = rows[np.isin(rows, self.cells)]
        if not len(kept):
            raise UserError(
                f"none of the {len(rows):,} chosen cells is mostly of genome {self.genome};"
                f" {len(self.cells):,} cells of the file are",
                "choose other cells with --where, or another genome with --genome",
            )
        return kept

"""Types shared by the steps of a trace: the least a cohort has to offer them, and JSON objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

# values of a JSON file or a manifest are of any type until they are checked where they are used
JsonObject = dict[str, Any]


class TokenisedCells(Protocol):
    """Cells as a model reads them (`scircuit.tracing.cells.cohort.Cohort` is one)."""

    @property
    def tokens(self) -> Sequence[np.ndarray]:
        """Each cell: token ids, or token ids with values, specials included."""
        ...


class RecordedCells(TokenisedCells, Protocol):
    """Cells that can also be described in the graph."""

    def record(self) -> pa.Table:
        """The cohort as a ``Cohort`` record."""
        ...

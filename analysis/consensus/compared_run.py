"""What a comparison reads of one run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from scircuit.analysis.structure.layered_edges import LayeredEdges, circuit_edges

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scircuit.analysis.circuit_inputs import CircuitInputs


@dataclass(frozen=True)
class ComparedRun:
    """One run of a comparison.

    Parameters
    ----------
    inputs
        Its circuit.
    dictionaries
        Id of each dictionary -> hash of its file ("" where not known).
    cells
        Cells of its cohort; None where not known.
    barcodes
        Of these cells; empty where not known.
    capped
        The source kept its strongest edges only.
    """

    inputs: CircuitInputs
    dictionaries: Mapping[str, str] = field(default_factory=dict)
    cells: int | None = None
    barcodes: frozenset[str] = frozenset()
    capped: bool = False

    @property
    def run(self) -> str:
        """Its id."""
        return self.inputs.run

    @property
    def edges(self) -> LayeredEdges:
        """Edges by its rule, in a fixed order."""
        return circuit_edges(self.inputs)

    @property
    def labels(self) -> np.ndarray:
        """Label of every feature, "" where it has none."""
        annotation = self.inputs.annotation
        if annotation is None:
            return np.full(self.inputs.nodes.id.size, "", dtype=object)
        return annotation["label"].to_numpy(object)

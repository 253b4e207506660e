"""The edges of a circuit as scores of gene pairs read them.

The value of an edge is the absolute value by which its rule ranks edges (for computed edges z
against random directions), with the sign of support: above 0 where the effect is below 0, since
ablation then lowers the target.
"""

from __future__ import annotations

import numpy as np

from scircuit.analysis.circuit_inputs import CircuitInputs
from scircuit.analysis.gene_predictions.gene_pairs import PairEdges


def pair_edges(inputs: CircuitInputs) -> PairEdges:
    """All edges of the circuit with their signed strength."""
    circuit = inputs.circuit
    strength = np.abs(getattr(circuit, inputs.rule.strength))
    return PairEdges(
        circuit.source, circuit.target, -np.sign(inputs.effect) * strength, inputs.nodes.layer
    )

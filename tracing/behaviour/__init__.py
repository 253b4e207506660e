"""Behaviour circuits: the smallest set of features that keeps something the model does.

`scircuit.tracing.behaviour.behaviours` turns a cell into one number of the model's output;
`feature_space` and `mean_ablation` compute it with every feature but some at its mean;
`attribution` ranks features; `circuit_search` finds the smallest set on one half of the cells, and
`circuit_curve` measures it on the other half beside random sets. `find_circuit` does all of it.
"""

from __future__ import annotations

from scircuit.tracing.behaviour.behaviours import Behaviour, GeneLogits, GeneLoss, ProbeMargin
from scircuit.tracing.behaviour.circuit_curve import Curve
from scircuit.tracing.behaviour.find_circuit import BehaviourCircuit, Search, find_circuit
from scircuit.tracing.behaviour.probe import Probe, fit_probe

__all__ = [
    "Behaviour",
    "BehaviourCircuit",
    "Curve",
    "GeneLogits",
    "GeneLoss",
    "Probe",
    "ProbeMargin",
    "Search",
    "find_circuit",
    "fit_probe",
]

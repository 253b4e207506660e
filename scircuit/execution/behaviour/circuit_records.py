"""A behaviour circuit as a finding, and as records for the graph: one intervention with its
features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scircuit.core.address import Address
from scircuit.execution.behaviour.circuit_edges import CircuitEdges, circuit_edges

if TYPE_CHECKING:
    import pandas as pd

    from scircuit.analysis.finding import Finding
    from scircuit.core.config import CircuitConfig
    from scircuit.core.study import Manifest, Study
    from scircuit.tracing.behaviour import BehaviourCircuit, Curve

_KINDS = ("Intervention", "Feature-PART_OF-Intervention", "Intervention-FROM-Run")


def circuit_finding(
    found: BehaviourCircuit,
    study: Study,
    trace: Manifest,
    prefix: tuple[str, str],
    asked: str,
    text: str,
    config: CircuitConfig,
    run: str,
    more: Mapping[str, float | None],
) -> Finding:
    """Finding of a circuit with its records; none where the circuit is refused.

    Parameters
    ----------
    found
        The circuit.
    study, trace
        Where its edges are.
    prefix
        Names of model and dictionary set.
    asked, text
        The behaviour as asked for, and in words.
    config
        Options of the run.
    run
        Id of the run the records belong to.
    more
        Further numbers.
    """
    from scircuit.analysis.behaviour.behaviour_circuit import behaviour_circuit

    space = found.space
    addresses = [Address(*prefix, int(space.layer[i]), int(space.index[i])) for i in found.members]
    edges = circuit_edges(study, trace, [str(a) for a in addresses])
    numbers = {
        "behaviour": asked,
        "text": text,
        "refused": bool(found.refusal),
        "wanted": config.share,
        "limit": found.limit,
        "considered": len(space.alive),
        "layers": list(space.layers),
        "cells": found.cells,
        "chosen_on": found.chosen_on,
        "judged_on": found.cells - found.chosen_on,
        "draws": config.draws,
        "full": found.full,
        "baseline": found.baseline,
        "gap_p": found.gap_p,
        **_measured(found),
        "edges": edges.edges,
        "edges_kept": len(edges.leads_to),
        "features": [str(a) for a in addresses],
        **more,
    }
    plain = {k: v.item() if isinstance(v, np.generic) else v for k, v in numbers.items()}
    known = {
        k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in plain.items()
    }
    finding = behaviour_circuit(_frame(found.curve), known, found.refusal, text)
    scores = found.scores[found.members]
    records = {} if found.refusal else _records(known, addresses, scores, edges, run)
    return replace(finding, records=records)


def _measured(found: BehaviourCircuit) -> dict[str, Any]:
    """Numbers of the circuit, or of the best small set where it is refused, on the cells that did
    not choose it.
    """
    from scircuit.tracing.behaviour.circuit_curve import share_of_random

    names = ("size", "needed", "sufficiency", "low", "high", "sufficiency_random", "p", "necessity")
    rest = ("necessity_low", "necessity_high", "necessity_random", "cpr", "cpr_random", "cmd")
    if found.found is None or found.curve is None:
        return dict.fromkeys((*names, *rest, "cmd_random", "chosen_sufficiency"))
    curve, size = found.curve, found.found.size or found.found.best_size
    at = curve.at(size)
    return {
        "size": size,
        "needed": found.found.needed or None,
        "chosen_sufficiency": found.found.share,
        "sufficiency": float(curve.sufficiency[at]),
        "low": float(curve.low[at]),
        "high": float(curve.high[at]),
        "sufficiency_random": float(curve.random[:, at].mean()),
        "p": share_of_random(curve.random[:, at], float(curve.sufficiency[at])),
        "necessity": float(curve.necessity[at]),
        "necessity_low": float(curve.necessity_low[at]),
        "necessity_high": float(curve.necessity_high[at]),
        "necessity_random": float(curve.random_necessity.mean()),
        "cpr": curve.cpr,
        "cpr_random": float(curve.random_cpr.mean()),
        "cmd": curve.cmd,
        "cmd_random": float(curve.random_cmd.mean()),
    }


def _frame(curve: Curve | None) -> pd.DataFrame:
    import pandas as pd

    from scircuit.analysis.behaviour.behaviour_circuit import COLUMNS

    if curve is None:
        return pd.DataFrame({name: pd.Series(dtype="float64") for name in COLUMNS})
    low, high = np.quantile(curve.random, [0.05, 0.95], axis=0)
    columns = {
        "size": curve.sizes,
        "share": curve.sizes / curve.sizes[-1],
        "sufficiency": curve.sufficiency,
        "low": curve.low,
        "high": curve.high,
        "random": curve.random.mean(0),
        "random_low": low,
        "random_high": high,
        "necessity": curve.necessity,
        "necessity_low": curve.necessity_low,
        "necessity_high": curve.necessity_high,
    }
    return pd.DataFrame({name: columns[name] for name in COLUMNS})


def _records(
    numbers: Mapping[str, Any],
    members: list[Address],
    scores: np.ndarray,
    edges: CircuitEdges,
    run: str,
) -> dict[str, Any]:
    from scircuit.tracing.interventions.intervention_tables import tables_of

    key, n = f"{run}/circuit", len(members)
    node = {
        "id": key,
        "name": f"{numbers['behaviour']}: {n} feature{'s' * (n != 1)}",
        "verb": "circuit",
        "behaviour": numbers["behaviour"],
        "readout": numbers["text"],
        "order": n,
        "size": n,
        "features_considered": numbers["considered"],
        "cells": numbers["judged_on"],
        "sufficiency_low": numbers["low"],
        "sufficiency_high": numbers["high"],
        "sufficiency_p": numbers["p"],
        "area": numbers["cpr"],
        "area_random": numbers["cpr_random"],
        "distance": numbers["cmd"],
        "distance_random": numbers["cmd_random"],
        "run": run,
    }
    same = ("sufficiency", "sufficiency_random", "necessity", "necessity_low", "necessity_high")
    node |= {k: numbers[k] for k in (*same, "necessity_random", "edges", "edges_kept")}
    parts = [
        {
            "source": str(address),
            "target": key,
            "run": run,
            "role": "circuit",
            "position": place,
            "score": float(score),
            "leads_to": edges.leads_to.get(str(address)),
        }
        for place, (address, score) in enumerate(zip(members, scores, strict=True), 1)
    ]
    provenance = [{"source": key, "target": run}]
    return tables_of(dict(zip(_KINDS, ([node], parts, provenance), strict=True)))

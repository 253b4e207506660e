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
    from scircuit.tracing.models.adapter import Adapter

MOST_DRAWN, MOST_JOINS = 80, 240  # features and edges of the drawing
_BY_EDGES = (
    "sufficiency_edges", "sufficiency_edges_low", "sufficiency_edges_high", "sufficiency_no_edges",
)  # fmt: skip
_KINDS = ("Intervention", "Feature-PART_OF-Intervention", "Intervention-FROM-Run")


def circuit_finding(
    adapter: Adapter,
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
    """Finding of a circuit with its records; of one that is refused, its numbers without features.

    Parameters
    ----------
    adapter
        The model, for the share that the edges keep.
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
        "edges": len(edges.joins),
        "edges_kept": len(edges.leads_to),
        **_by_edges(adapter, found, addresses, edges, config.seed),
        "features": [str(a) for a in addresses],
        **drawn_parts(addresses, found.scores[found.members], edges),
        **more,
    }
    plain = {k: v.item() if isinstance(v, np.generic) else v for k, v in numbers.items()}
    known = {
        k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in plain.items()
    }
    finding = behaviour_circuit(_frame(found.curve), known, found.refusal, text)
    scores = found.scores[found.members]
    return replace(finding, records=_records(known, found.refusal, addresses, scores, edges, run))


def _by_edges(
    adapter: Adapter,
    found: BehaviourCircuit,
    addresses: list[Address],
    edges: CircuitEdges,
    seed: int,
) -> dict[str, float | None]:
    """What the members keep when they reach each other through the edges alone; None of a circuit
    that is refused, or too large.
    """
    from scircuit.tracing.behaviour.edge_paths import edge_share

    place = {str(a): int(i) for a, i in zip(addresses, found.members, strict=True)}
    pairs = [(place[source], place[target]) for source, target, *_ in edges.joins]
    share = edge_share(adapter, found.space, found.judged, found.members, pairs, seed)
    return dict(zip(_BY_EDGES, share or (None,) * len(_BY_EDGES), strict=True))


def drawn_parts(
    addresses: list[Address], scores: np.ndarray, edges: CircuitEdges
) -> dict[str, list[list[Any]]]:
    """The first `MOST_DRAWN` members (address, layer, score), and the edges between these (source,
    target, computed effect, its z), the strongest first: what the drawing of the circuit shows.
    """
    first = addresses[:MOST_DRAWN]
    shown = {str(a) for a in first}
    return {
        "members": [
            [str(a), a.layer, float(score)]
            for a, score in zip(first, scores[: len(first)], strict=True)
        ],
        "joins": [list(edge) for edge in edges.joins if shown.issuperset(edge[:2])][:MOST_JOINS],
    }


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
    refusal: str,
    members: list[Address],
    scores: np.ndarray,
    edges: CircuitEdges,
    run: str,
) -> dict[str, Any]:
    from scircuit.tracing.interventions.intervention_tables import tables_of

    key, n = f"{run}/circuit", len(members)
    node = {
        "id": key,
        "name": f"{numbers['behaviour']}: "
        + ("refused" if refusal else f"{n} feature{'s' * (n != 1)}"),
        "verb": "circuit",
        "behaviour": numbers["behaviour"],
        "readout": numbers["text"],
        "order": None if refusal else n,
        "size": numbers["size"],
        "refused": refusal or None,
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
    node |= {k: numbers[k] for k in (*same, "necessity_random", *_BY_EDGES)}
    node |= {k: None if refusal else numbers[k] for k in ("edges", "edges_kept")}
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
    given = zip(_KINDS, ([node], parts, provenance), strict=True)
    return tables_of({kind: rows for kind, rows in given if rows})

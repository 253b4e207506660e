"""What an edge is worth: computed edges of the THP-1 example beside those of scrambled copies and
of random directions, planted circuits and effects, and what the null costs; one JSON line.

    python bench/edges.py            a table
    python bench/edges.py --json     one line
    python bench/edges.py --seeds 3 --sources 0

computed_trained, computed_permuted, computed_rotated
    computed edges per source of the trained model, of copies with permuted weights (dictionaries
    trained on them by the same settings) and of the trained model with rotated decoders
expected_false
    share of the trained model's edges that held-out random directions give at the same threshold
pooled_over_direct_sigma
    spread of the pooled null over that of directly drawn random directions in the worst layer pair:
    median and the range of 90 % of the (source, target) pairs
null_cost_over_map, audit_cost_over_map
    time of the pooled null and of its audit over the time of the map, in this process
planted_power, planted_fdr
    share of planted circuits that are found, and share of false ones among the edges found, worst
    of the model families (`bench/planted.py`)
guard_power_ratio
    power of the calibrated rule over that of sign flips with Benjamini-Hochberg, in the worst class
    of symmetric effects (`bench/calibration.py`)
family_edges
    edges of total effects against zero at q <= .05 by plain Benjamini-Hochberg, with every live
    test in the family and with those that can be called
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import calibration
import numpy as np
import planted

import scircuit as sc
from scircuit.core.config import TraceConfig
from scircuit.core.edge_rules import MAX_Q
from scircuit.execution.load_inputs import load_inputs
from scircuit.tracing.direction_null.null_audit import audit_null, audited_sources
from scircuit.tracing.direction_null.pooled_null import null_jobs, null_part
from scircuit.tracing.engine.tracer import Tracer, open_tracers
from scircuit.tracing.statistics.effect_statistics import edge_statistics
from scircuit.tracing.statistics.q_values import q_table

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "thp1"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    parser.add_argument("--cells", type=int, default=20, help="cells to trace")
    parser.add_argument("--seeds", type=int, default=1, help="scrambled copies of each kind")
    parser.add_argument("--sources", type=int, default=60, help="sources in each copy (0: all)")
    parser.add_argument("--train-cells", type=int, default=0, help="as in `scircuit null`")
    parser.add_argument("--replicates", type=int, default=60, help="of planted effects")
    given = parser.parse_args()
    options: dict[str, Any] = {
        "model": str(EXAMPLE / "model"),
        "dictionaries": str(EXAMPLE / "dictionaries"),
        "cells": next((EXAMPLE / "cells").glob("*.h5ad")),
        "source_layers": (1,),
        "n_cells": given.cells,
        "model_name": "geneformer-thp1",
    }
    found = {"cells": given.cells, "seeds": given.seeds, "copy_sources": given.sources}
    with tempfile.TemporaryDirectory() as scratch:
        quiet: dict[str, Any] = {"study": scratch, "database": False, "quiet": True}
        traced = sc.trace(**options, **quiet)
        null = sc.null(
            seeds=given.seeds, sources=given.sources, train_cells=given.train_cells, **quiet
        )
    found |= edges(traced.findings, null.findings) | of_map(TraceConfig(**options))
    found |= planted.planted() | {"guard_power_ratio": calibration.guard(given.replicates)}
    if given.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:24} {value}")


def edges(traced: dict[str, Any], null: dict[str, Any]) -> dict[str, Any]:
    """Computed edges of the run and of its copies."""
    row = next(r for r in null["table"] if r["number"] == "computed_per_source")
    worst = max(traced["directions"], key=lambda d: abs(np.log(d["sigma_ratio"])))
    computed = traced["edges_computed"]
    return {
        "sources": traced["sources"],
        "callable_pairs": traced["callable_pairs"],
        "computed": computed,
        "carried": traced["edges_carried"],
        "generic": traced["edges_generic"],
        "computed_trained": row["trained"],
        "computed_permuted": row["permuted"],
        "computed_rotated": row["rotated"],
        "expected_false": traced["expected_false"] / computed if computed else None,
        "pooled_over_direct_sigma": [
            1 / worst[f"sigma_ratio{end}"] for end in ("", "_high", "_low")
        ],
    }


def of_map(config: TraceConfig) -> dict[str, Any]:
    """Seconds of the null and of its audit over those of the map, and edges by family."""
    inputs = load_inputs(config)
    tracer = open_tracers(
        inputs.adapter, inputs.dictionaries, inputs.cohort, inputs.settings, "bench"
    )[1]
    assert tracer.floors.size and tracer.change_floors.size  # computed before the clock starts
    started = time.perf_counter()
    changes = np.concatenate([null_part(tracer, draws) for draws in null_jobs(tracer)], 1)
    pooled = time.perf_counter()
    place = {f: i for i, f in enumerate(tracer.sources.tolist())}
    for features in audited_sources(tracer):
        audit_null(tracer, features, changes[[place[f] for f in features.tolist()]])
    audited = time.perf_counter()
    for unit in tracer.units:
        for tile in tracer.tiles_of(unit):
            tracer.effects(tile)
    whole = time.perf_counter() - audited
    return {
        "null_cost_over_map": (pooled - started) / whole,
        "audit_cost_over_map": (audited - pooled) / whole,
        "family_edges": family_edges(tracer),
    }


def family_edges(tracer: Tracer) -> dict[str, int]:
    """Edges with every live test in the family, and with the callable ones."""
    p, able = [np.zeros(0)], [np.zeros(0, bool)]
    for unit in tracer.units:
        for tile in tracer.tiles_of(unit):
            found = tracer.effects(tile)
            tests = edge_statistics(found.effects, found.active, tracer.floors, MAX_Q)
            p.append(tests.p)
            able.append(tests.callable)
    every, can = np.concatenate(p), np.concatenate(able)
    return {
        name: int((every[can] <= _threshold(every[family])).sum())
        for name, family in (("live", np.ones(len(every), bool)), ("callable", can))
    }


def _threshold(p: np.ndarray) -> float:
    return q_table(*np.unique(p, return_counts=True), exact=MAX_Q).threshold(MAX_Q)


if __name__ == "__main__":
    main()

"""What an edge is worth: computed edges of the THP-1 example beside those of scrambled copies and
of random directions, and what the null costs; one JSON line.

    python bench/edges.py            a table
    python bench/edges.py --json     one line
    python bench/edges.py --seeds 3 --sources 0

`computed_*` are computed edges per source of the trained model, of copies with permuted weights
(dictionaries trained on them by the same settings) and of the trained model with rotated decoders;
`expected_false` the share of the trained model's edges that held-out random directions give at the
same threshold; `sigma_ratio` the spread of directly drawn random directions over that of the pooled
null (median, 5 and 95 %, worst layer pair); `null_cost_over_map` the time of the pooled null and of
its audit over the time of the map, in this process."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import scircuit as sc
from scircuit.core.config import TraceConfig
from scircuit.execution.load_inputs import load_inputs
from scircuit.tracing.direction_null.null_audit import audit_null, audited_sources
from scircuit.tracing.direction_null.pooled_null import null_jobs, null_part
from scircuit.tracing.engine.tracer import Tracer, open_tracers

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "thp1"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    parser.add_argument("--cells", type=int, default=20, help="cells to trace")
    parser.add_argument("--seeds", type=int, default=1, help="scrambled copies of each kind")
    parser.add_argument("--sources", type=int, default=60, help="sources in each copy (0: all)")
    parser.add_argument("--train-cells", type=int, default=0, help="as in `scircuit null`")
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
    found |= edges(traced.findings, null.findings) | cost(TraceConfig(**options))
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
        "sigma_ratio": [worst[f"sigma_ratio{end}"] for end in ("", "_low", "_high")],
    }


def cost(config: TraceConfig) -> dict[str, float]:
    """Seconds of the null and of its audit over those of the map."""
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
    _map(tracer)
    whole = time.perf_counter() - audited
    return {
        "null_cost_over_map": (pooled - started) / whole,
        "audit_cost_over_map": (audited - pooled) / whole,
    }


def _map(tracer: Tracer) -> None:
    for unit in tracer.units:
        for tile in tracer.tiles_of(unit):
            tracer.effects(tile)


if __name__ == "__main__":
    main()

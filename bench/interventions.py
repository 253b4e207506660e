"""Joint ablation: all pairs of the top hubs of the THP-1 example, layer passes of a triplet, speed
against a plain reference, and power on planted networks; one JSON line.

    python bench/interventions.py            a table
    python bench/interventions.py --json     one line
    python bench/interventions.py --planted  the planted networks alone
    python bench/interventions.py --study S  with the trace and analyse runs of a study, as
                                             `scircuit demo --study S` makes them

pairs, pairs_seconds, pairs_cpu_seconds
    pairs among the top hubs of the demo's trace, each in 20 cells: how long they took with their
    statistics and records, and the time of all processors, which other programs do not change
cpu_seconds_effects
    of these, the ablated passes alone
passes_a_pair
    layer passes of one pair in one cell, with singles shared
triplet_passes, triplet_passes_plain
    layer passes of a triplet at layers 0, 5, 11 read at 17 in one cell, counted while it runs; and
    of whole passes for each condition
speed_up, speed_up_triplets
    processor time of a plain loop over conditions for each set, over what a set takes here, in
    this process: pairs of the example, and triplets of a small model with 18 layers
largest_difference
    of an effect between the two
planted
    by cells and size of the planted contrast over the noise (of pairs: over sqrt(2) of it), for
    pairs and triplets: power with the right sign, and share of false ones among those called
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import tests_package  # noqa: F401 - makes `tests` importable
import torch

import scircuit as sc
from scircuit.core.address import Address, parse
from scircuit.core.study import Study
from scircuit.execution.feature_table import features_of
from scircuit.execution.load_inputs import inputs_of_run
from scircuit.tracing.interventions import ablate_pairs, ablate_sets
from scircuit.tracing.interventions.ablation import joint_ablation
from scircuit.tracing.models.geneformer import Geneformer
from tests.support import plain_ablation
from tests.support.planted_interactions import LAST, planted_world, recovery
from tests.support.tiny_models import TinyDictionary, tiny_cells, tiny_cohort, tiny_model

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "thp1"
_PLAIN_PAIRS = 3  # of the plain loop
_MIXED = {"additive": 120, "or2": 20, "and2": 20, "or3": 20, "and3": 20}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    parser.add_argument("--hubs", type=int, default=50, help="hubs whose pairs are ablated")
    parser.add_argument("--cells", type=int, default=20, help="cells to trace")
    parser.add_argument("--replicates", type=int, default=10, help="planted networks of a kind")
    parser.add_argument("--study", type=Path, help="a study to take the hubs from")
    parser.add_argument("--planted", action="store_true", help="planted networks alone")
    given = parser.parse_args()
    found: dict[str, Any] = {"threads": torch.get_num_threads()}
    if not given.planted:
        found |= of_pairs(given.hubs, given.cells, given.study) | of_triplets()
    found["planted"] = planted(given.replicates)
    if given.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:28} {value}")


def of_pairs(hubs: int, n_cells: int, place: Path | None) -> dict[str, Any]:
    """All pairs of the top hubs, and some of them by the plain loop."""
    with tempfile.TemporaryDirectory() as scratch:
        quiet: dict[str, Any] = {"study": place or scratch, "database": False}
        sc.trace(
            model=str(EXAMPLE / "model"),
            dictionaries=str(EXAMPLE / "dictionaries"),
            cells=next((EXAMPLE / "cells").glob("*.h5ad")),
            source_layers=(1,),
            n_cells=n_cells,
            model_name="geneformer-thp1",
            quiet=True,
            **quiet,
        )
        analysed = sc.analyse(**quiet)
        study = Study(place or Path(scratch))
        table = features_of(study, study.manifest(analysed.run)).to_pandas()
        _, inputs = inputs_of_run(study.latest("trace"), device="cpu")
    ranked = table[table["hub_rank"].notna()].sort_values("hub_rank")["id"].head(hubs)
    features = [parse(text) for text in ranked]
    counted: list[int] = []
    parts = inputs.adapter, inputs.dictionaries, inputs.cohort
    seconds, cpu, inside = _timed(
        lambda: ablate_sets(
            *parts,
            [(f, g) for i, f in enumerate(features) for g in features[:i]],
            run="bench",
            passed=counted.append,
        )
    )
    pairs = len(features) * (len(features) - 1) // 2
    start = time.process_time()
    plain = [
        plain_ablation.plain_effects(
            inputs.adapter.model, inputs.dictionaries, tokens, sorted(pair), 3
        )
        for pair in list(itertools.pairwise(features))[:_PLAIN_PAIRS]
        for tokens in inputs.cohort.tokens
    ]
    plain_seconds = (time.process_time() - start) / _PLAIN_PAIRS
    return {
        "hubs": len(features),
        "cells": n_cells,
        "pairs": pairs,
        "pairs_seconds": round(seconds, 1),
        "pairs_cpu_seconds": round(cpu, 1),
        "cpu_seconds_effects": round(inside, 1),
        "passes_a_pair": round(sum(counted) / pairs / n_cells, 3),
        "speed_up": round(plain_seconds / (cpu / pairs), 1),
        "largest_difference": _difference(inputs, features, plain),
    }


def _timed(work: Any) -> tuple[float, float, float]:
    """Seconds of a call, its processor time, and that of the ablated passes within it."""
    inside, run = [0.0], joint_ablation._block_effects

    def measured(*args: Any) -> Any:
        start = time.process_time()
        found = run(*args)
        inside[0] += time.process_time() - start
        return found

    joint_ablation._block_effects = measured
    try:
        start, cpu = time.perf_counter(), time.process_time()
        work()
        return time.perf_counter() - start, time.process_time() - cpu, inside[0]
    finally:
        joint_ablation._block_effects = run


def _difference(inputs: Any, features: list[Address], plain: list[Any]) -> float:
    """Largest difference of a stored joint effect of the first pair from the plain loop's."""
    tables = ablate_pairs(
        inputs.adapter, inputs.dictionaries, inputs.cohort, features[:2], run="bench"
    )
    own = [e.effects[0, 1] for e in plain[: len(inputs.cohort.tokens)] if e is not None]
    mean = np.mean(own, axis=0)
    rows = tables["Intervention-SHIFTED-Feature"].to_pylist()
    return max(abs(r["effect"] - mean[int(r["target"][-4:])]) for r in rows)


def of_triplets(sets: int = 6, cells: int = 6) -> dict[str, Any]:
    """Triplets at layers 0, 5, 11 read at 17 of a small random model."""
    layers = (0, 5, 11, 17)
    adapter = Geneformer(tiny_model(layers=18, width=64, positions=80), "tiny", "0" * 64)
    dictionaries: dict[int, Any] = {
        t: TinyDictionary(t, 64, 48, 12, seed=t, scale=2.0) for t in layers
    }
    cohort = tiny_cohort(tiny_cells(cells, seed=3, low=40, high=55))
    world = SimpleNamespace(adapter=adapter, dictionaries=dictionaries, cohort=cohort)
    firing = {t: _active_everywhere(world, t) for t in layers[:3]}
    triplets = [
        tuple(Address("tiny", "set", t, own[i]) for t, own in firing.items()) for i in range(sets)
    ]
    one: list[int] = []
    ablate_sets(adapter, dictionaries, cohort, triplets[:1], run="bench", passed=one.append)
    start = time.process_time()
    ablate_sets(adapter, dictionaries, cohort, triplets, run="bench")
    fast = (time.process_time() - start) / sets
    start = time.process_time()
    plain = [
        plain_ablation.plain_effects(adapter.model, dictionaries, c, triplets[0], 17)
        for c in cohort.tokens
    ]
    slow = time.process_time() - start
    return {
        "triplet_passes": sum(one) / cells,
        "triplet_passes_plain": plain[0].passes if plain[0] else None,
        "speed_up_triplets": round(slow / fast, 1),
    }


def _active_everywhere(world: Any, layer: int) -> list[int]:
    """Features of a layer that are active in all cells."""
    from scircuit.tracing.clean_pass.clean_pass import clean_cell

    cells = [
        clean_cell(world.adapter, {layer: world.dictionaries[layer]}, c, ())
        for c in world.cohort.tokens
    ]
    on = np.all([np.diff(c.firing[layer].start) > 0 for c in cells], axis=0)
    return np.flatnonzero(on).tolist()


def planted(replicates: int) -> list[dict[str, Any]]:
    """Power and false share of the interaction test."""
    found = []
    for cells in (20, 50):
        for effect in (0.5, 1.0, 2.0):
            worlds: list[Any] = [
                planted_world(cells, _MIXED, effect, seed) for seed in range(replicates)
            ]
            tables = [
                ablate_sets(
                    w.adapter, w.dictionaries, w.cohort, [w.members((0, 1, 2))], run="bench",
                    targets=(LAST,),
                )
                for w in worlds
            ]  # fmt: skip
            for order in (2, 3):
                of = [recovery(w, t, order) for w, t in zip(worlds, tables, strict=True)]
                found.append(
                    {
                        "cells": cells,
                        "effect": effect,
                        "order": order,
                        "power": round(float(np.mean([r.power for r in of])), 3),
                        "false_share": round(float(np.mean([r.false for r in of])), 3),
                    }
                )
    return found


if __name__ == "__main__":
    main()

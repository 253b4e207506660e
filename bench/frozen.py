"""The frozen context at Geneformer's shape against the exact one, and against exact on the demo
model, layer by layer.

`whole_map` measures, on random weights of the shape of Geneformer V2-316M and full-length cells:
exact pairs, about one cell's work of all active features in the frozen context, as many cells at
once as there are cores for both, and one work unit over all cells with its statistics (for memory
and the time of the statistics); what a whole map takes is projected from these. `agreement` traces
every source of the demo in both contexts."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import tests_package  # noqa: F401 - finds tests.support from any folder
import torch

from scircuit.core.config import TraceConfig
from scircuit.core.context import EXACT, FROZEN
from scircuit.tracing.controls.audit import run_audit
from scircuit.tracing.controls.control_edges import Rule
from scircuit.tracing.engine.effects import Ablation
from scircuit.tracing.engine.settings import resolve_settings
from scircuit.tracing.engine.tracer import Tracer, open_tracers
from scircuit.tracing.models.geneformer import Geneformer
from scircuit.tracing.statistics.q_values import q_table
from scircuit.tracing.statistics.skewness import Null
from tests.support.tiny_models import TinyDictionary, tiny_model

SOURCE, TARGETS, ACTIVE = 5, (6, 11, 17), 4065  # the published map
SHAPE = {
    "layers": 18,
    "width": 1152,
    "heads": 18,
    "vocabulary": 20275,
    "spread": 0.02,
    "act": "relu",
    "ffn": 4608,
}


def shaped(
    shape: dict[str, Any],
    positions: int,
    n_cells: int,
    device: str,
    latents: int = 4608,
    k: int = 32,
) -> tuple[Any, Any, Any]:
    """Random model, dictionaries of every layer that is measured, centred on its states as trained
    ones are, and full-length cells.
    """
    model = tiny_model(positions=positions, **shape)
    model.set_attn_implementation("sdpa")
    adapter = Geneformer(model, "geneformer-shape", "", device)
    layers = (
        (SOURCE, *TARGETS)
        if shape["layers"] == SHAPE["layers"]
        else (0, *range(1, shape["layers"]))
    )
    dictionaries = {t: TinyDictionary(t, shape["width"], latents, k, seed=t) for t in layers}
    rng = np.random.default_rng(0)
    genes = np.arange(4, shape["vocabulary"])
    cells = [np.r_[2, rng.choice(genes, positions - 2, replace=False), 3] for _ in range(n_cells)]
    states = adapter.clean_states(cells[0])
    for layer, dictionary in dictionaries.items():
        dictionary.mean = states[layer].mean(0)
        dictionary.b_enc = torch.zeros_like(dictionary.b_enc)
        if layer == SOURCE and latents > ACTIVE:
            dictionary.b_enc[
                ACTIVE:
            ] = (
                -1e3
            )  # as many active features as the published dictionary has; the others never fire
    return adapter, dictionaries, SimpleNamespace(tokens=cells)


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def exact_flop(
    width: int,
    ffn: int,
    positions: int,
    rows: float,
    layers: int,
    targets: int,
    latents: int,
    batch: int = 1,
) -> float:
    """Arithmetic of one exact pair: first layer (projections of `rows`, those of the clean cell
    once a batch), full layers, last layer (keys and values of all positions, the rest of `rows`),
    codes of `rows`."""
    project, attend, feed = 2 * width**2, 4 * positions * width, 4 * width * ffn
    full = positions * (4 * project + attend + feed)
    first = full + 3 * project * (positions / batch - (positions - rows))
    last = positions * 2 * project + rows * (2 * project + attend + feed)
    return first + (layers - 2) * full + last + targets * rows * 2 * width * latents


def frozen_flop(
    width: int,
    ffn: int,
    positions: int,
    rows: float,
    layers: int,
    targets: int,
    latents: int,
    batches: int = 1,
) -> float:
    """Arithmetic of one frozen cell with `rows` edited rows in all, and clean keys and values once
    a batch.
    """
    each = rows * (
        layers * (8 * width**2 + 4 * positions * width + 4 * width * ffn)
        + targets * 2 * width * latents
    )
    return each + batches * layers * 4 * positions * width**2


def whole_map(
    positions: int = 2048,
    n_cells: int = 20,
    exact_pairs: int = 2,
    device: str = "cpu",
    share: float = 0.0,
) -> dict[str, Any]:
    """Measure, and project the whole map of ACTIVE features in `n_cells` cells.

    Parameters
    ----------
    share
        Share of the exact pairs of one cell that is measured; `exact_pairs` when 0.
    """
    adapter, dictionaries, cohort = shaped(SHAPE, positions, n_cells, device)
    config = TraceConfig(
        model="m",
        dictionaries="d",
        cells=Path("c"),
        source_layers=(SOURCE,),
        target_layers=TARGETS,
        context="frozen",
        features=tuple(range(ACTIVE)),
        gate_p=0.1,
        device=device,
    )
    start = time.perf_counter()
    tracer = open_tracer(adapter, dictionaries, cohort, config)
    synchronise(adapter.device)
    clean_s = time.perf_counter() - start
    # A job a core for both contexts, as in a run: so many cells at once, and so many fewer of the
    # tiles, which are alike.
    cores = min(n_cells, torch.get_num_threads()) if adapter.device.type == "cpu" else 1
    some = Ablation(
        adapter, tracer.dictionaries, tracer.cells[:cores], SOURCE, TARGETS, tracer.plan, print
    )
    counts = some.counts[tracer.sources]
    pairs, rows = (counts > 0).sum() / cores, int(counts.sum() / cores)
    tiles = [tile for unit in tracer.units for tile in tracer.tiles_of(unit)]
    batches = sum(len(some._batches(some.counts[tile, 0], FROZEN, 1)) for tile in tiles)
    measured_tiles = tiles[: -(-len(tiles) // cores)]

    usual = int(np.median(counts[counts > 0]))
    pool = np.concatenate(measured_tiles)
    pool = pool[np.argsort(np.abs(some.counts[pool] - usual).max(1), kind="stable")]
    sample = pool[: max(exact_pairs, int(share * pairs))]
    for context in (EXACT, FROZEN):
        some.effects(
            sample[:1], context
        )  # what the first use of each operation costs is not part of the rate
    start = time.perf_counter()
    exact = some.effects(sample, EXACT)
    synchronise(adapter.device)
    pair_s = (time.perf_counter() - start) / int(exact.active.sum())

    spent, worst, ties, compared, next_layer = 0.0, 0.0, 0, 0, tracer.columns(TARGETS[0])
    for tile in measured_tiles:
        start = time.perf_counter()
        found = some.effects(tile, FROZEN)
        synchronise(adapter.device)
        spent += time.perf_counter() - start
        for i, f in enumerate(sample):  # the first measured layer is exact in both
            for at in np.flatnonzero(tile == f):
                gap = np.abs(found.effects[at, 0, next_layer] - exact.effects[i, 0, next_layer])
                # a latent entering or leaving the top k moves by its whole value, shared over rows
                tie = gap > 1e-3 / max(some.counts[f, 0], 1)
                worst, ties, compared = (
                    max(worst, float(gap[~tie].max(initial=0))),
                    ties + int(tie.sum()),
                    compared + gap.size,
                )
    frozen_s = spent * rows / int(some.counts[pool].sum())
    exact_s = pair_s * pairs

    start = time.perf_counter()
    _ = tracer.floors
    zero_edits = time.perf_counter() - start  # once a run, not once a unit
    start = time.perf_counter()
    unit = tracer.run_unit(tracer.units[0])
    unit_s = time.perf_counter() - start
    measured = int((tracer.ablation.counts[tracer.features_of(tracer.units[0])] > 0).sum())
    hours = unit_s * tracer.pairs / measured / 3600
    depth, width, ffn, latents = TARGETS[-1] - SOURCE, adapter.width, adapter.ffn, 4608
    flop = exact_flop(width, ffn, positions, usual, depth, len(TARGETS), latents, tracer.plan.pairs)
    flop_frozen = frozen_flop(width, ffn, positions, rows, depth, len(TARGETS), latents, batches)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        2**20 if sys.platform != "darwin" else 2**30
    )
    # every source layer, and every later layer measured: by the arithmetic and the rate measured
    # above
    below = [SHAPE["layers"] - 1 - s for s in range(SHAPE["layers"] - 1)]
    all_exact = (
        sum(
            exact_flop(width, ffn, positions, usual, max(n, 2), n, latents, tracer.plan.pairs)
            for n in below
        )
        * pairs
    )
    all_frozen = sum(
        frozen_flop(width, ffn, positions, rows, n, n, latents, batches) for n in below
    )
    return {
        "frozen_vs_exact": exact_s / frozen_s,
        "frozen_vs_exact_arithmetic": flop * pairs / flop_frozen,
        "peak_rss_gb": memory,
        "l5_map_hours": frozen_s * n_cells / 3600,
        "l5_map_hours_with_statistics": hours + (clean_s + zero_edits) / 3600,
        "exact_s_per_pair": pair_s,
        "l5_exact_map_hours": exact_s * n_cells / 3600,
        "frozen_s_per_cell": frozen_s,
        "clean_s": clean_s,
        "zero_edits_s": zero_edits,
        "unit_s": unit_s,
        "units": len(tracer.units),
        "exact_pairs_measured": int(exact.active.sum()),
        "active_features": pairs,
        "cells_at_once": cores,
        "rows": rows,
        "positions": positions,
        "cells": n_cells,
        "next_layer_max_diff": worst,
        "next_layer_ties": ties,
        "next_layer_compared": compared,
        "live_tests_of_unit": unit.live,
        "tile": len(tracer.tiles_of(tracer.units[0])[0]),
        "exact_tflops": flop / pair_s / 1e12,
        "frozen_tflops": flop_frozen / frozen_s / 1e12,
        "all_layers_exact_map_hours": all_exact / flop * pair_s * n_cells / 3600,
        "all_layers_frozen_map_hours": all_frozen / flop_frozen * frozen_s * n_cells / 3600,
        "audit_hours": max(20, int(np.ceil(0.02 * ACTIVE))) * n_cells * pair_s / 3600,
        "device_peak_gb": torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else None,
    }


def open_tracer(
    adapter: Any, dictionaries: Any, cohort: Any, config: TraceConfig, **sizes: int
) -> Tracer:
    """Tracer of the first source layer; `sizes` are those of batches and units."""
    settings = replace(resolve_settings(config, adapter, dictionaries), **sizes)
    return next(iter(open_tracers(adapter, dictionaries, cohort, settings, "bench").values()))


def agreement(adapter: Any, dictionaries: Any, cohort: Any, config: TraceConfig) -> dict[str, Any]:
    """Precision and recall of the frozen context by layer distance, over every source of the demo,
    by both rules.
    """
    frozen = replace(config, context="frozen", audit=1.0)
    tracer = open_tracer(adapter, dictionaries, cohort, frozen)
    results = [tracer.run_unit(u) for u in tracer.units]
    table = q_table(
        [r.total.p for r in results],
        [r.total.counts for r in results],
        null=Null.joined([r.null for r in results]),
    )
    found = [a for a in run_audit(tracer, Rule(table), further=False) if a.context == "frozen"]
    by = {a.target_layer - a.source_layer: a for a in found}
    return {
        "frozen_precision": {d: a.precision for d, a in by.items()},
        "frozen_recall": {d: a.recall for d, a in by.items()},
        "frozen_precision_legacy": {d: a.precision_legacy for d, a in by.items()},
        "frozen_recall_legacy": {d: a.recall_legacy for d, a in by.items()},
        "frozen_correlation": {d: a.correlation for d, a in by.items()},
        "frozen_cross_share": {d: a.cross_share for d, a in by.items()},
        "sources": found[0].sources if found else 0,
    }

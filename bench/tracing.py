"""Exact tracing against the plain loop and frozen against exact, in one run on this machine, and
where the engine's time goes.

``python bench/tracing.py --json`` prints one JSON line: `speedup_demo` (the shipped demo model,
cells and dictionaries), `speedup_geneformer` (random weights of the shape of Geneformer V2-316M,
full-length cells, one pair at a time), `max_abs_diff` (largest difference of any per-cell effect
between the two, apart from ties of the k-th place, which are counted), and seconds per part. The
plain loop is ``tests/support/plain_engine.py``: whole forward with a hook, two dense decodes, every
position encoded, clean codes cached; it computes no direct effects, the engine does. Of each, the
best time counts, on one core or on all; `speedup_one_core` sets both to one.

`frozen_vs_exact`, `peak_rss_gb`, `l5_map_hours_2_cores` (``bench/frozen.py:whole_map``), and
`frozen_precision`, `frozen_recall` by layer distance on the demo model (``agreement``). ``--device
cuda`` measures the Geneformer shape on a GPU instead: at least 5 % of one cell's exact pairs,
sustained TFLOP/s, and the projected and measured times of the whole map."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import tests_package  # noqa: F401 - finds tests.support from any folder
import torch
from frozen import agreement, open_tracer, whole_map

from scircuit.core.config import TraceConfig
from scircuit.tracing.engine.effects import Ablation
from scircuit.tracing.engine.tracer import Tracer
from scircuit.tracing.models import load_model
from scircuit.tracing.models.geneformer import Geneformer
from scircuit.tracing.statistics.effect_statistics import edge_statistics
from tests.support.plain_engine import cell_effects, clean_pass
from tests.support.tiny_models import TinyDictionary, tiny_model

ROOT = Path(__file__).resolve().parent.parent


def timed_parts(tracer: Tracer) -> dict[str, float]:
    """Make the tracer's adapter and dictionaries add up the seconds they take, on one thread from
    here on.
    """
    torch.set_num_threads(1)
    parts: dict[str, float] = defaultdict(float)

    def wrap(owner: Any, name: str, label: str) -> None:
        plain = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = plain(*args, **kwargs)
            parts[label] += time.perf_counter() - start
            return result

        setattr(owner, name, timed)

    wrap(tracer.adapter, "layer_edited", "first layer")
    wrap(tracer.adapter, "layer", "middle layers")
    wrap(tracer.adapter, "layer_rows", "last layer")
    for dictionary in {id(d): d for d in tracer.dictionaries.values()}.values():
        wrap(dictionary, "encode_topk", "encode")
    return parts


def compare(
    tracer: Tracer, features: np.ndarray, cells: list[np.ndarray], repeats: int = 1
) -> dict[str, Any]:
    """Time both ways on the same pairs and compare every per-cell effect."""
    model = tracer.adapter.model  # type: ignore[attr-defined]
    layers = (tracer.layer, *tracer.targets)
    clean = [clean_pass(model, tracer.dictionaries, c, layers) for c in cells]
    every = torch.get_num_threads()
    fast: dict[int, list[float]] = defaultdict(list)
    slow: dict[int, list[float]] = defaultdict(list)
    found, plain = None, {}
    # In turn, so that a busy machine slows both; on one core and on all, because a loop of small
    # products can be faster on one.
    for threads in [1, every] * repeats:
        torch.set_num_threads(threads)
        start = time.perf_counter()
        found = tracer.effects(features)
        fast[threads].append(time.perf_counter() - start)
        start = time.perf_counter()
        for i, f in enumerate(features):
            for c, cell in enumerate(clean):
                plain[i, c] = cell_effects(
                    model,
                    tracer.dictionaries,
                    cell,
                    tracer.layer,
                    tracer.targets,
                    int(f),
                    split=False,
                )
        slow[threads].append(time.perf_counter() - start)
    assert found is not None
    worst, ties, compared = 0.0, 0, 0
    for (i, c), effects in plain.items():
        for t in tracer.targets if effects else ():
            gap = np.abs(effects.effects[t] - found.effects[i, c, tracer.columns(t)])
            # a latent entering or leaving the top k on a tie moves by its whole value, shared over
            # the active positions
            tie = gap > 1e-3 / effects.positions
            ties, compared = ties + int(tie.sum()), compared + gap.size
            worst = max(worst, float(gap[~tie].max()))
    pairs = int(found.active.sum())
    best_fast, best_slow = (min(map(min, times.values())) for times in (fast, slow))
    return {
        "pairs": pairs,
        "engine_s_per_pair": best_fast / pairs,
        "plain_s_per_pair": best_slow / pairs,
        "speedup": best_slow / best_fast,
        "speedup_one_core": min(slow[1]) / min(fast[1]),
        "max_abs_diff": worst,
        "ties": ties,
        "compared": compared,
    }


def demo(n_features: int, n_cells: int, whole: bool) -> dict[str, Any]:
    """The shipped model; its cells and dictionaries where they are there, random ones of that shape
    otherwise.
    """
    folder = ROOT / "examples"
    stand_in = []
    if (folder / "model" / "config.json").exists():
        adapter = load_model(folder / "model", device="cpu")
    else:
        stand_in.append("model")
        shape = {
            "layers": 6,
            "width": 128,
            "heads": 4,
            "vocabulary": 20275,
            "positions": 258,
            "spread": 0.05,
            "ffn": 512,
        }
        adapter = Geneformer(tiny_model(**shape), "demo", "")
    if (folder / "dictionaries").is_dir():
        from scircuit.tracing.dictionaries import load_dictionaries

        dictionaries = load_dictionaries(folder / "dictionaries")
    else:
        stand_in.append("dictionaries")
        dictionaries = {
            t: TinyDictionary(t, adapter.width, 4 * adapter.width, 16, seed=t)
            for t in range(1, adapter.n_layers)
        }
    config = TraceConfig(
        model="m",
        dictionaries="d",
        cells=folder / "cells" / "celltypist_sample_559cells.h5ad",
        n_cells=n_cells,
        mixed=True,
    )
    if not stand_in:
        from scircuit.tracing.cells.cohort import load_cohort

        cohort = load_cohort(config, adapter.vocabulary, adapter.max_length)
    else:
        stand_in.append("cells")
        rng = np.random.default_rng(0)
        genes = adapter.max_length - 2
        tokens = [
            np.r_[2, rng.choice(np.arange(4, adapter.n_tokens), genes, replace=False), 3]
            for _ in range(n_cells)
        ]
        cohort = SimpleNamespace(tokens=tokens)
    tracer = open_tracer(adapter, dictionaries, cohort, config)
    rng = np.random.default_rng(1)
    sample = rng.choice(tracer.sources, min(n_features, len(tracer.sources)), replace=False)
    result = compare(tracer, sample, list(cohort.tokens), repeats=2)
    result |= {
        "stand_ins": stand_in,
        "sources": len(tracer.sources),
        "cells": len(cohort.tokens),
        "batch": tracer.plan.pairs,
    }
    threads = torch.get_num_threads()
    parts = timed_parts(tracer)
    start = time.perf_counter()
    found = tracer.effects(sample)
    total = time.perf_counter() - start
    parts["edits, change of codes"] = total - sum(parts.values())
    start = time.perf_counter()
    edge_statistics(found.effects, found.active, tracer.floors)
    parts["statistics"] = time.perf_counter() - start
    result["seconds_by_part"] = {k: round(v, 3) for k, v in parts.items()}
    torch.set_num_threads(threads)
    if whole:
        start = time.perf_counter()
        fresh = open_tracer(
            load_model(folder / "model", device="cpu") if not stand_in else adapter,
            dictionaries,
            cohort,
            config,
        )
        results = [fresh.run_unit(u) for u in fresh.units]
        result["whole_map"] = {
            "seconds": round(time.perf_counter() - start, 1),
            "pairs": sum(r.pairs for r in results),
            "live_tests": sum(r.live for r in results),
            "stored_edges": sum(len(r.edges) for r in results),
        }
    return result


def demo_agreement() -> dict[str, Any]:
    """Frozen against exact on the shipped demo."""
    from scircuit.tracing.cells.cohort import load_cohort
    from scircuit.tracing.dictionaries import load_dictionaries

    folder = ROOT / "examples"
    config = TraceConfig(
        model="m",
        dictionaries="d",
        cells=folder / "cells" / "celltypist_sample_559cells.h5ad",
        mixed=True,
    )
    adapter = load_model(folder / "model", device="cpu")
    cohort = load_cohort(config, adapter.vocabulary, adapter.max_length)
    return agreement(adapter, load_dictionaries(folder / "dictionaries"), cohort, config)


def geneformer(positions: int, n_features: int) -> dict[str, Any]:
    """Random weights of the shape of Geneformer V2-316M; source layer 5, targets 6, 11, 17; one
    full-length cell, one pair a batch.
    """
    shape = {
        "layers": 18,
        "width": 1152,
        "heads": 18,
        "vocabulary": 20275,
        "positions": positions,
        "spread": 0.02,
        "act": "relu",
        "ffn": 4608,
    }
    model = tiny_model(**shape)
    model.set_attn_implementation("sdpa")  # the faster of the two for the plain loop as well
    adapter = Geneformer(model, "geneformer-shape", "")
    dictionaries = {t: TinyDictionary(t, 1152, 4608, 32, seed=t) for t in (5, 6, 11, 17)}
    rng = np.random.default_rng(0)
    cell = np.r_[2, rng.choice(np.arange(4, 20275), positions - 2, replace=False), 3]
    config = TraceConfig(
        model="m",
        dictionaries="d",
        cells=Path("c"),
        source_layers=(5,),
        target_layers=(6, 11, 17),
        features=tuple(range(4608)),
    )
    cells = SimpleNamespace(tokens=[cell, cell[: positions // 16]])
    tracer = open_tracer(adapter, dictionaries, cells, config, batch_pairs=1)
    active = tracer.cells[0].firing[5].start
    counts = np.diff(active)
    usual = int(np.median(counts[counts > 0]))
    sample = np.flatnonzero(np.abs(counts - usual) <= 1)[:n_features]
    tracer.ablation = Ablation(
        adapter,
        tracer.dictionaries,
        tracer.cells[:1],
        tracer.layer,
        tracer.targets,
        tracer.plan,
        print,
    )
    result = compare(tracer, sample, [cell], repeats=1)
    parts = timed_parts(tracer)
    tracer.effects(sample)
    result["seconds_by_part"] = {k: round(v, 3) for k, v in parts.items()}
    return result | {"positions": positions, "active_positions": counts[sample].tolist()}


def measured_map(positions: int, n_cells: int) -> dict[str, Any]:
    """``bench/frozen.py:whole_map`` on the CPU."""
    return whole_map(positions, n_cells)


def main() -> None:
    """Run both and print the result."""
    threads = torch.get_num_threads()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON line")
    parser.add_argument(
        "--features", type=int, default=64, help="sources of the demo compared with the plain loop"
    )
    parser.add_argument(
        "--cells", type=int, default=4, help="cells of the demo compared with the plain loop"
    )
    parser.add_argument(
        "--geneformer-features",
        type=int,
        default=2,
        help="pairs of the Geneformer shape (0: leave out)",
    )
    parser.add_argument("--positions", type=int, default=2048, help="length of the Geneformer cell")
    parser.add_argument(
        "--whole", action="store_true", help="also time the demo's whole map on 20 cells"
    )
    parser.add_argument(
        "--map-cells",
        type=int,
        default=20,
        help="cells of the whole map at the Geneformer shape (0: leave it out)",
    )
    parser.add_argument(
        "--device", default="cpu", help="cpu, or cuda: the Geneformer shape alone, on a GPU"
    )
    args = parser.parse_args()
    if args.device != "cpu":
        on_device = whole_map(args.positions, args.map_cells, device=args.device, share=0.05)
        name = torch.cuda.get_device_name() if args.device == "cuda" else args.device
        print(
            json.dumps(
                {
                    "device": name,
                    "torch": torch.__version__,
                    "cuda": torch.version.cuda,
                    **on_device,
                },
                indent=None if args.json else 1,
            )
        )
        return
    small = demo(args.features, args.cells, whole=False)
    if args.whole:
        small["whole_map"] = demo(4, 20, whole=True)["whole_map"]
    large = (
        geneformer(args.positions, args.geneformer_features) if args.geneformer_features else None
    )
    local = demo_agreement()
    mapped = {}
    if args.map_cells:  # in a process of its own, so that its peak memory is its own
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            mapped = pool.submit(measured_map, args.positions, args.map_cells).result()
    result = {
        "frozen_vs_exact": mapped.get("frozen_vs_exact"),
        "frozen_precision": local["frozen_precision"],
        "frozen_recall": local["frozen_recall"],
        "peak_rss_gb": mapped.get("peak_rss_gb"),
        "l5_map_hours_2_cores": mapped.get("l5_map_hours_with_statistics"),
        "speedup_demo": round(small["speedup"], 2),
        "speedup_geneformer": round(large["speedup"], 2) if large else None,
        "max_abs_diff": max(small["max_abs_diff"], large["max_abs_diff"] if large else 0.0),
        "threads": threads,
        "torch": torch.__version__,
        "demo": small,
        "geneformer": large,
        "agreement": local,
        "map": mapped,
    }
    print(json.dumps(result, indent=None if args.json else 1))


if __name__ == "__main__":
    main()

"""What a map costs: one source layer or all, 10 to 1,000 cells, 1 to 64 workers; from measured
rates and arithmetic. One JSON line.

    python bench/scale.py --json
        the table, from the measurements in bench/scale.json
    python bench/scale.py --measured tracing.json --statistics --write
        take rates from `bench/tracing.py --json`, time the statistics on this machine, and write
        bench/scale.json and the tables of docs/scale.md

Shape and map are the published ones: Geneformer V2-316M, 2,048 positions, 4,065 active features a
layer, 32 active at each position; one layer is 5 -> 6, 11, 17, all layers are 0..16 -> every later
one. A run on N workers takes

    ceil(units / N) (arithmetic of a unit / rate + its statistics) + zero edits of a worker's layers
    + random directions + controls + audit

where random directions are jobs of some draws, and controls and audits jobs of a few sources each.
Rates of GPUs are assumed until a file of
measurements says otherwise."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from frozen import ACTIVE, SHAPE, exact_flop, frozen_flop

from scircuit.core.config import TraceConfig
from scircuit.tracing.hardware.memory_plan import make_plan

ROOT = Path(__file__).resolve().parent.parent
INPUT, PAGE = ROOT / "bench" / "scale.json", ROOT / "docs" / "scale.md"
WIDTH, FFN, LAYERS, LATENTS, POSITIONS, K = (
    SHAPE["width"],
    SHAPE["ffn"],
    SHAPE["layers"],
    4608,
    2048,
    32,
)
ROWS = K * (POSITIONS - 2)  # active rows of a cell
UNIT_SOURCES, CONTROLS, CONDITIONS, AUDITED = 16, 24, 4, 82  # defaults of a run; 2 % of the sources
DRAWS, DRAWS_OF_JOB = 64 + 16, 16  # random directions: for mean and spread, and held out
NULL_AUDIT = 8 * 8  # sources and directions of the audit of these
PART = 4  # least sources of a job of the controls or the audit (tracing/jobs.py)
ONE = {5: (6, 11, 17)}
ALL = {s: tuple(range(s + 1, LAYERS)) for s in range(LAYERS - 1)}
CELLS, WORKERS = (10, 20, 100, 1000), (1, 4, 16, 64)
GATE_P, REAL = TraceConfig.gate_p, 0.2  # with it about a quarter of the live tests is stored
# Aligned store: a relationship record and nine of properties (12 doubles, 6 whole numbers, the
# run's id).
EDGE_BYTES = 34 + 9 * 41
PARQUET_BYTES = 66
EDGES_PER_PAIR = 1_393_850 / 3  # published edges of a pair of layers, 20 cells, legacy rule


def flops(
    context: str, source: int, targets: tuple[int, ...], sources: int, cells: int, batch: int
) -> float:
    """Arithmetic of `sources` in `cells` cells; `batch` is the edits of an exact batch, or the
    batches of a frozen cell.
    """
    depth, n = targets[-1] - source, len(targets)
    if context == "exact":
        return (
            sources
            * cells
            * exact_flop(WIDTH, FFN, POSITIONS, ROWS / ACTIVE, max(depth, 2), n, LATENTS, batch)
        )
    return cells * frozen_flop(
        WIDTH, FFN, POSITIONS, ROWS * sources / ACTIVE, depth, n, LATENTS, batch
    )


def directions_flop(depth: int, targets: int) -> float:
    """Arithmetic of one random direction in one cell: at every position alone, through the later
    layers, and summed over the positions of each source. Only states are read.
    """
    positions = POSITIONS - 2
    sums = 2 * 2 * ROWS * targets * WIDTH
    return frozen_flop(WIDTH, FFN, POSITIONS, positions, depth, targets, 0) + sums


def cost(
    context: str,
    layers: dict[int, tuple[int, ...]],
    cells: int,
    device: str,
    measured: dict[str, Any],
) -> dict[str, Any]:
    """Arithmetic, units, and seconds on each number of workers.

    Parameters
    ----------
    context
        ``exact`` or ``frozen``.
    layers
        Source layer -> measured layers.
    cells
        Full-length cells.
    device
        ``cpu`` or ``cuda``: decides the sizes of tiles.
    measured
        ``exact_tflops``, ``frozen_tflops`` and ``cores`` of one worker; ``statistics_us``,
        microseconds of a core for a live test, by cells.
    """
    stand_in: Any = SimpleNamespace(
        dtype=torch.float32,
        width=WIDTH,
        ffn=FFN,
        device=torch.device(device),
        parameters=lambda: iter(()),
    )
    plan = make_plan(stand_in, POSITIONS)
    rate = {c: measured[f"{c}_tflops"] * 1e12 for c in ("exact", "frozen")}
    us = (
        np.interp(
            np.log(cells),
            np.log([int(c) for c in measured["statistics_us"]]),
            list(measured["statistics_us"].values()),
        )
        / measured["cores"]
    )
    units = tests = work = extra = null = 0.0
    zero: list[float] = []
    checks: list[
        tuple[int, float]
    ] = []  # jobs of the controls and of the audit, and seconds of each
    for source, targets in layers.items():
        # effects, and the total and direct change of the state of every measured layer
        tile = plan.tile(cells, len(targets) * (LATENTS + 2 * WIDTH))
        batch = min(plan.pairs, tile)
        tiles = (
            -(-ACTIVE // batch)
            if context == "exact"
            else max(-(-ACTIVE // tile), -(-ROWS // plan.rows))
        )
        units += min(tiles, -(-ACTIVE // UNIT_SOURCES))
        work += flops(
            context, source, targets, ACTIVE, cells, batch if context == "exact" else tiles
        )
        tests += measured["live_share"] * ACTIVE * len(targets) * LATENTS
        exact_pair = flops("exact", source, targets, 1, 1, plan.pairs)
        pair = (
            exact_pair
            if context == "exact"
            else flops("frozen", source, targets, ACTIVE, 1, 1) / ACTIVE
        )
        zero.append(
            cells * plan.pairs * exact_pair / rate["exact"]
        )  # some sources of a frozen run are traced exactly: both floors are needed
        part = max(PART, plan.pairs)
        checks.append((-(-CONTROLS // part), part * CONDITIONS * cells * pair / rate[context]))
        drawn = DRAWS * cells * directions_flop(targets[-1] - source, len(targets))
        jobs = -(-DRAWS // DRAWS_OF_JOB)
        checks.append((jobs, drawn / jobs / rate["frozen"]))
        checks.append((1, NULL_AUDIT * cells * pair / rate[context]))
        null += drawn + NULL_AUDIT * cells * pair
        if context == "frozen":
            checks.append((-(-AUDITED // part), part * cells * exact_pair / rate["exact"]))
        extra += CONTROLS * CONDITIONS * cells * pair + (
            AUDITED * cells * exact_pair if context == "frozen" else 0.0
        )
    per_unit = (work / rate[context] + tests * us * 1e-6) / units
    n = len(layers)
    longest, all_checks = max(s for _, s in checks), sum(jobs * s for jobs, s in checks)
    seconds = {}
    for workers in WORKERS:
        seconds[workers] = (
            -(-units // workers) * per_unit
            + -(-n // workers) * float(np.mean(zero))
            + max(longest, all_checks / workers)
        )
    return {
        "context": context,
        "source_layers": n,
        "cells": cells,
        "petaflop": work / 1e15,
        "petaflop_directions": null / 1e15,
        "petaflop_controls_audit": extra / 1e15,
        "units": int(units),
        "live_tests": tests,
        "statistics_share": tests * us * 1e-6 / (per_unit * units),
        "seconds": seconds,
    }


def table(measured: dict[str, Any], device: str) -> list[dict[str, Any]]:
    """Costs of both contexts, one layer and all, for each number of cells."""
    return [
        cost(c, layers, cells, device, measured)
        for c in ("exact", "frozen")
        for layers in (ONE, ALL)
        for cells in CELLS
    ]


def graph(load: dict[str, float]) -> list[dict[str, Any]]:
    """Edges, disk and time to load, of one layer's published map, of all pairs of layers, and of
    several such studies.
    """
    pairs = sum(map(len, ALL.values()))
    rows = []
    for name, n in (
        ("layer 5 to 6, 11, 17", 3),
        ("all layers", pairs),
        ("all layers, 10 cohorts", 10 * pairs),
        ("all layers, 100 cohorts", 100 * pairs),
    ):
        for rule, factor in (
            ("edges by the published rule", 1.0),
            ("all records of a run", load["records_per_edge"]),
        ):
            edges = n * EDGES_PER_PAIR * factor
            rows.append(
                {
                    "what": name,
                    "rule": rule,
                    "edges": edges,
                    "store_gb": edges * EDGE_BYTES / 1e9,
                    "parquet_gb": edges * PARQUET_BYTES / 1e9,
                    "stream_h": edges / load["stream_edges_per_s"] / 3600,
                    "bulk_h": edges / load["bulk_edges_per_s"] / 3600,
                }
            )
    return rows


def time_statistics(live: float) -> dict[str, float]:
    """Microseconds of a core that a live test takes in a run with the default gate, by cells:
    statistics, p up to the gate, halves of the stored tests, and the null draws. `REAL` of the live
    targets have a mean of half a standard deviation. Least of three rounds: other work only adds.
    """
    from scircuit.tracing.statistics.effect_statistics import edge_statistics
    from scircuit.tracing.statistics.skewness import draws_per_source, null_draws

    def part(effects: np.ndarray) -> tuple[float, int]:
        """Core seconds and number of tests."""
        begun = time.process_time()
        tests = edge_statistics(
            effects, np.ones(effects.shape[:2], bool), np.full(effects.shape[2], 1e-6), GATE_P
        )
        tests.halves(tests.p <= GATE_P)
        keys = [(0, 5, source) for source in range(len(effects))]
        null_draws(tests, keys, draws_per_source(ACTIVE))
        return time.process_time() - begun, len(tests.p)

    rng, found = np.random.default_rng(0), {}
    for cells in CELLS:
        effects = np.zeros((max(2, 80 // cells), cells, 3 * LATENTS), np.float32)
        alive = np.flatnonzero(rng.random(effects.shape[2]) < live)
        effects[:, :, alive] = rng.normal(size=(*effects.shape[:2], len(alive)))
        effects[:, :, alive[: round(REAL * len(alive))]] += 0.5
        part(effects[:, :, alive[:: len(alive) // 64]])  # loads machine code, or compiles it
        seconds, tests = min(part(effects) for _ in range(3))
        found[str(cells)] = round(seconds * 1e6 / tests, 1)
    return found


def duration(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return (
                f"{seconds / size:,.1f} {unit}"
                if seconds < 100 * size
                else f"{seconds / size:,.0f} {unit}"
            )
    return f"{seconds:.0f} s"


def markdown(given: dict[str, Any]) -> dict[str, str]:
    """Tables of the page by name."""
    found = {}
    for name in ("cpu", "gpu"):
        rows = table({**given["cpu"], **given[name]}, "cuda" if name == "gpu" else "cpu")
        lines = [
            (
                "| context | source layers | cells | PFLOP | random directions | controls, audit |"
                " units |"
                f" {' | '.join(f'{n} worker' + 's' * (n > 1) for n in WORKERS)} |"
            ),
            "|---|---|---|---|---|---|---|" + "---|" * len(WORKERS),
        ]
        for r in rows:
            times = " | ".join(duration(s) for s in r["seconds"].values())
            lines.append(
                f"| {r['context']} | {r['source_layers']} | {r['cells']:,} | {r['petaflop']:,.3g} |"
                f" {r['petaflop_directions']:,.3g} | {r['petaflop_controls_audit']:,.3g} |"
                f" {r['units']:,} | {times} |"
            )
        found[name] = "\n".join(lines)
    lines = [
        "| map | records | edges | store | Parquet | streamed | bulk import |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in graph(given["load"]):
        lines.append(
            f"| {r['what']} | {r['rule']} | {r['edges'] / 1e6:,.1f} M | {r['store_gb']:,.1f} GB |"
            f" {r['parquet_gb']:,.1f} GB | {duration(3600 * r['stream_h'])} |"
            f" {duration(3600 * r['bulk_h'])} |"
        )
    found["graph"] = "\n".join(lines)
    cpu, gpu, load = given["cpu"], given["gpu"], given["load"]
    found["rates"] = "\n".join(
        [
            "| figure | value | how |",
            "|---|---|---|",
            f"| CPU worker, exact | {cpu['exact_tflops']:.3g} TFLOP/s | {cpu['how']} |",
            f"| CPU worker, frozen | {cpu['frozen_tflops']:.3g} TFLOP/s | same |",
            (
                "| statistics of a live test, µs of a core |"
                f" {', '.join(f'{v} ({int(c):,} cells)' for c, v in cpu['statistics_us'].items())}"
                " | bench/scale.py --statistics |"
            ),
            f"| GPU worker, exact | {gpu['exact_tflops']:.3g} TFLOP/s | {gpu['how']} |",
            f"| GPU worker, frozen | {gpu['frozen_tflops']:.3g} TFLOP/s | same |",
            (
                f"| cores of a worker, for the statistics | {cpu['cores']}; beside a GPU"
                f" {gpu['cores']} | as measured; ASSUMED |"
            ),
            (
                f"| live tests among all | {cpu['live_share']:.0%} | published, 600 features of"
                " layer 5 |"
            ),
            (
                f"| loading | {load['stream_edges_per_s']:,} edges/s streamed,"
                f" {load['bulk_edges_per_s']:,} edges/s bulk | {load['how']} |"
            ),
            (
                f"| records stored for each edge of the published rule | {load['records_per_edge']}"
                f" | {load['records_how']} |"
            ),
        ]
    )
    return found


def page(text: str, tables: dict[str, str]) -> str:
    """The page with its tables replaced: each stands between ``<!-- name -->`` and ``<!-- end
    -->``.
    """
    for name, content in tables.items():
        before, rest = text.split(f"<!-- {name} -->\n")
        text = f"{before}<!-- {name} -->\n{content}\n<!-- end -->{rest.split('<!-- end -->', 1)[1]}"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON line")
    parser.add_argument(
        "--measured",
        type=Path,
        help="output of bench/tracing.py --json, on CPU or (--device cuda) on a GPU",
    )
    parser.add_argument(
        "--statistics", action="store_true", help="time the statistics on this machine"
    )
    parser.add_argument(
        "--write",
        action="store_true",
        help="write bench/scale.json and the tables of docs/scale.md",
    )
    args = parser.parse_args()
    given = json.loads(INPUT.read_text())
    if args.measured:
        read = json.loads(args.measured.read_text())
        worker, rates = ("cpu", read["map"]) if "map" in read else ("gpu", read)
        given[worker] |= {name: round(rates[name], 4) for name in ("exact_tflops", "frozen_tflops")}
        where = (
            read["device"] if worker == "gpu" else f"{read['threads']} cores ({platform.machine()})"
        )
        given[worker]["how"] = (
            f"bench/tracing.py on {where}, {rates['positions']:,} positions, {rates['cells']}"
            f" cells, PyTorch {read['torch']}"
        )
    if args.statistics:
        given["cpu"]["statistics_us"] = time_statistics(given["cpu"]["live_share"])
    if args.write:
        INPUT.write_text(json.dumps(given, indent=1) + "\n")
        PAGE.write_text(page(PAGE.read_text(), markdown(given)))
    result = {
        "cpu": table(given["cpu"], "cpu"),
        "gpu": table({**given["cpu"], **given["gpu"]}, "cuda"),
        "graph": graph(given["load"]),
        "input": given,
        "load_average": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(result, indent=None if args.json else 1))


if __name__ == "__main__":
    main()

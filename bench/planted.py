"""Circuits written into the weights of random models: are they found, and what else is called?

    python bench/planted.py                  a table of each family and context
    python bench/planted.py --json           one line
    python bench/planted.py --width 128 --seeds 3

A post-norm model (BERT) and a pre-norm one, with feed-forward units, heads and gates of known
strength between features whose directions are known (`tests/support/planted_circuits.py`), are
traced by the engine; `tests/support/planted_truth.py` says what is true of each pair. For every
family and context, counts summed over the seeds:

`power` is the share of planted pairs that are computed edges, by kind and strength; `planted_power`
the same over all kinds, from the strengths on that `STATED` names. `planted_fdr` is the share of
null pairs among the computed edges; `planted_fdr_moved` and `planted_fdr_others` the same for
targets that a head writes, and for the others. `null_called` is the share of all null pairs that
is computed, `noise_called` that of noise to other targets than those of heads: each should be
called with the p that q = 0.05 has, `expected_called`. `carried_called_carried` and
`carried_called_computed` are shares of the pairs that only the residual stream joins.
`calibrated_fdr` and `calibrated_null_called` are what total effects against zero give on the same
pairs: why edges are computed ones."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import tests_package  # noqa: F401

from scircuit.core.edge_rules import MAX_Q
from tests.support.planted_circuits import STATED, WRITTEN, World
from tests.support.planted_truth import CARRIED, CONTINUED, NULL, OPEN, PLANTED, SHARED, find

if TYPE_CHECKING:
    from tests.support.planted_truth import Found

FAMILIES, CONTEXTS = ("post-norm", "pre-norm"), ("exact", "frozen")
NO_HEAD = "exact, no head"  # the same models without the circuits of kind attention
AT_SIZE = World(
    width=256,
    heads=8,
    layers=4,
    each=(6, 5, 2, 4),
    unread=(16, 40, 80),
    free=120,
    active=12,
    tokens=600,
    cells=24,
    length=64,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    parser.add_argument("--width", type=int, default=AT_SIZE.width, help="width of the models")
    parser.add_argument("--cells", type=int, default=AT_SIZE.cells, help="cells to trace")
    parser.add_argument("--seeds", type=int, default=1, help="models of each family")
    parser.add_argument("--families", nargs="+", default=FAMILIES, choices=FAMILIES)
    contexts = (*CONTEXTS, NO_HEAD)
    parser.add_argument("--contexts", nargs="+", default=contexts, choices=contexts)
    given = parser.parse_args()
    world = replace(AT_SIZE, width=given.width, cells=given.cells)
    without = replace(world, each=(*world.each[:2], 0, world.each[3]))
    found = {}
    for family in given.families:
        for context in given.contexts:
            chosen = ("exact", without) if context == NO_HEAD else (context, world)
            found[f"{family}, {context}"] = measure(family, *chosen, given.seeds)
    if given.json:
        print(json.dumps(found))
        return
    for name, numbers in found.items():
        print(name)
        power = numbers.pop("power")
        for key, value in numbers.items():
            print(f"  {key:24} {value:.4g}")
        for kind, by_strength in power.items():
            shares = (f"{s}: {share:.2f}" for s, share in by_strength.items())
            print(f"  {'power, ' + kind:24} {'   '.join(shares)}")


def planted(seeds: int = 1) -> dict[str, float]:
    """`planted_fdr` and `planted_power` over both families in the exact context."""
    tables = [measure(family, "exact", AT_SIZE, seeds) for family in FAMILIES]
    called, false, wanted, hit = (
        sum(t[name] for t in tables) for name in ("called", "false", "stated", "stated_found")
    )
    return {"planted_fdr": _share(false, called), "planted_power": _share(hit, wanted)}


def measure(family: str, context: str, world: World = AT_SIZE, seeds: int = 1) -> dict[str, Any]:
    """What a trace says of planted models of one family; see the top of this file."""
    started = time.perf_counter()
    every = [find(family, replace(world, seed=seed), context) for seed in range(seeds)]
    seconds = time.perf_counter() - started

    def shares(rule: str, truth: int) -> float:
        """Share of the pairs of one truth that a rule calls."""
        pairs = [f.called[rule][_traced(f) & (f.truth == truth)] for f in every]
        return float(np.concatenate(pairs).mean())

    def false(rule: str, moved: bool | None = None) -> tuple[int, int]:
        """False ones, and all that are called."""
        counts = [f.false(rule, True if moved is None else f.moved == moved) for f in every]
        return sum(a for a, _ in counts), sum(b for _, b in counts)

    power, stated, hit = dict[str, dict[float, float]](), 0, 0
    for kind, strengths in zip(WRITTEN, world.strengths, strict=True):
        power[kind] = {}
        for s in strengths:
            own = np.concatenate(
                [f.called["computed"][f.of(kind, s) & (f.truth == PLANTED)] for f in every]
            )
            if own.size:
                power[kind][s] = float(own.mean())
            if s >= STATED[kind]:
                stated, hit = stated + own.size, hit + int(own.sum())
    wrong, called = false("computed")
    return {
        "sources": sum(len(f.trace.tracer.sources) for f in every) / seeds,
        "targets": every[0].trace.tracer.n_targets,
        "null_pairs": sum(int((_traced(f) & (f.truth == NULL)).sum()) for f in every),
        "called": called,
        "false": wrong,
        "stated": stated,
        "stated_found": hit,
        "planted_power": _share(hit, stated),
        "continued_called": shares("computed", CONTINUED),
        "open_called": sum(int((f.called["computed"] & (f.truth == OPEN)).sum()) for f in every),
        "shared_called": shares("computed", SHARED),
        "planted_fdr": _share(wrong, called),
        "planted_fdr_moved": _share(*false("computed", True)),
        "planted_fdr_others": _share(*false("computed", False)),
        "null_called": shares("computed", NULL),
        "noise_called": float(np.mean([_noise(f) for f in every])),
        "expected_called": float(
            np.mean([f.trace.families.computed.threshold(MAX_Q) for f in every])
        ),
        "carried_called_carried": shares("carried", CARRIED),
        "carried_called_computed": shares("computed", CARRIED),
        "null_called_carried": shares("carried", NULL),
        "calibrated_fdr": _share(*false("calibrated")),
        "calibrated_null_called": shares("calibrated", NULL),
        "seconds": seconds,
        "power": power,
    }


def _traced(found: Found) -> np.ndarray:
    """Mask of the sources that are traced, [F, 1, 1]."""
    sources = found.trace.tracer.sources
    return np.isin(np.arange(len(found.truth)), sources)[:, None, None]


def _noise(found: Found) -> float:
    """Share of the pairs of noise that are computed edges, targets that a head writes aside."""
    return found.share("computed", found.of("noise") & (found.truth == NULL) & ~found.moved)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


if __name__ == "__main__":
    main()

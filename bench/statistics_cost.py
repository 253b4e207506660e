"""Cost of the statistics of one live test, in microseconds of a core, one JSON line.

    python bench/statistics_cost.py            a table
    python bench/statistics_cost.py --json     one line

Effects of 4 sources with a scale per cell, float32, in 20 and in 100 cells; in one case no test is
true, in the other half of them have a mean of half a standard deviation. `all` computes every p and
counts it, `asked` only those up to 0.1 (the default gate) and proves that the others are larger;
both include the null draws of a large run. The p that are asked for must be the same bit for bit,
and so must q where it is at most 0.1. The least of three rounds is taken: other work on the machine
only adds.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

from scircuit.tracing.statistics.effect_statistics import Tests, edge_statistics
from scircuit.tracing.statistics.q_values import q_table
from scircuit.tracing.statistics.skewness import draws_per_source, null_draws

SOURCES, GATE, ROUNDS = 4, 0.1, 3
TARGETS = {20: 3000, 100: 1000}  # by cells
LARGE_RUN = 4096  # sources


def effects(cells: int, shift: float, rng: np.random.Generator) -> np.ndarray:
    """[sources, cells, targets] effects, half of the targets with a mean."""
    targets = TARGETS[cells]
    x = rng.normal(size=(SOURCES, cells, targets)) * rng.lognormal(size=(SOURCES, cells, 1))
    x[:, :, : targets // 2] += shift
    return x.astype(np.float32)


def cost(x: np.ndarray, up_to: float) -> tuple[float, Tests]:
    """Microseconds of a core per live test, and the tests."""
    active, floors = np.ones(x.shape[:2], bool), np.zeros(x.shape[2])
    keys = [(0, 1, s) for s in range(SOURCES)]
    begun = time.process_time()
    tests = edge_statistics(x, active, floors, up_to)
    null_draws(tests, keys, draws_per_source(LARGE_RUN))
    return 1e6 * (time.process_time() - begun) / len(tests.p), tests


def measure(cells: int, shift: float) -> dict[str, float | bool]:
    """Both costs on the same effects, and whether p and q agree."""
    x = effects(cells, shift, np.random.default_rng(cells))
    every, asked = ([cost(x, up_to) for _ in range(ROUNDS)] for up_to in (1.0, GATE))
    whole, some = every[0][1], asked[0][1]
    stored = whole.p <= GATE
    q, gated = (
        q_table(*np.unique(t.p[t.callable], return_counts=True), exact=exact).of(whole.p[stored])
        for t, exact in ((whole, 1.0), (some, GATE))
    )
    slow, fast = min(c for c, _ in every), min(c for c, _ in asked)
    return {
        "all_us": round(slow, 2),
        "asked_us": round(fast, 2),
        "ratio": round(slow / fast, 2),
        "share_asked": round(float(stored.mean()), 3),
        "same_p": bool((np.where(whole.p > GATE, 1.0, whole.p) == some.p).all()),
        "same_q": bool((q[q <= GATE] == gated[q <= GATE]).all()),
    }


def main() -> None:
    """Print the table or the line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON line")
    options = parser.parse_args()
    cost(effects(20, 0.0, np.random.default_rng(0)), GATE)  # imports
    found = {
        f"{cells} cells, {name}": measure(cells, shift)
        for cells in TARGETS
        for name, shift in (("no truth", 0.0), ("half true", 0.5))
    }
    if options.json:
        print(json.dumps({"bench": "statistics_cost", "gate": GATE, **found}))
        return
    for name, row in found.items():
        print(f"{name:22}", "  ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()

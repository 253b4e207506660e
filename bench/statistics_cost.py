"""Cost of the statistics of one live test, in microseconds of a core.

    python bench/statistics_cost.py            a table
    python bench/statistics_cost.py --json     one line

Effects of 4 sources with a scale per cell, float32, in 20 and in 100 cells; in one case no test is
true, in the other half of them have a mean of half a standard deviation. `arrays` counts every p by
whole arrays in numpy (`tests.support.numpy_counts`), `all` computes every p, `now` only those up to
0.1 (the default gate) and proves that the others are larger; each includes the null draws of a
large run. `ratio` is `arrays` over `now`. The p that are asked for must be the same bit for bit in
all three, and so must q where it is at most 0.1. Least of three rounds, one after the other of each
kind: other work on the machine only adds. `first_call_s` is what the first test of a process waits
for numba: its import and the machine code from its cache, or compiled where there is none.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from unittest.mock import patch

import numpy as np
import tests_package  # noqa: F401 - finds tests.support from any folder

from scircuit.tracing.statistics import effect_statistics, skewness
from scircuit.tracing.statistics.effect_statistics import Tests, edge_statistics
from scircuit.tracing.statistics.q_values import q_table
from scircuit.tracing.statistics.sign_flip import sign_flip_p
from scircuit.tracing.statistics.skewness import draws_per_source, null_draws
from tests.support.numpy_counts import counted_p

SOURCES, GATE, ROUNDS = 4, 0.1, 3
TARGETS = {20: 3000, 100: 1000}  # by cells
LARGE_RUN = 4096  # sources


def effects(cells: int, shift: float, rng: np.random.Generator) -> np.ndarray:
    """[sources, cells, targets] effects, half of the targets with a mean."""
    targets = TARGETS[cells]
    x = rng.normal(size=(SOURCES, cells, targets)) * rng.lognormal(size=(SOURCES, cells, 1))
    x[:, :, : targets // 2] += shift
    return x.astype(np.float32)


def cost(x: np.ndarray, up_to: float, p: Callable[..., np.ndarray]) -> tuple[float, Tests]:
    """Microseconds of a core per live test, and the tests."""
    active, floors = np.ones(x.shape[:2], bool), np.zeros(x.shape[2])
    keys = [(0, 1, s) for s in range(SOURCES)]
    with ExitStack() as stack:
        for module in (effect_statistics, skewness):
            stack.enter_context(patch.object(module, "sign_flip_p", p))
        begun = time.process_time()
        tests = edge_statistics(x, active, floors, up_to)
        null_draws(tests, keys, draws_per_source(LARGE_RUN))
        return 1e6 * (time.process_time() - begun) / len(tests.p), tests


def measure(cells: int, shift: float) -> dict[str, float | bool]:
    """All costs on the same effects, and whether p and q agree."""
    x = effects(cells, shift, np.random.default_rng(cells))
    kinds = {
        "arrays": (1.0, lambda rows, **_: counted_p(rows)),
        "all": (1.0, sign_flip_p),
        "now": (GATE, sign_flip_p),
    }
    rounds = [{name: cost(x, *kind) for name, kind in kinds.items()} for _ in range(ROUNDS)]
    least = {name: min(found[name][0] for found in rounds) for name in kinds}
    plain, whole, some = (rounds[0][name][1] for name in kinds)
    stored = plain.p <= GATE
    q, gated = (
        q_table(*np.unique(t.p[t.callable], return_counts=True), exact=exact).of(plain.p[stored])
        for t, exact in ((plain, 1.0), (some, GATE))
    )
    return {
        **{f"{name}_us": round(us, 2) for name, us in least.items()},
        "ratio": round(least["arrays"] / least["now"], 2),
        "share_asked": round(float(stored.mean()), 3),
        "same_p": bool(
            (np.where(stored, plain.p, 1.0) == some.p).all()
            and (plain.p[stored] == whole.p[stored]).all()
        ),
        "same_q": bool((q[q <= GATE] == gated[q <= GATE]).all()),
    }


def main() -> None:
    """Print the table or the line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON line")
    options = parser.parse_args()
    cost(effects(20, 0.0, np.random.default_rng(0)), GATE, lambda rows, **_: counted_p(rows))
    begun = time.perf_counter()
    for cells in TARGETS:
        sign_flip_p(np.random.default_rng(0).normal(0.4, 1, (4, cells)), up_to=GATE)
    first_call = round(time.perf_counter() - begun, 2)
    found = {
        f"{cells} cells, {name}": measure(cells, shift)
        for cells in TARGETS
        for name, shift in (("no truth", 0.0), ("half true", 0.5))
    }
    if options.json:
        line = {"bench": "statistics_cost", "gate": GATE, "first_call_s": first_call, **found}
        print(json.dumps(line))
        return
    print("first_call_s", first_call)
    for name, row in found.items():
        print(f"{name:22}", "  ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()

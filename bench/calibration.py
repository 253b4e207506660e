"""False discovery rate and power of edge rules where the truth is known: planted effects of many
shapes, one JSON line.

    python bench/calibration.py            a table
    python bench/calibration.py --json     one line
    python bench/calibration.py --seed 7   other replicates

A replicate has 6 sources, 400 targets each, and 20 cells; in the classes with truth a quarter of
the tests have a mean of 0.5, 1, 1.5 or 2 standard deviations, of either sign. Where few tests are
true there are 24 sources and a quarter of the replicates. `legacy` is the published rule; `t`,
`moderated t` (Smyth 2004: the variance of a test shrunk towards that of the source's tests) and
`sign flips` are followed by Benjamini-Hochberg at 0.05, the first two over all live tests, the last
over those that can be called; `calibrated` is sign flips with the guard against skewness, the rule
of this project for total effects against zero.

In the classes of directions an effect has a response to the direction that is the same in every
cell: a standard normal number for random directions and for null tests, 4 to 10 for the true ones
(one test in 25), times the scale of the source and target. 64 random directions with cells of the
same law give the direction p; `both` takes the larger of the two p, without the guard."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import special, stats

from scircuit.core.edge_rules import MIN_SUPPORT, legacy_edges
from scircuit.tracing.statistics.effect_statistics import Tests, edge_statistics
from scircuit.tracing.statistics.q_values import q_table
from scircuit.tracing.statistics.skewness import draws_per_source, null_draws

SOURCES, TARGETS, CELLS = 6, 400, 20
MANY_SOURCES = 24  # where few tests are true
SIZES = (0.5, 1.0, 1.5, 2.0)
DIRECTIONS, RESPONSES, SPECIFIC = 64, (4.0, 6.0, 8.0, 10.0), 0.04
ASKED = 0.1  # p above it are not computed
NOMINAL = 0.05
Noise = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def _zero_inflated(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.normal(size=shape) * (rng.random(shape) < 0.5)


def _shared(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Targets of a source follow three factors of its cells: correlations up to one half, of either
    sign.
    """
    factors, loads = (
        rng.normal(size=(shape[0], shape[1], 3)),
        rng.normal(size=(shape[0], 3, shape[2])),
    )
    loads /= np.sqrt((loads**2).sum(1, keepdims=True))
    return np.sqrt(0.5) * (factors @ loads + rng.normal(size=shape))


def _skewed(draw: Noise) -> Noise:
    """Mean zero, standard deviation one, the long tail to either side by target."""
    return lambda rng, shape: draw(rng, shape) * rng.choice([-1.0, 1.0], (shape[0], 1, shape[2]))


def _scaled(draw: Noise, cell: float = 0.0, source: float = 0.0) -> Noise:
    """Noise times a log-normal scale of every cell of a source and of every source."""

    def scaled(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        cells = rng.lognormal(0, cell, (*shape[:2], 1))
        cells /= np.sqrt((cells**2).mean(1, keepdims=True))
        return draw(rng, shape) * cells * rng.lognormal(0, source, (shape[0], 1, 1))

    return scaled


def _gaussian(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.normal(size=shape)


def _t2(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_t(2, shape) / 2


def _two_kinds_of_cells(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.normal(size=shape) * np.where(rng.random((*shape[:2], 1)) < 0.25, 2.0, 0.3)


def _tenth(draw: Noise) -> Noise:
    """A tenth of the targets; the others are Gaussian."""

    def mixed(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        some = rng.random((shape[0], 1, shape[2])) < 0.1
        return np.where(some, draw(rng, shape), rng.normal(size=shape))

    return mixed


class Class(NamedTuple):
    """One class of effects: noise of standard deviation about one, share of tests with a true mean,
    cells in which sources are active, number of sources, whether the noise is skewed.
    """

    noise: Noise
    truth: float = 0.25
    cells: tuple[int, int] = (CELLS, CELLS)
    sources: int = SOURCES
    skewed: bool = False


_exponential = _skewed(lambda rng, shape: rng.exponential(size=shape) - 1)
_lognormal = _skewed(
    lambda rng, shape: (np.exp(rng.normal(size=shape)) - np.exp(0.5)) / np.sqrt(np.e * (np.e - 1))
)
CLASSES = {
    "gaussian": Class(_gaussian),
    "heavy tails, t3": Class(lambda rng, shape: rng.standard_t(3, shape) / np.sqrt(3)),
    "heavy tails, t2": Class(_t2),
    "scale per cell": Class(_scaled(_gaussian, cell=1)),
    "scale per source": Class(_scaled(_gaussian, source=1)),
    "mixture of cells": Class(_two_kinds_of_cells),
    "heavy tails, Laplace": Class(lambda rng, shape: rng.laplace(size=shape) / np.sqrt(2)),
    "equal sizes, random sign": Class(
        lambda rng, shape: rng.choice([-1.0, 1.0], shape) * (1 + 0.02 * rng.normal(size=shape))
    ),
    "zero-inflated": Class(_zero_inflated),
    "shared between targets": Class(_shared),
    "2 to 20 cells": Class(_gaussian, cells=(2, CELLS)),
    "2 to 20 cells, scale per cell": Class(_scaled(_gaussian, cell=1), cells=(2, CELLS)),
    "2 to 20 cells, equal sizes": Class(
        lambda rng, shape: rng.choice([-1.0, 1.0], shape) * (1 + 0.02 * rng.normal(size=shape)),
        cells=(2, CELLS),
    ),
    "2 to 20 cells, t3, shared": Class(
        lambda rng, shape: _shared(rng, shape) * np.sqrt(3 / rng.chisquare(3, shape)),
        cells=(2, CELLS),
    ),
    "skewed, exponential": Class(_exponential, skewed=True),
    "skewed, gamma": Class(
        _skewed(lambda rng, shape: (rng.gamma(4, size=shape) - 4) / 2), skewed=True
    ),
    "skewed, scale per cell": Class(_scaled(_exponential, cell=1), skewed=True),
    "skewed, a tenth of the targets": Class(_tenth(_lognormal), skewed=True),
    "no truth, gaussian": Class(_gaussian, truth=0.0),
    "no truth, exponential": Class(_exponential, truth=0.0, skewed=True),
    "no truth, lognormal": Class(_lognormal, truth=0.0, skewed=True),
    "no truth, lognormal, 2 to 20 cells": Class(
        _lognormal, truth=0.0, cells=(2, CELLS), skewed=True
    ),
}
FEW = {
    f"{share:.0%} true, {name}": CLASSES[name]._replace(truth=share, sources=MANY_SOURCES)
    for share in (0.01, 0.04, 0.08, 0.14)
    for name in (
        "heavy tails, t2",
        "scale per cell",
        "scale per source",
        "mixture of cells",
        "2 to 20 cells, scale per cell",
        "skewed, exponential",
        "skewed, gamma",
        "skewed, a tenth of the targets",
    )
}
CELLS_OF_DIRECTIONS = {
    "directions, gaussian cells": Class(_gaussian, SPECIFIC),
    "directions, heavy tails, t3": Class(
        lambda rng, shape: rng.standard_t(3, shape) / np.sqrt(3), SPECIFIC
    ),
    "directions, heavy tails, t2": Class(_t2, SPECIFIC),
    "directions, scale per cell": Class(_scaled(_gaussian, cell=1), SPECIFIC),
    "directions, skewed, exponential": Class(_exponential, SPECIFIC, skewed=True),
    "directions, skewed, lognormal": Class(_lognormal, SPECIFIC, skewed=True),
}
EVERY = {**CLASSES, **FEW, **CELLS_OF_DIRECTIONS}


class Planted(NamedTuple):
    """One replicate: its live tests, and the true mean of each in standard deviations (0: none)."""

    tests: Tests
    size: np.ndarray


def plant(kind: Class, rng: np.random.Generator) -> Planted:
    """Draw one replicate."""
    shape = (kind.sources, CELLS, TARGETS)
    size = _true(rng, SIZES, kind)
    noise = kind.noise(rng, shape)
    effects = noise + np.where(
        noise == 0, 0.0, size[:, None, :]
    )  # a cell without an effect has none with a true mean either
    n = rng.integers(kind.cells[0], kind.cells[1] + 1, kind.sources)
    active = np.argsort(rng.random((kind.sources, CELLS)), axis=1) < n[:, None]
    tests = edge_statistics(effects, active, np.zeros(TARGETS), ASKED)
    return Planted(tests, np.abs(size[tests.source, tests.target]))


def _true(rng: np.random.Generator, sizes: tuple[float, ...], kind: Class) -> np.ndarray:
    """[sources, targets] sizes of either sign, 0 where nothing is true."""
    shape = (kind.sources, TARGETS)
    true = rng.random(shape) < kind.truth
    return rng.choice(sizes, shape) * rng.choice([-1.0, 1.0], shape) * true


def called_by(tests: Tests, keys: list[tuple[int, int]], draws: int) -> dict[str, np.ndarray]:
    """Mask of the edges of every rule."""
    t = tests.d * np.sqrt(tests.n)
    null = null_draws(tests, keys, draws)
    family = np.unique(tests.p[tests.callable], return_counts=True)
    plain, guarded = q_table(*family, exact=ASKED), q_table(*family, null=null, exact=ASKED)
    return {
        "legacy": legacy_edges(tests.d, tests.n, tests.n_pos),
        "t": _bh(2 * stats.t.sf(np.abs(t), tests.n - 1)),
        "moderated t": _bh(moderated_p(tests)),
        "sign flips": (tests.p <= plain.threshold(NOMINAL)) & tests.callable,
        "calibrated": (tests.p <= guarded.threshold(NOMINAL)) & tests.callable,
    }


def plant_directions(
    kind: Class, rng: np.random.Generator
) -> tuple[Planted, dict[str, np.ndarray]]:
    """One replicate of effects with random directions beside them, and the mask of every rule."""
    every = DIRECTIONS + 1
    noise = kind.noise(rng, (kind.sources, CELLS, every * TARGETS))
    size = _true(rng, RESPONSES, kind)
    response = rng.normal(size=(kind.sources, every, TARGETS))
    response[:, 0] = np.where(size == 0, response[:, 0], size)
    scale = rng.lognormal(size=(kind.sources, 1, 1, TARGETS))
    x = scale * (noise.reshape(kind.sources, CELLS, every, TARGETS) + response[:, None])
    active = np.ones((kind.sources, CELLS), bool)
    tests = edge_statistics(x[:, :, 0], active, np.zeros(TARGETS), ASKED)
    drawn = x[:, :, 1:].mean(1)
    spread = drawn.std(1, ddof=1) * np.sqrt(1 + 1 / DIRECTIONS)
    at = tests.source, tests.target
    t = (tests.mean - drawn.mean(1)[at]) / spread[at]
    p = 2 * stats.t.sf(np.abs(t), DIRECTIONS - 1)
    return Planted(tests, np.abs(size[at])), {
        "sign flips": _bh(tests.p),
        "direction": _bh(p),
        "both": _bh(np.maximum(p, tests.p)),
    }


def _bh(p: np.ndarray) -> np.ndarray:
    return stats.false_discovery_control(np.clip(p, 0, 1)) <= NOMINAL


def moderated_p(tests: Tests) -> np.ndarray:
    """P of the moderated t: variance of each test shrunk towards that of its source's tests (Smyth
    2004).
    """
    p = np.ones(len(tests.p))
    for s in np.unique(tests.source):
        mine = tests.source == s
        df, variance = tests.n[mine][0] - 1, np.maximum(tests.sd[mine] ** 2, 1e-30)
        e = np.log(variance) - special.digamma(df / 2) + np.log(df / 2)
        extra = max(e.var(ddof=1) - special.polygamma(1, df / 2), 1e-6) if len(e) > 1 else 1e-6
        prior = 2 * _inverse_trigamma(float(extra))
        centre = np.exp(e.mean() + special.digamma(prior / 2) - np.log(prior / 2))
        spread = np.sqrt((prior * centre + df * variance) / (prior + df) / tests.n[mine])
        p[mine] = 2 * stats.t.sf(np.abs(tests.mean[mine]) / spread, df + prior)
    return p


def _inverse_trigamma(x: float) -> float:
    y = 0.5 + 1 / x
    for _ in range(50):
        step = special.polygamma(1, y) * (1 - special.polygamma(1, y) / x) / special.polygamma(2, y)
        y += step
        if abs(step) < 1e-8 * y:
            break
    return float(y)


class Found(NamedTuple):
    """What a rule found in a class: false share per replicate, power, power by size, calls with too
    few cells to test.
    """

    false: np.ndarray
    power: float
    by_size: dict[float, float]
    untestable: int
    worst_source: float

    @property
    def fdr(self) -> float:
        """Mean false share."""
        return float(self.false.mean())

    @property
    def error(self) -> float:
        """Standard error of `fdr` over replicates; that of a coin of the nominal rate where there
        are only all or nothing.
        """
        own = float(self.false.std(ddof=1) / np.sqrt(len(self.false)))
        return (
            max(own, np.sqrt(NOMINAL * (1 - NOMINAL) / len(self.false)))
            if set(self.false) <= {0.0, 1.0}
            else own
        )


def measure(name: str, replicates: int, seed: int = 0, draws: int = 0) -> dict[str, Found]:
    """All rules on replicates of one class; `draws` null draws per source, or those of a run."""
    kind = EVERY[name]
    rng = np.random.default_rng([seed, list(EVERY).index(name)])
    rows: dict[str, list[tuple[Planted, np.ndarray]]] = {}
    for i in range(replicates):
        if name in CELLS_OF_DIRECTIONS:
            planted, rules = plant_directions(kind, rng)
        else:
            planted = plant(kind, rng)
            keys = [(i, s) for s in range(kind.sources)]
            rules = called_by(planted.tests, keys, draws or draws_per_source(kind.sources))
        for rule, called in rules.items():
            rows.setdefault(rule, []).append((planted, called))
    return {rule: _found(found) for rule, found in rows.items()}


def _found(found: list[tuple[Planted, np.ndarray]]) -> Found:
    size = np.concatenate([planted.size for planted, _ in found])
    called = np.concatenate([c for _, c in found])
    able = np.concatenate([planted.tests.callable for planted, _ in found])
    by_source = [
        (c & (planted.size == 0) & mine).sum() / (c & mine).sum()
        for planted, c in found
        for s in np.unique(planted.tests.source)
        if (c & (mine := planted.tests.source == s)).any()
    ]
    return Found(
        np.array([(c & (planted.size == 0)).sum() / max(c.sum(), 1) for planted, c in found]),
        float(called[size > 0].mean()) if (size > 0).any() else float("nan"),
        {float(s): float(called[size == s].mean()) for s in np.unique(size[size > 0])},
        int((called & ~able).sum()),
        float(np.quantile(by_source, 0.9)) if by_source else 0.0,
    )


def power_ratio(found: dict[str, Found]) -> float:
    """Power of the calibrated rule as a share of that of sign flips; NaN where that has none."""
    flips = found["sign flips"].power
    return found["calibrated"].power / flips if flips > 0 else float("nan")


def guard(replicates: int = 60, seed: int = 0) -> float:
    """Power of the calibrated rule as a share of that of sign flips with Benjamini-Hochberg, in the
    worst class of symmetric effects.
    """
    symmetric = [n for n in (*CLASSES, *FEW) if not EVERY[n].skewed]
    return least_ratio({n: measure(n, replicates_of(n, replicates), seed) for n in symmetric})


def least_ratio(found: dict[str, dict[str, Found]]) -> float:
    """Least `power_ratio` of the symmetric classes that were measured."""
    ratios = [
        power_ratio(rules)
        for name, rules in found.items()
        if "calibrated" in rules and not EVERY[name].skewed
    ]
    return float(np.nanmin(ratios))


def replicates_of(name: str, replicates: int) -> int:
    """Replicates of a class: as many sources in all as six times `replicates`."""
    return max(2, replicates * SOURCES // EVERY[name].sources)


def main() -> None:
    """Print the table or the line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON line")
    parser.add_argument("--replicates", type=int, default=60, help="replicates of each class")
    parser.add_argument("--seed", type=int, default=0, help="seed of the replicates")
    options = parser.parse_args()
    every = {}
    for name in EVERY:
        replicates = replicates_of(name, options.replicates)
        every[name] = found = measure(name, replicates, options.seed)
        if not options.json:
            print(f"{name} ({replicates} replicates)", flush=True)
            for rule, f in found.items():
                sizes = "  ".join(f"{k:g}: {v:.2f}" for k, v in f.by_size.items())
                print(
                    f"  {rule:12} FDR {f.fdr:.3f} ± {f.error:.3f}  power {f.power:.3f}  ({sizes}) "
                    f" under {MIN_SUPPORT} cells {f.untestable}  worst tenth of sources"
                    f" {f.worst_source:.2f}"
                )
    least = least_ratio(every)
    if not options.json:
        print(
            f"power of calibrated over that of sign flips, symmetric classes: {least:.2f} or more"
        )
        return
    line = {
        "bench": "calibration",
        "nominal": NOMINAL,
        "replicates": options.replicates,
        "seed": options.seed,
        "guard_power_ratio": round(least, 4),
        "classes": {
            name: {
                rule: {
                    "fdr": round(f.fdr, 4),
                    "error": round(f.error, 4),
                    "power": None if np.isnan(f.power) else round(f.power, 4),
                    "power_by_size": {str(k): round(v, 4) for k, v in f.by_size.items()},
                    "untestable": f.untestable,
                    "source_q90": round(f.worst_source, 4),
                }
                for rule, f in found.items()
            }
            for name, found in every.items()
        },
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()

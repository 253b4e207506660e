"""False discovery rate and power of edge rules where the truth is known: planted effects of many
shapes, one JSON line.

    python bench/calibration.py            a table
    python bench/calibration.py --json     one line

A replicate has 6 sources, 400 targets each, and 20 cells; in the classes with truth a quarter of
the tests have a mean of 0.5, 1, 1.5 or 2 standard deviations, of either sign. `legacy` is the
published rule; `t`, `moderated t` (Smyth 2004: the variance of a test shrunk towards that of the
source's tests) and `sign flips` are followed by Benjamini-Hochberg at 0.05 over all live tests;
`calibrated` is the rule of this project."""

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
from scircuit.tracing.statistics.skewness import null_draws

SOURCES, TARGETS, CELLS = 6, 400, 20
SIZES = (0.5, 1.0, 1.5, 2.0)
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


class Class(NamedTuple):
    """One class of effects: noise of standard deviation about one, share of tests with a true mean,
    cells in which sources are active.
    """

    noise: Noise
    truth: float = 0.25
    cells: tuple[int, int] = (CELLS, CELLS)


_exponential = _skewed(lambda rng, shape: rng.exponential(size=shape) - 1)
_lognormal = _skewed(
    lambda rng, shape: (np.exp(rng.normal(size=shape)) - np.exp(0.5)) / np.sqrt(np.e * (np.e - 1))
)
CLASSES = {
    "gaussian": Class(lambda rng, shape: rng.normal(size=shape)),
    "heavy tails, t3": Class(lambda rng, shape: rng.standard_t(3, shape) / np.sqrt(3)),
    "heavy tails, Laplace": Class(lambda rng, shape: rng.laplace(size=shape) / np.sqrt(2)),
    "equal sizes, random sign": Class(
        lambda rng, shape: rng.choice([-1.0, 1.0], shape) * (1 + 0.02 * rng.normal(size=shape))
    ),
    "zero-inflated": Class(_zero_inflated),
    "shared between targets": Class(_shared),
    "2 to 20 cells": Class(lambda rng, shape: rng.normal(size=shape), cells=(2, CELLS)),
    "2 to 20 cells, equal sizes": Class(
        lambda rng, shape: rng.choice([-1.0, 1.0], shape) * (1 + 0.02 * rng.normal(size=shape)),
        cells=(2, CELLS),
    ),
    "2 to 20 cells, t3, shared": Class(
        lambda rng, shape: _shared(rng, shape) * np.sqrt(3 / rng.chisquare(3, shape)),
        cells=(2, CELLS),
    ),
    "skewed, exponential": Class(_exponential),
    "no truth, gaussian": Class(lambda rng, shape: rng.normal(size=shape), truth=0.0),
    "no truth, exponential": Class(_exponential, truth=0.0),
    "no truth, lognormal": Class(_lognormal, truth=0.0),
    "no truth, lognormal, 2 to 20 cells": Class(_lognormal, truth=0.0, cells=(2, CELLS)),
}


class Planted(NamedTuple):
    """One replicate: its live tests, and the true mean of each in standard deviations (0: none)."""

    tests: Tests
    size: np.ndarray


def plant(kind: Class, rng: np.random.Generator) -> Planted:
    """Draw one replicate."""
    shape = (SOURCES, CELLS, TARGETS)
    size = (
        rng.choice(SIZES, (SOURCES, TARGETS))
        * rng.choice([-1.0, 1.0], (SOURCES, TARGETS))
        * (rng.random((SOURCES, TARGETS)) < kind.truth)
    )
    noise = kind.noise(rng, shape)
    effects = noise + np.where(
        noise == 0, 0.0, size[:, None, :]
    )  # a cell without an effect has none with a true mean either
    n = rng.integers(kind.cells[0], kind.cells[1] + 1, SOURCES)
    active = np.argsort(rng.random((SOURCES, CELLS)), axis=1) < n[:, None]
    tests = edge_statistics(effects, active, np.zeros(TARGETS))
    return Planted(tests, np.abs(size[tests.source, tests.target]))


def called_by(tests: Tests, seed: int) -> dict[str, np.ndarray]:
    """Mask of the edges of every rule."""
    t = tests.d * np.sqrt(tests.n)
    null = null_draws(tests, [(seed, s) for s in range(SOURCES)])
    family = np.unique(tests.p, return_counts=True)
    enough = tests.cells >= MIN_SUPPORT
    return {
        "legacy": legacy_edges(tests.d, tests.n, tests.n_pos),
        "t": _bh(2 * stats.t.sf(np.abs(t), tests.n - 1)),
        "moderated t": _bh(moderated_p(tests)),
        "sign flips": (tests.p <= q_table(*family).threshold(NOMINAL)) & enough,
        "calibrated": (tests.p <= q_table(*family, null=null).threshold(NOMINAL)) & enough,
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


def measure(name: str, replicates: int, seed: int = 0) -> dict[str, Found]:
    """All rules on replicates of one class."""
    rng = np.random.default_rng([seed, list(CLASSES).index(name)])
    rows: dict[str, list[tuple[Planted, np.ndarray]]] = {}
    for i in range(replicates):
        planted = plant(CLASSES[name], rng)
        for rule, called in called_by(planted.tests, i).items():
            rows.setdefault(rule, []).append((planted, called))
    return {rule: _found(found) for rule, found in rows.items()}


def _found(found: list[tuple[Planted, np.ndarray]]) -> Found:
    size = np.concatenate([planted.size for planted, _ in found])
    called = np.concatenate([c for _, c in found])
    cells = np.concatenate([planted.tests.cells for planted, _ in found])
    by_source = [
        (c & (planted.size == 0) & mine).sum() / (c & mine).sum()
        for planted, c in found
        for s in range(SOURCES)
        if (c & (mine := planted.tests.source == s)).any()
    ]
    return Found(
        np.array([(c & (planted.size == 0)).sum() / max(c.sum(), 1) for planted, c in found]),
        float(called[size > 0].mean()) if (size > 0).any() else float("nan"),
        {s: float(called[size == s].mean()) for s in SIZES if (size == s).any()},
        int((called & (cells < MIN_SUPPORT)).sum()),
        float(np.quantile(by_source, 0.9)) if by_source else 0.0,
    )


def main() -> None:
    """Print the table or the line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON line")
    parser.add_argument("--replicates", type=int, default=60, help="replicates of each class")
    options = parser.parse_args()
    result = {}
    for name in CLASSES:
        found = measure(name, options.replicates)
        result[name] = {
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
        if not options.json:
            print(f"{name} ({options.replicates} replicates)")
            for rule, f in found.items():
                sizes = "  ".join(f"{k:g}: {v:.2f}" for k, v in f.by_size.items())
                print(
                    f"  {rule:12} FDR {f.fdr:.3f} ± {f.error:.3f}  power {f.power:.3f}  ({sizes}) "
                    f" under {MIN_SUPPORT} cells {f.untestable}  worst tenth of sources"
                    f" {f.worst_source:.2f}"
                )
    if options.json:
        print(
            json.dumps(
                {
                    "bench": "calibration",
                    "nominal": NOMINAL,
                    "replicates": options.replicates,
                    "classes": result,
                }
            )
        )


if __name__ == "__main__":
    main()

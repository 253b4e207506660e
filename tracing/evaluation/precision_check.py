"""Is a faster number format close enough to float32: the measurement that has to pass before a run
may use one (`scircuit.tracing.hardware.precision`).

With d and the out-degree k of each sampled source f over all cells, in float32 and in the other
format, a run is allowed when

    max over tests |d' - d| < 1e-4    and    max over f |k'_f - k_f| <= 2 .
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from scircuit.core.edge_rules import MIN_SUPPORT, legacy_edges
from scircuit.core.errors import UserError
from scircuit.tracing.engine.tracer import Tracer, open_tracers
from scircuit.tracing.hardware.precision import with_numerics
from scircuit.tracing.statistics.effect_statistics import edge_statistics

if TYPE_CHECKING:
    from scircuit.tracing.dictionaries.dictionary import Dictionary
    from scircuit.tracing.engine.settings import TraceSettings
    from scircuit.tracing.interfaces import TokenisedCells
    from scircuit.tracing.models.adapter import Adapter

# what may differ: the differences of the published re-trace in another implementation
MAX_D, MAX_DEGREE = 1e-4, 2
SAMPLE = 8  # sources of each source layer
_P = 0.05  # an edge here: p up to this with enough cells with an effect; or the legacy rule


@dataclass(frozen=True)
class Equivalence:
    """How far a format is from float32 on a sample of sources, over all cells."""

    numerics: str
    sources: int
    cells: int
    tests: int
    d: float  # largest |d' - d|
    degree: int  # largest |k' - k| of a source, under either rule
    floor: float  # largest zero edit of any target layer in this format
    floor_float32: float

    @property
    def passed(self) -> bool:
        """Whether a run may use the format."""
        return self.d < MAX_D and self.degree <= MAX_DEGREE

    def record(self) -> dict[str, float | int | str]:
        """Plain values for the manifest, the limits included."""
        return asdict(self) | {"limit_d": MAX_D, "limit_degree": MAX_DEGREE}

    def __str__(self) -> str:
        return (
            f"{self.numerics} against float32 on {self.sources} sources x {self.cells} cells,"
            f" {self.tests:,} live tests: d differs by up to {self.d:.3g} (limit {MAX_D:g}), the"
            f" degree of a source by up to {self.degree} (limit {MAX_DEGREE}); zero edit"
            f" {self.floor:.3g}, in float32 {self.floor_float32:.3g}"
        )


def measure(
    adapter: Adapter,
    dictionaries: Mapping[int, Dictionary],
    cohort: TokenisedCells,
    settings: TraceSettings,
) -> Equivalence:
    """Trace a random sample of the sources of every source layer in float32 and in the
    format of the settings, and compare them.
    """
    plain, other = (
        open_tracers(adapter, dictionaries, cohort, replace(settings, numerics=name), "")
        for name in ("float32", settings.numerics)
    )
    sources = tests = degree = 0
    d = 0.0
    for layer, tracer in plain.items():
        rng = np.random.default_rng([settings.seed, 4, layer])
        features = np.sort(
            rng.choice(tracer.sources, min(SAMPLE, len(tracer.sources)), replace=False)
        )
        ours, theirs = _tables(tracer, features), _tables(other[layer], features)
        sources, tests = sources + len(features), tests + int((ours[0] != 0).sum())
        d = max(d, float(np.abs(theirs[0] - ours[0]).max()))
        degree = max(
            degree,
            *(
                int(np.abs(b.sum(1) - a.sum(1)).max())
                for a, b in zip(ours[1:], theirs[1:], strict=True)
            ),
        )
    floors = [
        max(max(t.zero_edit.values()) for t in tracers.values()) for tracers in (other, plain)
    ]
    return Equivalence(settings.numerics, sources, len(cohort.tokens), tests, d, degree, *floors)


def _tables(tracer: Tracer, features: np.ndarray) -> list[np.ndarray]:
    """Tables [sources, targets]: d, zero where a test is not live, and the edges of two rules."""
    found = tracer.effects(features)
    tests = edge_statistics(found.effects, found.active, tracer.floors)
    supported = tests.n_pos + tests.n_neg >= MIN_SUPPORT
    tables = []
    for values in (
        tests.d,
        (tests.p <= _P) & supported,
        legacy_edges(tests.d, tests.n, tests.n_pos),
    ):
        table = np.zeros((len(features), tracer.n_targets), values.dtype)
        table[tests.source, tests.target] = values
        tables.append(table)
    return tables


def require_equivalence(
    adapter: Adapter,
    dictionaries: Mapping[int, Dictionary],
    cohort: TokenisedCells,
    settings: TraceSettings,
) -> Equivalence | None:
    """Measure the format of a run, unless that is float32 (then None).

    Raises
    ------
    UserError
        If the device lacks the format, or results differ too much from float32; with the numbers.
    """
    with_numerics(adapter, settings.numerics)
    if settings.numerics == "float32":
        return None
    found = measure(adapter, dictionaries, cohort, settings)
    if not found.passed:
        raise UserError(str(found), "leave --numerics at float32")
    return found

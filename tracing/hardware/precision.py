"""Number formats faster than float32, and the measurement that has to pass before a run may use
one.

``tf32``    matrix products of the model with 10 bits of mantissa, on CUDA
``bf16``    the model under autocast to bfloat16 (7 bits)

Clean pass and ablated passes use the same format, or its rounding would pass for effects; codes,
effects and statistics stay float32 or more. With d and the out-degree k of each sampled source f
over all cells, in float32 and in the other format, a run is allowed when

    max over tests |d' - d| < 1e-4    and    max over f |k'_f - k_f| <= 2 .
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from scircuit.core.config import TraceConfig
from scircuit.core.errors import UserError

if TYPE_CHECKING:
    from scircuit.tracing.engine.tracer import Tracer
    from scircuit.tracing.models.adapter import Adapter

MAX_D, MAX_DEGREE = (
    1e-4,
    2,
)  # what may differ: those of the published re-trace in another implementation
SAMPLE = 8  # sources of each source layer
_P, _CELLS = (
    0.05,
    6,
)  # an edge here: p up to this with an effect in so many cells; or the legacy rule


@contextmanager
def numerics(adapter: Adapter) -> Iterator[None]:
    """Compute the model's layers in the format that `adapter.numerics` names."""
    if adapter.device.type == "cuda":
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high" if adapter.numerics == "tf32" else "highest")
    else:
        before = None
    try:
        with torch.autocast(
            adapter.device.type, torch.bfloat16, enabled=adapter.numerics == "bf16"
        ):
            yield
    finally:
        if before is not None:
            torch.set_float32_matmul_precision(before)


def within(adapter: Adapter, steps: Iterator[tuple[int, Tensor]]) -> Iterator[tuple[int, Tensor]]:
    """Layers and their states, each computed in the adapter's format and handed out in its dtype;
    what is done with them is neither.
    """
    while True:
        with numerics(adapter):
            step = next(steps, None)
        if step is None:
            return
        yield step[0], step[1].to(adapter.dtype)


def with_numerics(adapter: Adapter, name: str) -> Adapter:
    """The same model computing in another format; weights are shared.

    Raises
    ------
    UserError
        If the device does not have the format.
    """
    if name == "tf32" and adapter.device.type != "cuda":
        raise UserError(
            f"numerics tf32 is a format of NVIDIA GPUs; this run computes on {adapter.device.type}",
            "leave --numerics at float32, or use --device cuda",
        )
    if name == adapter.numerics:
        return adapter
    other = copy.copy(adapter)
    other.numerics = name
    return other


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

    def record(self) -> dict[str, Any]:
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
    adapter: Adapter, dictionaries: Mapping[int, Any], cohort: Any, config: TraceConfig
) -> Equivalence:
    """Trace a random sample of the sources of every source layer in float32 and in the
    configuration's format, and compare them.
    """
    from scircuit.tracing.engine.tracer import open_tracers

    plain, other = (
        open_tracers(adapter, dictionaries, cohort, replace(config, numerics=name), "")
        for name in ("float32", config.numerics)
    )
    sources = tests = degree = 0
    d = 0.0
    for layer, tracer in plain.items():
        rng = np.random.default_rng([config.seed, 4, layer])
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
    return Equivalence(config.numerics, sources, len(cohort.tokens), tests, d, degree, *floors)


def _tables(tracer: Tracer, features: np.ndarray) -> list[np.ndarray]:
    """Tables [sources, targets]: d, zero where a test is not live, and the edges of two rules."""
    from scircuit.tracing.statistics.effect_statistics import edge_statistics
    from scircuit.tracing.statistics.q_values import legacy_rule

    found = tracer.effects(features)
    tests = edge_statistics(found.effects, found.active, tracer.floors)
    supported = tests.n_pos + tests.n_neg >= _CELLS
    tables = []
    for values in (
        tests.d,
        (tests.p <= _P) & supported,
        legacy_rule(tests.d, tests.n, tests.n_pos),
    ):
        table = np.zeros((len(features), tracer.n_targets), values.dtype)
        table[tests.source, tests.target] = values
        tables.append(table)
    return tables


def require_equivalence(
    adapter: Adapter, dictionaries: Mapping[int, Any], cohort: Any, config: TraceConfig
) -> Equivalence | None:
    """The measurement that a run in another format needs; None in float32.

    Raises
    ------
    UserError
        If the device does not have the format, or it is not equivalent; with the numbers.
    """
    with_numerics(adapter, config.numerics)
    if config.numerics == "float32":
        return None
    found = measure(adapter, dictionaries, cohort, config)
    if not found.passed:
        raise UserError(str(found), "leave --numerics at float32")
    return found

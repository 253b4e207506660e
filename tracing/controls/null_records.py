"""What the direction null says about each pair of layers: edges of each kind, how many random
directions would give, and how far the pooled null is from drawing them directly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scircuit.core.context import EXACT, context_name
from scircuit.tracing.controls.control_records import control_row, control_tables
from scircuit.tracing.direction_null.direction_tests import HeldOut
from scircuit.tracing.direction_null.null_ratios import KINDS, Ratio, Ratios
from scircuit.tracing.direction_null.pooled_null import held_out_draws

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from scircuit.tracing.engine.tracer import Tracer

CLOSE = (0.9, 1.1)
"""Ratios in which the pooled null counts as equal to direct draws."""
FAR = 1.5
"""Targets that vary so many times as much as others are named."""


@dataclass(frozen=True)
class NullFinding:
    """One pair of layers.

    Attributes
    ----------
    source_layer, target_layer, sources, draws
        The layers; sources traced; random directions that give mean and standard deviation.
    computed, carried, generic
        Edges of each kind.
    expected_false, expected_false_direct
        Computed and direct effects that one set of random directions, held out from mean and
        standard deviation, has at the threshold of the run.
    sigma_ratio, sigma_ratio_low, sigma_ratio_high
        Directly drawn over pooled standard deviation of computed effects in the context of the run:
        median, 5 and 95 % of the pairs; None where it was not measured.
    ratios
        The same of every context and kind.
    """

    source_layer: int
    target_layer: int
    sources: int
    draws: int
    computed: int
    carried: int
    generic: int
    expected_false: float
    expected_false_direct: float
    sigma_ratio: float | None
    sigma_ratio_low: float | None
    sigma_ratio_high: float | None
    ratios: list[dict[str, Any]]


def null_findings(
    tracer: Tracer,
    ratios: Ratios,
    held_out: np.ndarray,
    thresholds: Mapping[str, float],
    edges: Mapping[int, Mapping[str, int]],
) -> list[NullFinding]:
    """Findings of every measured layer of one source layer.

    Parameters
    ----------
    tracer
        The source layer.
    ratios
        What the audit of its null found.
    held_out
        [direct and computed, measured layers, bins] counts of p of directions held out.
    thresholds
        Kind -> largest p whose q is at most 0.05.
    edges
        Measured layer -> edges by rule.
    """
    draws = tracer.settings.null_draws
    found = []
    for i, t in enumerate(tracer.targets):
        expected = {
            kind: HeldOut.up_to(held_out[k, i], thresholds[kind]) / held_out_draws(draws)
            for k, kind in enumerate(KINDS)
        }
        own = ratios.get((tracer.context, t, "computed")) or ratios.get((EXACT, t, "computed"))
        found.append(
            NullFinding(
                source_layer=tracer.layer,
                target_layer=t,
                sources=len(tracer.sources),
                draws=draws,
                computed=int(edges.get(t, {}).get("computed", 0)),
                carried=int(edges.get(t, {}).get("carried", 0)),
                generic=int(edges.get(t, {}).get("generic", 0)),
                expected_false=expected["computed"],
                expected_false_direct=expected["direct"],
                sigma_ratio=own.median if own else None,
                sigma_ratio_low=own.low if own else None,
                sigma_ratio_high=own.high if own else None,
                ratios=[
                    {"context": context_name(context), "kind": kind, **ratio._asdict()}
                    for (context, target, kind), ratio in ratios.items()
                    if target == t
                ],
            )
        )
    return found


def null_notes(tracer: Tracer, ratios: Ratios) -> list[str]:
    """Sentences about layer pairs whose pooled null was widened or could not be used."""
    found = []
    for (context, t, kind), ratio in ratios.items():
        where = f"layers {tracer.layer} to {t}, {context_name(context)}"
        if not CLOSE[0] <= ratio.median <= CLOSE[1]:
            found.append(_note(where, kind, ratio))
        if ratio.targets is not None and (far := ratio.targets.max(0) > FAR).any():
            found.append(
                f"{where}: at {far.sum():,} of {far.size:,} targets random directions vary up to"
                f" {ratio.targets.max():.1f} times as much in their {kind} effect as at the others,"
                " as where a head brings together what several positions hold; z there is smaller"
                " by that"
            )
    return found


def _note(where: str, kind: str, ratio: Ratio) -> str:
    start = (
        f"{where}: {kind} effects of random directions drawn one by one vary {ratio.median:.2f}"
        " times as much as the pooled null says"
    )
    widest = ratio.factor(ratio.steps[-1][0])
    if widest != widest:
        return (
            f"{start}, so no {kind} effect of sources that fire often is called there; total"
            " effects are stored. Effects in the frozen context (--context frozen) are closer to"
            " linear"
        )
    return start + (f"; it was widened by up to {widest:.2f}" if widest > 1 else "")


def null_tables(run: str, findings: Sequence[NullFinding]) -> dict[str, pa.Table]:
    """The findings as ``Control`` records."""
    return control_tables(
        [
            control_row(run, "direction_null", f.source_layer, f.target_layer)
            | {"edges": f.computed}
            | {name: getattr(f, name) for name in _STORED}
            for f in findings
        ]
    )


_STORED = (
    "sources",
    "draws",
    "carried",
    "generic",
    "expected_false",
    "sigma_ratio",
    "sigma_ratio_low",
    "sigma_ratio_high",
)

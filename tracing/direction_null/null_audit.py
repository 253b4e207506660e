"""The audit of the pooled null: random directions removed in the place of some sources themselves,
in the context in which these are traced.

For a source, a target and the same directions u_k, let s be the standard deviation over k of the
effect when ``z_f(p) ||W_f|| u_k`` is really removed, and s' that of the pooled null
(`scircuit.tracing.direction_null.pooled_null`). The ratio s / s' is 1 where the effect is linear in
the edit and edited rows do not react to each other. In the exact context it is larger: what other
positions pass on is in s and not in s'. The pooled standard deviation of a layer pair is multiplied
by the ratio of its context where that is above 1, the more the more positions a source has, and
further at targets whose own ratio is larger (`scircuit.tracing.direction_null.target_ratios`);
where it is far from 1, no edge is called (`scircuit.tracing.direction_null.null_ratios`).

The sources of the sample are spread over how often they fire, one group for each context.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from scircuit.core.context import EXACT
from scircuit.tracing.direction_null.null_ratios import KINDS, Ratio
from scircuit.tracing.direction_null.pooled_null import PARTS, random_direction, source_norms
from scircuit.tracing.direction_null.target_ratios import target_ratios

if TYPE_CHECKING:
    from scircuit.tracing.engine.tracer import Tracer

SOURCES, DRAWS = 8, 8  # of the sample of one context, and directions for each


class AuditPart(NamedTuple):
    """Ratios of every (source, target) of some sources of one context: [kinds, sources, T], NaN
    where the target does not move.
    """

    context: int
    positions: np.ndarray  # [sources] active positions, summed over cells
    ratios: np.ndarray


def audited_sources(tracer: Tracer) -> list[np.ndarray]:
    """The sample, one group for each context in which sources are traced."""
    exact = np.isin(tracer.sources, tracer.exact_sources)
    groups = []
    for chosen in (tracer.sources[~exact], tracer.sources[exact]):
        often = chosen[np.lexsort((chosen, tracer.ablation.counts[chosen].sum(1)))]
        at = np.unique(np.linspace(0, len(often) - 1, min(SOURCES, len(often))).round().astype(int))
        if len(often):
            groups.append(np.sort(often[at]))
    return groups


def audit_null(
    tracer: Tracer,
    features: np.ndarray,
    pooled: np.ndarray,
    progress: Callable[[int, int, int], None] | None = None,
) -> AuditPart:
    """Remove random directions in the place of some sources of one context.

    Parameters
    ----------
    tracer
        The run.
    features
        [M] sources.
    pooled
        [M, draws, 2, D] their pooled null.
    progress
        Called with (pairs done, pairs, 0).
    """
    draws = min(DRAWS, pooled.shape[1])
    norms = dict(zip(tracer.sources.tolist(), source_norms(tracer), strict=True))
    unit = np.stack([random_direction(tracer, k) for k in range(draws)])
    found = np.full((len(KINDS), len(features), tracer.n_targets), np.nan)
    total = draws * tracer.pairs_of(features)
    done = 0
    for i, f in enumerate(features.tolist()):
        directions = torch.as_tensor(
            norms[f] * unit, dtype=tracer.adapter.dtype, device=tracer.adapter.device
        )
        effects = tracer.effects(np.full(draws, f), directions)
        assert effects.direct is not None
        active = effects.active[0]
        drawn = tracer.readout.split(
            *(x[:, active].mean(1, dtype=np.float64) for x in (effects.total, effects.direct)),
        )
        alike = tracer.readout.split(*(pooled[i, :draws, part] for part in range(len(PARTS))))
        for kind, (ours, theirs) in enumerate(zip(drawn, alike, strict=True)):
            moves = (theirs.std(0) > tracer.change_floors) & tracer.alive
            found[kind, i, moves] = ours[:, moves].std(0) / theirs[:, moves].std(0)
        done += draws * tracer.pairs_of(features[[i]])
        if progress:
            progress(done, total, 0)
    return AuditPart(
        EXACT if features[0] in tracer.exact_sources else tracer.context,
        tracer.ablation.counts[features].sum(1),
        found.astype(np.float32),
    )


def ratios_of(tracer: Tracer, parts: Sequence[AuditPart]) -> dict[tuple[int, int, str], Ratio]:
    """Median and 5 to 95 % of the ratios of every layer pair and context."""
    found = {}
    for part in parts:
        for t in tracer.targets:
            for kind, ratios in zip(KINDS, part.ratios, strict=True):
                if (ratio := _ratio(part.positions, ratios[:, tracer.columns(t)])) is not None:
                    found[part.context, t, kind] = ratio
    return found


def _ratio(positions: np.ndarray, ratios: np.ndarray) -> Ratio | None:
    """Of one layer pair, from ratios [sources, targets]; None where no target moves."""
    values = ratios[np.isfinite(ratios)].astype(np.float64)
    if not len(values):
        return None
    moved = np.flatnonzero(np.isfinite(ratios).any(1))
    order = moved[np.argsort(positions[moved], kind="stable")]
    steps = tuple((int(positions[i]), float(np.nanmedian(ratios[i]))) for i in order)
    low, middle, high = np.percentile(values, [5, 50, 95])
    targets = target_ratios(ratios[order].astype(np.float64))
    return Ratio(float(middle), float(low), float(high), len(ratios), steps, targets)

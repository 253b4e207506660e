r"""Joint ablation of pairs of features, and whether the joint effect is the sum of the single ones.

Per cell, with P the union of the positions where A or B is active in the clean pass, every
condition is read at the same P:

    J = effect(A and B) - effect(A) - effect(B)          the interaction contrast, on raw effects

J is tested against 0 over cells by sign flips, with Benjamini-Hochberg over all pairs and targets
of the run. Where B lies later than A, it is ablated on the already changed stream, with the
activation it has there. Beside it stands the published ratio ``|d_AB| / (|d_A| + |d_B|)`` of
standardised effects, which for exactly additive independent effects is near 1 / sqrt(2), not 1; its
null is the same ratio with each cell's joint effect replaced by the sum of its single ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from scircuit.core.address import Address
from scircuit.core.edge_rules import legacy_edges
from scircuit.core.errors import UserError
from scircuit.tracing.clean_pass.clean_pass import CleanCell, clean_cell
from scircuit.tracing.engine.activation_change import mean_change
from scircuit.tracing.engine.exact_context import make_edits, run_exact
from scircuit.tracing.engine.numeric_floor import floors_of, zero_edit
from scircuit.tracing.hardware.parallel import run_jobs
from scircuit.tracing.interventions.intervention_tables import (
    interval,
    q_of,
    read_addresses,
    tables_of,
)
from scircuit.tracing.statistics.sign_flip import sign_flip_p

if TYPE_CHECKING:
    import pyarrow as pa

    from scircuit.tracing.dictionaries.dictionary import Dictionary
    from scircuit.tracing.interfaces import TokenisedCells
    from scircuit.tracing.models.adapter import Adapter

STORE_P = 0.1  # contrasts up to this p are stored, all are counted
_CONDITIONS = 3  # A, B, A and B


class Contrast(NamedTuple):
    """Tests of one pair at one target layer: arrays over targets."""

    cells: int
    joint: np.ndarray
    interaction: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray  # NaN where no cell has a contrast above the floor
    ratio: np.ndarray  # published ratio; NaN where no condition passes the published rule
    ratio_null: np.ndarray


def contrast(effects: np.ndarray, floor: float) -> Contrast:
    """Interaction contrast and published ratio.

    Parameters
    ----------
    effects
        [3, cells, T] effects of A, of B and of both, over the cells where either is active.
    floor
        Numeric floor of one effect; a contrast is made of three.
    """
    x = np.where(np.abs(effects) > floor, effects, 0).astype(np.float64)
    j = effects[2].astype(np.float64) - effects[0] - effects[1]
    j[np.abs(j) <= _CONDITIONS * floor] = 0
    mean, low, high = interval(j)
    p = sign_flip_p(j.T) if j.shape[0] >= 2 else np.full(j.shape[1], np.nan)
    d = [_standardised(c) for c in (*x, x[0] + x[1])]
    passing = np.any(
        [
            legacy_edges(c, np.array(x.shape[1]), (v > 0).sum(0))
            for c, v in zip(d[:3], x, strict=True)
        ],
        axis=0,
    )
    single = np.abs(d[0]) + np.abs(d[1])
    ratios = [np.where(single > 0.01, np.abs(c) / np.maximum(single, 1e-300), 1.0) for c in d[2:]]
    return Contrast(
        x.shape[1],
        x[2].mean(0),
        mean,
        low,
        high,
        p,
        *(np.where(passing, r, np.nan) for r in ratios),
    )


def ablate_pairs(
    adapter: Adapter,
    dictionaries: Mapping[int, Dictionary],
    cohort: TokenisedCells,
    addresses: Sequence[Address | str],
    *,
    run: str,
    q: float = 0.05,
    targets: Sequence[int] = (),
    progress: Callable[[int, int, int], None] | None = None,
) -> dict[str, pa.Table]:
    """Ablate every pair of the given features jointly and singly.

    Parameters
    ----------
    adapter, dictionaries, cohort
        Model, layer -> dictionary, cells (``tokens`` is read).
    addresses
        At least two features, of the same or different layers.
    run
        Id of the run the records belong to.
    q
        Threshold of the interaction contrasts.
    targets
        Layers to read; the last layer that has a dictionary when empty.
    progress
        Called with (pairs done, pairs, significant contrasts so far).

    Returns
    -------
    dict
        Tables of kinds Intervention, Feature-PART_OF-Intervention, Intervention-SHIFTED-Feature,
        Feature, Intervention-FROM-Run.

    Raises
    ------
    UserError
        If addresses and dictionaries do not fit, or no target layer lies later than all features.
    """
    features = read_addresses(addresses, dictionaries, 2)
    deepest = max(f.layer for f in features)
    layers = sorted(targets) or [max(dictionaries)]
    if layers[0] <= deepest or not set(layers) <= set(dictionaries):
        raise UserError(
            f"cannot read layers {', '.join(map(str, layers))} for features up to layer {deepest};"
            f" there are dictionaries of layers {', '.join(str(t) for t in sorted(dictionaries))}",
            "choose features of earlier layers, or train a later dictionary",
        )
    sources = sorted({f.layer for f in features})
    used = {t: dictionaries[t].to(adapter.device) for t in (*sources, *layers)}
    cells = list(
        run_jobs(
            [partial(clean_cell, adapter, used, tokens, used) for tokens in cohort.tokens],
            adapter.device,
        )
    )
    floors = floors_of(
        zero_edit(adapter, used, cells, sources[0], layers, _CONDITIONS), cells, adapter.dtype
    )
    pairs = [
        tuple(sorted(pair, key=lambda f: (f.layer, f.index))) for pair in combinations(features, 2)
    ]
    found: dict[tuple[Address, Address, int], Contrast] = {}
    for done, (a, b) in enumerate(pairs):
        jobs = [partial(_cell_effects, adapter, used, cell, a, b, layers) for cell in cells]
        parts = [e for e in run_jobs(jobs, adapter.device) if e is not None]
        for t in layers if parts else ():
            found[a, b, t] = contrast(np.stack([e[t] for e in parts], 1), floors[t])
        if progress:
            progress(done + 1, len(pairs), sum(int((c.p <= 0.05).sum()) for c in found.values()))
    if not found:
        raise UserError(
            "none of the features is active in any cell", "choose features that fire in these cells"
        )
    family = q_of(np.concatenate([c.p for c in found.values()]))
    sizes = np.cumsum([len(c.p) for c in found.values()])[:-1]
    return _tables(features, found, np.split(family, sizes), run, q)


def _cell_effects(
    adapter: Adapter,
    dictionaries: Mapping[int, Dictionary],
    cell: CleanCell,
    a: Address,
    b: Address,
    targets: Sequence[int],
) -> dict[int, np.ndarray] | None:
    """Effects [3, T] of A, B and both in one cell, read at the union of their positions; None where
    neither is active.
    """
    edits = {f: _dense_edit(dictionaries, cell, f) for f in (a, b)}
    where = torch.unique(torch.cat([edits[f][0] for f in (a, b)]))
    if len(where) == 0:
        return None
    delta = {f: edits[f][1][where] for f in (a, b)}

    def effects(
        changes: list[Tensor],
        source: int,
        then: Mapping[int, Callable[[Tensor], Tensor]] | None = None,
    ) -> dict[int, Tensor]:
        batch = make_edits([where] * len(changes), changes)
        steps = run_exact(adapter, cell.states[source], batch, source, targets, then)
        sizes = np.full(len(changes), len(where))
        return {
            t: mean_change(
                dictionaries[t].n_features,
                dictionaries[t].encode_topk(states),
                cell.codes[t],
                batch.position,
                sizes,
            )
            for t, states in steps
        }

    if a.layer == b.layer:
        three = effects([delta[a], delta[b], delta[a] + delta[b]], a.layer)
        return {t: e.cpu().numpy() for t, e in three.items()}
    column = dictionaries[b.layer].columns(torch.tensor([b.index], device=adapter.device))[0]

    def remove_b(states: Tensor) -> Tensor:
        values, indices = dictionaries[b.layer].encode_topk(states[1, where])
        states = states.clone()
        states[1, where] -= (values * (indices == b.index)).sum(1, keepdim=True) * column
        return states

    first = effects([delta[a], delta[a]], a.layer, {b.layer: remove_b})
    second = effects([delta[b]], b.layer)
    return {t: torch.stack([first[t][0], second[t][0], first[t][1]]).cpu().numpy() for t in targets}


def _dense_edit(
    dictionaries: Mapping[int, Dictionary], cell: CleanCell, feature: Address
) -> tuple[Tensor, Tensor]:
    """Active positions of a feature, and its removal ``-z W`` on all rows [S, d]."""
    positions, values = cell.firing[feature.layer].rows(feature.index)
    column = dictionaries[feature.layer].columns(
        torch.tensor([feature.index], device=values.device)
    )[0]
    delta = torch.zeros_like(cell.states[feature.layer])
    delta[positions] = -values[:, None] * column
    return positions, delta


def _standardised(x: np.ndarray) -> np.ndarray:
    if len(x) < 2:
        return np.zeros(x.shape[1])
    return x.mean(0) / np.maximum(x.std(0, ddof=1), 1e-10)


def _median(x: np.ndarray) -> float:
    x = x[~np.isnan(x)]
    return float(np.median(x)) if len(x) else float("nan")


def _tables(
    features: list[Address],
    found: Mapping[tuple[Address, Address, int], Contrast],
    qs: list[np.ndarray],
    run: str,
    threshold: float,
) -> dict[str, pa.Table]:
    rows: dict[str, list[dict[str, Any]]] = {
        k: []
        for k in (
            "Intervention",
            "Feature-PART_OF-Intervention",
            "Intervention-SHIFTED-Feature",
            "Feature",
            "Intervention-FROM-Run",
        )
    }
    partners: dict[Address, dict[Address, int]] = defaultdict(lambda: defaultdict(int))
    ratios: dict[Address, list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)
    for ((a, b, t), c), q in zip(found.items(), qs, strict=True):
        tag = "+".join(f.short.replace("/", "") for f in (a, b))
        key = f"{run}/ablate/{tag}/L{t:02d}"
        significant = np.flatnonzero(q <= threshold)
        rows["Intervention"].append(
            {
                "id": key,
                "name": f"{a.short} + {b.short}",
                "verb": "ablate",
                "order": 2,
                "coefficient": 0.0,
                "target_layer": t,
                "cells": c.cells,
                "tested": int((~np.isnan(c.p)).sum()),
                "significant": len(significant),
                "ratio": _median(c.ratio),
                "ratio_null": _median(c.ratio_null),
                "run": run,
            }
        )
        rows["Intervention-FROM-Run"].append({"source": key, "target": run})
        for role, f, other in (("A", a, b), ("B", b, a)):
            rows["Feature-PART_OF-Intervention"].append(
                {"source": str(f), "target": key, "run": run, "role": role, "coefficient": 0.0}
            )
            partners[f][other] += len(significant)
            ratios[f].append((c.ratio, c.ratio_null))
        for i in np.flatnonzero(c.p <= STORE_P):
            rows["Intervention-SHIFTED-Feature"].append(
                {
                    "source": key,
                    "target": str(a._replace(layer=t, index=int(i))),
                    "run": run,
                    "dose": -1.0,
                    "effect": c.joint[i],
                    "interaction": c.interaction[i],
                    "low": c.low[i],
                    "high": c.high[i],
                    "p": c.p[i],
                    "q": q[i],
                }
            )
    for f in features:
        if f not in partners:
            continue
        best = max(partners[f], key=lambda other: partners[f][other])
        rows["Feature"].append(
            {
                "id": str(f),
                "ablation_partners": len(partners[f]),
                "ablation_redundancy": _median(np.concatenate([r for r, _ in ratios[f]])),
                "ablation_null": _median(np.concatenate([n for _, n in ratios[f]])),
                "strongest_partner": str(best) if partners[f][best] else None,
                "interactions": sum(partners[f].values()),
            }
        )
    return tables_of(rows)

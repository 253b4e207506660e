r"""Steering: multiply a feature's activation where it fires, and read the change of the model's
gene logits.

The edit for coefficient alpha adds ``(alpha - 1) z_f(p) W_dec[:, f]`` at the active positions;
alpha = 0 is ablation, 1 no change, and ``alpha - 1`` is the dose. Logits are averaged over the
cell's gene positions: the projection to the vocabulary is linear, so the mean is taken before it,
``mean_p U r(p) = U mean_p r(p)``. Per cell the slope through the origin is ``sum(dose y) /
sum(dose^2)``.

Readout of a cell, fixed by its clean pass and hence not chosen by its result: mean logit change of
the genes at the feature's active positions, minus that of the cell's other genes. Control: the same
edit along a random direction of equal norm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from scircuit.core.address import Address
from scircuit.core.errors import UserError
from scircuit.tracing.clean_pass.clean_pass import CleanCell, clean_cell
from scircuit.tracing.engine.exact_context import make_edits, run_exact
from scircuit.tracing.hardware.memory_plan import make_plan
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

TOP_GENES = 10  # of either sign, stored per coefficient
Q = 0.05


class Steered(NamedTuple):
    """One feature: changes over cells, doses and gene tokens, and the readout."""

    logits: np.ndarray  # [cells, doses, genes]
    readout: np.ndarray  # [cells, doses]
    control: np.ndarray  # [cells, doses]


def slopes(changes: np.ndarray, doses: np.ndarray) -> np.ndarray:
    """Least-squares slope through the origin on the dose: [cells, doses, ...] -> [cells, ...]."""
    return np.tensordot(doses, changes, axes=(0, 1)) / (doses**2).sum()


def steer(
    adapter: Adapter,
    dictionaries: Mapping[int, Dictionary],
    cohort: TokenisedCells,
    addresses: Sequence[Address | str],
    coefficients: Sequence[float],
    *,
    run: str,
    seed: int = 0,
    progress: Callable[[int, int, int], None] | None = None,
) -> dict[str, pa.Table]:
    """Steer each feature over a grid of coefficients.

    Parameters
    ----------
    adapter, dictionaries, cohort
        Model, layer -> dictionary, cells (``tokens`` is read).
    addresses
        Features to steer.
    coefficients
        Factors on the activation; 1 is left out.
    run
        Id of the run the records belong to.
    seed
        Seed of the random-direction control.
    progress
        Called with (features done, features, significant genes so far).

    Returns
    -------
    dict
        Tables of kinds Intervention, Feature-PART_OF-Intervention, Intervention-SHIFTED-Gene, Gene,
        Feature, Intervention-FROM-Run.

    Raises
    ------
    UserError
        If addresses do not fit the dictionaries, no coefficient changes anything, or a feature
        fires in no cell.
    """
    features = read_addresses(addresses, dictionaries, 1)
    grid = sorted({float(c) for c in coefficients} - {1.0})
    if not grid or not np.isfinite(grid).all():
        raise UserError(
            f"coefficients {tuple(coefficients)} change nothing or are not finite",
            "give factors such as 0 2 3 5",
        )
    doses = np.array(grid) - 1
    genes = np.unique(np.concatenate([adapter_genes(adapter, tokens) for tokens in cohort.tokens]))
    layers = sorted({f.layer for f in features})
    last = adapter.n_layers - 1
    used = {t: dictionaries[t].to(adapter.device) for t in layers}
    kept: dict[Address, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {f: [] for f in features}

    def one_cell(tokens: np.ndarray) -> list[Any]:
        cell = clean_cell(adapter, used, tokens, layers)
        return [
            _steer_cell(adapter, used, cell, np.asarray(tokens), f, doses, genes, seed)
            for f in features
        ]

    for found in run_jobs([partial(one_cell, tokens) for tokens in cohort.tokens], adapter.device):
        for f, one in zip(features, found, strict=True):
            if one is not None:
                kept[f].append(one)
    rows: dict[str, list[dict[str, Any]]] = {
        k: []
        for k in (
            "Intervention",
            "Feature-PART_OF-Intervention",
            "Intervention-SHIFTED-Gene",
            "Gene",
            "Feature",
            "Intervention-FROM-Run",
        )
    }
    names = _gene_names(adapter, genes)
    count = 0
    for done, f in enumerate(features):
        if not kept[f]:
            raise UserError(
                f"{f} fires in none of {len(cohort.tokens)} cells",
                "steer features that fire in these cells",
            )
        steered = Steered(*(np.stack(part) for part in zip(*kept[f], strict=True)))
        count += _describe(rows, f, steered, grid, names, last, run)
        if progress:
            progress(done + 1, len(features), count)
    seen = {r["target"]: None for r in rows["Intervention-SHIFTED-Gene"]}
    symbol_of = dict(names)
    rows["Gene"] = [{"id": g, "name": symbol_of[g], "symbol": symbol_of[g]} for g in seen]
    return tables_of(rows)


def adapter_genes(adapter: Adapter, tokens: np.ndarray) -> np.ndarray:
    """Token ids of a cell's genes."""
    return np.asarray(tokens)[adapter.gene_positions(tokens).cpu().numpy()]


def _steer_cell(
    adapter: Adapter,
    dictionaries: Mapping[int, Dictionary],
    cell: CleanCell,
    tokens: np.ndarray,
    feature: Address,
    doses: np.ndarray,
    genes: np.ndarray,
    seed: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Mean logit changes [doses, genes], readout [doses] and control [doses] of one feature in one
    cell.
    """
    positions, values = cell.firing[feature.layer].rows(feature.index)
    if len(positions) == 0:
        return None
    own = dictionaries[feature.layer].columns(torch.tensor([feature.index], device=adapter.device))[
        0
    ]
    drawn = np.random.default_rng([seed, feature.layer, feature.index]).normal(size=len(own))
    random = torch.as_tensor(drawn, dtype=own.dtype, device=own.device)
    random *= own.norm() / random.norm()
    scaled = [
        float(dose) * values[:, None] * direction for direction in (own, random) for dose in doses
    ]
    zero = torch.zeros_like(scaled[0])
    heads = torch.cat(list(_mean_heads(adapter, cell, feature.layer, positions, [zero, *scaled])))
    changes = adapter.unembed(heads[1:]) - adapter.unembed(heads[:1])
    wanted = changes[:, torch.as_tensor(genes, device=changes.device)].double().cpu().numpy()
    steered, control = wanted[: len(doses)], wanted[len(doses) :]
    here = np.isin(genes, tokens)
    fires = np.isin(genes, tokens[positions.cpu().numpy()])
    return steered, _readout(steered, fires, here), _readout(control, fires, here)


def _mean_heads(
    adapter: Adapter, cell: CleanCell, layer: int, positions: Tensor, deltas: list[Tensor]
) -> Iterator[Tensor]:
    """Prediction-head rows, averaged over gene positions, after each edit: [B, d] a batch."""
    size, last = make_plan(adapter, cell.length).pairs, adapter.n_layers - 1
    at = torch.searchsorted(cell.genes, positions)
    for start in range(0, len(deltas), size):
        changes = []
        for delta in deltas[start : start + size]:
            whole = torch.zeros(
                len(cell.genes), adapter.width, dtype=delta.dtype, device=delta.device
            )
            whole[at] = delta
            changes.append(whole)
        edits = make_edits([cell.genes] * len(changes), changes)
        if layer == last:
            states = cell.states[layer][edits.position] + edits.delta
        else:
            states = next(iter(run_exact(adapter, cell.states[layer], edits, layer, (last,))))[1]
        yield adapter.head_rows(states).unflatten(0, (len(changes), -1)).mean(1)


def _readout(changes: np.ndarray, fires: np.ndarray, here: np.ndarray) -> np.ndarray:
    """Mean change of the genes the feature fires on, minus that of the cell's other genes (0 where
    it fires on all).
    """
    rest = here & ~fires
    return changes[:, fires].mean(1) - (changes[:, rest].mean(1) if rest.any() else 0.0)


def _gene_names(adapter: Adapter, genes: np.ndarray) -> list[tuple[str, str]]:
    """Gene id and symbol of each token."""
    vocabulary = adapter.vocabulary
    ids = [
        str(vocabulary.gene_of_token[int(t)]) if t < len(vocabulary.gene_of_token) else ""
        for t in genes
    ]
    missing = [int(t) for t, g in zip(genes, ids, strict=True) if not g]
    if missing:
        raise UserError(
            f"token {missing[0]} is a gene for the model but has no name in the vocabulary"
            f" ({len(missing)} such tokens)",
            "use the vocabulary the model was trained with",
        )
    return [(g, vocabulary.symbol(g)) for g in ids]


def _describe(
    rows: dict[str, list[dict[str, object]]],
    feature: Address,
    steered: Steered,
    grid: list[float],
    names: list[tuple[str, str]],
    last: int,
    run: str,
) -> int:
    """Add the records of one feature; returns the significant genes over all coefficients."""
    doses = np.array(grid) - 1
    found = 0
    for i, (coefficient, dose) in enumerate(zip(grid, doses, strict=True)):
        key = f"{run}/steer/{feature.short.replace('/', '')}@{coefficient:g}"
        mean, low, high = interval(steered.logits[:, i])
        p = (
            sign_flip_p(steered.logits[:, i].T)
            if len(steered.logits) > 1
            else np.full(len(mean), np.nan)
        )
        q = q_of(p)
        effect, effect_low, effect_high = interval(steered.readout[:, i])
        many = len(steered.readout) > 1
        found += int((q <= Q).sum())
        rows["Intervention"].append(
            {
                "id": key,
                "name": f"{feature.short} x {coefficient:g}",
                "verb": "steer",
                "order": 1,
                "coefficient": coefficient,
                "target_layer": last,
                "cells": len(steered.readout),
                "tested": int((~np.isnan(p)).sum()),
                "significant": int((q <= Q).sum()),
                "effect": effect,
                "effect_low": effect_low,
                "effect_high": effect_high,
                "p": sign_flip_p(steered.readout[None, :, i])[0] if many else None,
                "control": steered.control[:, i].mean(),
                "run": run,
            }
        )
        rows["Intervention-FROM-Run"].append({"source": key, "target": run})
        rows["Feature-PART_OF-Intervention"].append(
            {
                "source": str(feature),
                "target": key,
                "run": run,
                "role": "steered",
                "coefficient": coefficient,
            }
        )
        order = np.argsort(mean, kind="stable")
        for g in dict.fromkeys([*order[::-1][:TOP_GENES], *order[:TOP_GENES]]):
            rows["Intervention-SHIFTED-Gene"].append(
                {
                    "source": key,
                    "target": names[g][0],
                    "run": run,
                    "dose": dose,
                    "effect": mean[g],
                    "low": low[g],
                    "high": high[g],
                    "p": p[g],
                    "q": q[g],
                }
            )
    slope, control = slopes(steered.readout, doses), slopes(steered.control, doses)
    by_gene = slopes(steered.logits, doses).mean(0)
    top = np.argsort(-by_gene, kind="stable")[:TOP_GENES]
    rows["Feature"].append(
        {
            "id": str(feature),
            "steering_slope": slope.mean(),
            "steering_p": sign_flip_p(slope[None])[0] if len(slope) > 1 else None,
            "steering_gene": names[top[0]][1],
            "steering_top_genes": [names[g][1] for g in top],
            "steering_control": control.mean(),
        }
    )
    return found

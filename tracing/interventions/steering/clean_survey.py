r"""What the clean passes say before anything is steered: firing, mean active values, and the norms
of states, so that a condition the model cannot be expected to tolerate is known beforehand.

Over all gene positions of the cells, ``Q = 99.9 % quantile of ||h(p)||`` of a layer's clean states.
The norm ratio of a condition is the median of ``||h(p) + s(p) w|| / Q`` over all edited positions.
Above `TOLERATED` the condition is beyond what the model has ever seen, and is marked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from scircuit.core.errors import UserError
from scircuit.tracing.clean_pass.clean_pass import clean_cell
from scircuit.tracing.hardware.parallel import run_jobs
from scircuit.tracing.interventions.steering.steered_states import (
    column_of,
    matched_features,
)

if TYPE_CHECKING:
    from scircuit.core.address import Address
    from scircuit.tracing.dictionaries.dictionary import Dictionary
    from scircuit.tracing.models.adapter import Adapter

TOLERATED = 2.0  # times the 99.9 % quantile of clean norms
_QUANTILE = 0.999


@dataclass(frozen=True)
class Survey:
    """The clean passes of the cells that are steered.

    Attributes
    ----------
    mean_active
        Mean activation over the positions where each feature fires; 0 where it never does.
    matched
        Index of the matched-frequency feature; None where there is none.
    norm_ratio
        [doses] norm ratio of each feature's conditions; NaN where it has no position to edit.
    clean_norm
        Layer -> 99.9 % quantile of the norms of clean states.
    """

    mean_active: Mapping[Address, float]
    matched: Mapping[Address, int | None]
    norm_ratio: Mapping[Address, np.ndarray]
    clean_norm: Mapping[int, float]

    def beyond(self, feature: Address) -> np.ndarray:
        """Which conditions of a feature exceed what is tolerated, [doses] bool."""
        return self.norm_ratio[feature] > TOLERATED


def survey(
    adapter: Adapter,
    dictionaries: Mapping[int, Dictionary],
    cells: Sequence[np.ndarray],
    features: list[Address],
    coefficients: np.ndarray,
    mode: str,
) -> Survey:
    """Clean passes of the cells, and the norms that steering would give.

    Raises
    ------
    UserError
        If a feature fires in no cell, or every condition of every feature is beyond the tolerated
        norm.
    """
    layers = sorted({f.layer for f in features})
    columns = {
        f: column_of(dictionaries[f.layer], f.index, adapter.device).double() for f in features
    }

    def one_cell(tokens: np.ndarray) -> tuple[dict, dict, dict, dict]:
        cell = clean_cell(adapter, dictionaries, tokens, layers)
        norms = {t: cell.states[t][cell.genes].double().norm(dim=1).cpu().numpy() for t in layers}
        count = {t: np.diff(cell.firing[t].start) for t in layers}
        total = {f: cell.firing[f.layer].rows(f.index)[1].double().sum().item() for f in features}
        # ||h + s w||^2 = ||h||^2 + 2 s h w + s^2 ||w||^2, at the gene positions
        kept = {}
        for f in features:
            h = cell.states[f.layer][cell.genes].double()
            dots = ((h * h).sum(1).cpu().numpy(), (h @ columns[f]).cpu().numpy())
            kept[f] = (*dots, cell.firing[f.layer].rows(f.index), cell.genes)
        return norms, count, total, kept

    parts = list(run_jobs([partial(one_cell, tokens) for tokens in cells], adapter.device))
    clean_norm = {
        t: float(np.quantile(np.concatenate([p[0][t] for p in parts]), _QUANTILE)) for t in layers
    }
    positions = {t: np.sum([p[1][t] for p in parts], axis=0) for t in layers}
    for f in features:
        if not positions[f.layer][f.index]:
            raise UserError(
                f"{f} fires in none of {len(cells)} cells",
                "steer features that fire in these cells",
            )
    mean_active = {
        f: sum(p[2][f] for p in parts) / int(positions[f.layer][f.index]) for f in features
    }
    norms = {
        t: dictionaries[t]
        .columns(torch.arange(dictionaries[t].n_features, device=adapter.device))
        .norm(dim=1)
        .cpu()
        .numpy()
        for t in layers
    }
    ratio = {}
    for f in features:
        own = float(columns[f].norm()) ** 2
        values = [
            _norms(p[3][f], coefficients, mode, mean_active[f], own) / clean_norm[f.layer]
            for p in parts
        ]
        together = np.concatenate(values, axis=1)
        ratio[f] = (
            np.median(together, axis=1) if together.shape[1] else np.full(len(coefficients), np.nan)
        )
    found = Survey(mean_active, matched_features(positions, norms, features), ratio, clean_norm)
    if all(found.beyond(f).all() for f in features):
        least = min(features, key=lambda f: ratio[f].min())
        c = coefficients[int(np.argmin(ratio[least]))]
        raise UserError(
            f"every condition is beyond what the model tolerates: the mildest, {least.short} x"
            f" {c:g}, gives states of {ratio[least].min():.3g} times the 99.9 % quantile of clean"
            f" norms, and at most {TOLERATED:g} are accepted",
            "give coefficients nearer to 1",
        )
    return found


def _norms(
    kept: tuple, coefficients: np.ndarray, mode: str, mean_active: float, own: float
) -> np.ndarray:
    """Norms of the edited states of one cell, [doses, P]."""
    square, along, (active, values), genes = kept
    rows = torch.searchsorted(genes, active).cpu().numpy()
    z = values.double().cpu().numpy()
    if mode == "clamp-all":
        every = np.zeros(len(square))
        every[rows] = z
        rows, z = np.arange(len(square)), every
    c = coefficients[:, None]
    s = (c - 1) * z if mode == "amplify" else c * mean_active - z
    return np.sqrt(np.maximum(square[rows] + 2 * s * along[rows] + s**2 * own, 0))

r"""Steering: change a feature's activation where it fires, and read what the model then says of the
cell.

Every condition (feature, coefficient) is run along the feature's own direction, along random
directions of equal norm, and along the direction of a feature that fires as often
(`scircuit.tracing.interventions.steering.steered_states`); each readout is one number a cell
(`scircuit.tracing.interventions.steering.steering_readouts`). Dose slopes and their tests:
`scircuit.tracing.interventions.steering.slope_statistics`. Conditions that give states of norms
which the model never sees are marked and take no part in slopes
(`scircuit.tracing.interventions.steering.clean_survey`).

The first readout is fixed by each cell's clean pass and hence not chosen by its result: mean logit
change of the genes at the feature's active positions, minus that of the cell's other genes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from scircuit.core.address import Address
from scircuit.core.errors import UserError
from scircuit.tracing.clean_pass.clean_pass import CleanCell, clean_cell
from scircuit.tracing.hardware.parallel import run_jobs
from scircuit.tracing.interventions.intervention_tables import read_addresses
from scircuit.tracing.interventions.steering.clean_survey import Survey, survey
from scircuit.tracing.interventions.steering.steered_loss import MaskedCell, require_masks
from scircuit.tracing.interventions.steering.steered_states import (
    MODES,
    directions,
    read_passes,
    strengths,
)
from scircuit.tracing.interventions.steering.steering_readouts import (
    CellRead,
    MaskedLoss,
    OwnGenes,
    Readout,
)
from scircuit.tracing.interventions.steering.steering_records import Steered, SteeringRecords
from scircuit.tracing.interventions.steering.switch_features import Switch
from scircuit.tracing.models.adapter import ids_of

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

    from scircuit.tracing.dictionaries.dictionary import Dictionary
    from scircuit.tracing.interfaces import TokenisedCells
    from scircuit.tracing.models.adapter import Adapter

RANDOM_DIRECTIONS = 19

One = tuple[np.ndarray, np.ndarray, np.ndarray]  # of one cell: logits, changes, doses


def steer(
    adapter: Adapter,
    dictionaries: Mapping[int, Dictionary],
    cohort: TokenisedCells,
    addresses: Sequence[Address | str],
    coefficients: Sequence[float],
    *,
    run: str,
    seed: int = 0,
    mode: str = "amplify",
    random_directions: int = RANDOM_DIRECTIONS,
    readouts: Sequence[Readout] = (),
    switches: Sequence[Switch] = (),
    progress: Callable[[int, int, int], None] | None = None,
) -> dict[str, pa.Table]:
    """Steer each feature over a grid of coefficients.

    Parameters
    ----------
    adapter, dictionaries, cohort
        Model, layer -> dictionary, cells (``tokens`` is read).
    addresses
        Features to steer, of any layers.
    coefficients
        Amplify: factors on the activation; 1 is left out. Clamp: the value in units of the
        feature's mean active value.
    run
        Id of the run the records belong to.
    seed
        Seed of the random directions and of the masks.
    mode
        amplify, clamp (at the positions where the feature fires), clamp-all (at all gene
        positions).
    random_directions
        Random directions of equal norm.
    readouts
        Further readouts; the logits of the feature's own genes are always read.
    switches
        ON and OFF features as chosen, noted on the features.
    progress
        Called with (features done, features, significant genes so far).

    Returns
    -------
    dict
        Tables of kinds Intervention, Feature-PART_OF-Intervention, Intervention-SHIFTED-Gene,
        Intervention-SHIFTED-Readout, Feature-STEERS-Readout, Readout, Gene, Feature,
        Intervention-FROM-Run.

    Raises
    ------
    UserError
        If addresses do not fit the dictionaries, no coefficient changes anything, a feature fires
        in no cell, or every condition is beyond the tolerated norm.
    """
    features = read_addresses(addresses, dictionaries, 1)
    grid = _grid(coefficients, mode)
    every: list[Readout] = [OwnGenes(), *readouts]
    if any(isinstance(r, MaskedLoss) for r in every):
        require_masks(adapter)
    genes = np.unique(np.concatenate([adapter.gene_tokens(tokens) for tokens in cohort.tokens]))
    names = _gene_names(adapter, genes)
    used = {t: dictionaries[t].to(adapter.device) for t in sorted({f.layer for f in features})}
    found = survey(adapter, used, cohort.tokens, features, grid, mode)
    along = {
        f: directions(used[f.layer], f, found.matched[f], random_directions, seed) for f in features
    }
    kept: dict[Address, list[One]] = {f: [] for f in features}

    def one_cell(tokens: np.ndarray) -> list[One | None]:
        cell = clean_cell(adapter, used, tokens, used)
        masked = None
        if any(isinstance(r, MaskedLoss) for r in every):
            masked = MaskedCell(adapter, used, tokens, list(used), seed)
        return [
            _steer_cell(adapter, cell, masked, tokens, f, along[f], grid, mode, found, every, genes)
            for f in features
        ]

    records = SteeringRecords(
        run, mode, grid, adapter.n_layers - 1, every, random_directions, found, names, switches
    )
    jobs = [partial(one_cell, tokens) for tokens in cohort.tokens]
    for results in run_jobs(jobs, adapter.device):
        for f, one in zip(features, results, strict=True):
            if one is not None:
                kept[f].append(one)
    count = 0
    for done, f in enumerate(features):
        count += records.add(f, Steered(*(np.stack(part) for part in zip(*kept[f], strict=True))))
        if progress:
            progress(done + 1, len(features), count)
    return records.tables()


def _grid(coefficients: Sequence[float], mode: str) -> np.ndarray:
    if mode not in MODES:
        raise UserError(f"steering mode {mode!r}", f"choose one of: {', '.join(MODES)}")
    grid = sorted({float(c) for c in coefficients} - ({1.0} if mode == "amplify" else set()))
    if not grid or not np.isfinite(grid).all():
        raise UserError(
            f"coefficients {tuple(coefficients)} change nothing or are not finite",
            "give factors such as 0 2 3 5",
        )
    return np.array(grid)


def _steer_cell(
    adapter: Adapter,
    cell: CleanCell,
    masked: MaskedCell | None,
    tokens: np.ndarray,
    feature: Address,
    along: Tensor,
    grid: np.ndarray,
    mode: str,
    found: Survey,
    readouts: list[Readout],
    genes: np.ndarray,
) -> One | None:
    """Changes of one feature in one cell: logits [doses, genes] along its own direction, readouts
    [directions, doses, readouts], doses [doses]; None where there is nothing to edit.
    """
    edit = strengths(cell, feature, grid, mode, found.mean_active[feature])
    if edit is None:
        return None
    passes = read_passes(adapter, cell, feature.layer, edit, along)
    # differences of logits in the model's precision, so that what is equal cancels exactly
    clean = passes.logits[:1].double().cpu().numpy()
    change = (passes.logits - passes.logits[:1]).double().cpu().numpy()
    ids = ids_of(tokens)
    read = CellRead(
        clean + change,
        passes.state.double().cpu().numpy(),
        np.unique(adapter.gene_tokens(tokens)),
        np.unique(ids[edit.active.cpu().numpy()]),
    )
    columns = []
    for readout in readouts:
        if not isinstance(readout, MaskedLoss):
            columns.append(readout.changes(read))
            continue
        assert masked is not None
        other = strengths(masked.cell, feature, grid, mode, found.mean_active[feature])
        columns.append(
            np.full(len(change) - 1, np.nan)
            if other is None
            else masked.changes(other, feature.layer, along)
        )
    shaped = np.stack(columns, -1).reshape(len(along), len(grid), len(readouts))
    return change[1 : 1 + len(grid), genes], shaped, edit.dose


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

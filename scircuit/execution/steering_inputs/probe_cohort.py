"""Cells of the trace run's file that were not traced: probes and signatures are fitted on them, and
so on no cell that is steered.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, cast

import numpy as np

from scircuit.core.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from scircuit.core.config import TraceConfig
    from scircuit.execution.load_inputs import Inputs
    from scircuit.tracing.cells.cohort import Cohort


@dataclass(frozen=True)
class ProbeCohort:
    """Cells that are not steered.

    Attributes
    ----------
    tokens
        Each cell as the model reads it.
    obs
        All obs columns of these cells.
    all_cells
        The steered cells and these, as loaded.
    mine
        Which of `all_cells` are these, [all cells] bool.
    """

    tokens: list[np.ndarray]
    obs: pd.DataFrame
    all_cells: Cohort
    mine: np.ndarray


def read_obs(config: TraceConfig) -> pd.DataFrame:
    """All obs columns of the file of a trace run."""
    from scircuit.tracing.cells.expression_files import open_expression

    with open_expression(config.cells, config.genome) as expression:
        return expression.obs.copy()


def column(obs: pd.DataFrame, name: str, option: str) -> pd.Series:
    """One obs column.

    Raises
    ------
    UserError
        If it does not exist.
    """
    if name not in obs.columns:
        known = [str(c) for c in obs.columns]
        near = get_close_matches(name, known, 3, 0.4) or known[:8]
        raise UserError(
            f"--{option}: the cells have no obs column {name!r}; they have {len(known)} columns"
            f"{': ' + ', '.join(near) if near else ''}",
            f"give a column of obs to --{option}",
        )
    return cast("pd.Series", obs[name])


def probe_cohort(inputs: Inputs, config: TraceConfig, number: int) -> ProbeCohort:
    """Draw up to `number` cells beside the traced ones, from those that pass the same filters.

    Raises
    ------
    UserError
        If there are none: the run has traced all of them.
    """
    from scircuit.tracing.cells.cohort import load_cohort
    from scircuit.tracing.legacy.legacy_cohort import load_legacy_cohort

    load = load_legacy_cohort if config.legacy else load_cohort
    traced = inputs.cohort.row_ids
    adapter = inputs.adapter
    drawn = load(
        replace(config, n_cells=len(traced) + number), adapter.vocabulary, adapter.max_length
    )
    mine = ~np.isin(drawn.row_ids, traced)
    if not mine.any():
        raise UserError(
            f"the trace run has all {len(traced)} cells that pass its filters, so none is left to"
            " fit probes on",
            "trace fewer cells with --n-cells, or leave out the readouts that need probe cells",
        )
    obs = read_obs(config).iloc[drawn.row_ids[mine]]
    tokens = [t for t, own in zip(drawn.tokens, mine, strict=True) if own]
    return ProbeCohort(tokens, obs, drawn, mine)

"""Which cells: obs filters ``COLUMN=VALUE[,VALUE...]``, all of which must pass, and the resulting
composition.

A population that mixes cell lines or species is refused unless it is declared, because one graph
over several populations describes none of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from scircuit.core.errors import UserError, quoted
from scircuit.core.preflight import CheckLine
from scircuit.tracing.cells.column_names import named
from scircuit.tracing.cells.filter_values import (
    MAX_VALUES,
    as_text,
    asked_column,
    asked_values,
    cells_per_value,
)

# Columns whose values must not be mixed by accident, and columns whose composition is reported;
# in any spelling (`column_names`).
_EXCLUSIVE = (
    "cell_line",
    "cell_lines",
    "cell_line_name",
    "cell_line_id",
    "species",
    "organism",
    "organism_ontology_term_id",
)
_REPORTED = (
    "cell_type",
    "cell_types",
    "bulk_labels",
    "tissue",
    "tissue_general",
    "tissue_in_publication",
    "disease",
    "perturbation",
    "condition",
    "treatment",
    "batch",
    "donor",
    "donor_id",
    "sample",
    "assay",
    "sex",
)


def select(obs: pd.DataFrame, where: Sequence[str]) -> np.ndarray:
    """Row numbers of the cells that pass every filter, ascending.

    Raises
    ------
    UserError
        If a column or value does not exist (the nearest ones are named), a column cannot be read,
        or no cell passes.
    """
    keep = np.ones(len(obs), dtype=bool)
    for text in where:
        column, values = asked_column(text, obs)
        written = as_text(pd.Series(obs[column]))
        keep &= np.isin(written.astype(str), asked_values(text, values, pd.Series(obs[column])))
    rows = np.flatnonzero(keep)
    if not len(rows):
        raise UserError(
            f"no cell of {len(obs):,} passes all filters ({'; '.join(where) or 'none given'})",
            "each filter matches some cells, but no cell matches all: drop one of them"
            if where
            else "the file has no cells: give another",
        )
    return rows


def describing(columns: Iterable[object]) -> list[str]:
    """Columns of obs that describe populations: cell lines and species first."""
    return named(columns, (*_EXCLUSIVE, *_REPORTED))


def composition(obs: pd.DataFrame, where: Sequence[str]) -> dict[str, dict[str, int]]:
    """Cells per value of each filtered column and of the columns that describe populations."""
    filtered = [asked_column(text, obs)[0] for text in where]
    columns = dict.fromkeys([*filtered, *describing(obs.columns)])
    result = {}
    for column in columns:
        counts = cells_per_value(pd.Series(obs[column]))
        if column in filtered or len(counts) <= MAX_VALUES:
            result[column] = counts
    return result


def check_mixed(obs: pd.DataFrame, where: Sequence[str], mixed: bool) -> CheckLine:
    """Whether the chosen cells are one cell line and one species, or declared as mixed."""
    filtered = {asked_column(text, obs)[0] for text in where}
    looked_at = named(obs.columns, _EXCLUSIVE)
    unreadable = obs.attrs.get("unreadable", {})
    unseen = [] if mixed else named(unreadable, _EXCLUSIVE)
    if unseen:
        return CheckLine(
            "population",
            False,
            f"obs[{unseen[0]!r}] cannot be read: {unreadable[unseen[0]]}; a mixture cannot be seen",
            "one population: effects averaged over several describe none of them",
            "mend the column or delete it from the file; or declare a mixture with --mixed",
        )
    for column in looked_at:
        counts = cells_per_value(pd.Series(obs[column]))
        if len(counts) > 1:
            listed = ", ".join(f"{v} {n:,}" for v, n in list(counts.items())[:8]) + (
                ", ..." if len(counts) > 8 else ""
            )
            if mixed or column in filtered:
                return CheckLine(
                    "population",
                    True,
                    f"mixed, as declared: {column}: {listed}",
                    "one population, or declared",
                )
            return CheckLine(
                "population",
                False,
                f"the {len(obs):,} chosen cells mix {len(counts)} values of obs[{column!r}]:"
                f" {listed}",
                "one population: effects averaged over several describe none of them",
                f"choose with --where {quoted(f'{column}={next(iter(counts))}')}, or declare"
                " the mixture with --mixed",
            )
    found = (
        f"one value each in {', '.join(looked_at)}"
        if looked_at
        else "obs has no column of cell lines or species, so a mixture cannot be detected"
    )
    return CheckLine("population", True, found, "one population, or declared")

"""Which cells: obs filters ``COLUMN=VALUE[,VALUE...]``, all of which must pass, and the resulting
composition.

A population that mixes cell lines or species is refused unless it is declared, because one graph
over several populations describes none of them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from scircuit.core.errors import UserError
from scircuit.core.preflight import CheckLine

# Columns whose values must not be mixed by accident, and columns whose composition is reported.
_EXCLUSIVE = (
    "cell_line",
    "cellline",
    "cell_line_name",
    "species",
    "organism",
    "organism_ontology_term_id",
)
_REPORTED = (
    "cell_type",
    "celltype",
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
_MAX_VALUES = 30


def parse(text: str) -> tuple[str, tuple[str, ...]]:
    """Column and accepted values of one filter.

    Raises
    ------
    UserError
        If the text is not ``COLUMN=VALUE[,VALUE...]``.
    """
    column, sign, values = text.partition("=")
    accepted = tuple(v.strip() for v in values.split(",") if v.strip())
    if not sign or not column.strip() or not accepted:
        raise UserError(
            f"filter {text!r} is not COLUMN=VALUE[,VALUE...]", "write it as --where cell_line=K562"
        )
    return column.strip(), accepted


def select(obs: pd.DataFrame, where: Sequence[str]) -> np.ndarray:
    """Row numbers of the cells that pass every filter, ascending.

    Raises
    ------
    UserError
        If a column or value does not exist (the nearest ones are named), or no cell passes.
    """
    keep = np.ones(len(obs), dtype=bool)
    for text in where:
        column, accepted = parse(text)
        if column not in obs:
            near = difflib.get_close_matches(column, [str(c) for c in obs.columns], 1, 0.5)
            has = ", ".join(str(c) for c in obs.columns[:_MAX_VALUES]) or "no column"
            raise UserError(
                f"filter {text!r}: obs has no column {column!r}; it has {has}",
                f"did you mean {near[0]!r}?" if near else "choose one of these columns",
            )
        values = _text(pd.Series(obs[column]))
        counts = _counts(values)
        for value in accepted:
            if value not in counts:
                near = difflib.get_close_matches(value, list(counts), 1, 0.5)
                has = ", ".join(f"{v} ({n:,})" for v, n in list(counts.items())[:_MAX_VALUES])
                more = (
                    f" and {len(counts) - _MAX_VALUES:,} more" if len(counts) > _MAX_VALUES else ""
                )
                raise UserError(
                    f"filter {text!r}: no cell has {column} = {value!r}; {column} holds"
                    f" {has}{more}",
                    f"did you mean {near[0]!r}?" if near else "choose one of these values",
                )
        keep &= np.isin(values.astype(str), accepted)
    rows = np.flatnonzero(keep)
    if not len(rows):
        raise UserError(
            f"no cell of {len(obs):,} passes all filters ({'; '.join(where) or 'none given'})",
            "each filter matches some cells, but no cell matches all: drop one of them",
        )
    return rows


def _text(values: pd.Series) -> np.ndarray:
    """Values as text: missing ones as ``NA``, whole numbers without a fraction."""

    def written(value: object) -> str:
        if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
            return "NA"
        return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)

    codes, distinct = pd.factorize(
        np.asarray(values.astype(object), dtype=object), use_na_sentinel=False
    )
    return np.array([written(v) for v in distinct], dtype=object)[codes]


def _counts(values: np.ndarray) -> dict[str, int]:
    """Cells per value, the most frequent first, then by name."""
    names, counts = np.unique(values.astype(str), return_counts=True)
    return {str(names[i]): int(counts[i]) for i in np.lexsort((names, -counts))}


def describing(columns: Iterable[object]) -> list[str]:
    """Columns of obs that describe populations: cell lines and species first."""
    lower = {str(c).lower(): str(c) for c in columns}
    return [lower[n] for n in (*_EXCLUSIVE, *_REPORTED) if n in lower]


def composition(obs: pd.DataFrame, where: Sequence[str]) -> dict[str, dict[str, int]]:
    """Cells per value of each filtered column and of the columns that describe populations."""
    filtered = [parse(text)[0] for text in where]
    columns = dict.fromkeys([*filtered, *describing(obs.columns)])
    result = {}
    for column in columns:
        counts = _counts(_text(pd.Series(obs[column])))
        if column in filtered or len(counts) <= _MAX_VALUES:
            result[column] = counts
    return result


def check_mixed(obs: pd.DataFrame, where: Sequence[str], mixed: bool) -> CheckLine:
    """Whether the chosen cells are one cell line and one species, or declared as mixed."""
    named = {parse(text)[0] for text in where}
    looked_at = [c for c in obs.columns if str(c).lower() in _EXCLUSIVE]
    for column in looked_at:
        counts = _counts(_text(pd.Series(obs[column])))
        if len(counts) > 1:
            listed = ", ".join(f"{v} {n:,}" for v, n in list(counts.items())[:8]) + (
                ", ..." if len(counts) > 8 else ""
            )
            if mixed or column in named:
                return CheckLine(
                    "population",
                    True,
                    f"mixed, as declared: {column}: {listed}",
                    "one population, or declared",
                )
            return CheckLine(
                "population",
                False,
                f"the {len(obs):,} chosen cells mix {len(counts)} values of obs[{str(column)!r}]:"
                f" {listed}",
                "one population: effects averaged over several describe none of them",
                f"choose with --where {column}={next(iter(counts))}, or declare the mixture with"
                " --mixed",
            )
    found = (
        f"one value each in {', '.join(map(str, looked_at))}"
        if looked_at
        else "obs has no column of cell lines or species, so a mixture cannot be detected"
    )
    return CheckLine("population", True, found, "one population, or declared")

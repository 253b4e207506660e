"""In which cell types and tissues a feature is more active, with the donor as the unit.

The activation of feature f in cell c is its mean over all gene positions of the cell, silent ones
included. For a type t and the donors that have cells of t and others,

    d_i(f, t) = mean over the cells of t of donor i - mean over the other cells of donor i,

and p is the exact one-sided sign-flip p of the d_i, the share of the 2^D patterns of signs whose
sum is at least the observed one, but never less than that of type labels permuted within the donors
(`scircuit.analysis.annotation.cell_type_tests` says why). What a donor has in all of its cells
cancels. The smallest p is 2^-D, so q <= 0.05 needs five donors even where every test of the family
is at that smallest p, and more where few are: a type with fewer than five such donors is not
tested, and never called. Without a donor column the cells themselves are ranked (Mann-Whitney U,
normal approximation with ties and continuity corrected, one-sided; Fisher's test of the firing
cells where these are few); then ``donors = 0``, and the p are too small as far as the cells of one
donor are alike.

    cell_type_tables(activations, obs, {"CellType": ["cell_type"], "Tissue": ["tissue"]}, donor,
    address, run=..., q=0.05, sign_flip=...)
        -> CellTypes(tables, findings, notes, sentences, frame)

The family of the Benjamini-Hochberg q is every feature x every tested type of all columns together.
Records are written for q at the threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse

from scircuit.analysis.annotation.cell_type_tests import (
    Comparison,
    donor_differences,
    one_sided,
    permuted_labels,
    powers,
    rank_test,
)
from scircuit.analysis.enrichment.fdr import benjamini_hochberg
from scircuit.analysis.enrichment.gene_term_matrix import row_count
from scircuit.core.errors import UserError
from scircuit.core.schema import schema_table

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

LABELS = ("CellType", "Tissue")
DONOR_COLUMNS = ("donor_id", "donor", "patient")
MIN_CELLS = 3
MIN_DONORS = 5
_BY_DONOR, _RANKS, _FIRING = (
    "sign flip over donors, one-sided",
    "Mann-Whitney over cells, one-sided",
    "Fisher over firing cells, one-sided",
)
_CHUNK = 2048  # features whose activations are dense at once


class Activations(NamedTuple):
    """Mean activation of every feature in every cell.

    `mean` is [cells, features] (CSR, rows as in the obs frame); `layer` and `index` name its
    columns.
    """

    mean: sparse.csr_matrix
    layer: np.ndarray
    index: np.ndarray


@dataclass(frozen=True)
class CellTypes:
    """What `cell_type_tables` found.

    Parameters
    ----------
    tables
        Kind -> table: CellType, Tissue, Feature-ACTIVE_IN-CellType, Feature-ACTIVE_IN-Tissue, of
        the columns that were given.
    findings
        Numbers for the manifest.
    notes
        What was not used or not tested, with counts.
    sentences
        The findings in words, with their limits.
    frame
        Every test: layer, index, label, type, cells, donors, difference, p, q.
    """

    tables: dict[str, pa.Table]
    findings: dict[str, object]
    notes: tuple[str, ...]
    sentences: tuple[str, ...]
    frame: pd.DataFrame


def mean_activations(
    cell: np.ndarray,
    layer: np.ndarray,
    index: np.ndarray,
    total: np.ndarray,
    gene_positions: np.ndarray,
) -> Activations:
    """Activations from sums: one entry for each (cell, feature) that fires.

    Parameters
    ----------
    cell, layer, index
        0-based row of the cell, layer and latent of every entry; a repeated (cell, feature) is
        summed.
    total
        Sum of the feature's activation over the cell's positions.
    gene_positions
        [cells] gene positions of every cell, by which the sums are divided.

    Raises
    ------
    UserError
        If a cell has no gene position, or a sum is not finite.
    """
    positions = np.asarray(gene_positions, dtype=float)
    if not (positions > 0).all():
        raise UserError(
            f"{int((positions <= 0).sum())} of {positions.size} cells have no gene position",
            "leave these cells out",
        )
    total = np.asarray(total, dtype=float)
    if not np.isfinite(total).all():
        raise UserError(
            f"{int((~np.isfinite(total)).sum())} of {total.size} sums of activations are not"
            " finite",
            "check model and dictionaries",
        )
    layer, index = np.asarray(layer, dtype=np.int64), np.asarray(index, dtype=np.int64)
    width = int(index.max(initial=0)) + 1
    keys, column = np.unique(layer * width + index, return_inverse=True)
    values = total / positions[np.asarray(cell, dtype=np.int64)]
    matrix = sparse.csr_matrix((values, (cell, column)), shape=(positions.size, keys.size))
    return Activations(matrix, keys // width, keys % width)


def donor_column(columns: Sequence[str], wanted: str = "") -> str:
    """The obs column that names the donor: `wanted`, else ``donor_id``, ``donor`` or ``patient``,
    else "" (none).

    Raises
    ------
    UserError
        If `wanted` is not among the columns.
    """
    if wanted and wanted not in columns:
        raise UserError(
            f"the cells have no obs column {wanted!r} for the donor; they have"
            f" {', '.join(columns) or 'none'}",
            "name another --donor",
        )
    return wanted or next((c for c in DONOR_COLUMNS if c in columns), "")


def cell_type_tables(
    activations: Activations,
    obs: pd.DataFrame,
    columns: Mapping[str, Sequence[str]],
    donor: str,
    address: Callable[[int, int], str],
    *,
    run: str,
    sign_flip: Callable[[np.ndarray], np.ndarray],
    q: float = 0.05,
) -> CellTypes:
    """Test every feature in every cell type and tissue.

    Parameters
    ----------
    activations
        `mean_activations`; its rows are those of `obs`.
    obs
        One row a cell.
    columns
        Node label (``CellType``, ``Tissue``) -> obs columns.
    donor
        obs column that names the donor (`donor_column`); empty: cells are the unit.
    address
        (layer, index) -> address of the feature.
    run
        Id of the run, written on every relationship.
    sign_flip
        [tests, donors] differences -> two-sided sign-flip p of every row
        (`scircuit.tracing.statistics.sign_flip.sign_flip_p`).
    q
        Threshold of the records.

    Raises
    ------
    UserError
        If a column is absent, or the activations and `obs` have different cells.
    """
    import pandas as pd

    cells = row_count(activations.mean)
    if cells != len(obs):
        raise UserError(
            f"activations of {cells} cells were given for an obs table of {len(obs)}",
            "give the cells in the order of the activations",
        )
    wanted = [c for given in columns.values() for c in given] + ([donor] if donor else [])
    if missing := [c for c in wanted if c not in obs.columns]:
        raise UserError(
            f"the cells have no obs column {', '.join(missing)}",
            f"the columns are: {', '.join(map(str, obs.columns)) or 'none'}",
        )
    has_donor = obs[donor].notna().to_numpy() if donor else np.ones(cells, dtype=bool)
    notes = (
        [f"{int((~has_donor).sum())} of {cells} cells have no {donor} and are not used"]
        if not has_donor.all()
        else []
    )
    codes = pd.factorize(obs[donor])[0] if donor else np.zeros(cells, dtype=np.int64)
    types = _types(obs, columns, has_donor, codes, bool(donor), notes)
    frame = _test(activations, types, codes, bool(donor), sign_flip)
    frame["q"] = benjamini_hochberg(frame["p"].to_numpy())
    found = frame.loc[frame["q"] <= q]
    tables = _tables(found, types, columns, address, run)
    findings = {
        "cell_types_tested": [t.id for t in types],
        "tests": len(frame),
        "found": len(found),
        "q": q,
        "donor_column": donor,
        "donors": int(codes.max(initial=-1)) + 1 if donor else 0,
        "features_with_a_type": int(found[["layer", "index"]].drop_duplicates().shape[0]),
    }
    return CellTypes(
        tables, findings, tuple(notes), _sentences(frame, found, types, donor, q), frame
    )


def _types(
    obs: pd.DataFrame,
    columns: Mapping[str, Sequence[str]],
    has_donor: np.ndarray,
    codes: np.ndarray,
    by_donor: bool,
    notes: list[str],
) -> list[Comparison]:
    """The types that can be tested; what cannot is counted in `notes`."""
    found: dict[tuple[str, str], Comparison] = {}
    for label, given in columns.items():
        for column in given:
            values = obs[column]
            named = has_donor & values.notna().to_numpy()
            if missing := int(has_donor.sum() - named.sum()):
                notes.append(f"{column}: {missing} cells without a value are not used")
            few: list[str] = []
            untestable: list[str] = []
            for value in sorted(set(values[named].astype(str))):
                of_type = named & (values.astype(str) == value).to_numpy()
                inside, outside, donors = _sides(of_type, named & ~of_type, codes, by_donor)
                if of_type.sum() < MIN_CELLS or (named & ~of_type).sum() < MIN_CELLS:
                    few.append(value)
                elif by_donor and donors < MIN_DONORS:
                    untestable.append(f"{value} ({donors})")
                else:
                    # two columns may use one name for different things
                    name = value if (label, value) not in found else f"{value} ({column})"
                    found[label, name] = Comparison(
                        label, name, int(of_type.sum()), inside, outside, donors
                    )
            if few:
                notes.append(
                    f"{column}: {len(few)} types with fewer than {MIN_CELLS} cells, or fewer than"
                    f" {MIN_CELLS} other cells, were not tested: {_some(few)}"
                )
            if untestable:
                notes.append(
                    f"{column}: {len(untestable)} types were not tested, because fewer than"
                    f" {MIN_DONORS} donors have {MIN_CELLS} cells of them and {MIN_CELLS} other"
                    f" cells: {_some(untestable)}"
                )
    return list(found.values())


def _some(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _sides(
    inside: np.ndarray, outside: np.ndarray, codes: np.ndarray, by_donor: bool
) -> tuple[np.ndarray, np.ndarray, int]:
    """Cells compared; with donors only those of donors that have enough on both sides, and how many
    such donors there are.
    """
    if not by_donor:
        return np.flatnonzero(inside), np.flatnonzero(outside), 0
    size = int(codes.max(initial=-1)) + 1
    enough = (np.bincount(codes[inside], minlength=size) >= MIN_CELLS) & (
        np.bincount(codes[outside], minlength=size) >= MIN_CELLS
    )
    chosen = enough[np.maximum(codes, 0)] & (codes >= 0)
    return np.flatnonzero(inside & chosen), np.flatnonzero(outside & chosen), int(enough.sum())


def _test(
    activations: Activations,
    types: list[Comparison],
    codes: np.ndarray,
    by_donor: bool,
    sign_flip: Callable[[np.ndarray], np.ndarray],
) -> pd.DataFrame:
    """One row for each feature and type, in that order of blocks: difference and p."""
    import pandas as pd

    features = activations.layer.size
    difference = np.zeros((len(types), features))
    p = np.ones((len(types), features))
    few = np.zeros((len(types), features), dtype=bool)
    by_column = activations.mean.tocsc()
    for start in range(0, features if types else 0, _CHUNK):
        at = slice(start, min(start + _CHUNK, features))
        block = sparse.csc_matrix(by_column[:, at])
        if by_donor:
            moments = powers(block)
            for i, kind in enumerate(types):
                change = donor_differences(block, kind, codes)
                difference[i, at] = change.mean(axis=1)
                p[i, at] = np.maximum(
                    one_sided(change, sign_flip), permuted_labels(moments, kind, codes)
                )
        else:
            rank_test(block, types, difference[:, at], p[:, at], few[:, at])
    return pd.DataFrame(
        {
            "layer": np.tile(activations.layer, len(types)),
            "index": np.tile(activations.index, len(types)),
            "label": np.repeat([t.label for t in types], features),
            "type": np.repeat([t.id for t in types], features),
            "cells": np.repeat(np.array([t.cells for t in types], dtype=np.int64), features),
            "donors": np.repeat(np.array([t.donors for t in types], dtype=np.int64), features),
            "difference": difference.ravel(),
            "p": p.ravel(),
            "test": np.where(by_donor, _BY_DONOR, np.where(few.ravel(), _FIRING, _RANKS)),
        }
    )


def _tables(
    found: pd.DataFrame,
    types: list[Comparison],
    columns: Mapping[str, Sequence[str]],
    address: Callable[[int, int], str],
    run: str,
) -> dict[str, pa.Table]:
    tables: dict[str, pa.Table] = {}
    for label in columns:
        nodes = [t for t in types if t.label == label]
        rows = found.loc[found["label"] == label]
        tables[label] = schema_table(
            label,
            {
                "id": [t.id for t in nodes],
                "name": [t.id for t in nodes],
                "cells": [t.cells for t in nodes],
            },
        )
        tables[f"Feature-ACTIVE_IN-{label}"] = schema_table(
            f"Feature-ACTIVE_IN-{label}",
            {
                "source": [
                    address(int(la), int(ix))
                    for la, ix in zip(rows["layer"], rows["index"], strict=True)
                ],
                "target": rows["type"].tolist(),
                "run": [run] * len(rows),
                "p": rows["p"].tolist(),
                "q": rows["q"].tolist(),
                "cells": rows["cells"].tolist(),
                "donors": rows["donors"].tolist(),
                "difference": rows["difference"].tolist(),
                "test": rows["test"].tolist(),
                "origin": ["own"] * len(rows),
            },
        )
    return tables


def _sentences(
    frame: pd.DataFrame, found: pd.DataFrame, types: list[Comparison], donor: str, q: float
) -> tuple[str, ...]:
    if not types:
        return ("no cell type or tissue could be tested",)
    features = len(frame) // len(types)
    with_type = found[["layer", "index"]].drop_duplicates().shape[0]
    first = (
        f"{with_type:,} of {features:,} features are more active in at least one of {len(types)}"
        f" cell types and tissues at q <= {q:g}"
    )
    if not donor:
        return (
            (
                f"{first}; there is no donor column, so the cells themselves are the unit: cells of"
                " one donor are not independent, and q is too small as far as they are similar"
            ),
        )
    low, high = min(t.donors for t in types), max(t.donors for t in types)
    best = f"{2.0**-high:.2g}"
    return (
        f"{first}, with the donor as the unit",
        (
            f"{low} to {high} donors have cells of a tested type and other cells: the smallest"
            f" possible p is {best}, which gives q <= {q:g} only if at least"
            f" {_share_needed(high, q)} of the tests have it"
        ),
    )


def _share_needed(donors: int, q: float) -> str:
    return f"{min(100.0, 100 * 2.0**-donors / q):.2g} %"

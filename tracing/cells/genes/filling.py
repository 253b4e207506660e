"""Genes of a chosen column, its gaps filled from others and old names followed.

In this order: exact names of the chosen column; exact names of the others, where it has none; old
names and retired ids of the chosen column; those of the others. An old name is not followed to a
gene that the file has under its own name, nor is one of two old names of the same gene: they would
be summed and nobody would see it. They are *left out* and counted. So are single symbols among ids:
where no type is stated, an antibody is written like that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from scircuit.core.errors import UserError
from scircuit.tracing.cells.genes.candidates import IDS, Candidate
from scircuit.tracing.cells.genes.written_names import How

_STATUS = {
    How.MISSING: "missing",
    How.UNKNOWN: "unknown",
    How.UNLISTED: "outside",
    How.COPY: "made unique",
    How.RODENT: "unknown",
    How.FOREIGN: "unknown",
}
_EXAMPLES = 3
_FEW, _SHARE = 20, 0.02  # names, and share of the names: as many symbols are no way of naming


class Filled(NamedTuple):
    """Result of the filling.

    Attributes
    ----------
    gene
        Number of the gene or -1, [genes].
    status
        See `scircuit.tracing.cells.identifiers.Identifiers`, [genes].
    names
        The name that was followed; of a gap that nothing fills, the name in any column.
    notes
        What was filled, followed and left out, with counts and examples.
    """

    gene: np.ndarray
    status: np.ndarray
    names: tuple[str, ...]
    notes: tuple[str, ...]


def fill(base: Candidate, fillers: Sequence[Candidate], shown: Sequence[Candidate]) -> Filled:
    """Fill the gaps of a column.

    Parameters
    ----------
    base
        The chosen column.
    fillers
        Columns that agree with it, best first.
    shown
        All candidates: they lend their names, for messages, to columns without any.
    """
    table = base.table
    gene = np.where(base.exact, base.gene, -1)
    status = np.array([_STATUS.get(How(h), "") for h in range(len(How))], dtype=object)[base.how]
    names = np.array(base.names, dtype=object)
    notes = []
    aside = _symbols_among_ids(base) | _old_symbols_without_ids(base, fillers)
    gene[aside], status[aside] = -1, "left out"
    if aside.any():
        read = (base, *fillers)
        lone = [next(c.names[i] for c in read if c.gene[i] >= 0) for i in np.flatnonzero(aside)]
        notes.append(f"{len(lone):,} symbols among ids left out, such as {_some(lone)}")
    for one in fillers:
        rows = np.flatnonzero((gene < 0) & one.exact & ~aside)
        # an id that the table lacks may be another copy of a gene that is there, and a symbol
        # without an id an antibody: not summed
        doubtful = base.how[rows] == How.UNLISTED
        if base.kind == IDS:
            doubtful |= one.how[rows] == How.SYMBOL
        clash = rows[doubtful][_claimed(one, rows[doubtful], gene)]
        rows = rows[~np.isin(rows, clash)]
        status[clash] = "left out"
        gene[rows], names[rows] = one.gene[rows], np.array(one.names, dtype=object)[rows]
        if len(rows):
            notes.append(f"{len(rows):,} gaps filled from {one.column}")
    out = (status == "left out") & (gene < 0) & ~aside
    left = [base.names[i] or str(names[i]) for i in np.flatnonzero(out)]
    followed: dict[How, list[str]] = {How.RENAMED: [], How.RETIRED: []}
    followed |= {How.CASE: [], How.PUNCTUATION: []}
    for one in (base, *fillers):
        rows = np.flatnonzero((gene < 0) & np.isin(one.how, list(followed)) & ~aside)
        clash = _claimed(one, rows, gene)
        status[rows[clash]] = "left out"
        left += [one.names[i] for i in rows[clash]]
        rows = rows[~clash]
        gene[rows], names[rows] = one.gene[rows], np.array(one.names, dtype=object)[rows]
        for i in rows:
            followed[How(one.how[i])].append(f"{one.names[i]} to {_name(one, int(one.gene[i]))}")
    known = gene >= 0
    status[known] = np.where(table.has_token[gene[known]], "mapped", "outside")
    status[status == ""] = "unknown"
    for row in np.flatnonzero(base.how == How.MISSING):
        if not known[row]:
            written = next((c.names[row] for c in shown if c.how[row] != How.MISSING), "")
            names[row] = written or f"(column {row} has no name)"
    for how, what in (
        (How.RENAMED, "renamed symbols"),
        (How.RETIRED, "retired ids"),
        (How.CASE, "symbols in another case"),
        (How.PUNCTUATION, "symbols with other dashes"),
    ):
        if followed[how]:
            notes.append(f"{len(followed[how]):,} {what} followed, such as {_some(followed[how])}")
    if left:
        notes.append(
            f"left out are other names of genes that are here already, such as {_some(left)}"
        )
    return Filled(gene, status, tuple(names.tolist()), tuple(notes))


def _symbols_among_ids(base: Candidate) -> np.ndarray:
    """Rows of a column of ids that have a symbol alone and may be antibodies, [genes].

    Those whose gene is there under its id; if there are such, all others too, since a gene without
    counts may be missing; and old symbols, which are also names of antibodies (CD20). Where many
    rows have a symbol alone, it is a usual way of naming.

    Raises
    ------
    UserError
        If many genes are there under both: files put together, or a second measurement.
    """
    if base.kind != IDS:
        return np.zeros(len(base.how), dtype=bool)
    written = np.array(["ENSG" not in name.upper() for name in base.names], dtype=bool)
    bare = (base.gene >= 0) & ~np.isin(base.how, (How.ID, How.RETIRED)) & written
    twice = bare & np.isin(base.gene, base.gene[base.how == How.ID])
    few = _few(base)
    if twice.sum() > few:
        raise UserError(
            f"genes: {twice.sum():,} of {base.filled:,} names in {base.column} are symbols of genes"
            " that are there under their Ensembl ids too (such as"
            f" {_some([base.names[i] for i in np.flatnonzero(twice)])}); expected each gene under"
            " one name",
            "if they are antibodies or another measurement, delete these rows or state it in"
            " var['feature_types'] (Gene Expression, Antibody Capture); if files with different"
            " names were put together, give all genes their ids first",
        )
    if bare.sum() > few:
        return twice
    return bare if twice.any() else bare & ~base.exact


def _old_symbols_without_ids(base: Candidate, fillers: Sequence[Candidate]) -> np.ndarray:
    """The same where the column of ids has a gap, and another an old symbol, [genes].

    Only if another gap has the symbol of a gene that is there under its id: then rows without an
    id are a second measurement, else ids are just missing.
    """
    gap = np.isin(base.how, (How.MISSING, How.UNKNOWN))
    exact, old, twice = (np.zeros(len(gap), dtype=bool) for _ in range(3))
    if base.kind != IDS:
        return old
    for one in fillers:
        exact |= one.exact
        old |= one.how == How.RENAMED
        twice |= one.exact & np.isin(one.gene, base.gene[base.how == How.ID])
    found = gap & old & ~exact
    second = (gap & twice).any() and found.sum() <= _few(base)
    return found if second else np.zeros(len(gap), dtype=bool)


def _few(base: Candidate) -> float:
    return max(_FEW, _SHARE * base.filled)


def _claimed(one: Candidate, rows: np.ndarray, gene: np.ndarray) -> np.ndarray:
    """Rows whose gene is there already, or is claimed by two different names."""
    taken = np.zeros(len(one.table.genes), dtype=bool)
    taken[gene[gene >= 0]] = True
    claims = Counter(g for g, _ in {(int(one.gene[i]), one.names[i]) for i in rows})
    return np.array([taken[one.gene[i]] or claims[int(one.gene[i])] > 1 for i in rows], dtype=bool)


def _name(one: Candidate, number: int) -> str:
    return one.table.symbol_of.get(number, one.table.genes[number])


def _some(items: Sequence[str]) -> str:
    return ", ".join(items[:_EXAMPLES])

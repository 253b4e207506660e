"""Genes of a chosen column, its gaps filled from others and old names followed.

In this order: exact names of the chosen column; exact names of the others, where it has none; old
names and retired ids of the chosen column; those of the others. An old name is not followed to a
gene that the file has under its own name, nor is one of two old names of the same gene: they would
be summed and nobody would see it. They are *left out* and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from scircuit.tracing.cells.genes.candidates import Candidate
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
    for one in fillers:
        rows = np.flatnonzero((gene < 0) & one.exact)
        # an id that the table lacks may be another copy of a gene that is there: not summed
        unlisted = base.how[rows] == How.UNLISTED
        clash = rows[unlisted][_claimed(one, rows[unlisted], gene)]
        rows = rows[~np.isin(rows, clash)]
        status[clash] = "left out"
        gene[rows], names[rows] = one.gene[rows], np.array(one.names, dtype=object)[rows]
        if len(rows):
            notes.append(f"{len(rows):,} gaps filled from {one.column}")
    left: list[str] = [base.names[i] for i in np.flatnonzero(status == "left out") if gene[i] < 0]
    followed: dict[How, list[str]] = {How.RENAMED: [], How.RETIRED: [], How.CASE: []}
    for one in (base, *fillers):
        rows = np.flatnonzero((gene < 0) & np.isin(one.how, list(followed)))
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
    ):
        if followed[how]:
            notes.append(f"{len(followed[how]):,} {what} followed, such as {_some(followed[how])}")
    if left:
        notes.append(
            f"left out are other names of genes that are here already, such as {_some(left)}"
        )
    return Filled(gene, status, tuple(names.tolist()), tuple(notes))


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

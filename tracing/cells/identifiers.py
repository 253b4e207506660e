"""Which column of `var` names the genes, and which gene each name is.

The index and every column of text are read (`scircuit.tracing.cells.genes`), each name by itself:
an Ensembl id counts with its version removed (``ENSG00000102145.12`` is ``ENSG00000102145``), a
symbol through the vocabulary's table. The best column is followed and its gaps are filled from
those that agree with it; columns that contradict each other are refused. A name is *outside* when
it is a human gene without a token, *made unique* when only its stem is a symbol (``TBCE-1``; which
of the copies is meant is unclear, so it is skipped), else *unknown*. Columns of the same gene are
summed.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import sparse

from scircuit.core.errors import UserError, quoted
from scircuit.tracing.cells.feature_types import genes_of, not_genes
from scircuit.tracing.cells.genes.candidates import (
    COLUMN,
    INDEX,
    Candidate,
    candidates,
    column_text,
    option_for,
    read_column,
)
from scircuit.tracing.cells.genes.choice import Choice, choose
from scircuit.tracing.cells.genes.filling import fill
from scircuit.tracing.cells.genes.written_names import How
from scircuit.tracing.tokenisation.vocabulary import Vocabulary

_STATUS = (
    ("outside", "are human genes without a token"),
    ("made unique", "are ambiguous copies made unique"),
    ("left out", "are left out"),
    ("no gene", "are no genes by"),
    ("missing", "have no name"),
    ("unknown", "are unknown"),
)


@dataclass(frozen=True)
class Identifiers:
    """The gene of each column of a matrix.

    Attributes
    ----------
    column
        Where the names were found: ``var index`` or ``var[...]``.
    kind
        ``Ensembl ids`` or ``symbols``.
    names
        The name followed for each column, as written.
    genes
        Gene with a token (its Ensembl id, or the model's own name), or empty.
    status
        ``mapped``, ``outside``, ``made unique``, ``left out``, ``no gene``, ``missing`` or
        ``unknown`` for each column.
    why
        Why this column, and what the others give; empty where there is no other.
    notes
        Gaps filled, old names followed and left out, with counts.
    warnings
        Columns that were not used though they name genes, and rows in which columns differ.
    ids
        Ensembl ids by species infix (empty for human, ``MUS`` for mouse).
    rodent
        Names that are human symbols only in upper case.
    types
        Where the file states which rows are no genes, and how many of which type.
    """

    column: str
    kind: str
    names: tuple[str, ...]
    genes: tuple[str, ...]
    status: np.ndarray
    why: str = ""
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    ids: Mapping[str, int] = field(default_factory=dict)
    rodent: tuple[str, ...] = ()
    types: str = ""

    def count(self, status: str) -> int:
        """Columns with this status."""
        return int((self.status == status).sum())

    @property
    def duplicates(self) -> dict[str, int]:
        """Genes that are in several columns, and in how many."""
        genes, counts = np.unique([g for g in self.genes if g], return_counts=True)
        return {str(g): int(n) for g, n in zip(genes[counts > 1], counts[counts > 1], strict=True)}

    def sentence(self) -> str:
        """What was found, with counts, and why this column was followed."""
        parts = [f"{self.count('mapped'):,} have a token"]
        parts += [
            f"{self.count(s):,} {text}" + (f" {self.types}" if s == "no gene" else "")
            for s, text in _STATUS
            if self.count(s)
        ]
        text = f"{self.kind} in {self.column}: of {len(self.names):,}, {', '.join(parts)}"
        return "; ".join((text, *self.notes, *((self.why,) if self.why else ())))


def identify(var: pd.DataFrame, vocabulary: Vocabulary, column: str = "") -> Identifiers:
    """Find the gene of each row of `var`.

    A ranked model takes Ensembl ids before symbols, even where symbols map somewhat more: symbols
    are renamed over the years, ids are not. A model whose own names are symbols takes whichever
    column maps most.

    Parameters
    ----------
    var
        Table of the genes, one row for each column of the matrix.
    vocabulary
        Genes of the model.
    column
        The column to follow, alone: its name, or ``index``; ``var:index`` is a column of that
        name. Empty to choose.

    Raises
    ------
    UserError
        If two good columns name different genes or genes of different species, or the column asked
        for does not exist.
    """
    other, stated = not_genes(var)
    written = column_text(var.index.to_series())
    var, renamed = genes_of(var, other, vocabulary.table)
    if column:
        found = [_named(var, vocabulary, column)]
        choice = Choice(found[0], (), _why_named(var, column), ())
    else:
        found = candidates(var, vocabulary.table)
        choice = choose(found, prefer_ids=not vocabulary.bins)
    base = choice.base
    filled = fill(base, choice.fillers, found)
    gene, status = np.full(len(other), -1), np.full(len(other), "no gene", dtype=object)
    gene[~other], status[~other], written[~other] = filled.gene, filled.status, filled.names
    return Identifiers(
        base.column,
        base.kind,
        tuple(written.tolist()),
        tuple(vocabulary.table.tokened[gene].tolist()),
        status,
        choice.why,
        (*([renamed] if renamed else []), *filled.notes),
        choice.warnings,
        {k: n for k, n in {"": base.ids, **base.species}.items() if n},
        tuple(base.names[i] for i in np.flatnonzero(base.how == How.RODENT)),
        stated,
    )


def _named(var: pd.DataFrame, vocabulary: Vocabulary, column: str) -> Candidate:
    """The column that --gene-column names."""
    if column == "index":
        return read_column(INDEX, "own", var.index.to_series(), vocabulary.table)
    known = [str(c) for c in var.columns]
    if column.removeprefix(COLUMN) in known:
        column = column.removeprefix(COLUMN)
    if column in known:
        at = known.index(column)
        return read_column(f"var[{column!r}]", "own", var.iloc[:, at], vocabulary.table)
    near = [option_for(c) for c in difflib.get_close_matches(column, known, 1, 0.6)]
    if reason := var.attrs.get("unreadable", {}).get(column):
        raise UserError(
            f"--gene-column {column}: var[{column!r}] cannot be read: {reason}",
            "mend the column in the file, or name another",
        )
    options = ", ".join(["index", *(option_for(c) for c in known[:20])])
    raise UserError(
        f"--gene-column {column}: var has no such column; it has {options}",
        f"give --gene-column {quoted(near[0]) if near else 'index'}, or leave it out",
    )


def _why_named(var: pd.DataFrame, column: str) -> str:
    """That the user named it, and what else the name might have meant."""
    also = column == "index" and "index" in var
    return "named by --gene-column" + (
        f"; var has a column of that name too, which --gene-column {COLUMN}index takes" * also
    )


def merge(
    counts: sparse.csr_matrix, genes: Sequence[str]
) -> tuple[sparse.csr_matrix, tuple[str, ...]]:
    """Keep the columns that have a gene and sum those of the same gene; genes in order of first
    appearance.
    """
    column_of: dict[str, int] = {}
    for gene in genes:
        if gene:
            column_of.setdefault(gene, len(column_of))
    kept = [i for i, gene in enumerate(genes) if gene]
    target = [column_of[genes[i]] for i in kept]
    collapse = sparse.csr_matrix(
        (np.ones(len(kept)), (kept, target)), shape=(len(genes), len(column_of))
    )
    merged = sparse.csr_matrix(counts @ collapse)
    merged.sort_indices()
    return merged, tuple(column_of)

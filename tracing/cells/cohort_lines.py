"""Lines of the preflight about the cells of a study: one function for each thing that is said."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import sparse

from scircuit.core.errors import UserError, quoted
from scircuit.core.preflight import CheckLine, require
from scircuit.tracing.cells import filters, species
from scircuit.tracing.cells.expression_files import Expression
from scircuit.tracing.cells.genes.candidates import option_of
from scircuit.tracing.cells.identifiers import Identifiers, identify
from scircuit.tracing.cells.stated_species import Stated
from scircuit.tracing.sentences.sentence_lines import sentence_lines
from scircuit.tracing.tokenisation.vocabulary import Vocabulary

_ENOUGH = 100  # genes of a cell, so that two cells are not alike by chance
_NAMES = 2_000  # of obs that are looked at: more tell no more


def notes_lines(expression: Expression) -> list[CheckLine]:
    """What of the file could not be read and is not needed."""
    notes = expression.notes  # they name what is in expression.unreadable too
    if not notes:
        return []
    return [CheckLine("left out", True, f"warning: {'; '.join(notes)}", "a file read whole")]


def orientation_lines(expression: Expression, vocabulary: Vocabulary) -> list[CheckLine]:
    """That a table is transposed: genes are named in obs, and none in var."""
    names = expression.obs.index[:_NAMES]
    if not _name_genes(pd.DataFrame(index=names), vocabulary):
        return []
    tables = [matrix.var for matrix in expression.matrices.values()]
    if not tables or any(_name_genes(var, vocabulary) for var in tables):
        return []
    return [
        CheckLine(
            "orientation",
            False,
            f"obs holds names of genes ({', '.join(map(str, names[:3]))}), and var holds none"
            f" ({', '.join(map(str, tables[0].index[:3]))})",
            "cells in rows, genes in columns",
            "transpose the table: anndata.read_h5ad('cells.h5ad').T.write_h5ad('transposed.h5ad')",
        )
    ]


def _name_genes(table: pd.DataFrame, vocabulary: Vocabulary) -> bool:
    """Whether a column of a table names genes, of any species, in half of its rows."""
    try:
        found = identify(table, vocabulary)
    except UserError:  # two columns that contradict each other name genes
        return True
    foreign = sum(n for infix, n in found.ids.items() if infix)
    genes = found.count("mapped") + found.count("outside") + len(found.rodent) + foreign
    return 2 * genes > len(table)


def gene_warning_lines(identifiers: Identifiers) -> list[CheckLine]:
    """Columns that name genes otherwise."""
    if not identifiers.warnings:
        return []
    found = f"warning: {'; '.join(identifiers.warnings)}"
    return [CheckLine("gene names", True, found, "columns of var that name the same genes")]


def copies_lines(values: sparse.csr_matrix, barcodes: Sequence[str]) -> list[CheckLine]:
    """Cells that hold exactly what another holds: files put together twice."""
    first: dict[bytes, int] = {}
    copies: list[tuple[int, int]] = []
    for i in range(len(values.indptr) - 1):
        span = slice(values.indptr[i], values.indptr[i + 1])
        if values.indptr[i + 1] - values.indptr[i] < _ENOUGH:
            continue
        order = np.argsort(values.indices[span])
        held = values.indices[span][order].tobytes() + values.data[span][order].tobytes()
        digest = hashlib.sha256(held).digest()
        if digest in first:
            copies.append((first[digest], i))
        first.setdefault(digest, i)
    if not copies:
        return []
    a, b = copies[0]
    return [
        CheckLine(
            "copies",
            True,
            f"warning: {len(copies):,} of {len(values.indptr) - 1:,} cells hold exactly the values"
            f" of another, such as {barcodes[b]} those of {barcodes[a]}; each counts as a cell",
            "each cell once",
        )
    ]


def filter_line(expression: Expression, passing: np.ndarray, where: Sequence[str]) -> CheckLine:
    """Filters, the cells that pass them, and what these are."""
    composition = filters.composition(expression.obs.iloc[passing], where)
    shown = "; ".join(
        f"{c}: " + ", ".join(f"{v} {n:,}" for v, n in list(counts.items())[:8])
        for c, counts in composition.items()
    )
    used = f"{' and '.join(where)}: " if where else "none given: "
    return CheckLine(
        "filters",
        True,
        f"{used}{len(passing):,} of {len(expression.obs):,} cells"
        + (f" ({shown})" if shown else ""),
        "at least 1 cell",
    )


def barcodes_line(obs: pd.DataFrame) -> CheckLine:
    """Whether each cell has a name of its own."""
    again = obs.index[obs.index.duplicated()].unique()
    found = (
        f"{len(obs):,} different"
        if not len(again)
        else f"{len(again):,} names occur more than once, such as {', '.join(map(str, again[:3]))}"
    )
    return CheckLine(
        "barcodes",
        not len(again),
        found,
        "each cell once, or results cannot be traced back to cells",
        "remove the copies, or if they are different cells: adata.obs_names_make_unique()",
    )


def species_line(
    identifiers: Identifiers,
    vocabulary: Vocabulary,
    genome: str,
    stated: Stated | None,
    declared: bool,
) -> tuple[str, CheckLine]:
    """Species of the genes, and whether the model reads it.

    Parameters
    ----------
    identifiers, vocabulary
        Genes of the cells and of the model.
    genome
        As the file names it; may be empty.
    stated
        What the file states, if it is not that the cells are human.
    declared
        Whether --gene-column declares that these are human genes, whatever the file states.
    """
    found = species.detect(identifiers, vocabulary)
    text = f"{found.name}: {found.evidence}" + (f"; genome {genome}" if genome else "")
    ok, fix, expected = found.human, found.fix, "human genes, as the model was trained on"
    if stated and ok:
        ok = declared
        if declared:
            text += f"; warning: {stated.found}, and --gene-column declares human genes"
        else:
            text = f"{stated.species}: {stated.found}; {found.evidence}"
            option = quoted(option_of(identifiers.column))
            fix = f"choose the human cells with {stated.keep}" if stated.keep else found.fix
            fix += (
                f"; if the genes are human or mapped to human ones, declare it with --gene-column"
                f" {option}"
            )
    return found.name, CheckLine("species", ok, text, expected, fix)


def duplicates_line(identifiers: Identifiers) -> CheckLine:
    """Columns of one gene, which are summed."""
    again = identifiers.duplicates
    if not again:
        return CheckLine("duplicate genes", True, "none", "each gene once")
    columns = sum(again.values())
    return CheckLine(
        "duplicate genes",
        True,
        f"{columns:,} columns of {len(again):,} genes summed, such as {', '.join(list(again)[:3])}",
        "each gene once",
    )


def mapped_line(
    share: float,
    expressed: np.ndarray,
    identifiers: Identifiers,
    counts: sparse.csr_matrix,
    minimum: float,
) -> CheckLine:
    """Share of the expressed genes that the model knows.

    Parameters
    ----------
    share, minimum
        As found, and as required.
    expressed
        Whether it is a gene, and any cell has a count of it, [columns].
    identifiers, counts
        Of the same genes; counts are [cells, genes].
    """
    total = np.asarray(counts.sum(axis=0)).ravel()
    lost = [
        i for i in np.argsort(-total, kind="stable") if expressed[i] and not identifiers.genes[i]
    ]
    weight = total[[i for i in range(len(total)) if identifiers.genes[i]]].sum()
    weight /= max(total[expressed].sum(), 1e-12)
    text = (
        f"{share:.1%} of {int(expressed.sum()):,} expressed genes have a token ({weight:.1%} of"
        " counts)"
    )
    if lost:
        text += f"; lost most: {', '.join(identifiers.names[i] for i in lost[:4])}"
    return CheckLine(
        "mapped",
        share >= minimum,
        text,
        f"at least {minimum:.0%}",
        "check that the gene names are current human symbols or Ensembl ids; to continue anyway,"
        " lower --min-mapped",
    )


def token_lines(
    merged: sparse.csr_matrix,
    tokens: list[np.ndarray],
    length: int,
    vocabulary: Vocabulary,
    minimum: int,
) -> list[CheckLine]:
    """Gene tokens per cell, and cells that were cut; of sentences, genes.

    Raises
    ------
    UserError
        If the median is below the minimum, or a cell has no token.
    """
    known, room = np.diff(merged.indptr), length - vocabulary.framing
    if vocabulary.sentences:
        return sentence_lines(known, tokens, length, vocabulary.sentences, minimum)
    n = np.array([len(t) - vocabulary.framing for t in tokens])
    line = CheckLine(
        "tokens",
        float(np.median(n)) >= minimum and n.min() > 0,
        f"{n.min():,} / {np.median(n):,.0f} / {n.max():,} gene tokens per cell (minimum /"
        f" median / maximum), {int((n == 0).sum()):,} cells without any",
        f"a median of at least {minimum}, and no cell without tokens",
        "use cells with more detected genes or a file with all genes; to continue anyway, lower"
        " --min-tokens",
    )
    cut = int((known > n).sum())
    kept = "; that many are drawn at random" if vocabulary.bins else ""
    return [
        require(line),
        CheckLine(
            "truncated",
            True,
            f"{cut:,} of {len(n):,} cells ({cut / len(n):.0%}) have more than {room:,} genes{kept}",
            "any number",
        ),
    ]

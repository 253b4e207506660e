"""Which rows of `var` are no genes by what the file states: antibodies, guides, hashtags, peaks.

Cell Ranger states it in ``feature_types``; other programs in columns of other names and in other
words (``RNA`` and ``ADT``, ``Gene`` and ``Antibody``). A column states it when nearly all of its
values are such words and some are not those of genes. Only a stated type excludes: where it is
missing, as after an outer join, the row stays. Columns of biotypes (``protein_coding``, ``miRNA``)
are about genes and exclude nothing.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import pandas as pd

from scircuit.core.errors import UserError
from scircuit.tracing.cells.column_names import plain
from scircuit.tracing.cells.genes.candidates import column_text, is_text
from scircuit.tracing.cells.genes.written_names import COPY
from scircuit.tracing.tokenisation.vocabulary.gene_table import GeneTable

_GENE = re.compile(
    r"gex|genes?|geneexpression\w*|expression|transcript(?:s|ome|omics)?|endogenous"
    r"|(?:sc|sn|m|total)?rna(?:seq|expression|counts?)?"
)
_BIOTYPE = re.compile(r"proteincoding|tec|\w+(?:rna|gene)")
_OTHER = re.compile(
    r"antibod\w*|adts?|abs?|abseq|abcapture|protein(?!coding)\w*|prot|(?:cell)?surface\w*|cite\w*"
    r"|totalseq\w*|htos?|hashtags?\w*|cellhash\w*|multiplex\w*|cellmultiplex\w*|cmos?|crispr\w*"
    r"|s?grnas?|s?guides?|guide(?:capture|rna)s?|antigen\w*|custom\w*|peaks?|atac\w*|chromatin\w*"
    r"|spikeins?|ercc|(?:negative|genomic|system|blank)?controls?(?:probe|codeword)?s?"
    r"|(?:unassigned|deprecated|blank)codewords?|isotype\w*|vdj\w*"
)
_MISSING = {"", "nan", "na", "none", "null"}
_CELL_RANGER = {"featuretype", "featuretypes"}  # any other type in it is no gene
_STRICT = re.compile(r"geneexpression|gex|rna")  # words of genes that Cell Ranger's column may have
_STATED_IN = _CELL_RANGER | {
    *("type", "types", "modality", "modalities", "mod", "featureclass", "featuremodality"),
    *("assay", "datatype", "librarytype", "omic", "omics"),
}
_NEARLY = 0.9  # of the values that are there
_DISTINCT = 50  # types that a column may have


class NotGenes(NamedTuple):
    """Rows that are stated to be no genes, [rows], and where and as what."""

    rows: np.ndarray
    stated: str


def not_genes(var: pd.DataFrame) -> NotGenes:
    """Rows that a column states to be antibodies, guides or other features beside genes.

    Parameters
    ----------
    var
        Table of the features, one row for each column of the matrix.

    Raises
    ------
    UserError
        If no row would be left.
    """
    rows, stated = np.zeros(len(var), dtype=bool), []
    for position, column in enumerate(var.columns):
        values = var.iloc[:, position]
        if not is_text(values) or "biotype" in plain(column) or plain(column).endswith("genetype"):
            continue
        found = _stated(plain(column), column_text(values))
        if found.rows.any():
            rows |= found.rows
            stated.append(f"var[{str(column)!r}] ({found.stated})")
    if len(rows) and rows.all():
        raise UserError(
            f"genes: all {len(rows):,} rows are no genes by {' and '.join(stated)}; expected genes",
            "give the file with gene expression; if these rows are genes, delete that column",
        )
    return NotGenes(rows, " and ".join(stated))


def _stated(column: str, values: np.ndarray) -> NotGenes:
    """What one column states; `column` is its name in plain letters."""
    codes, distinct = pd.factorize(values)
    if len(distinct) > _DISTINCT:
        return NotGenes(np.zeros(len(values), dtype=bool), "")
    words = [plain(v) for v in distinct]
    missing = np.array([w in _MISSING for w in words], dtype=bool)
    other = np.array([bool(_OTHER.fullmatch(w)) for w in words], dtype=bool)
    gene = np.array([bool(_GENE.fullmatch(w)) for w in words], dtype=bool) & ~other
    biotype = np.array([bool(_BIOTYPE.fullmatch(w)) for w in words], dtype=bool) & ~other & ~gene
    counts = np.bincount(codes, minlength=len(words))
    if column in _CELL_RANGER and any(_STRICT.fullmatch(w) for w in words):
        other = ~(missing | gene | biotype)
    else:
        known = counts[other | gene | biotype].sum() >= _NEARLY * counts[~missing].sum()
        about_types = gene.any() or (column in _STATED_IN and not biotype.any())
        other &= known and about_types
    listed = ", ".join(f"{distinct[i]} {counts[i]:,}" for i in np.flatnonzero(other))
    return NotGenes(other[codes], listed)


def genes_of(var: pd.DataFrame, other: np.ndarray, table: GeneTable) -> tuple[pd.DataFrame, str]:
    """The rows that are genes, and a note.

    Where an antibody came first, the gene of the same name was made unique (``CD4-1``). It gets its
    name back if no other gene can be meant by it.

    Parameters
    ----------
    var
        Table of the features.
    other
        Rows that are no genes.
    table
        Names of genes.
    """
    if not other.any():
        return var, ""
    kept = var.loc[~other].copy()
    kept.attrs = dict(var.attrs)
    index, renamed = _names_back(column_text(var.index.to_series()), other, table)
    if renamed:
        kept.index = pd.Index(index)
    for position in range(len(var.columns)):
        if is_text(var.iloc[:, position]):
            names, changed = _names_back(column_text(var.iloc[:, position]), other, table)
            if changed:
                kept.isetitem(position, names)
                renamed |= changed
    if not renamed:
        return kept, ""
    shown = ", ".join(f"{old} to {new}" for old, new in list(renamed.items())[:3])
    return kept, (
        f"{len(renamed):,} genes whose names were numbered because another feature has the same"
        f" followed, such as {shown}"
    )


def _names_back(
    names: np.ndarray, other: np.ndarray, table: GeneTable
) -> tuple[np.ndarray, dict[str, str]]:
    """Names of the genes without the number that a feature of the same name caused, and which."""
    taken, kept = set(names[other].tolist()), names[~other].copy()
    here = set(kept.tolist())
    numbered: dict[str, list[int]] = {}
    for i, name in enumerate(kept.tolist()):
        stem = found[1] if (found := COPY.fullmatch(name)) else ""
        if stem in taken and stem not in here and stem in table.exact and name not in table.exact:
            numbered.setdefault(stem, []).append(i)
    changed: dict[str, str] = {}
    for stem, rows in numbered.items():
        if len(rows) == 1:  # of several copies it is unclear which is meant
            changed[kept[rows[0]]] = stem
            kept[rows[0]] = stem
    return kept, changed

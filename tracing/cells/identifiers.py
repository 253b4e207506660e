"""Which column of `var` names the genes, and what each name maps to: Ensembl ids first, symbols
through the vocabulary.

An Ensembl id counts with its version removed (``ENSG00000102145.12`` is ``ENSG00000102145``). A
symbol maps only if it is in the vocabulary; a name is *outside* when it is a human gene without a
token, *made unique* when only its stem is a symbol (``TBCE-1``; which of the copies is meant is
unclear, so it is skipped), else *unknown*. Columns of the same gene are summed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from scircuit.tracing.tokenisation.vocabulary import Vocabulary

_HUMAN = re.compile(r"(ENSG\d{11})(\.\d+)?(_PAR_Y)?")
_ANY = re.compile(r"ENS([A-Z]*)G\d{11}(\.\d+)?(_PAR_Y)?")
_PREFERRED = (
    "ensembl_id",
    "ensembl",
    "gene_ids",
    "gene_id",
    "feature_id",
    "ensembl_gene_id",
    "feature_name",
    "gene_symbol",
    "gene_symbols",
    "gene_name",
    "symbol",
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
        The names as written.
    genes
        Ensembl id with a token, or empty.
    status
        ``mapped``, ``outside``, ``made unique`` or ``unknown`` for each column.
    """

    column: str
    kind: str
    names: tuple[str, ...]
    genes: tuple[str, ...]
    status: np.ndarray

    def count(self, status: str) -> int:
        """Columns with this status."""
        return int((self.status == status).sum())

    @property
    def duplicates(self) -> dict[str, int]:
        """Genes that are in several columns, and in how many."""
        genes, counts = np.unique([g for g in self.genes if g], return_counts=True)
        return {str(g): int(n) for g, n in zip(genes[counts > 1], counts[counts > 1], strict=True)}

    def sentence(self) -> str:
        """What was found, with counts."""
        parts = [f"{self.count('mapped'):,} have a token"]
        parts += [
            f"{self.count(s):,} {text}"
            for s, text in (
                ("outside", "are human genes without a token"),
                ("made unique", "are ambiguous copies made unique"),
                ("unknown", "are unknown"),
            )
            if self.count(s)
        ]
        return f"{self.kind} in {self.column}: of {len(self.names):,}, {', '.join(parts)}"


def ensembl_prefixes(names: Sequence[str]) -> dict[str, int]:
    """Number of Ensembl gene ids by species infix (empty for human, ``MUS`` for mouse)."""
    found: dict[str, int] = {}
    for name in names:
        match = _ANY.fullmatch(name)
        if match:
            found[match[1]] = found.get(match[1], 0) + 1
    return found


def identify(var: pd.DataFrame, vocabulary: Vocabulary) -> Identifiers:
    """Choose the column of `var` that maps most genes, Ensembl ids before symbols.

    Ensembl ids are taken if any column consists of them to at least a half, even when a column of
    symbols would map more: symbols are renamed over the years, ids are not. A model whose own names
    are symbols takes whichever column maps most.
    """
    candidates = [("var index", [str(v) for v in var.index])]
    for column in (*(c for c in _PREFERRED if c in var), *(c for c in var if c not in _PREFERRED)):
        values = var[column]
        if values.dtype == object or isinstance(values.dtype, pd.CategoricalDtype | pd.StringDtype):
            candidates.append((f"var[{str(column)!r}]", [str(v) for v in values]))
    read = [_read(column, names, vocabulary) for column, names in candidates]
    half = [c for c in read if c.kind == "Ensembl ids" and not vocabulary.bins]
    return max(half or read, key=lambda c: c.count("mapped"))


def _read(column: str, names: list[str], vocabulary: Vocabulary) -> Identifiers:
    genes, status = [], []
    ids = 0
    for name in names:
        match = _HUMAN.fullmatch(name)
        if match:
            ids += 1
            gene = match[1] if match[1] in vocabulary.token else ""
            state = "mapped" if gene else "outside"
        elif _ANY.fullmatch(name):
            ids += 1
            gene, state = "", "unknown"
        else:
            gene, state = _symbol(name, vocabulary)
        genes.append(gene)
        status.append(state)
    kind = "Ensembl ids" if 2 * ids >= max(1, len(names)) else "symbols"
    return Identifiers(column, kind, tuple(names), tuple(genes), np.array(status, dtype=object))


def _symbol(name: str, vocabulary: Vocabulary) -> tuple[str, str]:
    gene = vocabulary.symbol_to_ensembl.get(name, "")
    if gene:
        return gene, "mapped"
    if name in vocabulary.outside:
        return "", "outside"
    stem = re.sub(r"[-.]\d+$", "", name)
    return "", "made unique" if stem != name and stem in vocabulary.symbol_to_ensembl else "unknown"


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

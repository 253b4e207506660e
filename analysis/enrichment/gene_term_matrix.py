"""Gene-set libraries cut to a background: the genes x terms incidence matrix, with both sizes of
every term.

The background is the set of genes that could have been listed (those the model saw). Terms are
intersected with it first; the size filter comes after, and both sizes are kept. Genes are compared
on upper case.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import sparse

from scircuit.analysis.genesets.library import GeneSetLibrary
from scircuit.core.errors import UserError


def row_count(matrix: sparse.csr_matrix) -> int:
    """Rows of a CSR matrix."""
    return int(matrix.indptr.size - 1)


class KeptTerm(NamedTuple):
    """A term that passed the size filter; `size` in the file, `size_in_background` after
    intersection.
    """

    library: str
    accession: str
    name: str
    size: int
    size_in_background: int

    @property
    def id(self) -> str:
        """Key of the ``Term`` node."""
        return f"{self.library}:{self.accession}"


class LibraryCoverage(NamedTuple):
    """What became of a library: terms read and kept, genes mapped to the background and lost."""

    library: str
    terms_read: int
    terms_kept: int
    genes_mapped: int
    genes_lost: int


@dataclass(frozen=True)
class Incidence:
    """Which background gene is in which kept term.

    Parameters
    ----------
    genes
        Background, in display spelling; rows of `matrix`.
    matrix
        int32, genes x terms, 0 or 1.
    terms
        Columns of `matrix`; the terms of a library are contiguous.
    coverage
        One entry a library.
    """

    genes: tuple[str, ...]
    index: dict[str, int]
    matrix: sparse.csr_matrix
    terms: tuple[KeptTerm, ...]
    coverage: tuple[LibraryCoverage, ...]

    @property
    def sizes(self) -> np.ndarray:
        """Genes of every term within the background, int64."""
        return np.array([t.size_in_background for t in self.terms], dtype=np.int64)

    def columns_of(self, library: str) -> slice:
        """Columns of one library."""
        at = [i for i, t in enumerate(self.terms) if t.library == library]
        return slice(at[0], at[-1] + 1) if at else slice(0, 0)

    def rows(self, lists: Iterable[Sequence[str]]) -> sparse.csr_matrix:
        """Lists x genes matrix of 0 and 1, without genes outside the background and repeats."""
        indptr, indices = [0], []
        for genes in lists:
            found = {self.index[u] for g in genes if (u := g.upper()) in self.index}
            indices.extend(sorted(found))
            indptr.append(len(indices))
        data = np.ones(len(indices), dtype=np.int32)
        return sparse.csr_matrix(
            (data, np.array(indices, dtype=np.int32), np.array(indptr)),
            shape=(len(indptr) - 1, len(self.genes)),
        )


def build(
    libraries: Sequence[GeneSetLibrary],
    background: Iterable[str],
    *,
    min_size: int = 5,
    max_size: int = 500,
    min_mapped: float = 0.05,
) -> Incidence:
    """Cut libraries to a background.

    Parameters
    ----------
    libraries
        Gene sets in the same identifiers as `background`.
    background
        Genes that could have been listed.
    min_size, max_size
        Term sizes kept, counted within the background.
    min_mapped
        Minimum share of a library's genes in the background.

    Raises
    ------
    UserError
        If the background is empty, two libraries share a name, or hardly any gene of a library is
        in the background.
    """
    index: dict[str, int] = {}
    genes: list[str] = []
    for gene in background:
        if gene and gene.upper() not in index:
            index[gene.upper()] = len(genes)
            genes.append(gene)
    if not genes:
        raise UserError(
            "the background has no genes",
            "give the genes the model can see, as symbols or Ensembl ids",
        )
    names = [lib.name for lib in libraries]
    if repeated := sorted({n for n in names if names.count(n) > 1}):
        raise UserError(
            f"two libraries are called {', '.join(repeated)}",
            "rename one of the files, or read it with another name=",
        )
    kept: list[KeptTerm] = []
    columns: list[np.ndarray] = []
    coverage: list[LibraryCoverage] = []
    for lib in libraries:
        symbols = lib.genes
        mapped = sum(1 for s in symbols if s in index)
        if mapped < min_mapped * len(symbols) or not mapped:
            lost = sorted(s for s in symbols if s not in index)[:3]
            raise UserError(
                f"{mapped} of {len(symbols)} genes of library {lib.name} ({lib.file}) are among the"
                f" {len(genes)} genes of the background; first unmapped: {', '.join(lost)}",
                "is the library human, and in the same identifiers (symbols or Ensembl ids) as the"
                " cells?",
            )
        before = len(kept)
        for term in lib.terms:
            rows = np.unique(
                np.array(
                    [index[u] for g in term.genes if (u := g.upper()) in index], dtype=np.int32
                )
            )
            if min_size <= rows.size <= max_size:
                kept.append(
                    KeptTerm(lib.name, term.accession, term.name, len(term.genes), int(rows.size))
                )
                columns.append(rows)
        coverage.append(
            LibraryCoverage(
                lib.name, len(lib.terms), len(kept) - before, mapped, len(symbols) - mapped
            )
        )
    indptr = np.concatenate([[0], np.cumsum([c.size for c in columns])]).astype(np.int64)
    indices = np.concatenate(columns) if columns else np.zeros(0, dtype=np.int32)
    by_term = sparse.csc_matrix(
        (np.ones(indices.size, dtype=np.int32), indices, indptr), shape=(len(genes), len(kept))
    )
    return Incidence(tuple(genes), index, sparse.csr_matrix(by_term), tuple(kept), tuple(coverage))

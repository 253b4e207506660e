"""A gene-set library: accession, name and genes of every term, with the file's hash and licence.

`scircuit.analysis.genesets.readers` reads one from a file, and has those that are shipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Term(NamedTuple):
    """One gene set; `genes` are symbols as the file spells them, in its order, without repeats."""

    accession: str
    name: str
    genes: tuple[str, ...]


@dataclass(frozen=True)
class GeneSetLibrary:
    """All gene sets of one file.

    Parameters
    ----------
    name
        Short name used in term ids (``GO_BP``).
    file, sha256, release, licence
        Provenance, stored on the ``GeneSetLibrary`` node.
    terms
        The gene sets, accessions unique.
    notes
        What was repaired, merged or left out while reading.
    """

    name: str
    file: str
    sha256: str
    release: str
    licence: str
    terms: tuple[Term, ...]
    notes: tuple[str, ...] = ()

    @property
    def genes(self) -> set[str]:
        """Every symbol that occurs in a term, upper case."""
        return {g.upper() for t in self.terms for g in t.genes}

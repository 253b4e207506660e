"""Gene symbols <-> Ensembl ids, for the genes of the background and of the libraries."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from scircuit.analysis.genesets.library import GeneSetLibrary

_ENSEMBL = re.compile(r"(ENSG\d{11})(?:\.\d+)?")


def with_symbols(library: GeneSetLibrary, symbol_of: Callable[[str], str]) -> GeneSetLibrary:
    """A library of Ensembl ids in symbols, the rest as it is.

    Parameters
    ----------
    library
        As read; versions behind ids (``ENSG00000141510.17``) are left out.
    symbol_of
        The symbol of an Ensembl id, empty if it is not known.
    """
    ids: dict[str, str] = {}

    def symbol(gene: str) -> str:
        match = _ENSEMBL.fullmatch(gene.upper())
        return ids.setdefault(match[1], symbol_of(match[1])) or match[1] if match else gene

    terms = tuple(
        t._replace(genes=tuple({s.upper(): s for s in map(symbol, t.genes)}.values()))
        for t in library.terms
    )
    if not ids:
        return library
    lost = [gene for gene, found in ids.items() if not found]
    note = f"{len(ids):,} genes are Ensembl ids; {len(ids) - len(lost):,} have a symbol"
    if lost:
        note += f", {len(lost):,} are not known (such as {lost[0]})"
    return replace(library, terms=terms, notes=(*library.notes, note))


class GeneNames:
    """Ensembl ids <-> symbols, for the background and for genes that only occur in the libraries.

    A gene set of symbols cannot tell two Ensembl ids with one symbol apart: the one detected in
    more cells keeps the symbol, the other goes by its Ensembl id (`ambiguous` counts them, `shared`
    has their symbols).
    """

    def __init__(
        self,
        detection: Mapping[str, float],
        symbol_of: Callable[[str], str],
        ensembl_of: Callable[[str], str | None],
    ) -> None:
        ordered = sorted(detection, key=lambda g: (-float(detection[g]), g))
        self._ensembl_of = ensembl_of
        self.symbol: dict[str, str] = {}
        self.ensembl: dict[str, str] = {}
        self.shared: set[str] = set()
        self.ambiguous = 0
        for gene in ordered:
            symbol = symbol_of(gene) or gene
            if symbol.upper() in self.ensembl:
                self.ambiguous += 1
                self.shared.add(symbol.upper())
                symbol = gene
            self.symbol[gene] = symbol
            self.ensembl[symbol.upper()] = gene
        self.background = tuple(self.symbol[g] for g in ordered)

    def has_ensembl_id(self, symbol: str) -> bool:
        """Whether a symbol, in any case, has an Ensembl id."""
        return not self.gene_id(symbol).startswith("symbol:")

    def gene_id(self, symbol: str) -> str:
        """Key of the ``Gene`` node: the Ensembl id, or ``symbol:X`` if it has none."""
        found = (
            self.ensembl.get(symbol.upper())
            or self._ensembl_of(symbol)
            or self._ensembl_of(symbol.upper())
        )
        return found or f"symbol:{symbol}"

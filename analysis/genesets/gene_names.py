"""Gene symbols <-> Ensembl ids, for the genes of the background and of the libraries."""

from __future__ import annotations

from collections.abc import Callable, Mapping


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

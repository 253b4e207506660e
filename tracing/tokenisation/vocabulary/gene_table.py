"""Every name that leads to a human gene, for one vocabulary: symbols and Ensembl ids as they are,
retired ids, old symbols by the groups of the HGNC, and symbols in another case or with other
dashes.

Genes are numbered, so that the columns of a file are compared as integers. A gene that the
vocabulary has no token for has a number too: only so can two names be said to differ.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from scircuit.core.hgnc import hgnc

_DASHES = re.compile(r"[-._ \u2010-\u2015\u2212]+")  # and what other programs write for them
_DIGIT = re.compile(r"X(?=\d)")  # R puts it before a name that begins with a digit


@dataclass(frozen=True)
class GeneTable:
    """Names to numbers of genes.

    Attributes
    ----------
    genes
        Gene of each number: its Ensembl id, or the model's own name where it has none.
    symbol_of
        Number -> symbol, where the gene has one.
    has_token, comparable
        Whether each gene has a token; whether it has an Ensembl id, so that it can be compared
        between columns; [genes].
    exact
        Symbol or Ensembl id, as written -> number.
    retired
        Retired Ensembl id -> number.
    renamed
        Old or alternative symbol, upper case -> number. Names that stand for several genes and
        names that are now another gene's symbol are not here.
    upper
        Symbol in upper case -> number, where only one gene has it.
    follow
        Whether old symbols and symbols in another case or with other dashes are followed.
    """

    genes: tuple[str, ...]
    symbol_of: Mapping[int, str] = field(repr=False)
    has_token: np.ndarray = field(repr=False)
    comparable: np.ndarray = field(repr=False)
    exact: Mapping[str, int] = field(repr=False)
    retired: Mapping[str, int] = field(repr=False)
    renamed: Mapping[str, int] = field(repr=False)
    upper: Mapping[str, int] = field(repr=False)
    follow: bool = True

    @cached_property
    def tokened(self) -> np.ndarray:
        """Gene of each number where it has a token, else empty; empty at -1, [genes + 1]."""
        named = [g if t else "" for g, t in zip(self.genes, self.has_token.tolist(), strict=True)]
        return np.array([*named, ""], dtype=object)

    @cached_property
    def _punctuated(self) -> dict[str, int]:
        """Symbol with plain dashes, as written and in upper case -> number, or -1 where several
        genes have it.
        """
        found: dict[str, int] = {}
        for symbol, number in self.exact.items():
            plain = _DASHES.sub("-", symbol)
            if "-" in plain or symbol[:1].isdigit():
                for form in {plain, plain.upper()}:
                    if found.setdefault(form, number) != number:
                        found[form] = -1
        return found

    def repunctuated(self, name: str) -> int:
        """The gene of a symbol whose dashes were replaced, as R does (``HLA.A``, ``X7SK``), or -1.

        Only for names that are no symbol, old or new.
        """
        if not self.follow:
            return -1
        plain = _DASHES.sub("-", name)
        return self._punctuated.get(plain, self._punctuated.get(_DIGIT.sub("", plain, count=1), -1))


def gene_table(
    symbols: Mapping[str, str],
    outside: Mapping[str, str],
    with_token: Collection[str],
    retired: Mapping[str, str],
    follow: bool = True,
) -> GeneTable:
    """The table of a vocabulary (`scircuit.tracing.tokenisation.vocabulary.Vocabulary.table`).

    Parameters
    ----------
    symbols
        Symbol -> gene, for genes with a token.
    outside
        Symbol -> gene, for genes without.
    with_token
        All genes that have a token.
    retired
        Retired Ensembl id -> Ensembl id.
    follow
        Whether old symbols and symbols in another case or with other dashes are followed.
    """
    of_symbol = {**outside, **symbols}
    genes = tuple(dict.fromkeys([*with_token, *of_symbol.values()]))
    number = {gene: i for i, gene in enumerate(genes)}
    exact = {**number, **{symbol: number[gene] for symbol, gene in of_symbol.items()}}
    upper: dict[str, int] = {}
    shared: set[str] = set()
    for symbol, gene in of_symbol.items():
        if upper.setdefault(symbol.upper(), number[gene]) != number[gene]:
            shared.add(symbol.upper())
    names, renamed = hgnc(), {}
    for group in names.groups if follow else ():
        for name in group:
            if name not in upper and not name.isdigit():
                found, how = names.resolve(name, upper.__contains__)
                if how == "renamed":
                    renamed[name] = upper[found.upper()]
    return GeneTable(
        genes,
        {number[gene]: symbol for symbol, gene in of_symbol.items()},
        np.array([gene in with_token for gene in genes], dtype=bool),
        np.array([gene.startswith("ENSG") for gene in genes], dtype=bool),
        exact,
        {old: number[new] for old, new in retired.items() if new in number and old not in exact},
        {name: n for name, n in renamed.items() if name not in shared},
        {name: n for name, n in upper.items() if name not in shared},
        follow,
    )

"""Retired and alternative gene symbols -> the one that the model's vocabulary uses, by the groups
of names of the HGNC.

A symbol that the vocabulary knows is left alone. Otherwise its group (approved symbol and aliases)
decides: the approved symbol if that is known, else the one member that is known. A name of several
groups is ambiguous and not updated, nor is one in lower case (viral genes: ``rev``, ``vif``), nor
one whose group has several known members. So every symbol of a library is mapped as written,
renamed, ambiguous or lost, and counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from scircuit.analysis.genesets.library import GeneSetLibrary, Term
from scircuit.analysis.genesets.regulons import Regulation, Regulons, merged
from scircuit.core.hgnc import Names, hgnc

_EXAMPLES = 5


class Coverage(NamedTuple):
    """Distinct symbols of a library: in the vocabulary as written, renamed to one of it, ambiguous,
    lost.
    """

    as_written: int
    renamed: int
    ambiguous: int
    lost: int

    @property
    def mapped(self) -> int:
        """Symbols with a gene."""
        return self.as_written + self.renamed


def update_library(
    library: GeneSetLibrary, in_vocabulary: Callable[[str], bool], names: Names | None = None
) -> tuple[GeneSetLibrary, Coverage]:
    """A library whose retired symbols are those of the vocabulary, and what became of every
    distinct symbol.

    Parameters
    ----------
    in_vocabulary
        Whether the vocabulary has a symbol, given in upper case.
    names
        Groups of names (default: the shipped ones).
    """
    new, coverage, notes = _update(
        {g for t in library.terms for g in t.genes}, in_vocabulary, names or hgnc()
    )
    terms = []
    for term in library.terms:
        genes: dict[str, str] = {}
        for gene in term.genes:
            genes.setdefault(new[gene].upper(), new[gene])
        terms.append(Term(term.accession, term.name, tuple(genes.values())))
    return replace(library, terms=tuple(terms), notes=(*library.notes, *notes)), coverage


def update_regulons(
    regulons: Regulons, in_vocabulary: Callable[[str], bool], names: Names | None = None
) -> tuple[Regulons, Coverage]:
    """As `update_library`, for transcription factors and targets; pairs that fall together are
    merged.
    """
    new, coverage, notes = _update(
        {g for p in regulons.pairs for g in (p.tf, p.target)}, in_vocabulary, names or hgnc()
    )
    merged_pairs: dict[tuple[str, str], list[Regulation]] = {}
    for pair in regulons.pairs:
        merged_pairs.setdefault((new[pair.tf], new[pair.target]), []).append(pair)
    pairs = []
    for (tf, target), parts in sorted(merged_pairs.items()):
        mode = "Both" if any(p.mode == "Both" for p in parts) else merged(p.mode for p in parts)
        pairs.append(
            Regulation(tf, target, mode, tuple(sorted({i for p in parts for i in p.pmids})))
        )
    return replace(regulons, pairs=tuple(pairs), notes=(*regulons.notes, *notes)), coverage


def _update(
    symbols: set[str], in_vocabulary: Callable[[str], bool], names: Names
) -> tuple[dict[str, str], Coverage, list[str]]:
    found = {s: names.resolve(s, in_vocabulary) for s in sorted(symbols)}
    by: dict[str, list[str]] = {
        how: [s for s, (_, h) in found.items() if h == how] for how in Coverage._fields
    }
    # two spellings of one gene count once
    counts = Coverage(**{how: len({s.upper() for s in given}) for how, given in by.items()})
    notes = []
    if by["renamed"]:
        notes.append(
            f"{counts.renamed} retired symbols were updated:"
            f" {_some([f'{s} to {found[s][0]}' for s in by['renamed']])}"
        )
    if by["ambiguous"]:
        notes.append(
            f"{counts.ambiguous} symbols may stand for several genes and were kept as written:"
            f" {_some(by['ambiguous'])}"
        )
    if by["lost"]:
        notes.append(
            f"{counts.lost} of {sum(counts)} symbols have no gene in the vocabulary:"
            f" {_some(by['lost'])}"
        )
    return {s: new for s, (new, _) in found.items()}, counts, notes


def _some(items: list[str]) -> str:
    return ", ".join(items[:_EXAMPLES]) + (
        f" and {len(items) - _EXAMPLES} more" if len(items) > _EXAMPLES else ""
    )

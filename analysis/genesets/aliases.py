"""Retired and alternative gene symbols -> the one that the model's vocabulary uses, by the groups
of names of the HGNC.

A symbol that the vocabulary knows is left alone. Otherwise its group (approved symbol and aliases)
decides: the approved symbol if that is known, else the one member that is known. A name of several
groups is ambiguous and not updated, nor is one in lower case (viral genes: ``rev``, ``vif``), nor
one whose group has several known members. So every symbol of a library is mapped as written,
renamed, ambiguous or lost, and counted.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

from scircuit.analysis.genesets.library import GeneSetLibrary, Term
from scircuit.analysis.genesets.regulons import Regulation, Regulons, merged

_TABLE = Path(__file__).resolve().parent / "data" / "hgnc" / "names.tsv.gz"
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


@dataclass(frozen=True)
class Names:
    """Groups of gene names, upper case: approved symbol first; `ambiguous` are names of several
    groups.
    """

    groups: tuple[tuple[str, ...], ...]
    group_of: dict[str, int]
    ambiguous: frozenset[str]

    def resolve(self, symbol: str, in_vocabulary: Callable[[str], bool]) -> tuple[str, str]:
        """A symbol the vocabulary knows, and how: ``as_written``, ``renamed``, ``ambiguous`` or
        ``lost`` (then the symbol itself).

        `in_vocabulary` is called with upper-case names.
        """
        upper = symbol.upper()
        if in_vocabulary(upper):
            return symbol, "as_written"
        if symbol != upper and "orf" not in symbol:
            return symbol, "lost"
        if upper in self.ambiguous:
            return symbol, "ambiguous"
        if upper not in self.group_of:
            return symbol, "lost"
        group = self.groups[self.group_of[upper]]
        found = [name for name in group if in_vocabulary(name)]
        if found and (found[0] == group[0] or len(found) == 1):
            return found[0], "renamed"
        return symbol, "ambiguous" if found else "lost"


@cache
def hgnc() -> Names:
    """The shipped groups: HGNC names of the genes with a token in Geneformer V2
    (``analysis/genesets/data/hgnc/NOTICE.md``).
    """
    return parse(gzip.decompress(_TABLE.read_bytes()).decode())


def parse(text: str) -> Names:
    """Read lines of approved symbol and aliases, tab-separated; a line that begins with ``?`` lists
    the ambiguous names.
    """
    groups, ambiguous = [], frozenset()
    for line in text.splitlines():
        first, *others = line.split("\t")
        if first == "?":
            ambiguous = frozenset(others)
        else:
            groups.append((first, *others))
    return Names(
        tuple(groups), {name: i for i, group in enumerate(groups) for name in group}, ambiguous
    )


def derive(rows: Iterable[tuple[str, str]], genes: Collection[str]) -> str:
    """The shipped text, from (name, approved symbol) pairs: groups with a member among `genes`, and
    the ambiguous names of those groups.
    """
    wanted = {g.upper() for g in genes}
    of: dict[str, set[str]] = {}
    for name, approved in rows:
        of.setdefault(name.upper(), set()).add(approved.upper())
    # an approved symbol is its own, even if other genes once had that name
    single = {
        name: name if name in found else next(iter(found))
        for name, found in of.items()
        if name in found or len(found) == 1
    }
    groups: dict[str, list[str]] = {}
    for name, approved in single.items():
        groups.setdefault(approved, [])
        if name != approved:
            groups[approved].append(name)
    kept = {
        approved: sorted(names)
        for approved, names in groups.items()
        if names and wanted & {approved, *names}
    }
    ambiguous = sorted(
        name
        for name, found in of.items()
        if name not in single and name not in wanted and any(a in kept for a in found)
    )
    return (
        "".join("\t".join([a, *kept[a]]) + "\n" for a in sorted(kept))
        + "\t".join(["?", *ambiguous])
        + "\n"
    )


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

"""Groups of gene names of the HGNC: approved symbol, and the retired and alternative ones.

A name of several groups is ambiguous. Libraries of gene sets are updated by these groups, and old
symbols in a file of cells are followed by them (`NOTICE.md` says where they come from).
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_TABLE = Path(__file__).resolve().parent / "names.tsv.gz"


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
    """The shipped groups: HGNC names of the genes with a token in Geneformer V2."""
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

"""Which species the genes belong to, from the form of their names.

Ensembl ids carry it (``ENSMUSG`` is mouse). Symbols of mouse and rat are written ``Gapdh`` where
human ones are ``GAPDH``: names that map to human genes only in upper case indicate a rodent, and
so do names that no human gene has, such as ``Gm12345`` and ``1700001A09Rik``, in any case.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from scircuit.tracing.cells.genes.other_species import SPECIES, most_of_another
from scircuit.tracing.cells.identifiers import Identifiers
from scircuit.tracing.tokenisation.vocabulary import Vocabulary

_INFIX = SPECIES | {
    "DAR": "zebrafish",
    "MMU": "macaque",
    "SSC": "pig",
    "GAL": "chicken",
    "PTR": "chimpanzee",
    "MFA": "crab-eating macaque",
    "CAF": "dog",
    "BTA": "cow",
}
_ONLY_RODENT = re.compile(
    r"GM\d{3,}|\d{7}[A-Z]\d{2}RIK|[A-Z]\d{6}[A-Z]\d{2}RIK|OLFR\d+|VMN[12]R\d+|RGD\d{5,}",
    re.IGNORECASE,
)
_RODENT_SHARE, _FEW = 0.01, 5  # of names that no human gene has; old names of human genes are few
_MANY = 200  # genes that are there by the symbols of both species
_EXAMPLES = 3


@dataclass(frozen=True)
class Species:
    """Species, the evidence for it, and what to do where it is not human."""

    name: str
    evidence: str
    fix: str = "use human cells, or map the genes to human orthologues first"

    @property
    def human(self) -> bool:
        """Whether a human vocabulary fits."""
        return self.name == "human"


def detect(identifiers: Identifiers, vocabulary: Vocabulary) -> Species:
    """Species of the genes; ``unknown`` when none fits."""
    ids, total = identifiers.ids, len(identifiers.names)
    named = total - identifiers.count("missing") - identifiers.count("no gene")
    hint = f"; {identifiers.why}" if "--gene-column" in identifiers.why else ""
    if second := _second(identifiers, most_of_another(named)):
        return second
    if 2 * sum(ids.values()) >= named > 0:
        infix = max(ids, key=ids.__getitem__)
        name = _INFIX.get(infix, f"Ensembl prefix ENS{infix}G")
        found = f"{ids[infix]:,} of {total:,} ids start with ENS{infix}G"
        return Species(name, found + (hint if infix else ""))
    exact, rodent = vocabulary.table.exact, identifiers.rodent
    known = sum(name in exact for name in identifiers.names)
    if len(rodent) > known:
        return Species(
            "mouse or rat",
            f"{known:,} of {total:,} names are human symbols as written, {len(rodent):,} only"
            f" in upper case (such as {_some(rodent)}){hint}",
        )
    foreign = [n for n in identifiers.names if n == n.upper() and _ONLY_RODENT.fullmatch(n)]
    if len(foreign) > max(_FEW, _RODENT_SHARE * named):
        return Species(
            "mouse or rat",
            f"{len(foreign):,} of {total:,} names are of genes that only a mouse or rat has"
            f" ({_some(foreign)}), written in upper case{hint}",
        )
    if 2 * known >= named > 0 or identifiers.count("mapped"):
        return Species("human", f"{known:,} of {total:,} names are human symbols")
    return Species(
        "unknown",
        f"none of {total:,} names is a human symbol (the first:"
        f" {', '.join(identifiers.names[:3])}){hint}",
        "put Ensembl ids or human gene symbols into var_names or a column of var",
    )


def _second(identifiers: Identifiers, least: float) -> Species | None:
    """Human genes beside more than a few of another species; None where there are not."""
    human = identifiers.count("mapped") + identifiers.count("outside")
    ids = {infix: n for infix, n in identifiers.ids.items() if infix}
    if ids and min(human, sum(ids.values())) > least:
        infix = max(ids, key=ids.__getitem__)
        name = _INFIX.get(infix, f"Ensembl prefix ENS{infix}G")
        return _both(name, human, sum(ids.values()), f"ENS{infix}G...")
    held = set(identifiers.names)
    twice = [n for n in identifiers.rodent if n.upper() in held]
    only = [n for n in identifiers.names if n != n.upper() and _ONLY_RODENT.fullmatch(n)]
    rodent = [*identifiers.rodent, *only]
    if min(human, len(rodent)) > least or min(human, len(twice)) > _MANY:
        return _both("mouse or rat", human, len(rodent), _some(twice or rodent))
    return None


def _both(name: str, human: int, others: int, examples: str) -> Species:
    return Species(
        f"human and {name}",
        f"{human:,} names are of human genes, {others:,} of {name} (such as {examples})",
        "keep the genes of one species, and the cells with most of their counts in these",
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_EXAMPLES])

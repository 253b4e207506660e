"""Which species the genes belong to, from the form of their names.

Ensembl ids carry it (``ENSMUSG`` is mouse). Symbols of mouse and rat are written ``Gapdh`` where
human ones are ``GAPDH``: names that map to human genes only in upper case indicate a rodent.
"""

from __future__ import annotations

from dataclasses import dataclass

from scircuit.tracing.cells.identifiers import Identifiers
from scircuit.tracing.tokenisation.vocabulary import Vocabulary

_INFIX = {
    "": "human",
    "MUS": "mouse",
    "RNO": "rat",
    "DAR": "zebrafish",
    "MMU": "macaque",
    "SSC": "pig",
    "GAL": "chicken",
    "PTR": "chimpanzee",
    "MFA": "crab-eating macaque",
    "CAF": "dog",
    "BTA": "cow",
}


@dataclass(frozen=True)
class Species:
    """Species and the evidence for it."""

    name: str
    evidence: str

    @property
    def human(self) -> bool:
        """Whether a human vocabulary fits."""
        return self.name == "human"


def detect(identifiers: Identifiers, vocabulary: Vocabulary) -> Species:
    """Species of the genes; ``unknown`` when none fits."""
    ids, total = identifiers.ids, len(identifiers.names)
    named = total - identifiers.count("missing")
    hint = f"; {identifiers.why}" if "--gene-column" in identifiers.why else ""
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
            f" in upper case (such as {', '.join(rodent[:3])}){hint}",
        )
    if 2 * known >= named > 0 or identifiers.count("mapped"):
        return Species("human", f"{known:,} of {total:,} names are human symbols")
    return Species(
        "unknown",
        f"none of {total:,} names is a human symbol (the first:"
        f" {', '.join(identifiers.names[:3])}){hint}",
    )

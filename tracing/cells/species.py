"""Which species the genes belong to, from the form of their names.

Ensembl ids carry it (``ENSMUSG`` is mouse). Symbols of mouse and rat are written ``Gapdh`` where
human ones are ``GAPDH``: names that map to human genes only in upper case indicate a rodent.
"""

from __future__ import annotations

from dataclasses import dataclass

from scircuit.tracing.cells.identifiers import Identifiers, ensembl_prefixes
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
    prefixes = ensembl_prefixes(identifiers.names)
    total = len(identifiers.names)
    if 2 * sum(prefixes.values()) >= total > 0:
        infix = max(prefixes, key=prefixes.__getitem__)
        name = _INFIX.get(infix, f"Ensembl prefix ENS{infix}G")
        return Species(name, f"{prefixes[infix]:,} of {total:,} ids start with ENS{infix}G")
    known = [
        n for n in identifiers.names if n in vocabulary.symbol_to_ensembl or n in vocabulary.outside
    ]
    raised = [
        n
        for n in identifiers.names
        if n not in vocabulary.symbol_to_ensembl
        and n != n.upper()
        and n.upper() in vocabulary.symbol_to_ensembl
    ]
    if len(raised) > len(known):
        return Species(
            "mouse or rat",
            f"{len(known):,} of {total:,} names are human symbols as written, {len(raised):,} only"
            f" in upper case (such as {', '.join(raised[:3])})",
        )
    if 2 * len(known) >= total > 0 or identifiers.count("mapped"):
        return Species("human", f"{len(known):,} of {total:,} names are human symbols")
    return Species(
        "unknown",
        f"none of {total:,} names is a human symbol (the first:"
        f" {', '.join(identifiers.names[:3])})",
    )

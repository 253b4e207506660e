"""Pathways of the published triplet study: the first whose keywords are in a feature's label, and
the sets that the study took.

Its same-pathway sets take the most frequent feature of a pathway at each layer, for the first
four of six pathways that have one everywhere. Its cross-pathway sets follow eight fixed recipes,
of which one is known in these words; here it comes first, then all choices of different pathways
in order, up to six sets. Its random sets are four, matched in frequency.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scircuit.tracing.interventions.ablation import Candidate, FeatureSet

KEYWORDS: Mapping[str, tuple[str, ...]] = {
    "ddr": ("dna damage", "dna repair", "double-strand", "dna replication", "dna metabolic"),
    "mitosis": (
        "mitotic", "spindle", "cell cycle", "g2/m", "chromosome segregation", "kinetochore",
        "cell division",
    ),
    "chromatin": ("chromatin", "histone", "nucleosome"),
    "vesicle": ("vesicle", "golgi", "endosom", "protein transport", "secretion", "exocyt"),
    "translation": ("translation", "ribosom", "rrna"),
    "rna": ("mrna", "splic", "rna processing", "ncrna"),
    "metabolism": (
        "metabolic", "glycoly", "oxidative phosphorylation", "lipid", "cholesterol", "fatty acid",
        "glycerophospholipid",
    ),
}  # fmt: skip
EXCLUDED = {"metabolism": ("dna", "rna", "protein")}
SAME = ("mitosis", "vesicle", "translation", "chromatin", "rna", "metabolism")
RECIPES = (("ddr", "mitosis", "mitosis"),)
SAME_SETS, CROSS_SETS, RANDOM_SETS = 4, 6, 4


def pathway_of(label: str) -> str:
    """Pathway of a label; empty where no keyword is in it."""
    text = label.lower()
    for name, words in KEYWORDS.items():
        if any(w in text for w in words) and not any(w in text for w in EXCLUDED.get(name, ())):
            return name
    return ""


def published_sets(candidates: Sequence[Candidate], layers: Sequence[int]) -> list[FeatureSet]:
    """Same-pathway and cross-pathway sets: the most frequent feature of each slot's pathway.

    Parameters
    ----------
    candidates
        Features with their pathway as the group.
    layers
        Layer of each slot.
    """
    from scircuit.tracing.interventions.ablation import FeatureSet

    slots = sorted(layers)

    def taken(pathways: Sequence[str], kind: str, name: str) -> FeatureSet | None:
        members = []
        for layer, pathway in zip(slots, pathways, strict=True):
            own = [
                c
                for c in candidates
                if c.address.layer == layer and c.group == pathway and c.address not in members
            ]
            if not own:
                return None
            members.append(min(own, key=lambda c: (-c.firing_rate, c.address)).address)
        return FeatureSet(tuple(sorted(members, key=lambda f: (f.layer, f.index))), kind, name)

    size = len(slots)
    same = [taken((p,) * size, "same", p) for p in SAME]
    cross = [tuple(r) for r in RECIPES if size == len(r)]
    cross += [c for c in combinations(KEYWORDS, size) if c not in cross]
    found = [s for s in same if s is not None][:SAME_SETS]
    return found + _first(
        [s for r in cross if (s := taken(r, "cross", " + ".join(r))) is not None], CROSS_SETS, found
    )


def _first(sets: Sequence[FeatureSet], most: int, there: Sequence[FeatureSet]) -> list[FeatureSet]:
    """The first different sets that are not there already."""
    known = {s.members for s in there}
    new = {s.members: s for s in reversed(sets) if s.members not in known}
    return [s for s in sets if new.get(s.members) is s][:most]

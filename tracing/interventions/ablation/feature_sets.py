"""Sets of features that are ablated together, and what makes one impossible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from scircuit.core.address import Address
from scircuit.core.edge_rules import MIN_SUPPORT
from scircuit.core.errors import UserError
from scircuit.tracing.interventions.intervention_tables import read_addresses

if TYPE_CHECKING:
    from scircuit.tracing.dictionaries.dictionary import Dictionary

MAX_ORDER = 6
"""Most features of a set: 63 conditions."""


class FeatureSet(NamedTuple):
    """Features ablated together, by layer and index, and where the set comes from.

    Attributes
    ----------
    members
        Addresses, ascending by layer, then index.
    kind
        Class of the set: given, hubs, same, cross or random.
    pathway
        What its members have in common; empty where that is nothing.
    """

    members: tuple[Address, ...]
    kind: str = "given"
    pathway: str = ""

    @property
    def tag(self) -> str:
        """Layers and indices, such as ``L00F0012+L05F0898``."""
        return "+".join(f.short.replace("/", "") for f in self.members)

    @property
    def name(self) -> str:
        """Caption, such as ``L00/F0012 + L05/F0898``."""
        return " + ".join(f.short for f in self.members)


def checked_sets(
    sets: Sequence[FeatureSet | Sequence[Address | str]], dictionaries: Mapping[int, Dictionary]
) -> list[FeatureSet]:
    """Sets with their members in order, each set once.

    Raises
    ------
    UserError
        If there is no set, or one has a repeated feature, fewer than two or more than `MAX_ORDER`;
        or an address does not fit the dictionaries.
    """
    found: dict[tuple[Address, ...], FeatureSet] = {}
    for given in sets:
        one = given if isinstance(given, FeatureSet) else FeatureSet(tuple(given))  # pyright: ignore[reportArgumentType]
        members = tuple(one.members)
        read = read_addresses(members, dictionaries, 1)
        if len(read) < len(members):
            raise UserError(
                f"a set names {len(members)} features, {len(read)} of them different:"
                f" {' + '.join(map(str, members))}",
                "name every feature of a set once",
            )
        if not 2 <= len(read) <= MAX_ORDER:
            raise UserError(
                f"a set has {len(read)} feature(s), which makes {2 ** len(read) - 1} conditions;"
                f" expected 2 to {MAX_ORDER} features, at most {2**MAX_ORDER - 1} conditions",
                "give sets of two to six features",
            )
        members = tuple(sorted(read, key=lambda f: (f.layer, f.index)))
        found.setdefault(members, one._replace(members=members))
    if not found:
        raise UserError("no set of features was given", "give at least two features")
    every = [f for s in found for f in s]
    read_addresses(every, dictionaries, 2)
    return list(found.values())


def checked_targets(
    sets: Sequence[FeatureSet], dictionaries: Mapping[int, Dictionary], targets: Sequence[int]
) -> list[int]:
    """Layers to read: those asked for, or the last one that has a dictionary.

    Raises
    ------
    UserError
        If one does not come after every feature, or has no dictionary.
    """
    deepest = max(f.layer for s in sets for f in s.members)
    layers = sorted(set(targets)) or [max(dictionaries)]
    if layers[0] <= deepest or not set(layers) <= set(dictionaries):
        raise UserError(
            f"cannot read layers {', '.join(map(str, layers))} for features up to layer {deepest};"
            f" there are dictionaries of layers {', '.join(str(t) for t in sorted(dictionaries))}",
            "choose features of earlier layers, or train a later dictionary",
        )
    return layers


def require_cells(n: int) -> None:
    """Check that interactions can be tested over so many cells.

    Raises
    ------
    UserError
        If there are fewer than two: one cell has no spread, hence no test and no interval.
    """
    if n < 2:
        raise UserError(
            f"{n} cell(s); an interaction is tested over cells and needs at least 2, better"
            f" {MIN_SUPPORT}, since fewer cannot give a small p by sign flips",
            "trace more cells: raise --n-cells",
        )

"""Looks up what is declared about a kind of record."""

from __future__ import annotations

from scircuit.core.schema.nodes import NODES
from scircuit.core.schema.property import Property
from scircuit.core.schema.relationships import RELATIONSHIPS

SCHEMA_VERSION = 4

RETIRED: dict[str, tuple[str, ...]] = {"Feature-AFFECTS-Feature": ("passthrough",)}
"""Properties that shards of earlier versions have and that are no longer read."""


def properties_of(kind: str) -> tuple[Property, ...]:
    """Declared properties of a kind, without the ends (``id``, or ``source`` and ``target``).

    Raises
    ------
    ValueError
        If the kind is not declared.
    """
    if kind in NODES:
        return NODES[kind].properties
    if kind in RELATIONSHIPS:
        return RELATIONSHIPS[kind].properties
    declared = ", ".join([*NODES, *RELATIONSHIPS])
    raise ValueError(f"unknown record kind {kind!r}; the schema declares: {declared}")


def keys_of(kind: str) -> tuple[str, ...]:
    """Key columns of a kind: ``id`` of nodes; ``source``, ``target`` and the declared `key` of
    relationships.
    """
    properties_of(kind)
    return ("id",) if kind in NODES else ("source", "target", *RELATIONSHIPS[kind].key)

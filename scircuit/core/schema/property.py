"""What a declaration is made of: properties, node labels and relationship types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PropertyType = Literal["str", "int", "float", "bool", "str[]", "int[]", "float[]"]


@dataclass(frozen=True)
class Property:
    """One property: its type, unit and where the value comes from."""

    name: str
    type: PropertyType
    doc: str
    unit: str = ""
    indexed: bool = False


@dataclass(frozen=True)
class NodeType:
    """One node label, keyed by ``id``."""

    label: str
    doc: str
    properties: tuple[Property, ...]
    caption: str = "name"
    color: str = "#888888"

    @property
    def kind(self) -> str:
        """Name of this kind of record: the label."""
        return self.label


@dataclass(frozen=True)
class RelationshipType:
    """One relationship type between two labels."""

    source: str
    type: str
    target: str
    doc: str
    properties: tuple[Property, ...] = ()
    key: tuple[str, ...] = ()  # text properties that distinguish records between the same two nodes

    @property
    def kind(self) -> str:
        """Name of this kind of record: ``Source-TYPE-Target``."""
        return f"{self.source}-{self.type}-{self.target}"


def prop(
    name: str, type: PropertyType, doc: str, unit: str = "", indexed: bool = False
) -> Property:
    """One line of a table of properties."""
    return Property(name, type, doc, unit, indexed)


# Properties that many kinds have.
RUN = prop("run", "str", "id of the run that wrote this record")
P = prop("p", "float", "p value of the test named in `test` or in the run", "probability")
Q = prop("q", "float", "Benjamini-Hochberg q value over the family named in the run", "probability")

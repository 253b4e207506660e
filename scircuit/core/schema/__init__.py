"""The one declaration of the graph: node labels, relationship types, their properties, keys, units
and sources.

Everything that must agree with the graph is generated from `NODES` and `RELATIONSHIPS`: Arrow
schemas of the shards, Neo4j constraints and indexes, the ingest Cypher, the bulk-import headers,
``docs/data-model.md`` and the Browser style. A table column that is not declared here is refused
before it reaches a shard, so no run can write an undeclared property.

A *kind* names one type of record: a node label (``Feature``) or ``Source-TYPE-Target``
(``Feature-AFFECTS-Feature``). Node tables hold the key ``id`` and any subset of the declared
properties (later runs add findings to existing nodes); relationship tables hold ``source`` and
``target`` (keys of the end nodes) and any subset of the declared properties.
"""

from scircuit.core.schema.arrow import arrow_schema, conform, schema_table, without_retired
from scircuit.core.schema.edge_properties import (
    ACTIVE_IN_PROPERTIES,
    AFFECTS_PROPERTIES,
    CONTROL_PROPERTIES,
)
from scircuit.core.schema.feature_properties import (
    ALSO_PUBLISHED,
    ANNOTATION_PROPERTIES,
    FEATURE_PROPERTIES,
    FINDING_BLOCKS,
    FOUND_PROPERTIES,
    IDENTITY,
)
from scircuit.core.schema.kinds import SCHEMA_VERSION, keys_of, properties_of
from scircuit.core.schema.nodes import NODES
from scircuit.core.schema.property import NodeType, Property, PropertyType, RelationshipType
from scircuit.core.schema.relationships import AT_LOAD, RELATIONSHIPS

__all__ = [
    "ACTIVE_IN_PROPERTIES",
    "AFFECTS_PROPERTIES",
    "ALSO_PUBLISHED",
    "ANNOTATION_PROPERTIES",
    "AT_LOAD",
    "CONTROL_PROPERTIES",
    "FEATURE_PROPERTIES",
    "FINDING_BLOCKS",
    "FOUND_PROPERTIES",
    "IDENTITY",
    "NODES",
    "RELATIONSHIPS",
    "SCHEMA_VERSION",
    "NodeType",
    "Property",
    "PropertyType",
    "RelationshipType",
    "arrow_schema",
    "conform",
    "keys_of",
    "properties_of",
    "schema_table",
    "without_retired",
]

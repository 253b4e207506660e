"""What Neo4j is told about the graph, generated from `scircuit.core.schema`: constraints, indexes
and ingest statements.

Rows are sent as lists in the order of `row_columns`, relationships grouped by their source:
``[source, [[target, ...], ...]]``, so that the server looks up a source once for all its rows.
Statements are fixed texts with the parameters ``$rows`` and ``$run``, one per kind and set of
columns, so that the server plans each one once. How records are written:

* nodes: ``MERGE`` on the key, then only values that are not null (a later run adds findings and
  deletes none);
* a run that knows no labels gives a feature its short address as caption, which does not replace a
  caption that consists of this address and a label;
* the annotation of a feature (a row with ``annotation_run``) replaces an earlier annotation as a
  whole, properties without a new value included; the clean pass of a trace run
  (``activation_run``) and an analysis (``analysis_run``) likewise, except that the module that an
  import states stays where the analysis names none. What each run found stays as
  its own (`scircuit.ingest.graph.found_by_run`);
* an empty text or list is no value: it removes one that an earlier run wrote (the import tool
  cannot store it either);
* an import never replaces what an own run wrote, whichever came first: ``_own`` on a node lists
  these properties. An empty value of an own run removes what own runs wrote, and keeps what only
  imports state. A caption without a label does not count as an own value;
* relationships that carry ``run``: ``CREATE``, never ``MERGE``; the chunk ledger makes sure that
  each is created exactly once;
* relationships without ``run`` are facts that all runs share, such as gene -> gene set: ``MERGE``
  on their two ends and on the properties declared as key (each library of regulons keeps its own
  records).
"""

from __future__ import annotations

from collections.abc import Iterable

from scircuit.core import schema
from scircuit.ingest.shards.content_hash import LATE_COLUMNS

LEDGER_LABEL = "_LoadChunk"
RUN = "run"
OWN = "_own"


def quoted(name: str) -> str:
    """Name as a Cypher identifier; names come from the schema, never from data."""
    return f"`{name.replace('`', '``')}`"


def constraints() -> list[str]:
    """Statements for unique node keys and for the indexes of the schema; they can be repeated."""
    statements = [
        f"CREATE CONSTRAINT {quoted(f'{label.lower()}_id')} IF NOT EXISTS FOR (n:{quoted(label)})"
        " REQUIRE n.id IS UNIQUE"
        for label in schema.NODES
    ]
    statements.append(
        f"CREATE CONSTRAINT load_chunk_key IF NOT EXISTS FOR (n:{quoted(LEDGER_LABEL)}) REQUIRE"
        " n.key IS UNIQUE"
    )
    statements.append(
        f"CREATE INDEX load_chunk_run IF NOT EXISTS FOR (n:{quoted(LEDGER_LABEL)}) ON (n.run)"
    )
    for label, node in schema.NODES.items():
        statements += [
            f"CREATE INDEX {quoted(f'{label.lower()}_{p.name}')} IF NOT EXISTS FOR"
            f" (n:{quoted(label)}) ON (n.{quoted(p.name)})"
            for p in node.properties
            if p.indexed
        ]
    return statements


def declared_names() -> dict[str, list[str]]:
    """Every declared relationship type and property, by the procedure that creates the name.

    The server does not know a name that no record has used yet, and warns about every query that
    uses it.
    """
    kinds = [*schema.NODES, *schema.RELATIONSHIPS]
    return {
        "db.createRelationshipType": sorted({r.type for r in schema.RELATIONSHIPS.values()}),
        "db.createProperty": sorted({p.name for kind in kinds for p in schema.properties_of(kind)}),
    }


def row_columns(kind: str, columns: Iterable[str]) -> list[str]:
    """Columns of one row as it is sent: key first, then the given properties in declared order.

    Relationships are sent without ``source``, which belongs to their group, and without ``run``,
    which is the same for all.

    Raises
    ------
    ValueError
        If the kind or a column is not declared.
    """
    given = set(columns)
    names: list[str] = list(schema.arrow_schema(kind, given).names)
    if kind in schema.NODES:
        return names
    return [name for name in names if name not in ("source", RUN)]


def carries_run(kind: str) -> bool:
    """Whether records of this kind belong to one run."""
    return any(p.name == RUN for p in schema.properties_of(kind))


def records_own_values(kind: str) -> bool:
    """Whether several runs, own and imported, can describe nodes of this kind, so that they list
    which properties own runs wrote.
    """
    return kind in schema.NODES and kind != "Run" and not carries_run(kind)


def ingest_cypher(kind: str, columns: Iterable[str], *, imported: bool = False) -> str:
    """Statement that writes ``$rows`` of one kind and returns the number of rows ``written``.

    Parameters
    ----------
    kind
        Node label or ``Source-TYPE-Target``.
    columns
        Property columns of the table; the rows hold `row_columns` of them.
    imported
        The rows come from an import, which does not replace what own runs wrote.

    Returns
    -------
    str
        Cypher with the parameters ``$rows`` (lists, as above) and ``$run`` (id of the run).

    Raises
    ------
    ValueError
        If the kind or a column is not declared.
    """
    columns = list(columns)
    names = row_columns(kind, columns)
    if kind in schema.NODES:
        return _nodes(kind, names, imported)
    return _relationships(schema.RELATIONSHIPS[kind], names)


def _nodes(label: str, names: list[str], imported: bool) -> str:
    lines = ["UNWIND $rows AS row", f"MERGE (n:{quoted(label)} {{id: row[0]}})"]
    by = "" if not records_own_values(label) else "imported" if imported else "own"
    if by == "own":
        lines.append(f"WITH n, row, {_given_properties(label, names)} AS given")
    for mark, given_up in finding_blocks(label, names).items():
        earlier = f"coalesce(row[{names.index(mark)}], '') = ''"
        kept = {
            p: f"{earlier} OR NOT '{p}' IN coalesce(n.{OWN}, [])"
            for p in given_up
            if p in schema.ALSO_PUBLISHED
        }
        lines.append(
            "SET "
            + ", ".join(
                f"n.{quoted(p)} = CASE WHEN {kept.get(p, earlier)} THEN n.{quoted(p)} END"
                for p in given_up
            )
        )
    lines += _set_clause("n", label, names, by)
    if by == "own":
        declared = [p.name for p in schema.properties_of(label)]
        lines.append(
            f"SET n.{OWN} = nullIf([p IN {declared} WHERE p IN coalesce(n.{OWN}, []) OR p IN"
            " given], [])"
        )
    lines.append("RETURN count(*) AS written")
    return "\n".join(lines)


def _given_properties(label: str, names: list[str]) -> str:
    """Expression: names of the properties that a row has a value for."""
    values = [
        f"['{name}', {_value(label, name, f'row[{i}]')}]"
        for i, name in enumerate(names)
        if i and not (name == "name" and caption_without_label(label, names))
    ]
    given = f"[p IN [{', '.join(values)}] WHERE p[1] IS NOT NULL | p[0]]"
    for mark, block in finding_blocks(label, names).items():
        own = [p for p in block if p not in schema.ALSO_PUBLISHED]
        given += f" + CASE WHEN coalesce(row[{names.index(mark)}], '') = '' THEN [] ELSE {own} END"
    return given


def _relationships(relationship: schema.RelationshipType, names: list[str]) -> str:
    kind = relationship.kind
    lines = [
        "UNWIND $rows AS sourced",
        f"MATCH (a:{quoted(relationship.source)} {{id: sourced[0]}})",
        "UNWIND sourced[1] AS row",
        f"MATCH (b:{quoted(relationship.target)} {{id: row[0]}})",
    ]
    if carries_run(kind):
        values = [f"{quoted(RUN)}: $run"]
        values += [
            f"{quoted(name)}: {_value(kind, name, f'row[{i}]')}"
            for i, name in enumerate(names)
            if i
        ]
        lines.append(f"CREATE (a)-[:{quoted(relationship.type)} {{{', '.join(values)}}}]->(b)")
    else:
        key = ", ".join(f"{quoted(name)}: row[{names.index(name)}]" for name in relationship.key)
        lines.append(
            f"MERGE (a)-[r:{quoted(relationship.type)}{f' {{{key}}}' if key else ''}]->(b)"
        )
        lines += _set_clause("r", kind, names)
    lines.append("RETURN count(*) AS written")
    return "\n".join(lines)


def finding_blocks(kind: str, columns: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """By the column with the name of a run: properties that a row with such a name removes where it
    has no value for them.
    """
    if kind != "Feature":
        return {}
    given = set(columns)
    return {mark: block for mark, block in schema.FINDING_BLOCKS.items() if mark in given}


def caption_without_label(kind: str, columns: Iterable[str]) -> bool:
    """Whether a table gives features captions without labels."""
    return kind == "Feature" and not {"label", "published_label"} & set(columns)


def _set_clause(variable: str, kind: str, names: list[str], by: str = "") -> list[str]:
    """SET clause that keeps the present value where the row has none; no clause without properties.

    `by` is ``own`` or ``imported`` for nodes that list what own runs wrote.
    """
    parts, own = [], f"coalesce({variable}.{OWN}, [])"
    for i, name in enumerate(names):
        if name in schema.keys_of(kind):
            continue
        known, given = f"{variable}.{quoted(name)}", f"row[{i}]"
        if name == "name" and caption_without_label(kind, names):
            given = (
                f"CASE WHEN {known} STARTS WITH {given} AND {given} <> '' THEN {known} ELSE"
                f" {given} END"
            )
        value = _value(kind, name, f"coalesce({given}, {known})")
        if by == "imported":
            value = f"CASE WHEN '{name}' IN {own} THEN {known} ELSE {value} END"
        elif by == "own" and (empty := empty_value(kind, name)):
            value = (
                f"CASE WHEN {given} = {empty} AND NOT '{name}' IN {own} THEN {known} ELSE"
                f" {value} END"
            )
        parts.append(f"{known} = {value}")
    return ["SET " + ", ".join(parts)] if parts else []


def empty_value(kind: str, name: str) -> str:
    """Empty value of this property's type in Cypher; empty where the type has none."""
    type_ = next(p.type for p in schema.properties_of(kind) if p.name == name)
    return "''" if type_ == "str" else "[]" if type_.endswith("[]") else ""


def _value(kind: str, name: str, expression: str) -> str:
    """Expression that is null where the value is an empty text or list."""
    empty = empty_value(kind, name)
    return f"nullIf({expression}, {empty})" if empty else expression


def missing_cypher(label: str) -> str:
    """Statement that returns as ``id`` which of ``$ids`` have no node of this label."""
    return (
        f"UNWIND $ids AS id OPTIONAL MATCH (n:{quoted(label)} {{id: id}}) WITH id, n WHERE n IS"
        " NULL RETURN DISTINCT id"
    )


LEDGER_CLAIM = f"""
MERGE (c:{quoted(LEDGER_LABEL)} {{key: $key}})
ON CREATE SET c.run = $run, c.kind = $kind, c.rows = $n, c.content = $content,
              c.late = nullIf($late, ''), c.sha256 = $sha256, c.at = $at, c.fresh = true,
              c.found = CASE WHEN $kind = 'Feature' THEN true END
WITH c, coalesce(c.fresh, false) AS fresh
REMOVE c.fresh
RETURN fresh, c.content AS content
"""

LEDGER_OF_RUN = f"""
MATCH (c:{quoted(LEDGER_LABEL)} {{run: $run}})
RETURN c.key AS key, c.content AS content, coalesce(c.late, '') AS late, c.sha256 AS sha256,
       coalesce(c.deleting, false) AS deleting, c.kind <> 'Feature' OR coalesce(c.found, false)
       AS found
"""

# One row is one source: [source, {target: [value of each late column]}]. Only edges of this run are
# touched; null is no value.
SET_Q = f"""
UNWIND $rows AS row
MATCH (:Feature {{id: row[0]}})-[r:AFFECTS]->(t:Feature)
WHERE r.run = $run AND row[1][t.id] IS NOT NULL
WITH r, row[1][t.id] AS late
SET {", ".join(f"r.{quoted(name)} = late[{i}]" for i, name in enumerate(LATE_COLUMNS))}
RETURN count(*) AS written
"""

# Versions without `scircuit.ingest.graph.found_by_run` loaded features without what the run found.
LEDGER_FOUND = f"""
MATCH (c:{quoted(LEDGER_LABEL)} {{key: $key}})
SET c.found = true
RETURN c.key AS key
"""

LEDGER_UPDATE = f"""
MATCH (c:{quoted(LEDGER_LABEL)} {{key: $key}})
WITH c, c.late AS before
SET c.late = nullIf($late, ''), c.sha256 = $sha256
RETURN before
"""

"""Everything the graph's schema says to Neo4j, generated from `scircuit.core.schema`: constraints,
indexes, ingest statements.

Rows travel as lists in the order of `row_columns`, relationships grouped by their source:
``[source, [[target, ...], ...]]``, so that the server looks a source up once for all its rows.
Statements are fixed texts over ``$rows`` and ``$run``, one per kind and set of columns, so the
server plans each once. What is written how:

* nodes: ``MERGE`` on the key, then only values that are not null (a later run adds findings, it
  erases none);
* the caption of a feature from a run that knows no labels is its short address: it does not replace
  one that goes on with a label;
* an annotation of a feature (a row with ``annotation_run``) takes the place of an earlier one
  whole, what it has no value for included;
* an empty text or list is no value: it takes one away that an earlier run wrote (the import tool
  cannot store it either);
* what a run of one's own wrote is never replaced by an import, whatever came first: ``_own`` names
  these properties of a node. An empty value of an own run takes away what own runs wrote, and
  leaves what only imports say. A caption without a label is no value of its own;
* relationships that carry ``run``: ``CREATE``, never ``MERGE``; the chunk ledger makes them exactly
  once;
* relationships without ``run`` are facts such as gene -> gene set, shared by all runs: ``MERGE`` on
  their two ends, and on the properties that are declared as key (each library of regulons keeps its
  own records).
"""

from __future__ import annotations

from collections.abc import Iterable

from scircuit.core import schema as records

LEDGER_LABEL = "_LoadChunk"
RUN = "run"
ANNOTATION_RUN = "annotation_run"
OWN = "_own"


def quoted(name: str) -> str:
    """Name as a Cypher identifier; names come from the schema, never from data."""
    return f"`{name.replace('`', '``')}`"


def constraints() -> list[str]:
    """Statements that make every node key unique and index the properties declared as indexed;
    repeatable.
    """
    statements = [
        f"CREATE CONSTRAINT {quoted(f'{label.lower()}_id')} IF NOT EXISTS FOR (n:{quoted(label)})"
        " REQUIRE n.id IS UNIQUE"
        for label in records.NODES
    ]
    statements.append(
        f"CREATE CONSTRAINT load_chunk_key IF NOT EXISTS FOR (n:{quoted(LEDGER_LABEL)}) REQUIRE"
        " n.key IS UNIQUE"
    )
    statements.append(
        f"CREATE INDEX load_chunk_run IF NOT EXISTS FOR (n:{quoted(LEDGER_LABEL)}) ON (n.run)"
    )
    for label, node in records.NODES.items():
        statements += [
            f"CREATE INDEX {quoted(f'{label.lower()}_{p.name}')} IF NOT EXISTS FOR"
            f" (n:{quoted(label)}) ON (n.{quoted(p.name)})"
            for p in node.properties
            if p.indexed
        ]
    return statements


def names() -> dict[str, list[str]]:
    """Every declared relationship type and property, under the name of the procedure that makes it
    known.

    A name that no record has used yet is unknown to the server, which warns of every question that
    asks for it.
    """
    kinds = [*records.NODES, *records.RELATIONSHIPS]
    return {
        "db.createRelationshipType": sorted({r.type for r in records.RELATIONSHIPS.values()}),
        "db.createProperty": sorted(
            {p.name for kind in kinds for p in records.properties_of(kind)}
        ),
    }


def row_columns(kind: str, columns: Iterable[str]) -> list[str]:
    """Columns of one row as it is sent: key first, then the given properties in declared order.

    Relationships come without ``source``, which the group has, and without ``run``, which is the
    same for all.

    Raises
    ------
    ValueError
        If the kind or a column is not declared.
    """
    given = set(columns)
    schema = records.arrow_schema(kind, given)
    if kind in records.NODES:
        return list(schema.names)
    return [name for name in schema.names if name not in ("source", RUN)]


def carries_run(kind: str) -> bool:
    """Whether records of this kind belong to one run."""
    return any(p.name == RUN for p in records.properties_of(kind))


def says_own(kind: str) -> bool:
    """Whether nodes of this kind may be described by several runs, own and imported ones, and so
    say what own ones wrote.
    """
    return kind in records.NODES and kind != "Run" and not carries_run(kind)


def ingest_cypher(kind: str, columns: Iterable[str], *, imported: bool = False) -> str:
    """Statement that writes ``$rows`` of one kind and returns how many rows found their place as
    ``written``.

    Parameters
    ----------
    kind
        Node label or ``Source-TYPE-Target``.
    columns
        Property columns of the table; the rows hold `row_columns` of them.
    imported
        The rows come from an import, which replaces nothing that own runs wrote.

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
    if kind in records.NODES:
        return _nodes(kind, names, imported)
    return _relationships(records.RELATIONSHIPS[kind], names)


def _nodes(label: str, names: list[str], imported: bool) -> str:
    lines = ["UNWIND $rows AS row", f"MERGE (n:{quoted(label)} {{id: row[0]}})"]
    by = "" if not says_own(label) else "imported" if imported else "own"
    if by == "own":
        lines.append(f"WITH n, row, {_given(label, names)} AS given")
    if given_up := replaced(label, names):
        earlier = f"coalesce(row[{names.index(ANNOTATION_RUN)}], '') = ''"
        lines.append(
            "SET "
            + ", ".join(
                f"n.{quoted(p)} = CASE WHEN {earlier} THEN n.{quoted(p)} END" for p in given_up
            )
        )
    lines += _assigned("n", label, names, by)
    if by == "own":
        declared = [p.name for p in records.properties_of(label)]
        lines.append(
            f"SET n.{OWN} = nullIf([p IN {declared} WHERE p IN coalesce(n.{OWN}, []) OR p IN"
            " given], [])"
        )
    lines.append("RETURN count(*) AS written")
    return "\n".join(lines)


def _given(label: str, names: list[str]) -> str:
    """Expression: the properties that a row says something of."""
    values = [
        f"['{name}', {_value(label, name, f'row[{i}]')}]"
        for i, name in enumerate(names)
        if i and not (name == "name" and bare_caption(label, names))
    ]
    given = f"[p IN [{', '.join(values)}] WHERE p[1] IS NOT NULL | p[0]]"
    if block := replaced(label, names):
        given += (
            f" + CASE WHEN coalesce(row[{names.index(ANNOTATION_RUN)}], '') = '' THEN [] ELSE"
            f" {list(block)} END"
        )
    return given


def _relationships(relationship: records.RelationshipType, names: list[str]) -> str:
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
        lines += _assigned("r", kind, names)
    lines.append("RETURN count(*) AS written")
    return "\n".join(lines)


def replaced(kind: str, columns: Iterable[str]) -> tuple[str, ...]:
    """Properties that a row of this table with an ``annotation_run`` takes away where it has no
    value for them.
    """
    if kind != "Feature" or ANNOTATION_RUN not in columns:
        return ()
    return tuple(p.name for p in records.ANNOTATION_PROPERTIES)


def bare_caption(kind: str, columns: Iterable[str]) -> bool:
    """Whether a table gives features a caption without knowing their labels."""
    return kind == "Feature" and not {"label", "published_label"} & set(columns)


def _assigned(variable: str, kind: str, names: list[str], by: str = "") -> list[str]:
    """SET clause that keeps a known value where the row has none; no clause without properties.

    `by` is ``own`` or ``imported`` for nodes that say what own runs wrote.
    """
    parts, own = [], f"coalesce({variable}.{OWN}, [])"
    for i, name in enumerate(names):
        if name in records.keys_of(kind):
            continue
        known, given = f"{variable}.{quoted(name)}", f"row[{i}]"
        if name == "name" and bare_caption(kind, names):
            given = (
                f"CASE WHEN {known} STARTS WITH {given} AND {given} <> '' THEN {known} ELSE"
                f" {given} END"
            )
        value = _value(kind, name, f"coalesce({given}, {known})")
        if by == "imported":
            value = f"CASE WHEN '{name}' IN {own} THEN {known} ELSE {value} END"
        elif by == "own" and (empty := _empty(kind, name)):
            value = (
                f"CASE WHEN {given} = {empty} AND NOT '{name}' IN {own} THEN {known} ELSE"
                f" {value} END"
            )
        parts.append(f"{known} = {value}")
    return ["SET " + ", ".join(parts)] if parts else []


def _empty(kind: str, name: str) -> str:
    """The value of this property's type that is none; empty where the type has no such value."""
    type_ = next(p.type for p in records.properties_of(kind) if p.name == name)
    return "''" if type_ == "str" else "[]" if type_.endswith("[]") else ""


def _value(kind: str, name: str, expression: str) -> str:
    """Expression that is null where the value is an empty text or list."""
    empty = _empty(kind, name)
    return f"nullIf({expression}, {empty})" if empty else expression


def missing_cypher(label: str) -> str:
    """Statement that returns as ``id`` which of ``$ids`` have no node of this label."""
    return (
        f"UNWIND $ids AS id OPTIONAL MATCH (n:{quoted(label)} {{id: id}}) WITH id, n WHERE n IS"
        " NULL RETURN DISTINCT id"
    )


LEDGER_CLAIM = f"""
MERGE (c:{quoted(LEDGER_LABEL)} {{key: $key}})
ON CREATE SET c.run = $run, c.kind = $kind, c.rows = $n, c.content = $content, c.late = nullIf($late, ''), c.sha256 = $sha256,
              c.at = $at, c.fresh = true
WITH c, coalesce(c.fresh, false) AS fresh
REMOVE c.fresh
RETURN fresh, c.content AS content
"""

LEDGER_OF_RUN = f"""
MATCH (c:{quoted(LEDGER_LABEL)} {{run: $run}})
RETURN c.key AS key, c.content AS content, coalesce(c.late, '') AS late, c.sha256 AS sha256, coalesce(c.deleting, false) AS deleting
"""

# One row is one source: [source, {{target: q}}]. Only edges of this run are touched.
LATE_Q = """
UNWIND $rows AS row
MATCH (:Feature {id: row[0]})-[r:AFFECTS]->(t:Feature) WHERE r.run = $run AND row[1][t.id] IS NOT NULL
SET r.q = row[1][t.id]
RETURN count(*) AS written
"""

LEDGER_LATE = f"""
MATCH (c:{quoted(LEDGER_LABEL)} {{key: $key}})
WITH c, c.late AS before
SET c.late = nullIf($late, ''), c.sha256 = $sha256
RETURN before
"""

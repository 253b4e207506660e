"""What each run found out about a feature, as ``(Run)-[:FOUND]->(Feature)``, beside the newest of
it on the feature itself.

A run's ``Feature`` rows are both: properties of the node, by the rules of
`scircuit.ingest.graph.statements`, and the finding of that run, which no later run replaces. The
relationships are made from the rows whenever these are loaded, so that studies of every version
have them. `MIRROR` computes the node again from its findings, after a run was deleted, and after a
run was loaded that is older than one in the graph:

* of the own runs in the order of their start, the last value counts, and a finding with the name
  of its run (``annotation_run``, ``activation_run``, ``analysis_run``) also takes away the values
  of its block (`scircuit.core.schema.FINDING_BLOCKS`) that it does not replace;
* what no own run states, imports state, in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from scircuit.core import schema
from scircuit.core.address import dictionary_id, parse
from scircuit.ingest.graph.statements import (
    LEDGER_LABEL,
    OWN,
    caption_without_label,
    empty_value,
    quoted,
)

if TYPE_CHECKING:
    import pyarrow as pa

FEATURE, DICTIONARY = "Feature", "Dictionary"
FOUND = "Run-FOUND-Feature"
# By verb: a property that every row of its block of findings has, and the column for the name of
# the run.
_MARKS = {
    "trace": ("traced", "activation_run"),
    "analyse": ("in_degree", "analysis_run"),
    "ablate": ("ablation_partners", "ablation_run"),
    "steer": ("steering_norm_ratio", "steering_run"),
    "importance": ("importance_cells", "importance_run"),
    "attribute": ("attributed", "attribution_run"),
}


def marked(kind: str, table: pa.Table, run: str) -> pa.Table:
    """Rows of a kind; features with the name of the run where they are its block of findings.

    The id of a run begins with its verb.
    """
    import pyarrow as pa

    if kind != FEATURE:
        return table
    of_block, mark = _MARKS.get(run.partition("-")[0], ("", ""))
    if of_block not in table.column_names or mark in table.column_names:
        return table
    names = [None if value is None else run for value in table.column(of_block).to_pylist()]
    return table.append_column(mark, pa.array(names, pa.string()))


def identity_of(kind: str, key: str) -> dict[str, Any]:
    """Identity that the key of a feature or a dictionary states; empty for another kind, and for a
    key that is no address.
    """
    if kind not in (FEATURE, DICTIONARY):
        return {}
    try:
        at = parse(key if kind == FEATURE else f"{key}/F0000")
    except ValueError:
        return {}
    whole = {"model": at.model, "layer": at.layer}
    if kind == DICTIONARY:
        return {"name": f"{at.dictionary} L{at.layer:02d}", "set": at.dictionary, **whole}
    dictionary = dictionary_id(at.model, at.dictionary, at.layer)
    return {"name": at.short, "dictionary": dictionary, "index": at.index, **whole}


def without_identity(kind: str, table: pa.Table) -> list[dict[str, Any]]:
    """Keys and identity of those rows of a table that lack some of it."""
    wanted = {FEATURE: schema.IDENTITY, DICTIONARY: ("name", "model", "set", "layer")}.get(kind, ())
    if all(n in table.column_names and table.column(n).null_count == 0 for n in wanted):
        return []
    known = {key: identity_of(kind, key) for key in table.column("id").to_pylist()}
    return [{"id": key, **identity} for key, identity in known.items() if identity]


def identity_cypher(kind: str) -> str:
    """Statement that gives the nodes in ``$identity`` what they lack of theirs."""
    names = list(identity_of(kind, "m/s/L00/F0000" if kind == FEATURE else "m/s/L00"))
    sets = ", ".join(f"n.{quoted(n)} = coalesce(n.{quoted(n)}, row.{quoted(n)})" for n in names)
    return (
        f"UNWIND $identity AS row MATCH (n:{quoted(kind)} {{id: row.id}}) SET {sets}"
        " RETURN count(*) AS written"
    )


def dictionaries_of(ids: Iterable[str]) -> list[dict[str, Any]]:
    """Identity of the dictionaries that features with these addresses belong to."""
    found = {i["dictionary"] for key in ids if (i := identity_of(FEATURE, key))}
    return [{"id": key, **identity_of(DICTIONARY, key)} for key in sorted(found)]


def finding_columns(columns: Iterable[str]) -> list[str]:
    """Columns of a table of features that are findings; captions only where there are labels."""
    given = set(columns)
    bare = caption_without_label(FEATURE, given)
    return [
        p.name
        for p in schema.properties_of(FOUND)
        if p.name in given and not (p.name == "name" and bare)
    ]


def found_cypher(names: list[str]) -> str:
    """Statement that writes the findings of ``$run`` in ``$rows`` (rows of the features, in the
    order of `names`); empty: the rows hold none.

    Parameters
    ----------
    names
        Columns of the rows, key first.
    """
    wanted = [(names.index(name), name) for name in finding_columns(names)]
    if not wanted:
        return ""
    values = [(i, name, _nullable(name, f"row[{i}]")) for i, name in wanted]
    known = " OR ".join(f"{value} IS NOT NULL" for _, _, value in values)
    sets = ", ".join(f"x.{quoted(n)} = coalesce({value}, x.{quoted(n)})" for _, n, value in values)
    return "\n".join(
        [
            "MATCH (run:Run {id: $run})",
            "UNWIND $rows AS row",
            f"WITH run, row WHERE {known}",
            "MATCH (f:Feature {id: row[0]})",
            "MERGE (run)-[x:FOUND]->(f)",
            f"SET {sets}",
            "RETURN count(*) AS written",
        ]
    )


def found_rows(rows: Iterable[dict[str, Any]], columns: Iterable[str]) -> list[dict[str, Any]]:
    """The findings in rows of features, for the import tool: rows that have some, by feature."""
    names = finding_columns(columns)
    found = (
        {"target": row["id"]} | {n: v for n in names if (v := row.get(n)) not in (None, "", [])}
        for row in rows
    )
    return [row for row in found if len(row) > 1]


def _nullable(name: str, expression: str) -> str:
    empty = empty_value(FEATURE, name)
    return f"nullIf({expression}, {empty})" if empty else expression


# An annotate run can list features of layers that no trace used: their dictionaries become nodes,
# and inputs of that run.
DICTIONARIES = """
UNWIND $dictionaries AS row
MERGE (d:Dictionary {id: row.id})
SET d.name = coalesce(d.name, row.name), d.model = coalesce(d.model, row.model),
    d.set = coalesce(d.set, row.set), d.layer = coalesce(d.layer, row.layer)
MERGE (m:Model {id: row.model})
SET m.name = coalesce(m.name, row.model)
MERGE (d)-[:OF]->(m)
WITH d
MATCH (run:Run {id: $run})
MERGE (run)-[:USED]->(d)
RETURN count(*) AS written
"""

OF_DICTIONARY = """
UNWIND $ids AS id
MATCH (f:Feature {id: id})
MATCH (d:Dictionary {id: f.dictionary})
MERGE (f)-[:OF]->(d)
RETURN count(*) AS written
"""

NEWER = """
MATCH (run:Run {id: $run})
RETURN EXISTS {
  MATCH (other:Run)-[:FOUND]->()
  WHERE other.started > run.started OR (other.started = run.started AND other.id > run.id)
} AS newer
"""

# Features that a version without findings loaded have values that no finding explains.
INCOMPLETE = f"""
MATCH (c:{quoted(LEDGER_LABEL)} {{kind: 'Feature'}}) WHERE c.found IS NULL
RETURN DISTINCT c.run AS run
"""


def _mirror() -> str:
    """Statement that computes the findings on the features ``$ids`` again."""
    blocks = schema.FINDING_BLOCKS
    mark_of = {name: mark for mark, names in blocks.items() for name in names}
    findings = [p.name for p in schema.properties_of(FOUND) if p.name != "name"]

    def last(runs: str, name: str) -> str:
        value = f"coalesce(x.{quoted(name)}, v)"
        if mark := mark_of.get(name):
            value = f"CASE WHEN x.{mark} IS NOT NULL THEN x.{quoted(name)} ELSE {value} END"
        return f"reduce(v = null, x IN {runs} | {value})"

    def stated(name: str) -> str:
        mark = None if name in schema.ALSO_PUBLISHED else mark_of.get(name)
        marked = f" OR x.{mark} IS NOT NULL" if mark else ""
        return f"any(x IN own WHERE x.{quoted(name)} IS NOT NULL{marked})"

    sets = [
        f"f.{quoted(n)} = CASE WHEN {stated(n)} THEN {last('own', n)}"
        f" ELSE {last('imported', n)} END"
        for n in findings
    ]
    short = "split(f.id, '/')[2] + '/' + split(f.id, '/')[3]"
    named = "reduce(v = null, x IN {runs} | coalesce(x.name, v))"
    sets.append(
        f"f.name = coalesce({named.format(runs='own')}, {named.format(runs='imported')}, {short},"
        " f.name)"
    )
    mine = ", ".join(f"CASE WHEN {stated(n)} THEN '{n}' END" for n in findings)
    identity = [*schema.IDENTITY[1:]]
    return "\n".join(
        [
            "UNWIND $ids AS id",
            "MATCH (f:Feature {id: id})",
            "CALL (f) {",
            "  OPTIONAL MATCH (f)<-[x:FOUND]-(r:Run)",
            "  WITH x, r ORDER BY r.started, r.id",
            "  RETURN collect(CASE WHEN r.verb <> 'import' THEN x END) AS own,",
            "    collect(CASE WHEN r.verb = 'import' THEN x END) AS imported",
            "}",
            "WITH f, own, imported, [n IN ["
            + mine
            + "] WHERE n IS NOT NULL] + [n IN coalesce(f."
            + OWN
            + f", []) WHERE n IN {identity} OR n = 'name' AND any(x IN own WHERE x.name IS NOT"
            " NULL)] AS mine",
            "SET " + ",\n  ".join(sets),
            f"SET f.{OWN} = nullIf([p IN {[p.name for p in schema.properties_of(FEATURE)]} WHERE p"
            " IN mine], [])",
            "RETURN count(*) AS written",
        ]
    )


MIRROR = _mirror()

"""Constraints, ingest statements and import headers say exactly what `scircuit.core.schema`
declares, on the real server.
"""

from __future__ import annotations

import re

import pyarrow as pa
import pytest

from scircuit.core import schema
from scircuit.ingest.graph import statements
from scircuit.ingest.graph.bulk_headers import bulk_headers
from scircuit.ingest.graph.loader import prepare
from scircuit.ingest.graph.stream import load_run
from tests.support.every_kind import CAPTION, node_id, value, write_every_kind
from tests.support.neo4j_driver import explain

KINDS = [*schema.NODES, *schema.RELATIONSHIPS]
STORED = [kind for kind in KINDS if kind not in schema.AT_LOAD]


def declared(kind: str) -> set[str]:
    return {p.name for p in schema.properties_of(kind)}


@pytest.mark.parametrize("kind", KINDS)
def test_statement_writes_exactly_the_declared_properties(kind):
    text = statements.ingest_cypher(kind, declared(kind))
    quoted = set(re.findall(r"`([^`]+)`", text))
    names = (
        {kind}
        if kind in schema.NODES
        else {
            schema.RELATIONSHIPS[kind].source,
            schema.RELATIONSHIPS[kind].type,
            schema.RELATIONSHIPS[kind].target,
        }
    )
    assert quoted - names == declared(kind) - names
    assert "$rows" in text
    assert ("MERGE (a)" in text) == (kind in schema.RELATIONSHIPS and "run" not in declared(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_headers_cover_exactly_the_declared_properties(kind):
    headers = bulk_headers(kind, declared(kind))
    assert list(headers) == schema.arrow_schema(kind).names
    assert {h.split(":")[0] for h in headers.values()} - {""} == declared(kind) | (
        {"id"} if kind in schema.NODES else set()
    )


@pytest.mark.parametrize("make", [statements.ingest_cypher, bulk_headers])
def test_an_undeclared_column_is_refused(make):
    with pytest.raises(ValueError, match="no property colour"):
        make("Feature", ["layer", "colour"])
    with pytest.raises(ValueError, match="unknown record kind"):
        make("Planet", [])


def test_constraints_and_indexes_on_the_server(connection):
    prepare(connection)
    prepare(connection)
    unique = {
        (r["labelsOrTypes"][0], r["properties"][0]) for r in connection.run("SHOW CONSTRAINTS")
    }
    assert unique == {(label, "id") for label in schema.NODES} | {("_LoadChunk", "key")}
    indexes = {
        (r["labelsOrTypes"][0], r["properties"][0])
        for r in connection.run("SHOW INDEXES")
        if r["type"] == "RANGE"
    }
    assert indexes - unique == {
        (label, p.name) for label, n in schema.NODES.items() for p in n.properties if p.indexed
    } | {("_LoadChunk", "run")}


def test_a_question_about_what_no_run_wrote_yet_is_planned_without_complaints(connection):
    prepare(connection)
    questions = [
        f"MATCH (a:`{r.source}`)-[r:`{r.type}`]->(b:`{r.target}`) RETURN "
        + ", ".join(["1", *(f"r.`{p.name}`" for p in r.properties)])
        for r in schema.RELATIONSHIPS.values()
    ]
    questions += [
        f"MATCH (n:`{n.label}`) RETURN " + ", ".join(f"n.`{p.name}`" for p in n.properties)
        for n in schema.NODES.values()
    ]
    assert [q for q in questions if explain(connection, q, {})] == []
    assert (
        explain(connection, "MATCH (:Feature)-[:ADMIRES]->(f:Feature) RETURN f.colour", {}) != []
    )  # such a warning would be seen


def test_every_kind_and_property_arrives(connection, tmp_path):
    store = write_every_kind(tmp_path / "run")
    report = load_run(connection, store.folder)
    assert report.loaded_rows == sum(e.rows for e in store.manifest.shards) == 3 * len(STORED) + 8
    for kind in STORED:
        expected = {p.name: value(kind, p.name, p.type, 0) for p in schema.properties_of(kind)}
        if "run" in expected:
            expected["run"] = "trace-every"
        if kind in schema.NODES:
            [row] = connection.run(
                f"MATCH (n:`{kind}` {{id: $id}}) RETURN properties(n) AS p", id=node_id(kind, 0)
            )
            expected["id"] = node_id(kind, 0)
            if statements.records_own_values(kind):
                expected["_own"] = [p.name for p in schema.properties_of(kind)]
        else:
            ends = schema.RELATIONSHIPS[kind]
            expected |= {name: f"{name}-0" for name in ends.key}
            [row] = connection.run(
                f"MATCH (:`{ends.source}` {{id: $a}})-[r:`{ends.type}`]->(:`{ends.target}` {{id:"
                " $b}) WHERE all(k IN keys($key) WHERE r[k] = $key[k]) RETURN properties(r) AS p",
                a=node_id(ends.source, 0),
                b=node_id(ends.target, 1),
                key={name: f"{name}-0" for name in ends.key},
            )
        if kind == "Feature":
            # A null of a later shard erased nothing, a value won; a later annotation took the
            # earlier one away.
            expected |= {p.name: None for p in schema.ANNOTATION_PROPERTIES}
            expected |= {
                "annotation_run": "annotate-b",
                "label_ties": 7,
                "label": "DNA repair",
                "name": CAPTION,
            }
            expected = {k: v for k, v in expected.items() if v is not None}
        if kind == "Gene-REGULATES-Gene":
            expected["mode"] = "Repression"
        assert row["p"] == expected, kind
    [row] = connection.run(
        "MATCH (f:Feature {id: $id}) RETURN properties(f) AS p", id=node_id("Feature", 1)
    )
    assert {k for k, v in row["p"].items() if v in ("", [])} == set()
    assert row["p"]["label_library"] == "GO"
    assert "top_genes" not in row["p"]
    assert row["p"]["index"] == -(2**62)


def test_statements_plan_without_complaints(connection):
    prepare(connection)
    connection.run(
        "CREATE (:Feature {id: 'a'})-[:AFFECTS {run: 'x', q: 0.5}]->(:Feature {id: 'b'})"
    )
    for kind in KINDS:
        assert (
            explain(
                connection, statements.ingest_cypher(kind, declared(kind)), {"rows": [], "run": "x"}
            )
            == []
        ), kind


def test_a_table_with_an_undeclared_column_never_becomes_a_shard(tmp_path):
    store = write_every_kind(tmp_path / "run", "trace-other")
    with pytest.raises(ValueError, match="no property colour"):
        store.add("bad", {"Feature": pa.table({"id": ["x"], "colour": ["red"]})})
    assert "bad" not in store.units()

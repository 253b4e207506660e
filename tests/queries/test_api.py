"""The Python functions: parameters checked before the database, names resolved, nothing written by
mistake.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

from scircuit.core.errors import UserError
from scircuit.queries import api
from scircuit.queries.catalogue import FOLDERS, catalogue_page, load_catalogue
from scircuit.queries.current_annotation import CURRENT
from scircuit.queries.query_header import parse
from tests.queries.small_names import NEW, address

HEADER = """// name: x
// title: X
// folder: Hubs
// question: What?
// shape: table
// param limit: int = 5 (1..9) -- most rows
// column n: a number
// budget: 2 * $limit

UNWIND range(1, $limit) AS n RETURN n
"""


def test_a_header_is_read():
    query = parse(HEADER, "x.cypher")
    assert (
        query.name,
        query.parameters[0].default,
        query.parameters[0].low,
        query.parameters[0].high,
    ) == ("x", 5, 1, 9)
    assert query.rows_allowed({"limit": 4}) == 8 and query.cypher.startswith("UNWIND")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("// title: X\n", "", "lacks title"),
        ("int = 5", "number = 5", "cannot read the parameter"),
        ("$limit) AS", "$count) AS", "differ from those used"),
        ("// shape: table", "// shape: list", "not valid"),
        ("// question", "// qestion", "unknown"),
        (" = 5", "", "neither a default nor an example"),
        ("// column n: a number\n", "", "lacks column"),
        ("2 * $limit", "many", "not valid"),
    ],
)
def test_a_wrong_header_is_refused(old, new, message):
    with pytest.raises(ValueError, match=message):
        parse(HEADER.replace(old, new, 1), "x.cypher")


def test_catalogue_is_large_and_listed():
    catalogue = load_catalogue()
    assert len(catalogue) >= 18 and {q.folder for q in catalogue.values()} == set(FOLDERS)
    page = catalogue_page()
    for query in catalogue.values():
        assert f"### `{query.name}`" in page and query.question in page
        assert all(f"`{p.name}`" in page for p in query.parameters)
    assert all("LIMIT" in q.cypher for q in catalogue.values() if q.graph)


def test_what_annotate_runs_wrote_is_never_read_of_several_at_once():
    """Several runs may have written genes, terms and cell types of one feature: a question that
    reads them chooses by `scircuit.queries.current_annotation`.
    """
    by_run = {"compare_annotation"}  # one annotate run a row
    for query in load_catalogue().values():
        if re.search("LOADS_ON|ENRICHED_FOR|ACTIVE_IN", query.cypher) and query.name not in by_run:
            assert CURRENT in query.cypher and "annotation" in [p.name for p in query.parameters], (
                query.name
            )
            read = len(re.findall(r"\[\w*:(?:LOADS_ON|ENRICHED_FOR|ACTIVE_IN)", query.cypher))
            chosen = len(re.findall(r"IN current", query.cypher))
            # A feature with any genes, to start from; published terms have no other run.
            whether = query.cypher.count("EXISTS { (f)-[:LOADS_ON]->() }") + query.cypher.count(
                "[e:ENRICHED_FOR {origin: 'published'}]"
            )
            assert chosen >= read - whether, query.name


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("top_hub", {}, "did you mean 'top_hubs'"),
        ("nothing like it", {}, "The catalogue has: contents"),
        ("top_hubs", {"limmit": 3}, "did you mean 'limit'"),
        ("top_hubs", {"limit": "3"}, "limit='3' .str.; expected a whole number"),
        ("top_hubs", {"limit": True}, "whole number"),
        ("top_hubs", {"limit": 2.5}, "whole number"),
        ("top_hubs", {"limit": 0}, "from 1 to 100000"),
        ("top_hubs", {"limit": float("nan")}, "whole number"),
        ("top_hubs", {"limit": float("inf")}, "whole number"),
        ("degrees", {"q": 1.5}, "from 0 to 1"),
        ("degrees", {"q": float("nan")}, "a number"),
        ("degrees", {"q": "x"}, "a number"),
        ("features_of_genes", {}, "needs the parameter genes"),
        ("features_of_genes", {"genes": []}, "at least one"),
        ("features_of_genes", {"genes": 3}, "list of texts"),
        ("runs", {"verb": 3}, "a text"),
        ("feature_drives", {"feature": "L5/F1"}, "has 2 parts, expected 4"),
        ("feature_drives", {"feature": "m/d/L5/F0001"}, "not well formed"),
    ],
)
def test_wrong_questions_are_refused_without_a_database(name, parameters, message):
    with pytest.raises(UserError, match=message):
        api.check(name, parameters)


def test_values_are_understood():
    assert api.check("degrees", {"limit": np.int64(3), "q": 1, "min_support": 4.0}) == {
        "run": "",
        "q": 1.0,
        "min_support": 4,
        "min_effect": 0.001,
        "limit": 3,
    }
    assert api.check("features_of_genes", {"genes": "CD3D, LCK"})["genes"] == ["CD3D", "LCK"]
    assert api.check("features_of_genes", {"genes": np.array(["CD3D"])})["genes"] == ["CD3D"]


@pytest.mark.server
class TestOnTheGraph:
    def test_short_names(self, study):
        short = api.query(study.connection, "feature_drives", feature="L02/F0001")
        assert short.equals(api.query(study.connection, "feature_drives", feature=address(2, 1)))

    def test_what_the_graph_lacks(self, study):
        with pytest.raises(
            UserError, match="no feature in the graph with an address that ends in 'L09/F0001'"
        ):
            api.query(study.connection, "feature_drives", feature="L09/F0001")
        with pytest.raises(UserError, match="there is no feature 'm/d/L01/F0001'"):
            api.query(study.connection, "feature_drives", feature="m/d/L01/F0001")
        with pytest.raises(UserError, match=f"there is no run 'trace-x'(.|\n)*{NEW} .complete."):
            api.query(study.connection, "top_hubs", run="trace-x")

    def test_an_empty_answer_has_its_columns(self, study):
        answer = api.query(study.connection, "strict_edges", q=0.0)
        assert answer.empty and "source" in answer.columns

    def test_values_never_become_cypher(self, study):
        hostile = "' RETURN 1 AS x // $run `"
        assert api.query(study.connection, "features_of_genes", genes=[hostile]).empty
        assert api.query(study.connection, "runs", verb=hostile).empty
        assert api.cypher(study.connection, "RETURN $text AS text", text=hostile).text[0] == hostile

    def test_cypher_reads(self, study):
        assert (
            api.cypher(
                study.connection,
                "MATCH (f:Feature) WHERE f.layer = $layer RETURN count(f) AS n",
                layer=2,
            ).n[0]
            == 14
        )
        assert len(api.cypher(study.connection, "SHOW INDEXES YIELD name RETURN name")) > 5
        assert api.cypher(
            study.connection, "MATCH (n:Nothing) RETURN n.id AS id"
        ).columns.tolist() == ["id"]

    @pytest.mark.parametrize(
        "text",
        [
            "CREATE (n:Scrap) RETURN n",
            "MATCH (f:Feature) SET f.name = 'x'",
            "MATCH (f:Feature) DETACH DELETE f",
            "CREATE INDEX scrap FOR (n:Scrap) ON (n.x)",
            "PROFILE CREATE (n:Scrap)",
        ],
    )
    def test_cypher_does_not_write(self, study, text):
        with pytest.raises(UserError, match="would change the graph"):
            api.cypher(study.connection, text)
        assert api.cypher(study.connection, "MATCH (n:Scrap) RETURN n").empty
        assert api.cypher(
            study.connection, "SHOW INDEXES YIELD name WHERE name = 'scrap' RETURN name"
        ).empty
        assert api.cypher(
            study.connection, "MATCH (f:Feature) WHERE f.name <> 'x' RETURN count(f) AS n"
        ).n[0] == len(study.features)

    def test_cypher_writes_when_told(self, study):
        api.cypher(study.connection, "CREATE (n:Scrap)", write=True)
        assert len(api.cypher(study.connection, "MATCH (n:Scrap) RETURN n")) == 1
        api.cypher(study.connection, "MATCH (n:Scrap) DELETE n", write=True)

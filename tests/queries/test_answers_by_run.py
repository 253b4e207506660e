"""Findings are kept by run: every question about a run is answered from that run, whatever else is
in the graph, and features show the newest.

The expected answers come from a graph that holds one trace run with its annotation and analysis and
nothing else, and for the main questions from the shards.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import neo4j
import pandas as pd
import pyarrow.parquet as pq
import pytest

from scircuit.core.edge_rules import COMPUTED
from scircuit.ingest.graph import bulk_import
from scircuit.ingest.graph.connection import Connection, Target
from scircuit.ingest.graph.graph_runs import delete_run
from scircuit.ingest.graph.loader import add_missing_findings
from scircuit.ingest.graph.stream import load_run
from scircuit.queries import api
from scircuit.queries.catalogue import load_catalogue
from tests.queries import two_runs
from tests.queries.two_runs import ATLAS, OTHER, A, B, child, family
from tests.support.neo4j_fixtures import empty_graph

pytestmark = pytest.mark.server
CATALOGUE = load_catalogue()
BY_RUN = [
    name for name, q in CATALOGUE.items() if {p.name for p in q.parameters} & {"run", "annotation"}
]
# Captions carry the newest label, and an import states its own labels beside everything.
SHARED = {"name", "names", "source_name", "target_name", "published_label"}
MIXED = [*family(A), *family(B), *family(OTHER), ATLAS]


def arguments(name: str, trace: str) -> dict[str, Any]:
    """A question about this trace run and its annotation, everything else by default."""
    given: dict[str, Any] = {
        p.name: p.shown for p in CATALOGUE[name].parameters if p.default is None
    }
    given |= {"term": "translation"} if "term" in given else {}
    given |= {"tf": "G1"} if "tf" in given else {}
    given |= {"genes": ["G1", "G5", "G9"]} if "genes" in given else {}
    names = {p.name for p in CATALOGUE[name].parameters}
    if "run" in names:
        given["run"] = child("annotate", trace) if name == "compare_annotation" else trace
    if "feature" in names and "run" not in names:
        given["feature"] = two_runs.address("toy", 1, 0)
    if "annotation" in names:
        given["annotation"] = child("annotate", trace)
    return given


def plain(name: str, answer: pd.DataFrame) -> list[Any]:
    """An answer as values that can be compared; of a drawing its relationships."""
    if CATALOGUE[name].graph:
        return sorted(
            repr((r.start_node["id"], r.type, r.end_node["id"], sorted(dict(r).items())))
            for path in answer["path"]
            for r in path.relationships
            if name != "knowledge_graph" or r.type not in ("AFFECTS", "MEMBER_OF")
        )
    if name == "feature_knowledge":  # what is not of an annotation is the newest, with its run
        of_annotation = answer.section.isin(["gene", "term"]) | answer["item"].eq("label")
        answer = pd.DataFrame(answer[of_annotation & answer.origin.ne("published")])
    if name == "unannotated_neighbours":  # labels of an import are neighbours too
        answer = pd.DataFrame(answer[answer.origin.eq("own")].drop(columns="of"))
    newest = {"hub_rank"} if name == "features_of_genes" else set()
    kept = [c for c in answer.columns if c not in SHARED | newest]
    return [
        # sums over edges may be made in another order
        repr([float(f"{v:.10g}") if isinstance(v, float) else v for v in row])
        for row in answer[kept].itertuples(index=False, name=None)
    ]


def ask_all(connection: Connection, trace: str) -> dict[str, list[Any]]:
    return {
        name: plain(name, api.query(connection, name, **arguments(name, trace))) for name in BY_RUN
    }


def features(connection: Connection) -> dict[str, dict[str, Any]]:
    """Every feature with its properties; lists of names without order."""
    rows = connection.run("MATCH (f:Feature) RETURN properties(f) AS p")
    return {row["p"]["id"]: row["p"] for row in rows}


def found(connection: Connection) -> dict[tuple[str, str], dict[str, Any]]:
    rows = connection.run(
        "MATCH (r:Run)-[x:FOUND]->(f) RETURN r.id AS r, f.id AS f, properties(x) AS p"
    )
    return {(row["r"], row["f"]): row["p"] for row in rows}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("two-runs") / "runs"
    return {run: two_runs.write(place, run) for run in MIXED}


@pytest.fixture(scope="module")
def connection(neo4j_server, loaded) -> Iterator[Connection]:
    loaded.clear()  # the next module loads its own study again
    with Connection.open(Target(neo4j_server.uri, neo4j_server.user, neo4j_server.password)) as one:
        yield one


@pytest.fixture(scope="module")
def load(neo4j_server, connection, folders):
    def only(runs: list[str]) -> None:
        """Empty the graph and load these runs in this order."""
        with neo4j.GraphDatabase.driver(
            neo4j_server.uri, auth=(neo4j_server.user, neo4j_server.password)
        ) as driver:
            empty_graph(driver)
        for run in runs:
            load_run(connection, folders[run])

    return only


@pytest.fixture(scope="module")
def alone(connection, load) -> tuple[dict[str, list[Any]], dict[str, dict[str, Any]]]:
    """Answers and features where the first trace run is the only one."""
    load(family(A))
    return ask_all(connection, A), features(connection)


@pytest.fixture
def mixed(connection, load, alone) -> Connection:
    load(MIXED)
    return connection


def test_every_question_about_a_run_is_answered_from_that_run(mixed, alone):
    """The first of two trace runs of a model, whose features show what the second found."""
    expected, got, of_second = alone[0], ask_all(mixed, A), ask_all(mixed, B)
    assert [name for name in BY_RUN if got[name] != expected[name]] == []
    answered = [name for name in BY_RUN if expected[name]]
    # nothing in these runs for the others: cell types, knock-downs, imported edges, links
    assert len(answered) >= 25
    assert sum(got[name] != of_second[name] for name in answered) >= 25


@pytest.mark.parametrize("trace", [A, B])
def test_hubs_and_degrees_are_those_of_the_shards(mixed, trace):
    traced = two_runs.tables(trace)["Feature"].to_pandas().set_index("id")
    analysed = two_runs.tables(child("analyse", trace))["Feature"].to_pandas().set_index("id")
    named = two_runs.tables(child("annotate", trace))["Feature"].to_pandas().set_index("id")
    e = two_runs.tables(trace)["Feature-AFFECTS-Feature"].to_pandas()
    hubs = api.query(mixed, "top_hubs", run=trace, limit=100).set_index("feature")
    ranked = analysed.hub_rank.dropna().sort_values()
    assert hubs.index.tolist() == [f for f in ranked.index if f in set(e.source)]
    for column, frame in (
        ("firing_rate", traced),
        ("random_degree", traced),
        ("swap_degree", traced),
        ("out_degree", analysed),
        ("expected_degree", analysed),
        ("support_share", analysed),
        ("label", named),
        ("best_tf", named),
    ):
        assert hubs[column].tolist() == frame[column].loc[hubs.index].tolist(), column
    columns = {name: e[name] for name in COMPUTED.columns if name in e}
    columns["scale"] = traced.mean_activation.loc[e.target].to_numpy()
    degree = e[COMPUTED.holds(columns)].groupby("source").size()
    answer = api.query(mixed, "degrees", run=trace, limit=100).set_index("feature")
    assert answer.out_degree.to_dict() == degree.reindex(answer.index, fill_value=0).to_dict()
    assert set(answer.index) == set(e.source)
    # the scale is what makes edges of one run none: the test would not see it otherwise
    assert degree.sum() < e[COMPUTED.holds(columns | {"scale": 0.0})].shape[0]
    assert answer.firing_rate.to_dict() == traced.firing_rate.loc[answer.index].to_dict()


def test_activity_and_degree_of_one_row_are_of_one_trace(mixed):
    """Of the newest trace run of each model; an import speaks where no trace run does."""
    traced = [two_runs.tables(run)["Feature"].to_pandas() for run in (B, OTHER, ATLAS)]
    rate = pd.concat(traced).drop_duplicates("id").set_index("id").firing_rate
    analysed = [two_runs.tables(child("analyse", run))["Feature"].to_pandas() for run in (B, OTHER)]
    degree = pd.concat(analysed).set_index("id").out_degree
    answer = api.query(mixed, "most_active", limit=1000).set_index("feature")
    assert answer.firing_rate.to_dict() == rate.to_dict()
    assert answer.firing_rate.is_monotonic_decreasing
    assert answer.out_degree.dropna().to_dict() == degree.dropna().to_dict()
    assert {0, 1, 2} == set(answer.layer)


def test_features_of_layers_that_no_trace_used_are_in_the_answers(mixed):
    shards = {k: t.to_pandas() for k, t in two_runs.tables(child("annotate", B)).items()}
    enriched = shards["Feature-ENRICHED_FOR-Term"].query(
        "target == 'GO:1' and q_calibrated <= 0.05"
    )
    answer = api.query(
        mixed, "term_features", term="translation", annotation=child("annotate", B), limit=500
    )
    assert set(answer.feature) == set(enriched.source)
    assert 0 in set(answer.layer)
    newest = api.query(mixed, "term_features", term="translation", model="toy", limit=500)
    assert newest.feature.tolist() == answer.feature.tolist()
    loads, regulates = shards["Feature-LOADS_ON-Gene"], shards["Gene-REGULATES-Gene"]
    targets = set(regulates[regulates.source == "ENSG1"].target)
    counts = loads[loads.target.isin(targets)].groupby("source").size()
    has_tf = set(loads[loads.target == "ENSG1"].source)
    expected = {f for f in set(loads.source) if counts.get(f, 0) >= 2 or f in has_tf}
    answer = api.query(
        mixed, "regulator_features", tf="G1", annotation=child("annotate", B), limit=500
    )
    assert set(answer.feature) == expected and 0 in set(answer.layer)


def test_no_record_is_without_its_identity(mixed):
    for label, names in {
        "Feature": ("name", "model", "dictionary", "layer", "index"),
        "Dictionary": ("name", "model", "set", "layer"),
        "Model": ("name",),
        "Gene": ("name", "symbol"),
        "Term": ("name", "library", "accession"),
        "Run": ("verb", "status", "started"),
    }.items():
        lacking = " OR ".join(f"n.{name} IS NULL" for name in names)
        assert mixed.run(f"MATCH (n:{label}) WHERE {lacking} RETURN n.id AS id") == [], label
        assert mixed.run(f"MATCH (n:{label}) RETURN count(n) > 0 AS some")[0]["some"]
    for f in features(mixed).values():
        model, dictionary, layer, index = f["id"].split("/")
        assert f["dictionary"] == f"{model}/{dictionary}/{layer}" and f["model"] == model
        assert (f["layer"], f["index"]) == (int(layer[1:]), int(index[1:]))
        assert f["name"].startswith(f"{layer}/{index}")
    without = "MATCH (f:Feature) WHERE NOT (f)-[:OF]->(:Dictionary) RETURN f.id AS id"
    assert mixed.run(without) == []
    # every labelled node of the graph carries its key, whatever wrote it
    assert mixed.run("MATCH (n) WHERE n.id IS NULL AND n.key IS NULL RETURN n LIMIT 1") == []


def test_a_deleted_run_takes_its_findings_along(mixed, alone):
    for run in [ATLAS, *reversed(family(B))]:
        delete_run(mixed, run)
    answers, before = alone
    assert {key: f for key, f in features(mixed).items() if f["model"] == "toy"} == before
    for name in ("top_hubs", "degrees", "hubs_without_annotation", "term_features"):
        answer = api.query(mixed, name, **arguments(name, A))
        assert plain(name, answer) == answers[name], name
    assert {run for run, _ in found(mixed)} == {*family(A), *family(OTHER)}


def test_features_show_the_newest_run_in_whatever_order_runs_are_loaded(mixed, load, folders):
    expected, kept = features(mixed), found(mixed)
    newest = {k: f for k, f in expected.items() if f["model"] == "toy" and f["layer"] > 0}
    assert {f["activation_run"] for f in newest.values()} == {B}
    assert {f["analysis_run"] for f in newest.values()} == {child("analyse", B)}
    silent = two_runs.tables(B)["Feature"].to_pandas().set_index("id").mean_activation
    assert silent.isna().any()
    assert {k for k, f in newest.items() if "mean_activation" not in f} == set(
        silent[silent.isna()].index
    ), "a feature that is silent in the newest run shows no activation of an earlier one"
    load([ATLAS, *family(B), *family(A), *family(OTHER)])
    assert features(mixed) == expected
    assert found(mixed) == kept


def test_runs_that_started_in_the_same_second_have_one_order(load, connection, tmp_path):
    at = "2026-03-01T00:00:00+00:00"
    places = [two_runs.write(tmp_path, run, at) for run in (A, B)]
    shown = []
    for order in (places, places[::-1]):
        load([])
        for place in order:
            load_run(connection, place)
        shown.append(features(connection))
    assert shown[0] == shown[1]
    assert {f["activation_run"] for f in shown[0].values()} == {B}


def test_degrees_of_a_feature_are_of_the_trace_run_that_its_activity_is_of(mixed, tmp_path):
    """Also where an older trace run was analysed last."""
    again = child("analyse", A)
    delete_run(mixed, again)
    load_run(mixed, two_runs.write(tmp_path, again, "2026-03-01T00:00:00+00:00"))
    hubs = api.query(mixed, "top_hubs", run=B, limit=100).set_index("feature")
    for feature in hubs.index[:3]:
        known = api.query(mixed, "feature_knowledge", feature=feature).set_index("measure")
        assert known.run["firing rate"] == B and known.run["edges out"] == child("analyse", B)
        assert known.value["firing rate"] == hubs.firing_rate[feature]
        assert known.value["edges out"] == hubs.out_degree[feature]
    assert {f["analysis_run"] for f in features(mixed).values() if "analysis_run" in f} == {
        again,
        child("analyse", OTHER),
    }


def test_building_anew_gives_the_same_findings(mixed, folders, tmp_path):
    nodes, relationships = bulk_import._write([folders[run] for run in MIXED], tmp_path)

    def rows(path: Path) -> list[dict[str, Any]]:
        return [
            {(k.split(":")[0] or k): v for k, v in row.items() if v not in (None, "")}
            for row in pq.read_table(path).to_pylist()
        ]

    def as_text(row: dict[str, Any]) -> dict[str, Any]:
        return {k: ";".join(map(str, v)) if isinstance(v, list) else v for k, v in row.items()}

    built = {row["id"]: row for row in rows(nodes["Feature"][0])}
    assert built == {key: as_text(f) for key, f in features(mixed).items()}
    ends = (":START_ID(Run)", ":END_ID(Feature)")
    written = {(row.pop(ends[0]), row.pop(ends[1])): row for row in rows(relationships["FOUND"][0])}
    assert written == {key: as_text(f) for key, f in found(mixed).items()}


def test_a_graph_of_an_earlier_version_gets_its_findings(mixed, folders):
    expected, kept = features(mixed), found(mixed)
    mixed.run("MATCH ()-[x:FOUND]->() DELETE x")
    mixed.run("MATCH (c:_LoadChunk) REMOVE c.found")
    mixed.run("MATCH (f:Feature) REMOVE f.activation_run, f.analysis_run")
    assert load_run(mixed, folders[A]).loaded_rows == 0
    assert {run for run, _ in found(mixed)} == {A}
    assert add_missing_findings(mixed, folders[A].parent) == len(MIXED) - 1
    assert add_missing_findings(mixed, folders[A].parent) == 0
    assert found(mixed) == kept
    assert features(mixed) == expected

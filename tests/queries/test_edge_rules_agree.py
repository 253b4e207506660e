"""Python and Cypher choose the same edges: the cases at the bounds of the rules, and a whole study,
in a real server.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from scircuit.core.edge_rules import (
    CALIBRATED,
    CARRIED,
    COMPUTED,
    DEFAULT,
    GENERIC,
    LEGACY,
    SYMMETRIC,
    EdgeRule,
)
from scircuit.queries import rule_macros
from scircuit.queries.api import query
from scircuit.queries.catalogue import load_catalogue
from scircuit.queries.rule_macros import macros
from tests.queries.small_names import NEW, OLD
from tests.support.edge_cases import CASES, STORED, columns

RUN = "edge-cases"
RULES = pytest.mark.parametrize(
    "rule", [CALIBRATED, LEGACY, SYMMETRIC, COMPUTED, CARRIED, GENERIC], ids=lambda r: r.name
)
WRITE = """
CREATE (:Run {id: $run, verb: 'trace', status: 'complete', started: '0001'})
CREATE (s:Feature {id: $run + '/source', layer: 98})
WITH s UNWIND $rows AS row
CREATE (t:Feature {id: $run + '/' + row.key, layer: 99, mean_activation: row.scale})
CREATE (s)-[r:AFFECTS {run: $run}]->(t)
SET r += row.values
"""
REMOVE = """
MATCH (f:Feature) WHERE f.id STARTS WITH $run + '/' DETACH DELETE f
WITH DISTINCT 1 AS done MATCH (run:Run {id: $run}) DELETE run
"""


def _stored(value: float, name: str) -> float | int | None:
    """A value as the graph has it: a missing one is null, counts are whole numbers."""
    if np.isnan(value):
        return None
    return int(value) if name in ("n", "n_pos", "n_neg", "computed_cells") else float(value)


@pytest.fixture
def connection(study) -> Iterator:
    """The server with the cases as the edges of a run of their own."""
    rows = [
        {
            "key": str(i),
            "scale": _stored(case.scale, "scale"),
            "values": {name: _stored(getattr(case, name), name) for name in STORED},
        }
        for i, case in enumerate(CASES)
    ]
    study.connection.run(WRITE, run=RUN, rows=rows)
    yield study.connection
    study.connection.run(REMOVE, run=RUN)


def chosen(connection, condition: str, **parameters) -> set[int]:
    """Which cases a condition on the relationship ``r`` chooses."""
    rows = connection.run(
        f"MATCH (:Feature)-[r:AFFECTS]->(t:Feature) WHERE r.run = $run AND {condition}"
        " RETURN t.id AS id",
        run=RUN,
        **parameters,
    )
    return {int(row["id"].partition("/")[2]) for row in rows}


def thresholds(rule: EdgeRule, **other: float) -> dict[str, float]:
    return {n: other.get(n, v) for n, v in rule.defaults.items()}


@pytest.mark.server
@RULES
def test_cases_at_the_bounds(connection, rule):
    found = chosen(connection, rule.cypher("r"), **thresholds(rule))
    wanted = set(np.flatnonzero(rule.holds(columns())))
    assert {CASES[i].what for i in found ^ wanted} == set()


@pytest.mark.server
@RULES
def test_cases_with_missing_values_that_do_not_count(connection, rule):
    found = chosen(connection, rule.cypher_where_given("r"), **thresholds(rule))
    wanted = set(np.flatnonzero(~rule.refuted(columns())))
    assert {CASES[i].what for i in found ^ wanted} == set()


@pytest.mark.server
@pytest.mark.parametrize("rule", [CALIBRATED, COMPUTED, CARRIED, GENERIC], ids=lambda r: r.name)
@pytest.mark.parametrize("other", [{"q": 0.5}, {"min_support": 5}, {"min_effect": 0.0}])
def test_cases_at_other_thresholds(connection, rule, other):
    found = chosen(connection, rule.cypher("r"), **thresholds(rule, **other))
    assert found == set(np.flatnonzero(rule.holds(columns(), other)))


@pytest.mark.server
@pytest.mark.parametrize("default", [CALIBRATED, COMPUTED], ids=lambda r: r.name)
def test_the_default_rule_where_given(connection, default):
    """An edge that has what the rule compares is judged by it; another one by the calibrated rule,
    as far as it can be. Imported edges have no z, and here no case has one.
    """
    condition = macros(default)["edge_where_given"]("r")
    found = chosen(connection, condition, **thresholds(CALIBRATED))
    assert found == set(np.flatnonzero(~CALIBRATED.refuted(columns())))
    connection.run(
        "MATCH ()-[r:AFFECTS {run: $run}]->() WHERE r.computed IS NOT NULL SET r.z_computed = 1.0",
        run=RUN,
    )
    found = chosen(connection, condition, **thresholds(CALIBRATED))
    c = columns()
    known = ~np.isnan(c["computed"])
    wanted = np.where(known, COMPUTED.holds(c), ~CALIBRATED.refuted(c))
    if default is CALIBRATED:
        wanted = ~CALIBRATED.refuted(c)
    assert found == set(np.flatnonzero(wanted))


@pytest.mark.server
def test_the_default_rule_shows_its_own_effect_and_q(connection):
    computed, calibrated = macros(COMPUTED), macros(CALIBRATED)
    assert [calibrated[n]("r") for n in ("effect", "rank", "q")] == ["r.mean", "r.d", "r.q"]
    [row] = connection.run(
        "MATCH ()-[r:AFFECTS {run: $run}]->(t) WHERE t.id ENDS WITH '/0'"
        f" RETURN {computed['effect']('r')} AS effect, {computed['rank']('r')} AS rank,"
        f" {computed['q']('r')} AS q",
        run=RUN,
    )
    assert (row["effect"], row["rank"], row["q"]) == (1.0, 2.0, 0.01)  # the first has no null
    i = next(i for i, case in enumerate(CASES) if case.what == "computed, negative")
    [row] = connection.run(
        f"MATCH ()-[r:AFFECTS {{run: $run}}]->(t) WHERE t.id ENDS WITH '/{i}'"
        f" RETURN {computed['effect']('r')} AS effect, {computed['q']('r')} AS q",
        run=RUN,
    )
    assert (row["effect"], row["q"]) == (-1.0, 0.01)


@pytest.mark.server
def test_questions_choose_the_cases(connection):
    c = columns()
    by_rule = {r.name: r.holds(c) for r in (COMPUTED, CARRIED, GENERIC, CALIBRATED, LEGACY)}
    edges = query(connection, "strongest_edges", run=RUN, limit=1000)
    found = {int(target.partition("/")[2]) for target in edges.target}
    assert found == set(np.flatnonzero(DEFAULT.holds(c)))
    (row,) = query(connection, "compare_rules", run=RUN).to_dict("records")
    assert row["stored"] == len(CASES)
    assert {name: row[name] for name in by_rule} == {n: v.sum() for n, v in by_rule.items()}
    assert row["both"] == (by_rule["calibrated"] & by_rule["legacy"]).sum()
    (row,) = query(connection, "degrees", run=RUN).to_dict("records")
    assert (row["out_degree"], row["out_degree_legacy"]) == (
        DEFAULT.holds(c).sum(),
        by_rule["legacy"].sum(),
    )
    for name in ("computed", "carried", "generic"):
        assert row[name] == by_rule[name].sum()
    connection.run(
        "MATCH ()-[r:AFFECTS {run: $run}]->() WHERE r.direct IS NOT NULL SET r.z_computed = 1.0",
        run=RUN,
    )
    evidence = query(connection, "edge_evidence", run=RUN, limit=1000)
    assert len(evidence) == len(CASES)
    for name in ("computed", "carried", "generic", "calibrated", "none"):
        found = {int(t.partition("/")[2]) for t in evidence.target[evidence.kind == name]}
        generic, known = by_rule["generic"], ~np.isnan(c["direct"])
        wanted = by_rule | {
            "generic": generic & known,
            "calibrated": generic & ~known,
            "none": ~(by_rule["computed"] | by_rule["carried"] | generic),
        }
        assert found == set(np.flatnonzero(wanted[name])) != set(), name


@pytest.mark.server
@pytest.mark.parametrize("run", [OLD, NEW])
@pytest.mark.parametrize("min_effect", [0.001, 0.4])
def test_a_whole_study(study, run, min_effect):
    edges = study.frames["Feature-AFFECTS-Feature"].query("run == @run").reset_index(drop=True)
    scale = study.scale(edges)
    c = {n: edges[n].to_numpy(float) for n in STORED}
    for rule in (CALIBRATED, COMPUTED, CARRIED, GENERIC, LEGACY):
        values = {} if rule is LEGACY else {"min_effect": min_effect}
        wanted = edges[rule.holds(c | {"scale": scale}, values)]
        rows = study.connection.run(
            f"MATCH (s:Feature)-[r:AFFECTS]->(t:Feature) WHERE r.run = $run AND {rule.cypher('r')}"
            " RETURN s.id AS source, t.id AS target",
            run=run,
            **thresholds(rule, **values),
        )
        found = {(row["source"], row["target"]) for row in rows}
        assert 0 < len(found) < len(edges)
        assert found == set(zip(wanted.source, wanted.target, strict=True))


def test_every_question_takes_the_thresholds_of_the_rule():
    asked = 0
    for name, question in load_catalogue().items():
        assert "rule." not in question.cypher, name
        if "$min_support" in question.cypher:
            asked += 1
            defaults = {p.name: p.default for p in question.parameters}
            assert {n: defaults[n] for n in CALIBRATED.defaults} == CALIBRATED.defaults, name
            assert "abs(" in question.cypher and "endNode(" in question.cypher
    assert asked == 25


def test_a_rule_is_written_out_once_for_each_relationship():
    text = rule_macros.with_rules("WHERE rule.calibrated(r) AND NOT rule.legacy(other)")
    assert text.startswith("WHERE (r.q <= $q AND r.n_pos + r.n_neg >= $min_support AND ")
    assert "NOT (other.n >= 2 AND abs(other.d) > 0.5 AND " in text and "> 0.7)" in text
    with pytest.raises(
        ValueError, match="no edge rule 'calibrate'; expected one of edge, computed"
    ):
        rule_macros.with_rules("WHERE rule.calibrate(r)")

"""Every statement of the catalogue against the real server: planned without a warning, within its
budget, its columns as declared.
"""

from __future__ import annotations

import pytest

from scircuit.queries import api
from scircuit.queries.catalogue import load_catalogue
from tests.queries.small_names import NEW
from tests.support.neo4j_driver import explain

pytestmark = pytest.mark.server
CATALOGUE = load_catalogue()


ARGUMENTS = {
    "replicated_edges": {"first": NEW, "second": NEW},
    "coherent_features": {"min_edges": 3},
}
"""The runs of the small study share no edge: a run is held against itself. And no feature of the
newest has ten.
"""


def given(name: str) -> dict:
    return ARGUMENTS.get(name, {}) | {
        p.name: ["G1", "G2", "G3"] if p.name == "genes" else p.example
        for p in CATALOGUE[name].parameters
        if p.required
    }


@pytest.mark.parametrize("name", CATALOGUE)
def test_planned_without_notifications(study, name):
    assert explain(study.connection, CATALOGUE[name].cypher, api.check(name, given(name))) == []


def test_a_typo_would_be_noticed(study):
    wrong = CATALOGUE["top_hubs"].cypher.replace("told.hub_rank", "told.hub_rnak")
    assert explain(study.connection, wrong, api.check("top_hubs", {})), (
        "a property that no record has must be reported"
    )


@pytest.mark.parametrize("name", CATALOGUE)
def test_answers_with_defaults(study, name):
    query = CATALOGUE[name]
    answer = api.query(study.connection, name, **given(name))
    assert list(answer.columns) == [c.name for c in query.columns]
    assert 0 < len(answer) <= query.rows_allowed(api.check(name, given(name)))


@pytest.mark.parametrize(
    "name",
    [
        n
        for n, q in CATALOGUE.items()
        if any(p.name == "limit" for p in q.parameters) and not q.graph
    ],
)
def test_limit_is_kept(study, name):
    answer = api.query(study.connection, name, limit=1, **given(name))
    assert len(answer) <= CATALOGUE[name].rows_allowed({**api.check(name, given(name)), "limit": 1})


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_saved_copy_runs_without_parameters(study, name):
    from scircuit.queries.browser.favourites import content
    from scircuit.queries.query_header import Parameter

    text = content(CATALOGUE[name])
    assert "$" not in text.split("\n", 1)[1]
    saved = study.connection.frame(text)
    shown = {p.name: p.shown for p in CATALOGUE[name].parameters if isinstance(p, Parameter)}
    assert len(saved) == len(study.connection.frame(CATALOGUE[name].cypher, **shown))

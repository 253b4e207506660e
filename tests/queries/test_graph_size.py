"""Graph questions on a dense study of 390 features and some 13,000 edges, with the largest
parameters: at most 300 nodes.
"""

from __future__ import annotations

import pytest

from scircuit.queries.api import query
from scircuit.queries.catalogue import load_catalogue
from scircuit.queries.graph_export.to_graph import to_networkx
from tests.queries import small_graph
from tests.queries.conftest import open_study
from tests.queries.small_names import OLD

pytestmark = pytest.mark.server
GRAPHS = {n: q for n, q in load_catalogue().items() if q.graph}


@pytest.fixture(scope="module")
def dense(neo4j_server, loaded, tmp_path_factory):
    frames = small_graph.frames(seed=1, sizes={1: 30, 2: 30, 3: 330})
    with open_study(neo4j_server, tmp_path_factory.mktemp("dense"), frames, loaded) as connection:
        yield connection


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("run", ["", OLD])
def test_at_most_300_nodes(dense, name, run):
    widest = {
        p.name: int(p.high)
        for p in GRAPHS[name].parameters
        if p.type == "int" and p.high is not None and p.name != "min_support"
    }
    loose = {p.name: 1.0 for p in GRAPHS[name].parameters if p.type == "float"}
    chosen = {p.name: run for p in GRAPHS[name].parameters if p.type == "run"}
    few = (
        {"min_support": 1} if any(p.name == "min_support" for p in GRAPHS[name].parameters) else {}
    )
    drawn = to_networkx(query(dense, name, **widest, **loose, **chosen, **few))
    assert 2 <= len(drawn) <= 300


def test_the_overview_fills_the_picture(dense):
    drawn = to_networkx(query(dense, "overview", run=OLD, hubs=20, edges=14, min_support=1))
    assert drawn.number_of_edges() == 280

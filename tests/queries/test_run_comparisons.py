"""Questions about two runs at once, against pandas over the shards."""

from __future__ import annotations

from collections import Counter

import neo4j
import numpy as np
import pytest

from scircuit.core.edge_rules import COMPUTED
from scircuit.ingest.graph.connection import Connection, Target
from scircuit.ingest.graph.stream import load_run
from scircuit.queries.api import query
from tests.queries import two_runs
from tests.queries.two_runs import A, B, child, family
from tests.support.neo4j_fixtures import empty_graph

pytestmark = pytest.mark.server
LOOSE = {"q": 0.06, "min_support": 5}


@pytest.fixture(scope="module")
def connection(neo4j_server, loaded, tmp_path_factory):
    loaded.clear()  # the next module loads its own study again
    place = tmp_path_factory.mktemp("comparisons") / "runs"
    auth = (neo4j_server.user, neo4j_server.password)
    with neo4j.GraphDatabase.driver(neo4j_server.uri, auth=auth) as driver:
        empty_graph(driver)
    with Connection.open(Target(neo4j_server.uri, *auth)) as one:
        for run in (*family(A), *family(B)):
            load_run(one, two_runs.write(place, run))
        yield one


def edges(trace):
    shards = two_runs.tables(trace)
    e = shards["Feature-AFFECTS-Feature"].to_pandas()
    scale = shards["Feature"].to_pandas().set_index("id").mean_activation
    columns = {name: e[name] for name in COMPUTED.columns if name in e}
    columns["scale"] = scale.loc[e.target].to_numpy()
    return e[COMPUTED.holds(columns, LOOSE)].set_index(["source", "target"])


def test_consensus_pairs(connection):
    counts = []
    for trace in (A, B):
        named = two_runs.tables(child("annotate", trace))["Feature"].to_pandas()
        label = named.set_index("id").label
        pairs = [(label.get(s), label.get(t)) for s, t in edges(trace).index]
        counts.append(Counter((s, t) for s, t in pairs if s and t))
    common = {k: (counts[0][k], counts[1][k]) for k in counts[0].keys() & counts[1].keys()}
    answer = query(connection, "consensus_pairs", first=A, second=B, **LOOSE)
    got = {
        (r.source_label, r.target_label): (r.edges_first, r.edges_second)
        for r in answer.itertuples()
    }
    assert got == common and len(common) >= 3
    least = np.minimum(answer.edges_first, answer.edges_second)
    assert least.is_monotonic_decreasing
    newest = query(connection, "consensus_pairs", **LOOSE)
    assert newest.equals(answer)  # B is the newest trace, A the one before
    assert len(query(connection, "consensus_pairs", first=A, second=B, limit=1, **LOOSE)) == 1


def test_replicated_edges(connection):
    a, b = edges(A), edges(B)
    both = a.join(b, lsuffix="_a", rsuffix="_b", how="inner")
    both = both[np.sign(both.computed_a) == np.sign(both.computed_b)]
    answer = query(connection, "replicated_edges", first=A, second=B, **LOOSE)
    got = answer.set_index(["source", "target"])
    assert set(got.index) == set(both.index) and len(both) >= 3
    both = both.loc[got.index]
    assert got.effect_first.tolist() == both.computed_a.tolist()
    assert got.effect_second.tolist() == both.computed_b.tolist()
    assert got.n_first.tolist() == both.n_a.tolist()
    strength = np.minimum(both.z_computed_a.abs(), both.z_computed_b.abs())
    assert strength.is_monotonic_decreasing
    back = query(connection, "replicated_edges", first=B, second=A, **LOOSE)
    assert set(zip(back.source, back.target, strict=True)) == set(got.index)

"""Answers about paths, shared targets and regulation, against networkx and pandas on the same
records.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from scircuit.queries.api import query
from scircuit.queries.graph_export.to_graph import to_networkx
from tests.queries.small_names import NEW, OLD, address

pytestmark = pytest.mark.server


def paths_between(study, source: str, target: str) -> list[tuple[float, list[str], str]]:
    graph = nx.MultiDiGraph()
    for e in study.edges().itertuples():
        graph.add_edge(e.source, e.target, size=e.size, effect=e.effect)
    found = []
    for edges in nx.all_simple_edge_paths(graph, source, target, cutoff=3):
        passed = [graph.edges[e] for e in edges]
        sign = np.prod([1 if e["effect"] == "support" else -1 for e in passed])
        found.append(
            (
                min(e["size"] for e in passed),
                [source, *(e[1] for e in edges)],
                "support" if sign > 0 else "suppress",
            )
        )
    return sorted(found, key=lambda x: -x[0])


def busiest_pair(study) -> tuple[str, str]:
    """A source in layer 1 and a target in layer 3 with a direct edge and the most ways in two
    steps.
    """
    e = study.edges()
    two = e.merge(e, left_on="target", right_on="source").groupby(["source_x", "target_y"]).size()
    direct = set(zip(e.source, e.target, strict=True))
    pair = max((p for p in two.index if p in direct), key=lambda p: two[p])
    assert two[pair] > 1
    return pair


def test_strongest_paths(study):
    source, target = busiest_pair(study)
    expected = paths_between(study, source, target)
    answer = query(study.connection, "strongest_paths", source=source, target=target, limit=1000)
    assert answer.features.tolist() == [p for _, p, _ in expected]
    assert answer.effect.tolist() == [s for _, _, s in expected]
    np.testing.assert_allclose(answer.weakest, [w for w, _, _ in expected], rtol=1e-12)
    assert set(answer.steps) == {1, 2}
    drawn = to_networkx(
        query(study.connection, "path_graph", source=source, target=target, limit=140)
    )
    assert set(drawn) == {node for _, path, _ in expected for node in path}


def test_three_step_paths_are_found(study):
    """No run reaches three layers here, so one edge is added to make a path of three steps, and
    taken away again.
    """
    e = study.edges(NEW)
    start, middle = e.source.iloc[0], e.target.iloc[0]
    extra, end = "toy-model/toy-set/L00/F0000", "toy-model/toy-set/L04/F0000"
    text = """
        MATCH (a:Feature {id: $a}), (b:Feature {id: $b})
        MERGE (s:Feature {id: $s}) MERGE (t:Feature {id: $t})
        WITH *, {run: $run, mean: -1.0, q: 0.0, n: 20, n_pos: 0, n_neg: 20,
          computed: -1.0, computed_cells: 20, q_computed: 0.0} AS values
        CREATE (s)-[first:AFFECTS {d: -99.0, z_computed: -99.0}]->(a),
          (b)-[last:AFFECTS {d: -98.0, z_computed: -98.0}]->(t)
        SET first += values, last += values"""
    study.connection.run(text, a=start, b=middle, s=extra, t=end, run=NEW)
    try:
        answer = query(study.connection, "strongest_paths", source=extra, target=end)
        assert answer.features.tolist() == [[extra, start, middle, end]]
        assert answer.weakest[0] == pytest.approx(e["size"].iloc[0])
    finally:
        study.connection.run(
            "MATCH (f:Feature) WHERE f.id IN $ids DETACH DELETE f", ids=[extra, end]
        )


DENSE = "trace-00000000ff"


@pytest.fixture(params=[0, 1, 2])
def dense(study, request):
    """A source, two layers of 60 features that all have edges to the next one, and a target."""
    rng = np.random.default_rng(request.param)
    layers = [
        [f"dense/d/L{at:02d}/F{i:04d}" for i in range(n)] for at, n in enumerate((1, 60, 60, 1))
    ]
    pairs = [
        (s, t)
        for at, later in ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
        for s in layers[at]
        for t in layers[later]
    ]
    size = rng.lognormal(0, 1, len(pairs)) * rng.choice([-1, 1], len(pairs))
    study.connection.run(
        """
        CREATE (:Run {id: $run, verb: 'trace', status: 'interrupted', started: '2025-01-01'})
        WITH 1 AS one UNWIND $pairs AS pair
        MERGE (s:Feature {id: pair[0]}) MERGE (t:Feature {id: pair[1]})
        CREATE (s)-[:AFFECTS {run: $run, z_computed: pair[2], d: pair[2], computed: pair[2],
          computed_cells: 20, q_computed: 0.0, n: 20, n_pos: 10, n_neg: 10, mean: 1.0, q: 0.0}]->(t)
        """,
        run=DENSE,
        pairs=[[s, t, z] for (s, t), z in zip(pairs, size.tolist(), strict=True)],
    )
    yield layers, dict(zip(pairs, size.tolist(), strict=True))
    study.connection.run("MATCH (f:Feature) WHERE f.id STARTS WITH 'dense/' DETACH DELETE f")
    study.connection.run("MATCH (r:Run {id: $run}) DETACH DELETE r", run=DENSE)


def test_the_strongest_paths_of_a_dense_graph_are_all_found(study, dense):
    """By brute force; no number of strongest edges from each end has them all."""
    (source,), one, two, (target,) = layers = dense[0]
    size = {pair: abs(z) for pair, z in dense[1].items()}
    ways = [[source, target], *([source, m, target] for m in one + two)]
    ways += [[source, m, k, target] for m in one for k in two]
    every = sorted((-min(size[pair] for pair in pairwise(way)), len(way), way) for way in ways)
    answer = query(study.connection, "strongest_paths", run=DENSE, source=source, target=target)
    assert answer.features.tolist() == [way for _, _, way in every[:20]]
    assert answer.weakest.tolist() == [-w for w, _, _ in every[:20]]
    assert set(answer.steps) == {len(way) - 1 for _, _, way in every[:20]}
    drawn = query(study.connection, "path_graph", run=DENSE, source=source, target=target, limit=20)
    assert sorted([node["id"] for node in path.nodes] for path in drawn.path) == sorted(
        way for _, _, way in every[:20]
    )
    whole = query(
        study.connection, "strongest_paths", run=DENSE, source=source, target=target, limit=10_000
    )
    assert whole.features.tolist() == [way for _, _, way in every]
    assert len(layers[1]) > 40


def test_term_paths(study):
    enriched = study.frames["Feature-ENRICHED_FOR-Term"].merge(
        study.frames["Term"][["id", "name"]], left_on="target", right_on="id"
    )
    enriched = enriched[(enriched.q_calibrated <= 0.05) & (enriched.origin == "own")]

    def side(text: str) -> set[str]:
        return set(enriched[enriched["name"].str.lower().str.contains(text.lower())].source)

    left, right, e = side("t cell"), side("DNA repair"), study.edges()
    expected = {
        (s, t): d
        for s, t, d in zip(e.source, e.target, e["size"], strict=True)
        if s in left and t in right
    }
    for one in e.itertuples():
        for other in e[e.source == one.target].itertuples():
            if one.source in left and other.target in right:
                expected[one.source, one.target, other.target] = min(one.size, other.size)
    answer = query(
        study.connection,
        "term_paths",
        from_term="T cell",
        to_term="dna repair",
        limit=10_000,
    )
    assert {
        tuple(p): w for p, w in zip(answer.features, answer.weakest, strict=True)
    } == pytest.approx(expected)
    assert answer.weakest.is_monotonic_decreasing
    assert set(answer.from_term) <= {"T cell activation", "regulation of T cell activation"}
    assert set(answer.to_term) == {"DNA repair"}


def test_shared_downstream(study):
    e, f = study.edges(NEW), study.features
    hubs = (
        f[f.index.isin(study.frames["Feature-AFFECTS-Feature"].query("run == @NEW").source)]
        .sort_values("hub_rank")
        .id.tolist()
    )
    first, second = (
        hubs[0],
        next(
            h for h in hubs[1:] if set(e[e.source == h].target) & set(e[e.source == hubs[0]].target)
        ),
    )
    both = e[e.source == first].merge(e[e.source == second], on="target")
    answer = query(study.connection, "shared_downstream", first=first, second=second)
    both["weaker"] = both[["size_x", "size_y"]].min(axis=1)
    both = both.sort_values("weaker", ascending=False)
    assert answer.target.tolist() == both.target.tolist()
    assert (
        answer.same_sign.tolist() == (np.sign(both.strength_x) == np.sign(both.strength_y)).tolist()
    )
    assert set(answer.shared) == {len(both)}
    live = f[(f.layer == 3) & f.alive]
    assert answer.expected[0] == pytest.approx(
        (e.source == first).sum() * (e.source == second).sum() / len(live)
    )
    drawn = to_networkx(
        query(study.connection, "shared_downstream_graph", first=first, second=second)
    )
    assert set(drawn) == {first, second, *both.target}
    swapped = query(study.connection, "shared_downstream", first=second, second=first)
    assert (
        swapped["first"].iloc[0] == second
        and swapped.first_strength.tolist() == answer.second_strength.tolist()
    )


def regulated(study, top: int) -> dict[tuple[str, str], set[str]]:
    """Modes of the TRRUST records that link the top genes of every pair of features in rising
    layers.
    """
    loads = study.frames["Feature-LOADS_ON-Gene"].query("rank <= @top")
    on = defaultdict(set)
    for row in loads.itertuples():
        on[row.target].add(row.source)
    layer = study.features.layer
    modes = defaultdict(set)
    for row in study.frames["Gene-REGULATES-Gene"].itertuples():
        if row.source != row.target:
            for s in on[row.source]:
                for t in on[row.target]:
                    if layer[s] < layer[t]:
                        modes[s, t].add(row.mode)
    return modes


def test_trrust(study):
    modes, e, stored = (
        regulated(study, 5),
        study.edges(NEW),
        study.frames["Feature-AFFECTS-Feature"].query("run == @NEW"),
    )
    sources, targets = set(stored.source), set(stored.target)
    modes = {(s, t): m for (s, t), m in modes.items() if s in sources and t in targets}
    consistent = e[[pair in modes for pair in zip(e.source, e.target, strict=True)]]
    signed = [
        (m, row.effect == "support")
        for row in consistent.itertuples()
        for m in modes[row.source, row.target]
        if m != "Unknown"
    ]
    act, sup = [m == "Activation" for m, _ in signed], [s for _, s in signed]
    share = query(study.connection, "trrust_share", top=5).iloc[0]
    assert (
        share.edges == len(e)
        and share.consistent == len(consistent)
        and share.pairs == len(sources) * len(targets)
    )
    assert share.consistent_pairs == len(modes) and share.expected_share == pytest.approx(
        len(modes) / share.pairs
    )
    assert share.ratio == pytest.approx(share.share / share.expected_share)
    assert share.signed == len(signed) and share.agree_share == pytest.approx(
        np.mean([a == b for a, b in zip(act, sup, strict=True)])
    )
    assert share.agree_expected == pytest.approx(
        np.mean(act) * np.mean(sup) + (1 - np.mean(act)) * (1 - np.mean(sup))
    )
    rows = query(study.connection, "trrust_edges", top=5, limit=10_000)
    assert set(zip(rows.source, rows.target, strict=True)) == set(
        zip(consistent.source, consistent.target, strict=True)
    )
    known = rows[rows["mode"].isin(["Activation", "Repression"])]
    assert (
        known.sign_agrees == ((known["mode"] == "Activation") == (known.effect == "support"))
    ).all()
    assert rows[rows["mode"] == "Unknown"].sign_agrees.isna().all()
    drawn = to_networkx(query(study.connection, "trrust_graph", top=5, limit=12)).edges(data=True)
    assert {(s, t) for s, t, d in drawn if d["type"] == "AFFECTS"} == set(
        zip(rows.source[:12], rows.target[:12], strict=True)
    )
    assert {(s, t) for s, t, d in drawn if d["type"] == "REGULATES"} == {
        (f"ENSG{int(a[1:]):011d}", f"ENSG{int(b[1:]):011d}")
        for a, b in zip(rows.regulator[:12], rows.gene[:12], strict=True)
    }


def test_term_circuit(study):
    enriched = study.frames["Feature-ENRICHED_FOR-Term"].query(
        "q_calibrated <= 0.05 and target == 'GO:3'"
    )
    drawn = to_networkx(
        query(study.connection, "term_circuit", run=OLD, term="dna repair", features=60, edges=20)
    )
    edges = study.edges(OLD)
    members = set(enriched.source) & {
        *study.frames["Feature-AFFECTS-Feature"].query("run == @OLD").source,
        *study.frames["Feature-AFFECTS-Feature"].query("run == @OLD").target,
    }
    assert {s for s, t, k in drawn.edges(keys=True) if t == "GO:3"} == members
    near = edges[edges.source.isin(members) | edges.target.isin(members)]
    affects = [(s, t) for s, t, d in drawn.edges(data=True) if d["type"] == "AFFECTS"]
    assert affects and set(affects) <= set(zip(near.source, near.target, strict=True))
    strongest = near.sort_values("size", ascending=False).iloc[0]
    assert (strongest.source, strongest.target) in affects


def test_feature_circuit_and_overview(study):
    e = study.edges()
    inner = address(2, 3)
    old = study.edges(OLD)
    drawn = to_networkx(query(study.connection, "feature_circuit", run=OLD, feature=inner, edges=4))
    assert set(drawn.edges()) == {
        (r.source, r.target) for r in old[old.target == inner].head(4).itertuples()
    }
    hubs = (
        study.features[study.features.index.isin(e[e.run == NEW].source)]
        .sort_values("hub_rank")
        .id.head(3)
    )
    wanted = pd.concat([e[(e.run == NEW) & (e.source == h)].head(2) for h in hubs])
    seen = to_networkx(query(study.connection, "overview", hubs=3, edges=2))
    assert set(seen.edges()) == set(zip(wanted.source, wanted.target, strict=True))

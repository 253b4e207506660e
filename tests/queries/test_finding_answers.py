"""Answers about what analyses found: findings in words, coherence and replication of features,
against pandas; and what a later run leaves of an earlier one.
"""

from __future__ import annotations

import pyarrow as pa
import pytest

from scircuit.core import schema
from scircuit.ingest.graph.graph_runs import delete_run
from scircuit.ingest.graph.stream import load_run
from scircuit.ingest.shards.shard_store import ShardStore
from scircuit.queries.api import query
from tests.queries.expected import same
from tests.queries.small_names import ANALYSE, COMPARE, NEW, OLD, PREDICT, address
from tests.support.synthetic import manifest

pytestmark = pytest.mark.server


def test_findings(study):
    runs = study.frames["Run"].set_index("id")
    frame = study.frames["Finding"].rename(columns={"name": "finding"})
    frame["p"] = frame.p.astype(object).where(frame.p.notna(), None)
    frame["started"] = runs.started[frame.run].values
    frame = frame.sort_values(["started", "position"], ascending=[False, True])
    columns = ["verb", "finding", "title", "sentence", "null_text", "p", "run", "started"]
    answer = query(study.connection, "findings")
    same(answer, frame, columns)
    assert answer.run.tolist() == [PREDICT, ANALYSE, ANALYSE]
    by_run = query(study.connection, "findings", run=ANALYSE)
    same(by_run, frame[frame.run == ANALYSE], columns)
    # those of runs that were computed from a trace run are its findings too
    same(query(study.connection, "findings", run=NEW), frame[frame.run == ANALYSE], columns)
    one = query(study.connection, "findings", finding="motifs", limit=1)
    same(one, frame[frame.finding == "motifs"], columns)


@pytest.mark.parametrize("run", [OLD, NEW])
def test_coherent_features(study, run):
    edges = study.frames["Feature-AFFECTS-Feature"]
    f = study.found_by(run).reset_index(drop=True)
    f = f[f.id.isin(edges[edges.run == run].source) & f.coherence.notna() & (f.out_degree >= 3)]
    f = f.assign(excess=f.coherence - f.coherence_expected, feature=f.id)
    f = f.rename(columns={"coherence_expected": "expected"}).dropna(subset="excess")
    f = f.sort_values(["excess", "id"], ascending=[False, True])
    f["label"] = f.label.fillna("")
    answer = query(study.connection, "coherent_features", run=run, min_edges=3, limit=100)
    answer = answer.dropna(subset="excess")
    columns = ["feature", "name", "layer", "out_degree", "coherence", "expected", "excess", "label"]
    same(answer, f, columns)


def test_replicated_features(study):
    f = study.features.reset_index(drop=True)
    f = f[(f.compare_run == COMPARE) & (f.compared_degree >= 10)]
    f = f.rename(
        columns={"compared_degree": "compared", "replicated_degree": "replicated", "id": "feature"}
    )
    f = f.sort_values(["replicated", "compared", "feature"], ascending=[False, True, True])
    f = f.assign(share=f.replicated / f.compared, run=COMPARE)
    columns = ["feature", "name", "layer", "compared", "replicated", "share", "run"]
    same(query(study.connection, "replicated_features", limit=8), f.head(8), columns)
    assert query(study.connection, "replicated_features", run=NEW).empty


def written(folder, run, started, tables):
    verb = run.split("-")[0]
    store = ShardStore(folder / run, manifest(run, started=started, verb=verb))
    store.add("all", tables)
    store.finish("complete", {}, seconds=1.0)
    return store.folder


def feature_rows(**columns):
    return pa.table(columns, schema=schema.arrow_schema("Feature", columns))


def test_a_later_analysis_without_modules_leaves_none(study, tmp_path):
    """Nor does a later predict run without a set leave the set of an earlier one, nor a later steer
    or ablate run what it has no value for; what an import states about a module stays. Deleting
    the later runs gives back what they took.
    """
    ids, connection = [address(9, 0), address(9, 1)], study.connection
    analysed = {"id": ids, "in_degree": [1, 2]}
    at = "2027-01-0{}T00:00:00+00:00"
    runs = {
        "import-77": {"id": ids, "module": [None, "atlas/M1"]},
        "analyse-77": {
            **analysed, "module": ["M0", None], "even_degree": [3, None], "agreeing_edges": [2, 0],
        },
        "predict-77": {
            "id": ids, "prediction_run": ["predict-77"] * 2, "disease": ["lupus", None],
            "disease_q": [0.01, None],
        },
        "steer-77": {"id": ids, "steering_norm_ratio": [0.5, 0.5], "steering_matched": [0.1, 0.2]},
        "ablate-77": {"id": ids, "ablation_partners": [2, 3], "strongest_partner": ids},
        "analyse-78": analysed,
        "predict-78": {
            "id": ids, "prediction_run": ["predict-78"] * 2, "disease": [None, "lupus"],
            "disease_q": [None, 0.02],
        },
        "steer-78": {"id": ids[:1], "steering_norm_ratio": [0.7], "steering_matched": [None]},
        "ablate-78": {"id": ids[1:], "ablation_partners": [1], "strongest_partner": [None]},
    }  # fmt: skip

    def shown():
        rows = connection.run(
            "MATCH (f:Feature) WHERE f.id IN $ids RETURN f.module AS m, f.even_degree AS e,"
            " f.agreeing_edges AS a, f.disease AS d, f.steering_matched AS s,"
            " f.strongest_partner AS p ORDER BY f.id",
            ids=ids,
        )
        return [(r["m"], r["e"], r["a"], r["d"], r["s"], r["p"]) for r in rows]

    try:
        for i, (run, columns) in enumerate(runs.items(), 1):
            table = {"Feature": feature_rows(**columns)}
            load_run(connection, written(tmp_path, run, at.format(i), table))
            if run == "ablate-77":
                before = shown()
                assert before == [
                    ("M0", 3, 2, "lupus", 0.1, ids[0]),
                    ("atlas/M1", None, 0, None, 0.2, ids[1]),
                ]
        assert shown() == [
            (None, None, None, None, None, ids[0]),
            ("atlas/M1", None, None, "lupus", 0.2, None),
        ]
        answer = query(connection, "disease_features")
        assert answer[["feature", "run"]].values.tolist() == [[ids[1], "predict-78"]]
        answer = query(connection, "disease_features", run="predict-77")
        assert answer.feature.tolist() == [ids[0]]
        for run in list(runs)[-4:]:
            delete_run(connection, run)
        assert shown() == before
    finally:
        for run in reversed(runs):
            delete_run(connection, run)
        connection.run("MATCH (f:Feature) WHERE f.id IN $ids DETACH DELETE f", ids=ids)


def test_findings_go_with_their_run(study, tmp_path):
    run, connection = "steer-77", study.connection
    tables = {
        "Run": pa.table({"id": [run], "verb": ["steer"], "status": ["complete"]}),
        "Finding": schema.schema_table(
            "Finding", {"id": [f"{run}/x"], "name": ["x"], "sentence": ["s"], "run": [run]}
        ),
        "Finding-FROM-Run": schema.schema_table(
            "Finding-FROM-Run", {"source": [f"{run}/x"], "target": [run]}
        ),
    }
    load_run(connection, written(tmp_path, run, "2027-02-01T00:00:00+00:00", tables))
    assert query(connection, "findings", run=run).sentence.tolist() == ["s"]
    delete_run(connection, run)
    left = connection.run("MATCH (f:Finding) RETURN count(*) AS n")[0]["n"]
    assert left == len(study.frames["Finding"])

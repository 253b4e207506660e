"""Imported maps and edges from the command to a real graph: whole, once, and never taken for a
traced run.
"""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

import scircuit as sc
from scircuit.core.errors import UserError
from scircuit.core.study import Manifest
from scircuit.ingest.shards.shard_store import ShardStore
from tests.support import atlas_tiny
from tests.support import edges_files as files

NAMES = {"model_name": "geneformer-v2-316m", "dictionary_name": "k562-x4-k32"}


@pytest.fixture
def edge_folder(tmp_path):
    folder = tmp_path / "edges"
    folder.mkdir()
    files.write_layers(folder, files.pairs(files.effects()))
    return folder


def shards(study, run):
    return {p.name: p.read_bytes() for p in (study / "runs" / run).glob("*.parquet")}


def test_importing_twice_is_one_run(tmp_path, edge_folder):
    study = tmp_path / "study"
    first = sc.import_("edges", study=study, database=False, quiet=True, path=edge_folder, **NAMES)
    before = shards(study, first.run)
    again = sc.import_("edges", study=study, database=False, quiet=True, path=edge_folder, **NAMES)
    assert (first.new, again.new) == (True, False)
    assert again.run == first.run
    assert shards(study, first.run) == before
    (edge_folder / "circuit_L05_features.json").write_text(
        (edge_folder / "circuit_L05_features.json").read_text() + "\n"
    )
    with pytest.raises(UserError, match=r"1 files differ, such as circuit_L05_features\.json"):
        sc.import_("edges", study=study, database=False, quiet=True, path=edge_folder, **NAMES)


def test_a_refused_file_leaves_nothing(tmp_path, edge_folder):
    path = edge_folder / "circuit_L05_features.json"
    path.write_text(path.read_text()[:-9])
    with pytest.raises(UserError, match="truncated"):
        sc.import_(
            "edges", study=tmp_path / "study", database=False, quiet=True, path=edge_folder, **NAMES
        )
    assert not (tmp_path / "study" / "runs").exists()


def own_run(study, run="trace-own", width=4608, layers=18, **more):
    """A run of one's own of the same dictionaries, with two measured features of layer 5."""
    names = [f"geneformer-v2-316m/k562-x4-k32/L05/F{i:04d}" for i in (7, 3999)]
    store = ShardStore(
        study / "runs" / run,
        Manifest(run, run.split("-")[0], {}, {}, "0", started="2026-01-01T00:00:00+00:00"),
    )
    store.add(
        "nodes",
        {
            "Model": pa.table({"id": ["geneformer-v2-316m"], "layers": [layers]}),
            "Dictionary": pa.table(
                {"id": ["geneformer-v2-316m/k562-x4-k32/L05"], "features": [width]}
            ),
            "Feature": pa.table(
                {"id": names, "firing_rate": [0.03, 0.04], "cells_active": [7, 9], **more}
            ),
        },
    )
    store.finish("complete")
    return names


def bring(study, path, **more):
    return sc.import_(
        "edges", study=study, database=False, quiet=True, path=path, **{**NAMES, **more}
    )


def test_an_import_over_own_runs_says_what_stays(tmp_path, edge_folder):
    study = tmp_path / "study"
    own_run(study)
    own_run(study, "analyse-own", out_degree=[3, 4])
    run = bring(study, edge_folder)
    total = run.findings["features"]
    [note] = [n for n in run.findings["notes"] if "your own" in n]
    assert (
        note
        == f"1 of {total} features already have values from your own runs (analyse-own, trace-own);"
        " these are kept. Ignored values of the import: cells_active (1), firing_rate (1)"
    )
    assert not [
        n
        for n in bring(study, edge_folder, dictionary_name="other").findings["notes"]
        if "your own" in n
    ]


def test_a_dictionary_or_model_that_is_too_small_is_refused(tmp_path, edge_folder):
    largest = max(files.SOURCES)
    for number, (more, said) in enumerate(
        (
            (
                {"width": largest},
                f"up to F{largest:04d}, exceed its {largest} latents in run trace-own",
            ),
            ({"layers": 6}, "has 6 layers in run trace-own"),
        )
    ):
        study = tmp_path / str(number)
        own_run(study, **more)
        with pytest.raises(UserError, match=f"{said}(.|\n)*--dictionary-name"):
            bring(study, edge_folder)
        assert [p.name for p in (study / "runs").iterdir()] == ["trace-own"], "nothing was written"
    study = tmp_path / "fits"
    own_run(study, width=largest + 1)
    assert bring(study, edge_folder).new


def test_an_atlas_that_is_too_small_for_known_features_is_refused(tmp_path, edge_folder):
    study = tmp_path / "study"
    atlas = {
        "path": atlas_tiny.write(tmp_path / "atlas"),
        "study": study,
        "database": False,
        "quiet": True,
        "model_name": "m",
        "dictionary_name": "d",
    }
    path = edge_folder / "circuit_L05_features.json"
    path.write_text(
        path.read_text()
        .replace('"source_layer": 5', '"source_layer": 0')
        .replace('"source_feature_idx": 7,', '"source_feature_idx": 4000,')
    )
    bring(study, edge_folder, model_name="m", dictionary_name="d")
    with pytest.raises(
        UserError, match=r"has the feature F4000 of m/d/L00, which has \d+ latents in this import"
    ):
        sc.import_("atlas", **atlas)


def test_the_same_study_in_another_form_is_refused(tmp_path, edge_folder):
    study, pairs = tmp_path / "study", files.pairs(files.effects())
    joint = tmp_path / "joint"
    joint.mkdir()
    graph = files.write_graph(joint, pairs)
    first = bring(study, edge_folder)
    with pytest.raises(
        UserError,
        match=(
            rf"run {first.run} \(circuit-layers\) already has (\d+) of these \1 edges with the same"
            rf" effects(.|\n)*runs delete {first.run}"
        ),
    ):
        bring(study, graph)
    assert [p.name for p in (study / "runs").iterdir()] == [first.run]
    assert bring(study, graph, dictionary_name="other").new, "other dictionaries are another study"
    other = tmp_path / "seed"
    other.mkdir()
    again = files.write_graph(other, files.pairs(files.effects(seed=1)))
    assert bring(study, again).new, "other effects are another study"


def test_an_imported_run_is_analysed_as_far_as_it_goes(tmp_path, edge_folder):
    study = tmp_path / "study"
    run = sc.import_(
        "edges", study=study, database=False, quiet=True, path=edge_folder, **NAMES
    ).run
    found = sc.analyse(study=study, run=run, database=False)
    pairs = files.pairs(files.effects())
    wanted = {
        f"geneformer-v2-316m/k562-x4-k32/L05/F{f:04d}": sum(
            len(files.significant(pairs, f, t)) for t in files.LAYERS
        )
        for f in files.SOURCES
    }
    assert (
        found.table("Feature").set_index("id")["out_degree_legacy"].astype(int).to_dict() == wanted
    )
    assert found.findings["degrees"] == "stated by the source"
    with pytest.raises(
        UserError, match="does not give a p value of each edge; controls; which cells were used"
    ):
        sc.report(study=study, run=run)
    with pytest.raises(UserError, match="expected a trace run"):
        sc.steer(study=study, run=run, database=False)
    with pytest.raises(UserError, match="no complete 'trace' run"):
        sc.analyse(study=study, database=False)


def test_only_kept_edges_have_no_degrees(tmp_path):
    files.write_graph(tmp_path, files.pairs(files.effects()))
    data = json.loads((tmp_path / "circuit_graph.json").read_text())
    rows = [{**data["edges"][0], "target_feature": i} for i in range(50)]
    (tmp_path / "circuit_graph.json").write_text(json.dumps({"n_edges": 50, "edges": rows}))
    run = sc.import_(
        "edges",
        study=tmp_path / "study",
        database=False,
        quiet=True,
        path=tmp_path / "circuit_graph.json",
        **NAMES,
    ).run
    with pytest.raises(UserError, match="counting the kept edges would not give a degree"):
        sc.analyse(study=tmp_path / "study", run=run, database=False)


def test_a_map_has_no_edges_to_analyse(tmp_path, shared_data):
    run = sc.import_(
        "map", study=tmp_path, database=False, quiet=True, path=shared_data / "published"
    ).run
    with pytest.raises(UserError, match="does not give edges between features"):
        sc.analyse(study=tmp_path, run=run, database=False)
    with pytest.raises(UserError, match="edges between features"):
        sc.report(study=tmp_path, run=run)


@pytest.fixture
def connection(neo4j_clean):
    from scircuit.ingest.graph.connection import Connection, Target

    with Connection.open(Target(neo4j_clean.uri, neo4j_clean.user, neo4j_clean.password)) as opened:
        yield opened


def test_map_and_edges_in_one_real_graph(tmp_path, shared_data, edge_folder, connection):
    from scircuit.ingest.graph.loader import prepare
    from scircuit.ingest.graph.stream import load_run
    from scircuit.ingest.shards.shard_store import ShardStore
    from tests.support.graph_checksum import graph_checksums, shard_checksums

    study = tmp_path / "study"
    runs = [
        sc.import_("map", study=study, database=False, quiet=True, path=shared_data / "published"),
        sc.import_("edges", study=study, database=False, quiet=True, path=edge_folder, **NAMES),
    ]
    prepare(connection)
    for run in runs:
        load_run(connection, run.folder)

    def counts():
        nodes = connection.run(
            "MATCH (n) WHERE NOT n:_LoadChunk UNWIND labels(n) AS kind RETURN kind, count(*) AS n"
        )
        links = connection.run(
            "MATCH (a)-[r]->(b) RETURN head(labels(a)) + '-' + type(r) + '-' + head(labels(b)) AS"
            " kind, count(*) AS n"
        )
        return {r["kind"]: r["n"] for r in [*nodes, *links]}

    found = counts()
    wanted: dict[str, set] = {}
    for run in runs:
        store = ShardStore(run.folder)
        for kind in {entry.kind for entry in store.manifest.shards}:
            table = store.tables(kind)
            ends = table.select(
                [c for c in ("id", "source", "target") if c in table.column_names]
            ).to_pylist()
            wanted.setdefault(kind, set()).update(tuple(e.values()) for e in ends)
        identity = {"id", "name", "model", "dictionary", "layer", "index"}
        wanted.setdefault("Run-FOUND-Feature", set()).update(
            (store.manifest.run, row["id"])
            for row in store.tables("Feature").to_pylist()
            if any(v not in (None, "", []) for k, v in row.items() if k not in identity)
        )
    assert found == {kind: len(keys) for kind, keys in wanted.items()}
    assert found["Intervention"] == 32 + 28
    assert found["Intervention-FROM-Run"] == 60
    assert found["Control-FROM-Run"] == 1
    assert [load_run(connection, run.folder).loaded_rows for run in runs] == [0, 0]
    assert counts() == found
    edges = runs[1]
    assert graph_checksums(connection, edges.run) == shard_checksums(edges.folder)
    row = connection.run(
        "MATCH (r:Run {id: $run}) RETURN r.method AS method, r.lacks AS lacks, r.cap AS cap, r.rule"
        " AS rule",
        run=edges.run,
    )[0]
    assert (row["method"], row["cap"]) == ("imported", 50)
    assert "all_edges" in row["lacks"]
    assert "published" in row["rule"]
    # what the source does not give is absent, not 0: no q, so no edge by the calibrated rule
    given = connection.run(
        "MATCH ()-[r:AFFECTS {run: $run}]->() RETURN count(r) AS n, count(r.q) AS q, count(r.n_pos)"
        " AS up, count(r.n) AS cells",
        run=edges.run,
    )[0]
    assert given["n"] == given["cells"] > 0
    assert (given["q"], given["up"]) == (0, 0)
    assert (
        connection.run(
            "MATCH ()-[r:AFFECTS {run: $run}]->() WHERE r.q <= 1 AND r.n_pos + r.n_neg >= 0 RETURN"
            " count(r) AS n",
            run=edges.run,
        )[0]["n"]
        == 0
    )
    joined = connection.run(
        "MATCH (f:Feature {id: 'geneformer-v2-316m/k562-x4-k32/L05/F0007'}) RETURN"
        " f.out_degree_legacy AS degree, f.traced AS traced"
    )
    assert joined[0]["traced"]

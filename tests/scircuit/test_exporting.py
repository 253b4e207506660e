"""``scircuit export``: what of a run is written, where, and what is refused."""

from __future__ import annotations

import json
import re

import networkx
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import scircuit as sc
from scircuit.cli.verbs import export as command
from scircuit.core.address import Address
from scircuit.core.errors import UserError
from scircuit.core.study import Manifest, Study
from scircuit.ingest.shards.shard_store import ShardStore
from scircuit.workflows.exporting import export
from scircuit.workflows.importing import import_

EDGES = "Feature-AFFECTS-Feature"
RUN = "trace-0000000001"


def address(layer, index):
    return str(Address("m", "s", layer, index))


def trace_run(study, name=RUN, status="complete", q=True):
    """A small traced run in two units, its controls and its provenance."""
    rng = np.random.default_rng(0)
    ids = [address(layer, i) for layer in (1, 2) for i in range(10)]
    store = ShardStore(
        study.run_folder(name),
        Manifest(
            run=name,
            verb="trace",
            config={"cells": "/somewhere/cells.h5ad", "n_cells": 7},
            inputs={},
            version="0",
            started="2026-01-01T00:00:00+00:00",
        ),
    )
    store.add(
        "run-start",
        {
            "Run": pa.table({"id": [name], "verb": ["trace"]}),
            "Dictionary": pa.table({"id": ["m/s/L01", "m/s/L02"]}),
            "Feature": pa.table({"id": ids, "firing_rate": rng.random(20)}),
            "Feature-OF-Dictionary": pa.table(
                {"source": ids, "target": [i.rpartition("/")[0] for i in ids]}
            ),
        },
    )
    parts = []
    for unit in range(2):
        pairs = [
            (address(1, i), address(2, j)) for i in range(5 * unit, 5 * unit + 5) for j in range(9)
        ]
        n = len(pairs)
        table = {
            "source": [p[0] for p in pairs],
            "target": [p[1] for p in pairs],
            "n": [7] * n,
            "mean": rng.normal(size=n),
            "d": rng.normal(size=n),
        }
        if q:
            table["q"] = np.where(
                np.arange(n) % 4 == 0, rng.uniform(0, 0.05, n), rng.uniform(0.051, 1, n)
            )
        parts.append(pd.DataFrame(table))
        control = {**table, "control": ["random_direction"] * n}
        store.add(
            f"L01.{unit}",
            {EDGES: pa.table(table), "Feature-CONTROL_AFFECTS-Feature": pa.table(control)},
        )
    store.finish(status)
    return pd.concat(parts, ignore_index=True)


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path / "study")


def annotated(study):
    store = ShardStore(
        study.run_folder("annotate-1"),
        Manifest(
            run="annotate-1",
            verb="annotate",
            config={},
            inputs={},
            version="0",
            started="2026-01-02T00:00:00+00:00",
            parents=(RUN,),
        ),
    )
    store.add(
        "annotation",
        {
            "Feature": pa.table(
                {
                    "id": [address(1, 0), address(2, 1)],
                    "label": ['DNA "repair"; and more', "ribosome"],
                    "top_genes": [["A", "B"], ["C"]],
                }
            )
        },
    )
    store.finish("complete")


def test_parquet_is_the_whole_run(study, tmp_path):
    edges = trace_run(study)
    annotated(study)
    result = export(study=study.root, out=tmp_path / "out")
    written = pq.read_table(tmp_path / "out" / f"{EDGES}.parquet").to_pandas()
    expected = edges[edges.q <= 0.05]
    assert len(written) == len(expected) > 20 and set(written.run) == {RUN}
    pd.testing.assert_frame_equal(
        written[["source", "target", "n", "mean", "d", "q"]],
        expected.reset_index(drop=True)[["source", "target", "n", "mean", "d", "q"]],
    )
    features = pq.read_table(tmp_path / "out" / "Feature.parquet").to_pandas().set_index("id")
    assert (
        len(features) == 20
        and features.label[address(2, 1)] == "ribosome"
        and features.top_genes[address(1, 0)].tolist() == ["A", "B"]
    )
    listing = json.loads((tmp_path / "out" / "export.json").read_text())
    assert listing["counts"] == result.counts and listing["source"] == RUN and listing["q"] == 0.05
    assert {p.name for p in (tmp_path / "out").iterdir()} == {*result.files, "export.json"}
    assert result.counts["Feature-CONTROL_AFFECTS-Feature"] == len(expected), (
        "one threshold serves edges and controls"
    )
    assert export(study=study.root, out=tmp_path / "all", q=1).counts[EDGES] == len(edges) == 90
    assert [p.name for p in tmp_path.glob(".*")] == []


def test_every_format_has_the_same_edges(study, tmp_path):
    edges = trace_run(study)
    expected = edges[edges.q <= 0.05]
    pairs = set(zip(expected.source, expected.target, strict=True))
    export(study=study.root, out=tmp_path / "g.graphml", format="graphml")
    read = networkx.read_graphml(tmp_path / "g.graphml")
    assert set(read.edges) == pairs and set(read.nodes) == {
        end for pair in pairs for end in pair
    }, "no controls, no provenance, no features without an edge"
    assert {d["weight"] for _, _, d in read.edges(data=True)} == set(expected["mean"])
    graph = sc.export(study=study.root, format="networkx")
    assert {(s, t) for s, t, _ in graph.edges} == pairs
    other = sc.export(study=study.root, format="igraph", q=1)
    assert other.ecount() == 90
    for name, kind in (("n.json", "neuronpedia"), ("c.json", "circuit-tracer")):
        result = export(study=study.root, out=tmp_path / name, format=kind)
        viewer = json.loads((tmp_path / name).read_text())
        assert result.edges == len(viewer["links"]) == len(pairs) and result.nodes == len(
            viewer["nodes"]
        )
        assert (
            viewer["metadata"]["prompt"] == "7 cells of cells.h5ad"
            and viewer["metadata"]["slug"] == name[0]
        )
    export(study=study.root, out=tmp_path / "bc", format="biocypher")
    lines = [
        line
        for p in (tmp_path / "bc").glob(f"{EDGES}-part*.csv")
        for line in p.read_text().splitlines()
    ]
    texts = [re.findall(r'"([^"]*)"', line) for line in lines]
    assert {(t[0], t[-2]) for t in texts} == pairs and {t[-1] for t in texts} == {"AFFECTS"}
    assert not (tmp_path / "study" / "study.toml").exists()


@pytest.mark.parametrize("kind", ["neuronpedia", "circuit-tracer"])
def test_an_exported_view_does_not_come_back_as_attributions(study, tmp_path, kind):
    """A link shows what the source gives, minus the mean effect; ablation effects are no
    attributions of one input, so the way back is the run itself.
    """
    edges = trace_run(study)
    run = study.latest("trace").run
    export(study=study.root, out=tmp_path / "g.json", format=kind, q=1)
    data = json.loads((tmp_path / "g.json").read_text())
    address_of = {node["node_id"]: node["address"] for node in data["nodes"]}
    found = {
        (address_of[link["source"]], address_of[link["target"]]): link["weight"]
        for link in data["links"]
    }
    assert found == pytest.approx({(r.source, r.target): -r.mean for r in edges.itertuples()})
    with pytest.raises(
        UserError,
        match=f"a view of {run}, written by scircuit export(.|\n)*runs/{run}(.|\n)*scircuit load",
    ):
        import_(
            "graph", study=tmp_path / "again", database=False, quiet=True, path=tmp_path / "g.json"
        )
    assert not (tmp_path / "again" / "runs").exists()


def test_features_choose_the_edges_at_them(study, tmp_path):
    edges = trace_run(study)
    chosen = (address(1, 3), address(2, 2))
    export(study=study.root, out=tmp_path / "out", q=1, features=chosen)
    written = pq.read_table(tmp_path / "out" / f"{EDGES}.parquet").to_pandas()
    expected = edges[edges.source.isin(chosen) | edges.target.isin(chosen)]
    assert (
        set(zip(written.source, written.target, strict=True))
        == set(zip(expected.source, expected.target, strict=True))
        and len(expected) == 18
    )
    nodes = pq.read_table(tmp_path / "out" / "Feature.parquet").column("id").to_pylist()
    assert set(nodes) == set(expected.source) | set(expected.target)


def test_ends_that_other_runs_hold_are_completed(study, tmp_path):
    trace_run(study)
    match = ShardStore(
        study.run_folder("match-1"),
        Manifest(run="match-1", verb="match", config={}, inputs={}, version="0", parents=(RUN,)),
    )
    match.add(
        "same",
        {
            "Feature-SAME_GENES-Feature": pa.table(
                {
                    "source": [address(1, 0), address(1, 1)],
                    "target": [address(2, 0), "other/s/L05/F0009"],
                    "overlap": [0.5, 0.25],
                }
            )
        },
    )
    match.finish("complete")
    graph = export(study=study.root, run="match-1", format="networkx")
    assert graph.nodes[address(1, 0)]["firing_rate"] > 0 and graph.nodes["other/s/L05/F0009"] == {
        "kind": "Feature",
        "id": "other/s/L05/F0009",
        "name": "L05/F0009",
        "model": "other",
        "dictionary": "other/s/L05",
        "layer": 5,
        "index": 9,
    }
    assert sorted(d["weight"] for _, _, d in graph.edges(data=True)) == [0.25, 0.5]


def test_facts_without_a_run_are_written_once(study, tmp_path):
    store = ShardStore(
        study.run_folder("annotate-1"),
        Manifest(run="annotate-1", verb="annotate", config={}, inputs={}, version="0"),
    )
    for unit in ("a", "b"):
        store.add(
            unit,
            {
                "Gene": pa.table({"id": ["G1", "G2"]}),
                "Term": pa.table({"id": ["T"]}),
                "Gene-MEMBER_OF-Term": pa.table(
                    {"source": ["G1", f"G{1 + (unit == 'b')}"], "target": ["T", "T"]}
                ),
            },
        )
    store.finish("complete")
    result = export(study=study.root, run="annotate-1", out=tmp_path / "out")
    assert result.counts == {"Gene": 2, "Term": 1, "Gene-MEMBER_OF-Term": 2}


def refused(message, fix="", **options):
    with pytest.raises(UserError, match=message) as error:
        export(**options)
    assert fix in error.value.fix


def test_bad_input(study, tmp_path):
    out = tmp_path / "out"
    at = {"study": study.root, "out": out}
    refused("no complete 'trace' run", **at)
    trace_run(study)
    trace_run(study, "trace-0000000002", status="interrupted")
    refused("no run at", run="trace-9", **at)
    refused("is interrupted", run="trace-0000000002", **at)
    refused("option 'format' is 'gexf'", "graphml", format="gexf", **at)
    refused("q is 0", q=0, **at)
    refused("both a run .* and a question", run=RUN, query="top_hubs", **at)
    refused("parameters are given without", parameters=("a=1",), **at)
    refused(
        "features are given with a question",
        query="feature_circuit",
        features=(address(1, 0),),
        **at,
    )
    refused("2 parts, expected 4", features=("L01/F0000",), **at)
    refused(
        "1 of 2 features have no edge .* such as m/s/L01/F0099",
        "--q",
        features=(address(1, 0), address(1, 99)),
        **at,
    )
    refused("holds 90 AFFECTS, but none with q up to 1e-12", "--q", q=1e-12, **at)
    refused("the option 'out' is missing", study=study.root)
    refused("no query 'top_hub'", "top_hubs", query="top_hub", **at)
    refused("nonsense", query="top_hubs", parameters=("nonsense=1",), **at)
    refused("has no '='", query="top_hubs", parameters=("nonsense",), **at)
    assert not out.exists() and not list(tmp_path.glob(".out*"))


def test_runs_without_edges_and_without_q(study, tmp_path):
    trace_run(study, q=False)
    refused(
        "none with q up to 0.05", "also those without a q", study=study.root, out=tmp_path / "out"
    )
    assert export(study=study.root, out=tmp_path / "out", q=1).counts[EDGES] == 90
    annotated(study)
    refused(
        r"run annotate-1 \(annotate\) holds no edges",
        "computed from",
        study=study.root,
        run="annotate-1",
        out=tmp_path / "o",
    )


def test_nothing_that_is_not_an_export_is_overwritten(study, tmp_path):
    trace_run(study)
    at = {"study": study.root}
    mine = tmp_path / "mine"
    mine.mkdir()
    assert export(out=mine, **at).edges, "an empty folder is taken"
    first = (mine / "export.json").read_text()
    assert (
        export(out=mine, q=1, **at).counts[EDGES] == 90
        and (mine / "export.json").read_text() != first
    ), "an earlier export is replaced"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "study"]
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("x")
    refused("holds files that are not an export", "empty folder", out=tmp_path / "thesis", **at)
    (tmp_path / "data.graphml").write_text("<graphml/>")
    refused("exists and is not an export", out=tmp_path / "data.graphml", format="graphml", **at)
    assert (tmp_path / "data.graphml").read_text() == "<graphml/>"
    refused("is a file", out=tmp_path / "data.graphml", **at)
    refused("is a folder", "circuit.json", out=mine, format="neuronpedia", **at)
    refused(
        "does not end in .json", "x.json", out=tmp_path / "x.txt", format="circuit-tracer", **at
    )
    for name, kind in (
        ("a.graphml", "graphml"),
        ("a.json", "neuronpedia"),
        ("b.json", "circuit-tracer"),
    ):
        for q in (0.05, 1):
            assert export(out=tmp_path / name, format=kind, q=q, **at).edges


@pytest.mark.parametrize(
    ("kind", "name"),
    [("parquet", "o"), ("biocypher", "o"), ("graphml", "o.graphml"), ("neuronpedia", "o.json")],
)
def test_a_full_disk_leaves_what_was_there(study, tmp_path, monkeypatch, kind, name):
    trace_run(study)
    out = tmp_path / name
    export(study=study.root, out=out, format=kind)

    def state():
        return {
            p.relative_to(tmp_path): p.read_bytes()
            for p in sorted([out, *out.rglob("*")])
            if p.is_file()
        }

    before, listed = state(), sorted(p.name for p in tmp_path.iterdir())

    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    for target in (
        "pyarrow.parquet.ParquetWriter.write_table",
        "pyarrow.csv.write_csv",
        "scircuit.queries.graph_export.graphml._edges",
        "scircuit.queries.graph_export.viewer_files.viewer_json",
    ):
        monkeypatch.setattr(target, full)
    refused(
        "the disk is full; nothing was changed there",
        "free space",
        study=study.root,
        out=out,
        format=kind,
        q=1,
    )
    assert state() == before and sorted(p.name for p in tmp_path.iterdir()) == listed


def test_a_place_that_cannot_be_written(study, tmp_path):
    trace_run(study)
    blocked = tmp_path / "file"
    blocked.write_text("x")
    for kind, name in (("parquet", "o"), ("graphml", "o.graphml")):
        refused(
            "cannot write",
            "another --out",
            study=study.root,
            out=blocked / "sub" / name,
            format=kind,
        )


def test_on_the_command_line(study, tmp_path, monkeypatch):
    trace_run(study)
    run = lambda *more: CliRunner().invoke(command, ["--study", str(study.root), *more])  # noqa: E731
    result = run(
        "--out",
        str(tmp_path / "g.graphml"),
        "--format",
        "graphml",
        "--features",
        address(1, 0),
        "--q",
        "1",
        "--json",
    )
    assert result.exit_code == 0 and json.loads(result.stdout)["edges"] == 9
    result = run("--out", str(tmp_path / "pq"))
    assert (
        result.exit_code == 0
        and f"{RUN}: " in result.stdout
        and "nodes and" in result.stdout
        and f"{EDGES} 24" in result.stdout
    ), "no filter is remembered"
    asked = {}
    frame = pd.DataFrame({"source": [address(1, 0)], "target": [address(2, 0)], "d": [1.5]})
    monkeypatch.setattr(
        "scircuit.workflows.query.query",
        lambda name, study, **p: asked.update(name=name, **p) or frame,
    )
    result = run(
        "--out",
        str(tmp_path / "answer.graphml"),
        "--format",
        "graphml",
        "--query",
        "strongest_edges",
        "--parameters",
        "limit=5",
        "--parameters",
        "run=abc",
    )
    assert result.exit_code == 0 and asked == {
        "name": "strongest_edges",
        "limit": 5,
        "run": "abc",
    }, result.output
    assert (
        networkx.read_graphml(tmp_path / "answer.graphml").edges[address(1, 0), address(2, 0)][
            "type"
        ]
        == "STRONGEST_EDGES"
    )
    monkeypatch.setattr("scircuit.workflows.query.cypher", lambda text, study, **p: frame.iloc[:0])
    refused(
        "the Cypher given has an empty answer",
        study=study.root,
        out=tmp_path / "e",
        query="MATCH p=()-->() RETURN p",
    )

"""``scircuit compare``: runs of one model and of two, what is written and said, and what is
refused.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from scipy import stats

import scircuit as sc
from scircuit.cli.verbs import compare as command
from scircuit.core.errors import UserError
from scircuit.core.study import Manifest
from scircuit.execution.findings.finding_files import read_findings
from scircuit.ingest.shards.shard_store import ShardStore
from tests.queries import two_runs
from tests.queries.two_runs import OTHER, A, B, family

FEW = {"draws": 29, "database": False, "q": 0.08, "min_support": 4}


def changed(study, run, **values):
    folder = study / "runs" / run
    replace(Manifest.load(folder), **values).save(folder)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    place = tmp_path_factory.mktemp("compare") / "study"
    for trace in (A, B, OTHER):
        for run in family(trace):
            two_runs.write(place / "runs", run)
            if run != trace:
                changed(place, run, parents=[trace])
    return place


def findings_of(result):
    return {f.name: f for f in read_findings(result.folder)}


def test_runs_of_one_model(study):
    found = sc.compare(runs=(A, B), study=study, **FEW)
    stored = findings_of(found)
    assert list(stored) == [
        "replication",
        "term_contrast",
        "consensus",
        "consensus_pairs",
        "regulon_support",
    ]
    frame = stored["replication"].frame
    assert frame.run.tolist() == [A, B]
    # what becomes of an edge is one of four things
    named = frame.replicated + frame.specific + frame.undecided
    assert (named <= frame.tested_in_both).all() and (frame.tested_in_both > 10).all()
    rows = found.table("Feature").set_index("id")
    assert rows.compared_degree.sum() == frame.tested_in_both.sum()
    assert rows.replicated_degree.sum() == frame.replicated.sum()
    assert (rows.compare_run == found.run).all()
    # every stored finding is a node of the graph, from its run
    nodes = found.table("Finding").set_index("id")
    assert nodes.index.tolist() == [f"{found.run}/{name}" for name in stored]
    assert nodes.sentence.tolist() == [f.sentence for f in stored.values()]
    assert nodes.null_text.tolist() == [f.null for f in stored.values()]
    assert set(nodes.verb) == {"compare"} and nodes.position.tolist() == list(range(len(stored)))
    for text, finding in zip(nodes.numbers, stored.values(), strict=True):
        assert json.loads(text) == json.loads(json.dumps(dict(finding.numbers)))
    assert found.table("Finding-FROM-Run").target.tolist() == [found.run] * len(stored)
    manifest = Manifest.load(found.folder)
    assert set(manifest.parents) >= {A, B}
    json.dumps(manifest.findings, allow_nan=False)
    for finding in stored.values():
        assert not finding.drawn or finding.plot() is not None


def test_the_same_comparison_is_one_run_and_the_order_of_drawing_changes_nothing(study):
    first = sc.compare(runs=(A, B), study=study, **FEW)
    again = sc.compare(runs=(A, B), study=study, **FEW)
    assert first.run == again.run and not again.new
    assert again.findings == first.findings
    other = sc.compare(runs=(A, B), study=study, **FEW | {"seed": 1})
    assert other.run != first.run


def test_runs_of_two_models(study):
    found = sc.compare(runs=(A, OTHER), study=study, **FEW)
    stored = findings_of(found)
    assert list(stored) == ["agreed_edges", "consensus", "consensus_pairs", "regulon_support"]
    assert "edges were not compared feature by feature" in stored["agreed_edges"].sentence
    assert set(stored["consensus"].frame.null) == {
        "targets resampled",
        "edges rewired",
        "names permuted",
    }
    matched = sc.match(study=study, q=0.5, database=False, quiet=True)
    linked = sc.compare(runs=(A, OTHER), study=study, **FEW)
    assert linked.run != found.run
    if findings_of(linked)["agreed_edges"].numbers["counterparts"]:
        assert matched.run in Manifest.load(linked.folder).parents


def test_three_runs_are_compared_two_by_two(study):
    found = sc.compare(runs=(A, B, OTHER), study=study, **FEW)
    stored = findings_of(found)
    assert set(stored["consensus"].numbers) == {f"{A} {B}", f"{A} {OTHER}", f"{B} {OTHER}"}
    assert set(stored["replication"].frame.run) == {A, B}
    frame = stored["consensus"].frame
    real = frame[frame["null"] != "names permuted"]
    assert len(real) == 24 and (frame["q"].isna() == (frame["null"] == "names permuted")).all()
    np.testing.assert_allclose(real["q"], stats.false_discovery_control(real["p"]))
    assert "over all 24 tests" in stored["consensus"].sentence
    assert stored["consensus"].null.endswith("over all 3 pairs of runs")
    assert all(n["sentence"] for n in stored["consensus"].numbers.values())


def test_without_names_the_newest_two_traces(study):
    found = sc.compare(study=study, **FEW)
    assert Manifest.load(found.folder).findings["runs"] == [B, OTHER]


def test_command(study):
    result = CliRunner().invoke(
        command,
        [A, B, "--study", str(study), "--draws", "29", "--no-database", "--json"],
        catch_exceptions=False,
    )
    assert result.exit_code == 0
    given = json.loads(result.stdout)
    assert given["runs"] == [A, B] and len(given["sentences"]) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runs": (A,)}, "1 runs are named, 1 of them different; expected two or more"),
        ({"runs": (A, A)}, "2 runs are named, 1 of them different"),
        ({"runs": (A, "annotate-000000000a")}, "has no edges between features"),
        ({"runs": (A, "trace-nowhere")}, "trace-nowhere"),
        ({"runs": (A, B), "draws": 3}, "--draws is 3, expected 19 or more"),
        ({"runs": (A, B), "q": 0.0}, "--q is 0, expected a share"),
        ({"runs": (A, B), "regulons": Path("nowhere.tsv")}, "do not exist"),
    ],
)
def test_refusals(study, options, message):
    with pytest.raises(UserError, match=message):
        sc.compare(study=study, **FEW | options)
    assert not [m for m in (study / "runs").iterdir() if not (m / "manifest.json").exists()]


def test_a_gene_set_library_is_no_table_of_regulons(study, tmp_path):
    path = tmp_path / "sets.gmt"
    path.write_text("a\tna\tCD3D\tCD3E\nb\tna\tLYZ\tGNLY\n")
    with pytest.raises(UserError, match="gene-set library and no table of regulators"):
        sc.compare(runs=(A, B), study=study, regulons=path, **FEW)


def test_dictionaries_of_one_name_that_differ(tmp_path):
    for run in (A, B):
        two_runs.write(tmp_path / "runs", run)
        changed(tmp_path, run, inputs={"dictionaries": {"1": run, "2": "same"}})
    with pytest.raises(UserError, match="are different files"):
        sc.compare(runs=(A, B), study=tmp_path, **FEW)


def test_runs_without_labels_and_counterparts(tmp_path):
    for run in (A, OTHER):
        two_runs.write(tmp_path / "runs", run)
    with pytest.raises(UserError, match="without labels: nothing relates their features"):
        sc.compare(runs=(A, OTHER), study=tmp_path, **FEW)


def test_runs_of_one_model_need_no_labels(tmp_path):
    for run in (A, B):
        two_runs.write(tmp_path / "runs", run)
    found = sc.compare(runs=(A, B), study=tmp_path, **FEW)
    stored = findings_of(found)
    assert len(stored["replication"].frame) == 2
    assert "neither run was annotated" in stored["term_contrast"].sentence
    assert "0 and 0 edges with a label at both ends" in stored["consensus"].sentence


def test_edges_that_were_cut_are_not_counted(tmp_path):
    """A source that kept its strongest edges only cannot tell what replicates."""
    two_runs.write(tmp_path / "runs", A)
    started = "2026-02-01T00:00:00+00:00"
    imported = Manifest(
        run="import-00000000ab", verb="import", config={}, inputs={}, version="0", started=started
    )
    store = ShardStore(tmp_path / "runs" / imported.run, imported)
    kinds = ("Feature", "Feature-AFFECTS-Feature")
    tables = {kind: two_runs.tables(A)[kind] for kind in kinds}
    edges = tables[kinds[1]]
    at = edges.column_names.index("run")
    tables[kinds[1]] = edges.set_column(at, "run", pa.array([imported.run] * edges.num_rows))
    store.add("all", tables)
    store.finish("complete", {"lacks": ["all_edges"]})
    with pytest.raises(UserError, match="counting which of its edges replicate"):
        sc.compare(runs=(A, imported.run), study=tmp_path, **FEW)

"""``scircuit predict``: what it writes and says on a small study and a made screen, and what it
refuses before anything is computed.
"""

from __future__ import annotations

import json
import shutil

import anndata
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from scipy import sparse

from scircuit.cli.verbs import predict as command
from scircuit.core.address import Address
from scircuit.core.errors import UserError
from scircuit.core.schema import schema_table
from scircuit.core.study import Manifest, Study
from scircuit.execution.findings.finding_files import read_findings
from scircuit.ingest.shards.shard_store import ShardStore
from scircuit.tracing.tokenisation.vocabulary import human_gene_ids
from scircuit.workflows.evidence.predict import predict

GENES = [
    "STAT1", "IRF1", "JAK2", "CD4", "CD8A", "GATA1", "SPI1", "MYC", "TP53", "EGFR", "FOS", "JUN",
    "RELA", "NFKB1", "TNF", "IL6", "CCL2", "CDK1", "CCNB1", "MKI67", "TOP2A", "BRCA1", "ATM",
    "CHEK2", "RAD51", "PCNA", "MCM2", "HBB", "KLF1", "TAL1", "LYZ", "CD14", "CSF1R", "ITGAM",
    "MS4A1", "CD19", "PAX5", "EBF1", "CD3E", "CD3D", "IL7R", "CCR7", "S100A8", "S100A9", "NKG7",
    "GNLY", "GZMB", "PRF1", "FCGR3A", "PPBP",
]  # fmt: skip
SMALL = {"draws": 50, "pairs": 200}


@pytest.fixture(scope="module")
def base(examples, tmp_path_factory):
    """A study as a trace and an annotate run leave it: 40 sources, 60 targets, 600 edges."""
    study = Study(tmp_path_factory.mktemp("predict") / "study")
    rng = np.random.default_rng(0)
    names = [str(Address("toy", "set", int(i >= 40), i)) for i in range(100)]
    layer = [int(i >= 40) for i in range(100)]
    features = {
        "id": names, "layer": layer, "firing_rate": rng.uniform(0, 0.2, 100).tolist(),
        "traced": [v == 0 for v in layer], "mean_activation": [1.0] * 100,
    }  # fmt: skip
    key = rng.choice(40 * 60, 600, replace=False)
    mean = rng.normal(0, 0.5, 600)
    edges = {
        "source": [names[k // 60] for k in key], "target": [names[40 + k % 60] for k in key],
        "n": [20] * 600, "n_pos": (20 * (mean > 0)).tolist(), "n_neg": (20 * (mean < 0)).tolist(),
        "mean": mean.tolist(), "sd": [0.1] * 600, "d": (mean / 0.1).tolist(), "p": [1e-6] * 600,
        "q": [1e-4] * 600,
    }  # fmt: skip
    genes = [rng.permutation(GENES)[:6].tolist() for _ in names]
    ids = {g: human_gene_ids()[g] for g in GENES}
    config = {
        "model": str(examples / "model"), "dictionaries": str(examples / "dictionaries"),
    }  # fmt: skip
    for run, parents, tables in (
        ("trace-0000000001", (), {"Feature": features, "Feature-AFFECTS-Feature": edges}),
        (
            "annotate-0000000001",
            ("trace-0000000001",),
            {
                "Feature": {"id": names, "top_genes": genes},
                "Gene": {"id": list(ids.values()), "symbol": list(ids)},
            },
        ),
    ):
        manifest = Manifest(
            run=run, verb=run.split("-")[0], config=config, inputs={}, version="0",
            started="2026-01-01T00:00:00+00:00", parents=parents,
        )  # fmt: skip
        store = ShardStore(study.run_folder(run), manifest)
        store.add("all", {kind: schema_table(kind, columns) for kind, columns in tables.items()})
        store.finish("complete")
    return study.root, GENES


def screen_file(path, genes, knocked, column="target", control="non-targeting", cells=80, **more):
    """Counts in which every knock-out changes half of the genes."""
    rng = np.random.default_rng(0)
    labels = np.repeat([control, *knocked], [2 * cells, *[cells] * len(knocked)])
    rate = np.full((labels.size, len(genes)), 20.0)
    for name in knocked:
        change = rng.choice([0.25, 1.0, 1.0, 3.0], len(genes))
        rate[labels == name] *= change
        rate[np.ix_(labels == name, np.array(genes) == name)] = 0.1
    counts = sparse.csr_matrix(rng.poisson(rate).astype(np.float32))
    obs = pd.DataFrame({column: labels}, index=[f"c{i}" for i in range(labels.size)])
    anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=genes), **more).write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def screen(base, tmp_path_factory):
    genes = base[1]
    return screen_file(tmp_path_factory.mktemp("screen") / "s.h5ad", genes, genes[:6])


@pytest.fixture(scope="module")
def disease(base, tmp_path_factory):
    path = tmp_path_factory.mktemp("disease") / "mine.gmt"
    genes = base[1]
    path.write_text("".join(f"set {i}\tna\t" + "\t".join(genes[i::5]) + "\n" for i in range(5)))
    return path


@pytest.fixture(scope="module")
def result(base, screen, disease):
    return predict(study=base[0], database=False, screen=screen, disease=(disease,), **SMALL)


def test_a_run_has_pairs_a_judgement_and_disease_sets(result, base):
    assert set(result.detail) == {"gene_pairs", "knock_outs", "disease"}
    assert len(result.sentences) == 3 and result.new
    assert "pairs of genes" in result.sentences[0]
    assert "of the 6 knock-outs" in result.sentences[1]
    numbers = result.findings["further"]["knock_outs"]
    assert numbers["knock_outs"] == 6 and numbers["controls"] == 160
    assert {r["rule"] for r in numbers["rules"]} == {
        "circuit", "majority", "target_direction", "perturbed_mean", "co_expression",
    }  # fmt: skip
    assert "NaN" not in json.dumps(result.findings)
    stored = read_findings(result.folder)
    assert [f.name for f in stored] == ["gene_pairs", "knock_outs", "disease"]
    for finding in stored:
        if finding.drawn:
            finding.plot()
    pairs = result.table("Gene-PREDICTS-Gene")
    frame = result.detail["gene_pairs"].frame
    assert len(pairs) == (frame["q"] <= 0.05).sum() and len(frame) == 200
    assert set(pairs.source) | set(pairs.target) == set(result.table("Gene").id)
    assert numbers["pairs"] >= 20 and numbers["p"] is not None


def test_the_same_again_is_the_same_run(result, base, screen, disease):
    again = predict(study=base[0], database=False, screen=screen, disease=(disease,), **SMALL)
    assert again.run == result.run and not again.new and again.sentences == result.sentences
    other = predict(study=base[0], database=False, **SMALL)
    assert other.run != result.run and len(other.sentences) == 1


def test_a_circuit_without_edges_says_so(base):
    found = predict(study=base[0], database=False, q=1e-9, **SMALL)
    assert "no pair of genes is linked" in found.sentences[0]
    assert found.table("Gene-PREDICTS-Gene").empty


def test_columns_and_labels_can_be_named(base, tmp_path):
    genes = base[1]
    path = screen_file(tmp_path / "s.h5ad", genes, genes[:4], column="KO", control="wild type")
    named = {"perturbation": "KO", "control": "wild type"}
    found = predict(study=base[0], database=False, screen=path, **named, **SMALL)
    assert found.findings["further"]["knock_outs"]["knock_outs"] == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"column": "KO"}, "no column target, .*it has KO"),
        ({"control": "wild type"}, "no cell is labelled non-targeting, .*wild type"),
        ({"cells": 20}, "no knock-out has 30 cells"),
        ({"knocked": 2}, "2 of the 2 knocked-out genes"),
    ],
)
def test_screens_that_cannot_be_used_are_refused(base, tmp_path, options, words):
    genes = base[1]
    knocked = genes[: options.pop("knocked", 4)]
    path = screen_file(tmp_path / "s.h5ad", genes, knocked, **options)
    before = runs_of(base)
    with pytest.raises(UserError, match=words):
        predict(study=base[0], database=False, screen=path, **SMALL)
    assert runs_of(base) == before


def runs_of(base):
    return sorted(p.name for p in (base[0] / "runs").iterdir())


def test_a_finished_run_does_not_read_the_screen_again(result, base, screen, disease, monkeypatch):
    def fail(*_):
        raise AssertionError

    monkeypatch.setattr("scircuit.workflows.evidence.predict.load_screen", fail)
    again = predict(study=base[0], database=False, screen=screen, disease=(disease,), **SMALL)
    assert again.run == result.run and not again.new


def test_disease_sets_of_other_genes_are_refused(base, tmp_path):
    path, before = tmp_path / "other.gmt", runs_of(base)
    path.write_text("olfaction\tna\tOR1A1\tOR1A2\tOR2J3\n")
    with pytest.raises(UserError, match="0 of 3 genes"):
        predict(study=base[0], database=False, disease=(path,), **SMALL)
    assert runs_of(base) == before


def test_scaled_values_are_refused(base, tmp_path):
    genes = base[1]
    path = screen_file(tmp_path / "s.h5ad", genes, genes[:4])
    data = anndata.read_h5ad(path)
    data.X = np.random.default_rng(0).normal(size=data.shape).astype(np.float32)
    data.write_h5ad(path)
    before = runs_of(base)
    with pytest.raises(UserError, match="raw counts"):
        predict(study=base[0], database=False, screen=path, **SMALL)
    assert runs_of(base) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"draws": 5}, "--draws is 5, expected 19"),
        ({"q": 1.5}, "--q is 1.5"),
        ({"pseudo_count": 0.0}, "--pseudo-count is 0"),
        ({"screen": "absent.h5ad"}, "absent.h5ad does not exist"),
        ({"top_genes": 0}, "--top-genes is 0"),
    ],
)
def test_options_out_of_range_are_refused(base, options, words):
    with pytest.raises(UserError, match=words):
        predict(study=base[0], database=False, **options)


def test_a_run_without_genes_is_refused(base, tmp_path):
    shutil.copytree(base[0] / "runs" / "trace-0000000001", tmp_path / "runs" / "trace-0000000001")
    with pytest.raises(UserError, match="trace-0000000001 is not annotated"):
        predict(study=tmp_path, database=False)


def test_on_the_command_line(base, screen):
    given = ["--study", str(base[0]), "--no-database", "--json", "--screen", str(screen)]
    for name, value in SMALL.items():
        given += [f"--{name.replace('_', '-')}", str(value)]
    done = CliRunner().invoke(command, given, catch_exceptions=False)
    assert done.exit_code == 0
    assert json.loads(done.stdout)["further"]["knock_outs"]["pairs"] >= 0

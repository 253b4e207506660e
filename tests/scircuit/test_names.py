"""Capitals, spaces, accents and markup in the names of model, dictionaries, cells, gene sets, study
and outputs go through every verb and every export.
"""

from __future__ import annotations

import copy
import inspect
import json
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from scircuit.cli.main import VERBS, cli
from scircuit.core import schema
from scircuit.core.address import parse, slug
from scircuit.core.errors import UserError
from scircuit.core.study import Study
from scircuit.ingest.shards.shard_store import ShardStore
from scircuit.tracing.dictionaries import load_dictionaries
from tests.ingest.test_import_graph import matrix, viewer
from tests.support.atlas_tiny import files, write
from tests.support.named_study import NAME, Named, edges_file, flags, folder_name

FORMATS = {
    "parquet": "",
    "graphml": ".graphml",
    "circuit-tracer": ".json",
    "neuronpedia": ".json",
    "biocypher": "",
}
ELSEWHERE = {"attribute", "compare", "demo", "genesets", "reproduce"}  # inputs of their own


def run(*words, study=None):
    """A command that must succeed; its standard output."""
    arguments = [*map(str, words), *(["--study", str(study)] if study else [])]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def named(named_base, tmp_path_factory):
    """A study after every verb that makes a run; those that the base has find their runs."""
    found = copy.copy(named_base)
    found.root = tmp_path_factory.mktemp("names") / folder_name("Folder")
    found.study = found.root / found.study.name
    shutil.copytree(named_base.study, found.study)
    for verb, options in found.verbs().items():
        run(verb, "--no-database", *flags(options), study=found.study)
    assert len(list((found.study / "runs").iterdir())) == len(found.verbs())
    return found


@pytest.fixture(scope="module")
def runs(named):
    """Manifest of the run of each verb."""
    return {m.verb: m for m in Study(named.study).manifests()}


def ids(study, manifest):
    """Every address that the shards of a run name, and every dictionary and model."""
    store = ShardStore(study.run_folder(manifest.run))
    found = {"Feature": set(), "Dictionary": set(), "Model": set()}
    for entry in manifest.shards:
        table = store.read(entry)
        ends = (
            {"id": entry.kind}
            if entry.kind in schema.NODES
            else {
                "source": schema.RELATIONSHIPS[entry.kind].source,
                "target": schema.RELATIONSHIPS[entry.kind].target,
            }
        )
        for column, label in ends.items():
            if label in found:
                found[label] |= set(table.column(column).to_pylist())
    return found


def test_addresses_are_the_same_in_every_run(named, runs):
    model, dictionary = slug(folder_name("Model")), slug(folder_name("SAE"))
    assert model == "model-geneformer-v2-b-316m-b-co-a-b-1"
    for verb, manifest in runs.items():
        assert manifest.complete
        found = ids(Study(named.study), manifest)
        for text in found["Feature"]:
            address = parse(text)
            assert (address.model, address.dictionary) == (model, dictionary)
        # a name made in another way would be another node
        assert found["Model"] <= {model}
        assert all(parse(f"{d}/F0000").model == model for d in found["Dictionary"])
        assert found["Feature"] or verb not in ("trace", "annotate", "analyse")
    assert ids(Study(named.study), runs["trace"])["Model"] == {model}


def test_check_and_train(named):
    run("check", named.model, named.dictionaries, named.cells, "--n-cells", 8, study=named.study)
    out = named.root / folder_name("Trained")
    options = {"model": named.model, "cells": named.cells, "out": out, "n_cells": 10}
    options |= {"layers": (1,), "epochs": 1, "batch_rows": 256, "device": "cpu"}
    run("train", *flags(options), study=named.study)
    assert set(load_dictionaries(out)) == {1}


def test_match(named, runs):
    run(
        "annotate",
        "--no-database",
        *flags(named.verbs()["annotate"] | {"seed": 1}),
        study=named.study,
    )
    run("match", "--no-database", "--null-draws", 1, study=named.study)


def test_null(named):
    options = {"kinds": ("rotated",), "seeds": 1, "sources": 4, "train_cells": 6, "device": "cpu"}
    run("null", "--no-database", *flags(options), study=named.study)
    [copied] = Study(named.study).runs.glob("null-*/rotated-0/study/runs/trace-*")
    model, dictionary = next(iter(ids_of(copied))).split("/")[:2]
    assert model == f"{slug(folder_name('Model'))}-rotated-0"
    assert parse(f"{model}/{dictionary}/L00/F0000")


def ids_of(folder):
    return set(ShardStore(folder).tables("Feature").column("id").to_pylist())


@pytest.mark.parametrize("format", FORMATS)
def test_exports(named, runs, format):
    out = named.root / f"{folder_name(format)}{FORMATS[format]}"
    run("export", "--out", out, "--format", format, "--q", 1, study=named.study)
    assert out.is_file() if FORMATS[format] else out.is_dir()
    assert {p.parent for p in named.root.iterdir()} == {named.root}
    chosen = sorted(ids_of(Study(named.study).run_folder(runs["trace"].run)))
    if format == "parquet":
        names = pq.read_table(out / "Feature.parquet").column("id").to_pylist()
        assert set(names) <= set(chosen) and names
    if format == "graphml":
        assert chosen[0].split("/")[0] in out.read_text()


def test_report_escapes_every_name(named):
    run("report", study=named.study)
    page = Study(named.study).report.read_text()
    assert not re.search(r"<b>316M|<i>set</i>", page)
    assert ("316M" in page and "&lt;i&gt;set" in page) or "set 0" not in page
    assert not re.search(r"& co \(a, b\)", re.sub(r"<script.*?</script>", "", page, flags=re.S))


def test_imports(named, tmp_path):
    target = tmp_path / folder_name("Study")
    options = {"model_name": "m", "dictionary_name": "s"}
    where = edges_file(tmp_path, folder_name("Edges"))
    run("import", "edges", where, "--no-database", *flags(options), study=target)
    graph = tmp_path / f"{folder_name('Graph')}.json"
    graph.write_text(json.dumps(viewer(matrix())))
    run("import", "graph", graph, "--no-database", *flags(options), study=target)
    atlas = write(tmp_path / folder_name("Atlas"), files())
    run(
        "import",
        "atlas",
        atlas,
        "--no-database",
        *flags(options | {"model_name": "toy"}),
        study=target,
    )
    found = Study(target).manifests()
    assert [m.inputs["format"] for m in found if m.complete and m.verb == "import"]
    assert len(found) == 3
    for manifest in found:
        for text in ids(Study(target), manifest)["Feature"]:
            parse(text)
    for kind, path in (("edges", where), ("graph", graph), ("atlas", atlas)):
        with pytest.raises(UserError, match=r"-name") as refused:
            run(
                *("import", kind, path, "--no-database", "--model-name", NAME),
                *("--dictionary-name", NAME),
                study=tmp_path / "other",
            )
        assert slug(NAME) in str(refused.value) or "lower-case" in str(refused.value)


def test_a_name_without_a_letter_is_refused_with_the_option(named, tmp_path):
    model = tmp_path / "模型"
    model.symlink_to(named.model)
    options = named.verbs()["trace"]
    for chosen in ({"model_name": "模型"}, {"dictionary_name": "***"}):
        with pytest.raises(UserError, match="has no letter a-z and no digit") as refused:
            run("trace", "--no-database", *flags(options | chosen), study=tmp_path / "study")
        assert "--model-name" in refused.value.fix


def test_the_graph_and_its_questions(named, runs, neo4j_clean, monkeypatch):
    for variable, value in (
        ("NEO4J_URI", neo4j_clean.uri),
        ("NEO4J_USERNAME", neo4j_clean.user),
        ("NEO4J_PASSWORD", neo4j_clean.password),
    ):
        monkeypatch.setenv(variable, value)
    run("load", study=named.study)
    assert len(json.loads(run("query", "top_hubs", "--format", "json", study=named.study)))
    model, dictionary = slug(folder_name("Model")), slug(folder_name("SAE"))
    text = "MATCH (f:Feature) RETURN split(f.id, '/')[0..2] AS names, count(*) AS n"
    [row] = json.loads(run("query", "--cypher", text, "--format", "json", study=named.study))
    assert row["names"] == [model, dictionary] and row["n"] > 100
    listed = run("runs", study=named.study)
    assert all(manifest.run in listed for manifest in runs.values())
    run("db", "status", study=named.study)
    run("report", study=named.study)
    out = named.root / f"{folder_name('Question')}.graphml"
    run(
        "export",
        "--out",
        out,
        "--format",
        "graphml",
        "--query",
        "annotation_graph",
        study=named.study,
    )
    assert out.is_file()


def test_every_verb_is_here():
    text = Path(__file__).read_text() + Path(inspect.getfile(Named)).read_text()
    text = re.sub(r"(?m)^ELSEWHERE.*$", "", text)
    assert {verb for verb in VERBS if f'"{verb}"' not in text} == ELSEWHERE

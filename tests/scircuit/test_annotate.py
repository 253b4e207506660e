"""``scircuit annotate`` as a user runs it: traced features with cell types, ontology and weights;
imported atlases; refusals before anything is written.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import anndata
import numpy as np
import pytest

from scircuit.core.errors import UserError
from scircuit.core.study import Manifest, Study
from scircuit.tracing.clean_pass import feature_genes
from scircuit.workflows.annotate import annotate
from scircuit.workflows.importing import import_
from tests.support.atlas_tiny import files, write
from tests.support.study_runs import demo, outcome, trace


@pytest.fixture(scope="module")
def study(root, tmp_path_factory):
    """A traced study whose cells name a cell type (by CD3 transcripts), a tissue and a donor."""
    folder = tmp_path_factory.mktemp("annotate")
    options = demo(root)
    rng = np.random.default_rng(0)
    cells = anndata.read_h5ad(options["cells"])[rng.permutation(559)[:300]].copy()
    symbols = {str(s).upper(): i for i, s in enumerate(cells.var_names)}
    cd3 = (
        np.asarray(
            cells.X[:, [symbols[s] for s in ("CD3D", "CD3E", "CD3G") if s in symbols]].sum(axis=1)
        ).ravel()
        > 0
    )
    cells.obs["kind"] = np.where(cd3, "T cell", "other")
    cells.obs["organ"] = "blood"
    cells.obs["who"] = [f"d{i}" for i in rng.integers(0, 10, cells.n_obs)]
    cells.write_h5ad(folder / "cells.h5ad")
    traced = trace(
        study=folder / "study",
        database=False,
        quiet=True,
        **(options | {"cells": folder / "cells.h5ad"}),
    )
    return folder / "study", traced.run


def run(study, **options):
    return annotate(
        study=study[0], run=study[1], database=False, quiet=True, **({"null_draws": 3} | options)
    )


@pytest.fixture(scope="module")
def plain(study):
    return run(study)


def test_the_first_sentence_says_how_much_exceeds_chance(plain):
    first = plain.sentences[0]
    assert first.startswith("annotation exceeds chance by ")
    assert "95 % interval" in first and "matched random gene lists" in first
    low, high = plain.findings["excess"][1:]
    assert low < plain.findings["excess"][0] < high


def test_every_firing_feature_counts(study, plain):
    """Fewer features have a list where a gene needs more firings; the rates stay shares of all that
    fire.
    """
    strict = run(study, min_fire_count=150)
    rows = plain.table("Feature-LOADS_ON-Gene")
    assert (
        strict.findings["features_tested"]
        < plain.findings["features_tested"]
        <= strict.findings["features"]
    )
    for found in (strict, plain):
        firing = found.findings["features"]
        assert firing == plain.findings["features"] >= rows["source"].nunique()
        assert {r["lists"] for r in found.findings["rates"]} == {firing}
        assert found.findings["annotation_rate"] == found.findings["features_annotated"] / firing
        assert f" of {firing:,} (" in found.sentences[0]
    without = strict.findings["features"] - strict.findings["features_tested"]
    assert any(
        s.startswith(
            f"{without:,} of {strict.findings['features']:,} firing features have no gene with at"
            " least 150 firings"
        )
        for s in strict.sentences
    )


def test_every_family_is_stored_and_named(plain):
    enriched = plain.table("Feature-ENRICHED_FOR-Term")
    assert set(enriched["test"]) == {"hypergeometric"}
    families = enriched[["p", "q", "q_layer", "q_feature", "q_calibrated"]].astype(float)
    assert families.notna().all().all()
    assert (
        (families["q_feature"] >= families["p"]).all()
        and (families["q_layer"] >= families["p"]).all()
        and (families["q"] >= families["p"]).all()
    )
    assert (families["q_calibrated"] <= 0.05).all()
    features = plain.table("Feature").set_index("id")
    best = enriched.groupby("source")["q_calibrated"].min()
    for feature, q in best.items():
        row = features.loc[feature]
        assert row["annotated"] and row["label_q"] == pytest.approx(q)
        labels = enriched[(enriched["source"] == feature) & (enriched["q_calibrated"] == q)]
        assert row["label_library"] in set(labels["library"])
        assert row["label_ties"] < len(labels)
    assert set(features.index[features["annotated"].astype(bool)]) == set(enriched["source"])
    share = features["tf_share"].dropna().astype(float)
    assert share.between(0, 1).all() and len(share) == plain.findings["features_tested"]
    targets = enriched[enriched["library"] == "TRRUST"]
    assert (targets["activation"] + targets["repression"] <= 2 * targets["overlap"]).all()
    assert enriched.loc[enriched["library"] != "TRRUST", "activation"].isna().all()


def test_another_gene_set_file_needs_no_second_pass_over_the_cells(
    study, plain, tmp_path, monkeypatch
):
    """And its results are those of a study that has nothing stored, bit by bit."""
    genes = plain.table("Gene").sort_values("id")["symbol"].tolist()
    gmt = tmp_path / "own.gmt"
    gmt.write_text("".join(f"s{i}\tna\t" + "\t".join(genes[i::40]) + "\n" for i in range(40)))
    own, passes = {"shipped": False, "gmt": (gmt,)}, []

    def counted(adapter, dictionaries, cells, real=feature_genes._each_cell):
        passes.append(len(cells))
        return real(adapter, dictionaries, cells)

    monkeypatch.setattr(feature_genes, "_each_cell", counted)
    ours = run(study, **own)
    assert ours.new and passes == []
    fresh = tmp_path / "fresh"
    shutil.copytree(study[0] / "runs" / study[1], fresh / "runs" / study[1])
    theirs = run((fresh, study[1]), **own)
    assert theirs.new and len(passes) == 1
    assert outcome(ours.folder) == outcome(theirs.folder)
    # the activity in each cell was not kept: asked for, it is computed, and then kept as well
    active = run(study, cell_types=("kind",), donor="who", **own)
    assert active.new and len(passes) == 2
    again = run(study, cell_types=("kind",), donor="who", q=0.04, **own)
    assert again.new and len(passes) == 2 and not again.table("Feature-ACTIVE_IN-CellType").empty


def test_cell_types_are_tested_over_donors(study):
    found = run(study, cell_types=("kind",), tissues=("organ",), donor="who")
    active = found.table("Feature-ACTIVE_IN-CellType")
    assert set(active["target"]) <= {"T cell", "other"} and len(active) > 10
    assert (active["q"] <= 0.05).all() and (active["donors"] >= 5).all()
    assert found.table("Tissue").empty
    assert found.findings["cell_types"]["donor_column"] == "who"
    assert any("donor as the unit" in s for s in found.sentences)


def test_weighted_terms_stand_beside_the_others(study):
    found = run(study, weighted=True)
    enriched = found.table("Feature-ENRICHED_FOR-Term")
    weighted = enriched[enriched["test"] == "weighted"]
    assert len(weighted) == found.findings["weighted"]["pairs"] > 0
    assert (
        weighted["q_calibrated"].isna().all()
        and (weighted["q"].astype(float) <= 0.05).all()
        and (weighted["overlap"] >= 2).all()
    )
    assert set(weighted["target"]) <= set(found.table("Term")["id"])


def test_an_ontology_adds_parents_and_says_which_genes_came_up(study, plain, tmp_path):
    pytest.importorskip("goatools", reason="the optional goatools is not installed")
    terms = sorted(plain.table("Term").query("library == 'GO_BP'")["accession"])
    assert terms
    record = "[Term]\nid: {}\nname: {}\nnamespace: biological_process\n{}\n"
    text = "format-version: 1.2\ndata-version: made by hand\n\n" + record.format(
        "GO:9999999", "top", ""
    )
    text += record.format("GO:9999998", "middle", "is_a: GO:9999999 ! top\n")
    text += "".join(record.format(t, "x", "is_a: GO:9999998 ! middle\n") for t in terms)
    (tmp_path / "x.obo").write_text(text)
    found = run(study, obo=(tmp_path / "x.obo",))
    nodes = found.table("Term").set_index("id")
    assert {"GO_BP:GO:9999998", "GO_BP:GO:9999999"} <= set(nodes.index)
    pairs = found.table("Term-IS_A-Term")
    assert ("GO_BP:GO:9999998", "GO_BP:GO:9999999") in set(
        zip(pairs["source"], pairs["target"], strict=True)
    )
    assert set(pairs["source"]) | set(pairs["target"]) <= set(nodes.index)
    assert set(found.table("Gene-MEMBER_OF-Term")["origin"]) <= {"library", "closure"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell_types": ("colour",)}, "no obs column colour"),
        ({"donor": "who"}, "no cell types or tissues to test"),
        ({"shipped": False}, "there are no gene sets"),
        ({"gmt": (Path("absent.gmt"),)}, "absent.gmt"),
        ({"null_draws": 0}, "--null-draws is 0"),
        ({"q": 1.5}, "--q is 1.5"),
        ({"max_size": 3}, "--min-size is 5 and --max-size 3"),
    ],
)
def test_wrong_options_are_refused_before_a_run_exists(study, options, message):
    before = {p.name for p in (study[0] / "runs").iterdir()}
    with pytest.raises(UserError, match=message):
        run(study, **options)
    assert {p.name for p in (study[0] / "runs").iterdir()} == before


SYMBOLS = [
    "GATA1",
    "KLF1",
    "HBB",
    "EPOR",
    "ALAS2",
    "CD3E",
    "CD4",
    "CD8A",
    "IL7R",
    "CCR7",
    "MYC",
    "TP53",
]


@pytest.fixture(scope="module")
def atlas(tmp_path_factory):
    """An invented atlas with real gene names: 3 layers, of which 2 have whole lists, imported into
    a study.
    """
    folder = tmp_path_factory.mktemp("atlas")
    text = json.dumps(files())
    for n in reversed(range(12)):
        text = text.replace(f'"GENE{n}"', f'"{SYMBOLS[n]}"')
    contents = json.loads(text)
    del contents["layer_02_annotations.json"]
    contents["term_library.json"]["backgrounds"] = {"toy_atlas": {"0": 13, "1": 13}}
    write(folder / "files", contents)
    imported = import_(
        "atlas",
        study=folder / "study",
        database=False,
        quiet=True,
        path=folder / "files",
        model_name="toy",
        dictionary_name="tiny",
    )
    gmt = folder / "own.gmt"
    gmt.write_text("".join(f"set {i}\t\t" + "\t".join(SYMBOLS[i : i + 6]) + "\n" for i in range(6)))
    return folder / "study", imported.run, gmt


def test_an_imported_atlas_is_annotated_from_its_lists(atlas):
    place, parent, gmt = atlas
    found = annotate(
        study=place, run=parent, database=False, quiet=True, shipped=False, gmt=(gmt,), null_draws=4
    )
    assert found.findings["layers"] == [0, 1] and found.findings["layers_left_out"] == [2]
    # 7 features of each layer fire; only two of each have a whole list, and all count
    assert found.findings["features_tested"] == 4 and found.findings["rates"][0]["lists"] == 14
    features = found.table("Feature").set_index("id")
    assert set(features.index) == {
        f"toy/tiny/L0{layer}/F000{i}" for layer in (0, 1) for i in (0, 1)
    }
    assert features.loc["toy/tiny/L01/F0001", "top_genes"].tolist() == [
        "HBB",
        "EPOR",
        "ALAS2",
        "CD3E",
        "CD4",
        "CD8A",
    ]
    tables = {s.kind for s in Manifest.load(place / "runs" / found.run).shards}
    assert "Feature-LOADS_ON-Gene" not in tables
    # as published 2 of 7 firing features of each of the 3 layers are annotated
    assert any(
        s.startswith("layers 2 are left out") and "28.6 % of 21 firing features" in s
        for s in found.sentences
    )
    again = annotate(
        study=place, run=parent, database=False, quiet=True, shipped=False, gmt=(gmt,), null_draws=4
    )
    assert not again.new and again.run == found.run


def test_an_atlas_has_no_cells(atlas):
    place, parent, gmt = atlas
    with pytest.raises(UserError, match="an imported atlas has none"):
        annotate(
            study=place,
            run=parent,
            database=False,
            quiet=True,
            gmt=(gmt,),
            cell_types=("cell_type",),
        )


def test_other_runs_are_refused(study, tmp_path):
    place = Study(tmp_path)
    for run_id, verb, inputs, status, message in (
        (
            "import-1",
            "import",
            {"format": "map"},
            "complete",
            "format 'map', which has no gene lists",
        ),
        ("analyse-1", "analyse", {}, "complete", "verb 'analyse'"),
        ("import-2", "import", {"format": "atlas"}, "running", "import-2 is running"),
    ):
        place.run_folder(run_id).mkdir(parents=True)
        Manifest(run_id, verb, {}, inputs, "0", status).save(place.run_folder(run_id))
        with pytest.raises(UserError, match=message):
            annotate(study=tmp_path, run=run_id, database=False, quiet=True)
    with pytest.raises(UserError, match="no run at"):
        annotate(study=study[0], run="trace-nonsense", database=False, quiet=True)

"""A targeted panel is another input to a ranked model: refused unless declared, or its own."""

from __future__ import annotations

import json
from dataclasses import fields

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scircuit.core.config import CellsConfig
from scircuit.core.errors import UserError
from scircuit.tracing.cells.cohort import load_cohort
from scircuit.tracing.cells.panel import FEW, check_panel, is_own_panel, least_tokens
from scircuit.tracing.tokenisation.vocabulary import SPECIALS, Bins, geneformer_v2
from scircuit.tracing.tokenisation.vocabulary.folder_vocabulary import (
    MEDIANS,
    TOKENS,
    read_vocabulary,
)
from scircuit.tracing.tokenisation.vocabulary.scgpt_vocabulary import from_tokens


def cells_of(symbols, folder, depth=3.0, cells=12):
    """A file of counts over these genes; `depth` is the mean count of each."""
    counts = np.random.default_rng(0).poisson(depth, (cells, len(symbols))).astype(np.float32)
    data = anndata.AnnData(
        sparse.csr_matrix(counts),
        obs=pd.DataFrame(index=[f"c{i}" for i in range(cells)]),
        var=pd.DataFrame(index=list(symbols)),
    )
    path = folder / "cells.h5ad"
    data.write_h5ad(path)
    return path


def own_vocabulary(genes, folder):
    median = geneformer_v2().median
    (folder / TOKENS).write_text(json.dumps({n: i for i, n in enumerate((*SPECIALS, *genes))}))
    (folder / MEDIANS).write_text(json.dumps({g: median[g] for g in genes}))
    return read_vocabulary(folder)


def line(cohort):
    return next((line for line in cohort.report if line.name == "panel"), None)


@pytest.fixture(scope="module")
def symbols():
    return sorted(geneformer_v2().symbol_to_ensembl)


def test_a_panel_is_refused_unless_declared(symbols, tmp_path):
    path = cells_of(symbols[:300], tmp_path)
    with pytest.raises(
        UserError,
        match=(
            r"panel: 300 of the model's 20,271 genes measured: a targeted panel(.|\n)*a table of"
            r" all genes \(2,000 or more with a token\)(.|\n)*--panel"
        ),
    ):
        load_cohort(CellsConfig(cells=path), geneformer_v2(), 4096)
    cohort = load_cohort(CellsConfig(cells=path, panel=True), geneformer_v2(), 4096)
    found = line(cohort)
    assert found is not None and found.ok
    assert "300 of the model's 20,271 genes measured; declared" in found.found
    assert any("panel: ok" in said for said in cohort.manifest()["report"])


def test_a_declared_panel_still_needs_tokens(symbols, tmp_path):
    """The declaration is about the panel alone: thin cells are refused as before."""
    path = cells_of(symbols[:300], tmp_path, depth=0.2)
    with pytest.raises(UserError, match=r"tokens: .*a median of at least 100"):
        load_cohort(CellsConfig(cells=path, panel=True), geneformer_v2(), 4096)


@pytest.mark.parametrize(("measured", "refused"), [(FEW - 1, True), (FEW, False)])
def test_the_limit_counts_measured_genes_with_a_token(symbols, tmp_path, measured, refused):
    """Genes that no cell expresses are measured too; genes without a token are not counted."""
    outside = sorted(geneformer_v2().outside)[:50]
    path = cells_of([*symbols[:measured], *outside], tmp_path, depth=0.3)
    config = CellsConfig(cells=path)
    if refused:
        with pytest.raises(UserError, match=r"panel: 1,999 of the model's 20,271"):
            load_cohort(config, geneformer_v2(), 4096)
    else:
        cohort = load_cohort(config, geneformer_v2(), 4096)
        assert line(cohort) is None
        said = next(one for one in cohort.report if one.name == "genes measured")
        assert said.ok and said.found.startswith("warning: 2,000 of the model's 20,271 genes")
        assert "(10%)" in said.found


def test_the_panel_of_the_model_itself_passes_with_a_note(symbols, tmp_path):
    known = geneformer_v2().symbol_to_ensembl
    vocabulary = own_vocabulary(sorted(known[s] for s in symbols[:300]), tmp_path)
    path = cells_of(symbols[:290], tmp_path, depth=0.2)
    cohort = load_cohort(CellsConfig(cells=path), vocabulary, 302)
    found = line(cohort)
    assert found is not None and found.ok and "declared" not in found.found
    assert found.found.endswith(
        "290 of the model's 300 genes measured; the model's vocabulary is this panel"
    )
    assert 29 <= np.median(cohort.gene_tokens) < 100  # a tenth of the panel is enough of them


def test_a_part_of_the_models_panel_is_refused(symbols, tmp_path):
    known = geneformer_v2().symbol_to_ensembl
    vocabulary = own_vocabulary(sorted(known[s] for s in symbols[:300]), tmp_path)
    path = cells_of(symbols[:200], tmp_path)
    with pytest.raises(
        UserError, match=r"panel: 200 of the model's 300 genes measured: a targeted"
    ):
        load_cohort(CellsConfig(cells=path), vocabulary, 302)


def test_too_thin_for_the_own_panel(symbols, tmp_path):
    known = geneformer_v2().symbol_to_ensembl
    vocabulary = own_vocabulary(sorted(known[s] for s in symbols[:300]), tmp_path)
    path = cells_of(symbols[:300], tmp_path, depth=0.05)
    with pytest.raises(UserError, match=r"tokens: .*a median of at least 30"):
        load_cohort(CellsConfig(cells=path), vocabulary, 302)


def test_minimum_of_tokens():
    vocabulary = geneformer_v2()
    assert least_tokens(100, 18_000, vocabulary) == 100
    assert least_tokens(100, 300, vocabulary) == 100  # a panel of another model: as asked for
    assert not is_own_panel(20_271, vocabulary)


def test_models_that_bin_values_are_not_held_to_it(symbols):
    binned = from_tokens(["<pad>", "<cls>", "<eoc>", *symbols], Bins(51, -2.0), "binned")
    assert check_panel(300, binned, declared=False) is None


@pytest.mark.parametrize("mark", ["highly_variable", "n_genes_by_counts", "total_counts"])
def test_a_table_that_was_cut_is_refused_by_its_own_marks(symbols, tmp_path, mark):
    """Counts were taken before the cut, and every gene left is marked."""
    path = cells_of(symbols[:5_000], tmp_path, depth=0.3)
    data = anndata.read_h5ad(path)
    if mark == "highly_variable":
        data.var[mark] = True
    else:
        data.obs[mark] = 3 * np.asarray((data.X if "total" in mark else data.X > 0).sum(axis=1))
    data.write_h5ad(path)
    with pytest.raises(
        UserError,
        match=rf"panel: 5,000 of .* \(25%\), and the table was cut(.|\n)*{mark}(.|\n)*--panel",
    ):
        load_cohort(CellsConfig(cells=path), geneformer_v2(), 4096)
    declared = line(load_cohort(CellsConfig(cells=path, panel=True), geneformer_v2(), 4096))
    assert declared is not None and "declared" in declared.found


def test_marks_of_a_whole_table_say_nothing(symbols, tmp_path):
    path = cells_of(symbols[:14_000], tmp_path, depth=0.3)
    data = anndata.read_h5ad(path)
    data.var["highly_variable"] = np.arange(14_000) < 2_000
    data.obs["n_genes"] = (
        np.asarray((data.X > 0).sum(axis=1)).ravel() + 40
    )  # rare genes were left out
    data.obs["total_counts"] = np.asarray(data.X.sum(axis=1)).ravel() * 1.02
    data.write_h5ad(path)
    cohort = load_cohort(CellsConfig(cells=path), geneformer_v2(), 4096)
    assert not [one for one in cohort.report if one.name in ("panel", "genes measured")]


def test_the_screen_is_refused_by_a_model_of_all_genes(examples):
    cells = examples / "thp1" / "cells" / "papalexi2021_thp1_crispr_20729cells.h5ad"
    with pytest.raises(UserError, match=r"panel: 258 of the model's 20,271 genes measured"):
        load_cohort(CellsConfig(cells=cells, min_tokens=30), geneformer_v2(), 4096)


def test_the_declaration_holds_for_one_call():
    option = {f.name: f for f in fields(CellsConfig)}["panel"]
    assert option.default is False and option.metadata["once"]

"""Genes that were set to zero instead of cut: counted as not measured, and never read beside a
matrix that has them.
"""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scircuit.core.config import CellsConfig
from scircuit.core.errors import UserError
from scircuit.tracing.cells.cohort import load_cohort
from scircuit.tracing.tokenisation.vocabulary import geneformer_v2
from tests.support import cell_scales
from tests.support.plain_tokens import draw, tokens

pytestmark = pytest.mark.filterwarnings("ignore")
GENES, KEPT = 15_000, 3_000


@pytest.fixture(scope="module")
def cells():
    """Cells that express some of their genes only, each cell others."""
    found = draw(3, 24, GENES)
    thin = np.random.default_rng(0).binomial(found.counts, 0.2)
    return found._replace(counts=thin)


@pytest.fixture(scope="module")
def kept(cells):
    mask = np.zeros(GENES, dtype=bool)
    mask[np.argsort(-cells.counts.var(axis=0), kind="stable")[:KEPT]] = True
    return mask


def written(cells, x, folder, var=None, layers=(), raw=None):
    names = [f"cell{i}" for i in range(len(cells.counts))]
    data = anndata.AnnData(
        sparse.csr_matrix(np.asarray(x, dtype=np.float32)),
        obs=pd.DataFrame(index=names),
        var=pd.DataFrame(var or {}, index=cells.genes),
    )
    for name, values in dict(layers).items():
        data.layers[name] = sparse.csr_matrix(np.asarray(values, dtype=np.float32))
    if raw is not None:
        data.raw = anndata.AnnData(
            sparse.csr_matrix(np.asarray(raw, dtype=np.float32)),
            var=pd.DataFrame(index=cells.genes),
        )
    path = folder / "cells.h5ad"
    data.write_h5ad(path)
    return path


def load(path, **options):
    return load_cohort(CellsConfig(cells=path, n_cells=0, **options), geneformer_v2(), 2048)


def said(cohort):
    return {line.name: line.found for line in cohort.report}


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("highly_variable", "bool"),
        ("highly_variable", "text"),
        ("Highly.Variable", "numbers"),
        ("vst.variable", "bool"),
        ("is_hvg", "bool"),
        ("feature_is_filtered", "bool"),
        ("feature_is_filtered", "category"),
    ],
)
def test_marked_genes_without_counts_are_not_measured(cells, kept, tmp_path, name, form):
    mark = ~kept if name == "feature_is_filtered" else kept
    stored = {
        "bool": mark,
        "text": mark.astype(str),
        "numbers": mark.astype(float),
        "category": pd.Categorical(mark.astype(str)),
    }[form]
    path = written(cells, cells.counts * kept, tmp_path, {name: stored})
    with pytest.raises(UserError, match=rf"panel: .*\(14%\), and the table was cut.*{name}.*that"):
        load(path)
    assert "counted as not measured" in said(load(path, panel=True))["silent genes"]


def test_the_same_marks_beside_counts_of_all_genes_say_nothing(cells, kept, tmp_path):
    var = {"highly_variable": kept, "feature_is_filtered": np.zeros(GENES, dtype=bool)}
    cohort = load(written(cells, cells.counts, tmp_path, var))
    assert "silent genes" not in said(cohort)
    assert [t.tolist() for t in cohort.tokens] == tokens(cells.counts, cells.genes)


def test_a_third_of_the_genes_taken_out_is_said(cells, tmp_path):
    out = np.random.default_rng(1).random(GENES) < 0.3
    found = said(load(written(cells, cells.counts * ~out, tmp_path, {"feature_is_filtered": out})))
    assert "warning" in found["genes measured"] and "genes that hold no" in found["silent genes"]


def test_without_a_mark_it_is_said(cells, kept, tmp_path):
    found = said(load(written(cells, cells.counts * kept, tmp_path)))["silent genes"]
    assert found.startswith("warning: only 2,8") and "24 cells" in found


@pytest.mark.parametrize("number", [1, 3, 6, 12, 24])
def test_few_or_thin_cells_are_not_taken_for_it(cells, tmp_path, number):
    thin = np.random.default_rng(number).binomial(cells.counts[:number], 0.1)
    path = written(cells._replace(counts=thin), thin, tmp_path)
    assert "silent genes" not in said(load(path, min_tokens=1))


@pytest.mark.parametrize("place", ["X", "layers/counts", "log"])
def test_a_full_matrix_comes_before_one_with_genes_set_to_zero(cells, kept, tmp_path, place):
    zeroed = cells.counts * kept
    logs = cell_scales.log1p_per_10k(cells.counts, None)
    x = {"X": zeroed, "layers/counts": logs, "log": logs * kept}[place]
    layers = {"counts": zeroed} if place == "layers/counts" else {}
    path = written(cells, x, tmp_path, {"highly_variable": kept}, layers, cells.counts)
    cohort = load(path)
    assert [t.tolist() for t in cohort.tokens] == tokens(cells.counts, cells.genes)
    found = said(cohort)["counts"]
    name = "X" if place == "log" else place
    assert found.startswith("raw/X") and f"{name} has counts of 2,851 of the 12,415 genes" in found


def test_an_imputed_matrix_is_no_fuller_one(cells, tmp_path):
    """Means over groups of cells have counts of more genes in each cell; they are not counts."""
    thin = np.random.default_rng(0).binomial(cells.counts, 0.1)
    groups = cells.counts.reshape(4, 6, GENES).sum(axis=1).repeat(6, axis=0)
    cohort = load(written(cells, thin, tmp_path, layers={"smoothed": groups}), min_tokens=1)
    assert said(cohort)["counts"].startswith("X, ")
    assert [t.tolist() for t in cohort.tokens] == tokens(thin, cells.genes)

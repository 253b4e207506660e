"""Every matrix of a file is looked at: what is taken, what is left aside, and what is said."""

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


@pytest.fixture(scope="module")
def cells():
    return draw(5, 20, 700)


def file_of(cells, x, folder, layers=(), raw=None, obs=None):
    """A file with X, layers and raw, all over the same genes."""
    names = [f"cell{i}" for i in range(len(cells.counts))]
    data = anndata.AnnData(
        sparse.csr_matrix(np.asarray(x, dtype=np.float32)),
        obs=pd.DataFrame(obs or {}, index=names),
        var=pd.DataFrame(index=cells.genes),
    )
    for name, values in dict(layers).items():
        data.layers[name] = sparse.csr_matrix(np.asarray(values, dtype=np.float32))
    if raw is not None:
        data.raw = anndata.AnnData(
            sparse.csr_matrix(np.asarray(raw, dtype=np.float32)), obs=data.obs, var=data.var
        )
    path = folder / "cells.h5ad"
    data.write_h5ad(path)
    return path


def load(path, **options):
    options = {"n_cells": 0, "panel": True, "min_tokens": 10, **options}
    return load_cohort(CellsConfig(cells=path, **options), geneformer_v2(), 2048)


def said(cohort, name="counts"):
    return next(line.found for line in cohort.report if line.name == name)


def test_one_matrix_needs_no_words(cells, tmp_path):
    assert said(load(file_of(cells, cells.counts, tmp_path))) == "X, 700 genes"


@pytest.mark.parametrize(
    ("case", "start"), [("hvg_X_counts.h5ad", "raw/X, 700 genes, 700 with a token; left aside: X")]
)
def test_counts_of_all_genes_are_read_beside_those_of_variable_ones(shared_data, case, start):
    cohort = load(shared_data / "cases" / "hvg_subset_beside_full_raw" / case)
    assert said(cohort).startswith(start) and len(cohort.genes) == 700


def test_fewer_genes_are_read_only_by_name_and_the_others_are_named(shared_data):
    path = shared_data / "cases" / "hvg_subset_beside_full_raw" / "hvg_X_counts.h5ad"
    cohort = load(path, layer_key="X")
    assert len(cohort.genes) == 300
    assert "warning: raw/X has more genes with a token (700 against 300)" in said(cohort)


def test_stored_counts_come_before_counts_to_be_recovered(cells, tmp_path):
    logs = cell_scales.log1p_per_10k(cells.counts, None)
    cohort = load(file_of(cells, logs, tmp_path, raw=cells.counts))
    assert said(cohort).startswith("raw/X") and "warning" not in said(cohort)
    assert [t.tolist() for t in cohort.tokens] == tokens(cells.counts, cells.genes)


def test_known_names_of_layers_decide_between_equals(cells, tmp_path):
    path = file_of(cells, cells.counts, tmp_path, {"a": cells.counts, "counts": cells.counts})
    assert said(load(path)).startswith("layers/counts, 700 genes")


def test_counts_that_disagree_are_said(cells, tmp_path):
    """Corrected counts in X, those that were measured beside them: the whole ones are read."""
    left = cell_scales.ambient_removed(cells.counts, np.random.default_rng(0))
    found = said(load(file_of(cells, left, tmp_path, raw=cells.counts)))
    assert found.startswith("raw/X, 700 genes") and "warning: X gives other counts" in found
    assert "in 20 of 20 cells" in found


def test_the_same_counts_in_another_form_are_not_called_different(cells, tmp_path):
    logs = cell_scales.log1p_per_10k(cells.counts, None)
    found = said(load(file_of(cells, logs, tmp_path, {"counts": cells.counts})))
    assert "warning" not in found and "X holds log1p of normalised counts" in found


def test_parts_of_counts_are_read_only_by_name(cells, tmp_path):
    part = np.random.default_rng(0).binomial(cells.counts, 0.7)
    path = file_of(cells, np.sqrt(cells.counts), tmp_path, {"spliced": part})
    with pytest.raises(UserError, match=r"square roots(.|\n)*layers/spliced alone can be named"):
        load(path)
    found = said(load(path, layer_key="spliced"))
    assert "layers/spliced" in found and "holds a part of each cell's counts" in found


@pytest.mark.parametrize("key", ["counts", "layers/counts"])
def test_a_layer_is_named_with_or_without_its_group(cells, tmp_path, key):
    path = file_of(cells, np.sqrt(cells.counts), tmp_path, {"counts": cells.counts})
    assert said(load(path, layer_key=key)).startswith("layers/counts, 700 genes (named by")


def test_a_named_matrix_without_counts_is_refused(cells, tmp_path):
    path = file_of(cells, np.sqrt(cells.counts), tmp_path, {"counts": cells.counts})
    with pytest.raises(UserError, match=r"scale of X: unknown scale \(square roots of counts"):
        load(path, layer_key="X")


@pytest.mark.parametrize("case", ["half_log.h5ad", "half_tpm.h5ad"])
def test_half_the_cells_on_another_scale(shared_data, case):
    with pytest.raises(
        UserError,
        match=r"7 of 14 cells hold raw counts \(c00, c01, c02, \.\.\.\), 7 .* \(c07, c08, c09",
    ):
        load(shared_data / "cases" / "mixed_counts_and_log" / case)


@pytest.mark.parametrize(
    ("case", "what"), [("binary", "zeros and ones"), ("log_as_int", "rounded logarithms")]
)
def test_whole_numbers_that_are_no_counts(shared_data, case, what):
    with pytest.raises(UserError, match=f"14 of 14 cells hold {what}"):
        load(shared_data / "cases" / "integers_that_are_no_counts" / f"{case}.h5ad")


def test_a_mixture_outside_the_drawn_cells_is_refused_too(cells, tmp_path):
    """One cell in twenty: the five drawn are fine, the file is not."""
    values = cells.counts.astype(float)
    path = file_of(cells, values, tmp_path)
    drawn = load(path, n_cells=5).row_ids
    other = next(i for i in range(20) if i not in drawn)
    values[other] = cell_scales.log1p_per_10k(cells.counts, None)[other]
    with pytest.raises(UserError, match=rf"19 of 20 cells.*1 log1p of.*\(cell{other}\)"):
        load(file_of(cells, values, tmp_path), n_cells=5)


def test_thin_cells_whose_largest_count_is_small_are_read_with_a_warning(tmp_path):
    thin = draw(3, 40, 300)
    counts = np.random.default_rng(0).binomial(thin.counts, 0.02)
    counts = np.minimum(counts, 15)
    cohort = load(file_of(thin._replace(counts=counts), counts, tmp_path), min_tokens=1)
    assert "warning: no value is above 15" in cohort.scale


def test_cells_that_are_there_twice_are_said(cells, tmp_path):
    counts = cells.counts.copy()
    counts[15:] = counts[:5]
    cohort = load(file_of(cells._replace(counts=counts), counts, tmp_path))
    assert said(cohort, "copies").startswith("warning: 5 of 20 cells hold exactly the values")
    assert not [
        line
        for line in load(file_of(cells, cells.counts, tmp_path)).report
        if line.name == "copies"
    ]


def test_cells_thinned_to_one_depth_are_counts(cells, tmp_path):
    """Every cell has exactly 1,000 counts, as after downsampling; rounded rates only nearly."""
    rng = np.random.default_rng(0)
    thin = np.array([rng.multivariate_hypergeometric(row, 1_000) for row in cells.counts])
    cohort = load(file_of(cells._replace(counts=thin), thin, tmp_path))
    assert "raw counts" in cohort.scale


def test_multiples_of_counts_keep_their_order(cells, tmp_path):
    cohort = load(file_of(cells, 3 * cells.counts, tmp_path))
    assert [t.tolist() for t in cohort.tokens] == tokens(cells.counts, cells.genes)


def parts_of(cells, *names):
    """Counts split at random into parts."""
    rng, rest, parts = np.random.default_rng(0), cells.counts, {}
    for name in names[:-1]:
        parts[name] = rng.binomial(rest, 0.6)
        rest = rest - parts[name]
    return {**parts, names[-1]: rest}


@pytest.mark.parametrize(
    "names",
    [("spliced", "unspliced"), ("spliced", "unspliced", "ambiguous"), ("mature", "nascent")],
)
@pytest.mark.parametrize("logs", [False, True])
def test_x_that_equals_a_part_is_said(cells, tmp_path, names, logs):
    """Velocity files read with anndata.read_loom: X is the spliced layer again."""
    parts = parts_of(cells, *names)
    first = parts[names[0]]
    x = cell_scales.log1p_per_10k(first, None) if logs else first
    cohort = load(file_of(cells, x, tmp_path, parts))
    found = said(cohort)
    assert found.startswith("X, 700 genes")
    assert f"X holds a part of each cell's counts (the same as layers/{names[0]}): 6" in found
    assert "store their sum as a layer" in found
    assert [t.tolist() for t in cohort.tokens] == tokens(first, cells.genes)


@pytest.mark.parametrize("place", ["layers/all_counts", "raw/X"])
def test_whole_counts_come_before_a_part_in_x(cells, tmp_path, place):
    parts = parts_of(cells, "spliced", "unspliced")
    layers = {**parts, "all_counts": cells.counts} if place != "raw/X" else parts
    raw = cells.counts if place == "raw/X" else None
    cohort = load(file_of(cells, parts["spliced"], tmp_path, layers, raw))
    assert said(cohort).startswith(place)
    assert [t.tolist() for t in cohort.tokens] == tokens(cells.counts, cells.genes)


@pytest.mark.parametrize("empty", [False, True])
def test_x_of_whole_counts_beside_parts_is_no_part(cells, tmp_path, empty):
    parts = parts_of(cells, "spliced", "unspliced")
    if empty:
        parts = {"spliced": cells.counts, "unspliced": np.zeros_like(cells.counts)}
    found = said(load(file_of(cells, cells.counts, tmp_path, parts)))
    assert found.startswith("X, 700 genes") and "warning" not in found

"""Scale: proven and inverted exactly, or refused with the numbers."""

from __future__ import annotations

import anndata
import numpy as np
import pytest
from scipy import sparse

from scircuit.tracing.cells.scale import detect, misfits, to_counts


@pytest.fixture(scope="module")
def counts(examples):
    data = anndata.read_h5ad(examples / "cells" / "celltypist_sample_559cells.h5ad")
    return sparse.csr_matrix(data.X[:60], dtype=np.float64)


def normalised(counts, target=1e4, dtype=np.float32):
    depth = np.asarray(counts.sum(axis=1)).ravel()
    return sparse.csr_matrix(sparse.diags_array(target / depth) @ counts, dtype=dtype)


def applied(matrix, function):
    result = matrix.copy()
    result.data = function(result.data)
    return result


TRANSFORMS = {
    "CP10k": (lambda c: normalised(c), "no logarithm"),
    "log1p(CP10k)": (lambda c: normalised(c).log1p(), "log1p of normalised"),
    "log1p of counts": (
        lambda c: sparse.csr_matrix(c, dtype=np.float32).log1p(),
        "log1p of normalised",
    ),
    "log2": (lambda c: applied(normalised(c), lambda x: np.log2(x + 1)), "log2"),
    "log1p(CPM)": (lambda c: normalised(c, 1e6).log1p(), "log1p of normalised"),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_normalised_counts_are_proven_and_inverted_exactly(counts, name):
    transform, expected = TRANSFORMS[name]
    values = sparse.csr_matrix(transform(counts), dtype=np.float64)
    scale = detect(values)
    assert scale.usable and not scale.counts and expected in scale.name
    assert len(misfits(values, scale)) == 0
    assert (to_counts(values, scale) != counts).nnz == 0


def test_inversion_holds_for_a_subset_of_genes(counts):
    """Sums over a cell are no longer constant then; ratios within a cell still are ratios of
    integers.
    """
    keep = np.flatnonzero(np.asarray((counts > 0).sum(axis=0)).ravel() > 20)[::3]
    values = sparse.csr_matrix(normalised(counts).log1p()[:, keep], dtype=np.float64)
    scale = detect(values)
    assert "log1p of normalised" in scale.name and scale.usable
    back, truth = to_counts(values, scale), counts[:, keep]
    for row in range(truth.shape[0]):
        unit = truth[row].data.min() / back[row].data.min()
        assert np.allclose(back[row].data * unit, truth[row].data)


def test_rounded_log_values_of_a_public_file_are_proven(shared_data):
    """Stored with three decimals and 765 of the genes."""
    data = anndata.read_h5ad(shared_data / "cells" / "10x_pbmc68k_reduced.h5ad")
    values = sparse.csr_matrix(data.raw.X, dtype=np.float64)
    scale = detect(values)
    assert scale.usable and "log1p of normalised" in scale.name
    assert len(misfits(values, scale)) == 0
    back = to_counts(values, scale)
    assert np.array_equal(back.data, np.rint(back.data)) and back.data.min() == 1


def test_double_logarithm_is_refused_by_name(counts):
    scale = detect(sparse.csr_matrix(normalised(counts).log1p().log1p(), dtype=np.float64))
    assert not scale.usable and "twice" in scale.name and "--layer-key" in scale.fix


@pytest.mark.parametrize(
    ("function", "word"), [(np.sqrt, "unknown"), (lambda x: np.log1p(x) ** 1.1, "unknown")]
)
def test_transforms_that_no_count_explains_are_refused(counts, function, word):
    scale = detect(sparse.csr_matrix(applied(normalised(counts), function), dtype=np.float64))
    assert not scale.usable and word in scale.name


def test_expected_counts_are_taken_and_their_logarithm_is_refused(counts):
    """Ambient counts taken off leave values a little below whole numbers."""
    rng = np.random.default_rng(0)
    dense = counts.toarray()
    profile = dense.sum(axis=0) / dense.sum()
    left = np.maximum(dense - 0.05 * dense.sum(axis=1, keepdims=True) * profile, 0)
    left[:, rng.random(left.shape[1]) < 0.05] = 0
    values = sparse.csr_matrix(left)
    scale = detect(values)
    assert scale.usable and "expected counts" in scale.name and len(misfits(values, scale)) == 0
    assert (to_counts(values, scale) != values).nnz == 0
    assert not detect(sparse.csr_matrix(values.log1p())).usable


def test_values_with_sums_of_their_own_are_read_with_a_warning_and_one_sum_is_refused(shared_data):
    """Values near no whole number: as they are, divided to one sum as TPM are, as logarithms."""
    data = anndata.read_h5ad(shared_data / "cells" / "oligodendroglioma_184cells.h5ad")
    values = sparse.csr_matrix(data.X, dtype=np.float64)
    scale = detect(values)
    assert scale.usable and not scale.proven and "warning" in scale.evidence
    assert len(misfits(values, scale)) == 0 and (to_counts(values, scale) != values).nnz == 0
    one_sum = sparse.csr_matrix(values.multiply(1e6 / values.sum(axis=1)))
    assert not detect(one_sum).usable and "gene lengths" in detect(one_sum).evidence
    assert not detect(sparse.csr_matrix(values.log1p())).usable
    with_counts = sparse.csr_matrix(sparse.vstack([values, np.rint(values[:9])]))
    assert len(misfits(with_counts, detect(with_counts))) == 9


def test_values_of_nearly_every_gene_in_nearly_every_cell_are_imputed_ones(counts):
    """Means over cells that are alike have sums of their own, and are near no whole numbers."""
    near = np.random.default_rng(0).dirichlet(np.full(60, 0.7), 60)
    kept = np.asarray((counts > 0).sum(axis=0)).ravel() > 20
    values = sparse.csr_matrix(near @ counts[:, kept].toarray() * 20)
    scale = detect(values)
    assert not scale.usable and "imputation" in scale.evidence, scale


def test_scaled_values_are_refused(shared_data):
    data = anndata.read_h5ad(shared_data / "cells" / "10x_pbmc68k_reduced.h5ad")
    scale = detect(sparse.csr_matrix(data.X, dtype=np.float64))
    assert not scale.usable and "negative" in scale.evidence


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(counts, bad):
    values = counts.copy()
    values.data[7] = bad
    scale = detect(values)
    assert not scale.usable and "1 values in 1 cells" in scale.evidence


def test_nearly_whole_numbers_are_rounded(counts):
    values = counts.copy()
    values.data = values.data + 1e-9
    scale = detect(values)
    assert scale.counts
    assert (to_counts(values, scale) != counts).nnz == 0


def test_one_cell_of_another_scale_is_found(counts):
    values = sparse.csr_matrix(normalised(counts).log1p(), dtype=np.float64)
    span = slice(values.indptr[5], values.indptr[6])
    values.data[span] = np.sqrt(values.data[span]) * 1.234
    assert 5 in misfits(values, detect(values))

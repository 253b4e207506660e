"""Files: every storage form reads alike; what is no expression file is refused unopened."""

from __future__ import annotations

import os
import pickle

import anndata
import h5py
import numpy as np
import pytest
from scipy import sparse

from scircuit.core.config import CellsConfig
from scircuit.core.errors import UserError
from scircuit.tracing.cells.cohort import load_cohort
from scircuit.tracing.cells.expression_files import open_expression
from scircuit.tracing.tokenisation.vocabulary import geneformer_v2
from tests.support.plain_tokens import current_symbols


@pytest.fixture(scope="module")
def data(examples):
    return anndata.read_h5ad(examples / "cells" / "celltypist_sample_559cells.h5ad")[:50].copy()


def load(path, **options):
    return load_cohort(CellsConfig(cells=path, **{"n_cells": 0, **options}), geneformer_v2(), 258)


@pytest.mark.parametrize("form", ["csr", "csc", "dense", "gzip", "layer", "raw"])
def test_every_storage_form_gives_the_same_cohort(data, tmp_path, form):
    expected = sparse.csr_matrix(data.X)
    made = anndata.AnnData(expected.copy(), obs=data.obs.copy(), var=data.var.copy())
    if form == "csc":
        made.X = sparse.csc_matrix(expected)
    elif form == "dense":
        made.X = expected.toarray()
    elif form == "layer":
        made.layers["counts"] = expected.copy()
        made.X = sparse.csr_matrix(expected * 0.37)
    elif form == "raw":
        made.raw = made.copy()
        made.X = expected.toarray() - 1.0
    path = tmp_path / "cells.h5ad"
    made.write_h5ad(path, compression="gzip" if form == "gzip" else None)
    cohort = load(path)
    genes = {s: i for i, s in enumerate(current_symbols(data.var_names))}
    columns = [genes[geneformer_v2().symbol(g)] for g in cohort.genes]
    assert (cohort.counts != expected[:, columns]).nnz == 0
    used = next(line.found for line in cohort.report if line.name == "counts")
    assert used.startswith({"layer": "layers/counts", "raw": "raw/X"}.get(form, "X"))


@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
def test_scattered_rows_are_read_without_the_rest(data, tmp_path, form, monkeypatch):
    matrix = sparse.csr_matrix(data.X)
    data = anndata.AnnData(
        {"csr": matrix, "csc": sparse.csc_matrix(matrix), "dense": matrix.toarray()}[form],
        var=data.var,
    )
    data.write_h5ad(tmp_path / "cells.h5ad")
    monkeypatch.setattr("scircuit.tracing.cells.storage.stored_matrices._BLOCK", 3000)
    rows = np.array([0, 1, 7, 8, 9, 31, 49])
    with open_expression(tmp_path / "cells.h5ad") as expression:
        assert (expression.matrices["X"].rows(rows) != matrix[rows]).nnz == 0


def test_10x_file_with_ensembl_ids(shared_data):
    path = shared_data / "cells" / "scanpy_test_10x_v3_filtered_feature_bc_matrix.h5"
    cohort = load(path, min_tokens=10, min_mapped=0.5, panel=True)
    assert len(cohort.barcodes) == 1107 and cohort.barcodes[0].endswith("-1")
    found = {line.name: line.found for line in cohort.report}
    assert "Ensembl ids in var['gene_ids']" in found["identifiers"] and "GRCh38" in found["species"]
    with h5py.File(path) as file:
        assert int(file["matrix/data"][:].sum()) == int(cohort.totals.sum())


def test_truncated_file(examples, tmp_path):
    content = (examples / "cells" / "celltypist_sample_559cells.h5ad").read_bytes()
    path = tmp_path / "cut.h5ad"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=rf"cut.h5ad is truncated.*{len(content) // 2:,} bytes"):
        load(path)


class _Bomb:
    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_refused_and_does_not_run(tmp_path, protocol):
    path = tmp_path / "cells.h5ad"
    path.write_bytes(pickle.dumps(_Bomb(tmp_path / "ran"), protocol=protocol))
    with pytest.raises(UserError, match="pickle, which can run code"):
        load(path)
    assert not (tmp_path / "ran").exists()
    pickle.loads(path.read_bytes())
    assert (tmp_path / "ran").exists(), "the pickle would have run"


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("krumsiek11.txt", "text file"),
        ("oligodendroglioma_expression_downsampled.counts.matrix.gz", "gzip"),
        ("pbmc_small.rda", "expected an h5ad"),
    ],
)
def test_other_formats_are_named(shared_data, name, word):
    with pytest.raises(UserError, match=word):
        load(shared_data / "cells" / name)


def test_absent_file_lists_its_neighbours(examples):
    with pytest.raises(UserError, match=r"does not exist(.|\n)*celltypist_sample"):
        load(examples / "cells" / "celltypist.h5ad")


def test_hdf5_of_another_kind(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["weights"] = np.ones(3)
    with pytest.raises(UserError, match="neither h5ad nor 10x: it holds weights"):
        load(tmp_path / "x.h5")


def test_empty_file_and_folder(tmp_path):
    (tmp_path / "nothing.h5ad").touch()
    with pytest.raises(UserError, match="an empty file"):
        load(tmp_path / "nothing.h5ad")
    with pytest.raises(UserError, match="is a folder"):
        load(tmp_path)


@pytest.mark.parametrize("form", ["symbols", "ids", "mouse"])
def test_a_transposed_table_is_named(data, tmp_path, form):
    names = {
        "symbols": data.var_names,
        "ids": sorted(geneformer_v2().median)[: data.n_vars],
        "mouse": [f"ENSMUSG{i:011d}" for i in range(data.n_vars)],
    }[form]
    some = data[:, : len(names)].copy()
    some.var_names = list(names)[: some.n_vars]
    some.T.write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(UserError, match=r"obs holds names of genes(.|\n)*transpose the table"):
        load(tmp_path / "cells.h5ad", n_cells=5)


@pytest.mark.parametrize("form", ["zarr", "h5"])
def test_an_anndata_inside_a_file_is_named(data, tmp_path, form):
    """SpatialData keeps its cells in tables/table."""
    inner = anndata.AnnData(sparse.csr_matrix(data.X), obs=data.obs, var=data.var)
    if form == "zarr":
        zarr = pytest.importorskip("zarr")
        path = tmp_path / "cells.zarr"
        zarr.open_group(str(path), mode="w", zarr_format=2).create_group("tables")
        inner.write_zarr(path / "tables" / "table")
        assert len(load(path / "tables" / "table").row_ids) == 50
    else:
        path = tmp_path / "cells.h5"
        with h5py.File(path, "w") as file:
            anndata.io.write_elem(file, "tables/table", inner)
    with pytest.raises(UserError, match=r"holds one at tables/table(.|\n)*fix.*tables/table"):
        load(path)

"""A small file with one damage at a time: the same tokens without what is damaged, or one sentence
for the user; never another error, and never much memory.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scircuit.core.config import CellsConfig
from scircuit.core.errors import UserError
from scircuit.tracing.cells.cohort import load_cohort
from scircuit.tracing.cells.expression_files import open_expression
from scircuit.tracing.tokenisation.vocabulary import geneformer_v2
from tests.support.damaged_hdf5 import Damage, damages

CELLS, GENES = 6, 320


def small_counts():
    """Counts of a few cells over real genes, with their ids and symbols."""
    vocabulary = geneformer_v2()
    known = sorted(vocabulary.symbol_to_ensembl.items())[::40]
    known = [(symbol, gene) for symbol, gene in known if gene in vocabulary.median][:GENES]
    rng = np.random.default_rng(5)
    mean = rng.lognormal(0.5, 1.3, len(known))
    counts = rng.poisson(mean * rng.uniform(0.7, 1.6, (CELLS, 1))).astype(np.float32)
    return sparse.csr_matrix(counts), known


def small_h5ad(path: Path) -> Path:
    """An h5ad with every kind of column, a dense layer and raw."""
    counts, known = small_counts()
    index = [f"cell{i}" for i in range(CELLS)]
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(["T", "B", None, "T", "B", "T"]),
            "batch": ["x", "y"] * 3,
            "n_genes": np.arange(CELLS),
            "score": pd.array([1, None, 3, 4, 5, None], dtype="Int64"),
            "doublet": [True, False] * 3,
            "passed": pd.array([True, None] * 3, dtype="boolean"),
        },
        index=pd.Index(index),
    )
    var = pd.DataFrame(
        {"n_cells": np.arange(len(known)), "highly_variable": np.arange(len(known)) % 2 == 0},
        index=pd.Index([symbol for symbol, _ in known]),
    )
    data = anndata.AnnData(counts, obs=obs, var=var)
    data.raw = data.copy()
    data.layers["logged"] = np.log1p(counts.toarray())
    data.obsm["X_pca"] = np.ones((CELLS, 2))
    data.uns["note"] = {"method": "none", "steps": np.arange(3)}
    data.write_h5ad(path)
    return path


def small_tenx(path: Path) -> Path:
    """The same counts as a file of Cell Ranger 3, with an antibody."""
    counts, known = small_counts()
    stored = sparse.csr_matrix(sparse.hstack([counts, np.full((CELLS, 1), 9)])).astype(np.int32)
    with h5py.File(path, "w") as file:
        matrix = file.create_group("matrix")
        matrix["data"], matrix["indices"] = stored.data, stored.indices.astype(np.int64)
        matrix["indptr"], matrix["shape"] = stored.indptr.astype(np.int64), stored.shape[::-1]
        matrix["barcodes"] = np.array([f"cell{i}-1" for i in range(CELLS)], dtype="S")
        matrix["features/id"] = np.array([gene for _, gene in known] + ["CD4"], dtype="S")
        matrix["features/name"] = np.array([symbol for symbol, _ in known] + ["CD4"], dtype="S")
        matrix["features/genome"] = np.array(["GRCh38"] * len(known) + [""], dtype="S")
        types = ["Gene Expression"] * len(known) + ["Antibody Capture"]
        matrix["features/feature_type"] = np.array(types, dtype="S")
    return path


def old_h5ad(path: Path) -> Path:
    """The same counts as anndata stored them before 2020: tables of records, raw beside them."""
    counts, known = small_counts()
    text, bits = "S20", "i1"
    obs = np.zeros(CELLS, dtype=[("index", text), ("n_genes", "i4"), ("cell_type", bits)])
    obs["index"] = [f"cell{i}" for i in range(CELLS)]
    obs["n_genes"], obs["cell_type"] = np.arange(CELLS), [1, 0, -1, 1, 0, 1]
    var = np.zeros(len(known), dtype=[("index", text), ("highly_variable", "?")])
    var["index"] = [symbol for symbol, _ in known]
    with h5py.File(path, "w") as file:
        file["obs"], file["var"], file["raw.var"] = obs, var, var
        file["uns/cell_type_categories"] = np.array([b"B", b"T"])
        for name in ("X", "raw.X"):
            group = file.create_group(name)
            group.attrs["h5sparse_format"], group.attrs["h5sparse_shape"] = "csr", counts.shape
            for part in ("data", "indices", "indptr"):
                group[part] = getattr(counts, part)
    return path


class Outcomes:
    """What a file gives: its tokens, or the sentence that refuses it.

    Files from which the same cells, genes and matrices are read give the same tokens; they are
    worked out once.
    """

    def __init__(self, whole: Path) -> None:
        self.known: dict[str, object] = {}
        self.whole = self.of(whole)
        assert isinstance(self.whole, list)

    def of(self, path):
        """Tokens of all cells, or the message."""
        try:
            key = digest(path)
            if key in self.known:
                return self.known[key]
            config = CellsConfig(cells=path, n_cells=0, min_tokens=5, panel=True, mixed=True)
            cohort = load_cohort(config, geneformer_v2(), 258)
        except UserError as error:
            return str(error)
        return self.known.setdefault(key, [t.tolist() for t in cohort.tokens])

    def damaged(self, whole: Path, folder: Path, damage: Damage):
        """What a copy of the file gives after one damage."""
        path = folder / "damaged.h5"
        shutil.copy(whole, path)
        with h5py.File(path, "a") as file:
            damage.do(file)
        try:
            return self.of(path)
        except Exception as error:
            raise AssertionError(f"{damage.node}, {damage.kind}: {error!r}") from error


def digest(path) -> str:
    """Hash of everything that is read of a file; of a matrix that cannot be read, the reason."""
    found = hashlib.sha256()
    with open_expression(path) as expression:
        found.update(expression.obs.to_csv().encode())
        for name, matrix in sorted(expression.matrices.items()):
            found.update(f"{name} {matrix.shape}".encode() + matrix.var.to_csv().encode())
            try:
                values = matrix.rows(np.arange(len(expression.obs)))
            except UserError as error:
                found.update(str(error).encode())
            else:
                found.update(values.toarray().tobytes())
    return found.hexdigest()


def swept(whole: Path, folder: Path) -> dict[tuple[str, str], str]:
    """``same``, ``other`` tokens, or the sentence, for every single damage."""
    outcomes = Outcomes(whole)
    result = {}
    for damage in damages(whole):
        found = outcomes.damaged(whole, folder, damage)
        if isinstance(found, str):
            assert "\n  fix: " in found, f"{damage.node}, {damage.kind}: no fix: {found}"
            assert "is damaged: HDF5" not in found, f"{damage.node}, {damage.kind}: {found}"
        result[damage.node, damage.kind] = (
            found if isinstance(found, str) else "same" if found == outcomes.whole else "other"
        )
    return result


def test_an_h5ad_with_one_damage(tmp_path):
    found = swept(small_h5ad(tmp_path / "whole.h5ad"), tmp_path)
    assert len(found) > 1000
    read = ("/", "X", "obs", "var", "obs/_index", "var/_index")
    for (node, kind), outcome in found.items():
        place = node.split("@")[0]
        if not place.startswith("X/") and place not in read:
            assert outcome == "same", f"{node}, {kind}: {outcome}"
        else:
            assert outcome != "other", f"{node}, {kind}: other tokens"
    refused = [node for (node, _), outcome in found.items() if outcome != "same"]
    assert {"X/data", "X/indices", "X/indptr", "obs/_index", "var/_index", "var"} <= set(refused)
    for node in ("X/indices", "X/indptr", "X/data"):
        named = [o for (n, _), o in found.items() if n == node and o != "same"]
        assert all("X cannot be read" in o or "scale" in o for o in named), named


def test_a_10x_file_with_one_damage(tmp_path):
    found = swept(small_tenx(tmp_path / "whole.h5"), tmp_path)
    assert len(found) > 150
    odd = {key: o for key, o in found.items() if o == "other"}
    assert not odd
    for node in ("matrix/data", "matrix/indices", "matrix/indptr", "matrix/features/feature_type"):
        assert found[node, "half"] != "same" and found[node, "noise"] != "same"
    assert found["matrix/features/genome", "removed"] == "same"


@pytest.mark.parametrize("make", [small_h5ad, small_tenx])
def test_a_file_that_ends_early(tmp_path, make):
    whole = make(tmp_path / "whole.h5")
    content = whole.read_bytes()
    path = tmp_path / "cut.h5"
    for i in range(20):
        path.write_bytes(content[: 1 + (len(content) - 2) * i // 19])
        with pytest.raises(UserError, match=r"cells: cut\.h5 "), open_expression(path):
            pass


def test_names_that_are_no_text_and_counts_of_any_size(tmp_path):
    path = small_h5ad(tmp_path / "cells.h5ad")
    whole = Outcomes(path)
    with h5py.File(path, "a") as file:
        file.create_group(b"\xff\xfe")
        file["obs"].create_group(b"\xff\xfe")
        file.create_group(b"layers/\xff")
    assert whole.of(path) == whole.whole
    with h5py.File(path, "a") as file:
        file["X/data"][5] = 2.0**63
    assert isinstance(whole.of(path), list | str)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.create_group(b"\xff\xfe")
    with pytest.raises(UserError, match="neither h5ad nor 10x"):
        digest(tmp_path / "other.h5")


def test_an_h5ad_of_before_2020_with_one_damage(tmp_path):
    whole, new = old_h5ad(tmp_path / "whole.h5ad"), small_h5ad(tmp_path / "new.h5ad")
    assert Outcomes(whole).whole == Outcomes(new).whole
    with open_expression(whole) as expression:
        assert expression.obs["cell_type"].astype(object).fillna("?").tolist() == list("TB?TBT")
    for (node, kind), outcome in swept(whole, tmp_path).items():
        place = node.split("@")[0].split("/")[0]
        if place in ("uns", "raw.X", "raw.var"):
            assert outcome == "same", f"{node}, {kind}: {outcome}"
        else:
            assert outcome != "other", f"{node}, {kind}: other tokens"

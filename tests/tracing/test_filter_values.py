"""Filters as people write them: commas, equals signs, quotes, numbers, truth values and missing
values are matched against what the columns hold.
"""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

from scircuit.core.errors import UserError
from scircuit.tracing.cells import filters
from scircuit.tracing.cells.column_names import named

ALPHA = "CD4-positive, alpha-beta T cell"
MEMORY = "CD8-positive, alpha-beta memory T cell, CD45RO-positive"


@pytest.fixture(scope="module")
def obs():
    """Ten cells with values of every type."""
    data = pd.DataFrame(
        {
            "cell_type": pd.Categorical(
                [ALPHA, "B cell", MEMORY, ALPHA, "B cell", "A", "B", "A,B", "T cell ", np.nan]
            ),
            "n": np.array([1, 2, 3, 3, 10, 3, 1, 2, 2, 1]),
            "dose": np.array([0.5, 3.0, np.nan, 0.1, 0.5, 3, 0.1, 0.1, 0.5, 0.5], dtype=np.float32),
            "doublet": np.array([True, False] * 5),
            "called": pd.array([True, None] * 5, dtype="boolean"),
            "whole": pd.array([1, None] * 5, dtype="Int64"),
            "a": ["x=1", "1", "b=1", "q", "", " ", "'s", "5' UTR, long", '"quoted"', "None"],
            "a=b": ["1", "2", "c=1", "q", "5", "6", "7", "8", "9", "10"],
            "cell line": ["K562"] * 5 + ["k562"] * 5,
            "donor": ["D1", None, "D2", "NA", "D1", "D1", "D1", "D1", "D1", "D1"],
        }
    )
    data.index = [f"c{i}" for i in range(10)]
    return data


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (f"cell_type={ALPHA}", [0, 3]),
        (f"cell_type= {ALPHA} ", [0, 3]),
        (f'cell_type="{ALPHA}"', [0, 3]),
        (f"cell_type='{ALPHA}'", [0, 3]),
        (f"cell_type={ALPHA},B cell", [0, 1, 3, 4]),
        (f"cell_type=B cell, {ALPHA}", [0, 1, 3, 4]),
        (f"cell_type={MEMORY},{ALPHA},B cell,", [0, 1, 2, 3, 4]),
        (f'cell_type="{MEMORY}" , "B cell"', [1, 2, 4]),
        ("cell_type=A,B", [7]),
        ('cell_type="A","B"', [5, 6]),
        ("cell_type=A,B,B cell", [1, 4, 7]),
        ("cell_type=B,A", [5, 6]),
        ("cell_type=T cell", [8]),
        ("cell_type=NA", [9]),
        ("cell_type=nan,B cell", [1, 4, 9]),
        ("cell_type=", [9]),
        ("n=3", [2, 3, 5]),
        ("n=3.0", [2, 3, 5]),
        ("n=1,2", [0, 1, 6, 7, 8, 9]),
        ("n=1e1", [4]),
        ("dose=0.5", [0, 4, 8, 9]),
        ("dose=.50", [0, 4, 8, 9]),
        ("dose=3", [1, 5]),
        ("dose=0.1", [3, 6, 7]),
        ("dose=None", [2]),
        ("doublet=True", [0, 2, 4, 6, 8]),
        ("doublet=false", [1, 3, 5, 7, 9]),
        ("called=TRUE", [0, 2, 4, 6, 8]),
        ("called=<NA>", [1, 3, 5, 7, 9]),
        ("whole=1.0", [0, 2, 4, 6, 8]),
        ("a=b=1", [0]),
        ("a=b=c=1", [2]),
        ("a=x=1", [0]),
        ("a=", [4]),
        ("a=None", [9]),
        ("a='s", [6]),
        ("a=5' UTR, long", [7]),
        ('a="quoted"', [8]),
        ("a=5' UTR, long,q", [3, 7]),
        ("cell line=K562", [0, 1, 2, 3, 4]),
        (" cell line = K562 ", [0, 1, 2, 3, 4]),
        ('"cell line"=K562', [0, 1, 2, 3, 4]),
        ("donor=NA", [1, 3]),
        ("donor=none", [1, 3]),
        ("donor=D1,D2", [0, 2, 4, 5, 6, 7, 8, 9]),
    ],
)
def test_what_a_filter_selects(obs, text, rows):
    assert filters.select(obs, [text]).tolist() == rows
    named = filters.composition(obs.iloc[rows], [text])
    assert sum(named[next(iter(named))].values()) == len(rows)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cell_type", r"is not COLUMN=VALUE"),
        ("=x", r"is not COLUMN=VALUE"),
        ("n=", r"names no value, and no value of n is missing"),
        ("n= , ", r"no cell has n = ','"),
        ("n=4", r"no cell has n = '4'; n holds 1 \(3\), 2 \(3\), 3 \(3\), 10 \(1\)"),
        ("n=nan", r"no cell has n = 'nan'"),
        ("n=True", r"no cell has n = 'True'"),
        ("doublet=yes", r"no cell has doublet = 'yes'"),
        ("celltype=B", r"obs has no column 'celltype'(.|\n)*did you mean 'cell_type'"),
        ("cell_type=B cell,Bcell", r"cell_type = 'Bcell'(.|\n)*did you mean 'B cell'"),
        (
            "cell_type=CD4-positive, alpha-beta T cel",
            r"cell_type = 'CD4-positive'(.|\n)*did you mean 'CD4-positive, alpha-beta T cell'",
        ),
        ("cell line=k562,K", r"cell line = 'K'"),
    ],
)
def test_what_a_filter_cannot_mean(obs, text, message):
    with pytest.raises(UserError, match=message):
        filters.select(obs, [text])


def test_filters_combine(obs):
    assert filters.select(obs, [f"cell_type={ALPHA}", "n=3"]).tolist() == [3]
    with pytest.raises(UserError, match="no cell of 10 passes all filters"):
        filters.select(obs, [f"cell_type={ALPHA}", "n=10"])


def test_a_column_that_cannot_be_read_is_named_with_the_reason(obs):
    damaged = obs.drop(columns="donor")
    damaged.attrs["unreadable"] = {"donor": "its codes run from 0 to 9", "species": "it is null"}
    with pytest.raises(UserError, match=r"obs\['donor'\] cannot be read: its codes run"):
        filters.select(damaged, ["donor=D1"])
    assert len(filters.select(damaged, ["n=3"])) == 3
    line = filters.check_mixed(damaged.iloc[[0, 1]], [], mixed=False)
    assert not line.ok and "obs['species'] cannot be read: it is null" in line.found
    assert filters.check_mixed(damaged, [], mixed=True).ok


def test_every_value_of_a_file_selects_exactly_its_cells(shared_data):
    """Each value, written alone, in quotes and beside another, gives what pandas gives."""
    data = anndata.read_h5ad(shared_data / "cells" / "oligodendroglioma_184cells.h5ad").obs
    for column in data.columns:
        values = [str(v) for v in data[column].unique()]
        for value in values:
            expected = np.flatnonzero(data[column].astype(str) == value).tolist()
            for form in (f"{column}={value}", f'{column}="{value}"'):
                assert filters.select(data, [form]).tolist() == expected
        assert len(filters.select(data, [f"{column}={','.join(values)}"])) == len(data)


@pytest.mark.parametrize(
    "written", ["n_genes", "N.Genes", "nGenes", "n genes", "n-genes", "NGENES"]
)
def test_names_of_columns_in_any_spelling(written):
    assert named([written, "n_genes_by_counts", "genes"], ("n_genes", "nFeature_RNA")) == [written]
    assert not named(["n_genes_2", "genes"], ("n_genes",))


def test_columns_come_in_the_order_of_the_names():
    columns = ["Donor", "cell type", "Cell_Type", "donor_id"]
    found = named(columns, ("donor_id", "donor", "cell_type", "celltype"))
    assert found == ["donor_id", "Donor", "cell type", "Cell_Type"]

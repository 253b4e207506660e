"""Rows of var that are no genes: stated in any words, or symbols among ids; never summed."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scircuit.core.errors import UserError
from scircuit.tracing.cells.feature_types import not_genes
from scircuit.tracing.cells.identifiers import identify
from scircuit.tracing.tokenisation.vocabulary import geneformer_v2
from tests.support.plain_tokens import draw, table, tokens
from tests.support.token_outcome import outcome

ANTIBODIES = ["CD4", "CD8A", "MS4A1", "NCAM1"]
CELLS = 16


@pytest.fixture(scope="module")
def cells():
    """Cells with the genes of four antibodies; counts, ids, symbols."""
    ids, symbols, _, _ = table()
    drawn = draw(11, cells=CELLS, genes=600)
    at = [i for i, s in enumerate(drawn.symbols) if s not in ANTIBODIES]
    more = dict(zip(symbols, ids, strict=True))
    counts = np.random.default_rng(3).poisson(6, (CELLS, len(ANTIBODIES)))
    return (
        np.hstack([drawn.counts[:, at], counts]),
        [drawn.genes[i] for i in at] + [more[s] for s in ANTIBODIES],
        [drawn.symbols[i] for i in at] + ANTIBODIES,
    )


@pytest.fixture(scope="module")
def vocabulary():
    return geneformer_v2()


def others(count=4):
    return np.random.default_rng(4).poisson(90, (CELLS, count))


def written(folder, counts, var, raw=None):
    data = anndata.AnnData(sparse.csr_matrix(counts.astype(np.float32)), var=var)
    data.obs_names = [f"cell{i}" for i in range(len(counts))]
    if raw is not None:
        data.raw = raw
    data.write_h5ad(folder / "cells.h5ad")
    return folder / "cells.h5ad"


@pytest.mark.parametrize(
    ("column", "gene", "other"),
    [
        ("feature_types", "Gene Expression", "Antibody Capture"),
        ("feature_types", "gene expression", "Antibody capture"),
        ("feature_types", "GEX", "ADT"),
        ("feature_type", "RNA", "something new"),  # as Cell Ranger: any other type
        ("feature_types", "gene", "Antibody Capture"),
        ("Type", "Gene Expression", "Antibody Capture"),
        ("type", "Gene", "protein"),
        ("modality", "rna", "adt"),
        ("modality", "RNA", "HTO"),
        ("feature_class", "mRNA", "surface protein"),
        ("source of rows", "scRNA", "CRISPR Guide Capture"),
        ("assay", None, "ADT"),
        ("modality", None, "Multiplexing Capture"),
    ],
)
@pytest.mark.parametrize("index", ["ids", "numbered antibodies", "numbered genes"])
def test_stated_in_any_words(column, gene, other, index, cells, tmp_path):
    """Antibodies have the names of their genes, and are before or behind them."""
    counts, ids, symbols = cells
    first = index == "numbered genes"
    types = [gene] * len(ids)
    if index == "ids":
        names, antibodies = ids, ANTIBODIES
    elif first:
        names = [f"{s}-1" if s in ANTIBODIES else s for s in symbols]
        antibodies = ANTIBODIES
    else:
        names, antibodies = symbols, [f"{s}-1" for s in ANTIBODIES]
    joined = [(antibodies, others(), [other] * 4), (names, counts, types)]
    joined = joined if first else joined[::-1]
    var = pd.DataFrame(
        {column: [t for part in joined for t in part[2]]},
        index=[name for part in joined for name in part[0]],
    )
    path = written(tmp_path, np.hstack([part[1] for part in joined]), var)
    how, said = outcome(path, tokens(counts, ids))
    assert how == "exact", said
    assert f"4 are no genes by var['{column}'] ({other} 4)" in said
    assert ("4 genes whose names were numbered" in said) == first


def test_the_type_of_raw_counts(cells, tmp_path):
    """X has the genes only, and raw the antibodies too."""
    counts, ids, symbols = cells
    index = [*ANTIBODIES, *(f"{s}-1" if s in ANTIBODIES else s for s in symbols)]
    types = ["ADT"] * 4 + ["GEX"] * len(ids)
    raw = anndata.AnnData(
        sparse.csr_matrix(np.hstack([others(), counts]).astype(np.float32)),
        var=pd.DataFrame({"feature_types": types}, index=index),
    )
    raw.obs_names = [f"cell{i}" for i in range(CELLS)]
    logged = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)
    path = written(tmp_path, logged, pd.DataFrame(index=index[4:]), raw)
    how, said = outcome(path, tokens(counts, ids), layer_key="raw/X")
    assert how == "exact", said


@pytest.mark.parametrize("missing", [None, np.nan, "", "nan", "NA"])
@pytest.mark.parametrize("dtype", [object, "category", "string"])
def test_a_missing_type_excludes_nothing(missing, dtype, cells, vocabulary):
    _, ids, symbols = cells
    types = pd.Series(
        [missing if i % 3 else "Gene Expression" for i in range(len(ids))] + ["ADT"], dtype=object
    )
    var = pd.DataFrame(
        {"gene_ids": [*ids, "CD4"], "feature_types": types.astype(dtype).array},
        index=[*symbols, "CD4-1"],
    )
    found = identify(var, vocabulary)
    plain = identify(var.iloc[:-1, :1], vocabulary)
    assert found.genes == (*plain.genes, "") and found.count("no gene") == 1


def test_files_joined_of_which_one_states_types(cells, tmp_path):
    counts, ids, symbols = cells
    half = CELLS // 2
    var = pd.DataFrame({"feature_types": "Gene Expression", "gene_ids": ids}, index=symbols)
    parts = [
        anndata.AnnData(sparse.csr_matrix(counts[:half].astype(np.float32)), var=var),
        anndata.AnnData(
            sparse.csr_matrix(counts[half:].astype(np.float32)), var=pd.DataFrame(index=symbols)
        ),
    ]
    parts[0].obs_names, parts[1].obs_names = (
        [f"{batch}{i}" for i in range(half)] for batch in ("a", "b")
    )
    joined = anndata.concat([parts[0][:, 100:], parts[1]], join="outer", merge="first")
    joined.write_h5ad(tmp_path / "joined.h5ad")
    gene = dict(zip(symbols, ids, strict=True))
    genes = [gene[s] for s in joined.var_names]
    how, said = outcome(
        tmp_path / "joined.h5ad", tokens(joined.X.toarray().astype(int), genes), n_cells=0
    )
    assert how == "exact" and "no genes" not in said, said


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("gene_biotype", ["protein_coding", "lncRNA", "protein", "miRNA"]),
        ("feature_biotype", ["gene", "spike-in"]),
        ("gene_type", ["protein_coding", "antibody", "gene"]),
        ("feature_type", ["protein_coding", "lncRNA", "synthetic", "TEC"]),
        ("type", ["protein_coding", "protein", "IG_C_gene", "rRNA"]),
        ("panel", ["custom", "predesigned"]),
        ("druggable", ["protein", ""]),
        ("origin", ["gene", "exon", "intron", "custom"]),
        ("feature_types", ["Gene Expression", "protein_coding", "lncRNA"]),
    ],
)
def test_other_columns_exclude_nothing(column, values, cells, vocabulary):
    _, ids, symbols = cells
    held = [values[i % len(values)] for i in range(len(ids))]
    var = pd.DataFrame({"gene_ids": ids, column: held}, index=symbols)
    assert not not_genes(var).rows.any()
    assert identify(var, vocabulary).genes == identify(var[["gene_ids"]], vocabulary).genes


def test_no_genes_at_all(cells, vocabulary):
    var = pd.DataFrame({"feature_types": "Antibody Capture"}, index=ANTIBODIES)
    with pytest.raises(UserError, match=r"all 4 rows are no genes by var\['feature_types'\]"):
        identify(var, vocabulary)


def test_peaks_do_not_count_as_genes_without_a_token(cells, tmp_path):
    counts, ids, symbols = cells
    peaks = [f"chr1:{i}000-{i}500" for i in range(3000)]
    var = pd.DataFrame(
        {"feature_types": ["Gene Expression"] * len(ids) + ["Peaks"] * 3000},
        index=[*symbols, *peaks],
    )
    path = written(tmp_path, np.hstack([counts, others(3000) // 40]), var)
    how, said = outcome(path, tokens(counts, ids))
    assert how == "exact", said
    assert "3,000 are no genes by var['feature_types'] (Peaks 3,000)" in said


@pytest.mark.parametrize("column", ["index", "gene_ids", "gaps", "both"])
def test_symbols_among_ids_are_not_summed(column, cells, tmp_path):
    """Where no type is stated: in the index, in a column, or as gaps of it."""
    counts, ids, symbols = cells
    named = ["CD8A", "MS4A1", "CD56", "CD20"]  # one without a gene, and two old names
    kept = [i for i, s in enumerate(symbols) if s not in ("MS4A1", "NCAM1")]
    ids, symbols = [ids[i] for i in kept], [symbols[i] for i in kept]
    if column == "gaps":
        named = ["CD4", "CD8A", "CD56", "CD20"]
        other = ["CD4-1" if s == "CD4" else "CD8A-1" if s == "CD8A" else s for s in symbols]
        var = pd.DataFrame({"gene_ids": [*ids, *[None] * 4]}, index=[*other, *named])
    else:
        data = {
            "index": {},
            "both": {"Symbol": [*symbols, *named], "ID": [*ids, *named]},
            "gene_ids": {"gene_ids": [*ids, *named]},
        }[column]
        var = pd.DataFrame(data, index=[*(symbols if column == "gene_ids" else ids), *named])
        if column == "gene_ids":
            var.index = [*symbols, *(f"{n}-1" for n in named)]
    path = written(tmp_path, np.hstack([counts[:, kept], others(len(named))]), var)
    how, said = outcome(path, tokens(counts[:, kept], ids), min_mapped=0.5)
    assert how == "exact", said
    assert f"{len(named)} are left out" in said and "columns of" not in said


def test_ids_and_symbols_of_the_same_genes(cells, vocabulary):
    """Many genes under both names are refused; each under one of them is a way of naming."""
    _, ids, symbols = cells
    mixed = [g if i % 2 else s for i, (g, s) in enumerate(zip(ids, symbols, strict=True))]
    found = identify(pd.DataFrame(index=mixed), vocabulary)
    assert found.genes == identify(pd.DataFrame(index=ids), vocabulary).genes
    both = pd.DataFrame(index=[*ids, *symbols[:300]])
    with pytest.raises(UserError, match=r"28\d of 904 names in var index are symbols of"):
        identify(both, vocabulary)
    both["feature_types"] = ["GEX"] * len(ids) + ["ADT"] * 300  # as the message advises
    assert identify(both, vocabulary).count("no gene") == 300


def test_copies_that_no_antibody_caused_stay_made_unique(vocabulary):
    index = ["CD4", "CD4-1", "CD8A-1", "CD8A-2", "CD8A", "NKX2-1", "NKX2", "TP53"]
    types = ["Gene", "Gene", "Gene", "Gene", "ADT", "Gene", "ADT", "Gene"]
    found = identify(pd.DataFrame({"type": types}, index=index), vocabulary)
    assert found.status.tolist() == [
        *("mapped", "made unique", "made unique", "made unique"),
        *("no gene", "mapped", "no gene", "mapped"),
    ]


@pytest.mark.parametrize("column", ["gene_name", "description", "feature_types", "genome"])
@pytest.mark.parametrize("dtype", ["string", "category"])
def test_missing_text_in_any_column(column, dtype, cells, tmp_path):
    counts, ids, symbols = cells
    value = {"feature_types": "Gene Expression", "genome": "GRCh38"}.get(column, "text")
    held = symbols if column == "gene_name" else [value] * len(ids)
    text = pd.Series([None if i % 7 == 0 else v for i, v in enumerate(held)], dtype=object)
    var = pd.DataFrame({column: text.astype(dtype).array}, index=ids)
    with anndata.settings.override(allow_write_nullable_strings=True):
        data = anndata.AnnData(sparse.csr_matrix(counts.astype(np.float32)), var=var)
        data.obs_names = [f"cell{i}" for i in range(CELLS)]
        path = tmp_path / "cells.h5ad"
        data.write_h5ad(path, convert_strings_to_categoricals=False)
    how, said = outcome(path, tokens(counts, ids))
    assert how == "exact", said

"""Token sequences equal those of an independent, plain implementation of the official formula."""

from __future__ import annotations

import warnings
from dataclasses import replace

import anndata
import h5py
import numpy as np
import pytest
from scipy import sparse

from scircuit.core.config import CellsConfig
from scircuit.core.errors import UserError
from scircuit.tracing.cells.cohort import load_cohort
from scircuit.tracing.tokenisation.rank import tokenise, tokenise_matrix
from scircuit.tracing.tokenisation.vocabulary import geneformer_v2
from tests.support.plain_tokens import current_symbols

DEMO = "celltypist_sample_559cells.h5ad"
COUNTS = (
    "10x_pbmc68k_reduced.h5ad",
    DEMO,
    "oligodendroglioma_184cells.h5ad",
    "papalexi2021_thp1_crispr_20729cells.h5ad",
    "papalexi2021_thp1_crisprko_subset.h5ad",
    "pbmc_small.h5ad",
    "scanpy_test_10x_v3_filtered_feature_bc_matrix.h5",
)
REFUSED = {
    "palantir_cd34_markers_pseudotime.h5ad": (
        r"scale: no matrix of the file can be converted back to counts; X: scaled or imputed values"
    ),
    "scvelo_dentategyrus_50obs.h5ad": r"species: mouse or rat: 3 of 13,913 names are human symbols",
}


def plain(names, values, vocabulary, max_length):
    """One cell by the official recipe, in loops: sum per Ensembl id, x / n_counts * 10,000 /
    median, rank, cut, frame.
    """
    total = sum(float(v) for v in values)
    counts = {}
    for name, value in zip(names, values, strict=True):
        gene = name if name.startswith("ENSG") else vocabulary.symbol_to_ensembl.get(name)
        if gene in vocabulary.token and value > 0:
            counts[gene] = counts.get(gene, 0.0) + float(value)
    ranked = sorted(
        (-(x / total * 10_000 / vocabulary.median[gene]), vocabulary.token[gene])
        for gene, x in counts.items()
    )
    return [2, *(token for _, token in ranked[: max_length - 2]), 3]


def raw(path):
    """Names and counts by the field's own reader, not the one under test; log1p(CP10k) back to
    counts by its smallest value.
    """
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            group = file["matrix"]
            shape = tuple(group["shape"][:])[::-1]
            return [n.decode() for n in group["features/id"][:]], sparse.csr_matrix(
                (group["data"][:], group["indices"][:], group["indptr"][:]), shape=shape
            )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = anndata.read_h5ad(path)
    if path.name != "10x_pbmc68k_reduced.h5ad":
        return list(data.var_names), sparse.csr_matrix(data.X)
    counts = np.expm1(sparse.csr_matrix(data.raw.X).toarray().astype(np.float64))
    units = np.where(counts > 0, counts, np.inf).min(axis=1, keepdims=True)
    return list(data.raw.var_names), sparse.csr_matrix(np.rint(counts / units))


def test_no_file_of_cells_is_forgotten(shared_data):
    assert {p.name for p in (shared_data / "cells").iterdir() if p.suffix in (".h5ad", ".h5")} == {
        *COUNTS,
        *REFUSED,
    }


@pytest.mark.parametrize("name", COUNTS)
def test_every_file_of_counts_gives_the_official_tokens(shared_data, name):
    """Every cell (500 of the larger files), at a length that cuts and at the model's own."""
    path, vocabulary = shared_data / "cells" / name, geneformer_v2()
    cohort = load_cohort(
        CellsConfig(cells=path, n_cells=500, min_tokens=1, min_mapped=0.4, panel=True),
        vocabulary,
        4096,
    )
    short = tokenise_matrix(cohort.counts, cohort.genes, vocabulary, 34, cohort.totals)
    names, matrix = raw(path)
    names = np.array(current_symbols(names), dtype=object)
    for row, tokens, cut in zip(cohort.row_ids, cohort.tokens, short, strict=True):
        cell = matrix[row]
        assert tokens.tolist() == plain(names[cell.indices], cell.data, vocabulary, 4096)
        assert cut.tolist() == ([*tokens.tolist()[:33], 3] if len(tokens) > 34 else tokens.tolist())
    assert max(map(len, cohort.tokens)) > 34  # the short length cuts in every file


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_human_counts_is_refused_with_the_reason(shared_data, name):
    with pytest.raises(UserError, match=REFUSED[name]):
        load_cohort(
            CellsConfig(
                cells=shared_data / "cells" / name, n_cells=20, min_tokens=1, min_mapped=0.0
            ),
            geneformer_v2(),
            4096,
        )


def test_truncation_occurs_in_the_data_above(shared_data):
    cohort = load_cohort(
        CellsConfig(cells=shared_data / "cells" / DEMO, n_cells=40), geneformer_v2(), 258
    )
    assert (np.diff(cohort.counts.indptr) > 256).all()


def test_ties_are_resolved_as_by_the_plain_implementation(shared_data):
    """Real counts on the genes that share a median: with those, and only those, a cell of whole
    counts has ties.
    """
    vocabulary = geneformer_v2()
    medians, times = np.unique(list(vocabulary.median.values()), return_counts=True)
    shared = set(medians[times > 1])
    genes = [g for g, m in vocabulary.median.items() if m in shared][::-1]
    _, matrix = raw(shared_data / "cells" / DEMO)
    frequent = np.argsort(-np.asarray((matrix > 0).sum(axis=0)).ravel())[: len(genes)]
    tied = 0
    for row in range(40):
        counts = matrix[row, frequent].toarray().ravel()
        value = counts[counts > 0] / np.array([vocabulary.median[g] for g in genes])[counts > 0]
        tied += len(value) - len(np.unique(value))
        expected = plain([vocabulary.symbol(g) for g in genes], counts, vocabulary, 60)
        assert tokenise(counts, genes, vocabulary, 60).tolist() == expected
    assert tied > 100


def test_equal_values_are_ordered_by_token():
    vocabulary = geneformer_v2()
    by_median = {}
    for gene, median in vocabulary.median.items():
        by_median.setdefault(median, []).append(gene)
    same = next(genes for genes in by_median.values() if len(genes) > 4)
    for genes in (same, same[::-1]):
        tokens = tokenise(np.ones(len(genes)), genes, vocabulary, 100)
        assert tokens.tolist() == [2, *sorted(vocabulary.token[g] for g in genes), 3]


def test_order_does_not_depend_on_depth_or_on_other_genes():
    vocabulary = geneformer_v2()
    genes = list(vocabulary.gene_of_token[100:140])
    counts = np.random.default_rng(0).integers(1, 50, 40)
    expected = tokenise(counts, genes, vocabulary, 100).tolist()
    assert tokenise(counts * 7, genes, vocabulary, 100).tolist() == expected
    assert (
        tokenise(
            np.append(counts, 10_000), [*genes, "not in the vocabulary"], vocabulary, 100
        ).tolist()
        == expected
    )


def test_no_logarithm_is_taken():
    """log1p before the division by the median, as an earlier study did, orders these two genes the
    other way.
    """
    vocabulary = geneformer_v2()
    low, high = sorted(vocabulary.gene_of_token[4:3000], key=lambda g: vocabulary.median[g])[::2995]
    counts = np.array([1.0, 1.5 * vocabulary.median[high] / vocabulary.median[low]])
    y = np.log1p(counts / counts.sum() * 1e4)
    assert y[0] / vocabulary.median[low] > y[1] / vocabulary.median[high]
    assert tokenise(counts, [low, high], vocabulary, 10).tolist() == [
        2,
        vocabulary.token[high],
        vocabulary.token[low],
        3,
    ]


def test_a_model_without_cls_and_eos_reads_genes_alone():
    """Geneformer V1: up to 2,048 genes and nothing around them."""
    vocabulary = replace(geneformer_v2(), cls=None, eos=None)
    genes = list(vocabulary.gene_of_token[100:140])
    counts = np.random.default_rng(0).integers(1, 50, 40)
    framed = tokenise(counts, genes, geneformer_v2(), 42).tolist()
    assert tokenise(counts, genes, vocabulary, 42).tolist() == framed[1:-1]
    assert tokenise(counts, genes, vocabulary, 7).tolist() == framed[1:8]
    assert vocabulary.framing == 0


def test_a_gene_in_two_columns_is_refused():
    vocabulary = geneformer_v2()
    gene = vocabulary.gene_of_token[10]
    with pytest.raises(UserError, match="more than one column"):
        tokenise(np.ones(2), [gene, gene], vocabulary, 10)


def test_a_cell_without_known_genes_is_two_specials():
    assert tokenise(np.ones(1), ["nothing"], geneformer_v2(), 10).tolist() == [2, 3]

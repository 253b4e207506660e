"""Token sequences equal those of an independent, plain implementation of the official formula."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from scipy import sparse

from scircuit.settings import CellsConfig, UserError
from tracing.cells import load_cohort
from tracing.tokenise import tokenise
from tracing.vocabulary import geneformer_v2

FILES = ("celltypist_sample_559cells.h5ad", "oligodendroglioma_184cells.h5ad", "papalexi2021_thp1_crisprko_subset.h5ad", "pbmc_small.h5ad")


def plain(names, values, vocabulary, max_length):
    """One cell by the official recipe, in loops: sum per Ensembl id, x / n_counts * 10,000 / median, rank, cut, frame."""
    total = sum(float(v) for v in values)
    counts = {}
    for name, value in zip(names, values, strict=True):
        gene = vocabulary.symbol_to_ensembl.get(name)
        if gene and value > 0:
            counts[gene] = counts.get(gene, 0.0) + float(value)
    ranked = sorted((-(x / total * 10_000 / vocabulary.median[gene]), vocabulary.token[gene]) for gene, x in counts.items())
    return [2, *(token for _, token in ranked[: max_length - 2]), 3]


def raw(path):
    """Names and dense counts straight from the HDF5 file, without the reader under test."""
    with h5py.File(path) as file:
        index = file["var"].attrs["_index"]
        names = [n.decode() for n in file["var"][index][:]]
        x = file["X"]
        matrix = sparse.csr_matrix((x["data"][:], x["indices"][:], x["indptr"][:]), shape=tuple(x.attrs["shape"]))
    return names, matrix


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("max_length", [258, 4096])
def test_every_file_of_counts_gives_the_official_tokens(shared_data, name, max_length):
    path, vocabulary = shared_data / "cells" / name, geneformer_v2()
    cohort = load_cohort(CellsConfig(cells=path, n_cells=40, min_tokens=1, min_mapped=0.5), vocabulary, max_length)
    names, matrix = raw(path)
    for row, tokens in zip(cohort.row_ids, cohort.tokens, strict=True):
        assert tokens.tolist() == plain(names, matrix[row].toarray().ravel(), vocabulary, max_length)


def test_truncation_occurs_in_the_data_above(shared_data):
    cohort = load_cohort(CellsConfig(cells=shared_data / "cells" / FILES[0], n_cells=40), geneformer_v2(), 258)
    assert (np.diff(cohort.counts.indptr) > 256).all()


def test_ties_are_resolved_as_by_the_plain_implementation(shared_data):
    """Real counts on the genes that share a median: with those, and only those, a cell of whole counts has ties."""
    vocabulary = geneformer_v2()
    medians, times = np.unique(list(vocabulary.median.values()), return_counts=True)
    shared = set(medians[times > 1])
    genes = [g for g, m in vocabulary.median.items() if m in shared][::-1]
    _, matrix = raw(shared_data / "cells" / FILES[0])
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
    assert tokenise(np.append(counts, 10_000), [*genes, "not in the vocabulary"], vocabulary, 100).tolist() == expected


def test_no_logarithm_is_taken():
    """log1p before the division by the median, as an earlier study did, orders these two genes the other way."""
    vocabulary = geneformer_v2()
    low, high = sorted(vocabulary.gene_of_token[4:3000], key=lambda g: vocabulary.median[g])[:: 2995]
    counts = np.array([1.0, 1.5 * vocabulary.median[high] / vocabulary.median[low]])
    y = np.log1p(counts / counts.sum() * 1e4)
    assert y[0] / vocabulary.median[low] > y[1] / vocabulary.median[high]
    assert tokenise(counts, [low, high], vocabulary, 10).tolist() == [2, vocabulary.token[high], vocabulary.token[low], 3]


def test_a_gene_in_two_columns_is_refused():
    vocabulary = geneformer_v2()
    gene = vocabulary.gene_of_token[10]
    with pytest.raises(UserError, match="more than one column"):
        tokenise(np.ones(2), [gene, gene], vocabulary, 10)


def test_a_cell_without_known_genes_is_two_specials():
    assert tokenise(np.ones(1), ["nothing"], geneformer_v2(), 10).tolist() == [2, 3]

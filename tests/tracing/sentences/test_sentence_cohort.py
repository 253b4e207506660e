"""Cells of a file as sentences: equal to a plain restatement, and what the preflight says."""

from __future__ import annotations

import json

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scircuit.core.config import CellsConfig
from scircuit.core.errors import UserError
from scircuit.tracing.cells.cohort import load_cohort
from scircuit.tracing.sentences.prompt_templates import Template
from scircuit.tracing.sentences.sentence_tokens import CELL, genes_of
from scircuit.tracing.sentences.sentence_vocabulary import (
    named_genes,
    of_sentences,
    sentence_vocabulary,
    written_names,
)
from scircuit.tracing.tokenisation.rank import tokenise_matrix
from scircuit.tracing.tokenisation.vocabulary import geneformer_v2, human_gene_ids
from tests.support.plain_tokens import current_symbols
from tests.support.sentence_parts import byte_level, sentences_of

IMMUNE = "celltypist_sample_559cells.h5ad"
LONG = 5000


@pytest.fixture(scope="module")
def tokeniser():
    return byte_level()


@pytest.fixture(scope="module")
def vocabulary(tokeniser):
    return of_sentences(sentences_of(tokeniser), "test")


def line(cohort, name):
    return next(line for line in cohort.report if line.name == name)


def short(tokeniser, top_n):
    template = Template("short", "{cell_sentence}. Type:", top_n=top_n)
    return of_sentences(sentences_of(tokeniser, template), "test")


def test_genes_are_those_with_a_name():
    symbols = named_genes()
    assert list(symbols) == sorted(symbols) and len(symbols) == 41_074
    assert {g: s for s, g in human_gene_ids().items() if not s.startswith("ENSG")} == symbols
    names = written_names()
    assert len(set(names)) == len(names) and not any(n.split() != [n] for n in names)
    assert all(n == n.upper() for n in names)


def test_vocabulary(vocabulary, tokeniser):
    assert len(vocabulary) == 41_074 and vocabulary.specials == frozenset()
    assert (vocabulary.framing, vocabulary.cls, vocabulary.eos, vocabulary.mask) == (
        0,
        None,
        None,
        -1,
    )
    malat1 = vocabulary.token["ENSG00000251562"]
    assert "ENSG00000251562" not in geneformer_v2().token  # its name is read all the same
    assert vocabulary.sentences.names[malat1] == vocabulary.symbol("ENSG00000251562") == "MALAT1"
    assert vocabulary.gene_of_token[malat1] == "ENSG00000251562"
    assert not set(vocabulary.outside.values()) & set(vocabulary.gene_of_token)
    table = vocabulary.table
    assert table.genes[table.exact["C1orf43"]] == "ENSG00000143612"
    assert "C1ORF43" in written_names()


def test_a_folder(tmp_path, tokeniser):
    tokeniser.save(str(tmp_path / "tokenizer.json"))
    size = tokeniser.get_vocab_size()
    found = sentence_vocabulary(tmp_path, size)
    assert found.name == tmp_path.name and found.sentences.template.is_own and found.follow
    wording = {"text": "{cell_sentence}. T:", "top_n": 30}
    (tmp_path / "prompt_template.json").write_text(json.dumps(wording))
    (tmp_path / "gene_names.json").write_text('{"follow_old_symbols": 0}')
    found = sentence_vocabulary(tmp_path, size + 5)
    assert found.sentences.top_n == 30 and not found.follow
    given = Template("given", "{cell_sentence} :")
    assert sentence_vocabulary(tmp_path, size, given).sentences.template is given
    with pytest.raises(UserError, match="the model has 10 tokens"):
        sentence_vocabulary(tmp_path, 10)


@pytest.mark.parametrize("name", [IMMUNE, "pbmc_small.h5ad", "oligodendroglioma_184cells.h5ad"])
def test_every_file_of_counts_gives_the_plain_sentences(shared_data, vocabulary, name):
    path = shared_data / "cells" / name
    config = CellsConfig(cells=path, n_cells=10, min_tokens=1, min_mapped=0.5, seed=3, panel=True)
    cohort = load_cohort(config, vocabulary, LONG)
    with h5py.File(path) as file:
        columns = [n.decode() for n in file["var"][file["var"].attrs["_index"]][:]]
        x = file["X"]
        matrix = sparse.csr_matrix(
            (x["data"][:], x["indices"][:], x["indptr"][:]), shape=tuple(x.attrs["shape"])
        )
    known = set(named_genes().values())
    kept = [(i, s) for i, s in enumerate(current_symbols(columns)) if s in known]
    place = np.array([i for i, _ in kept])
    symbols = np.array([s.upper() for _, s in kept])
    for row, cell in zip(cohort.row_ids, cohort.tokens, strict=True):
        counts = matrix[row].toarray().ravel()
        v = np.log10(1 + counts / counts.sum() * 10_000)[place]
        table = pd.DataFrame({"name": symbols[v > 0], "v": v[v > 0]})
        table = table.iloc[np.random.default_rng((3, int(row))).permutation(len(table))]
        wanted = table.sort_values("v", ascending=False, kind="stable")["name"].head(200)
        assert [written_names()[g] for g in genes_of(cell)] == wanted.tolist()
    assert cohort.framing == 0 and cohort.tokens[0].dtype == CELL


def test_what_is_said(examples, vocabulary, tokeniser):
    cohort = load_cohort(
        CellsConfig(cells=examples / "cells" / IMMUNE, n_cells=8), vocabulary, LONG
    )
    lengths = [len(t) for t in cohort.tokens]
    names = [(t["gene"] >= 0).sum() for t in cohort.tokens]
    assert cohort.gene_tokens.tolist() == names
    found = line(cohort, "tokens").found
    assert found.startswith("200 / 200 / 200 genes per cell (minimum / median / maximum) in ")
    assert f"{min(lengths):,} / {np.median(lengths):,.0f} / {max(lengths):,} tokens" in found
    assert f"{sum(names) / 1600:.2f} tokens per gene" in found
    assert "warning: template own cell type" in line(cohort, "prompt").found
    assert (
        "8 of 8 cells (100%) have more than 200 genes; none was cut"
        in line(cohort, "truncated").found
    )
    assert cohort.manifest()["tokens"] == names
    assert cohort.record()["tokens_median"].to_pylist() == [float(np.median(names))]
    cut = load_cohort(
        CellsConfig(cells=examples / "cells" / IMMUNE, n_cells=8, max_length=min(lengths)),
        vocabulary,
        LONG,
    )
    left = [len(genes_of(t)) for t in cut.tokens]
    assert all(len(t) <= min(lengths) for t in cut.tokens)
    for few, all_of in zip(cut.tokens, cohort.tokens, strict=True):
        assert genes_of(few).tolist() == genes_of(all_of)[: len(genes_of(few))].tolist()
    fewer = [n for n in left if n < 200]
    assert (
        fewer
        and (
            f"; {len(fewer)} of 8 cells ({len(fewer) / 8:.0%}) were cut further, to {min(fewer)} /"
            f" {np.median(fewer):,.0f} / {max(fewer)} genes, for the prompt to fit into"
            f" {min(lengths):,} tokens: {sum(200 - n for n in fewer)} genes left out"
        )
        in line(cut, "truncated").found
    )
    quiet = load_cohort(
        CellsConfig(cells=examples / "cells" / IMMUNE, n_cells=3), short(tokeniser, 30), LONG
    )
    assert short(tokeniser, 30).sentences.template.sha256[:12] in line(quiet, "prompt").found
    assert line(quiet, "prompt").found.startswith(
        "template short (cell type, Homo sapiens, up to 30"
    )


def test_least_genes_are_genes_and_not_more_than_the_sentence_has(examples, vocabulary, tokeniser):
    config = CellsConfig(cells=examples / "cells" / IMMUNE, n_cells=5)
    cohort = load_cohort(config, short(tokeniser, 30), LONG)  # 100 asked for by default
    assert (
        line(cohort, "tokens").ok and "a median of at least 30" in line(cohort, "tokens").expected
    )
    with pytest.raises(UserError, match=r"tokens: \d+ / \d+ / \d+ genes per cell.*at least 100"):
        load_cohort(config, vocabulary, 350)  # more tokens of genes than 100, and fewer genes


def test_panels_are_held_to_a_transcriptome(tmp_path, vocabulary):
    """Not to the 41,074 names, of which no table has most."""
    rng, named = np.random.default_rng(0), set(named_genes().values())

    def cells(number):
        symbols = [s for s in geneformer_v2().symbol_to_ensembl if s in named][:number]
        counts = sparse.csr_matrix(rng.poisson(0.4, (12, number)).astype(np.float32))
        path = tmp_path / f"{number}.h5ad"
        anndata.AnnData(counts, var=pd.DataFrame(index=symbols)).write_h5ad(path)
        return load_cohort(CellsConfig(cells=path), vocabulary, LONG)

    assert "panel" not in (names := [item.name for item in cells(18_000).report])
    assert "genes measured" not in names
    found = line(cells(9_000), "genes measured").found
    assert "of a transcriptome's 20,271 genes measured" in found
    with pytest.raises(UserError, match=r"of a transcriptome's 20,271 genes measured: a targeted"):
        cells(1_500)


def test_a_cell_is_read_alike_in_every_cohort(examples, vocabulary):
    def cells(n, seed):
        path = examples / "cells" / IMMUNE
        cohort = load_cohort(CellsConfig(cells=path, n_cells=n, seed=seed), vocabulary, LONG)
        return dict(zip(cohort.row_ids.tolist(), cohort.tokens, strict=True))

    few, many, other = cells(5, 1), cells(40, 1), cells(40, 2)
    assert all(np.array_equal(few[row], many[row]) for row in few)
    both = set(many) & set(other)
    assert both and not any(np.array_equal(many[row], other[row]) for row in both)


def test_the_same_gene_in_two_columns_is_refused(vocabulary):
    gene = vocabulary.gene_of_token[5]
    with pytest.raises(UserError, match=f"in more than one column, such as {gene}"):
        tokenise_matrix(sparse.csr_matrix(np.ones((1, 2))), [gene, gene], vocabulary, 100)

"""Losses on cell sentences equal a plain loop over the library's own logits, and the catalogue of a
model that reads sentences counts genes, not tokens."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scircuit.core.errors import UserError
from scircuit.tracing.clean_pass.feature_genes import build_catalogue
from scircuit.tracing.evaluation.loss_on_cells import (
    loss_on_cells,
    require_better_than_guessing,
)
from scircuit.tracing.evaluation.unigram import SMOOTHINGS
from scircuit.tracing.models import load_model
from scircuit.tracing.sentences.prompt_templates import Template
from scircuit.tracing.sentences.sentence_loss import (
    answer_loss,
    answer_nats,
    name_nats,
    sentence_loss,
)
from scircuit.tracing.sentences.sentence_tokens import genes_of
from scircuit.tracing.sentences.sentence_vocabulary import written_names
from tests.support.sentence_parts import byte_level, numbers
from tests.support.tiny_models import TinyDictionary

TYPES = ("T cell", "NK cell", "B cell", "T cell", "T cell")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random GPT-NeoX with a tokeniser and a wording of its own."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    folder = tmp_path_factory.mktemp("sentence_model")
    tokeniser = byte_level()
    config = GPTNeoXConfig(
        vocab_size=tokeniser.get_vocab_size() + 8,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=256,
        initializer_range=0.3,
    )
    torch.manual_seed(0)
    GPTNeoXForCausalLM(config).save_pretrained(folder)
    tokeniser.save(str(folder / "tokenizer.json"))
    wording = {"text": "{num_genes} genes: {cell_sentence}. Type:", "top_n": 40}
    (folder / "prompt_template.json").write_text(json.dumps(wording))
    return folder


@pytest.fixture(scope="module")
def adapter(folder):
    return load_model(folder, "cpu")


@pytest.fixture(scope="module")
def cells(adapter):
    """Six cells: few genes are in many of them."""
    rng = np.random.default_rng(1)
    some = np.r_[numbers("MALAT1", "HLA-DRB1", "MT-CO1", "NKX2-5"), np.arange(0, 30_000, 1000)]
    return [
        adapter.vocabulary.sentences.read(rng.permutation(some)[:n], adapter.max_length)
        for n in (30, 25, 12, 20, 28, 30)
    ]


@pytest.fixture(scope="module")
def library(folder):
    """-ln p of every token but the first, by the library alone, one row at a time."""
    from transformers import GPTNeoXForCausalLM

    model = GPTNeoXForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()

    def losses(tokens):
        with torch.inference_mode():
            logits = model(torch.tensor([list(tokens)])).logits[0].numpy()
        found = [float("nan")]
        for row, token in zip(logits, list(tokens)[1:], strict=False):
            found.append(math.log(np.exp(row - row[token]).sum()))
        return found

    return losses


def plain_unigram(seen, measured, size):
    """The lowest mean -ln p over smoothings."""
    counts, n = Counter(seen), len(seen)
    return min(
        sum(-math.log((counts[t] + a) / (n + a * size)) for t in measured) / len(measured)
        for a in SMOOTHINGS
    )


def test_loss_on_names(adapter, cells, library):
    """The adapter computes in float32: 1e-4 is 30 times what its logits differ by."""
    test, train = cells[:3], cells[3:]
    found = sentence_loss(adapter, test, train, seed=4)
    by_token, by_gene = [], []
    for cell in test:
        nats, of_gene = library(cell["token"].tolist()), defaultdict(float)
        for p, (_, gene) in enumerate(cell.tolist()):
            if gene >= 0:
                by_token.append(nats[p])
                of_gene[gene] += nats[p]
        by_gene += list(of_gene.values())
    assert (found.tokens, found.genes, found.cells) == (len(by_token), 67, 3)
    assert found.token == pytest.approx(sum(by_token) / len(by_token), abs=1e-4)
    assert found.gene == pytest.approx(sum(by_gene) / len(by_gene), abs=4e-4)
    assert found.gene > found.token * 1.5

    def named(cells, field):
        return [int(t[field]) for cell in cells for t in cell if t["gene"] >= 0]

    def genes(cells):
        return [int(g) for cell in cells for g in genes_of(cell)]

    wanted = plain_unigram(named(train, "token"), named(test, "token"), adapter.n_tokens)
    assert found.unigram_token == pytest.approx(wanted)
    wanted = plain_unigram(genes(train), genes(test), len(written_names()))
    assert found.unigram_gene == pytest.approx(wanted)


def test_shuffled_ranks_are_the_same_genes(adapter, cells, library):
    found = sentence_loss(adapter, cells[:2], cells[3:], seed=4)
    total, count = 0.0, 0
    for i, cell in enumerate(cells[:2]):
        order = np.random.default_rng((4, i)).permutation(genes_of(cell))
        other = adapter.vocabulary.sentences.whole(order)
        assert sorted(genes_of(other)) == sorted(genes_of(cell))
        nats = library(other["token"].tolist())
        total += sum(nats[p] for p in np.flatnonzero(other["gene"] >= 0))
        count += int((other["gene"] >= 0).sum())
    assert found.shuffled_token == pytest.approx(total / count, abs=1e-4)
    assert found.shuffled_gene == pytest.approx(total / 55, abs=4e-4)
    assert found.shuffled_token != pytest.approx(found.token, abs=1e-3)
    assert sentence_loss(adapter, cells[:2], cells[3:], seed=4) == found
    assert sentence_loss(adapter, cells[:2], cells[3:], seed=5) != found


def test_loss_on_the_answer(adapter, cells, library):
    sentences = adapter.vocabulary.sentences
    tokeniser = sentences.tokeniser.tokeniser
    found = answer_loss(adapter, cells[:3], TYPES[:3], TYPES, seed=2)
    wanted, mixed = [], []
    for i, (cell, name) in enumerate(zip(cells, TYPES[:3], strict=False)):
        order = np.random.default_rng((2, i)).permutation(genes_of(cell))
        for genes, into in ((genes_of(cell), wanted), (order, mixed)):
            prompt = sentences.whole(genes)["token"].tolist()
            answer = tokeniser.encode(f" {name}.").ids
            into.append(sum(library([*prompt, *answer])[len(prompt) :]))
        assert answer_nats(adapter, genes_of(cell), name) == pytest.approx(wanted[-1], abs=1e-3)
    assert found.answer == pytest.approx(sum(wanted) / 3, abs=1e-3)
    assert found.shuffled == pytest.approx(sum(mixed) / 3, abs=1e-3)
    assert found.unigram == pytest.approx(plain_unigram(list(TYPES), list(TYPES[:3]), 3))


def test_an_answer_that_does_not_fit_takes_the_place_of_the_lowest_genes(adapter):
    genes = np.arange(0, 40_000, 1000)
    cell = adapter.vocabulary.sentences.read(genes, adapter.max_length)
    kept = genes_of(cell)
    name = "cell of a very long name " * 6
    both, _ = adapter.vocabulary.sentences.answered(kept, name)
    assert len(both) > adapter.max_length
    fewer = next(
        kept[:n]
        for n in range(len(kept), 0, -1)
        if len(adapter.vocabulary.sentences.answered(kept[:n], name)[0]) <= adapter.max_length
    )
    assert answer_nats(adapter, kept, name) == answer_nats(adapter, fewer, name)


def test_a_text_that_begins_with_a_gene(adapter, cells):
    """Its first name has nothing before it, so it is not measured."""
    sentences = adapter.vocabulary.sentences
    bare = type(sentences)(
        Template("bare", "{cell_sentence}. Type:"), sentences.tokeniser, sentences.names
    )
    genes = genes_of(cells[0])
    cell = bare.whole(genes)
    nats, at = name_nats(adapter, cell)
    assert len(nats) == len(at) and at[0] == (cell["gene"] == genes[0]).sum()
    assert set(cell["gene"][at]) == set(genes[1:].tolist())


def test_refused(adapter, cells):
    with pytest.raises(UserError, match="no gene names in 0 cells"):
        sentence_loss(adapter, [], cells)

    ranked = SimpleNamespace(
        name="g", family="geneformer", vocabulary=SimpleNamespace(sentences=None)
    )
    with pytest.raises(UserError, match="reads no cell sentences"):
        sentence_loss(ranked, cells, cells)


def test_catalogue_counts_genes(adapter, cells):
    dictionaries = {1: TinyDictionary(1, 32, 24, 4, seed=0)}
    found = build_catalogue(adapter, dictionaries, SimpleNamespace(tokens=cells))
    wanted = defaultdict(list)
    for cell in cells:
        states = adapter.clean_states(cell)[1]
        z = dictionaries[1].encode(states)
        for p, (_, gene) in enumerate(cell.tolist()):
            for f in np.flatnonzero(z[p].numpy() > 0) if gene >= 0 else ():
                wanted[int(f), adapter.vocabulary.gene_of_token[gene]].append(float(z[p, f]))
    table = found.table.to_pandas()
    assert len(table) == len(wanted)
    for row in table.to_dict("records"):
        values = wanted[row["index"], row["gene"]]
        assert row["fire_count"] == len(values)
        assert row["mean_activation"] == pytest.approx(sum(values) / len(values), rel=1e-4)
    assert found.positions == sum(int((c["gene"] >= 0).sum()) for c in cells)
    malat1 = "ENSG00000251562"
    share = sum(numbers("MALAT1")[0] in genes_of(c) for c in cells) / len(cells)
    assert found.detection[malat1] == share


def test_the_preflight_measures_names_on_the_cells_of_a_run(adapter, cells):
    """Loss of all tokens of names, beside the frequencies of the other cells; a model of random
    weights is no better than guessing, and is refused.
    """
    found = loss_on_cells(adapter, cells, seed=2)
    assert found is not None
    nats = [name_nats(adapter, cell) for cell in cells]
    assert found.loss == pytest.approx(np.concatenate([n for n, _ in nats]).mean(), abs=1e-9)
    assert (found.cells, found.genes) == (6, sum(len(n) for n, _ in nats))
    assert found.uniform == pytest.approx(np.log(adapter.n_tokens))
    best = []
    for a in SMOOTHINGS:
        worth = []
        for i, (_, at) in enumerate(nats):
            others = np.concatenate(
                [c["token"][c["gene"] >= 0] for k, c in enumerate(cells) if k != i]
            )
            for token in cells[i]["token"][at]:
                seen = (others == token).sum()
                worth.append(-np.log((seen + a) / (len(others) + a * adapter.n_tokens)))
        best.append(np.mean(worth))
    assert found.unigram == pytest.approx(min(best), abs=1e-9)
    assert "tokens of gene names" in str(found) and "masked" not in str(found)
    assert found.worse_than_guessing
    with pytest.raises(UserError, match="no better than uniform guessing on these cells"):
        require_better_than_guessing(adapter, found)

"""Tokens of sentences: those of the library, each with the gene that it spells, for tokenisers of
every kind; and tokenisers that do not keep genes apart are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import sparse
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from scircuit.core.errors import UserError
from scircuit.tracing.sentences.cell_sentence import falling
from scircuit.tracing.sentences.prompt_templates import OF_CELL_TYPE, OF_GENERATION, Template
from scircuit.tracing.sentences.sentence_tokeniser import SentenceTokeniser
from scircuit.tracing.sentences.sentence_tokens import (
    CELL,
    LEAST,
    Sentences,
    genes_of,
    tokenise_sentences,
)
from scircuit.tracing.sentences.sentence_vocabulary import written_names
from tests.support.sentence_parts import (
    AWKWARD,
    begins_with_bos,
    byte_level,
    merging,
    numbers,
    sentences_of,
    without_hyphens,
    word_piece,
)

KINDS = {
    "byte level": byte_level,
    "byte level, spaces in the offsets": lambda: byte_level(trim=False),
    "byte level, prefix space": lambda: byte_level(prefix=True),
    "byte level, bytes alone": lambda: byte_level(size=256),
    "begins with bos": begins_with_bos,
    "word pieces": word_piece,
}


@pytest.fixture(scope="module", params=KINDS)
def tokeniser(request):
    return KINDS[request.param]()


@pytest.fixture(scope="module")
def bytewise():
    return byte_level()


def drawn(number, seed):
    """Gene numbers: the awkward names, and others from all over the table."""
    rng = np.random.default_rng(seed)
    others = rng.choice(len(written_names()), number, replace=False)
    chosen = np.r_[numbers(*AWKWARD), others]
    return rng.permutation(np.unique(chosen))


def spelled(tokeniser, cell, gene):
    return tokeniser.decode(cell["token"][cell["gene"] == gene].tolist()).replace(" ", "")


@pytest.mark.parametrize("template", [OF_CELL_TYPE, OF_GENERATION], ids=lambda t: t.kind)
def test_tokens_are_the_librarys_and_spell_their_genes(tokeniser, template):
    sentences = sentences_of(tokeniser, template)
    library = PreTrainedTokenizerFast(tokenizer_object=tokeniser)
    for seed in range(4):
        genes = drawn(150, seed)
        cell = sentences.whole(genes)
        names = [written_names()[g] for g in genes]
        text = template.prompt(" ".join(names), len(names)).text
        wanted = library(text)["input_ids"]
        sep = tokeniser.token_to_id("[SEP]")
        if sep is not None:  # a special token that ends the text is left out: the text goes on
            assert wanted.pop() == sep
        assert cell.dtype == CELL and cell["token"].tolist() == wanted
        assert genes_of(cell).tolist() == genes.tolist()
        assert [spelled(tokeniser, cell, g) for g in genes] == names


def test_every_gene_is_one_run_and_prompts_are_none(tokeniser):
    cell = sentences_of(tokeniser).whole(drawn(60, 9))
    named = cell["gene"][cell["gene"] >= 0]
    assert (np.diff(named) != 0).sum() + 1 == len(np.unique(named))
    assert cell["gene"][0] == -1 and (cell["gene"][-5:] == -1).all()


def test_all_names_of_the_table_are_read_back(bytewise):
    sentences = sentences_of(bytewise)
    for start in range(0, len(written_names()), 5000):
        genes = np.arange(start, min(start + 5000, len(written_names())))
        cell = sentences.whole(genes)
        assert genes_of(cell).tolist() == genes.tolist()
        spelled = dict.fromkeys(genes.tolist(), "")
        for token, gene in cell[cell["gene"] >= 0].tolist():
            spelled[gene] += bytewise.id_to_token(token).removeprefix("\u0120")  # a space
        assert list(spelled.values()) == [written_names()[g] for g in genes]


def test_by_hand():
    """Words are whole tokens: where each is."""
    words = ["[UNK]", "Genes", ":", ".", "HLA", "-", "A", "CD3E", "Type"]
    made = word_piece(lines=["x"])
    made.model = models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]")
    made.post_processor = None
    template = Template("t", "Genes: {cell_sentence}. Type:")
    a, b = numbers("HLA-A", "CD3E")
    cell = sentences_of(made, template).whole(np.array([b, a]))
    assert cell["token"].tolist() == [1, 2, 7, 4, 5, 6, 3, 8, 2]
    assert cell["gene"].tolist() == [-1, -1, b, a, a, a, -1, -1, -1]
    with pytest.raises(
        UserError, match=r"has no token for a part of 1 gene names .* CD4 .*\[UNK\]"
    ):
        sentences_of(made, template).whole(np.array([a, *numbers("CD4")]))


def test_a_tokeniser_that_merges_two_genes_is_refused_wherever_it_does():
    """One pair of neighbours among 60 cells is one token."""
    first, second = written_names()[100], written_names()[20_000]
    sentences = sentences_of(merging(f"{first} {second}"))
    counts = np.zeros((60, 4))
    counts[:] = (5, 1, 3, 2)  # 100, 3, 20_000, 7: the two are neighbours in the last cell alone
    counts[:-1, 3] = 4
    genes = np.array([100, 3, 20_000, 7])
    tokenise_sentences(sparse.csr_matrix(counts[:-1]), genes, sentences, 500)
    with pytest.raises(UserError) as caught:
        tokenise_sentences(sparse.csr_matrix(counts), genes, sentences, 500)
    assert f"covers parts of 2 genes, such as {first} and {second}" in caught.value.problem
    assert "splits words at spaces" in caught.value.fix


def test_a_tokeniser_that_leaves_letters_out_is_refused():
    sentences = sentences_of(without_hyphens())
    sentences.whole(np.array(numbers("CD3E", "CD4")))
    with pytest.raises(UserError, match=r"leaves out a part of 1 gene names .*such as HLA-A \("):
        sentences.whole(np.array(numbers("CD3E", "HLA-A")))


def test_truncation_and_padding_of_the_file_are_off():
    made = byte_level()
    made.enable_truncation(16)
    made.enable_padding(length=4000)
    cell = sentences_of(made).whole(drawn(100, 1))
    assert 300 < len(cell) < 1500


@pytest.mark.parametrize("template", [OF_CELL_TYPE, OF_GENERATION], ids=lambda t: t.kind)
@pytest.mark.parametrize("kind", ["byte level", "begins with bos"])
def test_as_many_genes_as_fit(kind, template):
    """Against trying every number of genes; 9 to 10 and 99 to 100 change the prompt's length."""
    sentences = sentences_of(KINDS[kind](), template)
    genes = drawn(110, 3)
    lengths = [len(sentences.whole(genes[:n])) for n in range(len(genes) + 1)]
    for limit in [*range(lengths[LEAST], lengths[LEAST] + 12), *range(lengths[98], lengths[101])]:
        cell = sentences.read(genes, limit)
        best = max(n for n, length in enumerate(lengths) if length <= limit)
        assert genes_of(cell).tolist() == genes[:best].tolist()
        assert np.array_equal(cell, sentences.whole(genes[:best])) and len(cell) <= limit
    assert genes_of(sentences.read(genes, 10_000)).tolist() == genes.tolist()
    with pytest.raises(UserError, match=rf"{LEAST - 1} fit into .* tokens .*expected {LEAST}"):
        sentences.read(genes, lengths[LEAST] - 1)


def test_top_n_and_few_genes(bytewise):
    sentences = sentences_of(bytewise, Template("t", "{num_genes}: {cell_sentence}. T:", top_n=7))
    genes = drawn(50, 2)
    assert genes_of(sentences.read(genes, 500)).tolist() == genes[:7].tolist()
    assert genes_of(sentences.read(genes[:3], 500)).tolist() == genes[:3].tolist()
    none = sentences.read(genes[:0], 500)
    assert (none["gene"] == -1).all() and bytewise.decode(none["token"].tolist()) == "0: . T:"
    with pytest.raises(UserError, match="raise --max-length"):
        sentences.read(genes, 12)


def test_matrix_rows_seeds_and_columns_outside(bytewise):
    sentences = sentences_of(bytewise)
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 4, (6, 80)).astype(float)
    genes = rng.choice(len(written_names()), 80, replace=False)
    genes[::9] = -1
    rows = np.array([4, 7, 9, 20, 21, 30])
    found = tokenise_sentences(sparse.csr_matrix(counts), genes, sentences, 3000, rows, 5)
    known = genes >= 0
    for x, row, cell in zip(counts, rows, found, strict=True):
        nonzero = x[known & (x > 0)]
        order = genes[known & (x > 0)][falling(nonzero, (5, int(row)))]
        assert genes_of(cell).tolist() == order.tolist()
    part = tokenise_sentences(sparse.csr_matrix(counts[3:5]), genes, sentences, 3000, rows[3:5], 5)
    assert all(np.array_equal(a, b) for a, b in zip(part, found[3:5], strict=True))
    other = tokenise_sentences(sparse.csr_matrix(counts), genes, sentences, 3000, rows, 6)
    assert not any(np.array_equal(a, b) for a, b in zip(other, found, strict=True))


def test_where_the_answer_is(tokeniser):
    genes = drawn(30, 5)
    sentences = sentences_of(tokeniser)
    cell = sentences.whole(genes)
    assert sentences.answer_position(cell) == len(cell) - 1
    both, at = sentences.answered(genes, "CD4 T cell")
    assert at == len(cell) and np.array_equal(both[:at], cell) and (both["gene"][at:] == -1).all()
    answer = tokeniser.decode(both["token"][at:].tolist())
    assert answer.replace(" ", "") == "CD4Tcell."
    wanted = sentences_of(tokeniser, OF_GENERATION)
    cell = wanted.whole(genes)
    at = wanted.answer_position(cell)
    assert cell["gene"][at] == -1 and cell["gene"][at + 1] == genes[0]


def test_an_answer_that_changes_the_prompts_tokens_is_refused():
    made = byte_level()
    made.add_tokens([": B"])
    genes = np.array(numbers("CD3E"))
    sentences_of(made).answered(genes, "NK cell")
    with pytest.raises(UserError, match="'B cell' follows; expected tokens that end where"):
        sentences_of(made).answered(genes, "B cell")


def test_files(tmp_path, bytewise):
    bytewise.save(str(tmp_path / "tokenizer.json"))
    size = bytewise.get_vocab_size()
    found = SentenceTokeniser.read(tmp_path, size)
    assert len(found.sha256) == 64
    genes = drawn(20, 0)
    same = Sentences(OF_CELL_TYPE, found, written_names()).whole(genes)
    assert np.array_equal(same, sentences_of(bytewise).whole(genes))
    with pytest.raises(UserError, match=f"ids up to {size - 1}, the model has {size - 1} tokens"):
        SentenceTokeniser.read(tmp_path, size - 1)
    content = (tmp_path / "tokenizer.json").read_bytes()
    broken = [content[: len(content) // 2], b"", b"{}", b"[]", b"\x80\x04}", b"null"]
    changed = json.loads(content)
    changed["model"]["merges"] = [["no", "such"]]
    for damaged in [*broken, json.dumps(changed).encode()]:
        (tmp_path / "tokenizer.json").write_bytes(damaged)
        with pytest.raises(UserError, match="is not a tokeniser of the tokenizers library"):
            SentenceTokeniser.read(tmp_path, size)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"has no tokenizer\.json\n.*comes with the model"):
        SentenceTokeniser.read(tmp_path, size)
    (tmp_path / "tokenizer.model").write_bytes(b"")
    with pytest.raises(UserError, match=r"only tokenizer\.model\n.*save_pretrained"):
        SentenceTokeniser.read(tmp_path, size)
    Tokenizer(models.BPE()).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match="ids up to -1"):
        SentenceTokeniser.read(tmp_path, size)

"""Small real tokenisers of gene names, of the kinds that language models come with."""

from __future__ import annotations

from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from scircuit.tracing.sentences.prompt_templates import OF_CELL_TYPE, Template
from scircuit.tracing.sentences.sentence_tokeniser import SentenceTokeniser
from scircuit.tracing.sentences.sentence_tokens import Sentences
from scircuit.tracing.sentences.sentence_vocabulary import named_genes, written_names
from scircuit.tracing.tokenisation.vocabulary import human_gene_ids

AWKWARD = ("HLA-DRB1", "MT-CO1", "NKX2-5", "C1orf43", "HLA-A", "7SK", "CD3E", "TRBV20-1", "H3-3A")


def corpus() -> list[str]:
    """Names of genes, a hundred a line, from all over the table, and those of `AWKWARD`."""
    names = written_names()[::7]
    lines = [" ".join(names[i : i + 100]) for i in range(0, len(names), 100)]
    return [*lines, " ".join(AWKWARD).upper(), OF_CELL_TYPE.text]


def byte_level(size: int = 600, prefix: bool = False, trim: bool = True) -> Tokenizer:
    """Like that of GPT-NeoX: bytes, words that begin with their space."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    made.post_processor = processors.ByteLevel(trim_offsets=trim)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        corpus(), trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet)
    )
    return made


def begins_with_bos(size: int = 600) -> Tokenizer:
    """Like that of Gemma: spaces are letters, unknown letters are bytes, ``<bos>`` comes first."""
    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    specials = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{b:02X}>" for b in range(256))]
    made.train_from_iterator(
        corpus(), trainers.BpeTrainer(vocab_size=size, special_tokens=specials)
    )
    made.normalizer = normalizers.Replace(" ", "\u2581")
    made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    made.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    made.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", made.token_to_id("<bos>"))]
    )
    return made


def word_piece(size: int = 600, lines: list[str] | None = None) -> Tokenizer:
    """Like that of BERT: pieces of words, split at every hyphen, specials on both sides."""
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece(cleanup=False)
    made.train_from_iterator(
        lines or corpus(),
        trainers.WordPieceTrainer(vocab_size=size, special_tokens=["[UNK]", "[CLS]", "[SEP]"]),
    )
    ends = [(t, made.token_to_id(t)) for t in ("[CLS]", "[SEP]")]
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=ends
    )
    return made


def merging(pair: str) -> Tokenizer:
    """Does not split at spaces, and has learnt one pair of genes by heart."""
    made = Tokenizer(models.BPE())
    made.train_from_iterator(
        [*corpus(), *[pair] * 5000],
        trainers.BpeTrainer(vocab_size=400),
    )
    return made


def without_hyphens() -> Tokenizer:
    """Leaves hyphens out."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex("-"), "removed")]
    )
    made.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=400))
    return made


def sentences_of(tokeniser: Tokenizer, template: Template = OF_CELL_TYPE) -> Sentences:
    """Sentences of all named genes by a tokeniser."""
    return Sentences(template, SentenceTokeniser(tokeniser, "tokenizer.json"), written_names())


def numbers(*symbols: str) -> list[int]:
    """Gene numbers of symbols."""
    place = {gene: i for i, gene in enumerate(named_genes())}
    return [place[human_gene_ids()[s]] for s in symbols]

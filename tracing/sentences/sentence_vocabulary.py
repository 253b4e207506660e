"""The vocabulary of a model that reads cell sentences: the human genes that have a name to write.

Such a model has no token for a gene; it reads the names of all. So the genes are those that the
package knows by a symbol (`scircuit.tracing.tokenisation.vocabulary.human_gene_ids`), with or
without a token in Geneformer, numbered in the order of their Ensembl ids: these numbers stand where
other vocabularies have token ids. Genes that are only known by their Ensembl id are outside: an id
is what a file holds for want of a name. A gene is written with its current symbol, whatever a file
calls it; ``gene_names.json`` in the model's folder may say that old names are left out instead.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from scircuit.tracing.sentences.prompt_templates import Template, read_template
from scircuit.tracing.sentences.sentence_tokeniser import SentenceTokeniser
from scircuit.tracing.sentences.sentence_tokens import Sentences
from scircuit.tracing.tokenisation.vocabulary import Vocabulary, human_gene_ids
from scircuit.tracing.tokenisation.vocabulary.folder_vocabulary import with_names


def sentence_vocabulary(
    folder: Path, n_tokens: int, template: Template | None = None
) -> Vocabulary:
    """Vocabulary of a model's folder.

    Parameters
    ----------
    folder
        With ``tokenizer.json``, and ``prompt_template.json`` where the model has a wording.
    n_tokens
        Tokens that the model has embeddings of.
    template
        Wording to use instead.

    Raises
    ------
    UserError
        If the tokeniser or the template is missing, damaged or not one of this model.
    """
    folder = Path(folder)
    tokeniser = SentenceTokeniser.read(folder, n_tokens)
    sentences = Sentences(template or read_template(folder), tokeniser, written_names())
    return with_names(of_sentences(sentences, folder.resolve().name), folder)


def of_sentences(sentences: Sentences, name: str) -> Vocabulary:
    """The vocabulary of `named_genes` for a way of reading sentences, whose names are
    `written_names`.
    """
    return replace(_genes(), name=name, sentences=sentences)


@cache
def named_genes() -> dict[str, str]:
    """Ensembl id -> symbol of the genes, in the order of their numbers."""
    known = human_gene_ids()
    return dict(sorted((g, s) for s, g in known.items() if s != g))


@cache
def written_names() -> tuple[str, ...]:
    """Name of each gene number as sentences have it."""
    return tuple(symbol.upper() for symbol in named_genes().values())


@cache
def _genes() -> Vocabulary:
    symbols = named_genes()
    return Vocabulary(
        name="",
        token={gene: number for number, gene in enumerate(symbols)},
        median={},
        symbol_to_ensembl={symbol: gene for gene, symbol in symbols.items()},
        outside={s: g for s, g in human_gene_ids().items() if g not in symbols},
        pad=-1,
        mask=-1,
        cls=None,
        eos=None,
        gene_of_token=tuple(symbols),
        symbols=symbols,
    )

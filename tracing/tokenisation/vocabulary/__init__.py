"""The genes of a model: token id, median and symbol of each Ensembl id.

A vocabulary is plain JSON in the package, never a pickle. Geneformer V2 has 20,275 tokens:
``<pad>`` 0, ``<mask>`` 1, ``<cls>`` 2, ``<eos>`` 3, then 20,271 genes in the order of their Ensembl
ids; each gene has the median of its non-zero CP10k expression over the pre-training corpus, by
which tokenisation divides (`scircuit.tracing.tokenisation.rank`). Other vocabularies are read from
a model's folder: `scircuit.tracing.tokenisation.vocabulary.folder_vocabulary`,
`scircuit.tracing.tokenisation.vocabulary.scgpt_vocabulary`. Models that read the names of genes
have `scircuit.tracing.sentences.sentence_vocabulary`.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple

from scircuit.tracing.tokenisation.vocabulary.gene_table import GeneTable, gene_table

if TYPE_CHECKING:
    from scircuit.tracing.sentences.sentence_tokens import Sentences

SPECIALS = ("<pad>", "<mask>", "<cls>", "<eos>")


class Bins(NamedTuple):
    """How a model that reads values beside genes bins them
    (`scircuit.tracing.tokenisation.binning`).
    """

    number: int  # bin 0 is for zeros, so values fall into 1 to number - 1
    cls_value: float  # what the model was trained to see at <cls>


@dataclass(frozen=True)
class Vocabulary:
    """Tokens, medians and symbols of one model, and which of the three input forms it reads.

    Without `bins` and `sentences` a cell is its genes in the order of their rank
    (`scircuit.tracing.tokenisation.rank`); with `bins` it is its genes with the bin of their
    expression beside them (`scircuit.tracing.tokenisation.binning`). With `sentences` it is the
    tokens of a text that holds the names of its genes in their order
    (`scircuit.tracing.sentences.sentence_tokens`); then ``token`` and the like number genes, and
    the ids of the text's tokens are the tokeniser's.

    Attributes
    ----------
    name
        Name of the vocabulary, such as ``geneformer-v2``.
    token
        Gene or special -> token id. A gene is an Ensembl id, or the model's own name where it has
        none.
    median
        Ensembl id -> median of non-zero CP10k expression in the pre-training corpus; empty with
        `bins` and `sentences`.
    symbol_to_ensembl
        Gene symbol -> gene, for the genes that have a token.
    outside
        Gene symbol -> Ensembl id, for human genes that the model has no token for (mostly
        non-coding).
    pad, mask, cls, eos
        Ids of the special tokens; None for a model without ``<cls>`` or ``<eos>``, mask -1 for one
        that masks values instead; with `sentences` there are none.
    gene_of_token
        Gene of each token id; empty for specials.
    bins
        How values are binned, where the model reads values.
    sentences
        Template and tokeniser, where the model reads the names of genes as a text.
    retired
        Retired Ensembl id -> the one that took its place, where the model's folder tells them.
    follow
        Whether old symbols are followed to the genes that now have other ones: not for a model
        that was trained on cells whose symbols were read as written, and so never saw these genes.
    """

    name: str
    token: Mapping[str, int]
    median: Mapping[str, float]
    symbol_to_ensembl: Mapping[str, str]
    outside: Mapping[str, str] = field(default_factory=dict, repr=False)
    pad: int = 0
    mask: int = 1
    cls: int | None = 2
    eos: int | None = 3
    gene_of_token: Sequence[str] = ()
    symbols: Mapping[str, str] = field(default_factory=dict, repr=False)
    bins: Bins | None = None
    retired: Mapping[str, str] = field(default_factory=dict, repr=False)
    follow: bool = True
    sentences: Sentences | None = None

    def __len__(self) -> int:
        return len(self.gene_of_token)

    @cached_property
    def specials(self) -> frozenset[int]:
        """Token ids that are not genes."""
        return frozenset(t for t, gene in enumerate(self.gene_of_token) if not gene)

    @property
    def framing(self) -> int:
        """Special tokens around the genes of a cell: ``<cls>`` before and ``<eos>`` after, where
        the model has them.
        """
        return (self.cls is not None) + (self.eos is not None)

    @cached_property
    def table(self) -> GeneTable:
        """Every name that leads to a gene."""
        genes = {gene for gene in self.gene_of_token if gene}
        return gene_table(self.symbol_to_ensembl, self.outside, genes, self.retired, self.follow)

    def symbol(self, gene: str) -> str:
        """Symbol of a gene, or the id itself when it has none."""
        return self.symbols.get(gene, gene)


def _ensembl(number: int) -> str:
    return f"ENSG{number:011d}"


@cache
def geneformer_v2() -> Vocabulary:
    """Vocabulary of Geneformer V2 (gc104M, the same files as gc95M): 20,275 tokens.

    Source: `geneformer_v2.NOTICE.md` beside the data.
    """
    with (
        resources.files("scircuit.tracing.tokenisation.vocabulary")
        .joinpath("geneformer_v2.json.gz")
        .open("rb") as file
    ):
        data = json.loads(gzip.decompress(file.read()))
    genes = [_ensembl(number) for number in data["ensembl"]]
    symbols: list[str] = data["symbol"]
    of_token = (*("" for _ in SPECIALS), *genes)
    token = {name: i for i, name in enumerate((*SPECIALS, *genes))}
    return Vocabulary(
        name=data["name"],
        token=token,
        median=dict(zip(genes, data["median"], strict=True)),
        symbol_to_ensembl=dict(zip(symbols, genes, strict=True)),
        outside={symbol: _ensembl(number) for symbol, number in data["outside"].items()},
        gene_of_token=of_token,
        symbols=dict(zip(genes, symbols, strict=True)),
    )


def human_gene_ids() -> dict[str, str]:
    """Gene symbol -> Ensembl id of every human gene that the package knows."""
    known = geneformer_v2()
    return {**known.outside, **known.symbol_to_ensembl}

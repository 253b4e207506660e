"""The genes a model knows: token id, median and symbol of each Ensembl id.

A vocabulary is plain JSON in the package, never a pickle. Geneformer V2 has 20,275 tokens: ``<pad>`` 0, ``<mask>`` 1,
``<cls>`` 2, ``<eos>`` 3, then 20,271 genes in the order of their Ensembl ids; each gene has the median of its non-zero
CP10k expression over the pre-training corpus, by which tokenisation divides (`tracing.tokenise`).
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

SPECIALS = ("<pad>", "<mask>", "<cls>", "<eos>")


@dataclass(frozen=True)
class Vocabulary:
    """Tokens, medians and symbols of one model family.

    Attributes
    ----------
    name
        Name of the vocabulary, such as ``geneformer-v2``.
    token
        Ensembl id or special -> token id.
    median
        Ensembl id -> median of non-zero CP10k expression in the pre-training corpus.
    symbol_to_ensembl
        Gene symbol -> Ensembl id, for the genes that have a token.
    outside
        Gene symbol -> Ensembl id, for human genes that the model has no token for (mostly non-coding).
    pad, mask, cls, eos
        Ids of the special tokens.
    gene_of_token
        Ensembl id of each token id; empty for specials.
    """

    name: str
    token: Mapping[str, int]
    median: Mapping[str, float]
    symbol_to_ensembl: Mapping[str, str]
    outside: Mapping[str, str] = field(default_factory=dict, repr=False)
    pad: int = 0
    mask: int = 1
    cls: int = 2
    eos: int = 3
    gene_of_token: Sequence[str] = ()
    _symbols: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.gene_of_token)

    @property
    def specials(self) -> frozenset[int]:
        """Token ids that are not genes."""
        return frozenset((self.pad, self.mask, self.cls, self.eos))

    def symbol(self, ensembl: str) -> str:
        """Symbol of a gene, or the Ensembl id itself when it has none."""
        return self._symbols.get(ensembl, ensembl)


def _ensembl(number: int) -> str:
    return f"ENSG{number:011d}"


@cache
def geneformer_v2() -> Vocabulary:
    """Vocabulary of Geneformer V2 (gc104M, the same files as gc95M): 20,275 tokens.

    Source: `geneformer_v2.NOTICE.md` beside the data.
    """
    with resources.files("tracing.vocabulary").joinpath("geneformer_v2.json.gz").open("rb") as file:
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
        _symbols=dict(zip(genes, symbols, strict=True)),
    )

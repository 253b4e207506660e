"""Vocabulary of an scGPT checkpoint, from its own ``vocab.json``: gene symbols and specials to
token ids.

Nothing is shipped, because every checkpoint comes with its vocabulary and they differ (60,697
tokens for whole-human). Symbols become Ensembl ids by Geneformer V2's table, so that genes of
different models meet in one graph; a symbol outside that table, mostly a clone name of a non-coding
gene, stays as it is.
"""

from __future__ import annotations

from pathlib import Path

from scircuit.tracing.tokenisation.vocabulary import Bins, Vocabulary, geneformer_v2
from scircuit.tracing.tokenisation.vocabulary.folder_vocabulary import names_in_order, read_json

SPECIALS = ("<pad>", "<cls>", "<eoc>")


def scgpt_vocabulary(folder: Path, bins: Bins) -> Vocabulary:
    """Vocabulary of a checkpoint folder.

    Specials that ``vocab.json`` lacks are appended, as the published code does before it builds the
    model.

    Raises
    ------
    UserError
        If ``vocab.json`` is missing, or its ids are not 0 to n - 1.
    """
    file = folder / "vocab.json"
    token = read_json(file, int)
    for special in SPECIALS:
        token.setdefault(special, len(token))
    return from_tokens(names_in_order(token, file), bins, folder.resolve().name)


def from_tokens(names: list[str], bins: Bins, name: str) -> Vocabulary:
    """Vocabulary of the symbols and specials `names`, in the order of their token ids."""
    known = geneformer_v2()
    table = {**known.outside, **known.symbol_to_ensembl}
    is_gene = [not (n.startswith("<") and n.endswith(">")) for n in names]
    genes = [table.get(n, n) if gene else "" for n, gene in zip(names, is_gene, strict=True)]
    token = {gene or n: t for t, (n, gene) in enumerate(zip(names, genes, strict=True))}
    of_symbol = {n: gene for n, gene in zip(names, genes, strict=True) if gene}
    return Vocabulary(
        name=name,
        token=token,
        median={},
        symbol_to_ensembl=of_symbol,
        outside={symbol: gene for symbol, gene in table.items() if gene not in token},
        pad=token["<pad>"],
        mask=-1,
        cls=token["<cls>"],
        eos=None,
        gene_of_token=tuple(genes),
        symbols={gene: symbol for symbol, gene in of_symbol.items()},
        bins=bins,
    )

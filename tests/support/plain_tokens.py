"""Tokens of generated cells, worked out from what the generator knows and not from its file.

`draw` makes cells: whole counts, the true gene of every column, and names for it. A test writes
them into a file with whatever fault it is about (names, matrices, scales), and

    tokens(cells.counts, cells.genes)

is what a model must read from it, by the published rule alone: x / sum(x) * 10,000 / median of the
gene, sorted by falling value and then by token id, cut, between <cls> and <eos>. Columns of
the same gene are summed, and a gene without a token ("" or an id that the vocabulary lacks) is left
out. Nothing of the product is used but its table of tokens and medians.
`tests.support.token_outcome` compares with what `load_cohort` gives.
"""

import gzip
import json
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "tracing/tokenisation/vocabulary/geneformer_v2.json.gz"
OLD_NAMES = ROOT / "scircuit/core/hgnc/names.tsv.gz"
FIRST, CLS, EOS = 4, 2, 3  # the first gene's token id, and the two specials around a cell


class Cells(NamedTuple):
    """Cells as they are: counts [cells, genes], Ensembl id and symbol of each column."""

    counts: np.ndarray
    genes: list[str]
    symbols: list[str]


@cache
def table():
    """Ensembl ids, symbols and medians in the order of token ids; symbol -> id without a token."""
    data = json.loads(gzip.decompress(TABLE.read_bytes()))
    ids = [f"ENSG{n:011d}" for n in data["ensembl"]]
    outside = {symbol: f"ENSG{n:011d}" for symbol, n in data["outside"].items()}
    return ids, data["symbol"], data["median"], outside


def draw(seed, cells=14, genes=700, without_token=0.05):
    """Whole counts of random genes: negative binomial around log-normal means, cells of unequal
    depth; a share of the genes has no token.
    """
    rng = np.random.default_rng(seed)
    ids, symbols, _, outside = table()
    few = int(genes * without_token)
    others = sorted(outside)
    chosen = [(ids[i], symbols[i]) for i in rng.choice(len(ids), genes - few, replace=False)]
    chosen += [(outside[others[i]], others[i]) for i in rng.choice(len(others), few, replace=False)]
    chosen = [chosen[i] for i in rng.permutation(genes)]
    means = rng.lognormal(0.0, 1.6, genes)[None, :] * rng.lognormal(0.0, 0.3, cells)[:, None]
    counts = rng.poisson(rng.gamma(2.0, means / 2.0))
    return Cells(counts, [g for g, _ in chosen], [s for _, s in chosen])


def tokens(counts, genes, max_length=2048):
    """Token ids of every cell, as lists.

    counts: [cells, columns], the true counts. genes: Ensembl id of each column, "" for none.
    """
    ids, _, medians, _ = table()
    token = {gene: FIRST + i for i, gene in enumerate(ids)}
    sequences = []
    for row in np.asarray(counts):
        total, summed = float(row.sum()), {}
        for gene, count in zip(genes, row.tolist(), strict=True):
            if count > 0 and gene in token:
                summed[gene] = summed.get(gene, 0) + count
        value = {
            token[gene]: count / total * 10_000 / medians[token[gene] - FIRST]
            for gene, count in summed.items()
        }
        ranked = sorted(value, key=lambda t: (-value[t], t))
        sequences.append([CLS, *ranked[: max_length - 2], EOS])
    return sequences


@cache
def renamed():
    """Old symbol -> current symbol that the table has, from the lines of the HGNC's names: a line
    is an approved symbol and its other names, `?` begins the names of several genes.
    """
    _, symbols, _, outside = table()
    current = {s.upper(): s for s in (*outside, *symbols)}
    new, several = {}, set()
    for line in gzip.decompress(OLD_NAMES.read_bytes()).decode().splitlines():
        first, *others = line.split("\t")
        if first == "?":
            several = set(others)
            continue
        known = [name for name in (first, *others) if name in current]
        if known and (known[0] == first or len(known) == 1):
            new.update(dict.fromkeys((first, *others), current[known[0]]))
    return {
        old: name
        for old, name in new.items()
        if old not in current
        and old not in several
        and not old.isdigit()
        and old not in ("NA", "NAN")
    }


def current_symbols(symbols):
    """The symbols of a file with old ones replaced, except where their gene is in the file under
    its current symbol, or under two old ones.
    """
    _, known, _, outside = table()
    spelling = {s.upper(): s for s in (*outside, *known)}
    new = []
    for symbol in symbols:
        upper = symbol.upper()
        human = symbol == upper or re.search(r"C[0-9XY]+ORF[0-9]", upper)
        if symbol in outside or spelling.get(symbol) == symbol:
            new.append((symbol, False))
        elif upper in spelling and human:
            new.append((spelling[upper], True))
        elif upper in renamed() and human:
            new.append((renamed()[upper], True))
        else:
            new.append((symbol, False))
    here = {name for name, old in new if not old}
    claims = {}
    for symbol, (name, old) in zip(symbols, new, strict=True):
        if old:
            claims.setdefault(name, set()).add(symbol)
    return [
        symbol if old and (name in here or len(claims[name]) > 1) else name
        for symbol, (name, old) in zip(symbols, new, strict=True)
    ]

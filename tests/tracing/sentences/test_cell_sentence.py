"""Sentences equal a plain restatement: CP10k, log10(1 + x), shuffle, stable sort, upper case."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scircuit.tracing.sentences.cell_sentence import cell_sentence, falling

SYMBOLS = [
    f"{stem}{i}" for i in range(20) for stem in ("C1orf", "HLA-DRB", "MT-CO", "NKX2-", "AC0.")
]


def plain(counts, symbols, top_n, key):
    cell = pd.DataFrame({"name": [s.upper() for s in symbols], "x": counts})
    cell["v"] = np.log10(1 + cell["x"] / cell["x"].sum() * 10_000)
    cell = cell[cell["v"] > 0]
    cell = cell.iloc[np.random.default_rng(key).permutation(len(cell))]
    return " ".join(cell.sort_values("v", ascending=False, kind="stable")["name"].head(top_n))


def made(seed, largest=12):
    rng = np.random.default_rng(seed)
    return rng.integers(0, largest, len(SYMBOLS)).astype(float) * (rng.random(len(SYMBOLS)) < 0.6)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("top_n", [1, 17, 1000])
def test_equals_the_plain_restatement(seed, top_n):
    for row, largest in ((0, 3), (7, 12), (41, 5000)):
        counts = made(seed, largest)
        key = (seed, row)
        assert cell_sentence(counts, SYMBOLS, top_n, key) == plain(counts, SYMBOLS, top_n, key)


def test_only_ties_depend_on_seed_and_row():
    counts = made(1)
    sentences = [
        cell_sentence(counts, SYMBOLS, 1000, key).split() for key in ((0, 0), (0, 1), (1, 0))
    ]
    of = {s.upper(): x for s, x in zip(SYMBOLS, counts, strict=True)}
    falls = sorted((x for x in counts if x > 0), reverse=True)
    assert all([of[name] for name in words] == falls for words in sentences)
    assert len({" ".join(words) for words in sentences}) == 3
    again = cell_sentence(counts, SYMBOLS, 1000, (0, 1)).split()
    assert again == sentences[1]
    distinct = np.arange(1.0, 101.0)
    assert len({cell_sentence(distinct, SYMBOLS, 1000, (s, s)) for s in range(5)}) == 1


def test_order_does_not_depend_on_depth_or_on_genes_left_out_of_the_total():
    counts = made(3)
    assert (falling(counts, (0, 5)) == falling(37 * counts, (0, 5))).all()
    total = counts.sum() + 12_345  # with the genes that have no name
    v = np.log10(1 + counts / total * 10_000)
    assert (falling(counts, (0, 5)) == falling(v, (0, 5))).all()


def test_ties_are_in_every_order():
    """Four genes of one count: each of the 24 orders about as often; 6 sigma of a binomial."""
    orders = [tuple(falling(np.ones(4), (0, row)).tolist()) for row in range(2400)]
    counts = pd.Series(orders).value_counts()
    assert len(counts) == 24 and (counts - 100).abs().max() < 6 * 100**0.5


def test_empty():
    assert cell_sentence(np.zeros(5), SYMBOLS[:5], 10, (0, 0)) == ""
    assert cell_sentence(np.zeros(0), [], 10, (0, 0)) == ""

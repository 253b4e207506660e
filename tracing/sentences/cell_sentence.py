"""A cell as a sentence: the names of its expressed genes in the order of their expression.

Over the counts x of a cell, genes are ordered by falling

    v_g = log10(1 + 10,000 x_g / sum(x)),      x_g > 0,

and their names, in upper case and joined by one space, are cut to the first N. For x > 0 both steps
rise with x_g, and within one cell the total is one number, so the order is that of the counts
themselves, and it is taken from them: neither the logarithm nor the total, nor which genes the
total is over, can change it. (In floating point v can only merge counts that differ.)

Most genes of a cell have few counts, and many have the same. They are in a random order that
depends on nothing but the seed and the cell's row in its file, so a cell gives the same sentence in
every cohort. Source: Cell2Sentence (Levine et al., ICML 2024), whose order of ties comes from one
shuffle for all cells; restated.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def falling(counts: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """The order of a cell's genes in its sentence.

    Parameters
    ----------
    counts
        Counts of the cell's genes in the order of the file, [n].
    key
        Seed of the study, and the cell's row in the file.

    Returns
    -------
    Indices of the positive counts, by falling count, int64 [expressed].
    """
    expressed = np.flatnonzero(counts > 0)
    shuffled = np.random.default_rng(key).permutation(expressed)
    return shuffled[np.argsort(-counts[shuffled], kind="stable")]


def cell_sentence(
    counts: np.ndarray, symbols: Sequence[str], top_n: int, key: tuple[int, int]
) -> str:
    """The sentence of one cell.

    Parameters
    ----------
    counts, symbols
        Count and symbol of each gene of the file, [n].
    top_n
        Longest sentence, in genes.
    key
        Seed of the study, and the cell's row in the file.
    """
    return " ".join(symbols[int(i)].upper() for i in falling(counts, key)[:top_n])

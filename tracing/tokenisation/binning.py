"""Cells to genes with binned values, as scGPT reads them.

Over the n genes of a cell that have a count and a token, the edges are the quantiles e_0 to e_{B-2}
of their counts x at B - 1 evenly spaced levels (B = 51 bins, of which bin 0 is for zeros and does
not occur). A count between two edges gets the number of edges at or below it. Counts are few and
edges repeat, so a count equal to edges i + 1 to j gets a bin drawn uniformly from i + 1 to j:

    bin(x) = ceil(j - u (j - i)),      j = #{e <= x},  i = #{e < x},  u uniform on [0, 1).

``<cls>`` comes first with the value the model was trained to see there (``pad_value`` of its
args.json, -2; it is not binned). Of a cell with more genes than fit, genes are drawn at random
after binning, not the highest. Both draws follow the published rule; here they depend on nothing
but the seed and the cell's row in the file, so a cell gives the same input in every cohort. Genes
are in the order of the file: the model has no positions. Source: `scgpt/preprocess.py` and
`scgpt/data_collator.py` of the published code (MIT).
"""

from __future__ import annotations

import numpy as np

from scircuit.tracing.tokenisation.vocabulary import Vocabulary

CELL = np.dtype([("token", "<i8"), ("value", "<f4")])


def bin_values(counts: np.ndarray, number: int, uniform: np.ndarray) -> np.ndarray:
    """Bins 1 to ``number - 1`` of one cell's counts.

    Parameters
    ----------
    counts
        Positive values, [n].
    number
        Bins, the one for zeros included.
    uniform
        Draws from [0, 1) that spread counts equal to several edges, [n].

    Returns
    -------
    Bins, int64 [n].
    """
    edges = np.quantile(counts, np.linspace(0, 1, number - 1))
    at_or_below, below = (
        np.searchsorted(edges, counts, "right"),
        np.searchsorted(edges, counts, "left"),
    )
    return np.ceil(uniform * (below - at_or_below) + at_or_below).astype(np.int64)


def binned_cell(
    tokens: np.ndarray,
    counts: np.ndarray,
    vocabulary: Vocabulary,
    max_length: int,
    key: tuple[int, int],
) -> np.ndarray:
    """One cell as the model reads it.

    Parameters
    ----------
    tokens, counts
        Token ids and positive counts of its genes in the order of the file, [n].
    vocabulary
        Specials and bins.
    max_length
        Longest sequence, ``<cls>`` included.
    key
        Seed of the study, and the cell's row in the file.

    Returns
    -------
    Array of `CELL`, [min(n + 1, max_length)]. A cell without genes gives ``<cls>`` alone.
    """
    bins = vocabulary.bins
    if bins is None or vocabulary.cls is None:
        raise ValueError(f"vocabulary {vocabulary.name} does not bin values")
    rng = np.random.default_rng(key)
    values = (
        bin_values(counts, bins.number, rng.random(len(counts)))
        if len(counts)
        else np.zeros(0, np.int64)
    )
    chosen = (
        np.sort(rng.permutation(len(counts))[: max_length - 1])
        if len(counts) >= max_length
        else np.arange(len(counts))
    )
    cell = np.empty(len(chosen) + 1, CELL)
    cell["token"], cell["value"] = (
        np.r_[vocabulary.cls, tokens[chosen]],
        np.r_[bins.cls_value, values[chosen]],
    )
    return cell

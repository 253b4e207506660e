"""TRRUST, three ways that are kept apart: target sets, share of transcription factors, and edges
between genes.

1. The targets of each TF are a gene set (`Regulons.library`), tested like any other; `mode_counts`
   says how many of the shared targets the TF activates and represses.
2. `tf_share`: are more of a feature's top genes transcription factors than the background has? ``p
   = P(X >= k)`` for X hypergeometric with the list's n genes, the background's N genes and its m
   transcription factors; every list is in the family.
3. Every pair is a ``REGULATES`` edge with its mode and papers;
   `scircuit.analysis.circuits.regulation_signs` asks whether circuit edges agree with them in sign.

None of them counts pairs inside a list: a pair between two top genes is not an annotation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse

from scircuit.analysis.enrichment.fdr import benjamini_hochberg
from scircuit.analysis.enrichment.hypergeometric import TailTable
from scircuit.analysis.genesets.regulons import Regulons
from scircuit.core.errors import UserError


class TfShare(NamedTuple):
    """One entry a list: its genes, the transcription factors among them, their share (NaN for an
    empty list), p and q.
    """

    genes: np.ndarray
    factors: np.ndarray
    share: np.ndarray
    p: np.ndarray
    q: np.ndarray


def tf_share(lists: sparse.csr_matrix, genes: Sequence[str], tfs: Iterable[str]) -> TfShare:
    """Test every list for more transcription factors than the background has.

    Parameters
    ----------
    lists
        0/1 matrix, lists x background genes
        (`scircuit.analysis.enrichment.gene_term_matrix.Incidence.rows`).
    genes
        Background, the columns of `lists`.
    tfs
        Transcription factors (`Regulons.tfs`), compared on upper case; those outside the background
        do not count.

    Raises
    ------
    UserError
        If no transcription factor is in the background.
    """
    factors = {t.upper() for t in tfs}
    is_tf = np.array([g.upper() in factors for g in genes], dtype=np.int64)
    in_background = int(is_tf.sum())
    if not in_background:
        raise UserError(
            f"none of {len(factors)} transcription factors is among the {len(genes)} genes of the"
            " background",
            "are both gene symbols?",
        )
    size = np.diff(lists.indptr).astype(np.int64)
    found = np.asarray(lists @ is_tf).astype(np.int64)
    table = TailTable(size, np.array([in_background]), len(genes))
    p = table.tail(found, np.full(size.shape, in_background), size)
    with np.errstate(invalid="ignore"):
        share = np.where(size > 0, found / np.maximum(size, 1), np.nan)
    return TfShare(size, found, share, p, benjamini_hochberg(p))


def mode_counts(
    regulons: Regulons, tfs: Sequence[str], shared: Sequence[Iterable[str]]
) -> tuple[np.ndarray, np.ndarray]:
    """How many of the shared targets each TF activates and represses.

    Parameters
    ----------
    tfs
        One TF for each test.
    shared
        The genes that the list of the test and the TF's targets share.

    Returns
    -------
    tuple of numpy.ndarray
        Activated and repressed targets, int64. A target of mode ``Both`` counts in both, one of
        mode ``Unknown`` in neither.
    """
    mode = {(p.tf.upper(), p.target.upper()): p.mode for p in regulons.pairs}
    activation, repression = np.zeros(len(tfs), dtype=np.int64), np.zeros(len(tfs), dtype=np.int64)
    for i, (tf, genes) in enumerate(zip(tfs, shared, strict=True)):
        modes = [mode.get((tf.upper(), g.upper()), "Unknown") for g in genes]
        activation[i] = sum(m in ("Activation", "Both") for m in modes)
        repression[i] = sum(m in ("Repression", "Both") for m in modes)
    return activation, repression

"""Cells chosen (`scircuit.tracing.legacy.cell_choice`) and tokenised
(`scircuit.tracing.legacy.legacy_tokens`) as the published map did, and the effect on these cells.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from scircuit.core.config import CellsConfig
from scircuit.core.errors import UserError
from scircuit.core.files import sha256_file
from scircuit.core.preflight import CheckLine
from scircuit.tracing.cells import filters, scale, species
from scircuit.tracing.cells.cohort import Cohort, input_length
from scircuit.tracing.cells.identifiers import identify
from scircuit.tracing.legacy.cell_choice import (
    CONTROLS,
    barcodes,
    choose,
    open_published,
    read_column,
)
from scircuit.tracing.legacy.faults_of_cells import faults_of_choice, faults_of_tokens
from scircuit.tracing.legacy.legacy_tokens import known_columns, legacy_tokens, rank_values
from scircuit.tracing.tokenisation.vocabulary import Vocabulary

LONGEST = 2048
_UNREAD = {
    f.name: f.default
    for f in fields(CellsConfig)
    if f.name
    in ("where", "layer_key", "gene_column", "genome", "mixed", "panel", "min_mapped", "min_tokens")
}


def load_legacy_cohort(config: CellsConfig, vocabulary: Vocabulary, max_length: int) -> Cohort:
    """Choose and tokenise cells by the published rules.

    Parameters
    ----------
    config
        ``cells`` (h5ad of the published layout), ``n_cells`` (0: all that were drawn) and
        ``max_length`` are read.
    vocabulary
        Genes of the model.
    max_length
        Longest input of the model in tokens; the published code never exceeds 2,048.

    Returns
    -------
    Cohort
        As `scircuit.tracing.cells.cohort.load_cohort` gives it, save that ``counts`` are the values
        as stored, and genes may repeat. ``report`` says what is wrong with each choice on these
        very cells: a line that is not ok is a fault, and stops nothing.

    Raises
    ------
    UserError
        If the file does not have the published layout, controls, or known genes.
    """
    path = Path(config.cells)
    if (vocabulary.cls, vocabulary.eos) != (2, 3):
        raise UserError(
            "legacy mode tokenises for Geneformer V2, as published; this model reads"
            f" {vocabulary.name}",
            "trace it without --legacy",
        )
    unread = {
        name: f"--{name.replace('_', '-')}"
        for name in _UNREAD
        if getattr(config, name, _UNREAD[name]) != _UNREAD[name]
    }
    if unread:
        raise UserError(
            "legacy mode chooses cells by obs/gene alone, reads X and checks neither mixtures nor"
            f" genes, as published; it was given {', '.join(unread.values())}",
            "leave out either --legacy or these",
        )
    length = input_length(
        getattr(config, "max_length", 0), min(max_length, LONGEST), vocabulary.framing
    )
    with open_published(path) as file:
        symbols = read_column(file, "var/gene_name_index").astype(str)
        choice = choose(file, config.n_cells)
        values = np.empty((len(choice.rows), len(symbols)), dtype=np.float32)
        for i, row in enumerate(choice.rows):
            values[i] = file["X"][int(row)]
        names = barcodes(file, choice.rows)
    known = known_columns(symbols.tolist(), vocabulary)
    v = rank_values(values, known)
    # the published code drops cells without a token and does not replace them
    kept = (v >= 0).any(axis=1)
    if not kept.any():
        raise UserError(
            f"none of {len(values):,} cells expresses a gene whose symbol is in the vocabulary;"
            f" {len(known.column):,} of {len(symbols):,} names in var/gene_name_index are"
            f" (the first names: {', '.join(symbols[:3])})",
            "legacy mode looks genes up by symbol; trace without --legacy for Ensembl ids",
        )
    rows, values, v = choice.rows[kept], values[kept], v[kept]
    tokens = [legacy_tokens(cell, known, length) for cell in v]
    stored = sparse.csr_matrix(values)
    identifiers = identify(pd.DataFrame({"gene_name_index": symbols.astype(object)}), vocabulary)
    expressed = stored.getnnz(axis=0) > 0
    found, share = scale.detect(stored), float(expressed[known.column].sum() / expressed.sum())
    report = (
        CheckLine(
            "legacy file",
            True,
            f"{path.name}: {choice.total:,} cells, {len(symbols):,} genes, dense X",
            "the published layout",
        ),
        *faults_of_choice(choice),
        CheckLine(
            "legacy genes",
            share >= 0.8,
            f"symbols in {identifiers.column}: of {len(symbols):,}, {len(known.column):,} have a"
            f" token as written; {share:.1%} of the expressed genes have a token",
            "at least 80%",
        ),
        *faults_of_tokens(values, v, known, found, tokens, vocabulary, length),
    )
    return Cohort(
        file=path,
        sha256=sha256_file(path),
        counts=sparse.csr_matrix(values[:, known.column]),
        genes=known.genes,
        row_ids=rows,
        barcodes=tuple(np.array(names)[kept]),
        obs=choice.obs.iloc[rows],
        filters=(f"gene={','.join(CONTROLS)}",),
        composition=filters.composition(choice.obs.iloc[rows], ()),
        scale=str(found),
        species=species.detect(identifiers, vocabulary).name,
        mapped_share=share,
        totals=values.sum(axis=1),
        tokens=tokens,
        framing=vocabulary.framing,
        report=report,
    )

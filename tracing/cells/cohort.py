"""Cells of a file to a cohort: every input check, then counts, genes and tokens.

What went wrong unnoticed in earlier studies is refused or reported here: which cells (filters,
composition, mixtures), which matrix (counts of most genes), which identifiers (Ensembl or symbols,
how many map), which scale (counts, or proven to come from counts, in every cell), which species,
and how many tokens each cell gives.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from scircuit.core.errors import UserError
from scircuit.core.preflight import CheckLine, require
from scircuit.tracing.cells import cohort_lines as said
from scircuit.tracing.cells import filters, panel, scale
from scircuit.tracing.cells.choose_matrix import Choice, choose_matrix
from scircuit.tracing.cells.expression_files import Matrix, content_sha256, open_expression
from scircuit.tracing.cells.identifiers import merge
from scircuit.tracing.cells.mixed_cells import mixture_of
from scircuit.tracing.cells.stated_species import stated_species
from scircuit.tracing.sentences.sentence_tokens import CELL
from scircuit.tracing.tokenisation.rank import tokenise_matrix
from scircuit.tracing.tokenisation.token_hash import tokens_sha256
from scircuit.tracing.tokenisation.vocabulary import Vocabulary

if TYPE_CHECKING:
    import pyarrow as pa

    from scircuit.core.config import CellsConfig
    from scircuit.tracing.interfaces import JsonObject

_SAMPLE = 64  # cells from which the matrix is chosen; then every cell is checked


@dataclass(frozen=True)
class Cohort:
    """The cells of a study.

    Attributes
    ----------
    file, sha256
        Where they come from.
    counts
        Counts, [cells, genes], float32; genes of the vocabulary only, columns of the same gene
        summed.
    genes
        Ensembl id of each column.
    row_ids, barcodes
        Row in the file, ascending, and name of each cell.
    obs
        Columns named in filters and those that describe populations.
    filters, composition
        Filters as written; cells per value of the columns of `obs`.
    scale, species
        As found.
    mapped_share
        Share of the genes expressed in these cells that have a token.
    totals
        Sum of each cell over all genes of the file, [cells].
    tokens
        Each cell as the model reads it: token ids, or token ids with values
        (`scircuit.tracing.tokenisation.binning.CELL`), specials included; or those of a prompt
        with genes (`scircuit.tracing.sentences.sentence_tokens.CELL`).
    framing
        Specials in each cell.
    report
        Every line of the preflight.
    """

    file: Path
    sha256: str
    counts: sparse.csr_matrix = field(repr=False)
    genes: tuple[str, ...] = field(repr=False)
    row_ids: np.ndarray = field(repr=False)
    barcodes: tuple[str, ...] = field(repr=False)
    obs: pd.DataFrame = field(repr=False)
    filters: tuple[str, ...]
    composition: dict[str, dict[str, int]]
    scale: str
    species: str
    mapped_share: float
    totals: np.ndarray = field(repr=False)
    tokens: list[np.ndarray] = field(repr=False)
    framing: int = field(repr=False)
    report: tuple[CheckLine, ...] = field(repr=False)

    @property
    def id(self) -> str:
        """12 hexadecimal digits of the hash of file content and row ids."""
        digest = hashlib.sha256(self.sha256.encode())
        digest.update(np.ascontiguousarray(self.row_ids, dtype="<i8").tobytes())
        return digest.hexdigest()[:12]

    @property
    def gene_tokens(self) -> np.ndarray:
        """Gene tokens of each cell, without the specials; of sentences, the tokens of all
        names.
        """
        return np.array(
            [
                int((t["gene"] >= 0).sum()) if t.dtype == CELL else len(t) - self.framing
                for t in self.tokens
            ]
        )

    @property
    def tokens_sha256(self) -> str:
        """Hash of the tokens of every cell."""
        return tokens_sha256(self.tokens)

    def record(self) -> pa.Table:
        """The cohort as a ``Cohort`` record."""
        import pyarrow as pa

        from scircuit.core.schema import conform

        row = {
            "id": self.id,
            "name": f"{self.file.stem} ({len(self.row_ids)} cells)",
            "file": self.file.name,
            "sha256": self.sha256,
            "cells": len(self.row_ids),
            "filters": "; ".join(self.filters),
            "composition": json.dumps(self.composition, sort_keys=True),
            "scale": self.scale,
            "mapped_share": self.mapped_share,
            "tokens_median": float(np.median(self.gene_tokens)),
            "species": self.species,
        }
        return conform("Cohort", pa.table({k: [v] for k, v in row.items()}))

    def manifest(self) -> JsonObject:
        """What a run's manifest keeps, as plain values."""
        return {
            "id": self.id,
            "file": self.file.name,
            "sha256": self.sha256,
            "filters": list(self.filters),
            "composition": self.composition,
            "scale": self.scale,
            "species": self.species,
            "mapped_share": self.mapped_share,
            "genes_mapped": len(self.genes),
            "row_ids": [int(r) for r in self.row_ids],
            "barcodes": list(self.barcodes),
            "tokens": [int(n) for n in self.gene_tokens],
            "report": [str(line) for line in self.report],
        }


def load_cohort(config: CellsConfig, vocabulary: Vocabulary, max_length: int) -> Cohort:
    """Check the cells a configuration asks for and tokenise them.

    Parameters
    ----------
    config
        Cells, filters and limits.
    vocabulary
        Genes of the model.
    max_length
        Longest input of the model in tokens, specials included.

    Returns
    -------
    The cohort; ``report`` holds every check.

    Raises
    ------
    UserError
        At the first check that fails: what was found, what was expected, and the fix.
    """
    path = Path(config.cells)
    length = input_length(getattr(config, "max_length", 0), max_length, vocabulary.framing)
    with open_expression(path, getattr(config, "genome", "")) as expression:
        lines = [
            CheckLine(
                "file",
                True,
                f"{path.name}: {expression.format}, {len(expression.obs):,} cells",
                "h5ad or 10x h5",
            ),
            *said.notes_lines(expression),
        ]
        for line in said.orientation_lines(expression, vocabulary):
            require(line)
        passing = expression.usable(filters.select(expression.obs, config.where))
        obs = expression.obs.iloc[passing]
        lines += [
            said.filter_line(expression, passing, config.where),
            require(said.barcodes_line(obs)),
            require(filters.check_mixed(obs, config.where, getattr(config, "mixed", False))),
        ]
        seed, n_cells = getattr(config, "seed", 0), getattr(config, "n_cells", 0)
        order = np.random.default_rng(seed).permutation(passing)
        choice = choose_matrix(
            expression,
            np.sort(order[:_SAMPLE]),
            vocabulary,
            getattr(config, "layer_key", ""),
            getattr(config, "gene_column", ""),
        )
        matrix, identifiers = choice.matrix, choice.identifiers
        lines.append(choice.line)
        rows, values, empty = _draw(matrix, order, n_cells)
    names = tuple(str(b) for b in expression.obs.index[rows])
    found = _check_values(choice, values, expression.obs.iloc[rows])
    lines.append(CheckLine("scale", True, str(found), "raw counts, or proven to come from counts"))
    chosen = "all of them" if not n_cells else f"drawn at random with seed {seed}"
    lines += [
        CheckLine(
            "cells",
            True,
            f"{len(rows):,} of {len(passing):,} cells, {chosen}; {empty:,} without counts skipped",
            "at least 1",
        ),
        *said.copies_lines(values, names),
    ]

    stated = stated_species(expression, obs, matrix.var)
    declared = bool(getattr(config, "gene_column", ""))
    which = said.species_line(identifiers, vocabulary, expression.genome, stated, declared)
    lines += [
        CheckLine(
            "identifiers",
            True,
            identifiers.sentence(),
            "Ensembl ids or symbols in the model's vocabulary",
        ),
        *said.gene_warning_lines(identifiers),
        require(which[1]),
        said.duplicates_line(identifiers),
    ]
    counts = scale.to_counts(values, found)
    expressed = (counts.getnnz(axis=0) > 0) & (identifiers.status != "no gene")
    has_token = np.array([bool(g) for g in identifiers.genes])
    share = float((expressed & has_token).sum() / max(1, expressed.sum()))
    lines.append(
        require(
            said.mapped_line(
                share, expressed, identifiers, counts, getattr(config, "min_mapped", 0.8)
            )
        )
    )

    totals = np.asarray(counts.sum(axis=1)).ravel()
    merged, genes = merge(counts, identifiers.genes)
    zeroed, marked = panel.set_to_zero(matrix.var, counts)
    measured = len({g for g, gone in zip(identifiers.genes, zeroed, strict=True) if g and not gone})
    cut = marked or panel.selection(matrix.var, expression.obs.iloc[rows], counts, found.counts)
    few = panel.check_panel(measured, vocabulary, getattr(config, "panel", False), cut)
    silent = panel.zeroed_line(merged, marked, vocabulary)
    lines += [require(line) for line in (few, silent) if line]
    least = panel.least_tokens(getattr(config, "min_tokens", 100), len(genes), vocabulary)
    tokens = tokenise_matrix(merged, genes, vocabulary, length, totals, rows, seed)
    lines += said.token_lines(merged, tokens, length, vocabulary, least)
    shown = filters.composition(expression.obs.iloc[rows], config.where)
    kept = expression.obs.iloc[rows][[c for c in expression.obs.columns if str(c) in shown]]
    return Cohort(
        path,
        content_sha256(path),
        sparse.csr_matrix(merged, dtype=np.float32),
        genes,
        rows,
        names,
        kept,
        tuple(config.where),
        shown,
        str(found),
        which[0],
        share,
        totals,
        tokens,
        vocabulary.framing,
        tuple(lines),
    )


def input_length(asked: int, limit: int, framing: int) -> int:
    """Longest input in tokens: what was asked for, or the limit where nothing was.

    Raises
    ------
    UserError
        If more than the limit was asked for, or no gene would fit.
    """
    if asked > limit:
        raise UserError(
            f"--max-length {asked} exceeds the limit of {limit} tokens",
            f"give at most {limit}, or 0 for the limit",
        )
    if asked and asked <= framing:
        raise UserError(
            f"--max-length {asked} leaves no room for a gene beside {framing} special tokens",
            f"give at least {framing + 1}, or 0 for the model's limit",
        )
    return asked or limit


def _draw(
    matrix: Matrix, order: np.ndarray, n_cells: int
) -> tuple[np.ndarray, sparse.csr_matrix, int]:
    """The first cells of a random order that have counts, in file order; how many were skipped."""
    wanted = min(n_cells or len(order), len(order))
    taken, empty, at = np.empty(0, dtype=np.int64), 0, 0
    parts: list[sparse.csr_matrix] = []
    while len(taken) < wanted and at < len(order):
        rows = np.sort(order[at : at + wanted - len(taken)])
        at += len(rows)
        values = matrix.rows(rows)
        values.eliminate_zeros()
        full = values.getnnz(axis=1) > 0
        empty += int((~full).sum())
        taken = np.concatenate([taken, rows[full]])
        parts.append(sparse.csr_matrix(values[full]))
    if not len(taken):
        raise UserError(
            f"none of {len(order):,} cells has a count in {matrix.name}",
            "choose another layer with --layer-key, or other cells",
        )
    sort = np.argsort(taken)
    together = sparse.csr_matrix(sparse.vstack(parts, format="csr"))
    return taken[sort], sparse.csr_matrix(together[sort]), empty


def _check_values(choice: Choice, values: sparse.csr_matrix, obs: pd.DataFrame) -> scale.Scale:
    """Scale of the chosen cells; every single one must be on it."""
    judged = scale.judge(values)
    mixture = mixture_of(choice.matrix.name, judged, obs) or choice.mixture
    if mixture:
        raise mixture
    found = judged.scale
    if not found.usable:
        raise UserError(f"scale of {choice.matrix.name}: {found}; expected raw counts", found.fix)
    return found

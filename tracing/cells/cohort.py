"""Cells of a file to a cohort: every input check, then counts, genes and tokens.

What went wrong unnoticed in earlier studies is refused or reported here: which cells (filters,
composition, mixtures), which identifiers (Ensembl or symbols, how many map), which scale (counts,
or proven to come from counts), which species, and how many tokens each cell gives.
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
from scircuit.core.files import sha256_file
from scircuit.core.preflight import CheckLine, require
from scircuit.tracing.cells import filters, panel, scale, species
from scircuit.tracing.cells.expression_files import Expression, Matrix, open_expression
from scircuit.tracing.cells.identifiers import Identifiers, identify, merge
from scircuit.tracing.tokenisation.rank import tokenise_matrix
from scircuit.tracing.tokenisation.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from scircuit.core.config import CellsConfig
    from scircuit.tracing.interfaces import JsonObject

_SAMPLE = 64  # cells from which the scale of a matrix is found; then every cell is checked
_COUNT_LAYERS = ("layers/counts", "layers/raw_counts", "layers/raw", "layers/count")


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
        (`scircuit.tracing.tokenisation.binning.CELL`), specials included.
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
        """Gene tokens of each cell, without the specials."""
        return np.array([len(t) - self.framing for t in self.tokens])

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
    with open_expression(path) as expression:
        lines = [
            CheckLine(
                "file",
                True,
                f"{path.name}: {expression.format}, {len(expression.obs):,} cells",
                "h5ad or 10x h5",
            )
        ]
        passing = filters.select(expression.obs, config.where)
        obs = expression.obs.iloc[passing]
        lines += [
            _filter_line(expression, passing, config.where),
            require(_barcodes(obs)),
            require(filters.check_mixed(obs, config.where, getattr(config, "mixed", False))),
        ]
        seed, n_cells = getattr(config, "seed", 0), getattr(config, "n_cells", 0)
        order = np.random.default_rng(seed).permutation(passing)
        matrix, found, why = _choose(
            expression, np.sort(order[:_SAMPLE]), getattr(config, "layer_key", "")
        )
        lines.append(
            CheckLine(
                "counts", True, f"{matrix.name}, {matrix.shape[1]:,} genes{why}", "raw counts"
            )
        )
        rows, values, empty = _draw(matrix, order, n_cells)
    found = _check_values(matrix, values, found)
    lines.append(CheckLine("scale", True, str(found), "raw counts, or proven to come from counts"))
    chosen = "all of them" if not n_cells else f"drawn at random with seed {seed}"
    lines.append(
        CheckLine(
            "cells",
            True,
            f"{len(rows):,} of {len(passing):,} cells, {chosen}; {empty:,} without counts skipped",
            "at least 1",
        )
    )

    identifiers = identify(matrix.var, vocabulary)
    which = _species(identifiers, vocabulary, expression.genome)
    lines += [
        CheckLine(
            "identifiers",
            True,
            identifiers.sentence(),
            "Ensembl ids or symbols in the model's vocabulary",
        ),
        require(which[1]),
        _duplicates(identifiers),
    ]
    counts = scale.to_counts(values, found)
    expressed = counts.getnnz(axis=0) > 0
    has_token = np.array([bool(g) for g in identifiers.genes])
    share = float((expressed & has_token).sum() / max(1, expressed.sum()))
    lines.append(
        require(
            _mapped_line(share, expressed, identifiers, counts, getattr(config, "min_mapped", 0.8))
        )
    )

    totals = np.asarray(counts.sum(axis=1)).ravel()
    merged, genes = merge(counts, identifiers.genes)
    few = panel.check_panel(len(genes), vocabulary, getattr(config, "panel", False))
    lines += [require(few)] if few else []
    least = panel.least_tokens(getattr(config, "min_tokens", 100), len(genes), vocabulary)
    tokens = tokenise_matrix(merged, genes, vocabulary, length, totals, rows, seed)
    lines += _token_lines(merged, tokens, length, vocabulary, least)
    shown = filters.composition(expression.obs.iloc[rows], config.where)
    kept = expression.obs.iloc[rows][[c for c in expression.obs.columns if str(c) in shown]]
    return Cohort(
        path,
        sha256_file(path),
        sparse.csr_matrix(merged, dtype=np.float32),
        genes,
        rows,
        tuple(str(b) for b in expression.obs.index[rows]),
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


def _filter_line(expression: Expression, passing: np.ndarray, where: Sequence[str]) -> CheckLine:
    composition = filters.composition(expression.obs.iloc[passing], where)
    shown = "; ".join(
        f"{c}: " + ", ".join(f"{v} {n:,}" for v, n in list(counts.items())[:8])
        for c, counts in composition.items()
    )
    used = f"{' and '.join(where)}: " if where else "none given: "
    return CheckLine(
        "filters",
        True,
        f"{used}{len(passing):,} of {len(expression.obs):,} cells"
        + (f" ({shown})" if shown else ""),
        "at least 1 cell",
    )


def _barcodes(obs: pd.DataFrame) -> CheckLine:
    again = obs.index[obs.index.duplicated()].unique()
    found = (
        f"{len(obs):,} different"
        if not len(again)
        else f"{len(again):,} names occur more than once, such as {', '.join(map(str, again[:3]))}"
    )
    return CheckLine(
        "barcodes",
        not len(again),
        found,
        "each cell once, or results cannot be traced back to cells",
        "remove the copies, or if they are different cells: adata.obs_names_make_unique()",
    )


def _choose(
    expression: Expression, sample: np.ndarray, key: str
) -> tuple[Matrix, scale.Scale, str]:
    """The matrix to use: the named layer, else counts wherever they are, else values proven to come
    from counts.
    """
    available = expression.matrices
    if key:
        name = next((n for n in (key, f"layers/{key}", f"{key}/X") if n in available), None)
        if name is None:
            raise UserError(
                f"layer {key!r} does not exist; the file has {', '.join(available) or 'no matrix'}",
                "choose one of these with --layer-key",
            )
        found = scale.detect(available[name].rows(sample))
        if not found.usable:
            raise UserError(f"scale of {name}: {found}; expected raw counts", found.fix)
        return available[name], found, " (named by --layer-key)"
    order = [n for n in (*_COUNT_LAYERS, "X", "raw/X") if n in available]
    if not order:
        raise UserError(
            "the file has no X, raw/X or layers/counts; it has"
            f" {', '.join(available) or 'no matrix'}",
            "name the layer with --layer-key",
        )
    tried: dict[str, scale.Scale] = {}
    for name in order:
        tried[name] = scale.detect(available[name].rows(sample))
        if tried[name].counts:
            break
    usable = [n for n in order if n in tried and tried[n].usable]
    best = next((n for n in usable if tried[n].counts), usable[0] if usable else None)
    others = "; ".join(f"{n} holds {s.name}" for n, s in tried.items() if n != best)
    if best is None:
        listed = "; ".join(f"{n}: {s}" for n, s in tried.items())
        more = [n for n in available if n not in tried]
        raise UserError(
            f"scale: no matrix of the file can be converted back to counts; {listed}; expected raw"
            " counts, or CP10k or log1p(CP10k) of them"
            + (f" (not examined: {', '.join(more)})" if more else ""),
            next(iter(tried.values())).fix,
        )
    return available[best], tried[best], f" ({others})" if others else ""


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


def _check_values(matrix: Matrix, values: sparse.csr_matrix, found: scale.Scale) -> scale.Scale:
    """Scale of all chosen cells; the sample must not have been an exception."""
    whole = scale.detect(values)
    if not whole.usable:
        raise UserError(f"scale of {matrix.name}: {whole}; expected raw counts", whole.fix)
    if whole.name != found.name:
        raise UserError(
            f"scale of {matrix.name}: {found.name} in a sample of {_SAMPLE} cells, but {whole.name}"
            f" over all: {whole.evidence}; expected one scale",
            "the file mixes cells that were processed differently: use raw counts",
        )
    bad = scale.misfits(values, whole)
    if len(bad):
        raise UserError(
            f"scale of {matrix.name}: {whole.name}, but {len(bad):,} of {len(values.indptr) - 1:,}"
            f" cells do not fit it (the first is cell {bad[0]})",
            "these cells were processed differently: leave them out, or give raw counts",
        )
    return whole


def _species(
    identifiers: Identifiers, vocabulary: Vocabulary, genome: str
) -> tuple[str, CheckLine]:
    found = species.detect(identifiers, vocabulary)
    text = f"{found.name}: {found.evidence}" + (f"; genome {genome}" if genome else "")
    line = CheckLine(
        "species",
        found.human,
        text,
        "human genes, as the model was trained on",
        (
            "use human cells, or map the genes to human orthologues first"
            if found.name != "unknown"
            else "put Ensembl ids or human gene symbols into var_names or a column of var"
        ),
    )
    return found.name, line


def _duplicates(identifiers: Identifiers) -> CheckLine:
    again = identifiers.duplicates
    if not again:
        return CheckLine("duplicate genes", True, "none", "each gene once")
    columns = sum(again.values())
    return CheckLine(
        "duplicate genes",
        True,
        f"{columns:,} columns of {len(again):,} genes summed, such as {', '.join(list(again)[:3])}",
        "each gene once",
    )


def _mapped_line(
    share: float,
    expressed: np.ndarray,
    identifiers: Identifiers,
    counts: sparse.csr_matrix,
    minimum: float,
) -> CheckLine:
    total = np.asarray(counts.sum(axis=0)).ravel()
    lost = [
        i for i in np.argsort(-total, kind="stable") if expressed[i] and not identifiers.genes[i]
    ]
    weight = total[[i for i in range(len(total)) if identifiers.genes[i]]].sum() / total.sum()
    text = (
        f"{share:.1%} of {int(expressed.sum()):,} expressed genes have a token ({weight:.1%} of"
        " counts)"
    )
    if lost:
        text += f"; lost most: {', '.join(identifiers.names[i] for i in lost[:4])}"
    return CheckLine(
        "mapped",
        share >= minimum,
        text,
        f"at least {minimum:.0%}",
        "check that the gene names are current human symbols or Ensembl ids; to continue anyway,"
        " lower --min-mapped",
    )


def _token_lines(
    merged: sparse.csr_matrix,
    tokens: list[np.ndarray],
    length: int,
    vocabulary: Vocabulary,
    minimum: int,
) -> list[CheckLine]:
    known, room = np.diff(merged.indptr), length - vocabulary.framing
    n = np.array([len(t) - vocabulary.framing for t in tokens])
    line = CheckLine(
        "tokens",
        float(np.median(n)) >= minimum and n.min() > 0,
        f"{n.min():,} / {np.median(n):,.0f} / {n.max():,} gene tokens per cell (minimum /"
        f" median / maximum), {int((n == 0).sum()):,} cells without any",
        f"a median of at least {minimum}, and no cell without tokens",
        "use cells with more detected genes or a file with all genes; to continue anyway, lower"
        " --min-tokens",
    )
    cut = int((known > n).sum())
    kept = "; that many are drawn at random" if vocabulary.bins else ""
    return [
        require(line),
        CheckLine(
            "truncated",
            True,
            f"{cut:,} of {len(n):,} cells ({cut / len(n):.0%}) have more than {room:,} genes{kept}",
            "any number",
        ),
    ]

"""Files with the genes of several genomes (barnyard experiments): named, and separated on request.

Genomes are read from the groups of a Cell Ranger 2 file, from var['genome'], from prefixes of
gene names (``hg19_TP53``, ``mm10___Trp53``, ``mm10-Trp53``), or from Ensembl ids of several
species. A cell is of the genome that gave at least 80 % of
its counts; stray counts of the other are usual, and a cell between is taken for two cells in one
droplet.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import sparse

from scircuit.core.errors import UserError
from scircuit.tracing.cells.genes.candidates import column_text, role
from scircuit.tracing.cells.genes.other_species import SPECIES, most_of_another
from scircuit.tracing.cells.storage.expression import Expression, Matrix

_MOSTLY = 0.8
_LABELLED = 0.05  # share of names with a prefix, or without, below which it is not a genome's
_UNNAMED = "unnamed"  # genes without a prefix beside many with one
_BLOCK = 20_000  # cells read at once
_MATRICES = ("layers/counts", "X", "raw/X")
_NAMES = (
    r"(?:GRC[a-z]\d+|hg\d+|mm\d+|rn\d+|Rnor(?:_\d+\.\d+)?|mRatBN\d+|BDGP\d+|dm\d+|danRer\d+"
    r"|ce\d+|WBcel\d+|sacCer\d+|R64|susScr\d+|Sscrofa\d+|galGal\d+|rheMac\d+|Mmul(?:_\d+)?"
    r"|macFas\d+|panTro\d+|canFam\d+|human|mouse|rat)"
)
_PREFIX = re.compile(rf"^({_NAMES}(?:[.-][a-z0-9.-]+)?)_+(?=[^_])", re.IGNORECASE)
# as Seurat writes them, with a dash for every underscore
_DASHED = re.compile(rf"^({_NAMES}(?:\.p\d+)?(?:-\d{{4}}-[a-z](?=-))?)-+(?=[^-])", re.IGNORECASE)
_ID = re.compile(r"^ENS([A-Z]*)G\d{11}")


def separated(expression: Expression, genome: str) -> Expression:
    """The expression of one genome: its genes, and the rows of its cells.

    Parameters
    ----------
    expression
        A file as read.
    genome
        The genome that was asked for; empty for none.

    Raises
    ------
    UserError
        If there are several genomes and none was asked for, or the one asked for is not there.
    """
    labels = {name: _labels(m.var) for name, m in expression.matrices.items()}
    held = sorted({g for found in labels.values() for g in found} - {""})
    if len(held) < 2:
        named = held[0] if held else expression.genome
        if genome:
            _chosen(expression.path.name, genome, [named] if named else [])
        return replace(expression, genome=named)
    measured = [n for n in dict.fromkeys((*_MATRICES, *labels)) if len(set(labels.get(n, ()))) > 1]
    dominant = None
    for name in measured:
        totals = _totals(expression.matrices[name], labels[name], held)
        if (totals >= 0).all():  # scaled values say nothing about how much is there
            dominant = _dominant(totals, held)
            break
    if dominant is None:
        raise UserError(
            f"cells: {expression.path.name} holds the genomes {', '.join(held)}, and no matrix of"
            " counts that tells whose a cell is; expected one genome",
            "keep the cells and genes of one genome, with raw counts in X or in layers['counts']",
        )
    genes = {g: max(int((found == g).sum()) for found in labels.values()) for g in held}
    chosen = _one_of(expression.path.name, genome, held, dominant, genes)
    matrices = {
        name: _of_genome(expression.matrices[name], labels[name], chosen)
        for name in labels
        if chosen in labels[name]
    }
    return _restricted(expression, matrices, chosen, dominant, genes)


def separated_groups(parts: Mapping[str, Expression], genome: str) -> Expression:
    """As `separated`, for a file that keeps every genome in a group of its own."""
    held = sorted(parts)
    file = parts[held[0]].path.name
    if len(held) == 1:
        if genome:
            _chosen(file, genome, held)
        return replace(parts[held[0]], genome=held[0])
    barcodes = pd.Index(np.concatenate([parts[g].obs.index for g in held])).unique()
    totals = np.zeros((len(barcodes), len(held)))
    for column, name in enumerate(held):
        matrix = parts[name].matrices["X"]
        whole = _totals(matrix, np.full(matrix.shape[1], name, dtype=object), [name])[:, 0]
        np.add.at(totals[:, column], barcodes.get_indexer(parts[name].obs.index), whole)
    found = _dominant(totals, held)
    genes = {g: parts[g].matrices["X"].shape[1] for g in held}
    chosen = _one_of(file, genome, held, found, genes)
    given = parts[chosen]
    dominant = found[barcodes.get_indexer(given.obs.index)]
    return _restricted(given, given.matrices, chosen, dominant, genes)


def _restricted(
    expression: Expression,
    matrices: Mapping[str, Matrix],
    genome: str,
    dominant: np.ndarray,
    genes: Mapping[str, int],
) -> Expression:
    cells = np.flatnonzero(dominant == genome)
    note = (
        f"genome {genome}: {genes[genome]:,} of {sum(genes.values()):,} genes, and"
        f" {len(cells):,} of {len(dominant):,} cells, those with at least {_MOSTLY:.0%} of their"
        " counts from it"
    )
    return replace(
        expression,
        matrices=dict(matrices),
        genome=genome,
        cells=cells,
        notes=(*expression.notes, note),
    )


def _one_of(
    file: str, genome: str, held: Sequence[str], dominant: np.ndarray, genes: Mapping[str, int]
) -> str:
    """The genome asked for; refuse where none was."""
    if genome:
        return _chosen(file, genome, held)
    counted = {g: int((dominant == g).sum()) for g in held}
    listed = ", ".join(f"{g} ({counted[g]:,} cells, {genes[g]:,} genes)" for g in held)
    mixed, empty = int((dominant == "mixed").sum()), int((dominant == "").sum())
    more = [f"{mixed:,} mixed"] * bool(mixed) + [f"{empty:,} without counts"] * bool(empty)
    raise UserError(
        f"cells: {file} holds {len(held)} genomes: {listed}"
        + (f"; cells of neither: {', '.join(more)}" if more else "")
        + f" (a cell belongs to the genome of at least {_MOSTLY:.0%} of its counts); expected one",
        f"choose one: {' or '.join(f'--genome {g}' for g in held)} (its genes and its cells only)",
    )


def _chosen(file: str, genome: str, held: Sequence[str]) -> str:
    found = [g for g in held if g == genome] or [g for g in held if g.lower() == genome.lower()]
    if len(found) == 1:
        return found[0]
    raise UserError(
        f"cells: --genome {genome} is given, but {file} "
        + (f"holds {', '.join(held)}" if held else "names no genome"),
        f"choose one of {', '.join(held)}" if held else "leave --genome out",
    )


def _labels(var: pd.DataFrame) -> np.ndarray:
    """Genome of each gene, [genes]; empty where it is not named."""
    found = []
    if "genome" in var and pd.Series(var["genome"]).dtype.kind not in "biuf":
        found.append(column_text(pd.Series(var["genome"])))
    others = [c for c in var.columns if str(c) != "genome"]
    for name, values in (("", pd.Series(var.index)), *((c, pd.Series(var[c])) for c in others)):
        if values.dtype.kind in "biuf":
            continue
        names = column_text(values)
        if role(str(name)) != "other" and (ids := _by_ids(names)) is not None:
            found.append(ids)
        prefix = _prefix(names)
        matches = [prefix.match(v) for v in names]
        labelled = sum(m is not None for m in matches) / max(1, len(matches))
        if labelled >= _LABELLED:
            rest = _UNNAMED if 1 - labelled >= _LABELLED else ""
            found.append(np.array([m[1] if m else rest for m in matches], dtype=object))
    several = [labels for labels in found if len(set(labels) - {""}) > 1]
    return next(iter(several or found), np.full(len(var), "", dtype=object))


def _prefix(names: Iterable[str]) -> re.Pattern[str]:
    """The way in which most names of a column have a genome before them."""
    return max((_PREFIX, _DASHED), key=lambda way: sum(way.match(v) is not None for v in names))


def _by_ids(names: np.ndarray) -> np.ndarray | None:
    """Species of each gene, where the ids are of several, one of them human; else None."""
    infix = [found[1] if (found := _ID.match(v)) else None for v in names]
    held = Counter(infix)
    least = most_of_another(len(names))
    species = {k: SPECIES.get(k, f"ENS{k}G") for k, n in held.items() if k is not None}
    species = {k: name for k, name in species.items() if not k or held[k] > least}
    if len(species) < 2 or held[""] <= least:
        return None
    return np.array([species.get(k, "") if k is not None else "" for k in infix], dtype=object)


def _totals(matrix: Matrix, labels: np.ndarray, held: Sequence[str]) -> np.ndarray:
    """Sum of each cell over the genes of each genome, [cells, genomes]."""
    member = np.stack([labels == g for g in held], axis=1).astype(np.float64)
    parts = [np.zeros((0, len(held)))]
    for start in range(0, matrix.shape[0], _BLOCK):
        values = matrix.rows(np.arange(start, min(start + _BLOCK, matrix.shape[0])))
        parts.append(np.asarray(values @ member))
    return np.concatenate(parts)


def _dominant(totals: np.ndarray, held: Sequence[str]) -> np.ndarray:
    """Genome of each cell; ``mixed`` where none reaches the share, empty where nothing is there."""
    sums = totals.sum(axis=1)
    share = totals / np.where(sums > 0, sums, 1)[:, None]
    names = np.array(list(held), dtype=object)[share.argmax(axis=1)]
    names[share.max(axis=1) < _MOSTLY] = "mixed"
    names[~(sums > 0)] = ""
    return names


def _of_genome(matrix: Matrix, labels: np.ndarray, genome: str) -> Matrix:
    """The columns of one genome, without its prefix in the names."""
    keep = np.flatnonzero(labels == genome)
    var = matrix.var.iloc[keep].copy()
    var.attrs = dict(matrix.var.attrs)
    var.index = pd.Index(_bare(var.index.to_series()))
    for column in var.columns:
        if var[column].dtype.kind not in "biuf" and str(column) != "genome":
            var[column] = _bare(var[column])
    return Matrix(
        matrix.name,
        (matrix.shape[0], len(keep)),
        var,
        lambda rows: sparse.csr_matrix(matrix.rows(rows)[:, keep]),
    )


def _bare(values: pd.Series) -> list[object]:
    prefix = _prefix(column_text(values))
    return [prefix.sub("", v) if isinstance(v, str) else v for v in values.astype(object)]

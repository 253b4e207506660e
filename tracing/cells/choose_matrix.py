"""Which matrix of a file holds the counts: every one is looked at, and the one with most genes is
taken.

A file may hold counts of some genes in X and of all genes in raw, or counts in one layer and what
was made of them in others. Each matrix is listed with its genes, how many of them the model knows,
and its scale. Of those whose counts can be had, the one with most known genes is taken; with as
many genes, the one with fewest empty cells, then stored counts before others and known names of
count layers before other names. A matrix in which genes of another were set to zero, or that equals
a part of each cell's counts (`scircuit.tracing.cells.matrix_relations`), comes after those that are
whole. What was left aside is said, and that two matrices disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import sparse

from scircuit.core.errors import UserError
from scircuit.core.preflight import CheckLine
from scircuit.tracing.cells.expression_files import Expression, Matrix
from scircuit.tracing.cells.identifiers import Identifiers, identify, merge
from scircuit.tracing.cells.matrix_relations import Held, cells_apart, genes_left, same
from scircuit.tracing.cells.mixed_cells import is_mixed, mixture_of
from scircuit.tracing.cells.scale import EMPTY, Judged, Scale, judge, to_counts
from scircuit.tracing.tokenisation.vocabulary import Vocabulary

_COUNT_LAYERS = ("layers/counts", "layers/raw_counts", "layers/raw", "layers/count")
_NAMES = (*_COUNT_LAYERS, "X", "raw/X")
_PARTS = ("spliced", "unspliced", "ambiguous", "mature", "nascent")  # of the counts of a cell


@dataclass(frozen=True)
class Examined:
    """A matrix, what its columns are, and what some of its cells hold.

    Attributes
    ----------
    genes
        Different genes with a token.
    values, judged
        Values of some cells, and what they hold.
    fault
        Why it cannot be used at all, or None.
    equals
        Layer of a part of each cell's counts that holds the same, or empty.
    """

    matrix: Matrix
    identifiers: Identifiers | None
    genes: int
    values: sparse.csr_matrix | None
    judged: Judged | None
    fault: UserError | None
    equals: str = ""

    @property
    def scale(self) -> Scale | None:
        """Scale of most cells looked at."""
        return self.judged.scale if self.judged else None

    @property
    def mixed(self) -> bool:
        """Whether these cells are on several scales, one of which could be used."""
        return self.judged is not None and is_mixed(self.judged)

    @property
    def usable(self) -> bool:
        """Whether counts of every cell looked at can be had."""
        return self.scale is not None and self.scale.usable and not self.mixed

    @property
    def part(self) -> bool:
        """Whether its name says that it holds some of each cell's counts only."""
        return self.matrix.name.rpartition("/")[2].lower() in _PARTS

    @cached_property
    def held(self) -> Held | None:
        """Counts of the cells looked at, columns of one gene summed."""
        if self.values is None or self.scale is None or self.identifiers is None:
            return None
        return Held(*merge(to_counts(self.values, self.scale), self.identifiers.genes))

    def sentence(self) -> str:
        """Name, scale and genes."""
        if self.scale is None:
            why = self.fault.problem if self.fault else ""
            return f"{self.matrix.name} cannot be used: {why}"
        held = "cells of several scales" if self.mixed else self.scale.name
        held = f"{held}, a part of each cell's counts," if self.part or self.equals else held
        return (
            f"{self.matrix.name} holds {held} of {self.matrix.shape[1]:,} genes, {self.genes:,}"
            " with a token"
        )


@dataclass(frozen=True)
class Choice:
    """The matrix to read, its genes, a line of the preflight about it, and what is wrong with it if
    the cells looked at are on several scales.
    """

    matrix: Matrix
    identifiers: Identifiers
    line: CheckLine
    mixture: UserError | None


def choose_matrix(
    expression: Expression,
    sample: np.ndarray,
    vocabulary: Vocabulary,
    key: str = "",
    gene_column: str = "",
) -> Choice:
    """Choose where the counts are read from.

    Parameters
    ----------
    expression
        The open file.
    sample
        Rows of some cells, ascending; what they hold decides, and all cells are checked later.
    vocabulary
        Genes of the model.
    key
        Name of the matrix or layer to take, or empty.
    gene_column
        Column of var that names the genes, or empty.

    Raises
    ------
    UserError
        If the named matrix does not exist or cannot be used, or no matrix can.
    """
    available = expression.matrices
    if not available:
        raise UserError(
            "the file has no X, raw/X or layers/counts; it has no matrix",
            "name a file that holds counts",
        )
    named = _named(expression, key) if key else None
    read: dict[int, Identifiers | UserError] = {}
    seen = [
        _examine(available[name], sample, vocabulary, gene_column, read)
        for name in sorted(available, key=_rank)
    ]
    parts = _parts(seen)
    seen = [replace(one, equals=same) if (same := _equal_part(one, parts)) else one for one in seen]
    if named:
        best = next(one for one in seen if one.matrix.name == named)
        if best.fault:
            raise best.fault
        if not (best.usable or best.mixed) and best.scale:
            raise UserError(f"scale of {named}: {best.scale}; expected raw counts", best.scale.fix)
        return _choice(best, seen, " (named by --layer-key)", expression.obs.iloc[sample])
    order = sorted(
        seen,
        key=lambda one: (
            one.usable and not _proven(one),
            bool(one.equals),
            any(_left(one, other) for other in seen),
            -one.genes,
            _empty(one),
            not _stored(one),
            _rank(one.matrix.name),
        ),
    )
    whole = [one for one in order if not one.part]
    best = next((o for o in whole if o.usable), next((o for o in whole if o.mixed), None))
    most = best.matrix.shape[1] if best else 0
    for one in seen:  # of a larger table nobody could say whether it should have been taken
        if one.fault and (best is None or (one.identifiers is None and one.matrix.shape[1] > most)):
            raise one.fault
    if best is None:
        raise _none(order)
    return _choice(best, seen, "", expression.obs.iloc[sample])


def _named(expression: Expression, key: str) -> str:
    """The matrix that a key names: as written, or the name of a layer."""
    forms = (key, f"layers/{key}", f"{key}/X")
    for name in forms:
        if name in expression.matrices:
            return name
        if name in expression.unreadable:
            raise UserError(
                f"{name} cannot be read: {expression.unreadable[name]}",
                f"choose one of {', '.join(expression.matrices)} with --layer-key",
            )
    raise UserError(
        f"layer {key!r} does not exist; the file has {', '.join(expression.matrices)}",
        "choose one of these with --layer-key",
    )


def _rank(name: str) -> tuple[int, str]:
    return (_NAMES.index(name) if name in _NAMES else len(_NAMES), name)


def _proven(one: Examined) -> bool:
    return one.scale is not None and one.scale.proven


def _empty(one: Examined) -> int:
    """Cells looked at that hold nothing: files put together fill what one of them lacks with 0."""
    return 0 if one.judged is None else int((one.judged.held == EMPTY).sum())


def _stored(one: Examined) -> bool:
    return one.scale is not None and one.scale.counts


def _examine(
    matrix: Matrix,
    sample: np.ndarray,
    vocabulary: Vocabulary,
    gene_column: str,
    read: dict[int, Identifiers | UserError],
) -> Examined:
    """Genes and scale of a matrix; matrices that share their var share what it says."""
    if id(matrix.var) not in read:
        try:
            read[id(matrix.var)] = identify(matrix.var, vocabulary, gene_column)
        except UserError as error:
            read[id(matrix.var)] = error
    found = read[id(matrix.var)]
    if isinstance(found, UserError):
        return Examined(matrix, None, 0, None, None, found)
    genes = len({gene for gene in found.genes if gene})
    try:
        values = matrix.rows(sample)
    except UserError as error:
        return Examined(matrix, found, genes, None, None, error)
    judged = judge(values)
    return Examined(matrix, found, genes, values, judged, None)


def _none(order: Sequence[Examined]) -> UserError:
    """No matrix can be used: what each holds."""
    listed = "; ".join(
        f"{one.matrix.name}: {one.scale}" + (" a part of each cell's counts" * one.part)
        for one in sorted(order, key=lambda one: _rank(one.matrix.name))
        if one.scale
    )
    parts = [one.matrix.name for one in order if one.part and one.usable]
    first = min(order, key=lambda one: _rank(one.matrix.name))
    fix = first.scale.fix if first.scale else ""
    if parts:
        fix += f"; {parts[0]} alone can be named with --layer-key"
    return UserError(
        f"scale: no matrix of the file can be converted back to counts; {listed}; expected raw"
        " counts, or CP10k or log1p(CP10k) of them",
        fix,
    )


def _choice(best: Examined, seen: Sequence[Examined], why: str, obs: pd.DataFrame) -> Choice:
    """The choice with its line: what was taken, what was left aside, and what that says."""
    others = [one for one in seen if one is not best]
    text = f"{best.matrix.name}, {best.matrix.shape[1]:,} genes{why}"
    if others and not why:
        text += f", {best.genes:,} with a token"
    if others:
        text += f"; left aside: {'; '.join(one.sentence() for one in others)}"
    said = [
        f"{one.matrix.name} has more genes with a token ({one.genes:,} against {best.genes:,})"
        for one in others
        if one.genes > best.genes
    ]
    for one in others:
        said += _differ(best, one)
    if best.part or best.equals:
        said.append(_share_of_parts(best, seen))
    if said:
        text += f"; warning: {'; '.join(said)}"
    assert best.identifiers is not None
    assert best.judged is not None
    line = CheckLine("counts", True, text, "raw counts of all genes")
    mixture = mixture_of(best.matrix.name, best.judged, obs)
    return Choice(best.matrix, best.identifiers, line, mixture)


def _differ(best: Examined, other: Examined) -> list[str]:
    """A sentence if two matrices give other counts of the same genes to the same cells."""
    if not other.usable or other.part or best.held is None or other.held is None:
        return []
    for cut, whole in ((other, best), (best, other)):
        if genes := _left(cut, whole):
            return [
                f"{cut.matrix.name} has counts of {genes[0]:,} of the {genes[1]:,} genes that"
                f" {whole.matrix.name} has counts of: the others were set to zero"
            ]
    away, cells = cells_apart(best.held, other.held), len(best.held.counts.indptr) - 1
    if not away:
        return []
    return [
        f"{other.matrix.name} gives other counts of the same genes in {away:,} of {cells:,} cells"
        " looked at (one of the two was corrected or cut): --layer-key chooses"
    ]


def _left(cut: Examined, whole: Examined) -> tuple[int, int] | None:
    """Genes with a count in each, where genes of the second were set to zero in the first."""
    if cut is whole or not (cut.usable and _proven(whole)) or whole.mixed or whole.part:
        return None
    if whole.equals or cut.held is None or whole.held is None:
        return None
    return genes_left(cut.held, whole.held)


def _parts(seen: Sequence[Examined]) -> list[Examined]:
    """Layers of parts of each cell's counts that hold any."""
    return [one for one in seen if one.part and one.usable and one.held and one.held.counts.nnz]


def _equal_part(one: Examined, parts: Sequence[Examined]) -> str:
    """Layer of a part of each cell's counts that a matrix equals, where there are other parts."""
    if one.part or not one.usable or one.held is None or len(parts) < 2:
        return ""
    equal = (part.matrix.name for part in parts if part.held and same(one.held, part.held))
    return next(equal, "")


def _share_of_parts(best: Examined, seen: Sequence[Examined]) -> str:
    """That a matrix is a part of each cell's counts, and how many all parts hold together."""
    text = f"{best.matrix.name} holds a part of each cell's counts"
    text += f" (the same as {best.equals})" if best.equals else ""
    parts = [one for one in _parts(seen) if _stored(one)]
    sums = {one.matrix.name: float(one.held.counts.sum()) for one in parts if one.held}
    mine = sums.get(best.equals or best.matrix.name)
    if mine is None or len(sums) < 2:
        return text
    return (
        f"{text}: {mine / sum(sums.values()):.0%} of {' + '.join(sorted(sums))}; to read all, store"
        " their sum as a layer and name it with --layer-key"
    )

"""On which scale the values of a matrix are, with the evidence, and the counts behind them.

The scale is what most cells hold (`cell_kinds`); the others are its misfits, and a matrix with
misfits is refused with their number. Whole and expected counts are one scale: expected counts of a
thin cell may all be whole. A transform is undone exactly where it is proven. Large values that are
near no whole numbers are refused where all cells have one sum (TPM), and read with a warning where
each has its own. Everything else is refused: negative (scaled) values, logarithms of rates, rounded
logarithms, zeros and ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import sparse

from scircuit.tracing.cells.scale.cell_kinds import (
    EMPTY,
    EXPECTED,
    FEW,
    LOGARITHMS,
    NEGATIVE,
    NOT_FINITE,
    RATES,
    RAW,
    UNTOLD,
    kinds,
)
from scircuit.tracing.cells.scale.count_ratios import (
    LINEAR,
    REFUSED,
    ROOTS,
    TRANSFORMS,
    TWICE,
    Transform,
    quantum_of,
    ratios,
    whole_counts,
)
from scircuit.tracing.cells.scale.whole_numbers import SHALLOW

_COUNTS = (RAW, EXPECTED)
_TARGETS, _AT = (1e4, 1e6), 1e-4  # usual sums after normalisation, and how near they are met
_ONE_SUM = 0.03  # spread of the sums of cells that were divided to one, relative to their mean
_DENSE = 0.9  # share of the values above 0 that no cells have, but imputed ones
_MANY = 150  # genes of which some have no count
_BY_NAME = {transform.name: transform for transform in TRANSFORMS}


@dataclass(frozen=True)
class Scale:
    """Scale of a matrix.

    Attributes
    ----------
    name
        What the values are.
    usable
        Whether counts, or values proportional to counts within a cell, can be recovered.
    evidence
        The numbers behind it.
    counts
        Whether the values are counts as stored.
    fix
        What to do when not usable.
    """

    name: str
    usable: bool
    evidence: str
    counts: bool = False
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.evidence})"

    @property
    def family(self) -> str:
        """Cells of one family are on one scale: whole and expected counts are."""
        return family_of(self.name)

    @property
    def proven(self) -> bool:
        """Whether these are counts, and not values that may be rates."""
        return self.usable and self.name != RATES


class Judged(NamedTuple):
    """Scale of most cells, what each cell holds (`cell_kinds`), and the rows that do not fit."""

    scale: Scale
    held: np.ndarray
    misfits: np.ndarray


FIX = "give raw counts: adata.layers['counts'] or adata.raw, or name the layer with --layer-key"


def family_of(kind: str) -> str:
    """The kinds of cells that are on one scale have one family."""
    return RAW if kind in _COUNTS else kind


def families(held: np.ndarray) -> dict[str, np.ndarray]:
    """Which cells hold each family, without those that tell nothing; masks [cells].

    Parameters
    ----------
    held
        What each cell holds (`scircuit.tracing.cells.scale.cell_kinds`), [cells].
    """
    of = np.array([family_of(str(kind)) for kind in held], dtype=object)
    return {str(name): of == name for name in dict.fromkeys(of) if name != EMPTY}


def usable_family(name: str) -> bool:
    """Whether counts can be had from cells of this family."""
    return name == RAW or (name in _BY_NAME and _BY_NAME[name] not in REFUSED)


def detect(values: sparse.csr_matrix) -> Scale:
    """Scale of most of some cells (`misfits` names the others).

    Parameters
    ----------
    values
        Cells x genes, as stored, [cells, genes].
    """
    return judge(values).scale


def misfits(values: sparse.csr_matrix, scale: Scale) -> np.ndarray:
    """Rows that are on another scale than this one."""
    return np.flatnonzero(~_fits(values, kinds(values), scale.name))


def judge(values: sparse.csr_matrix) -> Judged:
    """Scale of most of some cells, and the others.

    Parameters
    ----------
    values
        Cells x genes, as stored, [cells, genes].
    """
    held = kinds(values)
    scale = _scale(values, held)
    return Judged(scale, held, np.flatnonzero(~_fits(values, held, scale.name)))


def _scale(values: sparse.csr_matrix, held: np.ndarray) -> Scale:
    for kind, found in ((NOT_FINITE, _not_finite), (NEGATIVE, _negative)):
        if (held == kind).any():
            return found(values)
    votes: dict[str, int] = {}
    for kind in held:
        if kind not in (EMPTY, FEW, UNTOLD):
            family = family_of(str(kind))
            votes[family] = votes.get(family, 0) + 1
    if not votes:
        return _of_few(values, held)
    most = max(votes, key=lambda name: (votes[name], name == RAW))
    if most == RAW:
        return _of_counts(values, held)
    if most in _BY_NAME:
        return _of_transform(values, held, _BY_NAME[most])
    if most == RATES and not _normalised(values) and not _dense(values):
        return _of_rates(values)
    return _unknown(values, held, most)


def _not_finite(values: sparse.csr_matrix) -> Scale:
    bad = ~np.isfinite(values.data)
    cells = len(np.unique(_row_of(values)[bad]))
    text = f"{int(bad.sum()):,} values in {cells:,} cells are NaN or infinite"
    return Scale(NOT_FINITE, False, text, fix=FIX)


def _negative(values: sparse.csr_matrix) -> Scale:
    negative = int((values.data < 0).sum())
    text = (
        f"{negative:,} of {len(values.data):,} stored values are negative, down to"
        f" {values.data.min():.3g}"
    )
    return Scale(NEGATIVE, False, text, fix=f"scaling cannot be undone: {FIX}")


def _of_counts(values: sparse.csr_matrix, held: np.ndarray) -> Scale:
    data = values.data[values.data > 0]
    off = np.abs(data - np.rint(data))
    whole, expected = int((held == RAW).sum()), int((held == EXPECTED).sum())
    if expected:
        text = (
            f"{len(data):,} values from {data.min():.3g} to {data.max():,.4g};"
            f" {expected:,} cells hold whole numbers or values near them"
            + (f", and {whole:,} whole numbers only" if whole else "")
        )
        return Scale(EXPECTED, True, text)
    if off.max() == 0:
        text = f"all {len(data):,} values are whole numbers up to {data.max():,.0f}"
    else:
        share = (off < 1e-3).mean()
        text = f"{share:.2%} of {len(data):,} values within 0.001 of whole numbers; rounded"
    if data.max() <= SHALLOW:
        text += (
            f"; warning: no value is above {SHALLOW}, so these are very thin cells, or logarithms"
            " that were rounded"
        )
    return Scale(RAW, True, text, counts=True)


def _of_transform(values: sparse.csr_matrix, held: np.ndarray, transform: Transform) -> Scale:
    checked = fitting = unsure = cells = 0
    chance, quantum = 0.0, quantum_of(values.data)
    for i in np.flatnonzero(held == transform.name).tolist():
        found = ratios(_cell(values, i), transform, quantum)
        checked, fitting = checked + found.informative, fitting + found.fit
        chance += found.chance
        if transform not in REFUSED:
            left = whole_counts(_cell(values, i), transform, quantum)[1]
            unsure, cells = unsure + left, cells + (left > 0)
    text = (
        f"{fitting:,} of {checked:,} ratios to the smallest value of the cell are integers,"
        f" {chance:,.0f} by chance"
    )
    if transform is TWICE:
        fix = f"the file was log-transformed twice; undo it at its source. {FIX}"
        return Scale(transform.name, False, text, fix=fix)
    if transform is ROOTS:
        text = f"{ROOTS.name}: once squared, {text}"
        return Scale("unknown scale", False, text, fix=FIX)
    if unsure and quantum:
        decimals = round(-np.log10(2 * quantum))
        text = (
            f"{transform.name}, rounded to {decimals} decimals: {unsure:,} large counts in"
            f" {cells:,} of {len(held):,} cells cannot be told from their neighbours"
        )
        return Scale("rounded values", False, text, fix=FIX)
    return Scale(transform.name, True, text)


def _normalised(values: sparse.csr_matrix) -> bool:
    """Whether all cells were divided to one sum, as TPM and CPM are."""
    sums = np.asarray(values.sum(axis=1)).ravel()
    sums = sums[sums > 0]
    return len(sums) > 0 and float(np.std(sums)) <= _ONE_SUM * float(np.mean(sums))


def _dense(values: sparse.csr_matrix) -> bool:
    """Whether nearly every gene has a value in nearly every cell, as after imputation."""
    cells, genes = np.array(values.shape).tolist()
    return genes >= _MANY and int((values.data > 0).sum()) > _DENSE * cells * genes


def _of_rates(values: sparse.csr_matrix) -> Scale:
    """Values of cells with sums of their own that are near no whole numbers: their order is read
    as it is, since nothing proves that it is not that of the counts.
    """
    data = values.data[values.data > 0]
    text = (
        f"{len(data):,} values from {data.min():.3g} to {data.max():,.4g}, few near whole numbers;"
        " warning: the order of the genes is read as stored; if the values were divided by gene"
        " lengths (FPKM, parts of TPM), it is not that of counts, which the model was trained on"
    )
    return Scale(RATES, True, text)


def _unknown(values: sparse.csr_matrix, held: np.ndarray, most: str) -> Scale:
    data = values.data[values.data > 0]
    sums = np.asarray(values.sum(axis=1)).ravel()
    text = (
        f"{int((held == most).sum()):,} of {len(held):,} cells hold {most}: {len(data):,} values"
        f" from {data.min():.3g} to {data.max():.4g}, sums per cell from {sums.min():,.0f} to"
        f" {sums.max():,.0f}"
    )
    if most == LOGARITHMS:
        text += "; not a logarithm of counts, so counts cannot be recovered"
    elif most == RATES and _dense(values):
        text += "; nearly every gene has a value in nearly every cell, as after imputation"
    elif most == RATES:
        text += (
            "; all cells were divided to one sum, as TPM are, which are divided by gene lengths:"
            " that changes the order of the genes"
        )
    return Scale("unknown scale", False, text, fix=FIX)


def _of_few(values: sparse.csr_matrix, held: np.ndarray) -> Scale:
    """Scale of cells that are too thin each: one transform must explain all of them together."""
    data = values.data[values.data > 0]
    if not len(data):
        text = f"no value above 0 in {len(held):,} cells"
        return Scale(EMPTY, False, text, fix="choose cells that have counts")
    quantum = quantum_of(data)
    for transform in TRANSFORMS:
        found = [ratios(_cell(values, i), transform, quantum) for i in range(len(held))]
        checked = sum(f.informative for f in found)
        chance = sum(f.chance for f in found)
        if checked >= 50 and sum(f.fit for f in found) >= 0.9 * checked and chance < 0.3 * checked:
            few = np.where(held == FEW, transform.name, held)
            return _of_transform(values, few, transform)
    return _unknown(values, held, str(held[held != EMPTY][0]))


def _fits(values: sparse.csr_matrix, held: np.ndarray, name: str) -> np.ndarray:
    """Whether each cell is on the scale of this name, or empty, [cells]."""
    if name in _COUNTS:
        fits = (held == RAW) | (held == EXPECTED) | (held == EMPTY)
        judged, expected = int((held != UNTOLD).sum()), int((held == EXPECTED).sum())
        # deep cells lack the small values that would tell: they are as the others are
        deep = (held == UNTOLD) & ~_to_a_target(values)
        return fits | (deep & (expected > 0) & (fits.sum() >= 0.8 * judged))
    fits = (held == name) | (held == EMPTY)
    if name == RATES:
        return fits | (held == UNTOLD) | (held == FEW)
    transform = _BY_NAME.get(name)
    if transform is None:
        return fits | (held != RAW)
    quantum = quantum_of(values.data)
    sums = np.asarray(values.sum(axis=1)).ravel()
    usual = float(np.median(sums[fits])) if fits.any() else 0.0
    for i in np.flatnonzero(~fits).tolist():
        if held[i] == FEW:
            found = ratios(_cell(values, i), transform, quantum)
            fits[i] = found.fit >= 0.9 * found.informative
        elif transform is LINEAR and held[i] in _COUNTS:
            # multiples of a whole number, or of a simple fraction, by the chance of the cell's sum
            x = _cell(values, i)
            step = x.min()
            multiples = step != 1 and np.abs(x / step - np.rint(x / step)).max() < 1e-3
            fits[i] = bool(multiples) or abs(sums[i] - usual) <= 0.01 * usual
    return fits


def _to_a_target(values: sparse.csr_matrix) -> np.ndarray:
    """Cells whose sum is that of TPM or CPM, [cells]."""
    sums = np.asarray(values.sum(axis=1)).ravel()
    return np.any([np.abs(sums / target - 1.0) < _AT for target in _TARGETS], axis=0)


def to_counts(values: sparse.csr_matrix, scale: Scale) -> sparse.csr_matrix:
    """Counts of every cell: whole numbers where the scale is proven, the values themselves for
    expected counts.

    In a cell with too few values to show its smallest count, that count is taken as 1; the order of
    genes is the same.
    """
    result = values.copy()
    if scale.counts:
        whole = np.rint(result.data)
        result.data = np.where(np.abs(result.data - whole) < 1e-3, whole, result.data)
        return result
    transform = _BY_NAME.get(scale.name)
    if transform is None or transform in REFUSED:
        return result
    quantum = quantum_of(values.data)
    for i in range(len(values.indptr) - 1):
        span = slice(values.indptr[i], values.indptr[i + 1])
        x = values.data[span]
        positive = x > 0
        if positive.any():
            result.data[span][positive] = whole_counts(x[positive], transform, quantum)[0]
            result.data[span][~positive] = 0.0
    result.eliminate_zeros()
    return result


def _cell(values: sparse.csr_matrix, row: int) -> np.ndarray:
    x = values.data[values.indptr[row] : values.indptr[row + 1]]
    return x[x > 0]


def _row_of(values: sparse.csr_matrix) -> np.ndarray:
    return np.repeat(np.arange(len(values.indptr) - 1), np.diff(values.indptr))

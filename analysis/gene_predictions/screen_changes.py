"""What knocking a gene out did to every other gene, from the counts of a screen.

With ``x`` the counts per 10,000 of a cell (CP10k), for knock-out k and gene t

    change(k, t) = log2(mean_k x_t + c) - log2(mean_control x_t + c),

c a pseudo-count. Its standard error is that of the two means, carried through the logarithm
(``sd / sqrt(n) / (mean + c) / ln 2``), the interval is 1.96 of them, and p is two-sided from the
normal distribution. q is Benjamini-Hochberg over all pairs of the screen. The knocked-out gene
itself is left out: that its own reads fall says that the knock-out worked, not what it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from scircuit.analysis.enrichment.fdr import benjamini_hochberg
from scircuit.core.errors import UserError

_LEAST_CELLS_WITH_GENE = 10  # of one of the two groups: below, the mean has no normal error


@dataclass(frozen=True)
class ScreenChanges:
    """Observed changes; arrays are [knock-outs, genes].

    Parameters
    ----------
    knocked
        Symbols of the knocked-out genes, sorted.
    genes
        Symbols of the measured genes.
    cells
        Cells of each knock-out, [knock-outs].
    controls
        Control cells.
    change, error, q
        log2 fold change, its standard error and q; q is NaN where not tested (the knocked-out gene,
        and genes that too few cells have).
    mean
        Mean CP10k.
    control_mean
        Mean CP10k of the controls, [genes].
    together
        Correlation of log1p(CP10k) of each knocked-out gene with every gene over the control cells;
        NaN where the gene is not measured or constant.
    pseudo_count
        c, per 10,000.
    """

    knocked: tuple[str, ...]
    genes: tuple[str, ...]
    cells: np.ndarray
    controls: int
    change: np.ndarray
    error: np.ndarray
    q: np.ndarray
    mean: np.ndarray
    control_mean: np.ndarray
    together: np.ndarray
    pseudo_count: float

    def responding(self, q: float) -> np.ndarray:
        """Pairs whose change is told from zero, [knock-outs, genes] bool."""
        return np.nan_to_num(self.q, nan=1.0) <= q


def screen_changes(
    counts: sparse.csr_matrix,
    totals: np.ndarray,
    genes: Sequence[str],
    labels: Sequence[str],
    control: str,
    *,
    min_cells: int = 30,
    pseudo_count: float = 1.0,
) -> ScreenChanges:
    """Changes of every gene under every knock-out with enough cells.

    Parameters
    ----------
    counts
        Raw counts, [cells, genes].
    totals
        Counts of each cell over all genes of the file, [cells].
    genes
        Symbols of the columns.
    labels
        Knocked-out gene of each cell, or `control`.
    control
        Label of the control cells.
    min_cells
        Fewest cells of a knock-out, and of the controls.

    Raises
    ------
    UserError
        If there are too few control cells, or no knock-out has enough cells.
    """
    given = np.asarray([str(v) for v in labels], dtype=object)
    names, group, size = np.unique(given.astype(str), return_inverse=True, return_counts=True)
    many = dict(zip(names.tolist(), size.tolist(), strict=True))
    if many.get(control, 0) < min_cells:
        raise UserError(
            f"{many.get(control, 0)} cells are labelled {control!r}, expected {min_cells} control"
            f" cells or more; the labels are {_some(many)}",
            "name the label of the control cells with --control",
        )
    knocked = tuple(n for n in names.tolist() if n != control and many[n] >= min_cells)
    if not knocked:
        raise UserError(
            f"no knock-out has {min_cells} cells or more; the largest are {_some(many)}",
            "give a screen with more cells, or a smaller --min-cells",
        )
    upper = tuple(g.upper() for g in genes)
    scaled = sparse.csr_matrix(
        sparse.diags(1e4 / np.maximum(np.asarray(totals, float), 1)) @ counts.astype(float)
    )
    order = [control, *knocked]
    place = {n: i for i, n in enumerate(order)}
    row = np.array([place.get(n, -1) for n in names.tolist()])[group]
    used = np.flatnonzero(row >= 0)
    pick = sparse.csr_matrix(
        (np.ones(used.size), (row[used], used)), shape=(len(order), given.size)
    )
    n = np.asarray(pick.sum(axis=1)).ravel()[:, None]
    mean = sparse.csr_matrix(pick @ scaled).toarray() / n
    square = sparse.csr_matrix(pick @ scaled.multiply(scaled)).toarray() / n
    having = sparse.csr_matrix(pick @ sparse.csr_matrix(scaled > 0).astype(float)).toarray()
    variance = np.maximum(square - mean**2, 0) * n / np.maximum(n - 1, 1)
    each = np.sqrt(variance / n) / (mean + pseudo_count) / np.log(2)
    level = np.log2(mean + pseudo_count)
    change, error = level[1:] - level[0], np.sqrt(each[1:] ** 2 + each[0] ** 2)
    enough = np.maximum(having[1:], having[0]) >= _LEAST_CELLS_WITH_GENE
    own = np.array([[k.upper() == g for g in upper] for k in knocked]).reshape(change.shape)
    return ScreenChanges(
        tuple(k.upper() for k in knocked),
        upper,
        n.ravel()[1:].astype(np.int64),
        int(n[0, 0]),
        change,
        error,
        _q(change, error, enough & ~own & (error > 0)),
        mean[1:],
        mean[0],
        _together(scaled[row == 0], [k.upper() for k in knocked], upper),
        pseudo_count,
    )


def _q(change: np.ndarray, error: np.ndarray, tested: np.ndarray) -> np.ndarray:
    from scipy.special import ndtr

    q = np.full(change.shape, np.nan)
    q[tested] = benjamini_hochberg(2 * ndtr(-np.abs(change[tested] / error[tested])))
    return q


def _together(
    control: sparse.csr_matrix, knocked: Sequence[str], genes: tuple[str, ...]
) -> np.ndarray:
    """Correlation of the knocked-out genes with all genes over the control cells."""
    level = control.copy()
    level.data = np.log1p(level.data)
    n = level.shape[0]
    mean = np.asarray(level.mean(axis=0)).ravel()
    sd = np.sqrt(np.maximum(np.asarray(level.multiply(level).mean(axis=0)).ravel() - mean**2, 0))
    place = {g: i for i, g in enumerate(genes)}
    found = np.full((len(knocked), len(genes)), np.nan)
    for i, gene in enumerate(knocked):
        if gene in place and sd[place[gene]] > 0:
            at = place[gene]
            product = np.asarray((level[:, [at]].T @ level).todense()).ravel() / n
            with np.errstate(divide="ignore", invalid="ignore"):
                found[i] = (product - mean[at] * mean) / (sd[at] * sd)
    found[~np.isfinite(found)] = np.nan
    return found


def _some(counts: dict[str, int]) -> str:
    """The most frequent labels with their cells."""
    order = sorted(counts, key=lambda k: (-counts[k], k))
    return ", ".join(f"{k} ({counts[k]:,})" for k in order[:6]) + (
        f" and {len(order) - 6} more" if len(order) > 6 else ""
    )

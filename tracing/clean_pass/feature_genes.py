"""Which genes each feature fires on, over the clean pass of many cells.

    mean_activation(f, g) = sum of z_f over firings on gene g / fire_count(f, g)

Where a gene is spelled by several tokens, firings on each of them count.

Cells stream one by one; what is kept is one pair of numbers for each (feature, gene) that occurs,
and if asked for the sum of z_f over each cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scircuit.core.errors import UserError
from scircuit.tracing.clean_pass.clean_pass import clean_read
from scircuit.tracing.hardware.parallel import run_jobs

if TYPE_CHECKING:
    import pyarrow as pa

    from scircuit.tracing.dictionaries.dictionary import Dictionary
    from scircuit.tracing.interfaces import TokenisedCells
    from scircuit.tracing.models.adapter import Adapter


@dataclass(frozen=True)
class CellActivity:
    """How active each feature is in each cell: one entry for each (cell, feature) that fires, by
    cell and layer.

    Attributes
    ----------
    cell, layer, index
        0-based row of the cell in the cohort, layer and latent.
    total
        Sum of the feature's activation over the cell's gene positions.
    gene_positions
        Gene positions of every cell, [cells].
    """

    cell: np.ndarray
    layer: np.ndarray
    index: np.ndarray
    total: np.ndarray
    gene_positions: np.ndarray


@dataclass(frozen=True)
class Catalogue:
    """Genes of the features of several layers.

    Attributes
    ----------
    table
        One row for each (feature, gene) with a firing: layer, index, gene (Ensembl id),
        mean_activation (dictionary units), fire_count (positions); ordered by layer, index, falling
        mean activation.
    detection
        Gene -> share of cells in whose input it is.
    firing_rate
        Layer -> share of gene positions where each feature is active, [F].
    cells, positions
        Cells and gene positions counted.
    activity
        Activity cell by cell, if it was asked for.
    """

    table: pa.Table
    detection: Mapping[str, float]
    firing_rate: Mapping[int, np.ndarray]
    cells: int
    positions: int
    activity: CellActivity | None = None


class _Tally:
    """Sum and count for each (feature, token) of one layer; merged now and then to save memory."""

    def __init__(self, n_features: int, n_tokens: int) -> None:
        self.shape = (n_features, n_tokens)
        self.total = sparse.csr_matrix(self.shape, dtype=np.float64)
        self.count = sparse.csr_matrix(self.shape, dtype=np.int64)
        self.parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self.waiting = 0

    def add(self, features: np.ndarray, tokens: np.ndarray, values: np.ndarray) -> None:
        self.parts.append((features, tokens, values))
        self.waiting += len(values)
        if self.waiting > 4_000_000:
            self.merge()

    def merge(self) -> None:
        if not self.parts:
            return
        features, tokens, values = (np.concatenate(p) for p in zip(*self.parts, strict=True))
        self.total = self.total + sparse.csr_matrix((values, (features, tokens)), shape=self.shape)
        self.count = self.count + sparse.csr_matrix(
            (np.ones(len(values), np.int64), (features, tokens)), shape=self.shape
        )
        self.parts, self.waiting = [], 0


_Active = dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]
_CELLS = 64  # whose activations are held at once


def _each_cell(
    adapter: Adapter, dictionaries: Mapping[int, Dictionary], cells: Sequence[np.ndarray]
) -> Iterator[tuple[np.ndarray, _Active]]:
    """Of every cell, in order: its gene tokens, and by layer the gene position, feature and value
    of each activation. Cells are computed at the same time, one a core.
    """

    def one(tokens: np.ndarray) -> tuple[np.ndarray, _Active]:
        read, genes = clean_read(adapter, dictionaries, tokens), adapter.gene_positions(tokens)
        found = {}
        for layer, dictionary in dictionaries.items():
            values, indices = dictionary.encode_topk(read[layer][genes])
            value, index = values.cpu().numpy(), indices.cpu().numpy()
            row, column = np.nonzero(value > 0)
            found[layer] = row, index[row, column], value[row, column]
        return adapter.gene_tokens(tokens), found

    for start in range(0, len(cells), _CELLS):
        jobs = [partial(one, tokens) for tokens in cells[start : start + _CELLS]]
        yield from run_jobs(jobs, adapter.device)


def build_catalogue(
    adapter: Adapter,
    dictionaries: Mapping[int, Dictionary],
    cohort: TokenisedCells,
    *,
    by_cell: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Catalogue:
    """Clean pass over every cell of a cohort, counted by feature and gene.

    Parameters
    ----------
    adapter, dictionaries
        Model, and its dictionaries by layer.
    cohort
        Cells (`scircuit.tracing.cells.cohort.Cohort`).
    by_cell
        Also keep the activity of every feature in every cell.
    progress
        Called with (cells done, cells).

    Raises
    ------
    UserError
        If there is no cell or no dictionary.
    """
    import pyarrow as pa

    if not cohort.tokens or not dictionaries:
        raise UserError(
            f"no genes of features from {len(cohort.tokens)} cells and {len(dictionaries)}"
            " dictionaries",
            "give at least one of each",
        )
    gene_of = adapter.vocabulary.gene_of_token
    tallies = {layer: _Tally(d.n_features, len(gene_of)) for layer, d in dictionaries.items()}
    for layer in dictionaries:
        dictionaries[layer].to(adapter.device)
    seen = np.zeros(len(gene_of), dtype=np.int64)
    positions = 0
    length = np.zeros(len(cohort.tokens), dtype=np.int64)
    sums: list[tuple[int, int, np.ndarray, np.ndarray]] = []
    for done, (ids, active) in enumerate(_each_cell(adapter, dictionaries, cohort.tokens), start=1):
        seen[np.unique(ids)] += 1
        positions += len(ids)
        length[done - 1] = len(ids)
        for layer, (row, index, value) in active.items():
            tallies[layer].add(index, ids[row], value.astype(np.float64))
            if by_cell:
                total = np.bincount(index, weights=value)
                fired = np.flatnonzero(total)
                sums.append(
                    (done - 1, layer, fired.astype(np.int32), total[fired].astype(np.float32))
                )
        if progress is not None:
            progress(done, len(cohort.tokens))

    tables, rate = [], {}
    names = np.array(gene_of, dtype=object)
    for layer in sorted(tallies):
        tally = tallies[layer]
        tally.merge()
        count, total = tally.count.tocoo(), tally.total.tocsr()
        rate[layer] = np.asarray(tally.count.sum(axis=1)).ravel() / max(positions, 1)
        mean = np.asarray(total[count.row, count.col]).ravel() / count.data
        order = np.lexsort((count.col, -mean, count.row))
        tables.append(
            pa.table(
                {
                    "layer": np.full(len(order), layer, np.int64),
                    "index": count.row[order].astype(np.int64),
                    "gene": pa.array(names[count.col[order]], pa.string()),
                    "mean_activation": mean[order],
                    "fire_count": count.data[order],
                }
            )
        )
    detection = {str(names[t]): float(seen[t]) / len(cohort.tokens) for t in np.flatnonzero(seen)}
    activity = _activity(sums, length) if by_cell else None
    return Catalogue(
        pa.concat_tables(tables), detection, rate, len(cohort.tokens), positions, activity
    )


def _activity(
    sums: list[tuple[int, int, np.ndarray, np.ndarray]], length: np.ndarray
) -> CellActivity:
    count = [len(index) for _, _, index, _ in sums]
    cell, layer = (np.repeat(np.array([s[i] for s in sums], dtype=np.int32), count) for i in (0, 1))
    return CellActivity(
        cell,
        layer,
        np.concatenate([s[2] for s in sums]),
        np.concatenate([s[3] for s in sums]),
        length,
    )

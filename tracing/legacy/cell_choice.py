"""Which cells the published layer-5 map took from its file.

    controls  rows whose obs/gene is non-targeting (three spellings), in file order; no other filter
    draw      np.random.seed(42); np.random.choice(controls, 2000, replace=False), sorted by row;
              only if there are more than 2,000
    traced    the first n of the sorted draw

Source: the public code of the map (exhaustive_feature_tracing.py). It has no fallback: with fewer
controls it takes them all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pandas as pd

from scircuit.core.errors import UserError
from scircuit.tracing.cells import filters
from scircuit.tracing.cells.expression_files import HdfNode, kind_of
from scircuit.tracing.cells.storage.stored_nodes import first_line

CONTROLS = ("non-targeting", "Non-targeting", "non_targeting")
DRAWN, SEED = 2000, 42


class Choice(NamedTuple):
    """The chosen rows of a file, and annotations of all its rows."""

    total: int  # cells of the file
    controls: np.ndarray
    drawn: np.ndarray
    rows: np.ndarray
    obs: pd.DataFrame  # columns that describe populations, one row per cell of the file
    missing: int  # cells whose obs/gene is missing


@contextmanager
def open_published(path: Path) -> Iterator[HdfNode]:
    """Open an h5ad of the published layout: dense 2-D X, ``obs/gene``, ``var/gene_name_index``.

    Raises
    ------
    UserError
        If the file is absent, of another kind or layout, or what the block reads is damaged.
    """
    if not path.is_file() or kind_of(path) != "hdf5":
        found = kind_of(path) if path.is_file() else "not a file"
        raise UserError(
            f"cells: {path} is {found}; expected an h5ad file of the published layout",
            "give the file itself",
        )
    try:
        with h5py.File(path, "r") as file:
            x: HdfNode = file.get("X")
            columns = ("obs/gene", "var/gene_name_index")
            faults = [f"no {name}" for name in columns if name not in file]
            if not isinstance(x, h5py.Dataset) or x.ndim != 2:
                faults.append("no dense X")
            if faults:
                raise UserError(
                    f"cells: {path.name} has {', '.join(faults)}; legacy mode reads dense X,"
                    " obs/gene and var/gene_name_index, as published",
                    "trace this file without --legacy",
                )
            yield file
    except UserError:
        raise
    except (OSError, RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise UserError(  # the block reads the file and nothing else
            f"cells: {path.name} is damaged or not as published ({first_line(error)}); legacy mode"
            " reads dense X, obs/gene and var/gene_name_index",
            "copy the file again; or trace it without --legacy, which names what cannot be read",
        ) from error


def read_column(file: HdfNode, name: str, missing: str | None = None) -> np.ndarray:
    """A column such as ``obs/gene``; without `missing` as the published code reads it: a missing
    category (code -1) becomes the last one.
    """
    node: HdfNode = file[name]
    if isinstance(node, h5py.Dataset):
        return _text(node[:])
    codes = node["codes"][:]
    values = _text(node["categories"][:])[codes]
    return values if missing is None else np.where(codes < 0, missing, values)


def draw(controls: np.ndarray) -> np.ndarray:
    """2,000 of the controls by the published seed, sorted; all of them, in file order, when there
    are no more.
    """
    if len(controls) <= DRAWN:
        return controls
    # RandomState(42) is the generator that np.random.seed(42) sets; the global one is left alone.
    return np.sort(np.random.RandomState(SEED).choice(controls, DRAWN, replace=False))


def choose(file: HdfNode, n_cells: int) -> Choice:
    """The first `n_cells` (0: all) of the sorted draw.

    Raises
    ------
    UserError
        If no cell is a control.
    """
    labels = read_column(file, "obs/gene").astype(str)
    controls = np.flatnonzero(np.isin(labels, CONTROLS))
    if not len(controls):
        names, counts = np.unique(labels, return_counts=True)
        most = ", ".join(
            f"{names[i]} {counts[i]:,}" for i in np.argsort(-counts, kind="stable")[:5]
        )
        raise UserError(
            f"obs/gene has no {' or '.join(CONTROLS)}; it holds {most}",
            "give a perturbation screen with non-targeting controls",
        )
    drawn = draw(controls)
    node: HdfNode = file["obs/gene"]
    missing = 0 if isinstance(node, h5py.Dataset) else int((node["codes"][:] < 0).sum())
    readable = [
        n
        for n in filters.describing(file["obs"])
        if isinstance(file["obs"][n], h5py.Dataset) or "categories" in file["obs"][n]
    ]
    obs = pd.DataFrame(
        {n: read_column(file, f"obs/{n}", missing="NA") for n in readable},
        index=pd.RangeIndex(len(labels)),
    )
    return Choice(len(labels), controls, drawn, drawn[:n_cells] if n_cells else drawn, obs, missing)


def barcodes(file: HdfNode, rows: np.ndarray) -> list[str]:
    """Names of the cells; their row numbers where the file has none."""
    name = file["obs"].attrs.get("_index", "_index")
    if not isinstance(file["obs"].get(name), h5py.Dataset):
        return [f"row {row}" for row in rows]
    return [str(v) for v in _text(file["obs"][name][rows])]


def _text(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "OS":
        return values
    return np.array([v.decode() if isinstance(v, bytes) else v for v in values], dtype=object)

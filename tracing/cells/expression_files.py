"""Expression files without loading them whole: h5ad, 10x h5, h5mu and zarr, rows on demand.

The first bytes and the groups decide what a file is, never its name. How each kind is stored is
in `scircuit.tracing.cells.storage`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scircuit.core.errors import UserError
from scircuit.tracing.cells.storage.expression import Expression, Matrix
from scircuit.tracing.cells.storage.file_kinds import (
    inner_conversion,
    kind_of,
    other_hdf5,
)
from scircuit.tracing.cells.storage.genomes import separated, separated_groups
from scircuit.tracing.cells.storage.h5ad_layout import inner_anndata, read_anndata, read_mudata
from scircuit.tracing.cells.storage.opened_files import content_sha256, opened
from scircuit.tracing.cells.storage.stored_nodes import HdfNode, Unreadable, child, names
from scircuit.tracing.cells.storage.tenx_layout import read_tenx, tenx_groups

__all__ = ["Expression", "HdfNode", "Matrix", "content_sha256", "kind_of", "open_expression"]


@contextmanager
def open_expression(path: Path, genome: str = "") -> Iterator[Expression]:
    """Open an expression file for reading by rows; the matrices are valid inside the block.

    Parameters
    ----------
    path
        The file, or the folder of a zarr store.
    genome
        Genome to read from a file that holds several.

    Raises
    ------
    UserError
        If the file is absent, truncated, of another kind, or its cells, genes or X cannot be
        read; if it holds several genomes and none is chosen.
    """
    path = Path(path)
    with opened(path) as (file, stored):
        try:
            expression = _expression(path, file, stored, genome)
        except Unreadable as error:
            raise UserError(f"cells: {path.name}: {error.reason}", error.fix) from error
        yield expression


def _expression(path: Path, file: HdfNode, stored: str, genome: str) -> Expression:
    top = names(file)
    if {"barcodes", "features", "indptr"} & set(names(child(file, "matrix"))):
        return separated(read_tenx(path, child(file, "matrix"), "matrix"), genome)
    form = {"h5": "h5ad", "gzip": "h5ad, gzip", "zarr": "zarr"}[stored]
    if "mod" in top and "X" not in top:
        form = {"h5": "h5mu", "gzip": "h5mu, gzip", "zarr": "zarr"}[stored]
        return separated(read_mudata(path, file, form), genome)
    if len({"obs", "var", "X"} & set(top)) > 1:
        return separated(read_anndata(path, file, form), genome)
    if groups := tenx_groups(file):
        return separated_groups(
            {name: read_tenx(path, child(file, name), name) for name in groups}, genome
        )
    held = ", ".join(top[:8]) or "nothing"
    if other := other_hdf5(top):
        raise UserError(f"cells: {path.name} is {other[0]}; it is not read", other[1])
    if places := inner_anndata(file):
        raise UserError(
            f"cells: {path.name} is no h5ad itself; it holds one at {', '.join(places)}",
            inner_conversion(path, places[0], stored),
        )
    raise UserError(
        f"cells: {path.name} is {'a zarr store' if stored == 'zarr' else 'HDF5'} but neither h5ad"
        f" nor 10x: it holds {held}",
        "an h5ad holds obs, var and X; a 10x file holds matrix/barcodes. Convert it with anndata"
        " and write_h5ad",
    )

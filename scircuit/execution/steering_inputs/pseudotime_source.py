"""Pseudotime of the probe cells: an obs column, or diffusion pseudotime by scanpy.

Diffusion pseudotime (Haghverdi et al. 2016) is computed from the counts of the steered and the
probe cells together: totals of 10,000, log1p, principal components, 15 neighbours, diffusion map,
from a root cell that the user names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from scircuit.core.errors import UserError
from scircuit.execution.steering_inputs.probe_cohort import ProbeCohort, column

if TYPE_CHECKING:
    import pandas as pd

DPT = "dpt"
_NEIGHBOURS, _COMPONENTS = 15, 50


def pseudotime_of(probe: ProbeCohort, given: str, root: str, seed: int) -> np.ndarray:
    """Pseudotime of each probe cell; NaN where it has none.

    Raises
    ------
    UserError
        If the column does not exist or has no numbers, scanpy is missing, or the root is unknown.
    """
    if given != DPT:
        return numbers(column(probe.obs, given, "pseudotime"))
    return diffusion_pseudotime(probe, root, seed)


def numbers(values: pd.Series) -> np.ndarray:
    """A column as float64; infinite values, which mark cells that the root does not reach, are NaN.

    Raises
    ------
    UserError
        If a value is no number.
    """
    import pandas as pd

    read = cast("pd.Series", pd.to_numeric(values.astype(object), errors="coerce"))
    found = read.to_numpy("float64")
    wrong = values.notna().to_numpy() & np.isnan(found)
    if wrong.any():
        first = values.iloc[int(np.flatnonzero(wrong)[0])]
        raise UserError(
            f"--pseudotime {values.name}: {int(wrong.sum())} of {len(values)} probe cells have no"
            f" number there, such as {str(first)[:40]!r}",
            "give a column of numbers",
        )
    found[~np.isfinite(found)] = np.nan
    return found


def require_scanpy() -> None:
    """Check that scanpy is installed.

    Raises
    ------
    UserError
        If it is not.
    """
    try:
        import scanpy  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            "--pseudotime dpt needs scanpy, which is not installed",
            "pip install 'scircuit[pseudotime]', or give an obs column to --pseudotime",
        ) from error


def diffusion_pseudotime(probe: ProbeCohort, root: str, seed: int) -> np.ndarray:
    """Diffusion pseudotime of the probe cells from the cell named `root`."""
    require_scanpy()
    import anndata
    import scanpy  # pyright: ignore[reportMissingImports]

    cells = probe.all_cells
    if root not in cells.barcodes:
        raise UserError(
            f"--root {root!r} is none of the {len(cells.barcodes)} steered and probe cells",
            f"name one of them, such as {cells.barcodes[0]}; or give more --probe-cells",
        )
    data = anndata.AnnData(cells.counts.copy())
    scanpy.pp.normalize_total(data, target_sum=1e4)
    scanpy.pp.log1p(data)
    components = min(_COMPONENTS, min(data.shape) - 1)
    scanpy.pp.pca(data, n_comps=components, random_state=seed)
    neighbours = min(_NEIGHBOURS, len(cells.barcodes) - 1)
    scanpy.pp.neighbors(data, n_neighbors=neighbours, random_state=seed)
    scanpy.tl.diffmap(data, random_state=seed)
    data.uns["iroot"] = cells.barcodes.index(root)
    scanpy.tl.dpt(data)
    found = data.obs["dpt_pseudotime"].to_numpy(np.float64)[probe.mine]
    found[~np.isfinite(found)] = np.nan
    return found

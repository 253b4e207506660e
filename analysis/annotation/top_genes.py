"""The gene list of every feature: its genes with the highest mean activation over firings, among
those with enough firings.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from scircuit.core.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_Value = TypeVar("_Value")
COLUMNS = ("layer", "index", "gene", "mean_activation", "fire_count")


@dataclass(frozen=True)
class TopGenes:
    """One list per feature, empty for features without a gene with enough firings."""

    layer: np.ndarray
    index: np.ndarray
    genes: list[list[str]]
    mean_activation: list[list[float]]
    fire_count: list[list[int]]


def top_genes(
    catalogue: pd.DataFrame | pa.Table, top: int = 20, min_fire_count: int = 3
) -> TopGenes:
    """The `top` genes of every feature by mean activation, ties by fire count and then gene.

    Parameters
    ----------
    catalogue
        Columns layer, index, gene (Ensembl), mean_activation, fire_count: one row a (feature, gene)
        pair.
    top
        Genes per feature.
    min_fire_count
        Minimum firings of the feature on the gene.

    Returns
    -------
    TopGenes
        Every feature of the catalogue, in order of layer and index; features without such a gene
        have an empty list.

    Raises
    ------
    UserError
        If a column is missing or the catalogue is empty.
    """
    import pandas as pd

    frame: pd.DataFrame = (
        catalogue if isinstance(catalogue, pd.DataFrame) else catalogue.to_pandas()
    )
    if missing := [c for c in COLUMNS if c not in frame.columns]:
        raise UserError(
            f"the table of feature genes has no columns {', '.join(missing)}; it has"
            f" {', '.join(map(str, frame.columns))}",
            "trace again",
        )
    if frame.empty:
        raise UserError(
            "the table of feature genes is empty: no feature fires on any gene",
            "check the dictionaries and the cells with: scircuit check",
        )
    features = pd.DataFrame(frame[["layer", "index"]]).drop_duplicates()
    features = features.sort_values(["layer", "index"])
    kept = frame.loc[frame["fire_count"] >= min_fire_count]
    kept = kept.sort_values(
        ["layer", "index", "mean_activation", "fire_count", "gene"],
        ascending=[True, True, False, False, True],
        kind="stable",
    )
    kept = kept.groupby(["layer", "index"], sort=False).head(top)
    order = pd.MultiIndex.from_frame(features)
    of = order.get_indexer(pd.MultiIndex.from_arrays([kept["layer"], kept["index"]]))
    bounds = np.searchsorted(of, np.arange(len(features) + 1))

    def split(values: list[_Value]) -> list[list[_Value]]:
        return [values[a:b] for a, b in pairwise(bounds.tolist())]

    return TopGenes(
        features["layer"].to_numpy(np.int64),
        features["index"].to_numpy(np.int64),
        split(kept["gene"].tolist()),
        split(kept["mean_activation"].astype(float).tolist()),
        split(kept["fire_count"].astype(int).tolist()),
    )

"""Predicted pairs of genes as records: ``PREDICTS`` from the source gene to the target."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import numpy as np

from scircuit.analysis.gene_predictions.screen_changes import ScreenChanges

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

KIND = "Gene-PREDICTS-Gene"


def prediction_records(
    frame: pd.DataFrame,
    gene_id: Callable[[str], str],
    run: str,
    *,
    alpha: float = 0.05,
    changes: ScreenChanges | None = None,
) -> dict[str, pa.Table]:
    """Records of the pairs beyond the null; with what a screen observed of them.

    Parameters
    ----------
    frame
        Of `scircuit.analysis.gene_predictions.pair_finding.pair_finding`.
    gene_id
        Key of the ``Gene`` of a symbol.
    run
        Id of the run.
    alpha
        Largest q of a pair that is stored.
    changes
        Observed changes of a screen.
    """
    from scircuit.core.schema import schema_table

    # two symbols may be one gene: the better pair stays
    kept = frame[frame["q"] <= alpha]
    kept = kept.assign(
        source_id=[gene_id(g) for g in kept["source"]],
        target_id=[gene_id(g) for g in kept["target"]],
    ).drop_duplicates(["source_id", "target_id"])
    kept = cast("pd.DataFrame", kept[kept["source_id"] != kept["target_id"]])
    observed, observed_q = _observed(kept, changes)
    symbols = dict(zip(kept["source_id"], kept["source"], strict=True))
    symbols |= dict(zip(kept["target_id"], kept["target"], strict=True))
    ids = sorted(symbols)
    names = [symbols[i] for i in ids]
    return {
        "Gene": schema_table("Gene", {"id": ids, "name": names, "symbol": names}),
        KIND: schema_table(
            KIND,
            {
                "source": kept["source_id"].tolist(),
                "target": kept["target_id"].tolist(),
                "run": [run] * len(kept),
                "score": kept["score"].tolist(),
                "edges": kept["edges"].tolist(),
                "z": kept["z"].tolist(),
                "q": kept["q"].tolist(),
                "known": [m or None for m in kept["known"]],
                "strongest_source": kept["strongest_source"].tolist(),
                "strongest_target": kept["strongest_target"].tolist(),
                "observed": observed,
                "observed_q": observed_q,
            },
        ),
    }


def _observed(
    frame: pd.DataFrame, changes: ScreenChanges | None
) -> tuple[list[float | None], list[float | None]]:
    """Change and q of each pair in the screen; None where it has none."""
    if changes is None:
        return [None] * len(frame), [None] * len(frame)
    row = {g: i for i, g in enumerate(changes.knocked)}
    column = {g: i for i, g in enumerate(changes.genes)}
    found: list[tuple[float | None, float | None]] = []
    for source, target in zip(frame["source"], frame["target"], strict=True):
        i, j = row.get(source), column.get(target)
        if i is None or j is None or not np.isfinite(changes.q[i, j]):
            found.append((None, None))
        else:
            found.append((float(changes.change[i, j]), float(changes.q[i, j])))
    return [f[0] for f in found], [f[1] for f in found]

"""From attribution over cells to records: ``ATTRIBUTES_TO`` edges, and of every target what its
pre-activation is made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from scircuit.core.address import Address
from scircuit.core.schema import conform

if TYPE_CHECKING:
    import pyarrow as pa

    from scircuit.tracing.attribution.over_cells import EdgeStatistics

EDGES = "Feature-ATTRIBUTES_TO-Feature"


def edge_table(found: Sequence[EdgeStatistics], run: str, model: str, dictionary: str) -> pa.Table:
    """Edges of all targets, with q over all pairs that contribute.

    Parameters
    ----------
    found
        Edges into each target.
    run, model, dictionary
        Run, and names as addresses have them.
    """
    import pyarrow as pa

    from scircuit.analysis.enrichment.fdr import benjamini_hochberg

    def address(layer: int, index: int) -> str:
        return str(Address(model, dictionary, int(layer), int(index)))

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(f, name) for f in found]) if found else np.zeros(0)

    p = joined("p")
    known = ~np.isnan(p)
    q = np.full(len(p), np.nan)
    # stored are the strongest: all pairs are the family, those that are not stored as p = 1
    q[known] = benjamini_hochberg(p[known], sum(f.sources for f in found))
    columns = {
        "source": [address(*row) for f in found for row in f.source],
        "target": [address(*f.target) for f in found for _ in f.source],
        "run": [run] * len(p),
        "weight": joined("mean"),
        "sd": joined("sd"),
        "n": joined("n").astype(np.int64),
        "n_pos": joined("n_pos").astype(np.int64),
        "n_neg": joined("n_neg").astype(np.int64),
        "p": p,
        "q": q,
        "same_token": joined("same_token"),
        "invariant": joined("weight"),
        "factor": joined("factor"),
        "count": joined("positions").astype(np.int64),
    }
    return conform(
        EDGES,
        pa.table({k: pa.array(v, from_pandas=True) for k, v in columns.items()}),
    )


def target_table(found: Sequence[EdgeStatistics], model: str, dictionary: str) -> pa.Table:
    """What the pre-activation of each target that fires is made of."""
    import pyarrow as pa

    rows = [
        {
            "id": str(Address(model, dictionary, *f.target)),
            "attributed": f.value,
            # the mean of an edge is over the cells where the source adds something
            "attribution_edges": float((f.mean * f.n).sum() / f.cells),
            "attribution_remainder": f.remainder,
            "attribution_errors": f.errors,
            "attribution_embeddings": f.embeddings,
            "attribution_biases": f.biases,
            "attribution_gap": f.relative,
        }
        for f in found
        if f.cells
    ]
    return conform("Feature", pa.Table.from_pylist(rows)) if rows else pa.table({"id": []})

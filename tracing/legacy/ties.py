"""Tests of a legacy run that rounding decides: | |d| - 0.5 | within
`scircuit.tracing.legacy.activity_rule.NEAR`, where the published rule asks for |d| > 0.5.

Another machine, or the published code itself, may decide any of them the other way. They are listed
rather than hidden.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from scircuit.core.edge_rules import legacy_edges
from scircuit.core.files import atomic_path
from scircuit.tracing.legacy.activity_rule import decided_by_rounding

FILE = "ties.csv"
COLUMNS = ("source", "target", "n", "n_pos", "n_neg", "mean", "sd", "d")


def ties_of(edges: pa.Table) -> pa.Table:
    """Tests that rounding decides, by source and target, with their `COLUMNS` and whether they are
    edges in this run.
    """
    d, n, n_pos = (
        edges.column(name).to_numpy(zero_copy_only=False) for name in ("d", "n", "n_pos")
    )
    edge = pa.array(legacy_edges(d, n, n_pos))
    return (
        edges.select(COLUMNS)
        .append_column("edge", edge)
        .filter(pa.array(decided_by_rounding(d)))
        .sort_by([("source", "ascending"), ("target", "ascending")])
    )


def write_ties(ties: pa.Table, folder: Path) -> Path:
    """Write them as CSV into a run's folder."""
    path = folder / FILE
    with atomic_path(path) as temporary:
        pyarrow.csv.write_csv(ties, temporary)
    return path

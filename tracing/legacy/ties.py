"""Tests of a legacy run that rounding decides: | |d| - 0.5 | within
`scircuit.tracing.legacy.activity_rule.NEAR`, where the published rule asks for |d| > 0.5.

Another machine, or the published code itself, may call any of them the other way. They are listed,
not tuned away.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from scircuit.core.files import atomic_path
from scircuit.tracing.legacy.activity_rule import NEAR
from scircuit.tracing.statistics.q_values import legacy_rule

FILE = "ties.csv"
COLUMNS = ("source", "target", "n", "n_pos", "n_neg", "mean", "sd", "d")


def ties_of(edges: pa.Table) -> pa.Table:
    """Those of the tests that rounding decides, by source and target, with their `COLUMNS` and
    whether they are an edge here.
    """
    d, n, n_pos = (
        edges.column(name).to_numpy(zero_copy_only=False) for name in ("d", "n", "n_pos")
    )
    edge = pa.array(legacy_rule(d, n, n_pos))
    near = np.abs(np.abs(d) - 0.5) <= NEAR
    return (
        edges.select(COLUMNS)
        .append_column("edge", edge)
        .filter(pa.array(near))
        .sort_by([("source", "ascending"), ("target", "ascending")])
    )


def write_ties(ties: pa.Table, folder: Path) -> Path:
    """Write them as CSV into a run's folder."""
    path = folder / FILE
    with atomic_path(path) as temporary:
        pyarrow.csv.write_csv(ties, temporary)
    return path

"""One row per feature out of several tables: the last known value of each property."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from scircuit.execution.feature_table import joined


def table(rng, size):
    """Some features with properties of several kinds, a third of them not known."""

    def some(values):
        return [None if rng.random() < 1 / 3 else v for v in values]

    genes = [list(map(str, rng.integers(0, 9, rng.integers(0, 3)))) for _ in range(size)]
    return pa.table(
        {
            "id": pa.array([f"F{i}" for i in rng.permutation(size + 4)[:size]], pa.string()),
            "degree": pa.array(some(rng.integers(0, 9, size).tolist()), pa.int64()),
            "rate": pa.array(some(rng.random(size).tolist()), pa.float64()),
            "label": pa.array(some(["a"] * size), pa.string()),
            "alive": pa.array(some((rng.random(size) < 0.5).tolist()), pa.bool_()),
            "genes": pa.array(some(genes), pa.list_(pa.string())),
        }
    )


@pytest.mark.parametrize("seed", range(5))
def test_is_the_last_known_value_of_each_group(seed):
    rng = np.random.default_rng(seed)
    tables = [table(rng, n) for n in (12, 7, 0, 9)]
    tables[1] = tables[1].drop_columns(["rate"])
    frames = [t.to_pandas(types_mapper=pd.ArrowDtype) for t in tables if t.num_rows]
    stacked = pd.concat(frames, ignore_index=True)
    wanted = stacked.groupby("id", sort=False, as_index=False).last()
    pd.testing.assert_frame_equal(joined(tables), wanted)


def test_without_tables_there_is_no_feature():
    assert joined([]).empty and joined([table(np.random.default_rng(0), 0)]).empty

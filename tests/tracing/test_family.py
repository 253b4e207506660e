"""A family gathered unit by unit is the family at once."""

import numpy as np
import pytest

import scircuit.tracing.statistics.family
from scircuit.tracing.statistics.family import Family
from scircuit.tracing.statistics.q_values import q_table
from scircuit.tracing.statistics.skewness import Null


@pytest.mark.parametrize("many", [1, 300, 10**6])
@pytest.mark.parametrize("method", ["bh", "by"])
def test_units_together_are_the_whole(many, method, monkeypatch):
    monkeypatch.setattr(scircuit.tracing.statistics.family, "_MANY", many)
    rng = np.random.default_rng(0)
    units = []
    for _ in range(12):
        p, counts = np.unique(rng.integers(1, 500, 400) ** 4 / 2**36, return_counts=True)
        null, weight = np.unique(rng.integers(1, 512, 50) / 512, return_counts=True)
        units.append((p, counts, Null(null, weight * 2.0, int((p > 0.5).sum()))))
    family = Family()
    for unit in units:
        family.add(*unit)
    whole = q_table(
        [u[0] for u in units], [u[1] for u in units], method, Null.joined([u[2] for u in units])
    )
    found = family.table(method)
    assert family.tests == 12 * 400
    np.testing.assert_array_equal(found.p, whole.p)
    np.testing.assert_array_equal(found.q, whole.q)
    assert len(found.p) > 100 and found.q.min() < 1

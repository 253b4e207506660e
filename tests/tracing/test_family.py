"""A family gathered unit by unit is the family at once."""

import numpy as np
import pytest

import scircuit.tracing.statistics.family
from scircuit.tracing.statistics.family import Family
from scircuit.tracing.statistics.q_values import q_table
from scircuit.tracing.statistics.skewness import LEVELS, Null


@pytest.mark.parametrize("many", [1, 300, 10**6])
@pytest.mark.parametrize("method", ["bh", "by"])
@pytest.mark.parametrize("exact", [0.1, 1.0])
def test_units_together_are_the_whole(many, method, exact, monkeypatch):
    monkeypatch.setattr(scircuit.tracing.statistics.family, "_MANY", many)
    rng = np.random.default_rng(0)
    units = []
    for _ in range(12):
        p, counts = np.unique(rng.integers(1, 500, 400) ** 4 / 2**36, return_counts=True)
        weight = rng.integers(1, 50, (2, len(LEVELS))) << 20
        units.append((p, counts, Null(LEVELS, weight, weight >> 3)))
    family = Family(exact)
    for unit in units:
        family.add(*unit)
    whole = q_table(
        [u[0] for u in units],
        [u[1] for u in units],
        method,
        Null.joined([u[2] for u in units]),
        exact,
    )
    found = family.table(method)
    assert family.tests == 12 * 400
    np.testing.assert_array_equal(found.p, whole.p)
    np.testing.assert_array_equal(found.q, whole.q)
    assert len(found.p) > 100 and found.q.min() < 1
    assert found.exact == exact and family.between(0.01, 0.1) > 0

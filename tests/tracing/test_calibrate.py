"""q over a whole family from distinct p values, and the two edge rules."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import false_discovery_control

from tracing.calibrate import calibrated, legacy, legacy_rule, q_table, with_q


@pytest.fixture
def units():
    rng = np.random.default_rng(0)
    return [np.ceil(rng.random(400) ** 2 * 64) / 64 for _ in range(5)]


def test_equals_scipy_over_the_joined_family_with_ties(units):
    distinct = [np.unique(u, return_counts=True) for u in units]
    table = q_table([d[0] for d in distinct], [d[1] for d in distinct])
    everything = np.concatenate(units)
    edges = with_q(pa.table({"p": everything}), table)
    np.testing.assert_allclose(edges["q"].to_numpy(), false_discovery_control(everything), rtol=1e-12)


def test_gated_edges_get_the_q_of_the_whole_family(units):
    everything = np.concatenate(units)
    table = q_table(*np.unique(everything, return_counts=True))
    stored = everything <= 0.1
    edges = with_q(pa.table({"p": everything[stored], "n": np.arange(stored.sum())}), table)
    np.testing.assert_allclose(edges["q"].to_numpy(), false_discovery_control(everything)[stored], rtol=1e-12)
    assert edges.column_names == ["p", "q", "n"]
    assert with_q(edges, table).equals(edges)


def test_threshold_is_the_largest_passing_p(units):
    table = q_table(*np.unique(np.concatenate(units), return_counts=True))
    q = false_discovery_control(np.concatenate(units))
    for level in (0.01, 0.3, 1.0):
        passing = np.concatenate(units)[q <= level]
        assert table.threshold(level) == (passing.max() if len(passing) else 0.0)
    assert q_table(np.array([]), np.array([])).threshold() == 0.0


def test_bad_families_are_refused():
    with pytest.raises(ValueError, match="2 p values but 1 counts"):
        q_table(np.array([0.1, 0.2]), np.array([1]))
    with pytest.raises(ValueError, match="must lie in"):
        q_table(np.array([0.1, np.nan]), np.array([1, 1]))
    with pytest.raises(ValueError, match="not among the p values"):
        with_q(pa.table({"p": [0.3]}), q_table(np.array([0.1]), np.array([4])))
    empty = with_q(pa.table({"p": pa.array([], pa.float64())}), q_table(np.array([]), np.array([])))
    assert empty.num_rows == 0 and "q" in empty.column_names


def test_calibrated_rule():
    edges = pa.table({"q": [0.05, 0.05, 0.06], "n_pos": [4, 3, 9], "n_neg": [2, 2, 9]})
    assert calibrated(edges).tolist() == [True, False, False]
    assert calibrated(edges, q=0.1, min_support=5).tolist() == [True, True, True]


@pytest.mark.parametrize("k", range(1, 21))
def test_published_asymmetry_is_reproduced(k):
    """k of 20 cells non-zero, equal and same-signed: negative is an edge from 5 on, positive only at 5 or from 15 on."""
    x = np.zeros(20)
    x[:k] = 1
    for sign, wanted in ((-1, k >= 5), (1, k == 5 or k >= 15)):
        y = sign * x
        d = y.mean() / max(y.std(ddof=1), 1e-10)
        assert bool(legacy_rule(d, np.array(20), (y > 0).sum())) == wanted


def test_legacy_on_a_table():
    edges = pa.table({"d": [-0.6, 0.6, 0.5, 0.6], "n": [20, 20, 20, 1], "n_pos": [0, 10, 20, 1]})
    assert legacy(edges).tolist() == [True, False, False, False]

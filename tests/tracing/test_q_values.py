"""q over a whole family from distinct p values, and the two edge rules."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import false_discovery_control, norm

from scircuit.core.edge_rules import legacy_edges
from scircuit.tracing.statistics.q_values import (
    calibrated,
    q_table,
    scale_of,
    with_q,
)
from scircuit.tracing.statistics.skewness import LEVELS, UNIT, Null, inflation


@pytest.fixture
def units():
    rng = np.random.default_rng(0)
    return [np.ceil(rng.random(400) ** 2 * 64) / 64 for _ in range(5)]


def test_equals_scipy_over_the_joined_family_with_ties(units):
    distinct = [np.unique(u, return_counts=True) for u in units]
    table = q_table([d[0] for d in distinct], [d[1] for d in distinct])
    everything = np.concatenate(units)
    edges = with_q(pa.table({"p": everything}), table)
    np.testing.assert_allclose(
        edges["q"].to_numpy(), false_discovery_control(everything), rtol=1e-12
    )


@pytest.mark.parametrize("method", ["bh", "by"])
def test_methods_equal_scipy(units, method):
    everything = np.concatenate(units)
    table = q_table(*np.unique(everything, return_counts=True), method=method)
    np.testing.assert_allclose(
        table.of(everything), false_discovery_control(everything, method=method), rtol=1e-12
    )


def test_q_of_a_p_outside_the_family_follows_the_threshold(units):
    table = q_table(*np.unique(np.concatenate(units), return_counts=True))
    p = np.linspace(0, 1, 997)[1:]
    for q in (0.03, 0.2, 0.8):
        np.testing.assert_array_equal(table.of(p) <= q, p <= table.threshold(q))


def null_of(own, symmetric, draws=1e7):
    """Null draws whose shares up to each level are given."""
    weight = np.array([np.diff(part, prepend=0) for part in (own, symmetric)])
    units = np.rint(weight * draws / UNIT).astype(np.int64)
    return Null(LEVELS, units, units)


def test_null_draws_only_raise_q(units):
    family = np.unique(np.concatenate(units), return_counts=True)
    plain = q_table(*family)
    few = np.append(LEVELS[:-1] / 2, 1.0)  # fewer small p than with signs
    fewer = q_table(*family, null=null_of(few, LEVELS))
    np.testing.assert_array_equal(fewer.q, plain.q)
    heavy = np.minimum(20 * LEVELS, 1)  # many small p, with random signs as many
    np.testing.assert_array_equal(q_table(*family, null=null_of(heavy, heavy)).q, plain.q)
    null = null_of(np.minimum(LEVELS * np.exp(0.1 * norm.isf(LEVELS / 2) ** 2), 1), LEVELS)
    skewed = q_table(*family, null=null)
    assert (skewed.q >= plain.q).all() and skewed.threshold(0.15) < plain.threshold(0.15)
    # by hand: m p I(p) false tests at p
    expected = plain.p * inflation(null, plain.p) * 2000 / np.cumsum(family[1])
    np.testing.assert_allclose(skewed.q[5], min(1, expected[5:].min()), rtol=1e-6)


@pytest.mark.parametrize("method", ["bh", "by"])
def test_p_beyond_the_exact_ones_count_and_no_more(method):
    everything = np.ceil(np.random.default_rng(1).random(2000) ** 8 * 4096) / 4096
    whole = q_table(*np.unique(everything, return_counts=True), method=method)
    gated = q_table(*np.unique(everything, return_counts=True), method=method, exact=0.1)
    unasked = np.where(everything > 0.1, 1.0, everything)
    given = q_table(*np.unique(unasked, return_counts=True), method=method, exact=0.1)
    np.testing.assert_array_equal(gated.q, given.q)
    np.testing.assert_array_equal(gated.p, given.p)
    asked = whole.p <= 0.1
    below = whole.q[asked] <= 0.1
    assert below.any() and (gated.p[:-1] == whole.p[asked]).all()
    np.testing.assert_array_equal(gated.q[:-1][below], whole.q[asked][below])
    assert (gated.q[:-1] >= whole.q[asked]).all() and gated.of(np.array([0.2]))[0] == 1


def test_gated_edges_get_the_q_of_the_whole_family(units):
    everything = np.concatenate(units)
    table = q_table(*np.unique(everything, return_counts=True))
    stored = everything <= 0.1
    edges = with_q(pa.table({"p": everything[stored], "n": np.arange(stored.sum())}), table)
    np.testing.assert_allclose(
        edges["q"].to_numpy(), false_discovery_control(everything)[stored], rtol=1e-12
    )
    assert edges.column_names == ["p", "q", "n"]
    assert with_q(edges, table).equals(edges)


def test_edges_outside_the_family_have_q_one():
    """Fewer than six cells with an effect, and p beyond those that were asked for."""
    table = q_table(np.array([0.01, 1.0]), np.array([4, 4]), exact=0.1)
    edges = pa.table({"p": [0.01, 0.0625, 0.01, 0.3], "n_pos": [6, 5, 3, 9], "n_neg": [0, 0, 2, 9]})
    assert with_q(edges, table)["q"].to_pylist() == [0.02, 1.0, 1.0, 1.0]


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
    with pytest.raises(ValueError, match="method 'holm'"):
        q_table(np.array([0.1]), np.array([1]), method="holm")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="not among the p values"):
        with_q(pa.table({"p": [0.3]}), q_table(np.array([0.1]), np.array([4])))
    with pytest.raises(ValueError, match="not among the p values"):
        cells = {"n_pos": [6], "n_neg": [0]}
        with_q(pa.table({"p": [0.3], **cells}), q_table(np.array([0.1]), np.array([4])))
    empty = with_q(pa.table({"p": pa.array([], pa.float64())}), q_table(np.array([]), np.array([])))
    assert empty.num_rows == 0 and "q" in empty.column_names


def test_calibrated_rule():
    edges = pa.table({"q": [0.05, 0.05, 0.06], "n_pos": [4, 3, 9], "n_neg": [2, 2, 9]})
    assert calibrated(edges).tolist() == [True, False, False]
    assert calibrated(edges, q=0.1, min_support=5).tolist() == [True, True, True]


def test_size_floor_is_a_share_of_the_targets_scale():
    edges = pa.table(
        {
            "q": [0.01] * 4,
            "n_pos": [9] * 4,
            "n_neg": [0] * 4,
            "mean": [0.002, -0.002, 0.0019, 1e-9],
            "target": ["a", "a", "a", "silent"],
        }
    )
    scale = scale_of(pa.table({"id": ["a", "silent", "b"], "mean_activation": [2.0, None, 0.0]}))
    assert scale == {"a": 2.0}
    assert calibrated(edges, scale=scale).tolist() == [
        True,
        True,
        False,
        True,
    ]  # a silent target has no scale
    assert calibrated(edges, scale=scale, min_effect=0).all() and calibrated(edges).all()
    assert not calibrated(edges, scale=scale, min_effect=0.002)[:3].any()


@pytest.mark.parametrize("k", range(1, 21))
def test_published_asymmetry_is_reproduced(k):
    """k of 20 cells non-zero, equal and same-signed: negative is an edge from 5 on, positive only
    at 5 or from 15 on.
    """
    x = np.zeros(20)
    x[:k] = 1
    for sign, wanted in ((-1, k >= 5), (1, k == 5 or k >= 15)):
        y = sign * x
        d = y.mean() / max(y.std(ddof=1), 1e-10)
        assert bool(legacy_edges(d, np.array(20), (y > 0).sum())) == wanted


def test_legacy_on_a_table():
    edges = pa.table({"d": [-0.6, 0.6, 0.5, 0.6], "n": [20, 20, 20, 1], "n_pos": [0, 10, 20, 1]})
    columns = (np.array(edges.column(name)) for name in ("d", "n", "n_pos"))
    assert legacy_edges(*columns).tolist() == [True, False, False, False]

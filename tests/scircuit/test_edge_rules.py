"""The edge rules on arrays: verdicts by hand, at every bound and where a value is missing."""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pytest

from scircuit.core import edge_rules
from scircuit.core.edge_rules import (
    CALIBRATED,
    CARRIED,
    COMPUTED,
    GENERIC,
    LEGACY,
    STATED,
    SYMMETRIC,
)
from tests.support.edge_cases import CASES, NAN, columns, verdicts


@pytest.fixture(autouse=True)
def _no_numpy_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


RULES = (CALIBRATED, LEGACY, SYMMETRIC, COMPUTED, CARRIED, GENERIC)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
def test_verdicts_by_hand(rule):
    found, wanted = rule.holds(columns()), verdicts(rule.name)
    assert not [c.what for c, f, w in zip(CASES, found, wanted, strict=True) if f != w]


def test_the_functions_are_the_rules():
    c = columns()
    args = {n: c[n] for n in ("q", "n_pos", "n_neg", "mean", "scale")}
    np.testing.assert_array_equal(edge_rules.calibrated_edges(**args), CALIBRATED.holds(c))
    d, n, up, down = c["d"], c["n"], c["n_pos"], c["n_neg"]
    np.testing.assert_array_equal(edge_rules.legacy_edges(d, n, up), LEGACY.holds(c))
    np.testing.assert_array_equal(edge_rules.symmetric_edges(d, n, up, down), SYMMETRIC.holds(c))
    defaults = inspect.signature(edge_rules.calibrated_edges).parameters
    assert CALIBRATED.defaults == {
        "q": defaults["max_q"].default,
        "min_support": defaults["min_support"].default,
        "min_effect": defaults["min_effect"].default,
    }


def test_every_rule_of_a_query_has_the_same_thresholds():
    for rule in (COMPUTED, CARRIED, GENERIC, edge_rules.DEFAULT):
        assert rule.defaults == CALIBRATED.defaults, rule.name
    assert (COMPUTED.q, CARRIED.q, CALIBRATED.q, LEGACY.q) == ("q_computed", "q_direct", "q", "")


@pytest.mark.parametrize("other", [{}, {"q": 0.5}, {"min_support": 5}, {"min_effect": 0.0}])
def test_no_edge_is_of_two_kinds(other):
    c = columns()
    kinds = edge_rules.edges_by_kind(c, other)
    assert list(kinds) == ["computed", "carried", "generic"]
    assert np.sum(list(kinds.values()), axis=0).max() == 1
    any_kind = np.any(list(kinds.values()), axis=0)
    assert (any_kind >= CALIBRATED.holds(c, other)).all()


def test_what_excludes_is_judged_at_the_same_thresholds():
    c = {"q": 0.01, "n_pos": 9, "n_neg": 0, "mean": 1.0, "scale": 1.0, "q_direct": 0.01}
    c |= {"direct": 1.0, "computed": 1.0, "q_computed": 0.2, "computed_cells": 9}
    assert bool(CARRIED.holds(c)) and not CARRIED.holds(c, {"q": 0.2})
    assert CARRIED.holds(c | {"computed_cells": 8}, {"q": 0.2, "min_support": 9})
    without = {n: v for n, v in c.items() if n not in ("q_computed", "computed", "computed_cells")}
    assert not CARRIED.refuted(without) and CARRIED.refuted(c | {"q_computed": 0.01})


def test_thresholds_can_be_chosen():
    c = columns()
    loose = CALIBRATED.holds(c, {"q": 1, "min_support": 0, "min_effect": 0})
    known = ~(np.isnan(c["q"] + c["n_pos"] + c["mean"]))
    np.testing.assert_array_equal(loose, known)
    assert not CALIBRATED.holds(c, {"q": -1}).any()


def test_no_edge_is_refuted_and_a_missing_value_refutes_nothing():
    c = columns()
    for rule in RULES:
        holds, refuted = rule.holds(c), rule.refuted(c)
        assert not (holds & refuted).any()
        own = {n for x in rule.conditions for k in x.quantities for n in k.columns} - {"scale"}
        unknown = np.any([np.isnan(c[x]) for x in own], 0)
        np.testing.assert_array_equal((~holds & ~refuted)[~unknown], False)
        assert not refuted[-1]  # nothing is known of the last case
    # no consistency was stated: only d can refute
    np.testing.assert_array_equal(STATED.refuted({"d": [0.5, 0.6, NAN]}), [True, False, False])


def test_arrays_are_broadcast_and_whole_numbers_are_taken():
    d, up = np.array([[0.6, 0.6], [-0.6, 0.1]], np.float32), np.array([9, 2], np.int32)
    np.testing.assert_array_equal(edge_rules.legacy_edges(d, 10, up), [[True, True], [True, False]])
    assert bool(edge_rules.legacy_edges(0.6, 10, 9)) is True


@pytest.mark.parametrize(
    ("d", "stated", "n", "n_pos", "edge"),
    [
        (0.6, 0.8, NAN, NAN, True),
        (0.6, 0.7, NAN, NAN, False),
        (0.6, 0.8, 20, NAN, True),
        (0.6, 0.8, 20, 10, False),  # counts go before what is stated
        (0.6, 0.6, 20, 20, True),
        (0.6, 0.8, 1, NAN, False),  # one cell has no d
        (0.6, 1.0, 1, 1, False),
        (0.6, NAN, NAN, NAN, False),
        (0.6, NAN, 20, 20, True),
    ],
)
def test_published_edges_of_an_imported_study(d, stated, n, n_pos, edge):
    assert bool(edge_rules.published_edges(d, stated, n, n_pos)) is edge


def test_every_option_has_the_default_of_the_rule():
    from scircuit.core.config import AnalyseConfig
    from scircuit.tracing.controls.control_edges import Rule

    config = AnalyseConfig()
    assert {n: getattr(config, n) for n in CALIBRATED.defaults} == CALIBRATED.defaults
    assert Rule._field_defaults == {
        n: CALIBRATED.defaults[n] for n in ("min_support", "min_effect")
    }


def test_a_computed_effect_continues_a_direct_one_of_the_same_sign():
    direct = [3.0, 2.99, -3.0, -9.0, 9.0, NAN, 5.0]
    computed = [6.0, 6.0, -6.0, 6.0, -6.0, 6.0, NAN]
    found = edge_rules.continued_edges(direct, computed)
    assert found.tolist() == [True, False, True, False, False, False, False]


def test_all_adapters_choose_the_same_edges():
    """Tables of tracing and arrays of analysis, from the same records."""
    import pyarrow as pa

    from scircuit.analysis.circuits import degree
    from scircuit.tracing.statistics import q_values

    c = columns()
    ids = [f"m/d/L01/F{i:04d}" for i in range(len(CASES))]
    edges = pa.table(
        {"source": ["m/d/L00/F0000"] * len(ids), "target": ids}
        | {n: pa.array(v, from_pandas=True) for n, v in c.items() if n != "scale"}
    )
    features = pa.table(
        {
            "id": ["m/d/L00/F0000", *ids],
            "layer": [0] + [1] * len(ids),
            "firing_rate": [0.1] * (len(ids) + 1),
            "traced": [True] + [False] * len(ids),
            "mean_activation": pa.array([NAN, *c["scale"]], from_pandas=True),
        }
    )
    links = degree.read_edges(edges, degree.read_features(features))
    wanted = CALIBRATED.holds(c)
    np.testing.assert_array_equal(degree.edges_by(links, CALIBRATED), wanted)
    scale = q_values.scale_of(features)
    np.testing.assert_array_equal(q_values.calibrated(edges, scale=scale), wanted)
    np.testing.assert_array_equal(degree.legacy(links), LEGACY.holds(c))

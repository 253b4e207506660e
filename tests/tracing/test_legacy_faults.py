"""What is said about the published rules is right: hand examples, and the figures that were
measured with the published code.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch

from scircuit.tracing.clean_pass.clean_pass import Firing
from scircuit.tracing.legacy.activity_rule import (
    NEAR,
    faults_of_rule,
    legacy_sources,
    noise_rate,
    passing_support,
)
from scircuit.tracing.legacy.faults_of_run import (
    fault_of_activity,
    fault_of_sources,
    faults_of_edges,
)
from scircuit.tracing.legacy.sign_flip_null import legacy_null
from scircuit.tracing.legacy.ties import ties_of


def test_steady_effects_pass_by_sign():
    # of 20 cells a negative effect is an edge in 5 or more, a positive one in 5 or in 15 or more
    assert passing_support(20) == ([5, *range(15, 21)], list(range(5, 21)))
    # one effect of four cells has d = 0.5, which is not above 0.5
    assert passing_support(4) == ([3, 4], [2, 3, 4])
    consistency = faults_of_rule(20)[0]
    assert (
        not consistency.ok
        and "in 5, 15 to 20 of them, a negative one in 5 to 20" in consistency.found
    )


@pytest.mark.parametrize(
    ("n", "rate"),
    [(2, 0.50), (3, 0.25), (4, 0.36), (5, 0.25), (8, 0.15), (10, 0.074), (20, 0.0185)],
)
def test_noise_that_passes(n, rate):
    assert noise_rate(n) == pytest.approx(rate, abs=0.005)


def test_a_single_cell_can_have_no_edge():
    assert [line.found for line in faults_of_rule(1)] == ["1 cell: no edge is possible"]


def test_sources_come_from_the_catalogue():
    catalogue = SimpleNamespace(activation_freq=np.array([0.0, 0.001, 0.00099, 0.5]))
    assert legacy_sources(SimpleNamespace(n_features=4, catalogue=catalogue)).tolist() == [1, 3]
    assert legacy_sources(SimpleNamespace(n_features=4, catalogue=None)).tolist() == [0, 1, 2, 3]


def firing(*of_feature):
    """Values of each feature at its member positions."""
    values = [v for row in of_feature for v in row]
    return Firing(
        np.cumsum([0, *map(len, of_feature)]),
        torch.arange(len(values)),
        torch.tensor(values, dtype=torch.float32),
    )


CELLS = [
    firing([1.0, 0.0], [0.0, 0.0], [2.0], [3.0]),
    firing([0.0], [1.0], [], [1.0]),
    firing([], [2.0], [], []),
]


def test_activity_without_a_value():
    activity = fault_of_activity(CELLS, np.array([0, 1, 2]))
    # F0: 1 of 3 members is above 0; F1: 2 of 4; F2: 1 of 1. Pairs without any: F0 in cell 1, F1 in
    # cell 0
    assert activity.found.startswith(
        "4 of 8 active positions have value 0; in 2 of 6 (feature, cell) pairs nothing is removed"
    )
    assert fault_of_activity([firing([1.0], [2.0]), firing([1.0], [2.0])], np.array([0, 1])).ok


def dictionary(*rates):
    return SimpleNamespace(
        n_features=4, catalogue=SimpleNamespace(activation_freq=np.array(rates)) if rates else None
    )


def test_what_the_catalogue_chooses_is_counted_in_the_catalogue():
    # F1 and F3 fire in two cells, F0 and F2 in one: of the three chosen F0 and F2 do not, and F3 is
    # left out
    sources = fault_of_sources(CELLS, dictionary(0.1, 0.1, 0.1, 0.0009), ())
    assert (
        not sources.ok
        and "not these cells, chooses 3 of 4 features: 2 of them fire in fewer than 2 cells here,"
        " and 1 others fire in more but"
        in sources.found
    )
    assert fault_of_sources(CELLS, dictionary(0.0, 0.1, 0.0, 0.1), ()).ok


def test_without_a_catalogue_nothing_is_said_of_one():
    sources = fault_of_sources(CELLS, dictionary(), ())
    assert (
        sources.ok
        and sources.found == "the dictionary has no catalogue to choose by; all 4 features are used"
    )


def test_named_features_are_no_choice_of_the_catalogue():
    sources = fault_of_sources(CELLS, dictionary(0.1, 0.1, 0.1, 0.0), (1, 2, 2))
    assert sources.ok and sources.found.startswith(
        "2 named with --features; without it, activation_freq of the dictionary's catalogue, not"
        " these cells, chooses 3 of 4"
    )
    assert "left out" not in sources.found
    assert fault_of_sources(CELLS, dictionary(), (1,)).found.endswith(
        "without it, the dictionary has no catalogue to choose by; all 4 features are used"
    )


def edges(rows):
    n, n_pos, n_neg, mean, d = zip(*rows, strict=True)
    return pa.table({"n": n, "n_pos": n_pos, "n_neg": n_neg, "mean": mean, "d": d})


def test_edges_by_other_rules():
    table = edges(
        [
            (20, 0, 8, -1.0, -0.7),  # an edge because 12 zeros count as not positive
            (20, 8, 0, 1.0, 0.7),  # its mirror is none
            (20, 20, 0, 1.0, 2.0),
            (20, 0, 20, -1e-7, -2.0),  # no larger than nothing
            (4, 1, 0, 1.0, 0.50000001),  # rounding decides
            (20, 10, 10, 0.0, 0.1),
        ]
    )
    lines = {
        line.name: line
        for line in faults_of_edges(
            table, zero_edit_max=1e-6, calibrated=np.array([True, False, True, True, False, False])
        )
    }
    # counted here, 4 are edges: rows 0, 2, 3 and 4 (3 of 4 cells are not positive); negated: rows 1
    # to 4
    assert lines["legacy signs"].found.startswith(
        "2 of 4 edges are negative; with all effects negated there are 4 edges; "
    )
    assert "0 edges go and 1 come, 3 of 5 positive" in lines["legacy signs"].found
    assert lines["legacy support"].found.startswith(
        "1 of 4 edges have an effect in fewer than 6 cells"
    )
    assert lines["legacy floor"].found.startswith("1 edges")
    assert lines["legacy rounding"].found.startswith("1 tests")
    assert lines["legacy edges"].found.startswith("3 of 4")
    assert not any(line.ok for line in lines.values())


def test_harmless_edges_are_said_to_be_so():
    table = edges([(20, 20, 0, 1.0, 2.0), (20, 0, 20, -1.0, -2.0)])
    rng = np.random.default_rng(0)
    null = legacy_null(
        rng.standard_normal((1, 20, 100)) + 3, np.ones((1, 20), bool), [7], draws=100
    )
    lines = faults_of_edges(table, 1e-6, np.ones(2, bool), null)
    assert all(line.ok for line in lines) and lines[-1].name == "legacy null"
    assert (
        lines[-1].found.startswith(
            "FDR 2.92% on 1 sources by the published sign-flip null (2.9 expected for 100 edges)"
        )
        and "100 of 100 live tests and 100 edges survive" in lines[-1].found
    )


def test_ties_are_listed_whole():
    near, far = 0.5 * NEAR, 2 * NEAR
    d = [
        0.5 + near,
        0.5 - near,
        -0.5 - near,
        -0.5 + near,
        0.5 + far,
        0.5 - far,
        -2.0,
        0.0,
        float("nan"),
    ]
    n = len(d)
    table = pa.table(
        {
            "source": [f"F{n - i}" for i in range(n)],
            "target": ["T"] * n,
            "n": [4] * n,
            "n_pos": [4 if x > 0 else 0 for x in d],
            "n_neg": [0 if x > 0 else 4 for x in d],
            "mean": d,
            "sd": [1.0] * n,
            "d": d,
            "q": [1.0] * n,
        }
    )
    found = ties_of(table).to_pylist()
    assert [(row["source"], row["edge"]) for row in found] == [
        ("F6", False),
        ("F7", True),
        ("F8", False),
        ("F9", True),
    ]
    assert all(row["d"] == d[n - int(row["source"][1:])] for row in found)

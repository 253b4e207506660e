"""What the number of cells allows, and the sentence of a run with few edges."""

from __future__ import annotations

import numpy as np
import pytest

from scircuit.tracing.statistics.power import (
    FEW_EDGES,
    cells_for_one_edge,
    few_edges_note,
    smallest_p,
)
from scircuit.tracing.statistics.q_values import q_table
from scircuit.tracing.statistics.sign_flip import sign_flip_p


@pytest.mark.parametrize("cells", [1, 2, 6, 13, 20])
def test_smallest_p_is_that_of_effects_of_one_sign(cells):
    assert smallest_p(cells) == sign_flip_p(np.arange(1.0, cells + 1)[None])[0]


@pytest.mark.parametrize("tests", [1, 10, 1000, 10**6])
def test_cells_for_one_edge_are_just_enough(tests):
    cells = cells_for_one_edge(tests)
    family = np.array([smallest_p(cells), 1.0]), np.array([1, tests - 1])
    assert q_table(*family).q[0] <= 0.05
    if cells > 6:
        family = np.array([smallest_p(cells - 1), 1.0]), np.array([1, tests - 1])
        assert q_table(*family).q[0] > 0.05


def test_the_sentence_names_what_would_help():
    assert few_edges_note(FEW_EDGES, 100, 100, 20) is None
    assert few_edges_note(0, 0, 0, 0) == (
        "no edges at q <= 0.05: no test has an effect above the numeric floor in two cells or more"
    )
    assert few_edges_note(0, 3000, 0, 5) == (
        "no edges at q <= 0.05: none of 3,000 live tests has 6 cells with an effect, the fewest"
        " that can be called (at most 5 here). Trace more cells in which the sources are active"
    )
    assert few_edges_note(1, 5000, 2000, 9) == (
        "1 edge at q <= 0.05 among 2,000 callable of 5,000 live tests: with 9 cells, the most that"
        " a test has, the smallest p is 0.0039, and at least 157 tests would have to reach it. More"
        " cells help: from 17 cells on a single test can be an edge"
    )
    enough = few_edges_note(4, 5000, 2000, 20)
    assert enough is not None and "small enough for a single test" in enough


def test_as_many_tests_as_the_sentence_says_are_edges():
    family = np.array([smallest_p(9), 1.0]), np.array([157, 2000 - 157])
    assert q_table(*family).q[0] <= 0.05
    family = np.array([smallest_p(9), 1.0]), np.array([156, 2000 - 156])
    assert q_table(*family).q[0] > 0.05

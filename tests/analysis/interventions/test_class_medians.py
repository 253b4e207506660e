"""Medians of classes of sets and their differences, with the set as the unit."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from scircuit.analysis.interventions.class_medians import class_difference, class_median


def test_class_medians_and_differences():
    rng = np.random.default_rng(0)
    same, cross = rng.normal(0.6, 0.1, 30), rng.normal(0.75, 0.1, 30)
    one = class_median(same)
    assert one.low < one.median < one.high and one.sets == 30
    found = class_difference(same, cross)
    assert found.difference == pytest.approx(np.median(same) - np.median(cross))
    assert found.p == 1 / 2001
    assert class_difference(same, np.array([np.nan, 1.0])) == (None, None)
    assert class_median(np.array([np.nan])) == (0, None, None, None)
    assert class_median(np.array([0.5])) == (1, 0.5, None, None)


def test_the_permutation_p_is_that_of_all_relabellings():
    a, b = np.array([1.0, 2.0, 3.5, 4.0]), np.array([3.0, 5.0, 6.0, 9.0])
    every = np.concatenate([a, b])
    observed = abs(np.median(a) - np.median(b))
    hits = [
        abs(np.median(every[list(c)]) - np.median(np.delete(every, c))) >= observed - 1e-12
        for c in itertools.combinations(range(8), 4)
    ]
    # 2000 draws: three standard errors
    assert class_difference(a, b).p == pytest.approx(np.mean(hits), abs=3 * 0.011)


def test_p_of_classes_without_a_difference_is_uniform():
    rng = np.random.default_rng(5)
    p = [class_difference(*rng.normal(size=(2, 12)), seed=s).p for s in range(200)]
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)
    assert np.mean(np.array(p) <= 0.5) == pytest.approx(0.5, abs=3 * 0.035)

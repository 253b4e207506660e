"""Statistics over cells, on numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tracing.statistics import edge_statistics


def one(values, active=None, floor=0.0):
    x = np.asarray(values, float)[None, :, None]
    live = np.ones_like(x[:, :, 0], bool) if active is None else np.asarray(active, bool)[None]
    return edge_statistics(x, live, np.array([floor]))


def test_worked_example():
    t = one([1.0, 2.0, -0.5, 0.0, 7.0], active=[1, 1, 1, 1, 0])
    assert (t.n[0], t.n_pos[0], t.n_neg[0]) == (4, 2, 1)
    assert t.mean[0] == pytest.approx(2.5 / 4)
    assert t.sd[0] == pytest.approx(np.std([1, 2, -0.5, 0], ddof=1))
    assert t.d[0] == pytest.approx(t.mean[0] / t.sd[0])
    assert t.p[0] == 0.5  # |1 + 2 - 0.5|: all-plus, and the pattern above, of 4 up to a global sign


def test_floor_sets_small_effects_to_zero():
    t = one([1e-6, -1e-6, 0.5, 0.25], floor=1e-6)
    assert (t.n[0], t.n_pos[0], t.n_neg[0], t.mean[0], t.p[0]) == (4, 2, 0, 0.1875, 0.5)
    assert len(one([1e-7, -1e-7, 1e-7], floor=1e-6).p) == 0


def test_one_cell_gives_no_test():
    assert len(one([1.0, 3.0], active=[1, 0]).p) == 0
    assert len(one([1.0, 3.0], active=[1, 1]).p) == 1


def test_equal_effects_keep_d_finite():
    t = one([0.5, 0.5, 0.5])
    assert t.sd[0] == 0 and t.d[0] == 0.5 / 1e-10


def test_halves_need_sign_and_p_in_each():
    strong = np.tile([1.0, 1.1], 8)  # 8 cells a half: p = 2/256
    assert one(strong).halves(np.array([0]))[0] == 2
    half = strong.copy()
    half[1::2] = np.tile([1.0, -1.0], 4)
    assert one(half).halves(np.array([0]))[0] == 1
    against = strong.copy()
    against[1::2] = -0.5
    assert one(against).halves(np.array([0]))[0] == 1
    few = one([1.0, 1.0, 1.0, 1.0])  # two cells a half cannot reach p <= 0.05
    assert few.halves(np.array([0]))[0] == 0


def test_sources_and_targets_are_found_where_they_are():
    x = np.zeros((2, 3, 4))
    x[1, :, 2] = [1, 2, 3]
    x[0, 0, 1] = 1
    t = edge_statistics(x, np.array([[1, 0, 0], [1, 1, 1]], bool), np.zeros(4))
    assert (t.source.tolist(), t.target.tolist()) == ([1], [2])

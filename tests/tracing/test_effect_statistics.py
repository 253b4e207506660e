"""Statistics over cells, on numbers worked by hand."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from scircuit.tracing.statistics import effect_statistics
from scircuit.tracing.statistics.effect_statistics import edge_statistics
from scircuit.tracing.statistics.sign_flip import sign_flip_p


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
    few = np.concatenate(
        [np.ones(11), [0.0]]
    )  # five cells with an effect in the odd half cannot reach p <= 0.05, whatever they are
    assert one(few).halves(np.array([0]))[0] is np.ma.masked
    assert one(np.ones(12)).halves(np.array([0]))[0] == 2


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_effects_that_are_no_numbers_are_refused_where_they_count(bad):
    x = np.ones((1, 8, 2))
    x[0, 3, 1] = bad
    with pytest.raises(ValueError, match="NaN or infinite"):
        edge_statistics(x, np.ones((1, 8)), np.zeros(2))
    silent = np.ones((1, 8))
    silent[0, 3] = 0
    assert len(edge_statistics(x, silent, np.zeros(2)).p) == 2


def test_sources_and_targets_are_found_where_they_are():
    x = np.zeros((2, 3, 4))
    x[1, :, 2] = [1, 2, 3]
    x[0, 0, 1] = 1
    t = edge_statistics(x, np.array([[1, 0, 0], [1, 1, 1]], bool), np.zeros(4))
    assert (t.source.tolist(), t.target.tolist()) == ([1], [2])


def plain(effects, active, floors):
    """The definition on the whole array at once."""
    x = np.where(active[:, :, None] & (np.abs(effects) > floors), effects, 0).astype(np.float64)
    n = active.sum(1)
    source, target = np.nonzero((x != 0).any(1) & (n >= 2)[:, None])
    rows = np.ascontiguousarray(x.transpose(0, 2, 1)[source, target])
    mean = rows.sum(1) / n[source]
    sd = np.sqrt((((rows - mean[:, None]) * active[source]) ** 2).sum(1) / (n[source] - 1))
    return (
        source,
        target,
        n[source],
        (rows > 0).sum(1),
        (rows < 0).sum(1),
        mean,
        sd,
        mean / np.maximum(sd, 1e-10),
        sign_flip_p(rows),
    )


@pytest.fixture
def many():
    rng = np.random.default_rng(0)
    effects = (rng.normal(size=(7, 9, 150)) * (rng.random((7, 9, 150)) < 0.6)).astype(np.float32)
    active = rng.random((7, 9)) < np.linspace(0, 1, 7)[:, None]
    return effects, active, np.full(150, 0.05)


@pytest.mark.parametrize("at_once", [1, 100, 3000, 2**20])
def test_parts_change_no_bit(many, monkeypatch, at_once):
    """One test, parts of a source, two sources, and everything at a time."""
    whole = plain(*many)
    monkeypatch.setattr(effect_statistics, "_AT_ONCE", at_once)
    t = edge_statistics(*many)
    for name, column in zip(t._fields, whole, strict=False):
        np.testing.assert_array_equal(getattr(t, name), column, err_msg=name)
    chosen = np.arange(0, len(t.p), 3)
    monkeypatch.undo()
    np.testing.assert_array_equal(t.halves(chosen), edge_statistics(*many).halves(chosen))


def test_memory_does_not_grow_with_the_sources():
    rng = np.random.default_rng(1)
    effects = rng.normal(size=(45, 20, 4000)).astype(np.float32) * (rng.random((45, 1, 4000)) < 0.1)
    active, floors = np.ones((45, 20), bool), np.zeros(4000)
    sizes = []
    for sources in (15, 45):  # either is more than one block
        tracemalloc.start()
        t = edge_statistics(effects[:sources], active[:sources], floors)
        sizes.append(
            tracemalloc.get_traced_memory()[1] - 2 * sum(column.nbytes for column in t[:9])
        )  # a result and its parts
        tracemalloc.stop()
    assert sizes[1] < 1.2 * sizes[0] and sizes[1] < 60e6


def test_no_live_test_gives_empty_columns():
    t = edge_statistics(np.zeros((2, 3, 4)), np.ones((2, 3), bool), np.zeros(4))
    assert len(t.p) == len(t.source) == len(t.halves(np.zeros(0, np.int64))) == 0

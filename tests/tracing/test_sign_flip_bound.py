"""The bound that spares most counts is proven: it never exceeds p, and what is counted is, bit for
bit, what a plain count gives.
"""

from __future__ import annotations

import numpy as np
import pytest

from scircuit.tracing.statistics import sign_flip
from scircuit.tracing.statistics.effect_statistics import edge_statistics
from scircuit.tracing.statistics.p_lower_bound import _DEGREES, _bounds, certainly_above
from scircuit.tracing.statistics.q_values import q_table
from scircuit.tracing.statistics.sign_flip import sign_flip_p
from tests.support.numpy_counts import four_digits

KINDS = {
    "normal": lambda rng, n, k: rng.normal(size=(n, k)),
    "heavy": lambda rng, n, k: rng.standard_t(2, (n, k)),
    "cauchy": lambda rng, n, k: rng.standard_cauchy((n, k)),
    "scale per cell": lambda rng, n, k: rng.normal(size=(n, k)) * rng.lognormal(0, 2, k),
    "equal": lambda rng, n, k: rng.choice([-1.0, 1.0], (n, k)),
    "one or three": lambda rng, n, k: rng.choice([-3.0, -1.0, 1.0, 3.0], (n, k)),
    "one large": lambda rng, n, k: rng.normal(size=(n, k)) * np.r_[30, np.ones(k - 1)],
    "some zero": lambda rng, n, k: rng.normal(size=(n, k)) * (rng.random((n, k)) < 0.8),
}


def plain_p(effects):
    """p of every row, one at a time: pairs of subset sums, or subsets on a grid beyond 20."""
    p = np.full(len(effects), np.nan)
    for row, x in enumerate(effects):
        a = np.sort(np.abs(x[x != 0]))
        if not len(a):
            continue
        gap = (a.sum() - abs(x.sum())) / 2 + 1e-10 * a.sum()
        small = a[a <= gap]
        if len(small) <= 20:
            u, v = plain_sums(small[::2]), np.sort(plain_sums(small[1::2]))
            count = np.searchsorted(v, gap - u, side="right").sum()
        else:
            count = plain_grid(small, gap) * 2.0 ** (len(small) - 1)
        p[row] = min(1.0, 2 * count / 2.0 ** len(a))
        if len(a) > 20:
            p[row] = four_digits(float(p[row]))
    return p


def plain_sums(a):
    sums = np.zeros(1)
    for value in a:
        sums = np.concatenate([sums, sums + value])
    return sums


def plain_grid(a, gap):
    size = a * (4096 / gap)
    part = size - np.floor(size)
    top = 4096 + int(np.ceil(4 * np.sqrt((part * (1 - part)).sum() / 4)))
    share = np.zeros(top + 1)
    share[0] = 1.0
    for v in np.diff(np.floor(np.cumsum(size) + 0.5), prepend=0).astype(int):
        moved = np.zeros(top + 1)
        moved[v:] = share[: top + 1 - v]
        share = (share + moved) / 2
    return 2 * share.sum()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [6, 13, 20])
def test_no_degree_exceeds_p_anywhere(kind, k):
    x = KINDS[kind](np.random.default_rng(k), 300, k)
    x = x[(x != 0).any(1)]
    p, sizes, s = plain_p(x), np.abs(x), np.abs(x.sum(1))
    spread = np.sqrt((sizes**2).sum(1))
    for degree in _DEGREES:
        rows = s < 3.3 * spread
        bound = _bounds(
            sizes[rows], s[rows], spread[rows], np.zeros(rows.sum(), np.int64), (degree,), 1.0
        )
        assert (bound <= p[rows]).all() and (bound > 0.1 - 1 / degree).any()


@pytest.mark.parametrize("kind", KINDS)
def test_certainly_above_is_certain_at_any_level_and_leaves_little_open(kind):
    x = KINDS[kind](np.random.default_rng(1), 600, 20)
    p = plain_p(x)
    for level in (0.01, 0.1, 0.5, 0.9):
        above = certainly_above(np.abs(x), np.abs(x.sum(1)), level)
        assert (p[above] > level).all()
        if level == 0.1:
            assert ((p > level) & ~above).mean() < (0.15 if kind == "one or three" else 0.1)
    assert not certainly_above(np.abs(x), np.abs(x.sum(1)), 1.0).any()


@pytest.mark.parametrize("up_to", [0.003, 0.05, 0.1, 0.3])
@pytest.mark.parametrize("k", [5, 12, 13, 20, 24, 100])
def test_p_that_is_asked_for_is_that_of_a_plain_count(k, up_to):
    rng = np.random.default_rng(k)
    for kind in KINDS.values():
        x = kind(rng, 150 if k <= 20 else 30, k) * np.where(rng.random(k) < 0.8, 1, 0.3)
        x[: len(x) // 2] += rng.choice([0.3, 1.5])
        plain, found = plain_p(x), sign_flip_p(x, up_to=up_to)
        asked = plain <= min(up_to, 0.15 if k > 20 else 1)
        np.testing.assert_array_equal(found[asked], plain[asked])
        assert not (found[~asked] <= min(up_to, 0.15 if k > 20 else 1)).any()


def test_q_is_the_same_to_the_last_bit_where_it_is_asked_for():
    rng = np.random.default_rng(7)
    effects = rng.standard_t(3, (3, 20, 500)) + np.where(np.arange(500) < 120, 0.9, 0)
    effects *= rng.random(effects.shape) < 0.9
    given = effects, np.ones((3, 20), bool), np.zeros(500)
    whole, asked = edge_statistics(*given), edge_statistics(*given, up_to=0.1)
    np.testing.assert_array_equal(asked.p, np.where(whole.p > 0.1, 1.0, whole.p))
    np.testing.assert_array_equal(asked.exact_p(np.arange(len(asked.p))), whole.p)
    some = rng.random(len(asked.p)) < 0.2
    np.testing.assert_array_equal(asked.exact_p(some), whole.p[some])
    tables = [
        q_table(*np.unique(t.p[t.callable], return_counts=True), exact=0.1) for t in (whole, asked)
    ]
    stored = whole.p <= 0.1
    np.testing.assert_array_equal(*(table.of(whole.p[stored]) for table in tables))
    full = q_table(*np.unique(whole.p[whole.callable], return_counts=True))
    small = full.of(whole.p[stored]) <= 0.1
    assert small.sum() > 100
    np.testing.assert_array_equal(
        tables[1].of(whole.p[stored])[small], full.of(whole.p[stored])[small]
    )


def test_most_counts_are_spared(monkeypatch):
    counted = []
    count = sign_flip._counted
    monkeypatch.setattr(
        sign_flip, "_counted", lambda x, exact: counted.append(len(x)) or count(x, exact)
    )
    x = np.random.default_rng(0).standard_t(2, (4000, 20))
    p = sign_flip_p(x, up_to=0.1)
    assert (p <= 0.1).sum() <= sum(counted) < 4000 * 0.13
    counted.clear()
    sign_flip_p(x)
    assert counted == [4000]

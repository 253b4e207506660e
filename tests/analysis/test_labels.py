"""The rule that names a feature, against a plain reading of its text."""

from __future__ import annotations

import numpy as np

from scircuit.analysis.annotation.labels import choose


def test_the_rule_equals_a_plain_sort():
    rng = np.random.default_rng(0)
    n = 600
    feature = rng.integers(0, 40, n) * 3
    p, overlap, size, order = (
        rng.choice([1e-6, 1e-4, 0.01], n),
        rng.integers(2, 4, n),
        rng.integers(5, 8, n),
        rng.permutation(n),
    )
    found = choose(feature, p, overlap, size, order)
    assert found.feature.tolist() == sorted(set(feature.tolist()))
    tied = 0
    for f, best, ties in zip(found.feature, found.best, found.ties, strict=True):
        own = sorted(
            (p[i], -overlap[i], size[i], order[i], i) for i in np.flatnonzero(feature == f)
        )
        assert best == own[0][-1]
        assert ties == sum(x[:3] == own[0][:3] for x in own) - 1
        tied += ties > 0
    assert tied > 3


def test_no_term_no_label():
    none = np.zeros(0, dtype=np.int64)
    found = choose(none, np.zeros(0), none, none, none)
    assert found.feature.size == found.best.size == found.ties.size == 0

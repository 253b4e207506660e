"""TRRUST's first two ways: target sets with modes, and the share of transcription factors, against
plain counts and scipy.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, stats

from scircuit.analysis.annotation.regulator_tests import mode_counts, tf_share
from scircuit.analysis.genesets.regulons import Regulation, Regulons
from scircuit.analysis.genesets.trrust import shipped_trrust
from scircuit.core.errors import UserError

GENES = [f"G{i}" for i in range(300)]
TFS = [f"g{i}" for i in range(0, 300, 7)] + ["OUTSIDE"]


def random_lists(rng, lists, size=20):
    rows = [np.sort(rng.choice(300, size, replace=False)) for _ in range(lists)]
    indptr = np.arange(lists + 1) * size
    return (
        sparse.csr_matrix(
            (np.ones(lists * size, np.int32), np.concatenate(rows), indptr), shape=(lists, 300)
        ),
        rows,
    )


def test_share_p_and_q_equal_scipy():
    matrix, rows = random_lists(np.random.default_rng(0), 50)
    found = tf_share(matrix, GENES, TFS)
    is_tf = set(range(0, 300, 7))
    for i, row in enumerate(rows):
        k = len(is_tf & set(row.tolist()))
        assert (found.factors[i], found.genes[i], found.share[i]) == (k, 20, k / 20)
        assert found.p[i] == pytest.approx(
            stats.hypergeom.sf(k - 1, 300, len(is_tf), 20), rel=1e-12
        )
        assert found.p[i] == pytest.approx(
            stats.fisher_exact(
                [[k, 20 - k], [len(is_tf) - k, 280 - len(is_tf) + k]], "greater"
            ).pvalue,
            rel=1e-9,
        )
    np.testing.assert_allclose(found.q, stats.false_discovery_control(found.p), rtol=1e-12)


def test_random_lists_are_rarely_called_and_planted_ones_are():
    rng = np.random.default_rng(1)
    matrix, _ = random_lists(rng, 3000)
    assert (tf_share(matrix, GENES, TFS).q <= 0.05).sum() <= 3
    dense = matrix.toarray()
    dense[0] = 0
    dense[0, list(range(0, 140, 7))] = 1
    dense[1] = 0
    found = tf_share(sparse.csr_matrix(dense), GENES, TFS)
    assert found.q[0] < 1e-10
    assert found.share[0] == 1
    assert np.isnan(found.share[1])
    assert found.p[1] == 1


def test_a_background_without_transcription_factors_is_refused():
    with pytest.raises(UserError, match="none of 1 transcription factors"):
        tf_share(sparse.csr_matrix((2, 300), dtype=np.int32), GENES, ["ELSEWHERE"])


def test_modes_of_shared_targets_are_counted():
    table = Regulons(
        "T",
        "f",
        "h",
        "",
        "",
        tuple(
            Regulation("TF", gene, mode, ())
            for gene, mode in (
                ("A", "Activation"),
                ("B", "Activation"),
                ("C", "Repression"),
                ("D", "Both"),
                ("E", "Unknown"),
            )
        ),
        5,
    )
    activation, repression = mode_counts(
        table, ["tf", "TF", "other"], [["a", "C", "D", "E"], ["X"], ["A"]]
    )
    assert activation.tolist() == [2, 0, 0]
    assert repression.tolist() == [2, 0, 0]


def test_modes_of_the_shipped_table_add_up():
    table = shipped_trrust()
    tfs = sorted({p.tf for p in table.pairs})
    targets = [[p.target for p in table.pairs if p.tf == tf] for tf in tfs[:60]]
    activation, repression = mode_counts(table, tfs[:60], targets)
    some = [p for p in table.pairs if p.tf in set(tfs[:60])]
    assert activation.sum() == sum(p.mode in ("Activation", "Both") for p in some)
    assert repression.sum() == sum(p.mode in ("Repression", "Both") for p in some)

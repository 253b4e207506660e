"""Several pairs of runs: q over all of them, and the share of worlds without agreement in which any
pair is called.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from scircuit.analysis.consensus.many_runs import over_all_pairs
from scircuit.analysis.finding import Finding

RUNS = [("a", "b"), ("a", "c"), ("b", "c")]


def finding(frame, name="replication"):
    return Finding(name, "Title", "what was found", "how it was drawn", frame, {"draws": 9})


def rows(p, p_rewired):
    return pd.DataFrame({"run": ["x", "y"], "p": p, "p_rewired": p_rewired})


def test_q_is_over_all_tests_of_all_pairs():
    p = np.random.default_rng(0).uniform(0, 0.2, (3, 2, 2))
    found = over_all_pairs([(r, finding(rows(*x))) for r, x in zip(RUNS, p, strict=True)])
    wanted = stats.false_discovery_control(p.ravel()).reshape(p.shape)
    np.testing.assert_allclose(found.frame["q"], wanted[:, 0].ravel())
    np.testing.assert_allclose(found.frame["q_rewired"], wanted[:, 1].ravel())
    assert "q <= 0.05 over all 12 tests" in found.sentence
    assert found.numbers["a b"] == {"draws": 9, "sentence": "what was found"}


def test_one_null_that_explains_it_is_enough_to_call_nothing():
    low, high = [0.001, 0.001], [0.001, 0.6]
    parts = [(r, finding(rows(low, x))) for r, x in zip(RUNS, (low, high, high), strict=True)]
    assert over_all_pairs(parts).sentence.startswith("1 of 3 pairs of runs agree beyond every null")
    assert over_all_pairs(parts).sentence.endswith(": a and b")


def test_without_agreement_pairs_are_called_in_few_worlds():
    """Uniform p, three pairs with one test each: any pair is called in at most 17 of 200 worlds
    (10 expected; P(more) < 0.02). Uncorrected it would be 29."""
    rng = np.random.default_rng(1)
    called = 0
    for _ in range(200):
        frames = [pd.DataFrame({"run": ["x"], "p": [v]}) for v in rng.random(3)]
        parts = [(r, finding(f)) for r, f in zip(RUNS, frames, strict=True)]
        called += not over_all_pairs(parts).sentence.startswith("0 of 3")
    assert 1 <= called <= 17, called


def test_layer_pairs_and_the_published_null_are_no_tests_of_the_runs():
    frame = pd.DataFrame(
        {
            "source_layer": [None, 0.0, 0.0],
            "p": [0.01, 0.9, 0.9],
            "null": ["edges rewired", "edges rewired", "edges rewired"],
        }
    )
    other = frame.assign(null=["names permuted", "edges rewired", "edges rewired"], p=1e-9)
    found = over_all_pairs([(RUNS[0], finding(frame)), (RUNS[1], finding(other))])
    assert found.frame["q"][0] == 0.01 and np.isnan(found.frame["q"][3])
    assert "over all 1 tests" in found.sentence and "1 could not be tested" in found.sentence


def test_single_terms_are_counted():
    frame = pd.DataFrame({"term": ["t", "u"], "p": [0.001, 0.5], "q": [0.002, 0.5]})
    found = over_all_pairs([(r, finding(frame, "term_contrast")) for r in RUNS])
    assert found.sentence == "3 of 6 terms stand out (q <= 0.05 over all 3 pairs of runs)"
    np.testing.assert_allclose(found.frame["q"], [0.002, 0.5] * 3)


def test_nothing_could_be_tested():
    empty = pd.DataFrame(columns=["run", "p"])
    found = over_all_pairs([(r, finding(empty)) for r in RUNS])
    assert found.sentence == "none of 3 pairs of runs could be tested: what was found"

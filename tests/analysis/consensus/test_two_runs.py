"""Edges of one run against those of another: planted replication, agreement of counterparts,
specific edges and term contrasts are found, and their absence is not called.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import sparse

from scircuit.analysis.circuit_inputs import CircuitInputs
from scircuit.analysis.coherence.strata import strata
from scircuit.analysis.consensus.agreed_edges import agreed_edges, agreement, measured_in
from scircuit.analysis.consensus.compared_run import ComparedRun
from scircuit.analysis.consensus.replication import (
    compared,
    replicated,
    replication,
    same_sign_nulls,
)
from scircuit.analysis.consensus.term_contrast import term_contrast
from scircuit.core.edge_rules import COMPUTED
from tests.analysis.coherence.worlds import arrays, inputs, wire, world

CELLS = 60


def run_of(w, pairs, name="trace-a", effect=None, n=CELLS, called=None, **more):
    """A run whose effects have d of 1 in `n` cells, and are all edges."""
    m = pairs[0].size
    effect = np.full(m, -0.5) if effect is None else effect
    edges = arrays(
        *pairs, n=np.full(m, n), mean=effect, sd=np.full(m, 0.5), d=effect / 0.5, computed=effect
    )
    called = np.ones(m, bool) if called is None else called
    given = inputs(w, pairs)
    given = CircuitInputs(
        name, w.nodes, edges, called, COMPUTED, given.annotation, given.terms, **more
    )
    return ComparedRun(given, cells=n)


def with_share(w, rng, base, share, edges=600):
    """Edges of which a share is taken from `base`."""
    other = wire(w, rng, edges)
    take = rng.random(base[0].size) < share
    both = [np.concatenate([b[take], o[take.sum() :]]) for b, o in zip(base, other, strict=True)]
    found = np.unique(np.stack(both), axis=1)
    return found[0], found[1]


def pair_of(share, seed):
    rng = np.random.default_rng([1, seed])
    w = world(rng, 80, 10)
    base = wire(w, rng, 600)
    return run_of(w, base), run_of(w, with_share(w, rng, base, share), "trace-b")


def row_of(share, seed):
    a, b = pair_of(share, seed)
    return replicated(a, b, compared(a, b), 59, 0)


def test_replicated_edges_are_found_and_independent_ones_are_not():
    """A fifth of the edges in common is found in 5 of 5 worlds by both nulls; independent edges
    have a p below 0.05 in at most 4 of 20 (a binomial of 0.05 exceeds that once in 400).
    """
    for seed in range(5):
        row = row_of(0.2, seed)
        assert row["p"] <= 0.05 and row["p_rewired"] <= 0.05
    null = [row_of(0.0, seed) for seed in range(10, 30)]
    for column in ("p", "p_rewired"):
        assert sum(r[column] <= 0.05 for r in null) <= 4
    ratio = sum(r["share"] for r in null) / sum(r["expected"] for r in null)
    assert ratio == pytest.approx(1, abs=0.1)


def signed(share, seed, by_target):
    """Two runs with positive and negative edges: signs at random, or those of the target."""
    rng = np.random.default_rng([9, seed])
    w = world(rng, 80, 10)
    base = wire(w, rng, 600)
    of_target = rng.choice([-0.5, 0.5], w.nodes.id.size)
    runs, given = [], {}
    for name, pairs in (("trace-a", base), ("trace-b", with_share(w, rng, base, share))):
        effect = of_target[pairs[1]] if by_target else rng.choice([-0.5, 0.5], pairs[0].size)
        if share and not by_target:  # an edge of both runs has one sign
            for i, pair in enumerate(zip(*pairs, strict=True)):
                effect[i] = given.setdefault(pair, effect[i])
        runs.append(run_of(w, pairs, name, effect))
    return runs


def test_nulls_count_edges_of_the_same_sign_as_the_observed():
    """The exact mean is that of a plain loop. Independent edges of both signs have as many of the
    same sign as the null, and p <= 0.05 in at most 4 of 20 worlds; where the sign is the target's,
    the rewired null, which keeps each target's signs, has as many too. A fifth of the edges in
    common is found in 5 of 5 worlds.
    """
    a, b = signed(0.3, 0, by_target=False)
    nulls = same_sign_nulls(a, b, draws=9, seed=0)
    assert nulls.total(0)[0] == compared(a, b).same.sum()
    nodes = a.inputs.nodes
    stratum = strata(nodes.layer, np.ones(nodes.id.size, int), nodes.firing_rate, measured_in(b))
    sign = {
        (s, t): e > 0
        for s, t, e in zip(b.edges.source, b.edges.target, b.edges.effect, strict=True)
    }
    slow = 0.0
    for s, t, e in zip(a.edges.source, a.edges.target, a.edges.effect, strict=True):
        pool = np.flatnonzero(stratum == stratum[t])
        slow += np.mean([sign.get((s, x)) == (e > 0) for x in pool])
    assert nulls.total(0)[1] == pytest.approx(slow)
    for by_target, columns in ((False, ("p", "p_rewired")), (True, ("p_rewired",))):
        rows = []
        for seed in range(20):
            a, b = signed(0.0, 100 + seed, by_target)
            rows.append(replicated(a, b, compared(a, b), 59, 0))
        name = "expected" if not by_target else "rewired"
        ratio = sum(r["share"] for r in rows) / sum(r[name] for r in rows)
        assert ratio == pytest.approx(1, abs=0.1)
        for column in columns:
            assert sum(r[column] <= 0.05 for r in rows) <= 4, (by_target, column)
    for seed in range(5):
        a, b = signed(0.2, seed, by_target=False)
        row = replicated(a, b, compared(a, b), 59, 0)
        assert row["p"] <= 0.05 and row["p_rewired"] <= 0.05


def test_the_finding_tells_replication_specific_edges_and_degrees():
    finding, _ = replication(*pair_of(0.5, 1), draws=39)
    for words in ("have the same sign in trace-b", "are specific to", "out-degrees correlate"):
        assert words in finding.sentence
    assert finding.numbers["degrees"]["out"]["rho"] > 0.3  # type: ignore[index]
    json.dumps(dict(finding.numbers), allow_nan=False)
    assert finding.plot() is not None


def test_what_becomes_of_an_edge_is_that_of_plain_loops():
    rng = np.random.default_rng(2)
    w = world(rng, 60, 10)
    base = wire(w, rng, 300)
    second = with_share(w, rng, base, 0.5, 300)
    signs = np.where(rng.random(second[0].size) < 0.2, 0.5, -0.5)
    called = rng.random(second[0].size) < 0.7
    a, b = run_of(w, base), run_of(w, second, "trace-b", signs, called=called)
    found = compared(a, b)
    in_b = {(s, t): (c, x) for s, t, c, x in zip(*second, called, signs, strict=True)}
    same, opposite = set(), set()
    for s, t in zip(*base, strict=True):
        is_edge, effect = in_b.get((s, t), (False, 0.0))
        if is_edge:
            (same if effect < 0 else opposite).add((s, t))
    got = list(zip(found.source.tolist(), found.target.tolist(), strict=True))
    assert len(got) == base[0].size  # everything fires in both
    assert {e for e, yes in zip(got, found.same, strict=True) if yes} == same
    assert {e for e, yes in zip(got, found.opposite, strict=True) if yes} == opposite


def test_an_edge_is_specific_only_where_the_other_run_had_the_power():
    """Effects that the other run does not have: with as many cells they are specific, with 8 cells
    they are undecided.
    """
    rng = np.random.default_rng(3)
    w = world(rng, 60, 10)
    base, other = wire(w, rng, 300), wire(w, rng, 300)
    # every source of the first run has some effect in the second
    for cells, expected in ((CELLS, True), (8, False)):
        rest = np.setdiff1d(np.unique(base[0]), other[0])
        pairs = (np.r_[other[0], rest], np.r_[other[1], np.full(rest.size, 179)])
        mixed = np.unique(np.stack(pairs), axis=1)
        a, b = run_of(w, base), run_of(w, (mixed[0], mixed[1]), "trace-b", n=cells)
        b.inputs.edges.d[:] = 4 / np.sqrt(cells)  # its weakest edge has |d| sqrt(n) of 4
        found = compared(a, b)
        alone = ~(found.same | found.opposite)
        assert alone.sum() > 150
        assert found.specific[alone].mean() == (1.0 if expected else 0.0)
        assert not found.specific[~alone].any()


def test_counterparts_of_another_model():
    """Features of the second model are those of the first in another order; half of the edges are
    the same. Against the plain product, and found; with other counterparts it is chance.
    """
    rng = np.random.default_rng(4)
    one = world(rng, 80, 10)
    n = one.nodes.id.size
    move = np.concatenate([80 * k + rng.permutation(80) for k in range(3)])
    two = world(rng, 80, 10, "other")
    two = two._replace(nodes=two.nodes._replace(traced=two.nodes.layer < 2))
    base = wire(one, rng, 600)
    half = with_share(one, rng, base, 0.5)
    a, b = run_of(one, base), run_of(two, (move[half[0]], move[half[1]]), "trace-b")
    links = sparse.csr_matrix((np.ones(n, np.int32), (np.arange(n), move)), shape=(n, n))
    finding, both = agreed_edges(a, b, links, draws=99)
    in_half = set(zip(*half, strict=True))
    assert both[0].agreed.sum() == sum(e in in_half for e in zip(*base, strict=True))
    assert both[0].agreed.sum() == both[0].nulls.observed.sum()
    assert both[0].agreed.sum() == both[1].agreed.sum()
    assert (finding.frame[finding.frame.source_layer.isna()][["p", "p_rewired"]] <= 0.01).all(None)
    wrong = np.concatenate([80 * k + rng.permutation(80) for k in range(3)])
    links = sparse.csr_matrix((np.ones(n, np.int32), (np.arange(n), wrong)), shape=(n, n))
    finding, _ = agreed_edges(a, b, links, draws=99)
    row = finding.frame.iloc[0]
    assert row.observed < 0.1 and row.p > 0.01 and row.fold < 2.5
    json.dumps(dict(finding.numbers), allow_nan=False)
    assert finding.plot() is not None
    none = sparse.csr_matrix((n, n), dtype=np.int32)
    assert agreement(a, b, none) is None
    assert "fewer than 10 have counterparts" in agreed_edges(a, b, none)[0].sentence


def contrast(planted, seed):
    rng = np.random.default_rng([5, seed])
    w = world(rng, 100, 15)
    base, other = wire(w, rng, 900), wire(w, rng, 900)
    if planted:  # features of one term lose two edges of three
        mine = set(w.terms.feature[w.terms.term == "lib:3"])
        lost = np.array([s in mine or t in mine for s, t in zip(*other, strict=True)])
        keep = ~lost | (rng.random(lost.size) < 1 / 3)
        other = (other[0][keep], other[1][keep])
    return term_contrast(run_of(w, base), run_of(w, other, "trace-b"), flips=999)


def test_a_term_that_loses_its_edges_is_found():
    """In 10 worlds the planted term is the first (9 or more) and has q below 0.05; in 10 worlds
    without, 150 terms give at most two below.
    """
    found = [contrast(True, seed).frame.iloc[0] for seed in range(10)]
    assert sum(r.term == "lib:3" and r.q <= 0.05 and r.difference > 0 for r in found) >= 9
    null = [contrast(False, seed).numbers["standing_out"] for seed in range(10, 20)]
    assert sum(null) <= 2


def test_too_few_features_of_every_term():
    rng = np.random.default_rng(6)
    w = world(rng, 20, 60)
    pairs = wire(w, rng, 30)
    w = w._replace(terms=w.terms[w.terms.feature < 6].assign(term=lambda f: f.term + "x"))
    found = term_contrast(run_of(w, pairs), run_of(w, pairs, "trace-b"))
    assert "terms were not contrasted: none of" in found.sentence and not found.drawn

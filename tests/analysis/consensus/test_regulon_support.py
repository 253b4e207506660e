"""Gene edges against regulons: edges that follow the regulons are found, random feature edges are
not called although each makes a block of gene edges, and what is counted is that of plain loops.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from scircuit.analysis.consensus.regulon_support import (
    gene_edges,
    gene_lists,
    regulon_support,
    support,
    universe_of,
)
from scircuit.analysis.consensus.rewired_genes import ROUNDS, rewired_genes
from scircuit.analysis.genesets.regulons import Regulation, Regulons
from scircuit.analysis.structure.rewiring import Rewiring
from tests.analysis.coherence.worlds import wire, world
from tests.analysis.consensus.test_two_runs import run_of

GENES = [f"G{i}" for i in range(60)]
MODULES, WORLDS = 6, 60


def toy(known):
    rows = tuple(Regulation(x, y, "Unknown", ()) for x, y in sorted(known))
    return Regulons("toy", "", "", "", "", rows, len(rows))


def regulated(share, seed):
    """Two runs whose features list one gene each; of their edges a share is in the regulons."""
    rng = np.random.default_rng([7, seed])
    w = world(rng, 60, 10)
    gene = np.concatenate([rng.integers(0, 12, 60), rng.integers(12, 60, 120)])
    genes = {w.nodes.id[i]: [GENES[g]] for i, g in enumerate(gene)}
    known = {(x, y) for x in range(12) for y in rng.choice(np.arange(12, 60), 5, replace=False)}
    runs = []
    for name in ("trace-a", "trace-b"):
        source, target = np.repeat(np.arange(60), 4), 60 + rng.integers(0, 120, 240)
        for i in np.flatnonzero(rng.random(240) < share):
            wanted = [f for f in range(60, 180) if (gene[source[i]], gene[f]) in known]
            target[i] = rng.choice(wanted) if wanted else target[i]
        pairs = np.unique(np.stack([source, target]), axis=1)
        runs.append(run_of(w, (pairs[0], pairs[1]), name, genes=genes))
    return runs, toy({(GENES[x], GENES[y]) for x, y in known})


def modular(seed, share=0.0, common=0.0):
    """Two runs whose features list five genes of their module; the regulators of a module have most
    of their targets in one other. Of the feature edges a `share` goes to a feature of that module;
    of those of the first run a part is `common` to both.
    """
    rng = np.random.default_rng([41, seed])
    w = world(rng, 60, 10)
    module = rng.integers(0, MODULES, w.nodes.id.size)
    regulators = [[f"T{m}_{i}" for i in range(3)] for m in range(MODULES)]
    targets = [[f"G{m}_{i}" for i in range(10)] for m in range(MODULES)]
    genes = {
        w.nodes.id[i]: [
            *rng.choice(regulators[m], 2, replace=False),
            *rng.choice(targets[m], 3, replace=False),
        ]
        for i, m in enumerate(module)
    }
    to, known = rng.permutation(MODULES), set()
    for m in range(MODULES):
        for tf in regulators[m]:
            known |= {(tf, g) for g in rng.choice(targets[to[m]], 6, replace=False)}
            some = targets[rng.integers(MODULES)]
            known |= {(tf, g) for g in rng.choice(some, 2, replace=False)}
    base, runs = wire(w, rng, 240), []
    for name in ("trace-a", "trace-b"):
        other = wire(w, rng, 240)
        take = rng.random(base[0].size) < common
        ends = zip(base, other, strict=True)
        source, target = (np.concatenate([b[take], o[take.sum() :]]) for b, o in ends)
        for i in np.flatnonzero(rng.random(source.size) < share):
            same = w.nodes.layer == w.nodes.layer[target[i]]
            later = np.flatnonzero(same & (module == to[module[source[i]]]))
            target[i] = rng.choice(later) if later.size else target[i]
        pairs = np.unique(np.stack([source, target]), axis=1)
        runs.append(run_of(w, (pairs[0], pairs[1]), name, genes=genes))
    return runs, toy(known)


def rows_of(share, worlds, draws=59):
    """p and fold of worlds; in every second one half of the edges are common to both runs."""
    frames = [
        regulon_support(*modular(seed, share, 0.5 * (seed % 2)), draws=draws).frame
        for seed in range(worlds)
    ]
    p, fold = (np.array([f[c].astype(float).to_numpy() for f in frames]) for c in ("p", "fold"))
    return p, fold


def test_random_feature_edges_with_modular_gene_lists_are_not_called():
    """In 60 worlds p is at most 0.05, and at least 0.95, in at most 8 for each run and for what
    both have (a binomial of 0.05 exceeds that once in 200); the fold is 1 on average. Gene edges
    dealt one by one call 20 % of such worlds.
    """
    p, fold = rows_of(0.0, WORLDS)
    assert ((p <= 0.05).sum(0) <= 8).all(), (p <= 0.05).sum(0)
    assert ((p >= 0.95).sum(0) <= 8).all(), (p >= 0.95).sum(0)
    assert fold.mean(0) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("share", "least", "most"), [(0.1, 5, 11), (0.3, 12, 12)])
def test_power_with_modular_gene_lists(share, least, most):
    """Of 12 worlds in which a share of the feature edges goes from regulators to their targets,
    those whose first run is called at 0.05: all with 30 %, about two thirds with 10 %.
    """
    p, _ = rows_of(share, 12)
    assert least <= (p[:, 0] <= 0.05).sum() <= most, (p <= 0.05).sum(0)


def test_edges_that_both_runs_have_are_better_supported():
    """A quarter of the edges are regulation: both runs agree on a set that is richer in it.
    Without, p is below 0.05 in at most 4 of 20 worlds.
    """
    finding = regulon_support(*regulated(0.25, 0), draws=199)
    found = finding.frame.set_index("gene_edges_of")
    assert (found.p.astype(float) <= 0.01).all()
    assert found.fold["both"] > 1.3 * found.fold["trace-a"] > 1.3
    assert "times gene edges dealt one by one; rewired feature edges give" in finding.sentence
    json.dumps(dict(finding.numbers), allow_nan=False)
    assert finding.plot() is not None
    null = [regulon_support(*regulated(0.0, s), draws=99).frame.iloc[0] for s in range(1, 21)]
    assert sum(r.p <= 0.05 for r in null) <= 4
    assert np.mean([r.fold for r in null]) == pytest.approx(1, abs=0.1)


def test_rewired_runs_that_share_too_little_give_no_p():
    runs, regulons = regulated(0.0, 3)
    few = toy({(p.tf, p.target) for i, p in enumerate(regulons.pairs) if i % 6 == 0})
    finding = regulon_support(runs, few, draws=99)
    row = finding.frame.set_index("gene_edges_of").loc["both"]
    assert row.p is None or np.isnan(row.p)
    assert "rewired runs share too few known ones" in finding.sentence


def test_counts_in_rewired_graphs_are_those_of_plain_sets():
    """Every draw, by loops over features and genes."""
    runs, regulons = modular(1, 0.2)
    universe = universe_of(runs, regulons)
    lists = [gene_lists(run, universe) for run in runs]
    got = rewired_genes(lists, universe.known, draws=3, seed=5)
    chains = []
    for i, one in enumerate(lists):
        edges = one.useful()
        rng = np.random.default_rng([5, 31, i])
        chains.append((one, edges, Rewiring(edges, rng, ROUNDS)))
    for draw in range(4):
        sets = []
        for one, edges, chain in chains:
            target = chain.draw() if draw else edges.target
            pairs = set()
            for f, g in zip(edges.source, target, strict=True):
                for x in one.regulators[f].indices:
                    pairs |= {(x, y) for y in one.targets[g].indices}
            sets.append(pairs)
        sets.append(sets[0] & sets[1])
        want = [(len(s), sum(bool(universe.known[pair]) for pair in s)) for s in sets]
        assert got[draw].tolist() == [list(w) for w in want]
    for i, one in enumerate(lists):
        assert (gene_edges(one) > 0).sum() == got[0, i, 0]


def test_support_against_a_plain_count():
    rng = np.random.default_rng(8)
    edges, known = rng.random((8, 20)) < 0.3, rng.random((8, 20)) < 0.2
    observed, expected, drawn = support(edges, known, draws=500)
    assert observed == sum(edges[i, j] and known[i, j] for i in range(8) for j in range(20))
    assert expected == pytest.approx(drawn.mean()) and drawn.std() > 0
    assert support(np.zeros((3, 4), bool), np.ones((3, 4), bool), draws=5)[0] == 0

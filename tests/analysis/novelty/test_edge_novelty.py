"""Novel edges: links as in a plain loop, draws as resampling edge by edge, planted knowledge found,
random circuits at the nominal rate, and no claim without a background.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from scircuit.analysis.circuit_inputs import CircuitInputs
from scircuit.analysis.circuits.degree import EdgeArrays, FeatureArrays
from scircuit.analysis.gene_predictions.gene_weights import gene_weights
from scircuit.analysis.genesets.readers import read_library
from scircuit.analysis.novelty import background_links
from scircuit.analysis.novelty.background_links import by_gene_sets, by_regulons
from scircuit.analysis.novelty.edge_novelty import novel_shares, novelty, strata
from scircuit.core.edge_rules import COMPUTED
from scircuit.core.errors import UserError

SYMBOLS = [
    "STAT1", "IRF1", "JAK2", "CD4", "CD8A", "GATA1", "SPI1", "MYC", "TP53", "EGFR", "FOS", "JUN",
    "RELA", "NFKB1", "TNF", "IL6", "CXCL8", "CCL2", "CDK1", "CCNB1", "MKI67", "TOP2A", "BRCA1",
    "ATM", "CHEK2", "RAD51", "PCNA", "MCM2", "HBB", "HBA1", "KLF1", "TAL1", "LYZ", "CD14", "CSF1R",
    "ITGAM", "MS4A1", "CD19", "PAX5", "EBF1",
]  # fmt: skip
SETS = [SYMBOLS[i : i + 5] for i in range(0, 40, 5)]  # eight sets of five genes


def world(seed, known=0.0, edges=400, clean=4):
    """60 sources and 120 targets; a feature lists `clean` genes of one set and two others. A share
    `known` of the edges joins features of one set."""
    rng = np.random.default_rng(seed)
    n = 180
    kind = rng.integers(0, 8, n)
    names = [f"m/d/L{0 if i < 60 else 1 + i % 2:02d}/F{i:04d}" for i in range(n)]
    lists = {}
    for name, k in zip(names, kind, strict=True):
        own = rng.permutation(SETS[k])[:clean].tolist()
        lists[name] = (
            own + rng.choice(sorted(set(SYMBOLS) - set(SETS[k])), 2, replace=False).tolist()
        )
    del lists[names[5]], lists[names[100]]
    chosen = set()
    while len(chosen) < edges:
        s, t = int(rng.integers(60)), int(rng.integers(60, n))
        if rng.random() < known:
            t = int(rng.choice(60 + np.flatnonzero(kind[60:] == kind[s])))
        chosen.add((s, t))
    source, target = np.array(sorted(chosen)).T
    layer = np.array([int(x[5:7]) for x in names])
    columns = {f: np.zeros(edges) for f in EdgeArrays._fields}
    nodes = FeatureArrays(np.array(names, object), layer, rng.random(n), layer == 0, np.ones(n))
    all_edges = EdgeArrays(**columns | {"source": source, "target": target})
    return CircuitInputs("r", nodes, all_edges, np.ones(edges, bool), COMPUTED, genes=lists)


@pytest.fixture
def gmt(tmp_path):
    path = tmp_path / "known.gmt"
    path.write_text("".join(f"set {i}\tna\t" + "\t".join(s) + "\n" for i, s in enumerate(SETS)))
    return path


@pytest.fixture
def pairs(tmp_path):
    """The first gene of each set regulates the others."""
    path = tmp_path / "known.tsv"
    rows = [f"{s[0]}\t{t}\tActivation\t1" for s in SETS for t in s[1:]]
    path.write_text("\n".join(rows) + "\n")
    return path


def test_links_by_gene_sets_are_those_of_a_plain_loop(gmt, monkeypatch):
    monkeypatch.setattr(background_links, "_BLOCK", 7)
    inputs = world(1)
    weights = gene_weights(inputs.nodes.id.tolist(), inputs.genes, 20)
    found = by_gene_sets(weights, read_library(gmt), 0.05)
    p = np.array(
        [
            [
                stats.hypergeom.sf(len(set(g) & set(s)) - 1, len(weights.genes), 5, len(g))
                for s in SETS
            ]
            for g in inputs.genes.values()
        ]
    )
    q = stats.false_discovery_control(p.ravel()).reshape(p.shape)
    has = dict(zip(inputs.genes, (q <= 0.05), strict=True))
    none = np.zeros(8, bool)
    rows = np.array([has.get(i, none) for i in inputs.nodes.id])
    source, target = inputs.edges.source, inputs.edges.target
    np.testing.assert_array_equal(
        found.linked(source, target), (rows[source] & rows[target]).any(1)
    )
    np.testing.assert_array_equal(found.knows_target, rows.any(1))
    stratum = strata(inputs, found)
    sources = np.arange(60)
    for at, counts in found.links_by_stratum(sources, stratum, stratum.max() + 1):
        for s, row in zip(sources[at], counts, strict=True):
            linked = (rows[s] & rows).any(1)
            expected = np.bincount(stratum[linked & (stratum >= 0)], minlength=row.size)
            np.testing.assert_array_equal(row, expected)


def test_links_by_pairs_are_those_of_a_plain_loop(pairs, monkeypatch):
    monkeypatch.setattr(background_links, "_BLOCK", 7)
    inputs = world(2, known=0.5)
    weights = gene_weights(inputs.nodes.id.tolist(), inputs.genes, 20)
    source, target = inputs.edges.source, inputs.edges.target
    found = by_regulons(weights, read_library(pairs))
    targets = {s[0]: set(s[1:]) for s in SETS}
    regulated = set().union(*targets.values())
    genes = [set(inputs.genes.get(i, ())) for i in inputs.nodes.id]
    reach = [set().union(*(targets.get(g, set()) for g in x)) for x in genes]
    p = np.array(
        [
            stats.hypergeom.sf(
                len(reach[s] & genes[t]) - 1, len(weights.genes), len(reach[s]), len(genes[t])
            )
            for s, t in zip(source, target, strict=True)
        ]
    )
    judged = np.array(
        [bool(reach[s]) and bool(genes[t] & regulated) for s, t in zip(source, target, strict=True)]
    )
    known = judged & (p <= 0.01)
    assert 10 < known.sum() < judged.sum()
    np.testing.assert_array_equal(found.linked(source, target)[judged], known[judged])
    stratum = strata(inputs, found)
    used = np.unique(source[judged])
    for at, counts in found.links_by_stratum(used, stratum, stratum.max() + 1):
        for s, row in zip(used[at], counts, strict=True):
            every = np.flatnonzero(stratum >= 0)
            linked = every[found.linked(np.full(every.size, s), every)]
            np.testing.assert_array_equal(row, np.bincount(stratum[linked], minlength=row.size))


def test_draws_are_those_of_resampling_edge_by_edge(gmt):
    inputs = world(3, known=0.3, edges=150)
    found = by_gene_sets(
        gene_weights(inputs.nodes.id.tolist(), inputs.genes, 20), read_library(gmt), 0.05
    )
    source, target = inputs.edges.source, inputs.edges.target
    judged = found.knows_source[source] & found.knows_target[target]
    source, target = source[judged], target[judged]
    stratum = strata(inputs, found)
    fast = novel_shares(found, source, target, inputs.nodes.layer, stratum, draws=2000)[None].null
    rng, slow = np.random.default_rng(5), np.zeros(300)
    grid = np.indices((60, stratum.size)).reshape(2, -1)
    linked = found.linked(*grid).reshape(60, -1)
    pools = [np.flatnonzero(stratum == k) for k in range(stratum.max() + 1)]
    wanted = [
        (s, k, (stratum[target[source == s]] == k).sum())
        for s in np.unique(source)
        for k in np.unique(stratum[target[source == s]])
    ]
    for d in range(300):
        for s, k, number in wanted:
            slow[d] += linked[s, rng.permutation(pools[k])[:number]].sum()
    error = slow.std() / np.sqrt(300) + fast.std() / np.sqrt(2000)
    assert abs(slow.mean() - fast.mean()) < 4 * error
    assert slow.std() == pytest.approx(fast.std(), rel=0.2)  # 300 draws: 5 standard errors


@pytest.mark.parametrize("kind", ["gmt", "pairs"])
def test_random_circuits_have_small_p_at_the_nominal_rate(kind, request):
    """2 expected of 40; P(more than 6) < 0.01."""
    config = SimpleNamespace(background=request.getfixturevalue(kind), seed=0)
    p = [novelty(world(100 + s), config).numbers.get("p", 1.0) for s in range(40)]
    assert sum(v <= 0.05 for v in p) <= 6, sorted(p)[:10]


@pytest.mark.parametrize("kind", ["gmt", "pairs"])
def test_planted_knowledge_is_found(kind, request):
    """One edge in four joins features of one set: found in 10 of 10 circuits."""
    config = SimpleNamespace(background=request.getfixturevalue(kind), seed=0)
    for s in range(10):
        found = novelty(world(200 + s, known=0.25), config)
        assert found.numbers["p"] <= 0.05
        assert found.numbers["novel_share"] < found.numbers["null_share"]
        assert "fewer than with resampled targets" in found.sentence
    assert found.plot().get_ylabel() and len(found.frame) == 3


def test_nothing_is_claimed_without_a_background_or_genes(gmt):
    inputs = world(1)
    none = novelty(inputs, SimpleNamespace(background=None, seed=0))
    assert "not tested" in none.sentence and "--background" in none.sentence and not none.drawn
    bare = CircuitInputs("r", inputs.nodes, inputs.edges, inputs.called, COMPUTED)
    assert "have no genes" in novelty(bare, SimpleNamespace(background=gmt, seed=0)).sentence


def test_circuits_that_cannot_be_judged(gmt, tmp_path):
    inputs = world(1, edges=8)
    found = novelty(inputs, SimpleNamespace(background=gmt, seed=0))
    assert "not tested" in found.sentence and "of 8 edges, expected 10" in found.sentence
    other = tmp_path / "other.gmt"
    other.write_text("olfaction\tna\tOR1A1\tOR1A2\tOR2J3\n")
    with pytest.raises(UserError, match="0 of 3 genes"):
        novelty(world(1), SimpleNamespace(background=other, seed=0))

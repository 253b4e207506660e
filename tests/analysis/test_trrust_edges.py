"""Signs of circuit edges against TRRUST: a plain count as oracle, a planted truth, and a null with
nothing in it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scircuit.analysis.circuits.regulation_signs import trrust_agreement
from scircuit.analysis.genesets.regulons import Regulation, Regulons
from scircuit.analysis.genesets.trrust import shipped_trrust
from scircuit.core.errors import UserError


def name(layer, index):
    return f"m/s/L{layer:02d}/F{index:04d}"


def regulons(*pairs):
    return Regulons("T", "f", "h", "", "", tuple(Regulation(*p, ()) for p in pairs), len(pairs))


def plain(edges, genes, table):
    """Activation and repression pairs of every edge, by loops."""
    mode = {(p.tf.upper(), p.target.upper()): p.mode for p in table.pairs}
    out = []
    for e in edges.itertuples():
        found = [
            mode.get((a.upper(), b.upper()))
            for a in set(genes.get(e.source, ()))
            for b in set(genes.get(e.target, ()))
            if a.upper() != b.upper()
        ]
        out.append((found.count("Activation"), found.count("Repression")))
    return out


def study(
    rng, *, truth=0.0, edges=3000, sources=60, targets=200, table=None, genes=20, support=0.7
):
    """A circuit whose edges support with probability `support`, but follow TRRUST with probability
    `truth` where it has something to say.
    """
    table = table or shipped_trrust()
    symbols = sorted({g for p in table.pairs for g in (p.tf, p.target)})
    lists = {name(0, i): list(rng.choice(symbols, genes, replace=False)) for i in range(sources)}
    lists |= {
        name(1 + i % 2, i): list(rng.choice(symbols, genes, replace=False)) for i in range(targets)
    }
    frame = pd.DataFrame(
        {
            "source": [name(0, i) for i in rng.integers(0, sources, edges)],
            "target": [name(1 + i % 2, i) for i in rng.integers(0, targets, edges)],
        }
    )
    frame = frame.drop_duplicates(ignore_index=True)
    frame["mean"] = np.where(rng.random(len(frame)) < support, -1.0, 1.0) * rng.gamma(
        1, 1, len(frame)
    )
    for i, (activation, repression) in enumerate(plain(frame, lists, table) if truth else []):
        if activation != repression and rng.random() < truth:
            frame.loc[i, "mean"] = -abs(frame.loc[i, "mean"]) * np.sign(activation - repression)
    return frame, lists, table


def test_counts_equal_plain_loops():
    edges, lists, table = study(np.random.default_rng(0), edges=800)
    result = trrust_agreement(edges, lists, table, draws=5)
    expected = plain(edges, lists, table)
    rows = {(r.source, r.target): (r.activation, r.repression) for r in result.frame.itertuples()}
    assert rows == {
        (e.source, e.target): c for e, c in zip(edges.itertuples(), expected, strict=True) if any(c)
    }
    decided = [
        (np.sign(a - b), -np.sign(m))
        for (a, b), m in zip(expected, edges["mean"], strict=True)
        if a != b
    ]
    assert result.decided == len(decided)
    assert result.agree == sum(x == y for x, y in decided)
    assert result.covered == sum(a + b > 0 for a, b in expected)
    assert result.frame["agrees"].notna().sum() == result.decided
    assert result.frame["agrees"].sum() == result.agree


def test_the_expected_sign_is_written_out():
    """Activation: ablating the activator's feature lowers the target's (support). Repression: it
    raises it.
    """
    table = regulons(
        ("TF1", "G1", "Activation"),
        ("TF1", "G2", "Repression"),
        ("TF1", "G3", "Unknown"),
        ("TF1", "G4", "Both"),
        ("TF1", "TF1", "Activation"),
    )
    lists = {
        name(0, 0): ["tf1"],
        name(1, 0): ["G1"],
        name(1, 1): ["g2"],
        name(1, 2): ["G3"],
        name(1, 3): ["G4"],
        name(1, 4): ["TF1"],
        name(1, 5): ["G1", "G2"],
    }
    edges = pd.DataFrame(
        {"source": [name(0, 0)] * 6, "target": [name(1, i) for i in range(6)], "mean": [-1.0] * 6}
    )
    frame = trrust_agreement(edges, lists, table, draws=3).frame
    assert list(
        zip(frame["target"], frame["expected"], frame["observed"], frame["agrees"], strict=True)
    ) == [
        (name(1, 0), "support", "support", True),
        (name(1, 1), "suppress", "support", False),
        (name(1, 5), "", "support", None),
    ]
    # the other direction, from target to factor, is no evidence
    back = pd.DataFrame({"source": [name(0, 1)], "target": [name(1, 6)], "mean": [-1.0]})
    assert (
        trrust_agreement(back, {name(0, 1): ["G1"], name(1, 6): ["TF1"]}, table, draws=3).covered
        == 0
    )


def test_a_planted_truth_is_found():
    edges, lists, table = study(np.random.default_rng(1), truth=0.5)
    result = trrust_agreement(edges, lists, table, draws=500, seed=1)
    assert result.decided > 50
    assert result.p <= 0.01
    assert result.share > result.null_high
    assert "more than expected by chance" in result.sentence
    assert "not more" not in result.sentence


def test_without_truth_p_is_uniform_though_most_edges_support_and_most_pairs_activate():
    """Half of the pairs would not be the null: support and activation are both the majority."""
    p, shares = [], []
    for seed in range(60):
        edges, lists, table = study(np.random.default_rng(100 + seed), edges=1500, support=0.9)
        result = trrust_agreement(edges, lists, table, draws=99, seed=seed)
        p.append(result.p)
        shares.append(result.share)
    p = np.array(p)
    assert np.mean(shares) > 0.55
    # binomial bounds at 60 studies: 4 standard errors
    assert (p <= 0.1).mean() <= 0.1 + 4 * np.sqrt(0.1 * 0.9 / 60)
    assert abs((p <= 0.5).mean() - 0.5) <= 4 * np.sqrt(0.25 / 60)


def test_the_same_seed_gives_the_same_and_little_evidence_gives_no_share():
    edges, lists, table = study(np.random.default_rng(2))
    one, two = (trrust_agreement(edges, lists, table, draws=50, seed=3) for _ in range(2))
    assert one.findings() == two.findings()
    assert set(one.findings()) >= {"share", "p", "null_mean", "decided"}
    few = trrust_agreement(edges.iloc[:5], lists, table, draws=20)
    assert np.isnan(few.share)
    assert np.isnan(few.p)
    assert "too few" in few.sentence
    none = trrust_agreement(edges.iloc[:0], lists, table, draws=20)
    assert none.edges == 0
    assert "0 of 0" in none.sentence


def test_wrong_tables_are_refused():
    edges, lists, table = study(np.random.default_rng(2), edges=50)
    with pytest.raises(UserError, match="no columns mean"):
        trrust_agreement(edges.drop(columns="mean"), lists, table)
    edges.loc[0, "mean"] = np.nan
    with pytest.raises(UserError, match="1 of"):
        trrust_agreement(edges, lists, table)


def test_size_of_an_exhaustive_map():
    rng = np.random.default_rng(4)
    symbols = np.array(sorted({g for p in shipped_trrust().pairs for g in (p.tf, p.target)}))
    lists = {name(5, i): list(rng.choice(symbols, 5)) for i in range(4000)} | {
        name(6 + la, i): list(rng.choice(symbols, 5)) for la in range(3) for i in range(4000)
    }
    n = 300_000
    layers, index = rng.integers(0, 3, n), rng.integers(0, 4000, n)
    edges = pd.DataFrame(
        {
            "source": [name(5, i) for i in rng.integers(0, 4000, n)],
            "target": [name(6 + a, b) for a, b in zip(layers, index, strict=True)],
            "mean": rng.normal(size=n),
        }
    )
    result = trrust_agreement(edges, lists, shipped_trrust(), draws=200)
    assert result.decided > 1000 and result.p > 0.005  # signs are random


def test_p_is_that_of_exchanging_lists_within_classes_of_degree():
    """Two sources of an activator support all of 12 targets of its gene, two of a repressor
    suppress them: one in six exchanges of the sources agrees as well, as do all of the targets.
    """
    regulons = Regulons(
        "toy",
        "toy.tsv",
        "00",
        "",
        "",
        (Regulation("TF", "A", "Activation", ()), Regulation("RF", "A", "Repression", ())),
        2,
    )
    sources, targets = [name(1, i) for i in range(4)], [name(2, i) for i in range(24)]
    factors = dict(zip(sources, ("TF", "TF", "RF", "RF"), strict=True))
    genes = {
        f: [gene, *(f"{f} {i}" for i in range(3))]
        for f, gene in {**factors, **dict.fromkeys(targets, "A")}.items()
    }

    def edges(many, turn=False):
        rows = pd.DataFrame(
            [
                {"source": s, "target": t, "mean": -1.0 if i < 2 else 1.0}
                for i, s in enumerate(sources)
                for t in targets[: many[i]]
            ]
        )
        return rows.rename(columns={"source": "target", "target": "source"}) if turn else rows

    like = trrust_agreement(edges((12, 12, 12, 12)), genes, regulons, draws=2000)
    assert (like.decided, like.agree, like.share) == (48, 48, 1.0)
    assert (
        like.p_sources == pytest.approx(1 / 6, abs=4 * np.sqrt(5 / 36 / 2000))
        and like.p_targets == like.p == like.decided_p == 1.0
    )
    assert (
        trrust_agreement(edges((12, 12, 24, 24)), genes, regulons, draws=200).p_sources == 1.0
    )  # sources of other degrees exchange nothing
    # the same with TRRUST reversed is what the control counts
    turned = trrust_agreement(edges((12, 12, 12, 12), turn=True), genes, regulons, draws=200)
    assert (turned.decided, turned.turned_decided, turned.turned_share) == (0, 48, 1.0)


def recurring(seed, copies, side):
    """Edges whose signs know nothing of genes. Every concept of one side has `copies` features in
    as many layers, with its list and its edges.
    """
    rng = np.random.default_rng(seed)
    symbols = sorted({g for p in shipped_trrust().pairs for g in (p.tf, p.target)})
    concepts, others = (
        [list(rng.choice(symbols, 20, replace=False)) for _ in range(n)] for n in (60, 40)
    )
    first, later = (9, 1) if side == "source" else (0, 1)
    lists = {name(first, i): genes for i, genes in enumerate(others)} | {
        name(later + k, c): genes for c, genes in enumerate(concepts) for k in range(copies)
    }
    pairs = [
        (i, c, -1.0 if rng.random() < 0.7 else 1.0)
        for i in range(40)
        for c in range(60)
        if rng.random() < 0.5
    ]
    ends = ("target", "source") if side == "source" else ("source", "target")
    return (
        pd.DataFrame(
            [
                {ends[0]: name(first, i), ends[1]: name(later + k, c), "mean": sign}
                for i, c, sign in pairs
                for k in range(copies)
            ]
        ),
        lists,
    )


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_concept_found_in_layer_after_layer_is_one_case(side):
    studies, table = 40, shipped_trrust()
    found = [
        trrust_agreement(*recurring(seed, 8, side), table, draws=99, seed=seed)
        for seed in range(studies)
    ]
    # counted as independent, 8 copies would give p <= 0.05 in a quarter of the studies; binomial
    # bound of 3 standard errors
    for p in (np.array([r.p_sources for r in found]), np.array([r.p_targets for r in found])):
        assert (p <= 0.05).mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / studies)
        assert abs((p <= 0.5).mean() - 0.5) <= 3 * np.sqrt(0.25 / studies)
    assert all(r.p == max(r.p_sources, r.p_targets) for r in found)


def test_genes_that_are_expressed_together_agree_in_both_directions():
    """Signs that follow the pairs of TRRUST whichever end the factor is at: p is small, and the
    sentence says why that is not regulation.
    """
    rng = np.random.default_rng(5)
    edges, lists, table = study(rng, genes=30)
    both = Regulons(
        "both",
        "f",
        "h",
        "",
        "",
        (*table.pairs, *(Regulation(p.target, p.tf, p.mode, ()) for p in table.pairs)),
        2 * len(table.pairs),
    )
    for i, (activation, repression) in enumerate(plain(edges, lists, both)):
        if activation != repression and rng.random() < 0.6:
            edges.loc[i, "mean"] = -abs(edges.loc[i, "mean"]) * np.sign(activation - repression)
    found = trrust_agreement(edges, lists, table, draws=300)
    assert found.p <= 0.05 and found.turned_p <= 0.05
    assert "co-expression would explain the agreement as well" in found.sentence
    one_way, lists, table = study(np.random.default_rng(2), truth=0.5)
    regulated = trrust_agreement(one_way, lists, table, draws=300)
    assert regulated.p <= 0.05 < regulated.turned_p
    assert "TRRUST reversed" in regulated.sentence and "co-expression" not in regulated.sentence


def test_pairs_stated_in_both_directions_are_no_control():
    table = regulons(
        ("TF1", "TF2", "Activation"), ("TF2", "TF1", "Activation"), ("TF1", "G1", "Activation")
    )
    edges = pd.DataFrame(
        {
            "source": [name(0, 0), name(0, 1)],
            "target": [name(1, 0), name(1, 1)],
            "mean": [-1.0, -1.0],
        }
    )
    lists = {name(0, 0): ["TF1"], name(1, 0): ["TF2"], name(0, 1): ["G1"], name(1, 1): ["TF1"]}
    found = trrust_agreement(edges, lists, table, draws=3)
    assert (found.decided, found.turned_decided) == (1, 1)

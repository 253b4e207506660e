"""The enrichment kernel against gseapy, exact rationals and scipy; the correction's family;
calibration under the null.
"""

from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from scipy.stats import false_discovery_control, hypergeom

from scircuit.analysis.enrichment.fdr import benjamini_hochberg, benjamini_hochberg_grouped
from scircuit.analysis.enrichment.gene_term_matrix import build
from scircuit.analysis.enrichment.gseapy_reference import gseapy_frame
from scircuit.analysis.enrichment.hypergeometric import TailTable, odds_ratio
from scircuit.analysis.enrichment.overrepresentation import collect, overlaps
from scircuit.analysis.genesets.library import GeneSetLibrary, Term
from scircuit.analysis.genesets.readers import shipped
from scircuit.core.errors import UserError
from tests.support.enrichment_oracle import FAMILIES, correct, enrich


def library(terms, name="L"):
    return GeneSetLibrary(
        name,
        "f.gmt",
        "0",
        "",
        "",
        tuple(Term(str(i), f"term {i}", tuple(g)) for i, g in enumerate(terms)),
    )


@pytest.fixture(scope="module")
def background():
    go, reactome = shipped()
    return sorted(go.genes | reactome.genes)


def test_equals_gseapy_on_50_random_lists(background):
    rng = np.random.default_rng(5)
    lists = [
        rng.choice(background, size=int(rng.integers(3, 60)), replace=False).tolist()
        for _ in range(50)
    ]
    keep = rng.choice(len(shipped()[1].terms), 300, replace=False)
    small = library([shipped()[1].terms[i].genes for i in keep], "Reactome")
    incidence = build([small], background)
    rows = incidence.rows(lists)
    hits = collect(overlaps(rows, incidence))
    size = np.diff(rows.indptr)
    compared = 0
    for r in range(50):
        theirs = gseapy_frame(rows, incidence, r)
        ours = hits.row == r
        if theirs is None:
            assert not ours.any()
            continue
        table = {
            int(t): (p, int(o.split("/")[0]), x)
            for t, p, o, x in zip(
                theirs["Term"],
                theirs["P-value"],
                theirs["Overlap"],
                theirs["Odds Ratio"],
                strict=True,
            )
        }
        assert set(table) == set(hits.column[ours].tolist())
        ratio = odds_ratio(
            hits.overlap[ours],
            incidence.sizes[hits.column[ours]],
            np.full(ours.sum(), size[r]),
            len(incidence.genes),
        )
        for c, k, p, x in zip(
            hits.column[ours], hits.overlap[ours], hits.p[ours], ratio, strict=True
        ):
            assert k == table[c][1]
            assert p == pytest.approx(table[c][0], rel=1e-9)
            assert x == pytest.approx(table[c][2], rel=1e-9)
            compared += 1
    assert compared > 500


def test_engine_gseapy_gives_the_same_result(background):
    rng = np.random.default_rng(6)
    lists = {str(i): rng.choice(background, 20, replace=False).tolist() for i in range(3)}
    small = library([t.genes for t in shipped()[1].terms[:200]])
    exact, other = (enrich(lists, [small], background, engine=e) for e in ("exact", "gseapy"))
    assert exact.frame[["list", "accession", "overlap", "term_size"]].equals(
        other.frame[["list", "accession", "overlap", "term_size"]]
    )
    np.testing.assert_allclose(exact.frame["q"], other.frame["q"], rtol=1e-9)


def test_equals_exact_rationals():
    def tail(k, m, n, total):
        return Fraction(
            sum(comb(m, x) * comb(total - m, n - x) for x in range(k, min(m, n) + 1)),
            comb(total, n),
        )

    rng = np.random.default_rng(0)
    for total in (12, 60, 6328):
        n = rng.integers(0, min(total, 50) + 1, 40)
        m = rng.integers(0, min(total, 400) + 1, 40)
        table = TailTable(n, m, total)
        for ni, mi in zip(n.tolist(), m.tolist(), strict=True):
            for k in {0, 1, min(ni, mi) // 2, min(ni, mi)}:
                if k <= min(ni, mi):
                    got = table.tail(np.array([k]), np.array([mi]), np.array([ni]))[0]
                    want = tail(k, mi, ni, total)
                    # the recurrence keeps 13 digits; a value below the smallest double is 0 in both
                    assert got == pytest.approx(float(want), rel=1e-12, abs=1e-300)


def test_long_lists_fall_back_where_the_recurrence_underflows():
    table = TailTable(np.array([3000]), np.array([2500]), 10000)
    for k in (700, 800, 1000):
        assert table.tail(np.array([k]), np.array([2500]), np.array([3000]))[0] == pytest.approx(
            hypergeom.sf(k - 1, 10000, 2500, 3000), rel=1e-9
        )


def test_sizes_are_counted_after_the_cut_to_the_background():
    incidence = build(
        [library([["a", "B", "c", "zz"], ["A", "B"], ["Q"] * 9])],
        ["A", "b", "C", "d"],
        min_size=2,
        max_size=3,
    )
    assert [(t.size, t.size_in_background) for t in incidence.terms] == [(4, 3), (2, 2)]
    assert incidence.coverage[0].terms_kept == 2
    assert (incidence.coverage[0].genes_mapped, incidence.coverage[0].genes_lost) == (3, 2)


def test_a_library_that_does_not_map_is_refused():
    with pytest.raises(UserError, match="0 of 2 genes"):
        build([library([["ENSMUSG1", "ENSMUSG2"]])], ["A", "B"])


def test_bh_equals_scipy_padded_with_ones():
    rng = np.random.default_rng(1)
    p = np.concatenate([rng.random(200) ** 4, [0.01] * 5])
    for family in (205, 1000, 5000):
        padded = false_discovery_control(np.concatenate([p, np.ones(family - p.size)]))[: p.size]
        np.testing.assert_allclose(benjamini_hochberg(p, family), padded, rtol=1e-12)
    group = rng.integers(0, 3, p.size)
    grouped = benjamini_hochberg_grouped(p, group, np.array([400, 500, 600]))
    for g, m in enumerate((400, 500, 600)):
        np.testing.assert_array_equal(grouped[group == g], benjamini_hochberg(p[group == g], m))
    with pytest.raises(ValueError, match="family has 3 tests"):
        benjamini_hochberg(p, 3)


def test_the_family_holds_the_tests_without_overlap():
    genes = [f"g{i}" for i in range(100)]
    lib = library([genes[i : i + 10] for i in range(0, 90, 5)])
    lists = {"a": genes[:8], "b": genes[50:58], "c": genes[95:]}
    sizes = {f: enrich(lists, [lib], genes, family=f).meta["family_size"] for f in FAMILIES}
    assert sizes["pooled"] == 3 * 18
    assert sizes["feature"] == 18
    incidence = build([lib], genes)
    hits = collect(overlaps(incidence.rows(lists.values()), incidence))
    q, m = correct(hits, 3, 18, "pooled")
    dense = np.ones((3, 18))
    dense[hits.row, hits.column] = hits.p
    expected = false_discovery_control(dense.ravel()).reshape(3, 18)[hits.row, hits.column]
    np.testing.assert_allclose(q, expected)
    assert m == 54
    assert sizes["overlap2"] == int((hits.overlap >= 2).sum())


def test_min_overlap_hides_rows_and_changes_no_q():
    genes = [f"g{i}" for i in range(60)]
    lib = library([genes[i : i + 7] for i in range(0, 50, 3)])
    lists = {"a": genes[:9], "b": genes[20:29]}
    every, few = (enrich(lists, [lib], genes, min_overlap=k).frame for k in (1, 3))
    assert (few["overlap"] >= 3).all()
    merged = few.merge(every, on=["list", "accession"], suffixes=("", "_all"))
    assert len(merged) == len(few) < len(every)
    np.testing.assert_array_equal(merged["q"], merged["q_all"])


def test_an_enriched_list_is_found_and_its_genes_named():
    rng = np.random.default_rng(2)
    genes = [f"G{i}" for i in range(2000)]
    lib = library([rng.choice(genes, 40, replace=False).tolist() for _ in range(300)])
    planted = list(lib.terms[7].genes[:10]) + rng.choice(genes, 10, replace=False).tolist()
    result = enrich({"x": planted}, [lib], genes)
    first = result.frame.iloc[0]
    assert first["accession"] == "7"
    assert first["q"] < 1e-6
    assert set(first["genes"]) == set(planted) & set(lib.terms[7].genes)
    assert "1 of 1 lists" in result.sentence


def test_random_lists_are_annotated_at_most_at_the_stated_rate(background):
    rng = np.random.default_rng(3)
    lists = {str(i): rng.choice(background, 20, replace=False).tolist() for i in range(400)}
    reactome = [shipped()[1]]
    # per-list BH over all terms controls the share of lists with a finding at 5 %; 400 lists give a
    # binomial 99.9 % bound of 9 %
    found = (
        enrich(lists, reactome, background, family="feature", max_q=0.05).frame["list"].nunique()
    )
    assert found <= 36
    assert (
        enrich(lists, reactome, background, family="pooled", max_q=0.05).frame["list"].nunique()
        <= 3
    )
    # the published family annotates most random lists: that is why it is not the default
    assert (
        enrich(lists, reactome, background, family="overlap2", max_q=0.05).frame["list"].nunique()
        > 200
    )
